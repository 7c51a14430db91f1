"""Perplexity, agreement and KL, against a plain computation and a known figure."""

import math

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.compact.quantize import CompactScheme
from celosia.reference.evaluate import (
    NoFormatError,
    evaluate_text,
    perplexity_report,
    split_texts,
)
from celosia.reference.model import random_model
from celosia.reference.quantization.quantize import Scheme


def plain_report(model, other, windows):
    """The report from pairs of fed and predicted tokens, one position at a time."""
    likelihood, other_likelihood, agree, kl = [], [], [], []
    for fed, predicted in windows:
        for p, q, token in zip(
            probabilities(float32.forward(model, fed)),
            probabilities(other(fed)),
            predicted,
            strict=True,
        ):
            likelihood.append(math.log(p[token]))
            other_likelihood.append(math.log(q[token]))
            agree.append(p.argmax() == q.argmax())
            kl.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return {
        "tokens": len(likelihood),
        "float": {"perplexity": math.exp(-np.mean(likelihood))},
        "integer": {"perplexity": math.exp(-np.mean(other_likelihood))},
        "top1_agreement": np.mean(agree),
        "kl": np.mean(kl),
    }


def probabilities(logits):
    e = np.exp(np.asarray(logits, np.float64))
    return e / e.sum(axis=-1, keepdims=True)


def close(report):
    return {
        name: pytest.approx(value, rel=1e-5) if not isinstance(value, dict) else close(value)
        for name, value in report.items()
    }


def test_windows_with_bos(tiny_config):
    model = random_model(tiny_config(), seed=1)
    noise = np.random.default_rng(1).normal(size=33) * 0.5

    def other(tokens):
        return float32.forward(model, tokens) + noise

    windows = [([1, 5, 6, 7], [5, 6, 7, 8]), ([1, 9], [9, 10])]
    expected = plain_report(model, other, windows)
    assert 0 < expected["top1_agreement"] < 1
    report = perplexity_report(model, other, [5, 6, 7, 8, 9, 10], window=4, bos=1)
    assert report == close(expected)
    assert list(report) == ["tokens", "float", "integer", "top1_agreement", "kl"]


def test_windows_without_bos(tiny_config):
    model = random_model(tiny_config(), seed=1)
    windows = [([5, 6, 7, 8], [6, 7, 8, 9]), ([9], [10])]
    expected = plain_report(model, lambda tokens: float32.forward(model, tokens), windows)
    same = perplexity_report(
        model, lambda tokens: float32.forward(model, tokens), [5, 6, 7, 8, 9, 10], window=4
    )
    assert same == close(expected)
    assert same["kl"] == 0
    assert same["top1_agreement"] == 1


def test_windows_end_with_a_text(tiny_config):
    model = random_model(tiny_config(), seed=1)
    several = perplexity_report(model, None, [[5, 6, 7], [8], [9, 10]], window=16, bos=1)
    windows = [([1, 5, 6], [5, 6, 7]), ([1], [8]), ([1, 9], [9, 10])]
    expected = plain_report(model, lambda tokens: float32.forward(model, tokens), windows)
    assert several["tokens"] == 6
    assert several["float"] == close(expected["float"])
    assert several["integer"] is several["top1_agreement"] is several["kl"] is None


def test_rows_are_taken_in_blocks(tiny_config):
    """More positions than are compared at once."""
    model = random_model(tiny_config(seq_len=600), seed=1)
    tokens = np.random.default_rng(1).integers(0, 33, 600).tolist()
    report = perplexity_report(model, None, tokens, window=600, bos=1)
    logs = np.log(probabilities(float32.forward(model, [1, *tokens[:-1]])))
    assert report["tokens"] == 600
    expected = math.exp(-logs[np.arange(600), tokens].mean())
    assert report["float"]["perplexity"] == pytest.approx(expected)


def test_stories260k_perplexity(stories260k, stories260k_model):
    """The known figure: 4.163 over 7,979 tokens, each story's first 511."""
    data = (stories260k / "tinystories_sample.txt").read_bytes()[300:20300]
    texts = split_texts(data.decode("utf-8", "ignore"))
    encode = stories260k_model.tokenizer.encode
    tokens = [encode(text, bos=False)[:511] for text in texts]
    report = perplexity_report(stories260k_model, None, tokens, window=512)
    assert report["tokens"] == 7979
    assert round(report["float"]["perplexity"], 3) == 4.163


def test_a_model_without_formats(tiny_config):
    """It is named, and what does not fit."""
    model = random_model(tiny_config(tied=False, vocab_size=512), seed=1)
    model.name, model.tokenizer = "huge", load("demo").tokenizer
    model.tensors["head"] *= np.float32(1e9)
    for scheme in (Scheme(), CompactScheme(8)):
        with pytest.raises(NoFormatError, match="huge has no integer model: logits reach"):
            evaluate_text(model, "text", scheme)


def test_split_texts():
    assert split_texts("one\n<|endoftext|>\n two <|endoftext|>\n\n<|endoftext|>") == ["one", "two"]


def test_bad_arguments(tiny_config):
    model = random_model(tiny_config())
    for window in (0, 17):
        with pytest.raises(ValueError, match=f"window must be from 1 to 16, not {window}"):
            perplexity_report(model, None, [1, 2], window)
    for tokens in ([], [1], [[], [1]]):
        with pytest.raises(ValueError, match="at least one token to predict"):
            perplexity_report(model, None, tokens, 4)
