"""The reciprocal square root, for norms."""

from celosia.reference.functions.tables import rsqrt_table
from celosia.rtl.functions.reciprocal import Reciprocal

__all__ = ["Rsqrt"]


class Rsqrt(Reciprocal):
    """``1 / sqrt(x) = mantissa * 2**(-15 - shift)`` for ``x >= 1``.

    The mantissa, from 2**15 to 2**16, has a relative error of at most 6.1e-5. What comes of 0 is
    not defined. Bit-exact with :func:`celosia.reference.functions.functions.rsqrt`. Latency,
    throughput, parameters, members and errors are those of ``Reciprocal``.
    """

    digit = 2

    @staticmethod
    def table():
        """The table from u = 0 on, of which the first quarter is never used."""
        return [[0] * 64 + column.tolist() for column in rsqrt_table()]
