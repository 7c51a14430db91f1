"""Which slot of a paged KV cache holds which position of a sequence, as plain Python."""

from enum import IntEnum

__all__ = ["KvPaged", "Operation", "Status"]


class Operation(IntEnum):
    """What the controller is asked for."""

    APPEND = 0
    FREE = 1
    FORK = 2


class Status(IntEnum):
    """What an answer means."""

    DONE = 0
    COPY = 1
    FULL = 2
    OUT_OF_MEMORY = 3
    REFUSED = 4


def _answer(status, slot=0, source=0, position=0):
    return {"status": int(status), "slot": slot, "source": source, "position": position}


class KvPaged:
    """Blocks of ``block_size`` slots, given to sequences on demand and shared between them.

    A sequence's block table maps ``position // block_size`` to a block. Freed blocks are given out
    again, the last one freed first, before those never used, in order. A block that several
    sequences share is copied when one of them appends to it. FREE forgets the positions from
    ``length`` on.
    """

    def __init__(self, n_blocks, block_size, n_sequences, max_blocks):
        self.n_blocks, self.block_size = n_blocks, block_size
        self.n_sequences, self.max_blocks = n_sequences, max_blocks
        self.tables = [[] for _ in range(n_sequences)]
        self.lengths = [0] * n_sequences
        self.references = [0] * n_blocks
        self.freed, self.fresh = [], 0

    @property
    def n_free(self):
        """How many blocks are nobody's."""
        return len(self.freed) + self.n_blocks - self.fresh

    def __call__(self, operation, sequence, target=0, length=0):
        """The answer to one command, as a dict."""
        if sequence >= self.n_sequences:
            return _answer(Status.REFUSED)
        n = self.lengths[sequence]
        if operation == Operation.FREE:
            kept = -(-length // self.block_size)
            for block in self.tables[sequence][kept:]:
                self._release(block)
            del self.tables[sequence][kept:]
            self.lengths[sequence] = min(n, length)
            return _answer(Status.DONE)
        if operation == Operation.FORK:
            if target >= self.n_sequences or target == sequence or self.lengths[target]:
                return _answer(Status.REFUSED)
            for block in self.tables[sequence]:
                self.references[block] += 1
            self.tables[target], self.lengths[target] = [*self.tables[sequence]], n
            return _answer(Status.DONE)
        return self._append(sequence, n)

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
        return _answer(status, self.slot(sequence, n), source, position=n)

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

    def slot(self, sequence, position):
        """Where a sequence's position lies."""
        block, offset = divmod(position, self.block_size)
        return self.tables[sequence][block] * self.block_size + offset
