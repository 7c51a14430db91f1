"""llama2.c version-0 checkpoints."""

import struct

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import CheckpointError, load
from celosia.reference.model import random_model


def write_bin(model, path, **header):
    """The file as llama2.c's exporter lays it out, with any field of the header changed."""
    c = model.config
    fields = {
        "dim": c.dim,
        "hidden_dim": c.hidden_dim,
        "n_layers": c.n_layers,
        "n_heads": c.n_heads,
        "n_kv_heads": c.n_kv_heads,
        "vocab_size": c.vocab_size if c.tied else -c.vocab_size,
        "seq_len": c.seq_len,
    }
    names = ["attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up"]
    arrays = [model.tensors["embedding"]]
    arrays += [layer[name] for name in names for layer in model.layers]
    arrays += [model.tensors["norm"], np.full(c.seq_len * c.head_dim, 7, np.float32)]
    arrays += [] if c.tied else [model.tensors["head"]]
    data = struct.pack("<7i", *(fields | header).values())
    path.write_bytes(data + b"".join(array.tobytes() for array in arrays))
    return path


@pytest.fixture
def shaped(tiny_config):
    """A model whose head_dim is dim / n_heads, as the format wants it."""
    return lambda **changes: random_model(tiny_config(dim=24, n_heads=6, **changes), seed=8)


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip(tmp_path, shaped, tied):
    model = shaped(tied=tied)
    loaded = load(write_bin(model, tmp_path / "small.bin"))
    assert loaded.config == model.config
    assert loaded.name == "small"
    assert loaded.tokenizer is None
    assert ("head" not in loaded.tensors) == tied
    tokens = [1, 2, 3, 32]
    np.testing.assert_array_equal(float32.forward(loaded, tokens), float32.forward(model, tokens))


def test_tensors_stay_mapped(tmp_path, shaped):
    loaded = load(write_bin(shaped(), tmp_path / "small.bin"))
    assert not loaded.layers[1]["w_down"].flags.owndata
    assert not loaded.layers[1]["w_down"].flags.writeable


def test_stories260k(stories260k_model):
    c = stories260k_model.config
    assert (c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads) == (64, 172, 5, 8, 4)
    assert (c.head_dim, c.vocab_size, c.seq_len, c.tied) == (8, 512, 512, True)
    assert (c.rope_theta, c.norm_eps, c.rope_scaling) == (10000.0, 1e-5, None)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, r"ends within the header \(0 bytes\)"),
        (27, "ends within the header"),
        (28, "ends within embedding"),
        (28 + 4 * 33 * 24 + 1, "ends within attention_norm"),
        (8000, "ends within wk"),
        (-1, "ends within head"),
        (-4 * 33 * 24 - 1, "ends within freq_cis"),
        (-4 * 33 * 24 - 4 * 16 * 4 - 1, "ends within norm"),
    ],
)
def test_truncated(tmp_path, shaped, size, message):
    path = write_bin(shaped(tied=False), tmp_path / "small.bin")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_too_long(tmp_path, shaped):
    path = write_bin(shaped(), tmp_path / "small.bin")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    message = f"the header's sizes need {size} bytes, but the file has {size + 1}"
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"dim": 0x616B3432, "hidden_dim": 2}, "a llama2.c checkpoint of version 2"),
        ({"dim": 0}, "dim is 0, so this is no llama2.c version-0 checkpoint"),
        ({"n_layers": -1}, "n_layers is -1, so this"),
        ({"vocab_size": 2**25}, "vocab_size is 33554432, so this"),
        ({"n_heads": 5}, r"n_heads \(5\) must divide dim \(24\)"),
        ({"n_heads": 8}, "head_dim must be even, not 3"),
        ({"n_kv_heads": 4}, r"n_kv_heads must divide n_heads \(6\)"),
    ],
)
def test_bad_header(tmp_path, shaped, header, message):
    path = write_bin(shaped(), tmp_path / "small.bin", **header)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_not_finite(tmp_path, shaped):
    model = shaped()
    model.layers[1]["w_up"][3, 3] = np.inf
    path = write_bin(model, tmp_path / "small.bin")
    with pytest.raises(
        CheckpointError, match=r"layers\[1\]\.w_up holds a value that is not finite"
    ):
        load(path)
