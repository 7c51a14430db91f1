"""A plan without weights: the sizes and the program of a machine, in milliseconds."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from celosia.generators.config import Config, ConfigError
from celosia.generators.estimate.outline import machine_description, outline
from celosia.generators.machine_sizes import (
    attention_parts,
    machine_shape,
    machine_views,
    settled,
)
from celosia.generators.plan import scheme_of, with_length
from celosia.generators.program.program import write_program
from celosia.reference.description import Description
from celosia.reference.model import ModelConfig
from celosia.rtl.machine.program import Program
from celosia.rtl.machine.shape import MachineShape

__all__ = ["Sketch", "make_sketch"]


@dataclass(frozen=True)
class Sketch:
    """What a machine's cycles depend on.

    Parameters
    ----------
    config : Config
    model : ModelConfig
    description : Description
        In the machine's form.
    shape : MachineShape
        With any formats.
    program : Program
        Likewise.
    words : dict of int
        Of each tape: ``weights``, ``scales``, ``biases``; and of ``gains`` the vectors.
    """

    config: Config
    model: ModelConfig
    description: Description
    shape: MachineShape
    program: Program
    words: dict

    def macs(self, position, logits=True):
        """Multiply-accumulates of the token at ``position``: linear layers and attention."""
        return self.description.macs(position + 1, logits)

    def ideal_cycles(self, position, logits=True):
        """``macs / multipliers``: the fewest cycles the token at ``position`` could take."""
        return self.shape.ideal_cycles(self.description, position, logits, self.program.wide)


class _Counter:
    """In place of a TapeWriter: how many words are written, without them."""

    def __init__(self, rows, cached_rows, lanes):
        self.rows, self.cached_rows, self.lanes = rows, cached_rows, lanes
        self.beats = self.scale_words = self.bias_words = 0

    def matrix(self, matrix, planes=1, wide=False):
        rows, columns = matrix.weight.shape
        size = self.cached_rows if wide else self.rows
        self.beats += -(-rows // size) * (columns // self.lanes) * planes

    def scales(self, scales):
        self.scale_words += -(-np.size(scales) // self.lanes)

    def biases(self, biases):
        self.bias_words += -(-np.size(biases) // self.lanes)

    def tapes(self, program, gains):
        words = {"weights": self.beats, "scales": self.scale_words, "biases": self.bias_words}
        return SimpleNamespace(program=program, words=words | {"gains": len(gains)})


def make_sketch(model, config):
    """The :class:`Sketch` of ``config``'s machine for a ModelConfig ``model``.

    Raises
    ------
    ConfigError
        If the model cannot have such a machine, as far as sizes tell.
    """
    config = with_length(config, model)
    settings = config.ternary, config.rotate_down, config.rotate_keys
    try:
        description = machine_description(model, *settings)
        config = settled(config, model, description)
        quantized = outline(model, scheme_of(config))
        views = machine_views(quantized, config)
        tape = _Counter(config.rows, config.cached_rows, config.vector_lanes)
        parts = attention_parts(config, quantized)
        tapes, routes = write_program(quantized, config.rows, views, tape, **parts)
    except ConfigError:
        raise
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"the model has no such machine: {error}") from error
    shape = machine_shape(quantized, config, views, routes, tapes.program, 24)
    return Sketch(config, model, description, shape, tapes.program, tapes.words)
