"""How far a text's losses are above the law's: by one model that is trained on it."""

import importlib
from itertools import chain
from pathlib import Path

from celosia.generators.config import ConfigError
from celosia.reference.checkpoint.files import TEXT_LIMIT, read_text
from celosia.reference.evaluate import split_texts
from celosia.reference.tokenizer_library import TokenizerError

__all__ = ["level_of"]

MISSING = "--text needs PyTorch, which is not here: pip install 'celosia[train]'"


def level_of(path, tokenizer, law, config, progress=None):
    """Nats that a model of ``config`` loses on a text more than the law says, and its loss.

    The model takes the course of those that the law was fitted on; the end of the text is held out.

    Parameters
    ----------
    path : str or Path
        In UTF-8.
    tokenizer : celosia.reference.tokenizer.Tokenizer
    law : Law
    config : ModelConfig
        With the tokenizer's vocabulary.
    progress : callable(step, steps), optional

    Raises
    ------
    ConfigError
        If PyTorch is missing, or the text cannot serve; the message says why.
    """
    try:
        importlib.import_module("torch")
    except ImportError:
        raise ConfigError(MISSING) from None
    from celosia.codesign.course import HELD, TOKENS, course
    from celosia.training.text import divided

    try:
        parts = split_texts(read_text(Path(path), TEXT_LIMIT))
        texts = [tokenizer.encode(part, bos=False) for part in parts]
    except (TokenizerError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    count = sum(map(len, texts))
    if count < TOKENS + HELD:
        raise ConfigError(
            f"{path}: the loss needs a text of at least {TOKENS + HELD:,} tokens, "
            f"{TOKENS:,} to learn from and {HELD:,} to measure on, and has {count:,}"
        )
    texts, held = divided(texts, HELD)
    loss = course(config, texts, list(chain(*held)), tokenizer, progress=progress)
    return loss - law.loss(config), loss
