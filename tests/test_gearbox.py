"""rtl.gearbox: every word of every span, whatever the widths, as fast as its transfers come."""

import numpy as np
import pytest
from celosia.rtl.memory.gearbox import Gearbox, granule, packed_width
from celosia.sim import bench

# width of a word, of a transfer: gathered bit by bit, in bytes, as they are; then cut
WIDTHS = [(37, 8), (1089, 64), (64, 64), (17, 64), (32, 64), (290, 512)]


def stream_of(words, width, data_width):
    """The transfers that hold ``words``, as ints."""
    stride = packed_width(width, data_width)
    bits = sum(word << n * stride for n, word in enumerate(words))
    count = -(-len(words) * stride // data_width)
    return [bits >> n * data_width & (1 << data_width) - 1 for n in range(count)]


def job(width, data_width, spans, seed=0):
    """The spans' payloads, the transfers they read, and the words they give."""
    unit = granule(width, data_width)
    stride = packed_width(width, data_width)
    rng = np.random.default_rng(seed)
    words = [int.from_bytes(rng.bytes(-(-width // 8)), "little") % (1 << width) for _ in range(90)]
    transfers = stream_of(words, width, data_width)
    payloads, read, expected = [], [], []
    for first, count in spans:
        begin = first * stride
        payloads.append({"start": begin % data_width // unit, "count": count})
        read += transfers[begin // data_width : -(-(begin + count * stride) // data_width)]
        expected += words[first : first + count]
    return {"span": payloads, "i": read}, expected


@pytest.mark.parametrize(("width", "data_width"), WIDTHS)
def test_gives_every_word(width, data_width):
    spans = [(0, 1), (1, 1), (0, 40), (7, 3), (89, 1), (13, 77), (2, 5)]
    jobs = [job(width, data_width, spans, seed) for seed in range(3)]
    cases = [
        {"inputs": inputs, "counts": len(expected), "stall": stall, "seed": n}
        for n, ((inputs, expected), stall) in enumerate(zip(jobs, (0, 0.5, 0.2), strict=True))
    ]
    cases.append({**cases[0], "inputs": job(width, data_width, [(0, 90)])[0], "counts": 90})
    results = bench.run_many(Gearbox(width, data_width), cases)
    for result, (_, expected) in zip(results, jobs, strict=False):
        assert result.outputs["o"] == expected
    # A long span: no cycle is lost, neither of the transfers nor of the words.
    cycles = results[-1].stream_cycles
    transfers = -(-packed_width(width, data_width) // data_width)  # of the first word
    assert cycles["o"][0] - cycles["i"][0] == (2 if width < data_width else transfers)
    assert cycles["o"][-1] - cycles["i"][0] <= max(len(cases[-1]["inputs"]["i"]), 90) + 1


@pytest.mark.parametrize(
    ("width", "data_width", "unit"),
    [(1089, 64, 8), (545, 512, 4), (64, 64, 64), (512, 64, 64), (4096, 512, 512), (33, 64, 1)],
)
def test_padding_is_at_most_a_part_in_eighty(width, data_width, unit):
    assert granule(width, data_width) == unit
    assert packed_width(width, data_width) % unit == 0
    assert width <= packed_width(width, data_width) <= width * 81 / 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 64), "width must be from 1 to 65536, not 0"),
        ((8, 48), "data_width must be a power of two from 1 to 1024, not 48"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gearbox(*arguments)
