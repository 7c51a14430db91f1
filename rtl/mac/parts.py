"""What the systolic arrays share: their checks, their words, their results."""

from amaranth import Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import connect, flipped
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.stream.block_queue import BlockQueue
from celosia.rtl.stream.checks import check_range

__all__ = ["check_array", "results_queue", "word_layout"]


def check_array(rows, cols, form):
    """Raise ValueError unless these are the size and the numbers of an array."""
    check_range("rows", rows, 1, 64)
    check_range("cols", cols, 1, 64)
    if not isinstance(form, MacFormat):
        raise ValueError(f"form must be a MacFormat, not {form!r}")
    if cols % form.group:
        raise ValueError(f"cols must be a multiple of {form.group}, not {cols}")


def word_layout(width, n):
    """A word of ``n`` values; ``last`` marks the last one of a tile."""
    return data.StructLayout({"data": data.ArrayLayout(signed(width), n), "last": 1})


def results_queue(m, array, depth):
    """The queue of ``depth`` in front of ``array.o``, and how many results it has room for.

    The array takes from ``room`` what it is going to write, and gives back what has left.
    """
    m.submodules.results = results = BlockQueue(array.o.p.shape(), depth)
    connect(m, results.o, flipped(array.o))
    return results.i, Signal(range(depth + 1), init=depth)
