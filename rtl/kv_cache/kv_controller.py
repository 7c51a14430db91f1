"""KV-cache controllers for contiguous memory: which slot holds which position of a sequence."""

from amaranth import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range

__all__ = ["KvLinear", "KvRing", "Operation", "Status", "answer_layout", "command_layout"]

MAX_POSITIONS = 1 << 20


class Operation(enum.Enum, shape=unsigned(2)):
    """What a controller is asked for.

    ``APPEND``: the slot of a sequence's next position. ``READ``: the slots of all positions it
    sees, oldest first, ``group`` times. ``FREE``: forget the sequence. ``FORK`` (paged only): make
    the empty sequence ``target`` a copy of it, sharing its blocks.
    """

    APPEND = 0
    READ = 1
    FREE = 2
    FORK = 3


class Status(enum.Enum, shape=unsigned(3)):
    """What an answer means.

    ``DONE``: done. ``COPY``: done, and slots from ``source`` on are to be copied to the new block
    before it is used. ``EMPTY``: there is nothing to read. Nothing was changed after ``FULL`` (the
    sequence is as long as it can be), ``OUT_OF_MEMORY`` (no block is free) and ``REFUSED`` (no
    such sequence, or an operation that cannot be done here).
    """

    DONE = 0
    COPY = 1
    EMPTY = 2
    FULL = 3
    OUT_OF_MEMORY = 4
    REFUSED = 5


def command_layout(n_sequences):
    """``operation``, ``sequence`` and, for FORK, ``target``."""
    number = unsigned(max(1, ceil_log2(n_sequences)))
    return data.StructLayout({"operation": Operation, "sequence": number, "target": number})


def answer_layout(n_slots, group):
    """An answer, or one of several.

    Members
    -------
    status : Status
        Where it is neither DONE nor COPY the other members but ``last`` are 0.
    slot : unsigned
        Where the key and the value of ``position`` lie, or are to be written.
    source : unsigned
        With COPY: the first slot of the block to copy; as many as ``slot`` lies behind the start
        of its own block.
    position : unsigned(21)
    first : unsigned(21)
        The oldest position seen: those below it are masked.
    replay : unsigned
        READ: how many times all slots have been given before, 0 to ``group - 1``.
    last : 1
        The last answer to its command.
    """
    slot = unsigned(max(1, ceil_log2(n_slots)))
    position = unsigned(MAX_POSITIONS.bit_length())
    return data.StructLayout(
        {
            "status": Status,
            "slot": slot,
            "source": slot,
            "position": position,
            "first": position,
            "replay": unsigned(max(1, ceil_log2(group))),
            "last": 1,
        }
    )


