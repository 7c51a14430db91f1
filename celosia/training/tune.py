"""A model's weights, trained in their rounded form by the float model's own distributions."""

from dataclasses import replace

import torch

from celosia.reference.evaluate import text_tokens, text_windows
from celosia.reference.recipes.text import begin_token
from celosia.reference.rewrites.rewrites import REWRITES, fold_gains
from celosia.training.distill import distill
from celosia.training.forward import tensors_of
from celosia.training.rounding import Rounding
from celosia.training.text import divided, windows, written

__all__ = ["Tuning", "coded_model", "trainable"]

SMALL = 1 << 21  # parameters of models whose products are too small for several threads


def trainable(model, scheme):
    """The model with the operations and matrices that the machine of ``scheme`` has."""
    for rewrite in REWRITES[:-1]:
        if not (scheme.ternary and rewrite is fold_gains):
            model = rewrite(model)
    return model


def coded_model(model, tensors, rounding):
    """``model`` with ``tensors`` in place of its own, and their codes."""
    codes = rounding.codes(tensors)
    own, *layers = [{n: t.numpy(force=True) for n, t in part.items()} for part in tensors]
    for (layer, name), coded in codes.items():
        (own if layer is None else layers[layer])[name] = coded.float32()
    return replace(model, tensors=own, layers=layers, codes=codes)


class Tuning:
    """What is trained, by what, on a GPU where there is one.

    Parameters
    ----------
    model : Model
        In the form of :func:`trainable`.
    rounding : Rounding
    size : int
        Positions of a window.
    """

    def __init__(self, model, rounding, size):
        self.model, self.rounding, self.size = model, rounding, size
        self.begin = begin_token(model)
        if model.description.parameters < SMALL:
            torch.set_num_threads(1)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        parts = tensors_of(model)
        self.tensors = [{n: t.to(device) for n, t in part.items()} for part in parts]

    def texts(self, text, own, seed, keep, progress=None):
        """Texts to train on: ``own`` tokens, or None, that the model writes, and those of ``text``.

        ``keep`` is as :func:`celosia.reference.recipes.apply.apply_recipe` has it.
        """
        description, found = self.model.description, []
        if own:
            rest = -(-own // self.size), self.size, self.begin, seed, progress
            made = keep(
                f"text from {self.begin}",
                lambda: {"tokens": written(description, self.tensors, *rest).numpy()},
            )
            found += made["tokens"][:, 1:].tolist()
        return found if text is None else found + text_tokens(self.model, text)

    def train(self, texts, measured, training, keep=None, progress=None):
        """Train on ``texts``, but for the last ``measured`` tokens.

        Returns
        -------
        Model, Model, list of (list of int, list of int)
            Trained and not, in codes; and windows to measure on, of tokens fed and predicted.
        """
        texts, held = divided(texts, measured)
        pieces = self.model.tokenizer.pieces if self.model.tokenizer else ()
        seen = windows(texts, self.size, self.begin, pieces)
        given = [{name: t.clone() for name, t in part.items()} for part in self.tensors]
        teacher = self.model.description, self.tensors
        rest = seen, training, self.rounding, keep, progress
        distill(self.model.description, given, teacher, *rest)
        models = (coded_model(self.model, each, self.rounding) for each in (given, self.tensors))
        return *models, list(text_windows(held, self.size, self.begin))

    @classmethod
    def of(cls, model, scheme, ternary, size):
        """Of any model, for the machine of ``scheme``."""
        model = trainable(model, scheme)
        return cls(model, Rounding(model.description, scheme, ternary), size)
