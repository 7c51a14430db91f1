"""The machine's operations: what a step of the program says, and what each part of it is told."""

from amaranth import signed, unsigned
from amaranth.lib import data, enum
from celosia.rtl.recurrent.recurrent import told_layout
from celosia.rtl.stream.words import ARGUMENT_WIDTH, INDEX_WIDTH, token_width

__all__ = [
    "BUFFERS",
    "RESOURCES",
    "WORD_MEMBERS",
    "Operand",
    "Region",
    "Resource",
    "Scalar",
    "Source",
    "argument",
    "argument_layout",
    "fetch_layout",
    "operation_layout",
    "paged_layout",
    "recall_layout",
    "scales_layout",
    "step_layout",
]

BUFFERS = 4  # score vectors in flight: scores of three heads may run ahead of their values
RESOURCES = 4 + BUFFERS

#: What a step may tell the units on its results' route: it travels with the words, as far as a unit
#: of the machine has such a member, and is no part of the machine else.
WORD_MEMBERS = {
    "keep": unsigned(1),  # added to the residual stream, else stored
    "normed": unsigned(1),  # passed on to the norm, else only added
    "norm": unsigned(10),  # the number of that norm's gains
    "bias": unsigned(1),  # a word of biases is added
    "last_token": unsigned(1),  # the group's last word of this index
    "set": unsigned(10),  # of a norm on the way, the number of its gains
    "angles": unsigned(3),  # of a rotation with several sets of angles, the number of the set
    "view": unsigned(3),  # the positions that are seen, and their places
}


class Scalar(enum.Enum, shape=4):
    """What a token's results are multiplied by. One bit each, so that nothing decodes it."""

    ONE = 0
    NORM = 1  # the token's norm
    QUERY = 2  # the step of its query
    SUM = 4  # the reciprocal of its exponentials' sum
    EXPERT = 8  # its weight of an expert


class Operand(enum.Enum, shape=2):
    """What the activations are multiplied by."""

    TAPE = 0
    KEYS = 1
    VALUES = 2
    WIDE = 3  # the tape's words, read as int8 of as many rows as keys have


class Source(enum.Enum, shape=2):
    """Where the activations come from."""

    ACTIVATIONS = 0
    QUERIES = 1
    SCORES = 2


class Region(enum.Enum, shape=2):
    """Parts of the activation memory. A step reads a word only after it was written."""

    NORMED = 0
    ATTENTION = 1
    HIDDEN = 2
    NONE = 3


class Resource(enum.Flag, shape=RESOURCES):
    """What a step writes as a whole before another may read it."""

    QUERIES = 1  # of all heads, or of those that are left
    EARLY_QUERIES = 2  # of the first heads, where others follow
    KEYS = 4
    VALUES = 8
    SCORES0 = 16
    SCORES1 = 32
    SCORES2 = 64
    SCORES3 = 128


def argument_layout():
    """What ``argument`` says on each route, in the same bits."""
    head = data.StructLayout({"is_key": 1, "layer": unsigned(ARGUMENT_WIDTH - 1)})
    return data.UnionLayout(
        {
            "shift": unsigned(ARGUMENT_WIDTH),  # behind the norm's gains, behind the gate
            "head": head,
            "layer": unsigned(ARGUMENT_WIDTH),  # of values
            "buffer": unsigned(2),  # of scores
            "state": told_layout(),  # of a layer, and what comes of it
        }
    )


ARGUMENT = argument_layout()


def argument(**member):
    """The number that is one ``member`` of argument_layout, a number or a dict of numbers."""
    return ARGUMENT.const(member).as_bits()


