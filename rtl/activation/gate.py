"""What stands between an MLP's matrices: gates wait, activated, for the ups that belong to them."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.units.gate import ACTIVATIONS, GATE_FRACTION, SQUARE_SHIFT
from celosia.rtl.activation.gating import gating
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp, halved
from celosia.rtl.stream.words import framed

__all__ = ["Gate", "activated", "multiplied", "rounded"]


class Gate(wiring.Component):
    """``act(gate) * up / 2**argument``, or plain: ``act(x) / 2**argument``; of 23 bits, saturated.

    If ``gated``, words of even index hold gates (units of ``2**-fraction``), the words of the next
    odd index and the same token the ups (saturated to 18 bits). Formats, roundings and errors are
    those of :func:`celosia.reference.units.gate.gate`, with which it is bit-exact.

    Latency :attr:`latency`, from an up word or, plain, from a word: 10 and 9 cycles for activations
    by table ("silu", "gelu", "gelu_tanh"), 5 and 4 for "relu", 6 and 5 for "relu2". Throughput 1
    word per cycle, which is one result for two if ``gated``.

    Parameters
    ----------
    lanes : int, 1 to 64
    tokens : int, 1 to 64
        Gate words of up to so many tokens come before the first of their up words.
    fraction : int, 0 to 12
    activation : "silu", "gelu", "gelu_tanh", "relu" or "relu2"
    gated : bool
    more
        Further members of the words, name to shape: those of the up word are passed on.

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens))
        ``argument``, that of the up word if ``gated``, is from 0 to 31.
    o : Out(stream of framed(lanes, 23, tokens))
        ``token``, ``argument`` and ``last`` are the (up) word's, ``index`` is half of the up word's
        or, plain, the word's.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(
        self, lanes, tokens=1, fraction=GATE_FRACTION, activation="silu", gated=True, **more
    ):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("fraction", fraction, 0, GATE_FRACTION)
        if activation not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {names}, not {activation!r}")
        self.lanes = self.at_once = lanes
        self.tokens = tokens
        self.fraction = fraction
        self.activation = activation
        self.gated = gated
        self.more = more
        self.latency = {"relu": 1, "relu2": 2}.get(activation, 6) + (4 if gated else 3)
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24, tokens, **more))),
                "o": Out(stream.Signature(framed(lanes, 23, tokens, **more))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = self.i.p
        pipe = Pipeline(m, self.i, self.o)
        frame = {n: word[n] for n in ("token", "index", "argument", "last", *self.more)}
        width = 18 if self.activation == "relu2" else 20
        x = [clamp(v, width) for v in word.data]
        if self.gated:
            x = [Mux(word.index[0], clamp(v, 18), a) for v, a in zip(word.data, x, strict=True)]
        form = self.activation, self.fraction
        y, x, early, frame = activated(m, pipe, *form, x, frame, list(word.data))
        if not self.gated:
            y, frame = pipe.stage(y, frame)
        else:
            gates, ups, frame = self._kept(m, pipe, y, x, early, frame)
            y, frame = multiplied(m, pipe, gates, ups, frame)
        values, frame = rounded(m, pipe, y, frame, self.gated)
        pipe.finish({**frame, "data": values})
        return m

    def _kept(self, m, pipe, y, x, early, frame):
        """Activations that waited for their ups, and these; gates go no further."""
        shape = data.ArrayLayout(signed(20), self.lanes)
        is_up = frame["index"][0]
        comes = pipe.advance & pipe.valid & ~is_up
        if self.tokens == 1:
            kept = Signal(shape)
            with m.If(comes):
                m.d.sync += [a.eq(v) for a, v in zip(kept, y, strict=True)]
        else:
            m.submodules.gates = gates = Memory(shape=shape, depth=self.tokens, init=[])
            write = gates.write_port()
            read = gates.read_port(transparent_for=[write])
            kept = read.data
            m.d.comb += [
                *(read.addr.eq(early["token"]), read.en.eq(pipe.advance)),
                *(write.addr.eq(frame["token"]), write.en.eq(comes)),
                *(write.data[n].eq(v) for n, v in enumerate(y)),
            ]
        pipe.valid = pipe.valid & is_up
        ups = [v[:18].as_signed() for v in x]
        return list(kept), ups, {**frame, "index": frame["index"][1:]}


def activated(m, pipe, activation, fraction, x, frame, values):
    """Activations of ``x``, not registered, one stage later or more.

    Parameters
    ----------
    activation, fraction
        As for :class:`Gate`.
    x : list of signed(20)
        For "relu2" of 18 bits.
    frame : dict of values
        What walks along.
    values : list of signed values
        What ``x`` is before it saturates, or ``x``.

    Returns
    -------
    list of signed(20), list of Signal, dict, dict
        The activations; with them ``x`` and ``frame``, between them ``frame`` one stage earlier.
    """
    if activation == "relu":
        early = frame
        x, frame = pipe.stage(x, frame)
        return [Mux(v[-1], 0, v[:20].as_signed()) for v in x], x, early, frame
    if activation == "relu2":
        roots = [Mux(v[-1], 0, v[:17]) for v in x]
        squares = [multiply_registered(m, v, v, pipe.advance) for v in roots]
        x, early = pipe.stage(x, frame)
        x, frame = pipe.stage(x, early)
        half = 1 << (SQUARE_SHIFT - 1)
        return [((v + half) >> SQUARE_SHIFT)[:20].as_signed() for v in squares], x, early, frame
    left = GATE_FRACTION - fraction
    shares, (x, frame) = gating(m, pipe, values, left, activation, [x, frame])
    high = _products(m, x, shares, pipe.advance)  # with the registers of two stages
    shares, x, early = pipe.stage(shares, x, frame)
    low, x, frame = pipe.stage(_rests(x, shares), x, early)
    half = Const(1 << 15)
    sums = [carry_save_sum(m, [a << 2, b, half], 36) for a, b in zip(high, low, strict=True)]
    return [total[16:].as_signed() for total in sums], x, early, frame


def multiplied(m, pipe, gates, ups, frame):
    """``gates`` of 20 bits times ``ups`` of 18, and ``frame``, two stages later."""
    high = _products(m, gates, ups, pipe.advance)
    gates, ups, frame = pipe.stage(gates, ups, frame)
    low, frame = pipe.stage(_rests(gates, ups), frame)
    return [(a << 2) + b for a, b in zip(high, low, strict=True)], frame


def rounded(m, pipe, y, frame, gated=True):
    """``y / 2**argument`` in 23 bits, and ``frame``, two stages later."""
    # The shift, by all but the last two bits, by those.
    far = Cat(Const(0, 2), frame["argument"][2:5])
    shifted = [Cat(Const(0, 1), v).as_signed() >> far for v in y]
    shifted, frame = pipe.stage(shifted, frame)
    shifted = [v >> frame["argument"][:2] for v in shifted]
    limited = [halved(m, v, 23) if gated else (v + 1) >> 1 for v in shifted]
    return pipe.stage(limited, frame)


def _products(m, a, b, en):
    """Products of all but two bits of each ``a``, so that one multiplier of 18 bits does for 20."""
    return [multiply_registered(m, x[2:].as_signed(), y, en) for x, y in zip(a, b, strict=True)]


def _rests(a, b):
    """The products of those two bits."""
    pairs = zip(a, b, strict=True)
    return [Mux(x[0], y, 0) + Mux(x[1], y << 1, 0) for x, y in pairs]
