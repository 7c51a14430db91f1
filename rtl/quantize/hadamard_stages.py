"""What a streaming Hadamard transform is made of: butterflies in time, and a core of few points."""

from itertools import pairwise

import numpy as np
from amaranth import Array, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import ARGUMENT_WIDTH, token_width

__all__ = ["Butterfly", "Core", "butterflies", "tagged"]


def tagged(lanes, width, tokens=1):
    """The layout of a word inside a transform: ``data``, and what belongs to its vector.

    ``last`` says that the vector is an operation's last one, in the vector's last word only.
    """
    return data.StructLayout(
        {
            "data": data.ArrayLayout(signed(width), lanes),
            "token": unsigned(token_width(tokens)),
            "argument": unsigned(ARGUMENT_WIDTH),
            "last": 1,
        }
    )


class Butterfly(wiring.Component):
    """Words ``a``, ``b`` that are ``distance`` apart in a block become ``a + b`` and ``a - b``.

    Exact. Sums leave as the words ``b`` arrive, differences while the next block's ``a`` are
    collected, or earlier when nothing arrives.

    Latency ``distance + 3`` cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    width : int, 2 to 48
    distance : int, 4 to 32768
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of tagged(lanes, width, tokens))
    o : Out(stream of tagged(lanes, width + 1, tokens))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, width, distance, tokens=1):
        check_range("lanes", lanes, 1, 64)
        check_range("width", width, 2, 48)
        check_range("distance", distance, 4, 32768)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.width = width
        self.distance = distance
        self.tokens = tokens
        self.latency = distance + 3
        super().__init__(
            {
                "i": In(stream.Signature(tagged(lanes, width, tokens))),
                "o": Out(stream.Signature(tagged(lanes, width + 1, tokens))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        d, word = self.distance, self.i.p
        pipe = Pipeline(m, self.i, self.o)

        # Places below `drained` hold nothing more of the block before; `filled` are the new one's.
        folds, filled, drained = Signal(), Signal(range(d)), Signal(range(d + 1), init=d)
        fold, drain, final = Signal(), Signal(), Signal()
        m.d.comb += [
            fold.eq(folds & self.i.valid),
            drain.eq(~folds & (drained != d)),
            final.eq(filled == d - 1),
        ]
        with m.If(pipe.advance):
            m.d.sync += drained.eq(drained + drain)
            with m.If(self.i.valid):
                m.d.sync += filled.eq(Mux(final, 0, filled + 1))
                m.d.sync += folds.eq(folds ^ final)
                with m.If(folds & final):
                    m.d.sync += drained.eq(0)

        # The tag of a block, until its last difference has left.
        tag = {"token": word.token, "argument": word.argument, "last": word.last}
        held = {name: Signal.like(value, name=f"held_{name}") for name, value in tag.items()}
        with m.If(pipe.advance & fold & final):
            m.d.sync += [held[name].eq(value) for name, value in tag.items()]
        tag = {name: Mux(fold, value, held[name]) for name, value in tag.items()}
        tag["last"] = drain & (drained == d - 1) & held["last"]

        shape = data.ArrayLayout(signed(self.width + 1), self.lanes)
        m.submodules.memory = memory = Memory(shape=shape, depth=d, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [read.addr.eq(Mux(folds, filled, drained)), read.en.eq(pipe.advance)]
        taken, x = self.i.valid, list(word.data)
        pipe.valid = fold | drain
        fold, taken, filled, tag, x = pipe.stage(fold, taken, filled, tag, x)
        old, fold, taken, filled, tag, x = pipe.stage(list(read.data), fold, taken, filled, tag, x)
        new = [Mux(fold, a - b, b) for a, b in zip(old, x, strict=True)]
        sums = [a + Mux(fold, b, 0) for a, b in zip(old, x, strict=True)]
        m.d.comb += [
            write.addr.eq(filled),
            write.en.eq(pipe.advance & taken),
            *(write.data[n].eq(value) for n, value in enumerate(new)),
        ]
        tag, sums = pipe.stage(tag, [s[: self.width + 1].as_signed() for s in sums])
        pipe.finish({**tag, "data": sums})
        return m


class Core(wiring.Component):
    """``matrix @ x`` for each block of ``len(matrix)`` words, lane by lane.

    Exact.

    Latency ``len(matrix) + 1`` cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    width : int, 2 to 48
    matrix : int[order, order] of 1 and -1
        ``order`` from 2 to 256.
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of tagged(lanes, width, tokens))
    o : Out(stream of tagged(lanes, width + ceil_log2(order), tokens))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, width, matrix, tokens=1):
        check_range("lanes", lanes, 1, 64)
        check_range("width", width, 2, 48)
        check_range("tokens", tokens, 1, 64)
        self.matrix = np.asarray(matrix)
        order = len(self.matrix)
        check_range("len(matrix)", order, 2, 256)
        if self.matrix.shape != (order, order) or not np.isin(self.matrix, (1, -1)).all():
            raise ValueError(f"matrix must be {order} rows of as many 1 and -1")
        self.lanes = lanes
        self.width = width
        self.tokens = tokens
        self.latency = order + 1
        self.o_width = width + ceil_log2(order)
        super().__init__(
            {
                "i": In(stream.Signature(tagged(lanes, width, tokens))),
                "o": Out(stream.Signature(tagged(lanes, self.o_width, tokens))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n, word = len(self.matrix), self.i.p
        pipe = Pipeline(m, self.i, self.o)

        # A word, and the signs with which it enters the sums.
        place = Signal(range(n))
        with m.If(pipe.advance & self.i.valid):
            m.d.sync += place.eq(Mux(place == n - 1, 0, place + 1))
        signs = Array(Const(_bits(column), n) for column in self.matrix.T)
        tag = {"token": word.token, "argument": word.argument, "last": word.last}
        final, x = place == n - 1, list(word.data)
        tag, final, signs, x = pipe.stage(tag, final, signs[place], x)

        # The sums so far; complete ones move to the results, which leave one word a cycle.
        results, left = [self._lanes("result") for _ in range(n)], Signal(range(n + 1))
        held = {name: Signal.like(value, name=f"held_{name}") for name, value in tag.items()}
        complete = Signal()
        m.d.comb += [complete.eq(pipe.valid & final), self.o.valid.eq(left != 0)]
        with m.If(pipe.advance):
            m.d.sync += left.eq(Mux(complete, n, left - (left != 0)))
            for pair in pairwise(results):
                m.d.sync += [a.eq(b) for a, b in zip(*pair, strict=True)]
        with m.If(pipe.advance & complete):
            m.d.sync += [held[name].eq(value) for name, value in tag.items()]
        for sign, row, lanes in zip(signs, self.matrix, results, strict=True):
            start = int((row < 0).sum())  # -x is ~x + 1: a 1 for each
            for value, acc, result in zip(x, self._lanes("acc", start), lanes, strict=True):
                total = Signal(signed(self.o_width), name="total")
                addend = (value.as_unsigned() ^ sign.replicate(self.width)).as_signed()
                m.d.comb += total.eq(acc + addend)
                with m.If(pipe.advance & pipe.valid):
                    m.d.sync += acc.eq(total)
                with m.If(pipe.advance & complete):
                    m.d.sync += [acc.eq(start), result.eq(total)]
        m.d.comb += [
            *(self.o.p.data[lane].eq(result) for lane, result in enumerate(results[0])),
            self.o.p.token.eq(held["token"]),
            self.o.p.argument.eq(held["argument"]),
            self.o.p.last.eq(held["last"] & (left == 1)),
        ]
        return m

    def _lanes(self, name, init=0):
        """A signal for each lane; one signal of them all is more than Yosys' abc9 bears."""
        return [Signal(signed(self.o_width), init=init, name=name) for _ in range(self.lanes)]


def _bits(column):
    """A bit for each -1."""
    return sum(int(sign < 0) << k for k, sign in enumerate(column))


def butterflies(x, distance):
    """Sums and differences of the values ``distance`` apart."""
    return [x[k - distance] - v if k & distance else v + x[k + distance] for k, v in enumerate(x)]
