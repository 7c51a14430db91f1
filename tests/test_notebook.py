"""The notebook of examples/: its cells, one after the other, and what they show."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "checkpoint_to_picture.ipynb"


@pytest.mark.slow
def test_cells_run(capsys):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "equal to the integer model: True" in capsys.readouterr().out
    assert names["loss"]["integer"]["perplexity"] < 1.1 * names["loss"]["float"]["perplexity"]
    for picture in ("machine", "chart"):
        drawing = ElementTree.fromstring(names[picture]._repr_svg_())
        assert len(drawing.findall(".//{*}rect")) > 10
    shown = [text.text for text in drawing.findall("{*}text")]
    assert {"ideal", "activations", f"{sum(names['result']['ideal_cycles']):,.0f}"} <= {*shown}
