"""The page table of a KV cache: blocks on demand, shared between sequences, copied on write."""

from types import SimpleNamespace

from amaranth import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from celosia.rtl.stream.checks import check_power_of_two, check_range

__all__ = ["KvPaged", "Operation", "Status", "answer_layout", "command_layout", "entry_layout"]

LONGEST = 20  # bits of a sequence's length


class Operation(enum.Enum, shape=unsigned(2)):
    """What the controller is asked for.

    ``APPEND``: the slot of a sequence's next position. ``FREE``: forget its positions from
    ``length`` on. ``FORK``: make the empty sequence ``target`` a copy of it, sharing its blocks.
    """

    APPEND = 0
    FREE = 1
    FORK = 2


class Status(enum.Enum, shape=unsigned(3)):
    """What an answer means.

    ``DONE``: done. ``COPY``: done, and slots from ``source`` on are to be copied to the new block
    before it is used. Nothing was changed after ``FULL`` (the sequence is as long as it can be),
    ``OUT_OF_MEMORY`` (no block is free) and ``REFUSED`` (no such sequence, or a target that is not
    empty).
    """

    DONE = 0
    COPY = 1
    FULL = 2
    OUT_OF_MEMORY = 3
    REFUSED = 4


def command_layout(n_sequences):
    """``operation``, ``sequence``; for FORK ``target``, for FREE the ``length`` that stays."""
    number = unsigned(max(1, ceil_log2(n_sequences)))
    return data.StructLayout(
        {"operation": Operation, "sequence": number, "target": number, "length": LONGEST}
    )


def answer_layout(n_slots):
    """An answer.

    Members
    -------
    status : Status
        Where it is neither DONE nor COPY the other members are 0.
    slot : unsigned
        Of APPEND: where the key and the value of ``position`` are to be written.
    source : unsigned
        Of COPY: the first slot of the block that the new one is to be a copy of.
    position : unsigned(21)
    """
    slot = unsigned(max(1, ceil_log2(n_slots)))
    return data.StructLayout(
        {"status": Status, "slot": slot, "source": slot, "position": LONGEST + 1}
    )


def entry_layout(n_sequences, max_blocks):
    """A ``sequence``'s block number ``block``, counted from its first position."""
    number = unsigned(max(1, ceil_log2(n_sequences)))
    return data.StructLayout({"block": exact_log2(max_blocks), "sequence": number})


