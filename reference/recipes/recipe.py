"""Recipes: which rewrites and which rounding make a model's codes; by name, or from a TOML file."""

import importlib
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from celosia.reference.checkpoint.files import read_text

from celosia.printable import shown

__all__ = ["RECIPES", "Recipe", "RecipeError", "best_recipe", "load_recipe", "need_torch"]

LIMIT = 1 << 16  # bytes of a file


class RecipeError(ValueError):
    """A recipe that is none, or that does not fit the model; the message says what is wrong."""


@dataclass(frozen=True)
class Recipe:
    """What is done to a float model, in this order.

    Parameters
    ----------
    rotate : bool
        R1 and R2: :mod:`celosia.reference.rewrites.rotation`.
    learn : int
        Steps in which R1 is learned, with PyTorch: :mod:`celosia.training.spin`; 0 for random.
    smooth : float, 0 to 1
        SmoothQuant's share of the activations in the factors; 0 for none:
        :mod:`celosia.reference.recipes.smoothquant`.
    awq : bool
        AWQ's search of factors: :mod:`celosia.reference.recipes.awq`.
    clip : bool
        Each group's range is the one that loses least: :mod:`celosia.reference.recipes.grid`.
    rounding : str
        ``nearest``, or ``gptq``: :mod:`celosia.reference.recipes.gptq`.
    damping : float, more than 0
        GPTQ's, as a part of the Hessian's mean diagonal.
    order : str
        Of GPTQ's columns: by ``activation``, or as they are (``column``).
    tokens : int, 1 or more
        Of the text that calibration takes at most.
    seed : int
        Of the rotations, and of a text that the model writes itself.

    Raises
    ------
    RecipeError
        If one is out of range.
    """

    rotate: bool = False
    learn: int = 0
    smooth: float = 0.0
    awq: bool = False
    clip: bool = False
    rounding: str = "nearest"
    damping: float = 0.01
    order: str = "activation"
    tokens: int = 8192
    seed: int = 0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (float, int) if field.type is float else field.type
            if not isinstance(value, kinds) or isinstance(value, bool) != (field.type is bool):
                words = {bool: "true or false", str: "a text", int: "a whole number"}
                word = words.get(field.type, "a number")
                raise RecipeError(f"{field.name} must be {word}, not {shown(value)}")
        if not 0 <= self.smooth <= 1:
            raise RecipeError(f"smooth must be from 0 to 1, not {self.smooth}")
        if not 0 < self.damping <= 1:
            raise RecipeError(f"damping must be more than 0 and at most 1, not {self.damping}")
        for name, value, known in (
            ("rounding", self.rounding, ("nearest", "gptq")),
            ("order", self.order, ("activation", "column")),
        ):
            if value not in known:
                raise RecipeError(f"{name} must be {' or '.join(known)}, not {shown(value)}")
        for name, least in (("learn", 0), ("tokens", 1), ("seed", 0)):
            if not least <= getattr(self, name) < 1 << 31:
                raise RecipeError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if self.learn and not self.rotate:
            raise RecipeError(f"learn must be 0 without rotate, not {self.learn}")

    @property
    def calibrated(self):
        """Whether a text is needed."""
        return bool(self.learn or self.smooth or self.awq or self.clip or self.rounding == "gptq")

    def as_dict(self):
        """The parameters, for JSON."""
        return asdict(self)


RECIPES = {
    "rtn": Recipe(),
    "smoothquant": Recipe(smooth=0.5),
    "awq": Recipe(awq=True, clip=True),
    "gptq": Recipe(rounding="gptq"),
    "quarot": Recipe(rotate=True, rounding="gptq"),
    "spinquant": Recipe(rotate=True, learn=200, rounding="gptq"),
}


def need_torch(who):
    """Refuse what needs PyTorch where there is none."""
    try:
        importlib.import_module("torch")
    except ImportError:
        text = f"{who} needs PyTorch, which is not here: pip install 'celosia[train]'"
        raise RecipeError(text) from None


def best_recipe(weight_width):
    """The name of the best recipe known for weights of so many bits; see docs/quantisation.md."""
    return "rtn" if weight_width == 8 else "gptq"


def load_recipe(source):
    """The recipe of a name in :data:`RECIPES`, or in a TOML file.

    Raises
    ------
    RecipeError
        If there is none, or a field of it is unknown or out of range; the message names it.
    """
    if str(source) in RECIPES:
        return RECIPES[str(source)]
    names = ", ".join(RECIPES)
    try:
        values = tomllib.loads(read_text(Path(source), LIMIT))
    except OSError as error:
        why = error.strerror or error
        raise RecipeError(f"{str(source)!r} is no recipe ({names}), nor a file: {why}") from None
    except RecursionError:
        raise RecipeError(f"{source}: not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise RecipeError(f"{source}: not valid TOML: {error}") from None
    known = [field.name for field in fields(Recipe)]
    for name in values:
        if name not in known:
            raise RecipeError(f"{source}: unknown field {shown(name)}; known: {', '.join(known)}")
    try:
        return Recipe(**values)
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from None
