"""Of the shapes that a board's machines hold those that nothing beats in loss and latency."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from celosia.boards.estimate import default_clock, fitting_config
from celosia.boards.listing import LEAST_WINDOW
from celosia.boards.measure import POSITION
from celosia.codesign.law import Law
from celosia.generators.config import Config, ConfigError
from celosia.generators.estimate.report import token_cycles
from celosia.reference.families import describe
from celosia.reference.model import ModelConfig
from celosia.reference.operations import Attention

__all__ = ["Front", "Point", "Question"]

FIRST = 40  # shapes at random; then neighbours of the best


@dataclass(frozen=True)
class Point:
    """A shape on the machine that a board has for it.

    Parameters
    ----------
    config : ModelConfig
    machine : Config
    loss, error : float
        In nats per token, predicted.
    cycles : int
        Of a token, predicted.
    latency : float
        In milliseconds.
    clock : float
        In MHz.
    memory : int
        Bytes of weights and cache.
    excess : dict of str to float
        Of each constraint by what part it is missed; at most 0 where it is met.
    """

    config: ModelConfig
    machine: Config
    loss: float
    error: float
    cycles: int
    latency: float
    clock: float
    memory: int
    excess: dict

    @property
    def missed(self):
        """The sum of what is missed."""
        return sum(max(part, 0.0) for part in self.excess.values())


@dataclass(frozen=True)
class Question:
    """Which shapes are asked for.

    Parameters
    ----------
    board : a board of :data:`celosia.boards.catalog.BOARDS`
    law : Law
    level : float
        Nats that a text's losses are above the law's.
    limits : dict of str to float
        Of ``latency``, in milliseconds, and ``memory``, in bytes, the most.
    """

    board: Any
    law: Law
    level: float
    limits: dict

    def point(self, config):
        """The :class:`Point` of a shape.

        None where the board has no machine for it, or one that sees too few positions.
        """
        try:
            machine = fitting_config(config, self.board)
            seen = min(machine.window or machine.max_seq_len, machine.max_seq_len)
            if seen < LEAST_WINDOW:
                return None
            frequency = self.board.clock(default_clock(self.board, machine, config))
            last = min(POSITION, machine.max_seq_len - 1)
            cycles = token_cycles(config, machine, last, frequency)
        except (LookupError, ConfigError):
            return None
        found = {"latency": cycles / frequency * 1e3, "memory": stored(config, machine)}
        return Point(
            config=config,
            machine=machine,
            loss=self.law.loss(config) + self.level,
            error=self.law.error(config),
            cycles=cycles,
            clock=frequency / 1e6,
            excess={name: found[name] / most - 1 for name, most in self.limits.items()},
            **found,
        )


def stored(config, machine):
    """Bytes of all weights and of the cache in the machine's widths: no scales, no padding."""
    d = describe(config)
    positions = min(machine.window or machine.max_seq_len, machine.max_seq_len)
    values = len(d.find(Attention)) * config.n_kv_heads * config.head_dim * positions
    cache = values * (machine.key_width + machine.value_width)
    return -(-(d.parameters * machine.weight_width + cache) // 8)


class Front:
    """A search of a :class:`~celosia.codesign.shapes.Grid`.

    Some places at random, the least and the largest among them; then neighbours of the points that
    nothing beats, one after the other, as ScaleHLS (arXiv 2107.11673) explores.

    Parameters
    ----------
    question : Question
    grid : Grid
    seed : int

    Members
    -------
    found : dict of tuple of int to Point or None
        Of all places that were looked at.
    """

    def __init__(self, question, grid, seed=0):
        self.question, self.grid, self.found = question, grid, {}
        self.rng = np.random.default_rng(seed)
        order = sorted(grid.configs, key=lambda place: _work(grid.configs[place]))
        others = [order[n] for n in self.rng.permutation(len(order))]
        self.first = [*dict.fromkeys([order[0], order[-1], *others])]

    def search(self, trials, progress=None):
        """Look at so many places, or at all."""
        for n in range(min(trials, len(self.grid.configs))):
            place = self._next()
            self.found[place] = self.question.point(self.grid.configs[place])
            if progress is not None:
                progress(n + 1)

    def _next(self):
        best = self.best() if len(self.found) >= FIRST else []
        for n in self.rng.permutation(len(best)):
            near = [place for place in self.grid.beside(best[n]) if place not in self.found]
            if near:
                return near[self.rng.integers(len(near))]
        return next(place for place in self.first if place not in self.found)

    def best(self):
        """The places of :meth:`pareto`; where no point meets the constraints, of the nearest."""
        points = {place: point for place, point in self.found.items() if point}
        least = min((point.missed for point in points.values()), default=0)
        near = {place: point for place, point in points.items() if point.missed <= least}
        return [
            place
            for place, one in near.items()
            if not any(_beats(other, one) for other in near.values())
        ]

    def pareto(self):
        """The points that meet the constraints and that none beats, the lowest loss first."""
        points = [self.found[place] for place in self.best()]
        return sorted((one for one in points if not one.missed), key=lambda one: one.loss)

    def others(self):
        """All other points that meet the constraints."""
        best = self.pareto()
        return [one for one in self.found.values() if one and not one.missed and one not in best]

    def obstacles(self):
        """Where no point meets the constraints: which cannot be met, and by how much."""
        points = [one for one in self.found.values() if one]
        limits = self.question.limits
        never = [n for n in limits if min(one.excess[n] for one in points) > 0]
        found = []
        for name in never or limits:
            nearest = min(points, key=lambda one: one.excess[name] if never else one.missed)
            found.append((name, getattr(nearest, name), nearest.excess[name]))
        return found, bool(never)


def _beats(one, other):
    pairs = ((one.loss, other.loss), (one.latency, other.latency))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _work(config):
    return describe(config).macs(0, True)
