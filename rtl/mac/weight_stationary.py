"""A systolic array for matrix products whose weights stay in place."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.parts import check_array, results_queue, word_layout
from celosia.rtl.stream.pipeline import delayed

__all__ = ["WeightStationary"]

PLAIN = MacFormat()


class WeightStationary(wiring.Component):
    """``o = i @ weights`` for each word of activations, with a tile ``weights`` int[rows, cols].

    Exact. A tile's weights are loaded, row by row, while the tile before is in use, so that tiles
    of at least as many activation words as weight rows follow each other without a gap. A tile may
    have fewer than ``rows`` rows: the others count as zeros, and take no time to load.

    Latency ``rows + cols / group + 3`` cycles. Throughput 1 word of activations per cycle.

    Parameters
    ----------
    rows : int, 1 to 64
    cols : int, 1 to 64
        A multiple of ``form.group``.
    form : MacFormat

    Members
    -------
    weights : In(stream of {data: signed(weight_width)[cols], last: 1})
        The rows of a tile from the first; ``last`` marks its last one.
    i : In(stream of {data: signed(activation_width)[rows], last: 1})
        ``last`` marks the last word for a tile: the next ones wait for the next tile's weights.
    o : Out(stream of {data: signed(acc_width)[cols], last: 1})
    error : Out(1)
        Set, until reset, by a tile of more than ``rows`` rows, which is cut there.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Kung and Leiserson 1979; Jouppi et al. 2017 for the double-buffered weights.
    """

    def __init__(self, rows, cols, form=PLAIN):
        check_array(rows, cols, form)
        self.rows = rows
        self.cols = cols
        self.form = form
        self.acc_width = form.product_width + ceil_log2(rows)
        self.latency = rows + cols // form.group + 3
        super().__init__(
            {
                "weights": In(stream.Signature(word_layout(form.weight_width, cols))),
                "i": In(stream.Signature(word_layout(form.activation_width, rows))),
                "o": Out(stream.Signature(word_layout(self.acc_width, cols))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, form = self.i, self.form
        take, swap, first, full = Signal(), Signal(), Signal(init=1), Signal()
        results, room = results_queue(m, self, self.latency + 2)
        m.d.comb += [
            i.ready.eq((room != 0) & (~first | full)),
            take.eq(i.valid & i.ready),
            swap.eq(take & first),
        ]
        m.d.sync += room.eq(room + (self.o.valid & self.o.ready) - take)
        with m.If(take):
            m.d.sync += first.eq(i.p.last)
        enable, word = self._load(m, swap, full)

        # Activations enter row by row, one cycle later each; sums come down, weights stand by.
        a, flag = [], swap
        for r in range(self.rows):
            a.append((delayed(m, i.p.data[r], r), flag))
            flag = delayed(m, flag, 1)
        columns = []
        for group in range(self.cols // form.group):
            columns += self._column(m, a, enable, word[group * form.group :][: form.group])
            later = [(delayed(m, x, 1), delayed(m, f, 1)) for x, f in a]
            a, enable = later, delayed(m, enable, 1)
            word = [delayed(m, w, 1) for w in word]
        groups = self.cols // form.group
        y = [delayed(m, v, groups - 1 - c // form.group) for c, v in enumerate(columns)]
        m.d.comb += [
            results.p.eq(Cat(*y, delayed(m, i.p.last, self.latency - 2))),
            results.valid.eq(delayed(m, take, self.latency - 2)),
        ]
        return m

    def _load(self, m, swap, full):
        """The rows that a word of weights enters, and the word."""
        weights, place, enable = self.weights, Signal(range(self.rows)), Signal(self.rows)
        load, final = Signal(), Signal()
        m.d.comb += [
            weights.ready.eq(~full | swap),
            load.eq(weights.valid & weights.ready),
            final.eq(weights.p.last | (place == self.rows - 1)),
            enable.eq(load << place),
        ]
        with m.If(swap):
            m.d.sync += full.eq(0)
        with m.If(load):
            m.d.sync += place.eq(Mux(final, 0, place + 1))
            with m.If(final):
                m.d.sync += [full.eq(1), self.error.eq(self.error | ~weights.p.last)]
        return enable, list(weights.p.data)

    def _column(self, m, a, enable, word):
        """One group of columns: its sums below the last row."""
        form = self.form
        sums = [0] * form.group
        for r, (activation, swap) in enumerate(a):
            standby = [Signal(signed(form.weight_width), name="standby") for _ in word]
            operand = Signal(signed(form.operand_width), name="operand")
            with m.If(swap):
                m.d.sync += [operand.eq(form.pack(standby)), *(s.eq(0) for s in standby)]
            with m.If(enable[r]):
                m.d.sync += [s.eq(w) for s, w in zip(standby, word, strict=True)]
            x = delayed(m, activation, 1, "activation")
            product = delayed(m, form.multiply(operand, x), 1, "product")
            parts = zip(sums, form.split(product), strict=True)
            sums = [delayed(m, (s + p)[: self.acc_width].as_signed(), 1, "sum") for s, p in parts]
        return sums
