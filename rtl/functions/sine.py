"""The sine, for rotary positions."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.functions.tables import sine_table
from celosia.rtl.functions.interpolate import interpolate
from celosia.rtl.stream.pipeline import Pipeline

__all__ = ["Sine"]


class Sine(wiring.Component):
    """``sin(2 pi i / 2**32)`` in units of 2**-14.

    Its absolute error is at most 8.4e-5. Bit-exact with
    :func:`celosia.reference.functions.functions.sine`.

    Latency 5 cycles. Throughput 1 value per cycle.

    Members
    -------
    i : In(stream of unsigned(32))
        Phases, in units of 2**-32 turns.
    o : Out(stream of signed(16))
    """

    i: In(stream.Signature(unsigned(32)))
    o: Out(stream.Signature(signed(16)))

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        phase = self.i.p
        mirrored, negative = phase[30], phase[31]
        position = Signal(17)
        m.d.comb += position.eq(Mux(mirrored, (1 << 16) - phase[14:30], phase[14:30]))
        inside = position[:16]
        values, carried = interpolate(m, pipe, sine_table(), 8, [inside], [position[16], negative])
        value, crest, negative = pipe.stage(*values, *carried)
        value = Mux(crest, 1 << 14, value)
        (y,) = pipe.stage(Mux(negative, -value, value)[:16].as_signed())
        pipe.finish(y)
        return m
