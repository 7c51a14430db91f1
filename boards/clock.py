"""Which of a loop's settings makes a clock best."""

__all__ = ["best_loop"]

TOLERANCE = 0.02


def best_loop(loops, source, frequency):
    """The first of those whose ``frequency`` is nearest to the wished one and does not exceed it.

    Parameters
    ----------
    loops : iterable
        With an attribute ``frequency``, in Hz.
    source, frequency : float
        The board's clock and the wished one, in Hz.

    Raises
    ------
    ValueError
        If none comes within 2 % of it.
    """
    slower = (loop for loop in loops if loop.frequency <= frequency)
    best = max(slower, key=lambda loop: loop.frequency, default=None)
    if best is None or best.frequency < (1 - TOLERANCE) * frequency:
        raise ValueError(f"no clock of {frequency / 1e6:g} MHz can be made of {source / 1e6:g} MHz")
    return best
