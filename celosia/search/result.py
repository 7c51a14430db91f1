"""What a search found: the Pareto set, or which constraint is in the way."""

import re
from dataclasses import dataclass

from celosia.generators.config import Config
from celosia.generators.machine_kinds import MACHINES
from celosia.search.figures import FIGURES
from celosia.search.ladder import Point

__all__ = ["Found", "Result", "config_text", "result_of", "toml_text"]


@dataclass(frozen=True)
class Found:
    """A machine that a trial found.

    Parameters
    ----------
    trial : int
    config : dict
        What of a Config is not as usual.
    figures : dict
    """

    trial: int
    config: dict
    figures: dict

    def made(self, name):
        """The Config of that ``name``."""
        return Config(**self.config, name=name)


@dataclass(frozen=True)
class Result:
    """Of a study.

    Parameters
    ----------
    pareto : list of Found
        Of no one is another as good in all objectives and better in one; the best by the first
        objective first.
    others : list of Found
        Those that meet the constraints as well.
    trials, refused : int
        How many there are, and for how many there is no such machine.
    obstacles : list of str
        Where none meets the constraints: which are in the way.
    """

    pareto: list
    others: list
    trials: int
    refused: int
    obstacles: list


def result_of(study, objectives):
    """The :class:`Result` of an Optuna study."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    done = [t for t in trials if "figures" in t.user_attrs]
    points = [(t, Point(t.user_attrs["figures"], t.constraints)) for t in done]
    fitting = {}
    for trial, point in points:
        if point.fits:
            attributes = trial.user_attrs
            found = Found(trial.number, attributes["config"], attributes["figures"])
            fitting.setdefault(repr(sorted(found.config.items())), found)
    order = (*objectives, *FIGURES)  # those that are as good in the objectives by the rest
    found = sorted(fitting.values(), key=lambda one: _gains(one, order), reverse=True)
    pareto = [one for one in found if not any(_beats(x, one, objectives) for x in found)]
    others = [one for one in found if one not in pareto]
    refusals = [t.user_attrs["refused"] for t in trials if "refused" in t.user_attrs]
    obstacles = [] if found else _obstacles([point for _, point in points], refusals)
    return Result(pareto, others, len(trials), len(refusals), obstacles)


def _gains(one, objectives):
    """An objective's figures, more of which is better."""
    names = [name for name in objectives if name in one.figures]
    return [one.figures[name] * (1 if FIGURES[name].more else -1) for name in names]


def _beats(one, other, objectives):
    pairs = list(zip(_gains(one, objectives), _gains(other, objectives), strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _obstacles(points, refusals):
    """What keeps all points from being taken: constraints that none meets, or those that clash."""
    if not points:
        often = max(set(refusals), key=refusals.count, default="there was no trial")
        return [often]
    least = {}
    for point in points:
        for text, excess in point.excess.items():
            least[text] = min(excess, least.get(text, excess))
    never = [text for text, excess in least.items() if excess > 0]
    if never:
        nearest = [min(points, key=lambda p: p.excess.get(text, 1e9)) for text in never]
        pairs = zip(never, nearest, strict=True)
        return [f"{text} cannot be met: {_missed(text, point)}" for text, point in pairs]
    nearest = min(points, key=lambda p: sum(x for x in p.excess.values() if x > 0))
    return [
        f"{text}, within reach alone, is not with the others: {_missed(text, nearest)}"
        for text, excess in nearest.excess.items()
        if excess > 0
    ]


def _missed(text, point):
    value = point.figures.get(re.match(r"\w+", text).group())
    has = "misses it" if value is None else f"has {value:,.6g}"
    return f"the nearest machine {has}, {max(point.excess[text], 0.0):.1%} beyond"


def config_text(config):
    """How the command line says a configuration's changes, but for what its machine fixes."""
    closed = MACHINES[config.get("machine", Config.machine)].closed
    said = {n: v for n, v in config.items() if n not in closed}
    return " ".join(f"{name}={value}" for name, value in said.items())


def toml_text(found, comment):
    """A file for ``--config``."""
    lines = [f"# {comment}"]
    for name, value in found.config.items():
        lines.append(f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"')
    return "\n".join(lines) + "\n"
