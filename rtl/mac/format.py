"""The numbers of the MAC fabric and of systolic arrays, and how their multipliers are used."""

from dataclasses import dataclass

from amaranth import Const, Mux
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import delayed

__all__ = ["CACHED_WIDTH", "PACKINGS", "MacFormat", "packs"]

CACHED_WIDTH = 8  # bits of a key or a value, at most

PACKINGS = {"none": None, "18x18": (18, 18), "25x18": (25, 18)}


def packs(packing, width):
    """Whether two weights of ``width`` bits share a multiplier by that name."""
    return packing != "none" and 2 * width + CACHED_WIDTH + 1 <= PACKINGS[packing][0]


@dataclass(frozen=True)
class MacFormat:
    """The widths of activations and weights, and how many products a multiplier makes.

    Two columns of an array, or rows of the fabric, share a multiplier where their weights fit side
    by side into one of its operands; the correction of the upper product is exact
    (:func:`celosia.reference.units.systolic_array.packed_products`). Ternary weights need no
    multiplier.

    Parameters
    ----------
    activation_width : int, 4 or 8
    weight_width : int, 2 to 8
    ternary : bool
        Weights are -1, 0 and 1, in 2 bits; -2 counts as 0.
    packing : str
        ``"none"``, or the operand widths of the multiplier that two products share: ``"18x18"``,
        ``"25x18"``.

    Raises
    ------
    ValueError
        If a parameter is out of range, or two products do not fit the multiplier.
    """

    activation_width: int = 8
    weight_width: int = 8
    ternary: bool = False
    packing: str = "none"

    def __post_init__(self):
        if self.activation_width not in (4, 8):
            raise ValueError(f"activation_width must be 4 or 8, not {self.activation_width!r}")
        check_range("weight_width", self.weight_width, 2, 8)
        if self.ternary and self.weight_width != 2:
            raise ValueError(f"weight_width must be 2 if ternary, not {self.weight_width!r}")
        if self.packing not in PACKINGS:
            known = ", ".join(PACKINGS)
            raise ValueError(f"packing must be one of {known}, not {self.packing!r}")
        if self.packing != "none" and self.ternary:
            raise ValueError("packing must be none if ternary: there are no multipliers")
        if self.packing != "none" and self.operand_width > PACKINGS[self.packing][0]:
            raise ValueError(
                f"packing must have {self.operand_width} bits for two products, not {self.packing}"
            )

    @property
    def group(self):
        """Columns that share a multiplier."""
        return 1 if self.packing == "none" else 2

    @property
    def product_width(self):
        """Bits of one product."""
        return self.activation_width + self.weight_width

    @property
    def operand_width(self):
        """Bits of the multiplier's operand that holds weights."""
        if self.packing == "none":
            return self.weight_width
        return self.product_width + self.weight_width + 1

    def pack(self, weights):
        """The operand that holds the ``group`` of ``weights``."""
        if self.group == 1:
            return weights[0]
        return ((weights[1] << self.product_width) + weights[0])[: self.operand_width].as_signed()

    def multiply(self, operand, activation):
        """All products of a multiplier, to be registered."""
        if not self.ternary:
            return operand * activation
        return Mux(operand[0], Mux(operand[1], -activation, activation), Const(0, 1))

    def multiply_registered(self, m, operand, activation):
        """All products of a multiplier, two cycles later: registers belong to the multipliers."""
        if not self.ternary:
            return multiply_registered(m, operand, activation)
        operand = delayed(m, operand, 1, "operand", reset_less=True)
        activation = delayed(m, activation, 1, "activation", reset_less=True)
        return delayed(m, self.multiply(operand, activation), 1, "product", reset_less=True)

    def split(self, product):
        """The ``group`` of products; sums of two values where a correction is due."""
        if self.group == 1:
            return [product]
        n = self.product_width
        return [product[:n].as_signed(), product[n:].as_signed() + product[n - 1]]
