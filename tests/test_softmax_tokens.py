"""The softmaxes inside whole models: which greedy tokens are others than with the exact one.

With 16 bits none is. With the machine's powers of 7 bits, and with 8 bits, at most one of 200,
whose two best logits differ by less than 0.03.
"""

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.functions.functions import reciprocal
from celosia.reference.units.softmax import EMPTY, align, softmax, softmax_block

LANES = 8


def blocks(x):
    """The machine's: blocks of powers of 7 bits, of scores in units of 2**-8 of a power of two."""
    seen = np.isfinite(x)
    pad = ((0, 0),) * (x.ndim - 1) + ((0, -x.shape[-1] % LANES),)
    scores = np.round(np.where(seen, x, 0) / np.log(2) * 256).astype(np.int64)
    scores, mask = (np.pad(v, pad).reshape(*x.shape[:-1], -1, LANES) for v in (scores, seen))
    power, exponent = softmax_block(scores, mask)
    power, shift = align(power, exponent, exponent.max(axis=-1, initial=EMPTY, keepdims=True))
    power = (power << shift[..., None]).reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]
    mantissa, exponent = reciprocal(power.sum(axis=-1, keepdims=True))
    return (power * mantissa * 2.0 ** (-15 - exponent)).astype(np.float32)


def standalone(width):
    """:class:`celosia.rtl.attention.softmax.Softmax`, of scores in units of 2**-8."""

    def softmax_of(x):
        seen = np.isfinite(x)
        scores = np.round(np.where(seen, x, 0) * 256).astype(np.int64)
        y = softmax(scores, 2.0**-8, LANES, 512, seen, width)
        return (y * 2.0**-width).astype(np.float32)

    return softmax_of


SOFTMAXES = {"blocks": blocks, "16 bits": standalone(16), "8 bits": standalone(8)}


@pytest.fixture(scope="module", params=["demo", "stories260K"])
def generated(request):
    """A model, its prompt and greedy tokens."""
    if request.param == "demo":
        model, prompt = load("demo"), "KING RICHARD:"
    else:
        model, prompt = request.getfixturevalue("stories260k_model"), "Once upon a time"
    prompt = model.tokenizer.encode(prompt)
    tokens = float32.generate(model, prompt, min(200, model.config.seq_len - len(prompt)))
    return model, prompt, tokens


@pytest.mark.parametrize("name", [*SOFTMAXES])
def test_greedy_tokens(generated, name, monkeypatch):
    model, prompt, tokens = generated
    whole = [*prompt, *tokens[:-1]]
    exact = float32.forward(model, whole)
    monkeypatch.setattr(float32, "softmax", SOFTMAXES[name])
    logits = float32.forward(model, whole)
    assert 0 < np.abs(logits - exact).mean() < 0.04
    exact, logits = exact[len(prompt) - 1 :], logits[len(prompt) - 1 :]
    assert len(tokens) >= 100
    assert exact.argmax(-1).tolist() == tokens
    first, second = np.sort(exact)[:, :-3:-1].T
    flips = logits.argmax(-1) != tokens
    assert flips.sum() <= (0 if name == "16 bits" else 1)
    assert (first - second)[flips].max(initial=0) < 0.03
