"""The exceptions of the checkpoint loaders, and their words."""

import contextlib
import re

__all__ = ["CheckpointError", "UnsupportedTokenizerError", "spelled"]


class CheckpointError(ValueError):
    """A checkpoint or tokenizer that cannot be loaded; the message names the file and the tensor,
    field or token that is at fault."""


class UnsupportedTokenizerError(CheckpointError):
    """A tokenizer that is in order, but cuts text in a way that celosia does not know."""


@contextlib.contextmanager
def spelled(path, names):
    """Errors within, named by ``path`` and with each of our ``names`` as the file spells it.

    Parameters
    ----------
    path : str or Path
    names : dict of str to str
        The file's name of a field or tensor for ours.

    Raises
    ------
    CheckpointError
        Instead of any other ValueError.
    """
    try:
        yield
    except CheckpointError:
        raise
    except ValueError as error:
        ours = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        pattern = rf"(?<![\w.])(?:{ours})(?!\w)" if names else "(?!)"
        text = re.sub(pattern, lambda match: names[match[0]], str(error))
        raise CheckpointError(f"{path}: {text}") from error
