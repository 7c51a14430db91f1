"""A model of any shape, trained from its beginning on a text's own tokens."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from celosia.reference.model import random_model
from celosia.training.distill import distill
from celosia.training.forward import forward, tensors_of

__all__ = ["fresh", "pretrained", "text_loss"]

STD = 0.05  # of weights at first
ROWS = 64  # windows that are measured at once
WRITERS = ("wo", "w_down", "experts_down")  # of the residual stream


def fresh(config, seed):
    """A decoder's beginning: small weights, those that write the residual stream smaller."""
    generator, model = np.random.default_rng(seed), random_model(config, seed)
    for tensors in (model.tensors, *model.layers):
        for name, array in tensors.items():
            if array.ndim == 1:
                array[:] = 1
                continue
            std = STD / math.sqrt(2 * config.n_layers if name in WRITERS else 1)
            array[:] = generator.standard_normal(array.shape) * std
    return model


def pretrained(config, windows, training, progress=None):
    """The description of a :func:`fresh` model, and its tensors after a ``training``.

    Parameters
    ----------
    config : ModelConfig
    windows : celosia.training.distill.Windows
    training : celosia.training.distill.Training
    progress : callable(step, steps), optional
    """
    model = fresh(config, training.seed)
    tensors = tensors_of(model)
    distill(model.description, tensors, None, windows, training, progress=progress)
    return model.description, tensors


@torch.no_grad()
def text_loss(description, tensors, tokens, size, begin):
    """Nats per token, in whole windows of ``size``, each behind a begin token.

    Raises
    ------
    ValueError
        If there is no whole window.
    """
    count = len(tokens) // size
    if not count:
        raise ValueError(f"the text is too short: {len(tokens)} tokens for a window of {size}")
    total, rows = 0.0, torch.tensor(tokens[: count * size]).view(count, size)
    for chunk in rows.split(ROWS):
        logits = forward(description, tensors, F.pad(chunk[:, :-1], (1, 0), value=begin))
        total += F.cross_entropy(logits.flatten(0, 1), chunk.flatten(), reduction="sum").item()
    return total / (count * size)
