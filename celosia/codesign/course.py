"""The course that each model of the law takes: so many windows of a text, by these steps."""

from celosia.training.distill import Training
from celosia.training.pretrain import pretrained, text_loss
from celosia.training.text import windows

__all__ = ["HELD", "TOKENS", "course"]

SIZE, BATCH, STEPS = 128, 4, 256  # of a window, of a step, of all
TOKENS = SIZE * BATCH * STEPS
HELD = 16384  # tokens that losses are measured on
RATE, WIDTH = 0.015, 64  # of a model so wide; of others with the inverse root of the width


def course(config, texts, held, tokenizer, seed=0, progress=None):
    """Nats per held-out token of a model of ``config``, trained on ``texts``.

    Parameters
    ----------
    config : celosia.reference.model.ModelConfig
    texts : list of list of int
        Tokens to learn from; a text has at least one window of 128.
    held : list of int
        Tokens to measure on.
    tokenizer : celosia.reference.tokenizer.Tokenizer
        Token 0 begins a window where it has no begin token.
    seed : int
        Of weights and windows.
    progress : callable(step, steps), optional
    """
    rate = RATE * (WIDTH / config.dim) ** 0.5
    training = Training(STEPS, BATCH, rate, warmup=50, last=0.05, decay=0.1, seed=seed)
    begin = tokenizer.bos or 0
    seen = windows(texts, SIZE, begin, tokenizer.pieces)
    description, tensors = pretrained(config, seen, training, progress)
    return text_loss(description, tensors, held, SIZE, begin)
