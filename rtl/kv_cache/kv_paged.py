"""The paged KV-cache controller: blocks on demand, shared between sequences, copied on write."""

from types import SimpleNamespace

from amaranth import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from celosia.rtl.kv_cache.kv_controller import Operation, Status, answer_layout, command_layout
from celosia.rtl.stream.checks import check_power_of_two, check_range

__all__ = ["KvPaged"]


class KvPaged(wiring.Component):
    """Block tables: position ``p`` at ``table[s][p // block_size] * block_size + p % block_size``.

    APPEND takes a free block at the start of each block, and at a block that other sequences share
    (COPY). FORK shares all blocks, FREE gives back those that nobody else has. The block freed last
    is taken first; those never used follow in order (PagedAttention, Kwon et al. 2023). Equal to
    :class:`celosia.reference.units.kv_controller.KvPaged`.

    Latency 7 cycles from APPEND to its answer, 10 from READ to its first one, 7 and 5 for each
    block of the sequence from FREE and FORK. Throughput of READ 1 answer per cycle; the next
    command is accepted after the last one.

    Parameters
    ----------
    n_blocks : int, 1 to 2**16
    block_size : int, a power of two from 1 to 256
    n_sequences : int, 1 to 64
    max_blocks : int, a power of two from 1 to 4096
        Of one sequence.
    group : int, 1 to 64
        READ gives all slots ``group`` times (GQA).

    Members
    -------
    i : In(stream of command_layout)
    o : Out(stream of answer_layout)
        ``first`` is 0: every position is seen.
    n_free : Out(unsigned)
        Blocks that are nobody's, while no command is being worked on.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 7

    def __init__(self, n_blocks, block_size, n_sequences, max_blocks, group=1):
        check_range("n_blocks", n_blocks, 1, 1 << 16)
        check_power_of_two("block_size", block_size, 256)
        check_range("n_sequences", n_sequences, 1, 64)
        check_power_of_two("max_blocks", max_blocks, 4096)
        check_range("group", group, 1, 64)
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.n_sequences = n_sequences
        self.max_blocks = max_blocks
        self.group = group
        super().__init__(
            {
                "i": In(stream.Signature(command_layout(n_sequences))),
                "o": Out(stream.Signature(answer_layout(n_blocks * block_size, group))),
                "n_free": Out(range(n_blocks + 1), init=n_blocks),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number = unsigned(max(1, ceil_log2(self.n_blocks)))
        position = self.o.p.position.shape()
        r = SimpleNamespace(
            command=Signal.like(self.i.p),
            lengths=Array(Signal(position, name=f"n_{s}") for s in range(self.n_sequences)),
            table=_Store(self.n_sequences * self.max_blocks, number),
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
                m.d.sync += [self.o.payload.eq(0), self.o.p.last.eq(1)]
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
            with m.State("JUDGE"):
                m.d.sync += r.shared.eq(r.references.value > 1)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                self._decide(m, r, bits)
            with m.State("OFFER"):
                with m.If(r.granted):
                    m.d.comb += r.references.write(r.spare, 1)
                with m.If(self.o.ready):
                    m.d.sync += self.o.valid.eq(0)
                    m.next = "IDLE"
            self._walk(m, r, bits)
            with m.State("READ"):
                self._read(m, r, bits)
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
        with m.Elif(r.n == 0):
            read = _is(r.command, Operation.READ)
            self._offer(m, Mux(read, Status.EMPTY, Status.DONE))
        with m.Elif(_is(r.command, Operation.READ)):
            m.next = "READ"
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
        fork, logical = _is(r.command, Operation.FORK), Signal(range(self.max_blocks))
        with m.State("WALK"):
            m.d.comb += r.table.index.eq(self._entry(r.command.sequence, logical))
            m.next = "HOLD"
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
            with m.If(logical == r.end >> bits):
                m.d.sync += logical.eq(0)
                with m.If(fork):
                    m.d.sync += r.lengths[r.command.target].eq(r.n)
                with m.Else():
                    m.d.sync += r.lengths[r.command.sequence].eq(0)
                self._offer(m, Status.DONE)

    def _read(self, m, r, bits):
        """READ: a counter, the block table, and the answer behind each other."""
        o, advance = self.o.p, Signal()
        place = data.StructLayout(
            {"position": o.position.shape(), "replay": o.replay.shape(), "last": 1, "valid": 1}
        )
        now, found, seen, done = Signal(place), Signal(place), Signal(place), Signal()
        block = Signal.like(r.block)  # memories are slow
        turn = now.position == r.end
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            r.table.index.eq(self._entry(r.command.sequence, now.position >> bits)),
            r.table.en.eq(advance),
        ]
        m.d.comb += now.last.eq(turn & (now.replay == self.group - 1))
        m.d.comb += now.valid.eq(~done)
        position, replay = Signal.like(o.position), Signal.like(o.replay)
        m.d.comb += [now.position.eq(position), now.replay.eq(replay)]
        with m.If(advance):
            m.d.sync += [
                position.eq(Mux(turn, 0, position + 1)),
                replay.eq(replay + turn),
                done.eq(done | now.last),
                found.eq(now),
                seen.eq(found),
                block.eq(r.table.value),
                self.o.valid.eq(seen.valid),
                o.position.eq(seen.position),
                o.replay.eq(seen.replay),
                o.last.eq(seen.last),
                o.slot.eq(Cat(seen.position[:bits], block)),
            ]
        with m.If(self.o.valid & self.o.ready & o.last):
            m.d.sync += [done.eq(0), position.eq(0), replay.eq(0), found.eq(0), seen.eq(0)]
            m.next = "IDLE"


def _is(command, operation):
    return command.operation == operation


class _Store(wiring.Component):
    """A memory of ``depth`` words of ``shape``: ``value`` at ``index`` a cycle later."""

    def __init__(self, depth, shape):
        self.depth = depth
        address = range(max(depth, 2))
        super().__init__(
            {
                "index": In(address),
                "en": In(1, init=1),
                "value": Out(shape),
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
        m.d.comb += [
            read.addr.eq(self.index),
            read.en.eq(self.en),
            self.value.eq(read.data),
            write.addr.eq(self.write_index),
            write.data.eq(self.write_value),
            write.en.eq(self.write_en),
        ]
        return m
