"""The machine's operations: what a step of the program says, and what each part of it is told."""

from amaranth import signed, unsigned
from amaranth.lib import data, enum
from celosia.rtl.stream.words import ARGUMENT_WIDTH, INDEX_WIDTH, token_width

__all__ = [
    "BUFFERS",
    "BUFFER_WIDTH",
    "RESOURCES",
    "Kind",
    "Operand",
    "Region",
    "Resource",
    "Source",
    "fetch_layout",
    "operation_layout",
    "recall_layout",
    "scales_layout",
    "step_layout",
]

BUFFER_WIDTH = 2
BUFFERS = 1 << BUFFER_WIDTH  # score vectors in flight: three heads' scores may run ahead
RESOURCES = 4 + BUFFERS
VIEW_WIDTH = 3


class Kind(enum.Enum, shape=4):
    """Where an operation's results go."""

    LOAD = 0  # an embedding into the residual stream
    ADD = 1  # added to the residual stream
    QUERY = 2  # rotated, quantised by head, into the query memory
    KEY = 3  # rotated, quantised by head, into the key cache
    VALUE = 4  # into the value cache
    SCORE = 5  # exponentials into a score buffer
    ATTENTION = 6  # weighted values, normalised, into the activation memory
    SWIGLU = 7  # gated, into the activation memory
    LOGITS = 8  # to the sampler


class Operand(enum.Enum, shape=2):
    """What the activations are multiplied by."""

    TAPE = 0
    KEYS = 1
    VALUES = 2


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


def step_layout():
    """A step of the program.

    ``tiles x words`` beats read operand ``address + tile * stride + word`` and activations
    ``source_base + word``; a bit of ``dynamic`` replaces words, tiles or chunks by the number of
    blocks or tiles of slots that hold positions, in the ``view``. Results are ``chunks`` words,
    numbered from ``base``. With ``planes`` two words of the operand in a row share a word of the
    activations.
    """
    return data.StructLayout(
        {
            "kind": Kind,
            "operand": Operand,
            "source": Source,
            "source_base": unsigned(INDEX_WIDTH),
            "region": Region,
            "fills": Region,
            "words": unsigned(INDEX_WIDTH),
            "tiles": unsigned(INDEX_WIDTH),
            "chunks": unsigned(INDEX_WIDTH),
            "dynamic": data.StructLayout({"words": 1, "tiles": 1, "chunks": 1}),
            "view": unsigned(VIEW_WIDTH),
            "address": unsigned(28),
            "stride": unsigned(INDEX_WIDTH),
            "planes": 1,
            "base": unsigned(INDEX_WIDTH),
            "argument": unsigned(ARGUMENT_WIDTH),
            "shift": signed(8),
            "norm": unsigned(10),
            "head": unsigned(8),
            "scale_address": unsigned(INDEX_WIDTH),
            "waits": unsigned(RESOURCES),
            "sets": unsigned(RESOURCES),
        }
    )


def fetch_layout():
    """A step as the operand fetcher sees it; ``row`` selects the embedding of a LOAD."""
    return data.StructLayout(
        {
            "kind": Kind,
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


def operation_layout(tokens):
    """A step as the collector of results sees it, for tokens ``first`` to ``group``.

    ``single`` says that ``chunks`` is 1.
    """
    return data.StructLayout(
        {
            "kind": Kind,
            "chunks": unsigned(INDEX_WIDTH),
            "single": 1,
            "base": unsigned(INDEX_WIDTH),
            "argument": unsigned(ARGUMENT_WIDTH),
            "shift": signed(8),
            "norm": unsigned(10),
            "head": unsigned(8),
            "first": unsigned(token_width(tokens)),
            "group": unsigned(token_width(tokens)),
        }
    )


def scales_layout():
    """A step as the row scales' reader sees it: ``chunks`` words, for a LOAD ``lane`` of one."""
    return data.StructLayout(
        {
            "kind": Kind,
            "chunks": unsigned(INDEX_WIDTH),
            "address": unsigned(INDEX_WIDTH),
            "lane": unsigned(6),
        }
    )
