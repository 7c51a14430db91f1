"""The softmax's denominator, summed from the very blocks that the values are weighted with."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
from celosia.reference.units.softmax import SPAN
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.mac.mac_fabric import activation_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import delayed
from celosia.rtl.stream.words import token_width

__all__ = ["SoftmaxSum"]


class SoftmaxSum(wiring.Component):
    """``1 / sum(mantissa << exponent)`` over the blocks up to ``last``, for each token in turn.

    With a ``total_width``, blocks bring their sums of mantissas, ``totals``. With ``parts`` as many
    blocks come at once for each token.

    Bit-exact with :func:`celosia.reference.functions.functions.reciprocal` of the exact sum; 1 in
    place of an empty sum.

    Latency 4 cycles, with ``parts`` 3, and that of :class:`Reciprocal` for the first token, 1 cycle
    for each further one. Throughput 1 block per cycle; up to 8 sums may wait.

    Parameters
    ----------
    lanes, tokens : int, 1 to 64
    words : int, 1 to 2**20
        The most blocks in a sum, or ``parts`` of them.
    total_width : int, 0 to 32
    parts : int, 1 to 64
        Without a ``total_width`` where there are several.

    Members
    -------
    i : In(stream of activation_layout[tokens * parts], totals and ``last``), always ready
        Mantissas from 0 to 127.
    group : In(unsigned)
        The last token whose sum is wanted.
    o : Out(stream of ``mantissa`` and ``shift``)
        Tokens 0 to ``group`` for each sum.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    waiting = 8

    def __init__(self, lanes, tokens, words, total_width=0, parts=1):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("words", words, 1, 1 << 20)
        check_range("total_width", total_width, 0, 32)
        self.lanes = lanes
        self.tokens = tokens
        self.words = words
        check_range("parts", parts, 1, 64)
        if total_width and parts > 1:
            raise ValueError(f"parts must be 1 with totals, not {parts}")
        self.latency = 9 - (parts > 1)
        self.total_width = total_width
        self.parts = parts
        self.width = 7 + SPAN + ceil_log2(lanes * words * parts) + 1
        blocks = data.ArrayLayout(activation_layout(lanes), tokens * parts)
        members = {"blocks": blocks, "last": 1}
        if total_width:
            self.width = total_width + SPAN + ceil_log2(words) + 1
            members["totals"] = data.ArrayLayout(unsigned(total_width), tokens)
        block = data.StructLayout(members)
        scalar = data.StructLayout({"mantissa": unsigned(17), "shift": unsigned(6)})
        super().__init__(
            {
                "i": In(stream.Signature(block, always_ready=True)),
                "group": In(token_width(tokens)),
                "o": Out(stream.Signature(scalar)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reciprocal = reciprocal = Reciprocal(self.width)
        m.submodules.sums = sums = fifo.SyncFIFO(width=self.tokens * self.width, depth=self.waiting)
        connect(m, reciprocal.o, flipped(self.o))

        valid, last = self.i.valid, self.i.valid & self.i.p.last
        started = Signal()  # the sum under way has a block already
        first = Signal()
        m.d.comb += first.eq(~started)
        with m.If(valid):
            m.d.sync += started.eq(~last)
        stages = 3 - (self.parts > 1)
        for _ in range(stages - 1):
            valid, last, first = (delayed(m, s) for s in (valid, last, first))
        m.d.comb += sums.w_en.eq(delayed(m, last))
        for token in range(self.tokens):
            numbers = range(token * self.parts, (token + 1) * self.parts)
            parts = [self._shifted(m, number, token) for number in numbers]
            acc = Signal(self.width, name=f"sum_{token}")
            if self.parts == 1:
                with m.If(valid & first):
                    m.d.sync += acc.eq(parts[0])
                with m.Elif(valid):
                    m.d.sync += acc.eq(acc + parts[0])
            else:
                with m.If(valid):
                    rows = [Mux(first, 0, acc), *parts]
                    m.d.sync += acc.eq(carry_save_sum(m, rows, self.width))
            # An empty sum counts as 1.
            m.d.comb += sums.w_data.word_select(token, self.width).eq(acc | (acc == 0))

        token = Signal(token_width(self.tokens))
        m.d.comb += [
            reciprocal.i.payload.eq(sums.r_data.word_select(token, self.width)),
            reciprocal.i.valid.eq(sums.r_rdy),
            sums.r_en.eq(reciprocal.i.ready & (token == self.group)),
        ]
        with m.If(reciprocal.i.valid & reciprocal.i.ready):
            m.d.sync += token.eq(token + 1)
            with m.If(token == self.group):
                m.d.sync += token.eq(0)
        return m

    def _shifted(self, m, number, token):
        """The sum of a block's powers by its exponent, two cycles later; of several blocks one."""
        block = self.i.p.blocks[number]
        width = self.total_width or 7 + ceil_log2(self.lanes) + 1
        total = Signal(unsigned(width), name=f"total_{number}")
        shifted = Signal(unsigned(len(total) + SPAN), name=f"shifted_{number}")
        powers = [block.mantissa[lane].as_unsigned() for lane in range(self.lanes)]
        powers = [self.i.p.totals[token]] if self.total_width else powers
        if self.parts > 1:
            m.d.comb += total.eq(sum(powers[1:], powers[0]))
            m.d.sync += shifted.eq(total << block.exponent)
            return shifted
        exponent = delayed(m, block.exponent)
        m.d.sync += [total.eq(sum(powers[1:], powers[0])), shifted.eq(total << exponent)]
        return shifted
