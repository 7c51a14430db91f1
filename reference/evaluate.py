"""How much the integer model loses against float32: perplexity, top-1 agreement and KL."""

from collections import Counter

import numpy as np
from celosia.reference import float32
from celosia.reference.tokenizer_library import TokenizerError

__all__ = [
    "END_OF_TEXT",
    "NoFormatError",
    "TextError",
    "evaluate_text",
    "integer_model",
    "perplexity_report",
    "split_texts",
    "text_tokens",
    "text_windows",
    "token_logits",
    "windows_report",
]

#: The line between the texts of a file, as in TinyStories.
END_OF_TEXT = "<|endoftext|>"

_ROWS = 256  # positions whose logits are held in float64 at once


class NoFormatError(ValueError):
    """A model whose values no format holds; the message says which."""


class TextError(ValueError):
    """A text that cannot be evaluated; the message says why."""


def split_texts(text):
    """The texts of a file, divided at :data:`END_OF_TEXT`, stripped, without empty ones."""
    return [part for part in map(str.strip, text.split(END_OF_TEXT)) if part]


def evaluate_text(model, text, scheme, window=None, max_tokens=None, progress=None):
    """:func:`perplexity_report` of ``model`` and its integer model of ``scheme`` over a text.

    Beside it ``saturated``: how many values reached the limits of their formats, by format, as the
    machine counts them, where it does. ``scheme`` is what the machine's configuration gives:
    :func:`celosia.generators.plan.scheme_of`.

    The text is divided at :data:`END_OF_TEXT`; a part longer than ``window`` positions (by default
    the model's ``seq_len``) goes on in further windows, each predicted from the begin token on.

    Raises
    ------
    NoFormatError
        If there are no formats for the model.
    TextError
        If the text has no tokens, or others than the model.
    ValueError
        If the model has no tokenizer, or comes to values that are not finite.
    """
    texts = text_tokens(model, text)
    quantized, saturated = integer_model(model, scheme), Counter()

    def integer_logits(tokens):
        logits, counts = quantized.logits(tokens)
        saturated.update(counts)
        return logits * 2.0**-quantized.logit_fraction

    window = window or model.config.seq_len
    report = perplexity_report(
        model, integer_logits, texts, window, max_tokens=max_tokens, progress=progress
    )
    return report | {"saturated": dict(saturated)}


def text_tokens(model, text):
    """The tokens of each part of a text; errors as of :func:`evaluate_text`."""
    if model.tokenizer is None:
        raise ValueError("a text needs a tokenizer, and the model brings none")
    try:
        texts = [model.tokenizer.encode(part, bos=False) for part in split_texts(text)]
    except TokenizerError as error:
        raise TextError(str(error)) from error
    beyond = max((max(tokens, default=0) for tokens in texts), default=0)
    if beyond >= model.config.vocab_size:
        raise TextError(f"token {beyond} is not one of the model's {model.config.vocab_size}")
    if not any(texts):
        raise TextError("tokens must have at least one token to predict")
    return texts


def integer_model(model, scheme, calibration=None):
    """The integer model of ``scheme``, whose formats a ``calibration`` may give.

    Raises
    ------
    NoFormatError
        If there are no formats for the model.
    """
    try:
        return scheme.quantize(model, calibration)
    except (ValueError, OverflowError) as error:
        raise NoFormatError(f"{model.name or 'the model'} has no integer model: {error}") from error


def token_logits(model, scheme, tokens):
    """The logits of ``tokens``, from position 0 on: of the float and of the integer model.

    Returns
    -------
    dict
        ``float`` and ``integer``, float32[n, vocab_size], in the float model's unit.

    Raises
    ------
    NoFormatError
        If there are no formats for the model.
    ValueError
        If a token is out of range, or there are more than ``seq_len``.
    """
    floating = float32.forward(model, tokens)
    quantized = integer_model(model, scheme)
    integers = quantized.logits(tokens)[0] * 2.0**-quantized.logit_fraction
    return {"float": floating, "integer": integers.astype(np.float32)}


