"""A compact machine's sizes, and what its memories hold."""

from dataclasses import dataclass

from celosia.reference.compact.trits import TRITS

__all__ = ["FAR", "CompactImage", "CompactShape"]

FAR = 800_000  # bits of a tape whose block RAMs, 44 or more, lie all over a chip


@dataclass(frozen=True)
class CompactShape:
    """A compact machine's sizes.

    Parameters
    ----------
    dim, head_dim, n_layers, vocab_size, window, max_seq_len : int
    rows, columns, weight_width : int
        Of the fabric: weights of a beat, and their bits.
    ternary : bool
        Those of layers are ternary instead, five in a byte.
    spram : bool
        The tape lies in single-port memories, which hold 64 bits a word; else in block RAM.
    acc_width, sum_width : int
        Bits of a dot product; of a sum of products of two vectors.
    wide_depth, half_depth, vector_words : int
        Words of the wide memory (24 bits), the half memory (16) and of activations (``columns``
        bytes).
    cache_words : int
        Words of ``columns`` bytes in a layer's keys and values.
    tape_words : int
    bits : dict
        Of the fields of instructions: see :func:`celosia.rtl.compact.operation.field_bits`.
    embedding_address, embedding_scale : int
        Where on the tape of weights and on that of scales the embedding begins.
    loop : int
        The first instruction of a layer.
    activation : str
        Of gates: see :func:`celosia.reference.compact.tables.gate_table`.
    gate_shift : int
        Of gates to that table.
    positions : bool
        Whether there are learned positions.
    sampling : bool
        Runs may have a temperature.
    logit_fraction : int
        Where they may: logits are in units of ``2**-logit_fraction``.
    """

    dim: int
    head_dim: int
    n_layers: int
    vocab_size: int
    window: int
    max_seq_len: int
    rows: int
    columns: int
    weight_width: int
    spram: bool
    acc_width: int
    sum_width: int
    wide_depth: int
    half_depth: int
    vector_words: int
    cache_words: int
    tape_words: int
    bits: dict
    embedding_address: int
    embedding_scale: int
    loop: int
    activation: str = "silu"
    gate_shift: int = 0
    positions: bool = False
    sampling: bool = False
    logit_fraction: int = 0
    ternary: bool = False

    lanes = 1  # of what comes out

    @property
    def multipliers(self):
        """Weights of a beat, of the layers."""
        return (self.ternary_rows or self.rows) * self.columns

    @property
    def ternary_rows(self):
        """Rows of a beat of ternary weights; 0 where there are none."""
        return TRITS * self.word_bits // (8 * self.columns) if self.ternary else 0

    def ideal_cycles(self, macs, logits):
        """Those of ``macs`` in the layers and ``logits`` in the head, if every beat were full."""
        return macs / self.multipliers + logits / (self.rows * self.columns)

    @property
    def word_bits(self):
        """Bits of a word of the tape of weights."""
        return self.rows * self.columns * self.weight_width

    @property
    def far(self):
        """Whether registers stand between the memories and the fabric, a cycle."""
        return not self.spram and self.tape_words * self.word_bits > FAR


@dataclass(frozen=True)
class CompactImage:
    """What a compact machine's memories hold.

    Parameters
    ----------
    program : list of Instruction
    weights : list of int
        Words of ``shape.word_bits``: rows of columns of codes, or of ternary digits.
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
