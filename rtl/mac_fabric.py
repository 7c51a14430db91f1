"""The MAC fabric: a systolic array of dot products that consumes the tape, one beat a cycle."""

from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.multiplier import multiply

__all__ = ["MacFabric", "activation_layout", "beat_layout"]

MANTISSA_WIDTH = 8
EXPONENT_WIDTH = 4


def activation_layout(lanes):
    """A block of activations: ``mantissa[lanes] * 2**exponent``."""
    return data.StructLayout(
        {
            "mantissa": data.ArrayLayout(signed(MANTISSA_WIDTH), lanes),
            "exponent": unsigned(EXPONENT_WIDTH),
        }
    )


def beat_layout(rows, lanes, tokens, weight_width):
    """What the fabric takes in a cycle.

    ``weights`` int[rows, lanes]; one block of ``activations`` for each token; ``first`` and
    ``last`` frame the beats of a tile.
    """
    return data.StructLayout(
        {
            "weights": data.ArrayLayout(data.ArrayLayout(signed(weight_width), lanes), rows),
            "activations": data.ArrayLayout(activation_layout(lanes), tokens),
            "first": 1,
            "last": 1,
        }
    )


class MacFabric(wiring.Component):
    """``o[token, row] = sum over a tile's beats of (weights[row] . mantissa[token]) << exponent``.

    An output-stationary array of ``tokens x rows`` dot products of ``lanes`` multipliers each.
    A beat's weights serve all tokens, a token's block serves all rows. Exact: nothing rounds, and
    ``acc_width`` bits hold any tile the caller sends.

    Latency from the last beat of a tile to its result ``5 + ceil(log2(lanes) / 2)`` cycles.
    Throughput 1 beat per cycle; up to 16 results wait without stopping the beats.

    Parameters
    ----------
    rows, lanes, tokens : int, at least 1
        ``tokens * rows * lanes`` is the number of multipliers.
    weight_width : int, 2 to 8
    acc_width : int, 24 to 56

    Members
    -------
    i : In(stream of beat_layout)
    o : Out(stream of int acc_width[tokens, rows])

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    results = 16

    def __init__(self, rows, lanes, tokens=1, weight_width=8, acc_width=40):
        for name, value in (("rows", rows), ("lanes", lanes), ("tokens", tokens)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if weight_width not in range(2, 9):
            raise ValueError(f"weight_width must be from 2 to 8, not {weight_width!r}")
        if acc_width not in range(24, 57):
            raise ValueError(f"acc_width must be from 24 to 56, not {acc_width!r}")
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.weight_width = weight_width
        self.acc_width = acc_width
        self.latency = 5 + -(-ceil_log2(lanes) // 2)
        tile = data.ArrayLayout(data.ArrayLayout(signed(acc_width), rows), tokens)
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(rows, lanes, tokens, weight_width))),
                "o": Out(stream.Signature(tile)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.results = results = fifo.SyncFIFO(
            width=self.tokens * self.rows * self.acc_width, depth=self.results
        )
        m.d.comb += [
            self.o.valid.eq(results.r_rdy),
            self.o.payload.eq(results.r_data),
            results.r_en.eq(self.o.ready),
        ]

        # The arithmetic never stalls: a tile's last beat is accepted only if its result has room.
        room = Signal(range(self.results + 1), init=self.results)
        taken = Signal()
        ending = Signal()
        m.d.comb += [
            self.i.ready.eq(room != 0),
            taken.eq(self.o.valid & self.o.ready),
            ending.eq(self.i.valid & self.i.ready & self.i.p.last),
        ]
        m.d.sync += room.eq(room + taken - ending)

        beat = Signal.like(self.i.p)
        m.d.sync += beat.eq(self.i.p)
        valid = Signal()
        m.d.sync += valid.eq(self.i.valid & self.i.ready)

        depth = self.latency - 2  # stages from the registered beat to the accumulators' input
        first, last, valids = beat.first, beat.last, valid
        for _ in range(depth - 1):
            first, last, valids = (_delay(m, s) for s in (first, last, valids))
        written = _delay(m, valids & last)
        m.d.comb += results.w_en.eq(written)
        for token in range(self.tokens):
            block = beat.activations[token]
            exponent = block.exponent
            for _ in range(depth - 2):
                exponent = _delay(m, exponent)
            for row in range(self.rows):
                dot = _dot(m, beat.weights[row], block.mantissa)
                shifted = Signal(signed(len(dot) + (1 << EXPONENT_WIDTH) - 1), name="shifted")
                acc = Signal(signed(self.acc_width), name=f"acc_{token}_{row}")
                m.d.sync += shifted.eq(dot << exponent)
                with m.If(valids):
                    with m.If(first):
                        m.d.sync += acc.eq(shifted)
                    with m.Else():
                        m.d.sync += acc.eq(acc + shifted)
                place = (token * self.rows + row) * self.acc_width
                m.d.comb += results.w_data[place : place + self.acc_width].eq(acc)
        return m


def _delay(m, value):
    delayed = Signal(value.shape(), name="delayed")
    m.d.sync += delayed.eq(value)
    return delayed


def _dot(m, weights, mantissa):
    """The registered dot product: a stage of products, then one for each two levels of adders."""
    terms = []
    for weight, value in zip(weights, mantissa, strict=True):
        product = Signal(signed(len(weight) + len(value)), name="product")
        m.d.sync += product.eq(multiply(m, weight, value))
        terms.append(product)
    while len(terms) > 1:
        sums = []
        for start in range(0, len(terms), 4):
            total = sum(terms[start : start + 4][1:], terms[start])
            register = Signal(total.shape(), name="partial")
            m.d.sync += register.eq(total)
            sums.append(register)
        terms = sums
    return terms[0]
