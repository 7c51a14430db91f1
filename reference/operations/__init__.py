"""What models are made of: each operation's float meaning, its formats, its integer meaning.

An operation reads and writes named vectors. It has these methods:

``shapes(sizes)``
    The shapes of its tensors, by name; ``sizes`` has the values of each vector.
``run(p)``
    Its float32 meaning, on the vectors of a :class:`celosia.reference.float32.Pass`. What
    calibration must see, it gives to ``p.observe``.
``macs(sizes, positions)``
    Multiply-accumulates of a token that sees so many positions; absent where there are none.
``demand(q)``
    Which formats it asks of the vectors that it reads, of a
    :class:`celosia.reference.quantization.quantize.Quantizer`. Operations are asked from the last
    to the first.
``quantize(q)``
    Its integer form, an object with ``run(p)`` of its own, on the vectors of a
    :class:`celosia.reference.integer.Pass`; None where the formats do it.
"""

from celosia.reference.operations.add import Add
from celosia.reference.operations.attention import Attention
from celosia.reference.operations.cap import Cap
from celosia.reference.operations.clip import Clip
from celosia.reference.operations.embed import Embed
from celosia.reference.operations.experts import Experts
from celosia.reference.operations.gate import Gate
from celosia.reference.operations.hadamard import Hadamard
from celosia.reference.operations.linear import Linear
from celosia.reference.operations.norm import Copy, Norm
from celosia.reference.operations.recur import Recur
from celosia.reference.operations.rotate import Rotate

__all__ = [
    "Add",
    "Attention",
    "Cap",
    "Clip",
    "Copy",
    "Embed",
    "Experts",
    "Gate",
    "Hadamard",
    "Linear",
    "Norm",
    "Recur",
    "Rotate",
]
