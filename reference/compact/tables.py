"""The compact machine's tables, read by its reference and its RTL alike: 256 entries each."""

import functools

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate
from celosia.reference.operations.gate import ACTIVATIONS

__all__ = [
    "GATE_SHIFTS",
    "exp_table",
    "gate_table",
    "initial_state",
    "root_table",
    "rotations",
    "scale_values",
]

#: Of the activations that there are tables for: what their share of 1 is, as a power of two.
GATE_SHIFTS = {"silu": 8, "gelu": 8, "gelu_tanh": 8, "relu": 7}

STATE_FRACTION = 22  # bits behind the point of the sines and cosines that are carried along


@functools.cache
def scale_values():
    """``16 * 2**(code / 4)``: what a row is multiplied by, for codes from 0 to 15."""
    return np.round(16 * 2.0 ** (np.arange(16) / 4)).astype(np.int64)


@functools.cache
def exp_table():
    """``127 * 2**(-i / 32)``; the last entry, which serves all beyond, is 0."""
    table = np.round(127 * 2.0 ** (-np.arange(256) / 32)).astype(np.int64)
    table[-1] = 0
    return table


@functools.cache
def gate_table(activation):
    """``activation(x) / x`` for ``x = (i - 128) / 16``, in units of ``2**-shift``, at most 255."""
    x = (np.arange(256) - 128) / 16
    x[128] = 1e-9
    share = ACTIVATIONS[activation](x) / x
    return np.minimum(np.round(share * 2.0 ** GATE_SHIFTS[activation]), 255).astype(np.int64)


@functools.cache
def root_table():
    """``1 / sqrt(i)`` in units of 2**-15, at most 32767; entry 0 serves 256."""
    places = np.arange(256)
    places[0] = 256
    return np.minimum(np.round(32768 / np.sqrt(places)), 32767).astype(np.int64)


def rotations(rotation, n):
    """Cosines, sines, and sines with the other sign, of the first ``n`` positions.

    In units of 2**-14, int64[n, pairs] each, rounded half up.

    Each position's are those before, turned by ``rotation`` int64[pairs, 2] (cosine and sine of
    one position's angle in units of 2**-15), rounded half up to 24 bits with 22 behind the point.
    Before position 0 they are those of minus one angle.
    """
    turn_cosine, turn_sine = rotation.T
    state = initial_state(rotation)
    cosine, sine = state.T
    found = np.empty((3, n, len(rotation)), np.int64)
    for position in range(n):
        cosine, sine = (
            saturate(round_shift(cosine * turn_cosine - sine * turn_sine, 15), 24),
            saturate(round_shift(cosine * turn_sine + sine * turn_cosine, 15), 24),
        )
        found[:, position] = round_shift(np.stack([cosine, sine, -sine]), 8)
    return found


def initial_state(rotation):
    """Cosine and sine of minus one angle, in units of 2**-22: int64[pairs, 2]."""
    return rotation * np.array([1, -1]) << (STATE_FRACTION - 15)
