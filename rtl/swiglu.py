"""SwiGLU: gate words wait, as their SiLU, for the up words that belong to them."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.tables import sigmoid_table
from celosia.rtl.interpolate import interpolate
from celosia.rtl.multiplier import multiply
from celosia.rtl.pipeline import Pipeline, clamp, halved, round_shift
from celosia.rtl.words import framed

__all__ = ["SwiGlu"]


class SwiGlu(wiring.Component):
    """``gate * sigmoid(gate) * up / 2**argument``, saturated to 23 bits.

    Words of even index hold gates (units of 2**-12, saturated to 20 bits), the words of the next
    odd index and the same token the ups (saturated to 18 bits). The SiLU is rounded to units of
    2**-12, then the product; both half up. Bit-exact with
    :func:`celosia.reference.swiglu.swiglu`.

    Latency 8 cycles from an up word. Throughput 1 word per cycle, which is one result for two.

    Parameters
    ----------
    lanes : int, 1 to 64
    tokens : int, 1 to 64
        Gate words of up to so many tokens come before the first of their up words.

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

    def __init__(self, lanes, tokens=1):
        if lanes not in range(1, 65):
            raise ValueError(f"lanes must be from 1 to 64, not {lanes!r}")
        if tokens not in range(1, 65):
            raise ValueError(f"tokens must be from 1 to 64, not {tokens!r}")
        self.lanes = lanes
        self.tokens = tokens
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24, tokens))),
                "o": Out(stream.Signature(framed(lanes, 23, tokens))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n, word = self.lanes, self.i.p
        pipe = Pipeline(m, self.i, self.o)
        frame = [word.token, word.index, word.argument, word.last]

        # Both kinds of words walk through the sigmoid, so that they stay in order.
        x = [Mux(word.index[0], clamp(v, 18), clamp(v, 20)) for v in word.data]
        sigmoids, (*x, token, index, argument, last) = _sigmoid(m, pipe, word.data, [*x, *frame])
        *s, token, index, argument, last = pipe.stage(*sigmoids, *x, token, index, argument, last)
        s, x = s[:n], s[n:]
        shape = data.ArrayLayout(signed(20), n)
        m.submodules.silu = silu = Memory(shape=shape, depth=max(self.tokens, 2), init=[])
        write = silu.write_port()
        read = silu.read_port(transparent_for=[write])
        m.d.comb += [read.addr.eq(token), read.en.eq(pipe.advance)]
        parts = [part for a, b in zip(x, s, strict=True) for part in _product(m, a, b)]
        *p, token, index, argument, last = pipe.stage(*parts, *x, token, index, argument, last)
        sums, x = _sums(p[: 2 * n]), p[2 * n :]
        m.d.comb += [
            write.addr.eq(token),
            write.en.eq(pipe.advance & pipe.valid & ~index[0]),
            write.data.eq(Cat(round_shift(m, v, 16, 16)[:20] for v in sums)),
        ]
        pipe.valid = pipe.valid & index[0]
        parts = [
            part
            for a, b in zip(read.data, x, strict=True)
            for part in _product(m, a, b[:18].as_signed())
        ]
        *p, token, index, argument, last = pipe.stage(*parts, token, index[1:], argument, last)
        even = Cat(Const(0, 1), argument[1:5])  # a shift by one more is left for the next stage
        shifted = [Cat(Const(0, 1), v).as_signed() >> even for v in _sums(p)]
        *y, token, index, argument, last = pipe.stage(*shifted, token, index, argument, last)
        limited = [halved(m, Mux(argument[0], v >> 1, v), 23) for v in y]
        y = pipe.stage(*limited, token, index, argument, last)
        pipe.finish(
            {
                "data": Cat(v[:23] for v in y[:n]),
                **dict(zip(("token", "index", "argument", "last"), y[n:], strict=True)),
            }
        )
        return m


def _product(m, a, b):
    """``a * b`` in two parts for :func:`_sums`, so that one multiplier of 18 bits does for 20."""
    return multiply(m, a[2:].as_signed(), b), Mux(a[0], b, 0) + Mux(a[1], b << 1, 0)


def _sums(parts):
    return [(high << 2) + low for high, low in zip(parts[0::2], parts[1::2], strict=True)]


def _sigmoid(m, pipe, values, carried):
    """:func:`celosia.reference.functions.sigmoid` of ``values``, 3 stages, the sum unregistered."""
    places, signs = [], []
    for value in values:
        magnitude = Signal(unsigned(len(value)))
        m.d.comb += magnitude.eq(Mux(value < 0, -value, value))
        beyond = magnitude[16:].any()
        places.append(Cat(magnitude[:16] | beyond.replicate(16)))
        signs.append(Cat(beyond, value < 0))
    values, registers = interpolate(m, pipe, sigmoid_table(), 7, places, [*signs, *carried])
    sigmoids = []
    for value, sign in zip(values, registers, strict=False):
        beyond, negative = sign
        y = Signal(17)
        right = Mux(beyond, 1 << 16, value)
        m.d.comb += y.eq(Mux(negative, (1 << 16) - right, right))
        sigmoids.append(y)
    return sigmoids, registers[len(signs) :]
