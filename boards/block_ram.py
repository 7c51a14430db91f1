"""How many block RAMs of 18 Kbit Yosys makes of a memory on an ECP5."""

from typing import NamedTuple

__all__ = ["BLOCK_BITS", "Memory", "block_rams", "chosen_bits"]

BLOCK_BITS = 18432
SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # words, bits
BYTE = 9  # bits that a block can write on their own
#: What Yosys' memory_libmap counts: for a block, 16 x 4 bits in LUTs, a table's bit in gates; for a
#: bit chosen among banks, or enabled; for a read port: of a table or LUTs, of a block.
BLOCK, SMALL, GATES, CHOICE, READ, OLD_READ = 128, 4, 1 / 16, 0.5, 2, 14


class Memory(NamedTuple):
    """A memory with one write port, or a table.

    Parameters
    ----------
    depth, width : int
        Words, and their bits.
    code : int
        Bits that are written on their own; 0 where words are written whole.
    table : bool
        It is not written: few bits become logic.
    reads : int
        Its read ports.
    """

    depth: int
    width: int
    code: int = 0
    table: bool = False
    reads: int = 1


def block_rams(memory):
    """The blocks of the cheapest way to have ``memory``; 0 where that is in LUTs.

    Words behind a block's last one lie in further banks, whose bits share blocks.
    """
    return _cheapest(memory)[1]


def chosen_bits(memory):
    """Bits that are chosen among banks of blocks, one for each bank but the first: LUTs."""
    return _cheapest(memory)[2]


def _cheapest(memory):
    """What it costs, its blocks, and the bits that are chosen among them."""
    depth, width, code, table, reads = memory
    code = code or width
    otherwise = depth * width * GATES if table else _in_luts(depth, width, code)
    ways = [(otherwise, 0, 0)]
    for words, bits in SHAPES:
        if reads > 1 and bits > 2 * BYTE:
            continue
        banks, unit = -(-depth // words), min(bits, BYTE)
        used = width if code == width else width // code * -(-code // unit) * unit
        blocks = -(-banks * used // bits)
        cost = BLOCK * blocks + (READ if table else OLD_READ)
        cost += _choice(banks, width, 0 if table else width // code)
        ways.append((cost, blocks, (banks - 1) * width))
    return min(ways)


def _in_luts(depth, width, code):
    banks = -(-depth // 16)
    parts = width // code * -(-code // 4)
    return SMALL * banks * parts + READ + _choice(banks, width, width // code)


def _choice(banks, width, codes):
    """Of a word among ``banks``, and of its bank where ``codes`` are written on their own."""
    return CHOICE * ((banks - 1) * width + banks * codes) if banks > 1 else 0
