"""Binary points that follow the calibration, and what refuses a model that none of them holds."""

import math

import numpy as np
from celosia.reference.quantization.matrix import ceil_log2
from celosia.reference.units.gate import GATE_FRACTION
from celosia.reference.units.scale import LEAST_SHIFT, ROOM

__all__ = [
    "LOG2E",
    "LOGIT_FRACTION",
    "SCORE_FRACTION",
    "SCORE_WIDTH",
    "check_model",
    "excess",
    "gate_fraction",
    "least_epsilon",
    "router_fraction",
    "score_format",
]

LOG2E = 1 / math.log(2)
SCORE_FRACTION = 8  # the most of a score's bits behind the point, those of the softmax's table
LOGIT_FRACTION = 12  # the most of a logit's
SCORE_WIDTH = 16  # the fewest bits of a score
ROUTER_FRACTION = 14  # the most of a router's bits behind the point, those of the powers' table


def score_format(largest, margin, most):
    """Bits behind the point of all scores, and their width, for scores of up to ``largest``.

    Scores beyond 16 bits get more integer bits, so that layers with smaller ones lose nothing. Of
    the bits behind the point there are then ``most`` at most, those with which the scaling stage
    never limits a product of queries and keys.

    Raises
    ------
    ValueError
        If no bit is left behind the point, or a score has more than 24.
    """
    bits = ceil_log2(margin * LOG2E * largest)
    if SCORE_FRACTION + bits < SCORE_WIDTH:
        return SCORE_FRACTION, SCORE_WIDTH
    fraction = min(SCORE_FRACTION, most)
    if fraction < 0 or fraction + bits >= 24:
        raise ValueError(f"attention scores reach {largest:,.0f}, which no format holds")
    return fraction, max(SCORE_WIDTH, fraction + bits + 1)


def gate_fraction(largest, margin):
    """Bits behind the point of all gates, which have 20 bits.

    Raises
    ------
    ValueError
        If no bit is left behind the point.
    """
    fraction = min(GATE_FRACTION, 19 - ceil_log2(margin * largest))
    if fraction < 0:
        raise ValueError(f"gates reach {largest:,.0f}, which no format holds")
    return fraction


def router_fraction(largest, margin):
    """Bits behind the point of all routers' results, logarithms to base 2, which have 24 bits.

    Raises
    ------
    ValueError
        If no bit is left behind the point.
    """
    fraction = min(ROUTER_FRACTION, 23 - ceil_log2(margin * LOG2E * largest))
    if fraction < 0:
        raise ValueError(f"the router's logits reach {largest:,.0f}, which no format holds")
    return fraction


def excess(scales, outputs, normed=False):
    """By how many bits the scaling stage limits some of ``outputs``, integers; 0 if it does not.

    Parameters
    ----------
    scales : uint16[rows]
        The rows' scales.
    outputs : float64[rows]
        The rows' largest results.
    normed : bool
        Whether results are also scaled by a norm's mantissa, which may halve the scale.
    """
    room = 2.0 ** (ROOM - normed) * np.asarray(scales, np.float64)
    ratios = np.divide(outputs, room, out=np.zeros_like(room), where=room > 0)
    return max(0, ceil_log2(max(ratios.max(), 2.0**-64)))


def least_epsilon(dim, eps, residual, shifts, inverse):
    """The norms' epsilon as an integer, with which no scale behind a norm is out of reach.

    It is ``dim * eps`` in squared units of the residual, or more if the scaling stage's
    ``shifts`` of the matrices behind norms, by name, ask for it; then vectors that are next to
    nothing come out smaller than they would.

    Raises
    ------
    ValueError
        If it is too large for the machine, or for the least vector of the calibration, whose
        mean square is one over ``inverse``.
    """
    unit = dim * 4.0**residual
    wanted = eps * unit
    if wanted > 2.0**61:
        most = 2.0**61 / unit
        raise ValueError(f"norm_eps must be at most {most:.3g} here, not {eps:g}")
    epsilon = max(1, round(wanted))
    name, shift = min(shifts.items(), key=lambda item: item[1])
    places = LEAST_SHIFT + 1 - shift  # of the least root's shift
    if (epsilon.bit_length() + 1) >> 1 < places:
        epsilon = 1 << (2 * places - 2)
        if epsilon / unit > 1 / (16 * inverse):
            raise ValueError(f"{name}: its scale is beyond the scaling stage")
    return epsilon


def check_model(model):
    """Raise ``ValueError`` for frequencies that no table of angles holds."""
    for layer in model.description.layers:
        frequencies = [getattr(operation, "frequencies", ()) for operation in layer]
        if not all(np.isfinite(values).all() for values in frequencies):
            theta = model.config.rope_theta
            raise ValueError(f"rope_theta {theta:g} gives frequencies that are not finite")
