"""SwiGLU: gate words wait, as their SiLU, for the up words that belong to them."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.swiglu import GATE_FRACTION
from celosia.reference.tables import sigmoid_table
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.functions.interpolate import interpolate
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp, halved
from celosia.rtl.stream.words import framed

__all__ = ["SwiGlu"]


class SwiGlu(wiring.Component):
    """``gate * sigmoid(gate) * up / 2**argument``, saturated to 23 bits.

    Words of even index hold gates (units of ``2**-fraction``, saturated to 20 bits), the words of
    the next odd index and the same token the ups (saturated to 18 bits). The SiLU is rounded to the
    gates' units, then the product; both half up. Bit-exact with
    :func:`celosia.reference.swiglu.swiglu`.

    Latency 10 cycles from an up word. Throughput 1 word per cycle, which is one result for two.

    Parameters
    ----------
    lanes : int, 1 to 64
    tokens : int, 1 to 64
        Gate words of up to so many tokens come before the first of their up words.
    fraction : int, 0 to 12

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens))
        ``argument``, that of the up word, is from 0 to 31.
    o : Out(stream of framed(lanes, 23, tokens))
        ``index`` is half of the up word's; ``token``, ``argument`` and ``last`` are the up word's.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, tokens=1, fraction=GATE_FRACTION):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("fraction", fraction, 0, GATE_FRACTION)
        self.lanes = lanes
        self.tokens = tokens
        self.fraction = fraction
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24, tokens))),
                "o": Out(stream.Signature(framed(lanes, 23, tokens))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = self.i.p
        pipe = Pipeline(m, self.i, self.o)
        frame = {n: word[n] for n in ("token", "index", "argument", "last")}

        # Both kinds of words walk through the sigmoid, so that they stay in order. The multipliers'
        # own registers are those of the two stages behind it.
        x = [Mux(word.index[0], clamp(v, 18), clamp(v, 20)) for v in word.data]
        places = GATE_FRACTION - self.fraction
        sigmoids, x, frame = _sigmoid(m, pipe, word.data, places, [x, frame])
        high = _products(m, x, sigmoids, pipe.advance)
        sigmoids, x, frame = pipe.stage(sigmoids, x, frame)
        shape = data.ArrayLayout(signed(20), self.lanes)
        m.submodules.silu = silu = Memory(shape=shape, depth=max(self.tokens, 2), init=[])
        write = silu.write_port()
        read = silu.read_port(transparent_for=[write])
        m.d.comb += [read.addr.eq(frame["token"]), read.en.eq(pipe.advance)]
        low, x, frame = pipe.stage(_rests(x, sigmoids), x, frame)
        half = Const(1 << 15)
        sums = [carry_save_sum(m, [a << 2, b, half], 36) for a, b in zip(high, low, strict=True)]
        is_up = frame["index"][0]
        m.d.comb += [
            write.addr.eq(frame["token"]),
            write.en.eq(pipe.advance & pipe.valid & ~is_up),
            write.data.eq(Cat(total[16:] for total in sums)),
        ]
        pipe.valid = pipe.valid & is_up

        # The gate's SiLU times the up value, shifted by all but the last two bits, by those.
        gates, ups = list(read.data), [v[:18].as_signed() for v in x]
        high = _products(m, gates, ups, pipe.advance)
        gates, ups, frame = pipe.stage(gates, ups, {**frame, "index": frame["index"][1:]})
        low, frame = pipe.stage(_rests(gates, ups), frame)
        far = Cat(Const(0, 2), frame["argument"][2:5])
        products = [(a << 2) + b for a, b in zip(high, low, strict=True)]
        shifted = [Cat(Const(0, 1), v).as_signed() >> far for v in products]
        shifted, frame = pipe.stage(shifted, frame)
        limited = [halved(m, v >> frame["argument"][:2], 23) for v in shifted]
        limited, frame = pipe.stage(limited, frame)
        pipe.finish({**frame, "data": limited})
        return m


def _products(m, a, b, en):
    """Products of all but two bits of each ``a``, so that one multiplier of 18 bits does for 20."""
    return [multiply_registered(m, x[2:].as_signed(), y, en) for x, y in zip(a, b, strict=True)]


def _rests(a, b):
    """The products of those two bits."""
    pairs = zip(a, b, strict=True)
    return [Mux(x[0], y, 0) + Mux(x[1], y << 1, 0) for x, y in pairs]


def _sigmoid(m, pipe, values, left, carried):
    """:func:`celosia.reference.functions.sigmoid` of ``values << left``; ``carried`` beside it.

    4 stages.
    """
    inside = 16 - left  # bits of a magnitude in the table
    places, signs = [], []
    for value in values:
        magnitude = Signal(unsigned(len(value)))
        negative, rest = value[-1], value[:-1]
        m.d.comb += magnitude.eq(Mux(negative, -value, value))
        # At least 2**inside, said without waiting for the sum.
        beyond = (rest[inside:] ^ negative.replicate(len(rest) - inside)).any()
        beyond = beyond | (negative & ~rest[:inside].any())
        places.append(Cat(Const(0, left), magnitude[:inside]) if left else magnitude[:inside])
        signs.append(Cat(beyond, negative))
    values, carried = interpolate(m, pipe, sigmoid_table(), 7, places, [signs, *carried])
    values, signs, *carried = pipe.stage(values, *carried)
    sigmoids = []
    for value, sign in zip(values, signs, strict=True):
        beyond, negative = sign
        y = Signal(17)
        right = Mux(beyond, 1 << 16, value)
        m.d.comb += y.eq(Mux(negative, (1 << 16) - right, right))
        sigmoids.append(y)
    return sigmoids, *carried
