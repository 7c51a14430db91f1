"""A USB serial port at its two wires, by a host's model: bit by bit, with faults."""

import pytest
from celosia.rtl.usb.descriptors import descriptors
from celosia.sim import bench
from usb_stand import Stand


def run(*cases, **more):
    return bench.run_program(Stand(), "bench_usb", {"cases": cases, **more})


def test_enumeration():
    found, *_ = run({"name": "enumeration"})
    assert found["descriptors"] == descriptors()
    print(min(found["answers"]), max(found["answers"]))