class KvRing(wiring.Component):
    """A ring of ``n_slots`` slots per sequence: position ``p`` at ``s * n_slots + p % n_slots``.

    Each sequence sees its last ``window`` positions (sliding-window attention, Jiang et al. 2023).
    READ gives the window ``group`` times: once for each query head that shares the key and value
    head (GQA, Ainslie et al. 2023). Equal to :class:`celosia.reference.units.kv_controller.KvRing`.

    Latency 4 cycles from a command to its answer, 5 to the first one of READ. Throughput 1 answer
    per cycle; the next command is accepted after the last one.

    Parameters
    ----------
    n_slots : int, 1 to 2**20
    window : int, 1 to ``n_slots``, or None for ``n_slots``
    n_sequences : int, 1 to 64
    group : int, 1 to 64

    Members
    -------
    i : In(stream of command_layout)
    o : Out(stream of answer_layout)
        A sequence of 2**20 positions is FULL. FORK is REFUSED.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 4
    wraps = True

    def __init__(self, n_slots, window=None, n_sequences=1, group=1):
        check_range("n_slots", n_slots, 1, MAX_POSITIONS)
        if window is not None:
            check_range("window", window, 1, n_slots)
        check_range("n_sequences", n_sequences, 1, 64)
        check_range("group", group, 1, 64)
        self.n_slots = n_slots
        self.window = n_slots if window is None else window
        self.n_sequences = n_sequences
        self.group = group
        super().__init__(
            {
                "i": In(stream.Signature(command_layout(n_sequences))),
                "o": Out(stream.Signature(answer_layout(n_slots * n_sequences, group))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        o, final = self.o.p, self.n_slots - 1
        command = Signal.like(self.i.p)
        lengths = Array(Signal.like(o.position, name=f"n_{s}") for s in range(self.n_sequences))
        slots = Array(Signal(range(self.n_slots), name=f"p_{s}") for s in range(self.n_sequences))
        n, count, before = (Signal.like(o.position, name=name) for name in ("n", "count", "before"))
        slot, start = Signal(range(self.n_slots)), Signal(range(self.n_slots))
        base = Signal.like(o.slot)
        behind = Signal(range(-self.n_slots, self.n_slots))
        single, turn = Signal(), Signal()  # one position is seen; the newest one is offered
        m.d.comb += behind.eq(slot - count)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += command.eq(self.i.p)
                with m.If(self.i.valid):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [
                    n.eq(lengths[command.sequence]),
                    slot.eq(slots[command.sequence]),
                    base.eq(command.sequence * self.n_slots),
                ]
                m.next = "BOUND"
            with m.State("BOUND"):
                m.d.sync += [
                    count.eq(Mux(n < self.window, n, self.window)),
                    before.eq(n - 2),
                    self.o.payload.eq(0),
                    o.last.eq(1),
                ]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.next = "OFFER"
                unknown = command.sequence >= self.n_sequences
                with m.If(unknown | (command.operation == Operation.FORK)):
                    m.d.sync += o.status.eq(Status.REFUSED)
                with m.Elif(command.operation == Operation.FREE):
                    m.d.sync += [lengths[command.sequence].eq(0), slots[command.sequence].eq(0)]
                with m.Elif(command.operation == Operation.APPEND):
                    limit = MAX_POSITIONS if self.wraps else self.n_slots
                    with m.If(n == limit):
                        m.d.sync += o.status.eq(Status.FULL)
                    with m.Else():
                        m.d.sync += [
                            lengths[command.sequence].eq(n + 1),
                            slots[command.sequence].eq(Mux(slot == final, 0, slot + 1)),
                            o.slot.eq(base + slot),
                            o.position.eq(n),
                            o.first.eq(Mux(n < self.window, 0, n - (self.window - 1))),
                        ]
                with m.Elif(n == 0):
                    m.d.sync += o.status.eq(Status.EMPTY)
                with m.Else():
                    m.d.sync += [
                        start.eq(Mux(behind < 0, behind + self.n_slots, behind)),
                        o.position.eq(n - count),
                        o.first.eq(n - count),
                        o.last.eq((count == 1) & (self.group == 1)),
                        single.eq(count == 1),
                        turn.eq(count == 1),
                    ]
                    m.next = "START"
            with m.State("START"):
                m.d.sync += [slot.eq(start), o.slot.eq(base + start)]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    self._next(m, o, turn, slot, start, base)
                    newest = Mux(turn, single, o.position == before)
                    replays = Mux(turn, o.replay == self.group - 2, o.replay == self.group - 1)
                    m.d.sync += [turn.eq(newest), o.last.eq(newest & replays)]
                    with m.If(o.last):
                        m.next = "IDLE"
        return m

    def _next(self, m, o, turn, slot, start, base):
        """The following answer to READ."""
        following = Signal.like(slot)
        m.d.comb += following.eq(Mux(turn, start, Mux(slot == self.n_slots - 1, 0, slot + 1)))
        m.d.sync += [
            slot.eq(following),
            o.slot.eq(base + following),
            o.position.eq(Mux(turn, o.first, o.position + 1)),
            o.replay.eq(o.replay + turn),
        ]


class KvLinear(KvRing):
    """All positions of each sequence: position ``p`` at slot ``s * n_slots + p``.

    READ gives them ``group`` times. Equal to
    :class:`celosia.reference.units.kv_controller.KvLinear`; latency, throughput and errors as of
    :class:`KvRing`.

    Parameters
    ----------
    n_slots : int, 1 to 2**20
        For each sequence.
    n_sequences : int, 1 to 64
    group : int, 1 to 64

    Members
    -------
    i : In(stream of command_layout)
    o : Out(stream of answer_layout)
        A sequence of ``n_slots`` positions is FULL. FORK is REFUSED.
    """

    wraps = False

    def __init__(self, n_slots, n_sequences=1, group=1):
        super().__init__(n_slots, n_slots, n_sequences, group)
