"""What a search weighs: the figures of a machine, and the objectives and constraints on them."""

import re
from dataclasses import dataclass

from celosia.generators.config import ConfigError
from celosia.generators.estimate.cycles import ERROR
from celosia.generators.estimate.energy import ERROR as ENERGY_ERROR
from celosia.generators.estimate.report import CHIP_ERRORS
from celosia.printable import shown

__all__ = ["FIGURES", "Constraint", "Figure", "parse_constraint", "parse_objectives"]

LEAST = 1e-9  # of an excess that counts


@dataclass(frozen=True)
class Figure:
    """What is predicted of a machine.

    Parameters
    ----------
    text : str
        As a table says it.
    more : bool
        Whether more is better.
    rung : str
        Where on the ladder it is found: ``chip``, ``cycles``, ``prompt`` or ``loss``.
    error : str
        The largest error known.
    whole : str
        What the figure can be a part of: ``%`` of the board's, ``x`` times that of float32; or "".
    """

    text: str
    more: bool
    rung: str
    error: str = "exact"
    whole: str = ""


_SPEED = f"{ERROR:.0%}"
FIGURES = {
    "tokens_per_second": Figure("tokens/s", True, "cycles", _SPEED),
    "prompt_tokens_per_second": Figure("prompt tokens/s", True, "prompt", _SPEED),
    "utilisation": Figure("utilisation", True, "cycles", _SPEED),
    "weights_per_byte": Figure("W/B", True, "cycles", _SPEED),
    "energy": Figure("µJ/token", False, "cycles", ENERGY_ERROR),
    "positions": Figure("positions", True, "chip"),
    "window": Figure("window", True, "chip"),
    "perplexity": Figure("perplexity", False, "loss", "measured", "x"),
    "lut": Figure("LUTs", False, "chip", CHIP_ERRORS["lut"], "%"),
    "dsp": Figure("multiplier blocks", False, "chip", CHIP_ERRORS["dsp"], "%"),
    "bram": Figure("block RAMs", False, "chip", CHIP_ERRORS["bram"], "%"),
}


@dataclass(frozen=True)
class Constraint:
    """A bound on a figure.

    Parameters
    ----------
    text : str
        As the user wrote it.
    name : str
        The figure.
    sign : str
        ``<``, ``<=``, ``>`` or ``>=``.
    number : float
    unit : str
        "", or what ``number`` is a part of, as :class:`Figure` has it.
    """

    text: str
    name: str
    sign: str
    number: float
    unit: str

    def limit(self, whole=None):
        """The bound; ``whole`` is what a ``number`` with a unit is a part of."""
        return self.number * {"": 1, "%": (whole or 0) / 100, "x": whole or 0}[self.unit]

    def excess(self, value, whole=None):
        """By what part of the limit ``value`` is beyond it: at most 0 where it is met."""
        limit = self.limit(whole)
        beyond = value - limit if "<" in self.sign else limit - value
        if beyond == 0 and "=" not in self.sign:
            return LEAST
        return beyond / max(abs(limit), LEAST)


def parse_objectives(text):
    """The names of figures in ``text``, with commas between them.

    Raises
    ------
    ConfigError
        If one is unknown, or there twice.
    """
    names = [name.strip() for name in text.split(",")]
    for n, name in enumerate(names):
        _check_name("--objective", name)
        if name in names[:n]:
            raise ConfigError(f"--objective names {name} twice")
    return tuple(names)


def parse_constraint(text):
    """The :class:`Constraint` that ``text`` says, as ``lut<80%``, ``perplexity<1.05x``.

    Raises
    ------
    ConfigError
        If it says none.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(<=?|>=?)\s*(\d*\.?\d+(?:e\d+)?)\s*([%x]?)\s*", text)
    if found is None:
        raise ConfigError(
            f"--constraint takes a figure, < or >, a number, as 'lut<80%'; not {shown(text)}"
        )
    name, sign, number, unit = found.groups()
    _check_name("--constraint", name)
    if unit not in ("", FIGURES[name].whole):
        known = {"%": "% of the board's", "x": "x times that of float32"}.get(FIGURES[name].whole)
        raise ConfigError(
            f"--constraint {text}: {name} is a number{f', or {known}' if known else ''}, not {unit}"
        )
    return Constraint(text.strip(), name, sign, float(number), unit)


def _check_name(option, name):
    if name not in FIGURES:
        raise ConfigError(f"{option} must be of {', '.join(FIGURES)}, not {shown(name)}")
