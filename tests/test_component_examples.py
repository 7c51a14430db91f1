import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples" / "components").glob("*.py"))
PRINTED = {
    "embedding": "[11, 12] times 300\n[1, 2] times 100\n",
    "frame_guard": "error 1",
    "reshape": "[[0, 4, 8, 12], [1, 5, 9, 13]",
    "rope_halves": "-990",
    "softmax": "[0.0871, 0.2369, 0.0321, 0.0, 0.6439, 0.0]",
    "vector_matrix": "[[[17, 21]]]",
}


FIRST = ("embedding", "softmax", "vector_matrix")  # the others' units are built in other tests, too


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in FIRST else [pytest.mark.slow])
        for path in EXAMPLES
    ],
)
def test_example_runs_and_prints(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.strip()
    assert PRINTED.get(path.stem, "") in printed
    assert len(path.read_text().splitlines()) <= 25
