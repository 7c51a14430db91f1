"""Where a KV cache keeps its positions: linear, ring, and paged, as plain Python."""

from enum import IntEnum

__all__ = ["KvLinear", "KvPaged", "KvRing", "Operation", "Status"]

MAX_POSITIONS = 1 << 20


class Operation(IntEnum):
    """What a controller is asked for."""

    APPEND = 0
    READ = 1
    FREE = 2
    FORK = 3


class Status(IntEnum):
    """What an answer means."""

    DONE = 0
    COPY = 1
    EMPTY = 2
    FULL = 3
    OUT_OF_MEMORY = 4
    REFUSED = 5


def _answer(status, slot=0, source=0, position=0, first=0, replay=0, last=1):
    return {
        "status": int(status),
        "slot": slot,
        "source": source,
        "position": position,
        "first": first,
        "replay": replay,
        "last": last,
    }


def _replayed(group, positions, slot, first=0):
    """The answers to a READ: ``positions`` for each query head of the ``group``."""
    places = [(replay, position) for replay in range(group) for position in positions]
    return [
        _answer(
            Status.DONE,
            slot(position),
            position=position,
            first=first,
            replay=replay,
            last=int((replay, position) == places[-1]),
        )
        for replay, position in places
    ]


class KvRing:
    """The last ``window`` positions of each sequence in its own ring of ``n_slots`` slots.

    Position ``p`` of sequence ``s`` lies at slot ``s * n_slots + p % n_slots``.
    """

    def __init__(self, n_slots, window=None, n_sequences=1, group=1):
        self.n_slots, self.window = n_slots, window or n_slots
        self.n_sequences, self.group = n_sequences, group
        self.lengths = [0] * n_sequences

    limit = MAX_POSITIONS

    def __call__(self, operation, sequence, target=0):
        """The answers to one command: a list of dicts, whose last one has ``last`` set."""
        if sequence >= self.n_sequences or operation == Operation.FORK:
            return [_answer(Status.REFUSED)]
        n = self.lengths[sequence]
        if operation == Operation.FREE:
            self.lengths[sequence] = 0
            return [_answer(Status.DONE)]
        if operation == Operation.APPEND:
            if n == self.limit:
                return [_answer(Status.FULL)]
            self.lengths[sequence] += 1
            first = max(0, n + 1 - self.window)
            return [_answer(Status.DONE, self._slot(sequence, n), position=n, first=first)]
        first = max(0, n - self.window)
        if n == 0:
            return [_answer(Status.EMPTY)]
        return _replayed(self.group, range(first, n), lambda p: self._slot(sequence, p), first)

    def _slot(self, sequence, position):
        return sequence * self.n_slots + position % self.n_slots


class KvLinear(KvRing):
    """All positions of each sequence: position ``p`` of ``s`` at slot ``s * n_slots + p``."""

    def __init__(self, n_slots, n_sequences=1, group=1):
        super().__init__(n_slots, n_slots, n_sequences, group)
        self.limit = n_slots


class KvPaged:
    """Blocks of ``block_size`` slots, given to sequences on demand and shared between them.

    A sequence's block table maps ``position // block_size`` to a block. Freed blocks are given out
    again, the last one freed first, before those never used, in order. A block that several
    sequences share is copied when one of them appends to it.
    """

    def __init__(self, n_blocks, block_size, n_sequences, max_blocks, group=1):
        self.n_blocks, self.block_size = n_blocks, block_size
        self.n_sequences, self.max_blocks, self.group = n_sequences, max_blocks, group
        self.tables = [[] for _ in range(n_sequences)]
        self.lengths = [0] * n_sequences
        self.references = [0] * n_blocks
        self.freed, self.fresh = [], 0

    @property
    def n_free(self):
        """How many blocks are nobody's."""
        return len(self.freed) + self.n_blocks - self.fresh

    def __call__(self, operation, sequence, target=0):
        """The answers to one command: a list of dicts, whose last one has ``last`` set."""
        if sequence >= self.n_sequences:
            return [_answer(Status.REFUSED)]
        n = self.lengths[sequence]
        if operation == Operation.FREE:
            for block in self.tables[sequence]:
                self._release(block)
            self.tables[sequence], self.lengths[sequence] = [], 0
            return [_answer(Status.DONE)]
        if operation == Operation.FORK:
            if target >= self.n_sequences or target == sequence or self.lengths[target]:
                return [_answer(Status.REFUSED)]
            for block in self.tables[sequence]:
                self.references[block] += 1
            self.tables[target], self.lengths[target] = [*self.tables[sequence]], n
            return [_answer(Status.DONE)]
        if operation == Operation.APPEND:
            return [self._append(sequence, n)]
        if n == 0:
            return [_answer(Status.EMPTY)]
        return _replayed(self.group, range(n), lambda p: self._slot(sequence, p))

    def _append(self, sequence, n):
        table, offset = self.tables[sequence], n % self.block_size
        status, source = Status.DONE, 0
        if n == self.max_blocks * self.block_size:
            return _answer(Status.FULL)
        if offset == 0:
            if self.n_free == 0:
                return _answer(Status.OUT_OF_MEMORY)
            table.append(self._allocate())
        elif self.references[table[-1]] > 1:
            if self.n_free == 0:
                return _answer(Status.OUT_OF_MEMORY)
            status, source = Status.COPY, table[-1] * self.block_size
            self._release(table[-1])
            table[-1] = self._allocate()
        self.lengths[sequence] += 1
        return _answer(status, self._slot(sequence, n), source, position=n)

    def _allocate(self):
        if self.freed:
            block = self.freed.pop()
        else:
            block, self.fresh = self.fresh, self.fresh + 1
        self.references[block] = 1
        return block

    def _release(self, block):
        self.references[block] -= 1
        if self.references[block] == 0:
            self.freed.append(block)

    def _slot(self, sequence, position):
        block, offset = divmod(position, self.block_size)
        return self.tables[sequence][block] * self.block_size + offset