def perplexity_report(
    model, integer_logits, tokens, window, bos=None, max_tokens=None, progress=None
):
    """Float and integer perplexity ``exp(-mean(log p(token)))``, and how far the two models agree.

    The tokens are cut into windows of ``window``; each is predicted on its own, from ``bos`` on.
    Without ``bos`` the first token of a window is not predicted. Logarithms are natural and
    probabilities computed in float64.

    Parameters
    ----------
    model : Model
    integer_logits : callable(tokens) -> [n, vocab_size], or None
        The integer model's logits as real numbers, for a sequence of n tokens that starts at
        position 0.
    tokens : sequence of int, or sequence of such sequences
        One text, or several; no window reaches over the end of a text. Without ``bos`` tokens.
    window : int, 1 to ``seq_len``
        Positions in a window, ``bos`` included.
    bos : int or None
        By default that of the model's tokenizer.
    max_tokens : int, at least 1, optional
        Predict so many tokens at most: the first ones.
    progress : callable(done, total), optional
        Told the number of predicted tokens after each window, and of all.

    Returns
    -------
    dict
        ``{"tokens", "float": {"perplexity"}, "integer": {"perplexity"}, "top1_agreement", "kl"}``:
        the number of predicted tokens, the share of positions whose largest logits are of the same
        token, and the mean ``KL(float || integer)`` in nats. Without ``integer_logits`` the last
        three are None.

    Raises
    ------
    ValueError
        If ``window`` is out of range or no token can be predicted.
    """
    if not 1 <= window <= model.config.seq_len:
        raise ValueError(f"window must be from 1 to {model.config.seq_len}, not {window!r}")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens!r}")
    if bos is None and model.tokenizer is not None:
        bos = model.tokenizer.bos
    tokens = list(tokens)
    texts = [tokens] if tokens and np.ndim(tokens[0]) == 0 else tokens
    windows = list(_first(max_tokens, text_windows(texts, window, bos)))
    return windows_report(model, integer_logits, windows, progress)


def windows_report(model, integer_logits, windows, progress=None):
    """The same of ``windows``: pairs of the tokens fed and the tokens to predict, of one length."""
    sums = np.zeros(4)  # float and integer log-likelihood, agreement, KL
    count = 0
    total = sum(len(targets) for _, targets in windows)
    for inputs, targets in windows:
        pair = [float32.forward(model, inputs)]
        if integer_logits is not None:
            pair.append(np.asarray(integer_logits(inputs)))
        for begin in range(0, len(targets), _ROWS):
            rows = slice(begin, begin + _ROWS)
            sums += _compare([logits[rows] for logits in pair], targets[rows])
        count += len(targets)
        if progress is not None:
            progress(count, total)
    if not count:
        raise ValueError("tokens must have at least one token to predict")
    means = (sums / count).tolist()
    report = {
        "tokens": count,
        "float": {"perplexity": float(np.exp(-means[0]))},
        "integer": None,
        "top1_agreement": None,
        "kl": None,
    }
    if integer_logits is not None:
        report["integer"] = {"perplexity": float(np.exp(-means[1]))}
        report["top1_agreement"], report["kl"] = means[2:]
    return report


def text_windows(texts, window, bos):
    """Pairs of the tokens to feed and the tokens to predict, of one length."""
    for text in texts:
        text = list(text)
        if bos is None:
            for begin in range(0, len(text) - 1, window):
                targets = text[begin + 1 : begin + 1 + window]
                yield text[begin : begin + len(targets)], targets
        else:
            for begin in range(0, len(text), window):
                targets = text[begin : begin + window]
                yield [bos, *targets[:-1]], targets


def _first(max_tokens, windows):
    """The windows with the first ``max_tokens`` tokens to predict; all of them for None."""
    for inputs, targets in windows:
        if max_tokens is not None:
            inputs, targets = inputs[:max_tokens], targets[:max_tokens]
            max_tokens -= len(targets)
        if not targets:
            return
        yield inputs, targets


def _compare(pair, targets):
    """Sums over positions of the two log-likelihoods, of the agreement and of the KL."""
    position = np.arange(len(targets))
    logs = [_log_softmax(logits) for logits in pair]
    likelihood = [log[position, targets].sum() for log in logs]
    if len(logs) == 1:
        return np.array([*likelihood, 0, 0, 0])
    float_log, integer_log = logs
    agree = np.sum(np.argmax(pair[0], axis=-1) == np.argmax(pair[1], axis=-1))
    kl = np.sum(np.exp(float_log) * (float_log - integer_log))
    return np.array([*likelihood, agree, kl])


def _log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
