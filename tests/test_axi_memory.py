"""The AXI tape against memories of other hands, slow and stalling, under the rules of AXI4."""

import numpy as np
import pytest
from amaranth import unsigned
from celosia.generators.program.tape_image import port_images
from celosia.rtl.memory.axi_tape import AxiTape
from celosia.sim import bench

pytest.importorskip("cocotbext.axi", reason="needs cocotbext-axi: pip install celosia[test]")

RUNS = [(0, 1), (119, 1), (3, 117), (1, 1), (10, 60), (2, 3)]
BUFFER = 512


def read(width, data_width, ports, latency=0, stall=0.0, faults=(), runs=RUNS):
    """What the tape delivered of 120 random words, and what it should have."""
    rng = np.random.default_rng(width)
    words = rng.integers(0, 256, (120, -(-width // 8)), np.uint8)
    words[:, -1] &= (1 << (width - 1) % 8 + 1) - 1
    images = port_images(words, width, data_width, ports)
    values = [int.from_bytes(word.tobytes(), "little") for word in words]
    expected = [values[n] for address, count in runs for n in range(address, address + count)]
    given = {
        "runs": [address | count << 28 for address, count in runs],
        "contents": [image.tobytes() for image in images],
        "count": len(expected),
        "data_width": data_width,
        "most": BUFFER,
        "latency": latency,
        "stall": stall,
        "faults": dict(faults),
    }
    tape = AxiTape(unsigned(width), data_width, ports)
    return bench.run_program(tape, "bench_axi_tape", given), expected


@pytest.mark.parametrize(
    ("width", "data_width", "ports"),
    [
        (77, 32, 2),
        pytest.param(1089, 64, 1, marks=pytest.mark.slow),
        pytest.param(1024, 128, 1, marks=pytest.mark.slow),
        pytest.param(96, 256, 1, marks=pytest.mark.slow),
        (290, 512, 1),
    ],
)
def test_reads_by_the_rules(width, data_width, ports):
    for latency, stall in ((0, 0.0), (60, 0.4)):
        got, expected = read(width, data_width, ports, latency, stall)
        assert got["words"] == expected
        assert got["errors"] == 0
        assert min(got["bursts"]) >= len(RUNS)
        assert max(got["longest"]) > 16  # long runs make long bursts,
        if data_width < 512:
            assert max(got["largest"]) > max(got["longest"])  # and several are under way


@pytest.mark.parametrize("response", [2, 3])
def test_error_responses(response):
    """SLVERR and DECERR are told, and nothing but their own data is lost."""
    got, expected = read(77, 32, 2, 10, 0.2, faults={64: response})
    # Word 13 of port 0 is bits 507 to 545 there, bytes 64 to 67 most of it; two runs read it.
    assert got["errors"] == 2
    order = [n for address, count in RUNS for n in range(address, address + count)]
    lost = [n for n, a, b in zip(order, got["words"], expected, strict=True) if a != b]
    assert lost == [13, 13]
