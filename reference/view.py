"""What a layer's attention sees: a window of positions, and the slots that hold their keys."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["PagedView", "View", "layer_view", "least_start", "seen", "slot_positions"]


@dataclass(frozen=True)
class View:
    """The slots of a layer's keys and values, and how many positions a token sees.

    Position ``p`` lies in slot ``p % slots``. Without a ``window`` no position reaches ``slots``,
    and the token at ``t`` sees all up to its own (a linear cache). With one it sees the last
    ``window``, its own counted, and the slots are a ring: slot ``s`` counts where
    ``(t - s) % slots < min(window, t + 1)``. Raises ValueError if there are less slots than
    that needs.
    """

    page = 0  # not cut into pages

    slots: int
    window: int | None = None

    def __post_init__(self):
        if not 1 <= self.slots <= 1 << 20:
            raise ValueError(f"slots must be from 1 to {1 << 20}, not {self.slots!r}")
        if self.window is not None and not 1 <= self.window <= self.slots:
            raise ValueError(f"window must be from 1 to slots ({self.slots}), not {self.window!r}")

    @property
    def wraps(self):
        """Whether positions may exceed the slots."""
        return self.window is not None


@dataclass(frozen=True)
class PagedView(View):
    """All positions, in ``slots`` cut into pages of ``page``, a power of two.

    Position ``p`` lies in slot ``table[p // page] * page + p % page``: a table says which page
    holds which positions. Raises ValueError if there is no whole number of pages.
    """

    page: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.page < 1 or self.page & (self.page - 1) or self.slots % self.page:
            raise ValueError(
                f"page must be a power of two that divides slots ({self.slots}), not {self.page!r}"
            )


def layer_view(window, max_seq_len, rows, lanes, tokens, page=0, pages=0):
    """The view of a layer that sees its last ``window`` positions, all where that is None.

    Those of the latter lie in ``pages`` pages of ``page`` slots, unless that is 0.

    A ring has a multiple of ``rows`` and of ``lanes`` slots, and at least
    ``window + max(tokens, lanes) - 1``. A group of ``tokens`` may then be written before its first
    token reads. And the ``lanes`` slots of a block never hold positions of two turns that both
    count: blocks of slots are blocks of positions, ``p // lanes``, so that what is computed does
    not depend on the number of slots.
    """
    if window is None or window >= max_seq_len:
        return PagedView(pages * page, page=page) if page else View(max_seq_len)
    unit = math.lcm(rows, lanes)
    return View(-(-(window + max(tokens, lanes) - 1) // unit) * unit, window)


def least_start(views, cached=None):
    """Where a run may begin, but for 0, behind ``cached`` positions whose rings have ``views``.

    What a token at an earlier start sees is overwritten once the smallest ring has wrapped.
    Returns ``slots, spare`` where ``cached`` is None: it is ``cached - spare`` where that exceeds
    ``slots``, else 0.
    """
    rings = [view for view in views if view.wraps]
    slots = min((view.slots for view in rings), default=1 << 20)
    spare = min((view.slots - view.window + 1 for view in rings), default=0)
    if cached is None:
        return slots, spare
    return cached - spare if cached > slots else 0


def seen(positions, n, window=None):
    """Which of the first ``n`` positions the tokens at ``positions`` see: bool[tokens, n]."""
    age = np.asarray(positions)[:, None] - np.arange(n)
    return (age >= 0) if window is None else (age >= 0) & (age < window)


def slot_positions(t, view):
    """The position that each slot holds for the token at ``t``: int64[slots], or -1.

    -1 where a slot does not count: nothing was written there, or what is outside the window. Of an
    array of tokens int64[..., slots].
    """
    t = np.asarray(t)[..., None]
    age = (t - np.arange(view.slots)) % view.slots
    window = view.slots if view.window is None else view.window
    return np.where(age < np.minimum(window, t + 1), t - age, -1)
