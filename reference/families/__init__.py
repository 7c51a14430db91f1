"""The model families: each a file that says what its models compute and how its files name it."""

from celosia.reference.families import llama
from celosia.reference.families.family import Family

__all__ = ["FAMILIES", "Family", "describe"]

#: By name.
FAMILIES = {family.name: family for family in (llama.FAMILY,)}


def describe(config):
    """The :class:`celosia.reference.description.Description` of a model's configuration."""
    return FAMILIES[config.family].describe(config)
