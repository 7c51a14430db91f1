"""The words that travel between the vector units: one layout, framed the same way everywhere."""

from amaranth import signed, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2

__all__ = ["ARGUMENT_WIDTH", "INDEX_WIDTH", "framed", "token_width"]

INDEX_WIDTH = 20
ARGUMENT_WIDTH = 8


def token_width(tokens):
    """The bits that number ``tokens`` tokens; at least 1."""
    return max(1, ceil_log2(tokens))


def framed(lanes, shape, tokens=1, **more):
    """The layout of a word: ``lanes`` values and its place in the operation that made it.

    Members
    -------
    data : ArrayLayout(shape, lanes)
        ``shape`` is a shape, or an int for that many signed bits.
    token : unsigned
        The word's token in the group of ``tokens``.
    index : unsigned(20)
        The word's number in its vector.
    argument : unsigned(8)
        A number that belongs to the operation: a shift, a layer, a buffer.
    last : 1
        The operation's last word.
    more
        Further members, name to shape.

    Raises
    ------
    ValueError
        If ``more`` names one of these members.
    """
    for name in ("data", "token", "index", "argument", "last"):
        if name in more:
            raise ValueError(f"more must not name {name}: a word has it already")
    shape = signed(shape) if isinstance(shape, int) else shape
    return data.StructLayout(
        {
            "data": data.ArrayLayout(shape, lanes),
            "token": unsigned(token_width(tokens)),
            "index": unsigned(INDEX_WIDTH),
            "argument": unsigned(ARGUMENT_WIDTH),
            "last": 1,
            **more,
        }
    )
