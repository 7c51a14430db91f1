"""What drawn parameters are drawn from."""

from hypothesis import strategies as st

__all__ = ["N", "power", "whole"]

N = 60  # payloads of a case, or so


def whole(low, high):
    """An int from ``low`` to ``high``."""
    return st.integers(low, high)


def power(high):
    """A power of two from 1 to ``2**high``."""
    return st.integers(0, high).map(lambda n: 1 << n)
