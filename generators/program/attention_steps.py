"""The steps of attention, in an order that hides each one's latency behind others."""

from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.linear import IntegerLinear
from celosia.rtl.machine.step import (
    BUFFERS,
    Operand,
    Region,
    Resource,
    Scalar,
    Source,
    argument,
)

__all__ = ["AttentionSteps"]

AHEAD = BUFFERS - 1  # scores of so many heads are computed before the first head's values


class AttentionSteps:
    """Keys, the first heads' queries, the others', values; then scores ahead of weighted values.

    Scores that need the steps of values wait for these, which then come before the other queries.

    Parameters
    ----------
    writer : celosia.generators.program.program.Writer
    index : int
        The layer.
    operations : list
        The layer's.
    """

    def __init__(self, writer, index, operations):
        self.writer, self.index, self.operations = writer, index, operations
        found = [op for op in operations if isinstance(op, IntegerAttention)]
        self.op = found[0] if found else None
        self.matrices, self.ways = {}, {}
        for place, op in enumerate(operations):
            if isinstance(op, IntegerLinear) and not op.add:
                way = writer.ways.after(operations, place)
                if way.end is self.op:
                    self.matrices[way.name], self.ways[way.name] = op, way

    def has(self, op):
        """Whether a matrix makes queries, keys or values."""
        return any(op is matrix for matrix in self.matrices.values())

    def write(self):
        """All steps of the layer's attention."""
        s, early = self.op.source, self._early_heads
        if self.op.cap:
            self.writer.ways.cap("scores", self.op.cap)
        key = argument(head={"is_key": 1, "layer": self.index})
        self._heads(s.k, key, Resource.KEYS)
        self._queries(0, early)
        rest = [lambda: self._heads(s.v, argument(layer=self.index), Resource.VALUES)]
        if early < s.n_heads:
            rest.insert(0, lambda: self._queries(early, s.n_heads))
        for write in reversed(rest) if self._value_steps else rest:
            write()
        # The scores of some heads run ahead, so that no head waits for its softmax.
        for head in range(s.n_heads + AHEAD):
            if head < s.n_heads:
                self._scores(head)
            if head >= AHEAD:
                self._values(head - AHEAD)

    @property
    def _value_steps(self):
        """Whether scores need the values' steps."""
        return self.writer.model.scheme.value_steps == "token"

    @property
    def _early_heads(self):
        """Heads whose queries come first, in whole tiles: their scores hide the others' latency."""
        w = self.writer
        head_dim, n_heads = w.model.head_dim, self.op.source.n_heads
        way = self.ways[self.op.source.q]
        if way.norm and way.norm.source.groups == 1:
            return n_heads  # the norm is of all of them
        whole = max(w.rows, 2 * w.lanes)
        fitting = (n for n in range(BUFFERS // 2, n_heads) if n * head_dim % whole == 0)
        return next(fitting, n_heads)

    def _queries(self, start, end):
        """The queries of heads ``start`` to ``end``."""
        w, s = self.writer, self.op.source
        rows = slice(start * w.model.head_dim, end * w.model.head_dim)
        sets = Resource.QUERIES if end == s.n_heads else Resource.EARLY_QUERIES
        query = argument(head={"is_key": 0, "layer": self.index})
        self._heads(s.q, query, sets, rows=rows, base=start * w.head_words)

    def _heads(self, name, number, sets, **fields):
        """A matrix whose results are heads of the layer's attention."""
        w, op, way = self.writer, self.matrices[name], self.ways[name]
        w.linear(
            op,
            name=f"layers.{self.index}.{op.name}",
            route=way.route,
            argument=number,
            sets=sets.value,
            **w.ways.members(way),
            **w.source(self.operations, self.operations.index(op)),
            **fields,
        )

    def _scores(self, head):
        w, s, index = self.writer, self.op.source, self.index
        kv_head = head // s.group
        buffer = head % BUFFERS
        early = head < self._early_heads < s.n_heads
        waits = (Resource.EARLY_QUERIES if early else Resource.QUERIES) | Resource.KEYS
        if self._value_steps:
            waits |= Resource.VALUES
        w.step(
            name=f"layers.{index}.scores",
            route="scores",
            scalar=Scalar.QUERY,
            operand=Operand.KEYS,
            source=Source.QUERIES,
            source_base=head * w.head_words,
            words=w.head_words,
            dynamic={"tiles": 1, "chunks": 1},
            view=w.view_numbers[index],
            address=w.places.key_address(index, kv_head),
            stride=w.head_words,
            argument=argument(buffer=buffer),
            shift=self.op.score_shift,
            head=head,
            scale_address=w.places.step_address(index, kv_head),
            waits=waits.value,
            sets=Resource.SCORES0.value << buffer,
        )

    def _values(self, head):
        w, s, index = self.writer, self.op.source, self.index
        kv_head = head // s.group
        buffer = head % BUFFERS
        w.tape.scales(self.op.value_scale[kv_head])
        inner = w.ways.after(self.operations, self.operations.index(self.op))
        w.step(
            name=f"layers.{index}.values",
            route="attention",
            scalar=Scalar.SUM,
            operand=Operand.VALUES,
            source=Source.SCORES,
            source_base=buffer * w.places.most_reads,
            fills=Region.ATTENTION if head == 0 else Region.NONE,
            tiles=w.places.channel_tiles,
            chunks=w.head_words,
            dynamic={"words": 1},
            view=w.view_numbers[index],
            address=w.places.value_address(index, kv_head),
            stride=w.places.reads(index),
            base=head * w.head_words,
            argument=argument(buffer=buffer),
            shift=self.op.value_shift - 1,
            waits=Resource.VALUES.value | Resource.SCORES0.value << buffer,
            **w.ways.members(inner, "attention"),
        )
