"""The counters of a run: its cycles by their causes, and the values that saturated."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import enum, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range

__all__ = ["CAUSES", "COUNTERS", "SATURATED", "Cause", "RunCounters"]


class Cause(enum.Enum, shape=4):
    """What a cycle was spent on. Every cycle of a run has exactly one cause."""

    LINEAR = 0  # a beat of the tape
    SCORES = 1  # a beat of keys
    VALUES = 2  # a beat of values
    EMBEDDING = 3  # a word of an embedding
    ACTIVATIONS = 4  # waiting for the vector that the next operation reads
    ORDER = 5  # waiting for a cache or a buffer to be written
    TAPE = 6  # waiting for the tape
    RESULTS = 7  # waiting for room behind the fabric
    DISPATCH = 8  # steps on their way to the fetcher
    DRAIN = 9  # the last results of a pass on their way
    CONTROL = 10  # between passes
    CACHE = 11  # waiting for a cache in external memory


CAUSES = tuple(cause.name.lower() for cause in Cause)
SATURATED = tuple(
    f"saturated_{name}"
    for name in ("residual", "activations", "values", "heads", "scores", "gates", "scaled")
)
COUNTERS = ("cycles", *CAUSES, *SATURATED)
FIRST_SATURATED = 1 + len(CAUSES)
TURNS = 1 << ceil_log2(len(SATURATED))  # each counter of saturated values is added to once in them


class RunCounters(wiring.Component):
    """Counts, while ``counting`` is high, the cycles, those of each cause, and saturated values.

    The counters lie in two small memories: of each, one counter is added to in a cycle. Values that
    saturate meanwhile wait.

    A counter has its value ``TURNS + 2`` (10) cycles after what it counts; ``cycles`` 1 cycle.

    Parameters
    ----------
    readers : int, 1 to 2
    width : int, 1 to 7
        Bits of the numbers of values that saturate in a cycle.

    Members
    -------
    clear : In(1)
        Makes all counters 0; not while ``counting`` is high.
    counting : In(1)
    cause : In(Cause)
        Of this cycle.
    saturated : In(unsigned(width), 7 times)
        Values that reached the limits of their formats, in the order of ``SATURATED``.
    cycles : Out(unsigned(32))
        The counter 0.
    number, value : In(unsigned(6)), Out(unsigned(32)), ``readers`` times each
        Of a counter, in the order of ``COUNTERS``; the value in the same cycle.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, readers=1, width=7):
        check_range("readers", readers, 1, 2)
        check_range("width", width, 1, 7)
        self.readers = readers
        self.width = width
        super().__init__(
            {
                "clear": In(1),
                "counting": In(1),
                "cause": In(Cause),
                "saturated": In(width).array(len(SATURATED)),
                "cycles": Out(32),
                "number": In(6).array(readers),
                "value": Out(32).array(readers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place, counted = Signal(4), Signal()
        with m.If(self.clear):
            m.d.sync += self.cycles.eq(0)
        with m.Elif(self.counting):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        m.d.sync += [counted.eq(self.counting), place.eq(self.cause.as_value() + 1)]
        causes = self._memory(m, "causes", 16, place, 1, counted)
        saturated = self._saturated(m)
        for number, value, a, b in zip(self.number, self.value, causes, saturated, strict=True):
            with m.If(number == 0):
                m.d.comb += value.eq(self.cycles)
            with m.Elif(number < FIRST_SATURATED):
                m.d.comb += value.eq(a)
            with m.Else():
                m.d.comb += value.eq(b)
        return m

    def _memory(self, m, name, depth, place, more, enable):
        """Add ``more`` to the counter at ``place``; what the readers see."""
        m.submodules[name] = counters = memory.Memory(shape=unsigned(32), depth=depth, init=[])
        read, write = counters.read_port(domain="comb"), counters.write_port()
        known = Signal(depth, name=f"{name}_known")  # those that are not 0 since ``clear``
        with m.If(self.clear):
            m.d.sync += known.eq(0)
        with m.Elif(enable):
            m.d.sync += known.bit_select(place, 1).eq(1)
        m.d.comb += [
            read.addr.eq(place),
            write.addr.eq(place),
            write.data.eq(Mux(known.bit_select(place, 1), read.data, 0) + more),
            write.en.eq(enable),
        ]
        seen = []
        for number in self.number:
            port = counters.read_port(domain="comb")
            m.d.comb += port.addr.eq(number)
            seen.append(Mux(known.bit_select(number[: len(port.addr)], 1), port.data, 0))
        return seen

    def _saturated(self, m):
        turn = Signal(range(TURNS))
        waiting = Signal(self.width + len(turn))  # of the counter whose turn it is
        m.d.sync += turn.eq(turn + 1)
        for n, more in enumerate(self.saturated, FIRST_SATURATED):
            some = Signal(len(waiting), name=f"waiting_{n}")
            new = Signal(self.width, name=f"new_{n}")
            m.d.comb += new.eq(Mux(self.counting, more, 0))
            m.d.sync += some.eq(some + new)
            with m.If(turn == n % TURNS):
                m.d.sync += some.eq(new)
                m.d.comb += waiting.eq(some)
        return self._memory(m, "saturations", TURNS, turn, waiting, 1)
