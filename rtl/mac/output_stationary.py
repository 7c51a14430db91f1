"""A systolic array for matrix products whose sums stay in place."""

from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.parts import check_array, results_queue, word_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import delayed

__all__ = ["OutputStationary"]

PLAIN = MacFormat()
JOINED = 4  # sums that one LUT joins
AT_REST = {"mute": -1, "clear": -1}  # all rows


class OutputStationary(wiring.Component):
    """``o = a @ b`` for tiles a int[rows, k], b int[k, cols] that come column by row, k at will.

    Exact while the sums fit ``acc_width`` bits; they wrap beyond. A tile's rows leave while the
    next tile is summed, so that tiles of at least as many beats as rows follow each other without
    a gap. A tile may have fewer rows: only those leave, and take time.

    Latency ``cols / group + ceil(log4(rows)) + 5`` cycles from a tile's last beat to its first row.
    Throughput 1 beat per cycle.

    Parameters
    ----------
    rows : int, 1 to 64
    cols : int, 1 to 64
        A multiple of ``form.group``.
    form : MacFormat
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
        check_array(rows, cols, form)
        check_range("acc_width", acc_width, 16, 48)
        self.rows = rows
        self.cols = cols
        self.form = form
        self.acc_width = acc_width
        self.joints = -(-ceil_log2(rows) // ceil_log2(JOINED))
        self.latency = cols // form.group + self.joints + 5
        beat = {
            "activations": data.ArrayLayout(signed(form.activation_width), rows),
            "weights": data.ArrayLayout(signed(form.weight_width), cols),
            "last": 1,
            "rows": range(rows + 1),
        }
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(beat))),
                "o": Out(stream.Signature(word_layout(acc_width, cols))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, form, groups = self.i, self.form, self.cols // self.form.group
        results, room = results_queue(m, self, 2 * self.rows + self.latency + 1)
        take, ending = Signal(), Signal()
        leaving = Signal(range(self.rows))  # cycles until the last tile's rows are on their way
        m.d.comb += [
            i.ready.eq(~i.p.last | ((leaving == 0) & (room >= i.p.rows))),
            take.eq(i.valid & i.ready),
            ending.eq(take & i.p.last),
        ]
        m.d.sync += room.eq(room + (self.o.valid & self.o.ready) - Mux(ending, i.p.rows, 0))
        m.d.sync += leaving.eq(Mux(ending, i.p.rows - 1, leaving - (leaving != 0)))

        # Row r does a cycle later what the row above does, a column what the one to its left does.
        flags, sweep = self._sweep(m, take, ending, leaving)
        flags, sweep = delayed(m, flags, 2, init=AT_REST), delayed(m, sweep, 3 + self.joints)
        a, columns = [_delayed(m, x, r) for r, x in enumerate(i.p.activations)], []
        for group in range(groups):
            word = list(i.p.weights)[group * form.group :][: form.group]
            operand = form.pack([_delayed(m, w, group) for w in word])
            for handed in self._column(m, a, operand, flags):
                total = self._accumulated(m, handed, sweep)
                columns.append(_delayed(m, total, groups - 1 - group))
            a = [_delayed(m, x, 1, "activation") for x in a]
            flags, sweep = delayed(m, flags, 1, init=AT_REST), delayed(m, sweep, 1)
        m.d.comb += [
            results.p.eq(Cat(*columns, sweep.last)),
            results.valid.eq(sweep.final),
        ]
        return m

    def _sweep(self, m, take, ending, leaving):
        """What the rows do in this cycle, and what the accumulators do with what is handed down.

        From a tile's end on, row after row hands over its sums. So do the rows of an unfinished
        tile every ``rows`` beats, until its end cuts in: sums of fewer than ``2 * rows`` products
        are all that a row holds.
        """
        rows, count = self.rows, Signal(range(self.rows))  # beats since a sweep began
        begin, final, last, use = Signal(), Signal(), Signal(), Signal()
        hand, later = Signal(rows), Signal(rows)
        taken, ended, past = Signal(rows), Signal(rows), Signal(rows)
        begun = Signal(rows)  # there is a sum below
        row, place = Signal(range(rows)), Signal(range(rows))
        flags = Signal(data.StructLayout({"take": rows, "mute": rows, "clear": rows}))
        sweep = Signal(
            data.StructLayout(
                {"read": range(rows + 1), "write": range(rows), "keep": 1, "final": 1, "last": 1}
            )
        )
        m.d.sync += [taken.eq(flags.take), past.eq(ended)]
        m.d.comb += [
            begin.eq(ending | (take & (count == rows - 1))),
            final.eq(ending | (leaving != 0)),
            last.eq(Mux(ending, self.i.p.rows == 1, leaving == 1)),
            hand.eq(Mux(begin, 1, later)),
            row.eq(Mux(begin, 0, place)),
            ended.eq(Cat(ending, past)),
            use.eq((hand & begun).any()),
            flags.take.eq(Cat(take, taken)),
            flags.mute.eq(~hand),
            flags.clear.eq(hand | ended),
            sweep.read.eq(Mux(use, row, rows)),  # a place that is never written: zero
            sweep.write.eq(row),
            sweep.keep.eq(hand.any() & ~final),
            sweep.final.eq(final),
            sweep.last.eq(last),
        ]
        m.d.sync += [
            later.eq(Mux(last, 0, hand << 1)),
            place.eq(row + 1),
            begun.eq((begun | Mux(final, 0, hand)) & ~ended),
        ]
        with m.If(begin):
            m.d.sync += count.eq(0)
        with m.Elif(take):
            m.d.sync += count.eq(count + 1)
        return flags, sweep

    def _column(self, m, a, operand, flags):
        """One group of columns: what its rows hand over, one of them each cycle, else zeros."""
        form = self.form
        width = min(self.acc_width, form.product_width + ceil_log2(self.rows))
        handed = []
        for r, x in enumerate(a):
            product = form.multiply_registered(m, operand, x)
            operand, row = _delayed(m, operand, 1, "operand"), []
            for part in form.split(product):
                acc, out = (
                    Signal(signed(width), name=n, reset_less=True) for n in ("acc", "handed")
                )
                total = Signal(signed(width), name="total")
                m.d.comb += total.eq(acc + part)
                with m.If(flags.take[r]):
                    m.d.sync += acc.eq(total)
                with m.If(flags.clear[r]):
                    m.d.sync += acc.eq(0)
                m.d.sync += out.eq(Mux(flags.mute[r], 0, total))
                row.append(out)
            handed.append(row)
        return [self._joined(m, sums) for sums in zip(*handed, strict=True)]

    def _joined(self, m, sums):
        """The only one of ``sums`` that is not zero."""
        while len(sums) > 1:
            parts = [sums[n : n + JOINED] for n in range(0, len(sums), JOINED)]
            sums = [_delayed(m, reduce(or_, part).as_signed(), 1, "joined") for part in parts]
        return sums[0]

    def _accumulated(self, m, handed, sweep):
        """What is handed down and what was before it, kept for later and given away."""
        m.submodules += (
            memory := Memory(shape=signed(self.acc_width), depth=self.rows + 1, init=[])
        )
        write, read = memory.write_port(), memory.read_port(domain="comb")
        total = Signal(signed(self.acc_width), name="accumulated")
        m.d.comb += [
            read.addr.eq(sweep.read),
            total.eq(read.data + handed),
            write.addr.eq(sweep.write),
            write.data.eq(total),
            write.en.eq(sweep.keep),
        ]
        return _delayed(m, total, 1, "given")


def _delayed(m, value, cycles, name="delayed"):
    """A value that counts only with its flags, so many cycles later."""
    return delayed(m, value, cycles, name, reset_less=True)
