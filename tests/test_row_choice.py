import random

import pytest
import scripted
from amaranth.hdl import signed
from celosia.rtl.stream.row_choice import RowChoice


@pytest.mark.parametrize("rows", [1, 2, 8, 11, 32])
def test_the_row_that_was_asked_for(rows):
    rng = random.Random(rows)
    cycles, expected = [], [None, None]
    for _ in range(400):
        words = [rng.randrange(-128, 128) for _ in range(rows)]
        row, valid = rng.randrange(rows), rng.random() < 0.7
        cycles.append({"i__payload": {"words": words, "row": row}, "i__valid": valid})
        expected.append(words[row] if valid else None)
    seen = scripted.play(RowChoice(signed(8), rows), cycles)
    for cycle, wanted in zip(seen, expected, strict=False):
        assert cycle["o__valid"] == (wanted is not None)
        assert wanted is None or cycle["o__payload"] == wanted


@pytest.mark.parametrize("rows", [0, 1025])
def test_bad_parameters(rows):
    with pytest.raises(ValueError, match=f"rows must be from 1 to 1024, not {rows}"):
        RowChoice(signed(8), rows)
