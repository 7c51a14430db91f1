"""How many block RAMs of 18 Kbit Yosys makes of a memory on an ECP5."""

from typing import NamedTuple

__all__ = ["Memory", "block_rams"]

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # words, bits
BLOCK, BANK, READ = 128, 0.5, 2  # what Yosys' memory_libmap counts for one, for its bits' choice
LUT_BLOCK, LUT_WORDS, LUT_BITS = 4, 16, 4  # likewise of a memory in LUTs
BYTE = 9  # bits that a block can write on their own


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
    depth, width, code, table, reads = memory
    in_luts = depth * width / 16
    if not table:
        banks = -(-depth // LUT_WORDS)
        parts = width // (code or width) * -(-(code or width) // LUT_BITS)
        in_luts = LUT_BLOCK * banks * parts + BANK * (banks - 1) * width + READ
    ways = [(in_luts, 0)]
    for words, bits in SHAPES:
        if reads > 1 and bits > 2 * BYTE:
            continue
        banks, unit = -(-depth // words), min(bits, BYTE)
        used = width if not code else width // code * -(-code // unit) * unit
        blocks = -(-banks * used // bits)
        ways.append((BLOCK * blocks + BANK * (banks - 1) * width + READ, blocks))
    return min(ways)[1]
