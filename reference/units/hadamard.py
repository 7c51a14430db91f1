"""The orthonormal Hadamard transform, for powers of two and for real models' sizes."""

import functools
import math

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate

__all__ = [
    "block_hadamard",
    "block_shift",
    "core",
    "factors",
    "hadamard",
    "hadamard_matrix",
    "scaling",
]

MAX_ORDER = 148


def hadamard(x, lanes, width=None):
    """``H x / sqrt(n)`` over the last axis, ``H = hadamard_matrix(n, lanes)``; its own inverse.

    Sums are exact, multiplied by 1 / sqrt(n) to 17 significant bits and rounded once (half up);
    results saturate to ``width`` bits where it is given. Beside saturation the error is at most
    0.5 and 2**-17 of the result. ``|x|`` below 2**28.
    """
    x = np.asarray(x, np.int64)
    n = x.shape[-1]
    outer, order, lanes = factors(n, lanes)
    y = x.reshape(-1, outer, order, lanes).astype(np.float64)  # exact: all sums are below 2**53
    y = core(order) @ y @ _sylvester(lanes)
    y = _sylvester(outer) @ y.reshape(-1, outer, order * lanes)
    mantissa, shift = scaling(n)
    y = round_shift(y.reshape(x.shape).astype(np.int64) * mantissa, shift)
    return y if width is None else saturate(y, width)


def block_shift(size):
    """The shift behind a block's sums: with it values stay as large as they are, or get smaller."""
    return (size.bit_length()) // 2


def block_hadamard(x, size, width):
    """``H x / 2**block_shift(size)`` of blocks of ``size`` neighbours, ``H`` Sylvester's matrix.

    Sums are exact, rounded half up and saturated to ``width`` bits.
    """
    x = np.asarray(x, np.int64)
    y = x.reshape(-1, size).astype(np.float64) @ _sylvester(size)  # exact
    y = round_shift(y.astype(np.int64), block_shift(size))
    return saturate(y, width).reshape(x.shape)


def hadamard_matrix(n, lanes):
    """The symmetric int64[n, n] of 1 and -1 with ``H @ H = n * identity``.

    The Kronecker product of Sylvester's matrix of ``n / (order * lanes)`` points, the core of
    ``order`` and Sylvester's matrix of ``lanes`` points; for powers of two Sylvester's of ``n``.
    """
    outer, order, lanes = factors(n, lanes)
    return np.kron(np.kron(_sylvester(outer), core(order)), _sylvester(lanes))


def factors(n, lanes):
    """``n`` as ``outer * order * lanes``: order 1, or the smallest of a core that divides it.

    Raises
    ------
    ValueError
        If ``lanes`` is not a power of two, or no product fits ``n``.
    """
    if lanes < 1 or lanes & (lanes - 1):
        raise ValueError(f"lanes must be a power of two, not {lanes!r}")
    odd = n & -n and n // (n & -n)
    order = 1 if odd == 1 else 4 * odd
    if n < 1 or (order > 1 and (_field(order // 2 - 1) is None or order > MAX_ORDER)):
        raise ValueError(f"n must be a power of two, or times a core of {cores()}, not {n!r}")
    if n % (order * lanes):
        raise ValueError(f"n must be a multiple of {order} * lanes = {order * lanes}, not {n!r}")
    return n // (order * lanes), order, lanes


@functools.cache
def cores():
    """The orders of the cores of up to 148 points."""
    return [m for m in range(12, MAX_ORDER + 1, 8) if _field(m // 2 - 1) is not None]


@functools.cache
def core(order):
    """A symmetric Hadamard matrix of ``order`` 1 or 2 * (q + 1), q = 1 mod 4 a prime or its square.

    Paley's second construction (1933): the conference matrix of the quadratic residues of GF(q),
    its zeros replaced by [[1, -1], [-1, -1]], its signs by multiples of [[1, 1], [1, -1]].
    """
    if order == 1:
        return np.ones((1, 1), np.int64)
    q = order // 2 - 1
    differences, squares = _field(q)
    character = np.where(np.isin(np.arange(q), squares), 1, -1)
    character[0] = 0
    conference = np.ones((q + 1, q + 1), np.int64)
    conference[0, 0] = 0
    conference[1:, 1:] = character[differences]
    signs = np.array([[1, 1], [1, -1]])
    return np.kron(conference, signs) + np.kron(np.eye(q + 1, dtype=np.int64), [[1, -1], [-1, -1]])


def scaling(n):
    """``1 / sqrt(n) = mantissa * 2**-shift`` rounded to 17 significant bits."""
    shift = 16 + ((n - 1).bit_length() + 1) // 2
    return round(2.0**shift / math.sqrt(n)), shift


def _field(q):
    """The table of differences of GF(q) and its non-zero squares; None where ``q`` does not fit.

    An element of GF(p**2) is ``a + b * p``: a + b * sqrt(r) for a non-residue r.
    """
    p = math.isqrt(q) if math.isqrt(q) ** 2 == q else q
    if q % 4 != 1 or p < 3 or any(p % d == 0 for d in range(2, math.isqrt(p) + 1)):
        return None
    x = np.arange(q)
    a, b = x % p, x // p
    residues = set((np.arange(1, p) ** 2 % p).tolist())
    r = next(k for k in range(2, p) if k not in residues)
    squares = (a * a + r * b * b) % p + 2 * a * b % p * p
    differences = (a[:, None] - a) % p + (b[:, None] - b) % p * p
    return differences, squares[1:]


@functools.cache
def _sylvester(n):
    h = np.ones((1, 1), np.int64)
    while len(h) < n:
        h = np.kron([[1, 1], [1, -1]], h)
    return h
