import numpy as np
import pytest
from celosia.reference.quantization.trits import pack_trits, packed_size, unpack_trits
from celosia.rtl.memory.ternary_words import TernaryWords
from celosia.sim import bench


def test_digits_in_a_byte():
    """The first digit counts least; written out by hand."""
    np.testing.assert_array_equal(pack_trits([[-1] * 5, [1] * 5]), [[0], [242]])
    np.testing.assert_array_equal(pack_trits([[0, 1, -1, -1, 1]]), [[1 + 2 * 3 + 2 * 81]])
    np.testing.assert_array_equal(pack_trits([[1]]), [[2 + 3 + 9 + 27 + 81]])
    assert [packed_size(n) for n in (1, 5, 6, 512)] == [1, 1, 2, 103]


def test_there_and_back():
    digits = np.random.default_rng(1).integers(-1, 2, (40, 33))
    np.testing.assert_array_equal(unpack_trits(pack_trits(digits), 33), digits)


def test_what_is_refused():
    with pytest.raises(ValueError, match="ternary weights must be -1, 0 or 1, not -2 to 1"):
        pack_trits([[0, -2, 1]])
    for octet in (243, 255):
        with pytest.raises(ValueError, match=f"byte 1 of word 2 is {octet}: five ternary weights"):
            unpack_trits(np.uint8([[0, 242], [1, 2], [3, octet]]), 10)


@pytest.mark.parametrize(("rows", "lanes"), [(4, 8), (3, 5)])
def test_unit_matches_reference(rows, lanes):
    count = rows * lanes
    octets = np.random.default_rng(rows).integers(0, 243, (60, packed_size(count)))
    octets[0], octets[1] = 0, 242
    weights = unpack_trits(octets, count).reshape(-1, rows, lanes)
    cases = [{"inputs": octets.tolist(), "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(TernaryWords(rows, lanes), cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == weights.tolist()
    assert smooth.cycles == len(octets) + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "rows must be from 1 to 1024, not 0"),
        ((1, 65), "lanes must be from 1 to 64, not 65"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        TernaryWords(*arguments)
