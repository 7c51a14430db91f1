"""Where keys and values lie, and the blocks that go there."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from amaranth import Array, signed, unsigned
from amaranth.lib import data
from celosia.rtl.memory.gearbox import packed_width
from celosia.rtl.stream.checks import check_power_of_two, check_range

__all__ = ["SLOT_WIDTH", "CachePlaces", "cached_layout", "start_of"]

SLOT_WIDTH = 20


def cached_layout(lanes):
    """A block of one position's key or value: place and data.

    ``head`` counts the heads of ``layer``, ``word`` the blocks of a head; ``slot`` is the
    position's, below those of the layer; ``step`` is the key's multiplier (keys only); ``last``
    ends an operation.
    """
    return data.StructLayout(
        {
            "data": data.ArrayLayout(signed(8), lanes),
            "layer": unsigned(8),
            "head": unsigned(8),
            "word": unsigned(8),
            "slot": unsigned(SLOT_WIDTH),
            "step": unsigned(9),
            "last": 1,
        }
    )


@dataclass(frozen=True)
class CachePlaces:
    """Where the keys and values of each layer's slots lie, in words of ``rows * lanes`` values.

    Heads follow each other, layer after layer; each takes what the slots of its layer need. A key
    in slot ``s`` is row ``s % rows`` of a tile: its blocks ``word`` are ``word`` words behind
    ``key_address(layer, head) + s // rows * head_words``. Values are transposed: channel ``d`` of
    slot ``s`` is row ``d % rows``, lane ``s % lanes`` of the word
    ``value_address(layer, head) + d // rows * blocks(layer) + s // lanes``. A key's step is in
    lane ``s % lanes`` of ``step_address(layer, head) + s // lanes``.

    With ``parts`` a word of values holds as many blocks of slots, side by side: slot ``s`` is part
    ``s // lanes % parts`` of the word ``s // (lanes * parts)``. Likewise a word of steps with
    ``paths`` blocks.

    Parameters
    ----------
    rows : int, a multiple of ``lanes`` to 1024
    lanes : int, a power of two to 64
    layer_slots : tuple of int, each 1 to 2**20
        The slots of each of 1 to 256 layers.
    n_kv_heads, head_words : int, 1 to 256
        Heads are ``head_words * lanes`` long.
    key_width, value_width : int, 8, 6 or 4
        Bits of a code on chip; in external memory 4 where both are that, else 8.
    parts : int, a power of two that divides ``rows / lanes``
        More than 1 on chip only; ``parts * head_words`` blocks of rows are no more than there are.
    paths : int, a power of two to ``parts``

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    rows: int
    lanes: int
    layer_slots: tuple
    n_kv_heads: int
    head_words: int
    key_width: int = 8
    value_width: int = 8
    parts: int = 1
    paths: int = 1

    def __post_init__(self):
        check_power_of_two("lanes", self.lanes, 64)
        if self.rows not in range(self.lanes, 1025, self.lanes):
            raise ValueError(
                f"rows must be a multiple of lanes ({self.lanes}) to 1024, not {self.rows!r}"
            )
        check_range("the number of layer_slots", len(self.layer_slots), 1, 256)
        for slots in self.layer_slots:
            check_range("layer_slots", slots, 1, 1 << SLOT_WIDTH)
        check_range("n_kv_heads", self.n_kv_heads, 1, 256)
        check_range("head_words", self.head_words, 1, 256)
        for name in ("key_width", "value_width"):
            if getattr(self, name) not in (8, 6, 4):
                raise ValueError(f"{name} must be 8, 6 or 4, not {getattr(self, name)!r}")
        check_power_of_two("parts", self.parts, 64)
        check_power_of_two("paths", self.paths, self.parts)
        chunks = self.rows // self.lanes
        if self.parts > 1 and (chunks % self.parts or self.parts * self.head_words > chunks):
            raise ValueError(
                f"parts must divide the {chunks} blocks of rows, and leave {self.head_words} of "
                f"them for each, not {self.parts}"
            )

    def tiles(self, layer):
        """Tiles of ``rows`` slots of a layer."""
        return -(-self.layer_slots[layer] // self.rows)

    def blocks(self, layer):
        """Blocks of ``lanes`` slots of a layer."""
        return -(-self.layer_slots[layer] // self.lanes)

    def reads(self, layer):
        """Words of values of a layer: of ``parts`` blocks each."""
        return -(-self.blocks(layer) // self.parts)

    @property
    def most_blocks(self):
        """Of the layer that has the most."""
        return max(map(self.blocks, range(len(self.layer_slots))))

    @property
    def most_reads(self):
        """Of the layer that has the most."""
        return -(-self.most_blocks // self.parts)

    @property
    def channel_tiles(self):
        """Tiles of ``rows`` channels in a head."""
        return -(-self.head_words * self.lanes // self.rows)

    def _starts(self, size, parts=1):
        """Where each head's ``parts`` start, of ``size(layer)`` each; and the end of all."""
        sizes = [size(layer) for layer in range(len(self.layer_slots))]
        return (0, *accumulate(n for n in sizes for _ in range(self.n_kv_heads * parts)))

    @cached_property
    def key_tiles(self):
        """The first tile of each head's keys, and the number of tiles."""
        return self._starts(self.tiles)

    @cached_property
    def step_blocks(self):
        """The first word of each head's steps, and the number of words."""
        return self._starts(lambda layer: self.reads(layer) * self.parts // self.paths)

    @cached_property
    def value_blocks(self):
        """The first word of each of a head's tiles of channels, and the number of words."""
        return self._starts(self.reads, self.channel_tiles)

    def key_address(self, layer, head):
        """The first word of a head's keys."""
        return self.key_tiles[layer * self.n_kv_heads + head] * self.head_words

    def step_address(self, layer, head):
        """The first word of a head's steps."""
        return self.step_blocks[layer * self.n_kv_heads + head]

    def value_address(self, layer, head):
        """The first word of a head's values, among those of the values."""
        return self.value_blocks[(layer * self.n_kv_heads + head) * self.channel_tiles]

    @property
    def key_words(self):
        """The words that all keys take."""
        return self.key_tiles[-1] * self.head_words

    @property
    def value_words(self):
        """The words that all values take."""
        return self.value_blocks[-1]

    @property
    def external_width(self):
        """Bits of a code in external memory."""
        return 4 if max(self.key_width, self.value_width) == 4 else 8

    def word_bytes(self, data_width):
        """The bytes of a word in a memory that transfers ``data_width`` bits at once."""
        return packed_width(self.external_width * self.rows * self.lanes, data_width) // 8

    def value_place(self, row, lane):
        """Where an operand in the order of keys has the value of ``row`` and ``lane``.

        At the same ones, but where two codes share a byte: of a key neighbours, of values one above
        the other, since either are written together.
        """
        if self.external_width == 8:
            return row, lane
        return divmod(2 * (row // 2 * self.lanes + lane) + row % 2, self.lanes)

    def size(self, data_width):
        """The bytes of a memory that holds both, keys first."""
        return (self.key_words + self.value_words) * self.word_bytes(data_width)


def start_of(number, starts, place):
    """``starts[number] + place``, for ``place`` below the distance to the next start.

    ``starts`` ends with the end of all. Without a table where they are equally far apart; without
    an adder where that distance is a power of two.
    """
    size = starts[1]
    if any(end - start != size for start, end in pairwise(starts)):
        return Array(starts[:-1])[number] + place
    if size & (size - 1):
        return number * size + place
    bits = size.bit_length() - 1
    return (number << bits) | place[:bits]
