"""rtl.axi_tape against a memory of the native harness: every word in order, whatever it does."""

import numpy as np
import pytest
from amaranth import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.generators.program.tape_image import port_images
from celosia.generators.verilog import to_verilog
from celosia.rtl.memory.axi_tape import AxiReader, AxiTape
from celosia.sim.native import NativeSimulation


class Reads(wiring.Component):
    """Starts a run with four bytes (address, count: 16 bits each) and taps what it delivers."""

    def __init__(self, width, data_width, ports):
        self.tape = AxiTape(unsigned(width), data_width, ports)
        pins = {n: self.tape.signature.members[n] for n in self.tape.pins}
        byte = stream.Signature(8)
        tap = stream.Signature(unsigned(width), always_ready=True)
        super().__init__(
            {"rx": In(byte), "tx": Out(byte), "words": Out(tap), "errors": Out(8), **pins}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tape = tape = self.tape
        taken = Signal(32)
        count = Signal(3)
        wait = Signal(3)  # the consumer takes a word in most cycles only
        m.d.sync += wait.eq(wait + 1)
        m.d.comb += [
            self.rx.ready.eq(count != 4),
            tape.run.valid.eq(count == 4),
            tape.run.p.address.eq(taken[:16]),
            tape.run.p.count.eq(taken[16:]),
            tape.o.ready.eq(wait != 0),
            self.words.valid.eq(tape.o.valid & tape.o.ready),
            self.words.payload.eq(tape.o.payload),
        ]
        m.d.sync += self.errors.eq(self.errors + tape.error)
        with m.If(self.rx.valid & self.rx.ready):
            m.d.sync += [taken.eq(taken >> 8 | self.rx.payload << 24), count.eq(count + 1)]
        with m.If(tape.run.valid & tape.run.ready):
            m.d.sync += count.eq(0)
        for name in self.tape.pins:
            member = self.tape.signature.members[name]
            outer, inner = getattr(self, name), getattr(tape, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        return m


@pytest.mark.parametrize(
    ("width", "data_width", "ports"),
    [(64, 32, 1), pytest.param(1089, 64, 2, marks=pytest.mark.slow), (145, 256, 1)],
)
def test_delivers_runs(width, data_width, ports):
    n = 3000
    words = np.random.default_rng(width).integers(0, 256, (n, -(-width // 8)), np.uint8)
    words[:, -1] &= (1 << (width - 1) % 8 + 1) - 1
    slices = port_images(words, width, data_width, ports)
    with NativeSimulation(to_verilog(Reads(width, data_width, ports))) as simulation:
        for latency, stall in ((1, 0), (100, 0), (30, 100)):
            simulation.reset()
            for port, contents in enumerate(slices):
                simulation.memory(port, contents, latency, stall)
            runs = [(0, 1), (2999, 1), (3, 700), (1000, 2), (5, 1999)]
            for address, count in runs:
                simulation.send(np.array([address, count], np.uint16).tobytes())
            simulation.step(100_000, until_tx=None)
            _, got = simulation.taps("words")
            expected = np.concatenate([words[a : a + count] for a, count in runs])
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("width", "data_width", "ports"), [(1089, 64, 2), (145, 256, 1)])
def test_keeps_the_bus_busy(width, data_width, ports):
    n = 4000
    words = np.zeros((n, -(-width // 8)), np.uint8)
    with NativeSimulation(to_verilog(Reads(width, data_width, ports))) as simulation:
        for port, contents in enumerate(port_images(words, width, data_width, ports)):
            simulation.memory(port, contents, latency=100)
        simulation.send(np.array([0, n], np.uint16).tobytes())
        simulation.step(60_000, until_tx=None)
        cycles, _ = simulation.taps("words")
    assert len(cycles) == n
    # The consumer takes 7 words in 8 cycles at most, and the memory gives a transfer in each.
    fewest = n * max(8 / 7, width / ports / data_width)
    assert cycles[-1] - cycles[0] <= fewest / 0.98


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((64, 48), "data_width must be a power of two from 32 to 1024, not 48"),
        ((0, 64), "width must be from 1 to 65536, not 0"),
        ((64, 64, 2), "buffer must be from 16 to 65536, not 2"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        AxiReader(*arguments)


def test_refuses_no_ports():
    with pytest.raises(ValueError, match="ports must be from 1 to 16, not 0"):
        AxiTape(unsigned(64), 32, 0)
