"""What several tests share: the models to test with, and how programs are built for short runs."""

import os
from pathlib import Path

os.environ.setdefault("CELOSIA_OPTIMISE", "-O0")  # built sooner: most machines here run shortly
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the tests run side by side already

import pytest
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig

SHARED_MODELS = Path(__file__).parents[2] / "shared" / "models"

TINY = {
    "dim": 12,
    "hidden_dim": 20,
    "n_layers": 2,
    "n_heads": 6,
    "n_kv_heads": 2,
    "head_dim": 4,
    "vocab_size": 33,
    "seq_len": 16,
}


@pytest.fixture(scope="session")
def stories260k():
    """The folder of stories260K: stories260K.bin, tok512.bin, its greedy tokens and a text."""
    path = SHARED_MODELS / "stories260K"
    if not path.is_dir():
        pytest.skip("the shared model stories260K is not beside the repository")
    return path


@pytest.fixture(scope="session")
def stories260k_model(stories260k):
    """stories260K with its tokenizer."""
    return load(stories260k / "stories260K.bin", stories260k / "tok512.bin")


@pytest.fixture
def tiny_config():
    """A function that makes a small, odd-shaped configuration, with any field changed."""
    return lambda **changes: ModelConfig(**TINY | changes)
