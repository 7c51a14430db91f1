"""The references, judged by ONNX's own node test cases (bench/accuracy.py)."""

import runpy
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def accuracy():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "bench")
        return runpy.run_path(str(ROOT / "bench" / "accuracy.py"))


@pytest.mark.parametrize(
    ("operator", "cases", "left_out", "largest", "mean"),
    [
        ("Attention", 22, 60, 6e-3, 1e-3),
        ("Gelu", 4, 0, 2e-4, 5e-5),
        ("LayerNormalization", 19, 0, 1.5e-4, 3e-5),
        ("RMSNormalization", 19, 0, 6e-4, 5e-5),
        ("RotaryEmbedding", 8, 0, 2.5e-4, 6e-5),
        ("Softmax", 6, 1, 8e-3, 2e-3),
        ("Softmax, 16 bits", 7, 0, 1e-4, 5e-5),
    ],
)
def test_operator(accuracy, operator, cases, left_out, largest, mean):
    row, reasons = accuracy["judge"](operator)
    assert row.count >= cases
    assert sum(map(len, reasons.values())) <= left_out
    assert row.largest <= largest
    assert row.mean <= mean


def test_document_names_every_operator_and_unit(accuracy):
    text = (ROOT / "docs" / "accuracy.md").read_text()
    names = [row.name for row in accuracy["units"]()] + list(accuracy["OPERATORS"])
    assert [name for name in names if f"| {name} |" not in text] == []
