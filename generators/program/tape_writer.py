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


class TapeWriter:
    """Appends matrices, scales and biases.

    Members
    -------
    beats, scale_words, bias_words : int
        Written so far.
    """

    def __init__(self, model, rows):
        self.scheme = model.scheme
        self.rows = rows
        self.lanes = model.scheme.lanes
        self.groups = group_format(model)
        self._weights, self._parts, self._ends, self._scales, self._biases = [], [], [], [], []
        self.beats = self.scale_words = self.bias_words = 0

    def matrix(self, matrix, planes=1):
        """Append the codes as beats: tile by tile, block by block, plane by plane."""
        codes = matrix.weight[..., None]
        if planes == 2:
            width = self.scheme.weight_width
            low = codes & ((1 << width) - 1)
            codes = np.concatenate([codes >> width, low - (1 << (width - 1))], axis=-1)
        beats = self._tiles(codes, self.lanes).reshape(-1, self.rows, self.lanes)
        self._weights.append(beats)
        self.beats += len(beats)
        if self.groups:
            parts, ends = group_parts(matrix, planes, self.groups, self.lanes)
            tiles = -(-len(matrix.weight) // self.rows)
            self._parts.append(self._tiles(parts, 1).reshape(-1, self.rows))
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
        )

    def _words(self, values):
        values = np.asarray(values).reshape(-1)
        words = -(-len(values) // self.lanes)
        padded = np.zeros(words * self.lanes, np.int64)
        padded[: len(values)] = values
        return padded.reshape(words, self.lanes)

    def _tiles(self, matrix, width):
        """``matrix`` [rows, columns, planes], cut: [tiles, blocks, planes, self.rows, width]."""
        rows, columns, planes = matrix.shape
        tiles = -(-rows // self.rows)
        padded = np.zeros((tiles * self.rows, columns, planes), matrix.dtype)
        padded[:rows] = matrix
        cut = padded.reshape(tiles, self.rows, columns // width, width, planes)
        return cut.transpose(0, 2, 4, 1, 3)
