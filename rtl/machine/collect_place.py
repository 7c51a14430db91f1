"""Where the collector is: the chunk and the token of an operation that it gives next."""

from amaranth import Mux, Signal
from celosia.rtl.machine.step import Scalar
from celosia.rtl.stream.words import token_width

__all__ = ["CollectPlace", "asks"]


def asks(operation, scalar):
    """Whether that :class:`Scalar` is the operation's scalar."""
    return (operation.scalar.as_value() & scalar.value).any()


class CollectPlace:
    """The chunk and the token that a :class:`celosia.rtl.machine.collect.Collect` gives next."""

    def __init__(self, collect):
        self.chunks = collect.rows // collect.lanes  # in a tile
        self.cached = collect.cached_rows // collect.lanes  # of them those of keys and values
        self.chunk = Signal(collect.index_width)
        self.ahead = Signal(collect.index_width, init=2)  # chunk + 2
        self.first_chunk = Signal(init=1)
        self.final = Signal()  # of several chunks the last one
        self.part = Signal(range(max(2, self.chunks)))  # the chunk's number in its tile
        self.bottom = Signal(init=self.chunks == collect.parts == 1)  # that is the last one there
        self.cached_bottom = Signal(init=self.cached == 1)  # likewise of keys and values
        self.offset = Signal(token_width(collect.tokens))
        self.token = Signal(token_width(collect.tokens))
        self.parts, self.wide = collect.parts, collect.wide
        self.number = Signal(range(self.parts))  # of a word among those of ``parts`` chunks

    def at_bottom(self, operation):
        """Whether the chunk is the last one of its tile."""
        if not self.cached:
            return self.bottom
        cached = asks(operation, Scalar.QUERY) | asks(operation, Scalar.SUM)
        cached |= operation.wide if self.wide else 0
        return Mux(cached, self.cached_bottom, self.bottom)

    def move(self, m, go, bottom, last_token, last_chunk, count, moves=None):
        """On with ``go``: token by token, then to the next one of ``count`` chunks; from a tile's
        ``bottom`` to the next one.

        Where ``parts`` chunks of a tile move together, ``moves`` says that they do.
        """
        part, again = [self.part.eq(self.part + 1)], [self.part.eq(0)]
        ends = [(self.bottom, self.chunks)]
        ends += [(self.cached_bottom, self.cached)] if self.cached else []
        for end, chunks in ends:
            if moves is None:
                part.append(end.eq(self.part + 2 == chunks))
                again.append(end.eq(chunks == 1))
            else:
                m.d.comb += end.eq(moves & (self.part == chunks // self.parts - 1))
        if moves is not None:
            part = [self.part.eq(self.part + moves), self.number.eq(Mux(moves, 0, self.number + 1))]
            again = [self.part.eq(0), self.number.eq(0)]
        with m.If(go):
            m.d.sync += self.offset.eq(self.offset + 1)
            with m.If(last_token):
                m.d.sync += [
                    self.offset.eq(0),
                    self.chunk.eq(self.chunk + 1),
                    self.ahead.eq(self.ahead + 1),
                    self.first_chunk.eq(0),
                    self.final.eq(self.ahead == count[: len(self.ahead)]),
                    *part,
                ]
                with m.If(bottom | last_chunk):
                    m.d.sync += again
                with m.If(last_chunk):
                    m.d.sync += [self.chunk.eq(0), self.ahead.eq(2), self.first_chunk.eq(1)]
