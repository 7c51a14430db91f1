"""What the operand fetcher takes and gives: marks, blocks of exponentials, beats."""

from amaranth import signed, unsigned
from amaranth.lib import data
from celosia.rtl.mac.format import CACHED_WIDTH
from celosia.rtl.mac.mac_fabric import beat_layout
from celosia.rtl.machine.step import Operand, Source
from celosia.rtl.stream.words import INDEX_WIDTH

__all__ = [
    "EXPONENT_WIDTH",
    "fetched_layout",
    "frame_layout",
    "mark_layout",
    "score_layout",
]

EXPONENT_WIDTH = 10  # the fewest bits of the exponent of a block of exponentials


def frame_layout(pieces=False, wide=False):
    """What a beat is on its way; with ``pieces`` of tiles, whether it opens or closes one.

    And with ``wide`` operands whether it has one.
    """
    frame = {
        "operand": Operand,
        "source": Source,
        "buffer": 2,
        "row": 10,
        "from_tape": 1,
        **({"wide": 1} if wide else {}),
        "embedding": 1,
        "upper": 1,
        "sum": 1,
        "first": 1,
        "last": 1,
    }
    return data.StructLayout(frame | ({"opens": 1, "closes": 1} if pieces else {}))


def mark_layout():
    """How far a region is filled: words below ``end`` are valid.

    In this cycle a word is written to ``fresh`` where ``moves`` is set, and ``end`` goes behind it;
    where ``falls`` is set, back to where the region begins.
    """
    return data.StructLayout(
        {"end": unsigned(INDEX_WIDTH), "fresh": unsigned(INDEX_WIDTH), "moves": 1, "falls": 1}
    )


def score_layout(lanes, exponent_width=EXPONENT_WIDTH, total_width=0):
    """A block of exponentials as the score memory keeps it: ``power[lanes] * 2**exponent``.

    With a ``total_width`` also their ``total`` in the softmax's sum.
    """
    block = {"power": data.ArrayLayout(unsigned(7), lanes), "exponent": signed(exponent_width)}
    return data.StructLayout(block | ({"total": total_width} if total_width else {}))


def fetched_layout(
    rows, lanes, tokens, groups=None, width=CACHED_WIDTH, total_width=0, parts=1, cached_rows=0
):
    """A beat, and what it is for: an ``embedding`` (of ``row``) or a summand of a softmax.

    Its weights have ``width`` bits, those of the cache's keys and values where these are among
    them. ``upper`` marks an upper plane's beat; ``parts`` and ``cached_rows`` are the fabric's.
    With a ``total_width`` a summand is each token's ``totals``, in the exponent of its block.
    """
    totals = {"totals": data.ArrayLayout(unsigned(total_width), tokens)} if total_width else {}
    return data.StructLayout(
        {
            "beat": beat_layout(rows, lanes, tokens, width, groups, parts, cached_rows),
            "upper": 1,
            "embedding": 1,
            "row": unsigned(10),
            "sum": 1,
            "sum_last": 1,
            **totals,
        }
    )
