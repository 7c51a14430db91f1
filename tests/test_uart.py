"""The serial line against a UART of other hands, and against slow and noisy lines."""

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.host.uart import UartReceiver, UartTransmitter
from celosia.sim import bench

pytest.importorskip("cocotbext.uart", reason="needs cocotbext-uart: pip install celosia[test]")

DATA = bytes([0, 255, 0x55, 0xAA, 1, 128, *range(3, 250, 7)])


class Echo(wiring.Component):
    """Says what it hears."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, receiver.o, transmitter.i)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        return m


class Loop(wiring.Component):
    """A transmitter wired to a receiver."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, flipped(self.i), transmitter.i)
        connect(m, receiver.o, flipped(self.o))
        m.d.comb += receiver.rx.eq(transmitter.tx)
        return m


@pytest.mark.parametrize(("divisor", "skew"), [(8, 0), (27, 0.02), (27, -0.02), (80, -0.03)])
def test_speaks_to_another_uart(divisor, skew):
    given = {"divisor": divisor, "skew": skew, "talk": [(DATA, len(DATA))], "patience": 400}
    assert bench.run_program(Echo(divisor), "bench_uart", given) == DATA


@pytest.mark.parametrize("divisor", [8, 9, 33])
def test_loop_and_speed(divisor):
    y, cycles = bench.run(Loop(divisor), list(DATA))
    assert bytes(y) == DATA
    assert cycles == 10 * divisor * (len(DATA) - 1) + (19 * divisor + 1) // 2 + 5


@pytest.mark.parametrize("divisor", [7, 65536, 0])
@pytest.mark.parametrize("unit", [UartReceiver, UartTransmitter])
def test_divisor_out_of_range(unit, divisor):
    with pytest.raises(ValueError, match=rf"divisor must be from 8 to 65535, not {divisor}"):
        unit(divisor)
