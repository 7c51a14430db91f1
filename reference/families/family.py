"""What is said of a model family, in one place."""

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Family"]


@dataclass(frozen=True)
class Family:
    """A family of models: how its files name things, and what its models compute.

    Parameters
    ----------
    name : str
    describe : callable(ModelConfig) -> Description
    architectures : tuple of str
        As config.json spells them.
    gguf : tuple of str
        As ``general.architecture`` spells them.
    """

    name: str
    describe: Callable
    architectures: tuple = ()
    gguf: tuple = ()
    tensors: dict = field(default_factory=dict)
