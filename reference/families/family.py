"""What is said of a model family, in one place."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Family", "Format"]


@dataclass(frozen=True)
class Format:
    """How the files of one format say what a model of the family is.

    Parameters
    ----------
    architectures : tuple of str
        As config.json spells them, or ``general.architecture``.
    fields : type
        The msgspec structure of the fields that are read; see
        :mod:`celosia.reference.families.fields`.
    config : callable(fields) -> dict
        The parameters of ``ModelConfig``, but for the family; raises a ValueError that names a
        field (as ``fields`` has it) where the file describes something else.
    names : callable(ModelConfig, fields) -> Names
        Where the tensors are.
    model_types : tuple of str
        Names of the architecture where config.json does not give it; by default the family's name.
    ignored : tuple of str
        Fields that other families read and that change nothing here.
    claims : callable(dict) -> bool, optional
        Whether a file of these fields is of the family, where the architecture is also another's.
    """

    architectures: tuple
    fields: type
    config: Callable
    names: Callable
    model_types: tuple = ()
    ignored: tuple = ()
    claims: Callable | None = None


@dataclass(frozen=True)
class Family:
    """A family of models: what they compute, and what their files call it.

    Parameters
    ----------
    name : str
    models : str
        Well-known ones.
    describe : callable(ModelConfig) -> Description
    hugging_face : Format
    gguf : Format or None
        None where GGUF has no such architecture.
    checked : int
        Random models whose logits were compared with those of the judge.
    judge : str, optional
        Where it is not `transformers`.
    """

    name: str
    models: str
    describe: Callable
    hugging_face: Format
    gguf: Format | None = None
    checked: int = 0
    judge: str = ""
