"""The model families: each a file that says what its models compute and how its files name it.

Every module of this folder that has a ``FAMILY`` is one.
"""

from importlib import import_module
from pkgutil import iter_modules

from celosia.reference.families.family import Family, Format

__all__ = ["FAMILIES", "JUDGE", "Family", "Format", "describe"]

_modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]

#: What the families' logits are compared with; see docs/judges.md.
JUDGE = "transformers 5.24"

#: By name.
FAMILIES = {each.FAMILY.name: each.FAMILY for each in _modules if hasattr(each, "FAMILY")}


_KEPT = 256  # descriptions
_described = {}


def describe(config):
    """The :class:`celosia.reference.description.Description` of a model's configuration.

    The latest ones are kept: a search for a machine asks for the same one thousands of times.
    """
    make = FAMILIES[config.family].describe
    key = make, repr(config)
    if key not in _described:
        found = make(config)
        if len(_described) >= _KEPT:
            _described.pop(next(iter(_described)))
        _described[key] = found
    return _described[key]
