"""Writes what the steps of a program read, in the order in which they read it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from celosia.generators.program.group_parts import group_format, group_parts

__all__ = ["TapeWriter", "Tapes"]


@dataclass(frozen=True)
class Tapes:
    """What a program reads.

    Parameters
    ----------
    program : celosia.rtl.machine.program.Program
    weights : int8[beats, rows, lanes]
    parts : int64[beats, rows], or None
        Parts of the groups' parameters, which ride with the weights.
    ends : bool[beats], or None
        Beats that end a group.
    wide : list of slice
        Beats whose codes are the bits of wide operands.
    scales : int64[words, lanes]
    biases : int64[words, lanes]
    gains : dict of str to int64[dim_words * lanes]
        Of every norm, by its name, in order.
    """

    program: Any
    weights: np.ndarray
    parts: np.ndarray | None
    ends: np.ndarray | None
    scales: np.ndarray
    biases: np.ndarray
    gains: dict
    wide: list


class TapeWriter:
    """Appends matrices, scales and biases.

    Members
    -------
    beats, scale_words, bias_words : int
        Written so far.
    """

    def __init__(self, model, rows, cached_rows=0):
        self.scheme = model.scheme
        self.cached_rows = cached_rows
        self.rows = rows
        self.lanes = model.scheme.lanes
        self.groups = group_format(model)
        self._weights, self._parts, self._ends, self._scales, self._biases = [], [], [], [], []
        self.beats = self.scale_words = self.bias_words = 0
        self._wide = []

    def matrix(self, matrix, planes=1, wide=False):
        """Append the codes as beats: tile by tile, block by block, plane by plane.

        Those of a ``wide`` operand are [cached_rows, lanes] in a beat's lowest bits.
        """
        codes, first = matrix.weight[..., None], self.beats
        if wide:
            self._append(self._in_codes(self._tiles(codes, self.lanes, self.cached_rows)))
            self._wide.append(slice(first, self.beats))
            return
        if planes == 2:
            width = self.scheme.weight_width
            low = codes & ((1 << width) - 1)
            codes = np.concatenate([codes >> width, low - (1 << (width - 1))], axis=-1)
        self._append(self._tiles(codes, self.lanes, self.rows))
        if self.groups:
            parts, ends = group_parts(matrix, planes, self.groups, self.lanes)
            tiles = -(-len(matrix.weight) // self.rows)
            self._parts.append(self._tiles(parts, 1, self.rows).reshape(-1, self.rows))
            self._ends.append(np.tile(ends, tiles))

    def scales(self, scales):
        """Append words of ``lanes`` scales."""
        words = self._words(scales)
        self._scales.append(words)
        self.scale_words += len(words)

    def biases(self, biases):
        """Append words of ``lanes`` biases."""
        words = self._words(biases)
        self._biases.append(words)
        self.bias_words += len(words)

    def tapes(self, program, gains):
        """All of it."""
        return Tapes(
            program,
            np.concatenate(self._weights),
            np.concatenate(self._parts) if self.groups else None,
            np.concatenate(self._ends) if self.groups else None,
            np.concatenate(self._scales),
            np.concatenate([*self._biases, np.zeros((0, self.lanes), np.int64)]),
            gains,
            self._wide,
        )

    def _words(self, values):
        values = np.asarray(values).reshape(-1)
        words = -(-len(values) // self.lanes)
        padded = np.zeros(words * self.lanes, np.int64)
        padded[: len(values)] = values
        return padded.reshape(words, self.lanes)

    def _append(self, codes):
        """Append beats, of ``rows * lanes`` codes each."""
        beats = codes.reshape(-1, self.rows, self.lanes)
        self._weights.append(beats)
        self.beats += len(beats)

    def _in_codes(self, octets):
        """Words of wide codes as words of the tape's: the same bits, others behind them 0."""
        width, words = self.scheme.weight_width, octets.reshape(-1, self.cached_rows * self.lanes)
        bits = np.zeros((len(words), self.rows * self.lanes * width), np.uint8)
        found = np.unpackbits(words.astype(np.int8).view(np.uint8), axis=1, bitorder="little")
        found = found.reshape(*words.shape, 8)[..., : self.scheme.head_width].reshape(
            len(words), -1
        )
        bits[:, : found.shape[1]] = found
        values = bits.reshape(len(words), -1, width) @ (1 << np.arange(width))
        return np.where(values >> (width - 1), values - (1 << width), values).astype(np.int8)

    @staticmethod
    def _tiles(matrix, width, size):
        """``matrix`` [rows, columns, planes], cut: [tiles, blocks, planes, ``size``, width]."""
        rows, columns, planes = matrix.shape
        tiles = -(-rows // size)
        padded = np.zeros((tiles * size, columns, planes), matrix.dtype)
        padded[:rows] = matrix
        cut = padded.reshape(tiles, size, columns // width, width, planes)
        return cut.transpose(0, 2, 4, 1, 3)
