"""The router: which experts a token takes, and their weights."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.reference.functions.tables import power_table
from celosia.reference.units.router import FARTHEST, FRACTION, GUARD
from celosia.rtl.arithmetic.multiplier import multiply
from celosia.rtl.functions.interpolate import interpolate
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.queue import Queue
from celosia.rtl.stream.words import framed
from celosia.rtl.token.top_k import TopK

__all__ = ["Router"]

WIDTH = 24  # bits of a logarithm
POWER = 16  # bits of a power's mantissa


class Router(wiring.Component):
    """The ``k`` largest of ``n`` logarithms to base 2, and their softmax.

    Bit-exact with :func:`celosia.reference.units.router.router`.

    Numbers are given as they are found: see :class:`TopK`. The sum of powers takes ``n`` cycles
    more and one for each word, none if the ``k`` are to ``renormalise``; a weight takes 3 cycles.
    No word is accepted from an operation's last one until its last weight is taken.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    n : int, 1 to 1024
    k : int, 1 to 64, at most ``n``
    fraction : int, 0 to 14
        Logarithms are in units of ``2**-fraction``.
    renormalise : bool
        Whether the weights of the ``k`` sum to 1, or those of all.

    Members
    -------
    i : In(stream of framed(lanes, 24))
        One token's logarithms. Lanes of numbers from ``n`` on do not count.
    numbers : Out(stream of unsigned)
        ``k`` of them for each operation, the largest one's first, the lower of equals first. All
        may wait while weights are taken.
    o : Out(stream of ``mantissa`` and ``shift``)
        Their weights, ``mantissa * 2**(-15 - shift)``.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, n, k, fraction, renormalise):
        check_power_of_two("lanes", lanes, 64)
        check_range("n", n, 1, 1024)
        check_range("k", k, 1, min(n, 64))
        check_range("fraction", fraction, 0, FRACTION)
        self.lanes = lanes
        self.n = n
        self.k = k
        self.fraction = fraction
        self.renormalise = renormalise
        self._top = TopK(lanes, k, n)
        self.number_latency, self.interval = self._top.latency + 1, self._top.latency - 2
        self.weight_latency = 16
        scalar = data.StructLayout({"mantissa": unsigned(17), "shift": unsigned(6)})
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, WIDTH))),
                "numbers": Out(stream.Signature(unsigned(max(1, ceil_log2(n))))),
                "o": Out(stream.Signature(scalar)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = top = self._top
        depth = max(2, 1 << ceil_log2(self.k))
        m.submodules.found = found = Queue(self.numbers.payload.shape(), depth)
        wiring.connect(m, found.o, wiring.flipped(self.numbers))
        busy, ended = Signal(), Signal()
        taken = Signal()
        m.d.comb += [
            top.i.payload.eq(self.i.p),
            top.i.valid.eq(self.i.valid & ~busy),
            self.i.ready.eq(top.i.ready & ~busy),
            taken.eq(self.i.valid & self.i.ready),
        ]
        with m.If(taken & self.i.p.last):
            m.d.sync += busy.eq(1)
        with m.Elif(ended):
            m.d.sync += busy.eq(0)

        x = stream.Signature(_summand()).create()  # less the largest
        largest = Signal(signed(WIDTH))
        from_top, moved = Signal(), Signal()
        m.d.comb += [
            from_top.eq(top.o.valid & found.i.ready),
            moved.eq(from_top & x.ready),
            top.o.ready.eq(found.i.ready & x.ready),
            found.i.payload.eq(top.o.p.token),
            found.i.valid.eq(top.o.valid & x.ready),
        ]
        first = top.o.p.rank == 0
        with m.If(moved & first):
            m.d.sync += largest.eq(top.o.p.logit)
        with m.If(from_top):
            m.d.comb += [
                x.valid.eq(1),
                x.p.below.eq(Mux(first, 0, top.o.p.logit - largest)),
                x.p.chosen.eq(1),
                x.p.counts.eq(self.renormalise),
                x.p.last.eq(top.o.p.last & self.renormalise),
            ]
        if not self.renormalise:
            logarithm, valid, last = self._all(m, taken, moved & top.o.p.last, x.ready & ~from_top)
            with m.If(~from_top):
                m.d.comb += [
                    x.valid.eq(valid),
                    x.p.below.eq(logarithm - largest),
                    x.p.counts.eq(1),
                    x.p.last.eq(last),
                ]
        self._weights(m, self._powers(m, x), depth, ended)
        return m

    def _all(self, m, taken, begin, ready):
        """Every logarithm, one after the other, once ``begin`` says so: it, valid, and last."""
        words = -(-self.n // self.lanes)
        store = memory.Memory(shape=self.lanes * WIDTH, depth=words, init=[])
        m.submodules.store = store
        write, read = store.write_port(), store.read_port()
        word, lane = Signal(range(words + 1)), Signal(range(self.lanes))
        left = Signal(range(self.n + 1))
        held = Signal(self.lanes * WIDTH)
        reading, loading, valid = Signal(), Signal(), Signal()
        m.d.comb += [
            write.addr.eq(self.i.p.index),
            write.data.eq(self.i.p.data),
            write.en.eq(taken),
            read.addr.eq(word),
            read.en.eq(reading),
        ]
        m.d.sync += [reading.eq(begin), loading.eq(reading)]
        with m.If(begin):
            m.d.sync += [word.eq(0), left.eq(self.n)]
        with m.If(loading):
            m.d.sync += [held.eq(read.data), word.eq(word + 1), lane.eq(0), valid.eq(1)]
        with m.If(valid & ready):
            m.d.sync += [held.eq(held >> WIDTH), lane.eq(lane + 1), left.eq(left - 1)]
            with m.If((left == 1) | (lane == self.lanes - 1)):
                m.d.sync += [valid.eq(0), reading.eq(left != 1)]
        return held[:WIDTH].as_signed(), valid, left == 1

    def _powers(self, m, x):
        """A stream of powers of two: ``mantissa * 2**(-15 - distance)``."""
        power = {"mantissa": unsigned(POWER), "distance": unsigned(FARTHEST.bit_length())}
        frame = {"chosen": 1, "counts": 1, "last": 1}
        o = stream.Signature(data.StructLayout(power | frame)).create()
        pipe = Pipeline(m, x, o)
        frame, below = pipe.stage({name: x.p[name] for name in frame}, x.p.below)
        left = FRACTION - self.fraction
        logarithm = Cat(Const(0, left), below).as_signed() if left else below
        octaves = Signal(WIDTH + 1)
        m.d.comb += octaves.eq(-(logarithm >> FRACTION))
        distance = Signal(FARTHEST.bit_length())
        m.d.comb += distance.eq(Mux(octaves > FARTHEST, FARTHEST, octaves))
        (mantissa,), (distance, frame) = interpolate(
            m, pipe, power_table(), 7, [logarithm[:FRACTION]], [distance, frame], width=POWER
        )
        registers = pipe.stage({"mantissa": mantissa, "distance": distance, **frame})
        pipe.finish(*registers)
        return o

    def _weights(self, m, power, depth, ended):
        """The chosen powers over the sum of those that count."""
        width = POWER + GUARD + ceil_log2(self.n)
        m.submodules.reciprocal = reciprocal = Reciprocal(width)
        shape = data.StructLayout({n: power.p[n].shape() for n in ("mantissa", "distance")})
        m.submodules.chosen = chosen = Queue(shape, depth)
        total, whole = Signal(width), Signal()
        m.d.comb += [
            power.ready.eq(1),  # there is room for all that are chosen
            chosen.i.valid.eq(power.valid & power.p.chosen),
            *(chosen.i.p[name].eq(power.p[name]) for name, _ in shape),
            reciprocal.i.payload.eq(total),
            reciprocal.i.valid.eq(whole),
        ]
        summand = Cat(Const(0, GUARD), power.p.mantissa) >> power.p.distance
        with m.If(power.valid & power.p.counts):
            m.d.sync += total.eq(total + summand)
        with m.If(reciprocal.i.valid & reciprocal.i.ready):
            m.d.sync += [whole.eq(0), total.eq(0)]
        with m.If(power.valid & power.p.last):
            m.d.sync += whole.eq(1)

        i = stream.Signature(shape).create()
        given = Signal(range(self.k))
        last = Signal()
        pipe = Pipeline(m, i, self.o)
        m.d.comb += [
            i.payload.eq(chosen.o.p),
            i.valid.eq(chosen.o.valid & reciprocal.o.valid),
            chosen.o.ready.eq(i.ready & reciprocal.o.valid),
            last.eq(given == self.k - 1),
            reciprocal.o.ready.eq(i.valid & i.ready & last),
        ]
        with m.If(i.valid & i.ready):
            m.d.sync += given.eq(Mux(last, 0, given + 1))
        root, final, factor, distance = pipe.stage(
            *(reciprocal.o.p.mantissa, last),
            *(i.p.mantissa, i.p.distance + reciprocal.o.p.shift - (GUARD + 15)),
        )
        product, final, shift = pipe.stage(multiply(m, factor, root), final, distance)
        upper = product[31]
        doubled = Mux(upper, product[15:], product[14:])  # half a unit is its lowest bit
        mantissa = Signal(17)
        m.d.comb += mantissa.eq((doubled[:18] + 1) >> 1)
        mantissa, shift, final = pipe.stage(mantissa, shift - upper, final)
        pipe.finish({"mantissa": mantissa, "shift": shift})
        m.d.comb += ended.eq(self.o.valid & self.o.ready & final)


def _summand():
    """A logarithm less the largest; whether it is of the chosen, counts, and is the last one."""
    return data.StructLayout({"below": signed(WIDTH + 1), "chosen": 1, "counts": 1, "last": 1})
