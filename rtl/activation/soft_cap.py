"""Soft caps: scores and logits that bend towards a limit."""

from amaranth import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.soft_cap import SEGMENTS, X_WIDTH, soft_cap_table
from celosia.rtl.functions.interpolate import interpolate
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import framed

__all__ = ["SoftCap"]


class SoftCap(wiring.Component):
    """``cap * tanh(x / cap)`` lane by lane, with an error of at most ``5.3e-5 cap + 1``.

    Bit-exact with :func:`celosia.reference.units.soft_cap.soft_cap`. One table from ``x`` to the
    result: nothing is divided or multiplied by ``cap``.

    Latency 6 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    cap : int, 128 to 2**23 - 1
        In units of ``x``.
    tokens : int, 1 to 64
    multiplier_blocks : bool
        Whether each lane's product is one of the chip's multipliers, or made of LUTs.
    more
        Further members of the words, name to shape, which are passed on.

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens, ...))
    o : Out(stream of framed(lanes, 24, tokens, ...))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 6

    def __init__(self, lanes, cap, tokens=1, multiplier_blocks=False, **more):
        check_range("lanes", lanes, 1, 64)
        check_range("cap", cap, 128, (1 << (X_WIDTH - 1)) - 1)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.cap = cap
        self.tokens = tokens
        self.multiplier_blocks = multiplier_blocks
        self.more = more
        word = framed(lanes, X_WIDTH, tokens, **more)
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(word))})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        names = ("token", "index", "argument", "last", *self.more)
        frame = {name: self.i.p[name] for name in names}
        base, step, width = soft_cap_table(self.cap)
        inside = SEGMENTS + width

        signs = [x[-1] for x in self.i.p.data]
        places = [Mux(x[-1], -x, x)[:X_WIDTH] for x in self.i.p.data]
        places = [a[:inside] | a[inside:].any().replicate(inside) for a in places]
        frame, signs, places = pipe.stage(frame, signs, places)
        values, (frame, signs) = interpolate(
            m,
            pipe,
            (base, step),
            width,
            places,
            [frame, signs],
            width=self.cap.bit_length(),
            multiplier_blocks=self.multiplier_blocks,
        )
        frame, signs, values = pipe.stage(frame, signs, values)
        values = [Mux(sign, -y, y) for sign, y in zip(signs, values, strict=True)]
        frame, values = pipe.stage(frame, values)
        pipe.finish({**frame, "data": values})
        return m
