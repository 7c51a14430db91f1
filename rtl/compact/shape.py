"""A compact machine's sizes, and what its memories hold."""

from dataclasses import dataclass

__all__ = ["CompactImage", "CompactShape"]


@dataclass(frozen=True)
class CompactShape:
    """A compact machine's sizes.

    Parameters
    ----------
    dim, head_dim, n_layers, vocab_size, window, max_seq_len : int
    acc_width : int
        Bits of a dot product.
    wide_depth, half_depth, vector_words : int
        Words of the wide memory (24 bits), the half memory (16) and of activations (4 bytes).
    cache_words : int
        Words of 4 bytes in a layer's keys and values.
    embedding_address, embedding_scale : int
        Where on the tape of weights and on that of scales the embedding begins.
    loop : int
        The first instruction of a layer.
    activation : str
        Of gates: see :func:`celosia.reference.compact.tables.gate_table`.
    positions : bool
        Whether there are learned positions.
    """

    dim: int
    head_dim: int
    n_layers: int
    vocab_size: int
    window: int
    max_seq_len: int
    acc_width: int
    wide_depth: int
    half_depth: int
    vector_words: int
    cache_words: int
    embedding_address: int
    embedding_scale: int
    loop: int
    activation: str = "silu"
    positions: bool = False

    lanes = 1  # of what comes out
    multipliers = 16


@dataclass(frozen=True)
class CompactImage:
    """What a compact machine's memories hold.

    Parameters
    ----------
    program : list of Instruction
    weights : list of int
        Words of 64 bits: four rows of four columns of 4 bits.
    scales : list of int
        4 bits each: rows' scales and operations' shifts, in the order of their use.
    gains : list of int
        Signed bytes.
    wide, half : list of int
        The first contents of these memories.
    """

    program: list
    weights: list
    scales: list
    gains: list
    wide: list
    half: list
