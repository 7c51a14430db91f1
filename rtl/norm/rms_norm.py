"""RMSNorm without a pass of its own: gains and squares as the residual stream is written."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.rtl.norm.gains import check_gains, read_gains
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, moved, overflowing
from celosia.rtl.stream.words import framed, token_width

__all__ = ["RmsNorm"]

NORMED = 23  # bits of a value times its gain
SPLIT = 17  # low bits of a value, multiplied on their own
COARSE = 3  # bits of the shift that are left for the last stage


class RmsNorm(wiring.Component):
    """``x * gain / 2**argument`` word by word, and ``1 / sqrt(sum(x**2) + epsilon)`` behind them.

    Products are rounded half up and saturate to 23 bits. Bit-exact with
    :func:`celosia.reference.units.norm.gain`, :func:`celosia.reference.units.norm.sum_of_squares`
    and :func:`celosia.reference.functions.functions.rsqrt`.

    Latency 6 cycles from ``i`` to ``o``, 15 from a vector's last word to its scalar (16 where
    ``lanes`` exceeds 8). Throughput 1 word per cycle, vector on vector, except that words wait
    while the scalars of ``tokens + 1`` vectors are not taken or on their way.

    Parameters
    ----------
    lanes : int, 2 to 64
    words : int, 1 to 4096
        Words in a vector.
    width : int, 20 to 28
    epsilon : int, 1 or more
        In squared units of ``x``, for the whole vector.
    gains : sequence of int16[words * lanes], 1 to 1024 of them
        One vector for each norm.
    tokens : int, 1 to 64
        ``lanes * words * 4**(width - 1) + epsilon`` must be below ``2**62``.

    Members
    -------
    i : In(stream of framed(lanes, width, tokens, norm=unsigned(10)))
        Each token's words from index 0 to ``words - 1``. ``norm`` is the number of the gains,
        ``argument`` the shift behind them: 0 to 62.
    o : Out(stream of framed(lanes, 23, tokens))
    scalars : Out(stream of {token, mantissa: unsigned(17), shift: unsigned(6)})
        ``mantissa * 2**(-15 - shift)`` for each vector, in the order of their last words.

    Raises
    ------
    ValueError
        If a parameter is out of range, or a sum could be.
    """

    latency = 6

    def __init__(self, lanes, words, width, epsilon, gains, tokens=1):
        check_range("width", width, 20, 28)
        self._squares = SumOfSquares(lanes, words, width, epsilon, tokens)
        self.scalar_latency = self._squares.latency + 7
        self.gains = check_gains(gains, words * lanes)
        self.lanes = lanes
        self.words = words
        self.width = width
        self.epsilon = epsilon
        self.tokens = tokens
        i = framed(lanes, width, tokens, norm=unsigned(10))
        scalar = {"token": token_width(tokens), "mantissa": unsigned(17), "shift": unsigned(6)}
        super().__init__(
            {
                "i": In(stream.Signature(i)),
                "o": Out(stream.Signature(framed(lanes, NORMED, tokens))),
                "scalars": Out(stream.Signature(data.StructLayout(scalar))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i = stream.Signature(self.i.p.shape()).create()
        full = self._scalars(m, i)
        m.d.comb += [
            i.payload.eq(self.i.p),
            i.valid.eq(self.i.valid & ~full),
            self.i.ready.eq(i.ready & ~full),
        ]
        pipe = Pipeline(m, i, self.o)

        # The gains, through one more register: memories are slow.
        gains = read_gains(m, self.gains, self.lanes, i.p.index, i.p.norm, pipe.advance)
        places = self.width + 16  # a longer shift leaves nothing either
        shift = Mux(i.p.argument > places, places, i.p.argument)[: places.bit_length()]
        frame = {n: i.p[n] for n in ("token", "index", "argument", "last")}
        frame, shift, values = pipe.stage(frame, shift, list(i.p.data))
        # The product in three parts, the low one by a block whose registers are two stages; their
        # sum, with the half that rounds it; the shift, in two stages.
        low = [
            multiply_registered(m, x[:SPLIT], g, pipe.advance)
            for x, g in zip(values, gains, strict=True)
        ]
        values = [x[SPLIT:] for x in values]
        half = (Const(1) << shift)[1 : places + 1]
        frame, shift, half, values, gains = pipe.stage(frame, shift, half, values, list(gains))
        high = [_rows(m, x, g) for x, g in zip(values, gains, strict=True)]
        frame, shift, half, high = pipe.stage(frame, shift, half, high)
        beyond = overflowing(shift, places, NORMED)
        sums = [
            carry_save_sum(m, [small, *(x << SPLIT for x in large), half], places + 1)
            for small, large in zip(low, high, strict=True)
        ]
        frame, shift, beyond, sums = pipe.stage(frame, shift, beyond, sums)
        over = [Cat(_lost(x, beyond)) for x in sums]
        signs = [x[-1] for x in sums]
        far, near = range(COARSE, len(shift))[::-1], range(COARSE)[::-1]
        values = [moved(m, x, shift, far, NORMED) for x in sums]
        frame, shift, over, signs, values = pipe.stage(frame, shift, over, signs, values)
        results = []
        for x, lost, sign in zip(values, over, signs, strict=True):
            limit = Cat((~sign).replicate(NORMED - 1), sign)
            value = moved(m, x, shift, near, NORMED)[:NORMED]
            results.append(Mux(lost.any(), limit, value).as_signed())
        frame, values = pipe.stage(frame, results)
        pipe.finish({**frame, "data": values})
        return m

    def _scalars(self, m, i):
        """Connect what computes the scalars to ``i``; a signal that says no word may come now.

        A vector whose last word is taken has its places in the two queues, so that nothing behind
        ``i`` ever waits.
        """
        m.submodules.squares = squares = self._squares
        m.submodules.rsqrt = rsqrt = Rsqrt(squares.total_width, spread=True)
        scalar = rsqrt.o.payload
        most = self.tokens + 1
        m.submodules.roots = roots = fifo.SyncFIFO(width=len(scalar.as_value()), depth=most)
        m.submodules.order = order = fifo.SyncFIFO(width=len(i.p.token), depth=most)
        outstanding, following = Signal(range(most + 1)), Signal(range(most + 1))
        full, take, enter, entered, leave = (Signal() for _ in range(5))
        token = Signal.like(i.p.token)
        last = self.words - 1
        m.d.comb += [
            take.eq(i.valid & i.ready),
            enter.eq(take & (i.p.index[: max(last.bit_length(), 1)] == last)),
            leave.eq(self.scalars.valid & self.scalars.ready),
            following.eq(outstanding + enter - leave),
            squares.i.valid.eq(take),
            *(squares.i.p[n].eq(i.p[n]) for n in ("data", "token", "index", "argument", "last")),
            rsqrt.i.valid.eq(squares.o.valid),
            rsqrt.i.payload.eq(squares.o.p.total),
            rsqrt.o.ready.eq(1),
            order.w_en.eq(entered),
            order.w_data.eq(token),
            order.r_en.eq(leave),
            roots.w_en.eq(rsqrt.o.valid),
            roots.w_data.eq(scalar),
            roots.r_en.eq(leave),
            self.scalars.valid.eq(roots.r_rdy),
            self.scalars.p.token.eq(order.r_data),
            Cat(self.scalars.p.mantissa, self.scalars.p.shift).eq(roots.r_data),
        ]
        m.d.sync += [
            outstanding.eq(following),
            full.eq(following == most),
            entered.eq(enter),
            token.eq(i.p.token),
        ]
        return full


def _rows(m, x, gain):
    """``x * gain``, both signed, as the sum of two."""
    rows = [Mux(bit, gain, 0) << n for n, bit in enumerate(x)]
    rows[-1] = ~rows[-1]  # this one counts negative: its complement, and 1
    middle, width = max((len(rows) + 1) // 2, 2), len(x) + len(gain)
    parts = rows[:middle], [*rows[middle:], Const(1)]
    return [carry_save_sum(m, part, width).as_signed() for part in parts]


def _lost(x, beyond):
    """Whether the bits of ``x`` that are ``beyond`` differ from its sign, for four at a time."""
    differ = (x[:-1] ^ x[-1].replicate(len(beyond))) & beyond
    return [differ[n : n + 4].any() for n in range(0, len(differ), 4)]
