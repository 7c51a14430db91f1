"""The tapes' runs of a pass with experts: common ones, and those of the experts that are chosen."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect
from celosia.rtl.memory.tape import Tape, run_layout
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.checks import check_range

__all__ = ["TapeRuns", "both_layout"]

TAPES = ("weights", "scales")


def both_layout():
    """A run of each tape."""
    return data.StructLayout({name: run_layout() for name in TAPES})


class TapeRuns(wiring.Component):
    """For each pass the ``runs`` of a program; of an expert's its number times its size further on.

    A run that is chosen waits for the next of ``numbers``, and is given after a cycle for each bit
    of the largest number and one more; others take 2 cycles.

    Parameters
    ----------
    runs : sequence of celosia.rtl.machine.program.Run
        At least 2.
    n : int, 1 to 1024
        The number of experts.

    Members
    -------
    i : In(stream of unsigned(1))
        A pass: 1 with the last run, 0 without. The next one is accepted when all runs are given.
    numbers : In(stream of unsigned)
    o : Out(stream of both_layout)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, runs, n):
        if len(runs) < 2:
            raise ValueError(f"runs must be at least 2, not {len(runs)}")
        check_range("n", n, 1, 1024)
        self.runs = runs
        self.n = n
        number = unsigned(max(1, (n - 1).bit_length()))
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(1))),
                "numbers": In(stream.Signature(number)),
                "o": Out(stream.Signature(both_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout({"both": both_layout(), "chosen": 1})
        m.submodules.runs = runs = Tape(layout, [_initial(run) for run in self.runs])
        m.submodules.offered = offered = Buffer(layout)
        connect(m, runs.o, offered.i)
        run, o = offered.o.p, self.o.p
        left = Signal(range(len(self.runs) + 1))  # of the pass
        number = Signal.like(self.numbers.payload)  # its bits that are not yet added
        steps = Signal(both_layout())  # count: what the lowest of them adds
        m.d.comb += [
            runs.run.p.count.eq(len(self.runs) - 1 + self.i.payload),
            runs.run.valid.eq(self.i.valid & (left == 0)),
            self.i.ready.eq(runs.run.ready & (left == 0)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += left.eq(runs.run.p.count)
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [
                    offered.o.ready.eq(~run.chosen | self.numbers.valid),
                    self.numbers.ready.eq(offered.o.valid & run.chosen),
                ]
                m.d.sync += [o.eq(run.both), steps.eq(run.both), number.eq(self.numbers.payload)]
                with m.If(offered.o.valid & ~run.chosen):
                    m.next = "GIVE"
                with m.Elif(offered.o.valid & self.numbers.valid):
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.sync += number.eq(number >> 1)
                for name in TAPES:
                    m.d.sync += steps[name].count.eq(steps[name].count << 1)
                    with m.If(number[0]):
                        m.d.sync += o[name].address.eq(o[name].address + steps[name].count)
                with m.If(number[1:] == 0):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    m.next = "TAKE"
        return m


def _initial(run):
    """A run as initial values."""
    both = {}
    for name in TAPES:
        address, count = getattr(run, name)
        both[name] = {"address": address, "count": count}
    return {"both": both, "chosen": run.chosen}
