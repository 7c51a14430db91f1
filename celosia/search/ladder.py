"""The figures of a configuration, from the cheapest on: chip, cycles, prompt, loss."""

from dataclasses import dataclass

from celosia.boards.build import BAUD, check
from celosia.boards.estimate import estimate
from celosia.generators.config import ConfigError
from celosia.generators.estimate.report import estimate_report
from celosia.search.figures import FIGURES, Constraint

__all__ = ["RUNGS", "Ladder", "Point"]

RUNGS = ("chip", "cycles", "prompt", "loss")


@dataclass(frozen=True)
class Point:
    """A configuration's figures, as far up the ladder as it came.

    Parameters
    ----------
    figures : dict of str to number
        By the names of :data:`celosia.search.figures.FIGURES`.
    excess : dict of str to float
        Of each constraint by what part it is missed; at most 0 where it is met. What a board has of
        a resource is a constraint, too, as ``lut<=83640``.
    """

    figures: dict
    excess: dict

    @property
    def fits(self):
        """Whether all constraints are met that could be looked at."""
        return max(self.excess.values()) <= 0


class Ladder:
    """Climbs: a point that misses a constraint goes no further.

    Parameters
    ----------
    model : celosia.reference.model.Model
    board : Board
    clock : float
        In MHz.
    position : int
        Of the token whose cycles count.
    constraints : sequence of Constraint
    rungs : set of str
        Whose figures are wanted.
    loss : celosia.search.loss.Loss, optional
        What gives the perplexity.
    """

    def __init__(self, model, board, clock, position, constraints, rungs, loss=None):
        self.model, self.board, self.clock, self.position = model, board, clock, position
        self.constraints, self.rungs, self.loss = constraints, rungs, loss

    def climb(self, config):
        """The :class:`Point` of a configuration.

        Raises
        ------
        ConfigError
            If there is no such machine.
        """
        check(config, self.board, self.clock, BAUD)
        length = config.max_seq_len or self.model.config.seq_len
        if length <= self.position:
            raise ConfigError(
                f"max_seq_len must be more than {self.position} for a token at that position, "
                f"not {length}"
            )
        figures, excess = {}, {}
        for rung in RUNGS:
            if rung not in self.rungs:
                continue
            figures |= getattr(self, f"_{rung}")(config, length, excess)
            for one in self.constraints:
                if FIGURES[one.name].rung == rung:
                    excess[one.text] = one.excess(figures[one.name], self._whole(one))
            if max(excess.values()) > 0:
                break
        return Point(figures, excess)

    def _whole(self, constraint: Constraint):
        """What a constraint's number is a part of."""
        if constraint.unit == "%":
            return self.board.resources[constraint.name]
        return self.loss.floating if constraint.unit == "x" else None

    def _chip(self, config, length, excess):
        chip = estimate(self.model.config, config, self.board.flow.lut_share)
        for name, available in self.board.resources.items():
            if (needed := getattr(chip, name, None)) is not None:
                excess[f"{name}<={available}"] = (needed - available) / max(available, 1)
        window = min(config.window or length, length)
        found = {name: getattr(chip, name) for name in ("lut", "dsp", "bram")}
        return found | {"positions": length, "window": window}

    def _cycles(self, config, length, excess):
        report = self._predicted(config, 1, {"start": self.position})
        names = ("tokens_per_second", "utilisation", "weights_per_byte", "energy")
        return {name: report[name] for name in names}

    def _prompt(self, config, length, excess):
        report = self._predicted(config, self.position, {})
        speed = self.position * 1e6 * report["clock_mhz"] / report["prefill_cycles"]
        return {"prompt_tokens_per_second": speed}

    def _predicted(self, config, length, options):
        return estimate_report(self.model, config, length, 1, self.board, self.clock, options)

    def _loss(self, config, length, excess):
        return {"perplexity": self.loss.perplexity(config)}
