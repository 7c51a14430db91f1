"""The integer model's loss on a text, by its scheme; it is measured once and kept in the cache."""

import hashlib
import json

from celosia import __version__
from celosia.generators.config import ConfigError
from celosia.generators.plan import scheme_of
from celosia.made_codes import digest
from celosia.reference.evaluate import (
    TextError,
    integer_model,
    perplexity_report,
    text_tokens,
)
from celosia.reference.quantization.calibration import calibrate
from celosia.sim.cache import cached

__all__ = ["LEAST_TOKENS", "Loss"]

LEAST_TOKENS = 256  # fewer say too little of a loss


class Loss:
    """Perplexities of a model's integer models on a text.

    Parameters
    ----------
    model : celosia.reference.model.Model
        With a tokenizer.
    text : str
    most : int
        Tokens to predict at most: the first ones.

    Members
    -------
    tokens : int
        That are predicted.
    digest : str
        Of model and text.
    floating : float
        The perplexity of the float32 model.

    Raises
    ------
    ConfigError
        If the text cannot serve; the message says why.
    """

    def __init__(self, model, text, most):
        self.model, self.most = model, most
        try:
            self.texts = text_tokens(model, text)
        except (TextError, ValueError) as error:
            raise ConfigError(str(error)) from None
        count = sum(map(len, self.texts)) - (0 if self._begins else len(self.texts))
        self.tokens = min(most, count)
        if self.tokens < LEAST_TOKENS:
            raise ConfigError(
                f"the loss needs a text of at least {LEAST_TOKENS} tokens, and has {self.tokens}"
            )
        what = f"{digest(model)} {model.config.seq_len} {self.texts}"
        self.digest = hashlib.sha256(what.encode()).hexdigest()
        self._calibrations, self._known = {}, {}
        self.floating = self._cached("float", None)["float"]["perplexity"]

    @property
    def _begins(self):
        return self.model.tokenizer.bos is not None

    def perplexity(self, config):
        """That of the integer model of a configuration's machine.

        Raises
        ------
        ConfigError
            If there is none.
        """
        scheme = scheme_of(config)
        key = repr(scheme)
        if key not in self._known:
            report = self._cached(key, scheme)
            self._known[key] = report.get("error") or report["integer"]["perplexity"]
        if isinstance(self._known[key], str):
            raise ConfigError(self._known[key])
        return self._known[key]

    def measured(self, quantized):
        """That of a machine's own integer model."""
        return self._report(quantized)["integer"]["perplexity"]

    def _cached(self, key, scheme):
        """The report of a scheme, or of the float model alone."""
        text = f"{__version__} {self.digest} {self.most} {key}"
        name = f"loss-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

        def build(folder):
            (folder / "loss.json").write_text(json.dumps(self._measure(scheme)))

        return json.loads((cached(name, build) / "loss.json").read_text())

    def _measure(self, scheme):
        if scheme is None:
            return self._report(None)
        try:
            quantized = integer_model(self.model, scheme, self._calibration(scheme))
        except (ValueError, OverflowError) as error:
            return {"error": str(error)}
        return self._report(quantized)

    def _report(self, quantized):
        def logits(tokens):
            return quantized.logits(tokens)[0] * 2.0**-quantized.logit_fraction

        parts = self.model, quantized and logits, self.texts, self.model.config.seq_len
        return perplexity_report(*parts, max_tokens=self.most)

    def _calibration(self, scheme):
        """Of the model in a scheme's form, which it shares with others."""
        form = scheme.form(self.model)
        key = repr(form.description)
        if key not in self._calibrations:
            self._calibrations[key] = calibrate(form)
        return self._calibrations[key]
