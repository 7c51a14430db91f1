"""The compact machine's integers: what it computes, bit for bit, operation after operation.

NumPy only. What :mod:`celosia.reference.integer` is to the big machine, this is to the compact one
(docs/compact_machine.md). What an operation computes stands in
:mod:`celosia.reference.compact.operations`.
"""

from dataclasses import dataclass

import numpy as np
from celosia.reference.compact.matrix import CONSTANTS
from celosia.reference.compact.operations import ONES, compute
from celosia.reference.description import Description
from celosia.reference.model import ModelConfig
from celosia.reference.units.sampler import Sampler

__all__ = ["CompactModel", "Pass", "compute", "forward", "generate"]


@dataclass(eq=False)
class CompactModel:
    """A model in the compact machine's integers, complete.

    Parameters
    ----------
    config : celosia.reference.model.ModelConfig
    description : celosia.reference.description.Description
        Of the float model, in the machine's form.
    window : int, a multiple of 4
        Positions that attention sees: the latest ones.
    begin, layers, end : list, list of lists, list
        The integer operations, in order.
    rotation : int64[head_dim / 2, 2], or None
        Cosine and sine of a position's angle in units of 2**-15.
    weight_width : int
        Bits of the matrices' codes.
    ternary : bool
        Those of the layers are ternary instead.
    gate_fraction, logit_fraction : int
        Bits behind the point of gates and logits.
    """

    config: ModelConfig
    description: Description
    window: int
    begin: list
    layers: list
    end: list
    rotation: np.ndarray | None
    weight_width: int
    gate_fraction: int
    logit_fraction: int
    ternary: bool = False

    def logits(self, tokens):
        """The logits of tokens from position 0 on; nothing counts saturated values."""
        return forward(self, tokens), {}

    @property
    def operations(self):
        """Every operation, in order."""
        return [*self.begin, *(op for layer in self.layers for op in layer), *self.end]


class Pass:
    """The vectors of a sequence's tokens on their way through a model.

    Members
    -------
    tokens, positions : int[n]
    exponents : dict
        Of vectors that have one of their own for each token: int64[n, 1].
    """

    def __init__(self, tokens):
        self.tokens, self.positions = np.asarray(tokens), np.arange(len(tokens))
        self.vectors, self.exponents, self._found = {ONES: CONSTANTS[None]}, {}, {}

    def read(self, name):
        """A vector: int64[n, size]."""
        return self.vectors[name]

    def write(self, name, values, exponent=0):
        """Give a vector its values, to be multiplied by ``2**exponent``."""
        self.vectors[name], self.exponents[name] = values, exponent

    def once(self, function, *arguments):
        """What ``function`` gives, as an array; several operations ask for it."""
        if function not in self._found:
            self._found[function] = np.stack(function(*arguments))
        return self._found[function]


def forward(model, tokens, all_logits=True):
    """The logits of ``tokens``, from position 0 on: int64[n, vocab_size].

    In units of ``2**-model.logit_fraction``. Without ``all_logits`` [1, vocab_size], of the last.
    Bit-exact with the compact machine.
    """
    p = Pass(tokens)
    for operation in (*model.begin, *(op for layer in model.layers for op in layer)):
        operation.run(p)
    if not all_logits:
        p.write("x", p.read("x")[-1:])
    for operation in model.end:
        operation.run(p)
    return p.read("logits")


def generate(model, prompt, n, temperature=0, seed=0):
    """``n`` tokens after ``prompt`` and the logits they were drawn from, int64[n, vocab_size].

    ``temperature`` is in units of 1/256; at 0 each is the likeliest.
    """
    sampler = Sampler(1, model.logit_fraction, temperature, seed)
    tokens, logits = list(prompt), []
    for _ in range(n):
        logits.append(forward(model, tokens, all_logits=False)[0])
        tokens.append(sampler(logits[-1]))
    return tokens[len(prompt) :], np.array(logits)
