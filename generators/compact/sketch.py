"""A compact machine's sizes and program without weights, in milliseconds."""

import numpy as np
from celosia.generators.compact.program import write_compact
from celosia.generators.config import ConfigError
from celosia.generators.estimate.outline import blank_model
from celosia.reference.compact.arithmetic import CompactModel
from celosia.reference.compact.form import compact_form
from celosia.reference.compact.matrix import CONSTANTS, CompactMatrix
from celosia.reference.compact.operations import (
    BYTE,
    GATE_FRACTION,
    HALF,
    ONES,
    WIDE,
    CompactAttention,
    CompactEmbed,
    CompactGate,
    CompactLinear,
    CompactNorm,
    CompactRotate,
)
from celosia.reference.operations import Attention, Embed, Gate, Linear, Norm, Rotate

__all__ = ["CompactSketch", "compact_sketch"]


class CompactSketch:
    """What a compact machine's cycles depend on.

    Members
    -------
    config : Config
    shape : CompactShape
        With any formats.
    image : CompactImage
        Of zeros, but for the program.
    """

    def __init__(self, c, config):
        self.config = config
        self._model = model = _outline(c, config)
        columns, spram = config.vector_lanes, config.boot == "flash"
        self.shape, self.image = write_compact(
            model, config.max_seq_len, config.rows, columns, spram, config.samples
        )

    @property
    def program(self):
        """The program."""
        return self.image.program

    @property
    def description(self):
        """The model's, in the machine's form."""
        return self._model.description

    def macs(self, position, logits=True):
        """Multiply-accumulates of the token at ``position``."""
        return self.description.macs(min(position + 1, self.shape.window), logits)

    def ideal_cycles(self, position, logits=True):
        """Multiply-accumulates over the fabric's multipliers."""
        macs = self.macs(position, False)
        return self.shape.ideal_cycles(macs, self.macs(position, logits) - macs)


def compact_sketch(c, config):
    """The :class:`CompactSketch` of ``config``'s machine for a ModelConfig ``c``.

    Raises
    ------
    ConfigError
        If the model cannot have such a machine, as far as sizes tell.
    """
    try:
        return CompactSketch(c, config)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"the model has no such machine: {error}") from error


def _outline(c, config):
    """The :class:`CompactModel` whose numbers mean nothing; its shapes do."""
    d = compact_form(blank_model(c), config.window).description
    shapes = _Shapes(d, config.window)
    return CompactModel(
        config=c,
        description=d,
        window=config.window,
        begin=shapes.forms(d.begin),
        layers=[shapes.forms(layer) for layer in d.layers],
        end=shapes.forms(d.end),
        rotation=shapes.rotation,
        weight_width=config.weight_width,
        ternary=config.ternary,
        gate_fraction=GATE_FRACTION,
        logit_fraction=0,
    )


class _Shapes:
    """What an operation is in the machine's integers, of zeros."""

    def __init__(self, d, window):
        self.d, self.window = d, window
        turned = d.find(Rotate)
        pairs = len(turned[0].frequencies) if turned else 0
        self.rotation = np.zeros((pairs, 2), np.int64) if turned else None

    def forms(self, operations):
        """The forms of a layer's ``operations``."""
        self.widths = {}
        for op in operations:
            if isinstance(op, Attention):
                self.widths[op.v] = BYTE
            elif isinstance(op, Gate):
                self.widths |= {op.gate: HALF, op.up: HALF}
        self.turned = {op.vector for op in operations if isinstance(op, Rotate)}
        return [form for op in operations for form in getattr(self, _METHODS[type(op)])(op)]

    def matrix(self, rows, columns):
        return CompactMatrix(np.zeros((rows, columns), np.int8), np.zeros(rows, np.int64), 0)

    def attention(self, op):
        for vector in (op.q, op.k):
            if vector not in self.turned:
                yield CompactRotate(vector, op.head_dim, None)
        yield CompactAttention(op, self.window, 0)

    def embed(self, op):
        size = self.d.sizes[op.out]
        yield CompactEmbed(op.out, op.table, self.matrix(self.d.sizes["logits"], size), 0)
        if op.positions:
            table = self.matrix(op.rows - op.offset, size)
            yield CompactEmbed(op.out, op.positions, table, 0, positions=True)

    def gate(self, op):
        yield CompactGate(op, GATE_FRACTION)

    def linear(self, op):
        rows, columns = self.d.sizes[op.out], self.d.sizes[op.input]
        more = len(CONSTANTS) if op.bias and not op.add else 0
        matrix = self.matrix(rows, columns + more)
        width = self.widths.get(op.out, WIDE)
        yield CompactLinear(op.input, op.out, op.weight, matrix, 0, width, op.add)
        if op.add and op.bias:
            bias = self.matrix(rows, len(CONSTANTS))
            yield CompactLinear(ONES, op.out, op.bias, bias, add=True)

    def norm(self, op):
        gains = np.zeros((op.groups, self.d.sizes[op.input] // op.groups), np.int8)
        yield CompactNorm(op.input, op.out, gains, 0, 0, BYTE if op.input == "x" else WIDE)

    def rotate(self, op):
        yield CompactRotate(op.vector, op.head_dim, self.rotation)


_METHODS = {
    Attention: "attention",
    Embed: "embed",
    Gate: "gate",
    Linear: "linear",
    Norm: "norm",
    Rotate: "rotate",
}