class KvPaged(wiring.Component):
    """Block tables: position ``p`` at ``table[s][p // block_size] * block_size + p % block_size``.

    APPEND takes a free block at the start of each block, and at a block that other sequences share
    (COPY). FORK shares all blocks, FREE gives back those that nobody else has. The block freed last
    is taken first; those never used follow in order (PagedAttention, Kwon et al. 2023). Equal to
    :class:`celosia.reference.units.kv_controller.KvPaged`.

    Latency 7 cycles from APPEND to its answer, 7 from the others, and where FREE or FORK walk
    through blocks 1 more and 5 for each. The table is read in 1 cycle.

    Parameters
    ----------
    n_blocks : int, 1 to 2**16
    block_size : int, a power of two from 1 to 1024
    n_sequences : int, 1 to 64
    max_blocks : int, a power of two from 1 to 2**16
        Of one sequence.

    Members
    -------
    i : In(stream of command_layout)
    o : Out(stream of answer_layout)
    n_free : Out(unsigned)
        Blocks that are nobody's, while no command is being worked on.
    entry, entry_en, block : In(entry_layout, 2 times), In(1, 2 times), Out(unsigned, 2 times)
        Two ports that read the table: a sequence's block, a cycle after ``entry_en``, and kept
        while that is low.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 7

    def __init__(self, n_blocks, block_size, n_sequences, max_blocks):
        check_range("n_blocks", n_blocks, 1, 1 << 16)
        check_power_of_two("block_size", block_size, 1024)
        check_range("n_sequences", n_sequences, 1, 64)
        check_power_of_two("max_blocks", max_blocks, 1 << 16)
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.n_sequences = n_sequences
        self.max_blocks = max_blocks
        super().__init__(
            {
                "i": In(stream.Signature(command_layout(n_sequences))),
                "o": Out(stream.Signature(answer_layout(n_blocks * block_size))),
                "n_free": Out(range(n_blocks + 1), init=n_blocks),
                "entry": In(entry_layout(n_sequences, max_blocks)).array(2),
                "entry_en": In(1).array(2),
                "block": Out(range(max(2, n_blocks))).array(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number = unsigned(max(1, ceil_log2(self.n_blocks)))
        position = self.o.p.position.shape()
        r = SimpleNamespace(
            command=Signal.like(self.i.p),
            lengths=Array(Signal(position, name=f"n_{s}") for s in range(self.n_sequences)),
            table=_Store(self.n_sequences * self.max_blocks, number, 2),
            references=_Store(self.n_blocks, range(self.n_sequences + 1)),
            freed=_Store(self.n_blocks, number),
            n_freed=Signal(range(self.n_blocks + 1)),
            fresh=Signal(range(self.n_blocks + 1)),
            **{name: Signal(position, name=name) for name in ("n", "end", "taken")},
            **{name: Signal(number, name=name) for name in ("block", "spare")},
            held=Signal(range(self.n_sequences + 1)),
            **{name: Signal(name=name) for name in ("shared", "there", "refused", "granted")},
        )
        m.submodules += [r.table, r.references, r.freed]
        for port, entry, en, block in zip(
            r.table.others, self.entry, self.entry_en, self.block, strict=True
        ):
            m.d.comb += [port.index.eq(entry), port.en.eq(en), block.eq(port.value)]
        own, target, fork = r.command.sequence, r.command.target, _is(r.command, Operation.FORK)
        bits = exact_log2(self.block_size)
        m.d.comb += [
            r.table.index.eq(self._entry(own, r.n >> bits)),
            r.references.index.eq(r.block),
            r.freed.index.eq(r.n_freed - 1),
        ]
        m.d.sync += r.held.eq(r.references.value)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += r.command.eq(self.i.p)
                with m.If(self.i.valid):
                    m.next = "LOOK"
            with m.State("LOOK"):
                unknown = (own >= self.n_sequences) | (fork & (target >= self.n_sequences))
                m.d.sync += [r.n.eq(r.lengths[own]), r.taken.eq(r.lengths[target])]
                m.d.sync += [r.refused.eq(unknown), r.granted.eq(0)]
                m.d.sync += self.o.payload.eq(0)
                m.next = "BOUND"
            with m.State("BOUND"):
                m.d.sync += r.end.eq(r.n - 1)
                with m.If(fork & ((r.taken != 0) | (own == target))):
                    m.d.sync += r.refused.eq(1)
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += [
                    r.block.eq(r.table.value),
                    r.spare.eq(Mux(r.n_freed != 0, r.freed.value, r.fresh)),
                    r.there.eq(self.n_free != 0),
                ]
                m.next = "LOOK_UP"
            with m.State("LOOK_UP"):
                m.next = "JUDGE"
            with m.State("DECIDE"):
                self._decide(m, r, bits)
            with m.State("OFFER"):
                with m.If(r.granted):
                    m.d.comb += r.references.write(r.spare, 1)
                with m.If(self.o.ready):
                    m.d.sync += self.o.valid.eq(0)
                    m.next = "IDLE"
            self._walk(m, r, bits)
        return m

    def _entry(self, sequence, logical):
        return Cat(logical[: exact_log2(self.max_blocks)], sequence)

    def _offer(self, m, status):
        m.d.sync += [self.o.p.status.eq(status), self.o.valid.eq(1)]
        m.next = "OFFER"

    def _decide(self, m, r, bits):
        """The answer to a command, or which loop gives it."""
        with m.If(r.refused):
            self._offer(m, Status.REFUSED)
        with m.Elif(_is(r.command, Operation.APPEND)):
            self._append(m, r, bits)
        with m.Elif((r.n == 0) | (~_is(r.command, Operation.FORK) & (r.command.length >= r.n))):
            self._offer(m, Status.DONE)
        with m.Else():
            m.next = "WALK"

    def _append(self, m, r, bits):
        o, offset, new, copy = self.o.p, r.n[:bits], Signal(), Signal()
        m.d.comb += [new.eq((offset == 0) | r.shared), copy.eq((offset != 0) & r.shared)]
        with m.If(r.n == self.max_blocks * self.block_size):
            self._offer(m, Status.FULL)
        with m.Elif(new & ~r.there):
            self._offer(m, Status.OUT_OF_MEMORY)
        with m.Else():
            self._offer(m, Mux(copy, Status.COPY, Status.DONE))
            m.d.sync += [
                r.lengths[r.command.sequence].eq(r.n + 1),
                r.granted.eq(new),
                o.position.eq(r.n),
                o.slot.eq(Cat(offset, Mux(new, r.spare, r.block))),
            ]
            with m.If(copy):
                m.d.sync += o.source.eq(Cat(Const(0, bits), r.block))
                m.d.comb += r.references.write(r.block, r.held - 1)
            with m.If(new):
                m.d.comb += r.table.write(r.table.index, r.spare)
                m.d.sync += self.n_free.eq(self.n_free - 1)
                with m.If(r.n_freed != 0):
                    m.d.sync += r.n_freed.eq(r.n_freed - 1)
                with m.Else():
                    m.d.sync += r.fresh.eq(r.fresh + 1)

    def _walk(self, m, r, bits):
        """FREE and FORK: five states for each block of the sequence."""
        fork, logical = _is(r.command, Operation.FORK), Signal(range(self.max_blocks + 1))
        with m.State("WALK"):
            m.d.comb += r.table.index.eq(self._entry(r.command.sequence, logical))
            m.next = "HOLD"
            with m.If(logical > r.end >> bits):
                with m.If(fork):
                    m.d.sync += r.lengths[r.command.target].eq(r.n)
                with m.Else():
                    m.d.sync += r.lengths[r.command.sequence].eq(r.command.length)
                self._offer(m, Status.DONE)
        with m.State("HOLD"):
            m.d.sync += r.block.eq(r.table.value)
            m.next = "COUNT"
        with m.State("COUNT"):
            with m.If(fork):
                m.d.comb += r.table.write(self._entry(r.command.target, logical), r.block)
            m.next = "COUNTED"
        with m.State("COUNTED"):
            m.next = "CHANGE"
        with m.State("CHANGE"):
            m.d.comb += r.references.write(r.block, Mux(fork, r.held + 1, r.held - 1))
            with m.If(~fork & (r.held == 1)):
                m.d.comb += r.freed.write(r.n_freed, r.block)
                m.d.sync += [r.n_freed.eq(r.n_freed + 1), self.n_free.eq(self.n_free + 1)]
            m.d.sync += logical.eq(logical + 1)
            m.next = "WALK"
        with m.State("JUDGE"):
            first = (r.command.length + (self.block_size - 1)) >> bits
            m.d.sync += [r.shared.eq(r.references.value > 1), logical.eq(Mux(fork, 0, first))]
            m.next = "DECIDE"


def _is(command, operation):
    return command.operation == operation


class _Store(wiring.Component):
    """A memory of ``depth`` words of ``shape``: ``value`` at ``index`` a cycle later.

    ``others`` are further ports that read, each when its ``en`` is high.
    """

    def __init__(self, depth, shape, others=0):
        self.depth = depth
        address = range(max(depth, 2))
        reader = wiring.Signature({"index": In(address), "en": In(1), "value": Out(shape)})
        super().__init__(
            {
                "index": In(address),
                "value": Out(shape),
                "others": Out(reader).array(others),
                "write_index": In(address),
                "write_value": In(shape),
                "write_en": In(1),
            }
        )

    def write(self, index, value):
        """The statements that write, in this cycle."""
        return [self.write_index.eq(index), self.write_value.eq(value), self.write_en.eq(1)]

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.value.shape(), depth=max(self.depth, 2), init=[]
        )
        read, write = store.read_port(), store.write_port()
        for other in self.others:
            port = store.read_port()
            m.d.comb += [
                port.addr.eq(other.index),
                port.en.eq(other.en),
                other.value.eq(port.data),
            ]
        m.d.comb += [
            read.addr.eq(self.index),
            self.value.eq(read.data),
            write.addr.eq(self.write_index),
            write.data.eq(self.write_value),
            write.en.eq(self.write_en),
        ]
        return m