def step_layout(routes=16, more=None):
    """A step of the program; ``more`` of WORD_MEMBERS is part of it, by default all.

    ``tiles x words`` beats read operand ``address + tile * stride + word`` and activations
    ``source_base + word``; a bit of ``dynamic`` replaces words, tiles or chunks by the number of
    blocks or tiles of slots that hold positions, in the step's ``view``. Results are ``chunks``
    words, numbered from ``base``. With ``planes`` two words of the operand in a row share a word
    of the activations.

    Results take one of the ``routes``, those of the group's ``last_token`` alone or of all,
    multiplied by a ``scalar``. With ``loads`` they are embedded words instead of the fabric's. A
    step that ``restarts`` makes the norms before it invalid.
    """
    return data.StructLayout(
        {
            "operand": Operand,
            "source": Source,
            "source_base": unsigned(INDEX_WIDTH),
            "region": Region,
            "fills": Region,
            "words": unsigned(INDEX_WIDTH),
            "tiles": unsigned(INDEX_WIDTH),
            "chunks": unsigned(INDEX_WIDTH),
            "dynamic": data.StructLayout({"words": 1, "tiles": 1, "chunks": 1}),
            "address": unsigned(28),
            "stride": unsigned(INDEX_WIDTH),
            "planes": 1,
            **_results_members(routes, more),
            "last_token": WORD_MEMBERS["last_token"],
            "scale_address": unsigned(INDEX_WIDTH),
            "waits": unsigned(RESOURCES),
            "sets": unsigned(RESOURCES),
        }
    )


def _results_members(routes, more):
    """What the collector of results is told of a step, beside its size."""
    return {
        "route": range(max(2, routes)),
        "loads": 1,
        "restarts": 1,
        "scalar": Scalar,
        "base": unsigned(INDEX_WIDTH),
        "argument": unsigned(ARGUMENT_WIDTH),
        "shift": signed(8),
        "head": unsigned(8),
        **(WORD_MEMBERS if more is None else more),
    }


def paged_layout(layout):
    """A step of ``layout`` that may read of a ``paged`` cache."""
    return data.StructLayout({**layout.members, "paged": 1})


def fetch_layout(pieces=False):
    """A step as the operand fetcher sees it.

    One that ``loads`` brings the embedding of ``row`` instead of operands; the activations of one
    that ``sums`` are also summed. It may be one of several ``pieces`` of a tile, of which the first
    ``opens`` and the last ``closes`` it.
    """
    return data.StructLayout(
        {
            "loads": 1,
            "sums": 1,
            "operand": Operand,
            "source": Source,
            "source_base": unsigned(INDEX_WIDTH),
            "region": Region,
            "fills": Region,
            "words": unsigned(INDEX_WIDTH),
            "tiles": unsigned(INDEX_WIDTH),
            "address": unsigned(28),
            "stride": unsigned(INDEX_WIDTH),
            "planes": 1,
            "buffer": unsigned(2),
            "row": unsigned(10),
            **({"opens": 1, "closes": 1} if pieces else {}),
        }
    )


def recall_layout():
    """A step as a cache in external memory sees it: ``tiles`` runs of ``words``."""
    return data.StructLayout(
        {
            "operand": Operand,
            "address": unsigned(28),
            "words": unsigned(INDEX_WIDTH),
            "tiles": unsigned(INDEX_WIDTH),
            "stride": unsigned(INDEX_WIDTH),
        }
    )


def operation_layout(tokens, routes=16, more=None, wide=False):
    """A step as the collector of results sees it, for tokens ``first`` to ``group``.

    ``single`` says that ``chunks`` is 1. With ``wide`` operands it says whether it has one.
    """
    return data.StructLayout(
        {
            "chunks": unsigned(INDEX_WIDTH),
            "single": 1,
            **_results_members(routes, more),
            "first": unsigned(token_width(tokens)),
            "group": unsigned(token_width(tokens)),
            **({"wide": 1} if wide else {}),
        }
    )


def scales_layout():
    """A step as the row scales' reader sees it: ``chunks`` words of the tape.

    Of the keys' ``steps`` instead, or ``single``: one word of the tape, of which ``lane`` counts.
    """
    return data.StructLayout(
        {
            "steps": 1,
            "single": 1,
            "chunks": unsigned(INDEX_WIDTH),
            "address": unsigned(INDEX_WIDTH),
            "lane": unsigned(6),
        }
    )
