"""A model's operations and tensors, to be changed by rewrites."""

from dataclasses import replace

import numpy as np
from celosia.reference.operations import (
    Add,
    Attention,
    Cap,
    Clip,
    Copy,
    Embed,
    Experts,
    Gate,
    Hadamard,
    Linear,
    Norm,
    Recur,
    Rotate,
)
from celosia.reference.operations.linear import LinearPair

__all__ = ["Draft", "reads", "writes"]

_READS = {
    Add: lambda op: {op.input, op.out},
    Attention: lambda op: {op.q, op.k, op.v},
    Cap: lambda op: {op.vector},
    Clip: lambda op: {op.vector},
    Copy: lambda op: {op.input},
    Embed: lambda op: set(),
    Experts: lambda op: {op.input, op.out},
    Gate: lambda op: {op.gate, op.up} - {None},
    Hadamard: lambda op: {op.vector},
    Linear: lambda op: {op.input, op.out} if op.add else {op.input},
    LinearPair: lambda op: {op.input},
    Norm: lambda op: {op.input},
    Recur: lambda op: {*op.inputs},
    Rotate: lambda op: {op.vector},
}


def reads(op):
    """The vectors that an operation reads, those to which it adds included."""
    return _READS[type(op)](op)


def writes(op):
    """The vectors that an operation writes."""
    if isinstance(op, LinearPair):
        return set(op.outs)
    return {op.vector if isinstance(op, Cap | Clip | Hadamard | Rotate) else op.out}


class Draft:
    """Parts of a model, to be changed in place; the model itself stays.

    Members
    -------
    parts : list of (list of operations, dict of tensors)
        The beginning, each layer, the end; the first and the last share their tensors.
    config : ModelConfig
    sizes : dict of str to int
        Values in each vector.
    """

    def __init__(self, model):
        self._model, self.config = model, model.config
        own, d = dict(model.tensors), model.description
        layers = zip(map(list, d.layers), map(dict, model.layers), strict=True)
        self.sizes = dict(d.sizes)
        self.parts = [(list(d.begin), own), *layers, (list(d.end), own)]

    def model(self):
        """The changed model, without the tensors that no operation names any more.

        Codes of tensors that have changed are gone.
        """
        (begin, own), *layers, (end, _) = self.parts
        description = replace(
            self._model.description,
            begin=tuple(begin),
            layers=tuple(tuple(operations) for operations, _ in layers),
            end=tuple(end),
            sizes=self.sizes,
        )
        shapes = [description.layer_shapes(index) for index in range(len(layers))]
        return replace(
            self._model,
            config=self.config,
            description=description,
            codes={key: coded for key, coded in self._model.codes.items() if self._kept(*key)},
            tensors={name: own[name] for name in description.shapes},
            layers=[
                {name: tensors[name] for name in named}
                for named, (_, tensors) in zip(shapes, layers, strict=True)
            ],
        )

    def _kept(self, layer, name):
        """Whether the tensor is what it was."""
        model, (_, now) = self._model, self.parts[0 if layer is None else layer + 1]
        before = model.tensors if layer is None else model.layers[layer]
        return now.get(name) is before[name]

    def readers(self, operations, index):
        """Places of the operations that read what the one at ``index`` writes, in its part."""
        (vector,) = writes(operations[index])
        found = []
        for place in range(index + 1, len(operations)):
            if vector in reads(operations[place]):
                found.append(place)
            if vector in writes(operations[place]):
                break
        return found

    def add_bias(self, part, place, values):
        """Add float64 ``values`` to the bias of the Linear at ``place``, which may have none."""
        operations, tensors = self.parts[part]
        op = operations[place]
        name = op.bias or f"{op.weight}_bias"
        bias = tensors[op.bias] if op.bias else 0.0
        tensors[name] = (bias + values).astype(np.float32)
        operations[place] = replace(op, bias=name)

    def own_head(self, place):
        """Give the end's Linear at ``place`` a table of its own, apart from the embedding."""
        operations, tensors = self.parts[-1]
        tensors["head"] = tensors[operations[place].weight]
        operations[place] = replace(operations[place], weight="head")
        self.config = replace(self.config, tied=False)
