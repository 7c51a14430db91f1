"""A model's description: its operations, in order, on named vectors."""

import math
from dataclasses import dataclass, field

__all__ = ["Description"]


@dataclass(frozen=True)
class Description:
    """What a model computes for a token, as a list of operations.

    Parameters
    ----------
    begin : tuple of operations
        Before the layers: they make the residual stream, ``x``.
    layers : tuple of tuples of operations
        Of each layer. Their tensors are the layer's own; vectors other than ``x`` end with it.
    end : tuple of operations
        Behind the layers: they make ``logits``.
    sizes : dict
        Values in each vector.
    heads : dict
        Of vectors made of heads, how many these are.
    """

    begin: tuple
    layers: tuple
    end: tuple
    sizes: dict
    heads: dict = field(default_factory=dict)

    @property
    def shapes(self):
        """The shapes of the tensors outside of the layers, by name."""
        return self._shapes((*self.begin, *self.end))

    def layer_shapes(self, index):
        """The shapes of the tensors of one layer, by name."""
        return self._shapes(self.layers[index])

    def _shapes(self, operations):
        shapes = {}
        for operation in operations:
            shapes |= operation.shapes(self.sizes)
        return shapes

    @property
    def parameters(self):
        """Values in all tensors."""
        shapes = [*self.shapes.values()]
        for index in range(len(self.layers)):
            shapes += self.layer_shapes(index).values()
        return sum(math.prod(shape) for shape in shapes)

    def macs(self, positions, logits=True):
        """Multiply-accumulates of a token that sees ``positions``, its own included."""
        every = [op for layer in self.layers for op in layer]
        if logits:
            every += self.end
        return sum(op.macs(self.sizes, positions) for op in every if hasattr(op, "macs"))

    def find(self, kind):
        """All operations of one class, in order."""
        every = (*self.begin, *(op for layer in self.layers for op in layer), *self.end)
        return [operation for operation in every if isinstance(operation, kind)]
