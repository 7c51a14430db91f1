"""A USB serial port at its two wires, by a host's model: bit by bit, with faults."""

import pytest
from celosia.rtl.usb.control import ControlEndpoint
from celosia.rtl.usb.descriptors import descriptors
from celosia.rtl.usb.device import UsbDevice
from celosia.sim import bench
from usb_host import FAULTS
from usb_line import DamagedPacket, decoded, packet, states
from usb_stand import Stand

# Changes of the line that are 18 ns apart from where they should be, of 18.5 that a receiver must
# bear; and such whose wires do not change at once.
JITTER, SKEW = {"jitter": 9}, {"jitter": 6, "skew": 8}
FAULTY = {"faults": dict.fromkeys(FAULTS, 0.06), "gap": (2.2, 20)}
LEAST = 1_000_000  # bytes a second, each way


def run(*cases, **more):
    """What the scenarios found, one after the other in one start of the simulator."""
    return bench.run_program(Stand(), "bench_usb", {"cases": cases, **more})


def test_packets_of_the_model():
    """Against packets that are written down elsewhere."""
    assert packet("SETUP").hex() == "2d0010"
    assert packet("IN", address=1).hex() == "6901e8"
    assert packet("DATA0").hex() == "c30000"
    assert packet("DATA0", bytes.fromhex("8006000100001200")).hex() == "c38006000100001200e0f4"
    data = b"\xff" * 20
    line = states(packet("DATA1", data))
    assert decoded(line[:-3]) == ("DATA1", data)
    with pytest.raises(DamagedPacket, match="seven ones"):
        decoded(states(packet("DATA1", data), stuff=False)[:-3])


def test_requests_and_strangers():
    found = run(
        {"name": "enumeration", "bus": {"seed": 1}},
        {"name": "requests", "echo": 1},
        {"name": "others", "echo": 1},
        {"name": "pauses", "echo": 1},
    )[0]
    assert found["descriptors"] == descriptors()
    assert 2 <= min(found["answers"]) <= max(found["answers"]) <= 3.5


@pytest.mark.parametrize("way", ["rate_in", "rate_out"])
def test_a_megabyte_a_second(way):
    """Frames as full as the bus allows: 19 packets of 64 bytes in a millisecond."""
    (found,) = run({"name": way})
    assert found.get("naks", 0) == 0
    assert found["bytes"] == [19 * 64] * 2
    rate = 1000 * sum(found["bytes"]) / len(found["bytes"])
    print(f"{way}: {rate / 1e6:.3f} MB/s, {rate / LEAST:.2f} times what is asked for")
    assert rate >= LEAST


@pytest.mark.parametrize(
    ("host_ppm", "device_ppm", "rough", "seed"), [(2500, -2500, JITTER, 1), (-2500, 2500, SKEW, 2)]
)
def test_clocks_that_differ(host_ppm, device_ppm, rough, seed):
    bus = {"ppm": host_ppm, "seed": seed, **rough}
    (found,) = run({"name": "echo", "echo": 1, "stall": 128, "bus": bus}, device_ppm=device_ppm)
    assert not any(found["faults"].values())


@pytest.mark.parametrize(("stall", "megahertz", "seed"), [(128, 60, 3), (255, 25, 4)])
def test_no_byte_is_lost_and_none_comes_twice(stall, megahertz, seed):
    bus = {"ppm": 500, "seed": seed, **SKEW}
    case = {"name": "echo", "echo": 1, "stall": stall, "bus": bus, "host": FAULTY}
    (found,) = run(case, megahertz=megahertz)
    assert all(found["faults"].values())
    assert found["naks"] > 20 or stall < 255


def test_a_reset_in_the_middle():
    case = {"name": "echo", "echo": 1, "stall": 100, "bus": {"seed": 5}, "host": FAULTY}
    run(case | {"more": {"count": 600, "reset_at": 300}})


def test_refusals():
    with pytest.raises(ValueError, match="attach must be from 1 to 16777216, not 0"):
        UsbDevice(0)
    with pytest.raises(ValueError, match="bytes of descriptors must be from 1 to 256, not 304"):
        ControlEndpoint({(1, 0): bytes(300)})
