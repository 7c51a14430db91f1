"""The tokens that a recipe calibrates by, and those that it is measured on."""

from celosia.reference import float32
from celosia.reference.evaluate import text_tokens, text_windows
from celosia.reference.recipes.recipe import RecipeError

__all__ = ["LEAST", "begin_token", "own_text", "split_windows"]

WINDOW = 512  # positions, or the model's fewer
LEAST = 256  # tokens to calibrate by
OWN = 2048, 512  # tokens that a model writes itself; one of more than 16 million parameters
LARGE = 1 << 24


def own_text(model, count, seed, progress=None):
    """Texts of ``count`` tokens that the model writes itself, at a temperature of 1."""
    size = min(WINDOW, model.config.seq_len)
    texts, parts = [], -(-count // size)
    for number in range(parts):
        texts.append(float32.generate(model, [begin_token(model)], size, 1.0, seed + number))
        if progress:
            progress(number + 1, parts)
    return texts


def split_windows(model, text, recipe, measured, progress=None):
    """Windows to calibrate by, and windows to measure: lists of pairs of tokens fed and predicted.

    Those that are measured are the last ones, up to ``measured`` tokens and a quarter of all.

    Parameters
    ----------
    model : Model
    text : str, or None for :func:`own_text`
    recipe : Recipe
    measured : int
    progress : callable(done, total), optional
        Of the texts that the model writes.

    Raises
    ------
    RecipeError
        If the text is too short.
    celosia.reference.evaluate.TextError
        If it has tokens other than the model's.
    """
    count = OWN[model.description.parameters > LARGE]
    count = min(count, (recipe.tokens if recipe.calibrated else 0) + 4 * measured)
    own = (model, count, recipe.seed, progress)
    texts = own_text(*own) if text is None else text_tokens(model, text)
    bos = model.tokenizer.bos if model.tokenizer else None
    if text is None:
        bos = begin_token(model)
    windows = list(text_windows(texts, min(WINDOW, model.config.seq_len), bos))
    total = sum(len(fed) for fed, _ in windows)
    held, rest, count = [], windows, 0
    while len(rest) > 1 and count < min(measured, total // 4):
        held.append(rest[-1])
        rest = rest[:-1]
        count += len(held[-1][0])
    calibration, count = [], 0
    for window in rest:
        if count < recipe.tokens:
            calibration.append(window)
            count += len(window[0])
    if not held or (recipe.calibrated and count < min(LEAST, recipe.tokens)):
        raise RecipeError(
            f"the text is too short: it gives {count} tokens to calibrate by and {total - count} "
            f"to measure, in windows of {len(windows[0][0])}; {LEAST} are needed, in two windows"
        )
    return calibration, held[::-1]


def begin_token(model):
    """The token that a text begins with; 1 where the tokenizer says none."""
    bos = getattr(model.tokenizer, "bos", None)
    return 1 % model.config.vocab_size if bos is None else bos
