"""A checkpoint file of a model small enough to be built in seconds."""

from celosia.reference.model import ModelConfig, random_model
from test_checkpoint_llama2c import write_bin

CONFIG = ModelConfig(
    dim=16,
    hidden_dim=24,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=4,
    vocab_size=37,
    seq_len=24,
)


def write_checkpoint(folder):
    """Write it to ``folder``; its path."""
    return write_bin(random_model(CONFIG, seed=3), folder / "small.bin")
