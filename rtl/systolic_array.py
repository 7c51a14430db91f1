"""Systolic arrays for matrix products: weights that stay, or sums that stay."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.multiplier import multiply_registered
from celosia.rtl.parameters import check_range
from celosia.rtl.systolic_format import SystolicFormat

__all__ = ["OutputStationary", "WeightStationary"]

PLAIN = SystolicFormat()


class WeightStationary(wiring.Component):
    """``o = i @ weights`` for each word of activations, with a tile ``weights`` int[rows, cols].

    Exact. A tile's weights are loaded, row by row, while the tile before is in use, so that tiles
    of at least as many activation words as weight rows follow each other without a gap. A tile may
    have fewer than ``rows`` rows: the others count as zeros, and take no time to load.

    Latency ``rows + cols / group + 2`` cycles. Throughput 1 word of activations per cycle.

    Parameters
    ----------
    rows : int, 1 to 64
    cols : int, 1 to 64
        A multiple of ``form.group``.
    form : SystolicFormat

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
        _check(rows, cols, form)
        self.rows = rows
        self.cols = cols
        self.form = form
        self.acc_width = form.product_width + ceil_log2(rows)
        self.latency = rows + cols // form.group + 2
        super().__init__(
            {
                "weights": In(stream.Signature(_word(form.weight_width, cols))),
                "i": In(stream.Signature(_word(form.activation_width, rows))),
                "o": Out(stream.Signature(_word(self.acc_width, cols))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, form = self.i, self.form
        take, swap, first, full = Signal(), Signal(), Signal(init=1), Signal()
        results, room = _results(m, self, self.latency + 2)
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
            a.append((_delayed(m, i.p.data[r], r), flag))
            flag = _delayed(m, flag, 1)
        columns = []
        for group in range(self.cols // form.group):
            columns += self._column(m, a, enable, word[group * form.group :][: form.group])
            later = [(_delayed(m, x, 1), _delayed(m, f, 1)) for x, f in a]
            a, enable = later, _delayed(m, enable, 1)
            word = [_delayed(m, w, 1) for w in word]
        groups = self.cols // form.group
        y = [_delayed(m, v, groups - 1 - c // form.group) for c, v in enumerate(columns)]
        m.d.comb += [
            results.w_data.eq(Cat(*y, _delayed(m, i.p.last, self.latency - 1))),
            results.w_en.eq(_delayed(m, take, self.latency - 1)),
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
            x = _delayed(m, activation, 1, "activation")
            product = _delayed(m, form.multiply(operand, x), 1, "product")
            parts = zip(sums, form.split(product), strict=True)
            sums = [_delayed(m, (s + p)[: self.acc_width].as_signed(), 1, "sum") for s, p in parts]
        return sums


class OutputStationary(wiring.Component):
    """``o = a @ b`` for tiles a int[rows, k], b int[k, cols] that come column by row, k at will.

    Exact while the sums fit ``acc_width`` bits; they wrap beyond. A tile's rows leave while the
    next tile is summed, so that tiles of at least as many beats as rows follow each other without
    a gap. A tile may have fewer rows: only those leave, and take time.

    Latency ``cols / group + 3`` cycles from a tile's last beat to its first row. Throughput 1 beat
    per cycle.

    Parameters
    ----------
    rows : int, 1 to 64
    cols : int, 1 to 64
        A multiple of ``form.group``.
    form : SystolicFormat
    acc_width : int, 16 to 48

    Members
    -------
    i : In(stream of {activations: signed[rows], weights: signed[cols], last: 1, rows: unsigned})
        Column k of a, row k of b; ``last`` marks a tile's last beat, whose ``rows`` (1 or
        more) says how many rows the tile has.
    o : Out(stream of {data: signed(acc_width)[cols], last: 1})
        A tile's rows from the first; ``last`` marks its last one.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, rows, cols, form=PLAIN, acc_width=32):
        _check(rows, cols, form)
        check_range("acc_width", acc_width, 16, 48)
        self.rows = rows
        self.cols = cols
        self.form = form
        self.acc_width = acc_width
        self.latency = cols // form.group + 3
        beat = {
            "activations": data.ArrayLayout(signed(form.activation_width), rows),
            "weights": data.ArrayLayout(signed(form.weight_width), cols),
            "last": 1,
            "rows": range(rows + 1),
        }
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(beat))),
                "o": Out(stream.Signature(_word(acc_width, cols))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, form = self.i, self.form
        take, ending = Signal(), Signal()
        results, room = _results(m, self, 2 * self.rows + self.latency + 1)
        leaving = Signal(range(self.rows))  # cycles until the last tile's rows are on their way
        m.d.comb += [
            i.ready.eq(~i.p.last | ((leaving == 0) & (room >= i.p.rows))),
            take.eq(i.valid & i.ready),
            ending.eq(take & i.p.last),
        ]
        m.d.sync += room.eq(room + (self.o.valid & self.o.ready) - Mux(ending, i.p.rows, 0))
        m.d.sync += leaving.eq(Mux(ending, i.p.rows - 1, leaving - (leaving != 0)))

        flags = _delayed(m, Cat(take, ending), 2)
        a, columns, groups = list(i.p.activations), [], self.cols // form.group
        for group in range(groups):
            word = list(i.p.weights)[group * form.group :][: form.group]
            operand = form.pack([_delayed(m, w, group) for w in word])
            rows = self._column(m, a, operand, flags)
            a = [_delayed(m, x, 1, "activation") for x in a]
            columns += [_delayed(m, v, groups - 1 - group) for v in rows]
            flags = _delayed(m, flags, 1)
        left = Signal(range(self.rows + 1))  # rows still to be written
        start = _delayed(m, ending, self.latency - 1)
        count = Mux(start, _delayed(m, i.p.rows, self.latency - 1), left)
        m.d.sync += left.eq(count - (count != 0))
        m.d.comb += [
            results.w_data.eq(Cat(*columns, count == 1)),
            results.w_en.eq(count != 0),
        ]
        return m

    def _column(self, m, a, operand, flags):
        """One group of columns: the sums that leave it, row by row."""
        form = self.form
        take, ending = flags
        leaving = [0] * form.group
        for x in reversed(a):
            product = _registered_product(m, form, operand, x)
            for k, part in enumerate(form.split(product)):
                acc, out = (Signal(signed(self.acc_width), name=n) for n in ("acc", "leaving"))
                total = Signal(signed(self.acc_width), name="total")
                m.d.comb += total.eq(acc + part)
                with m.If(take):
                    m.d.sync += acc.eq(total)
                with m.If(ending):
                    m.d.sync += acc.eq(0)
                m.d.sync += out.eq(Mux(ending, total, leaving[k]))
                leaving[k] = out
        return leaving


def _registered_product(m, form, operand, x):
    """All products of a multiplier, two cycles later: registers belong to the multipliers."""
    if not form.ternary:
        return multiply_registered(m, operand, x)
    operand, x = _delayed(m, operand, 1, "operand"), _delayed(m, x, 1, "activation")
    return _delayed(m, form.multiply(operand, x), 1, "product")


def _check(rows, cols, form):
    check_range("rows", rows, 1, 64)
    check_range("cols", cols, 1, 64)
    if not isinstance(form, SystolicFormat):
        raise ValueError(f"form must be a SystolicFormat, not {form!r}")
    if cols % form.group:
        raise ValueError(f"cols must be a multiple of {form.group}, not {cols}")


def _word(width, n):
    return data.StructLayout({"data": data.ArrayLayout(signed(width), n), "last": 1})


def _results(m, array, depth):
    """The queue in front of ``o``, and how many results it has room for."""
    size = array.o.p.shape().size
    m.submodules.results = results = fifo.SyncFIFO(width=size, depth=depth)
    room = Signal(range(depth + 1), init=depth)
    m.d.comb += [
        array.o.valid.eq(results.r_rdy),
        array.o.payload.as_value().eq(results.r_data),
        results.r_en.eq(array.o.ready),
    ]
    return results, room


def _delayed(m, value, cycles, name="delayed"):
    for _ in range(cycles):
        register = Signal(value.shape(), name=name)
        m.d.sync += register.eq(value)
        value = register
    return value
