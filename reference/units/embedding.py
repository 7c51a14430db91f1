"""The embedding look-up: rows of a table by token."""

import numpy as np

__all__ = ["embedding"]


def embedding(rows, scales, tokens):
    """``rows[token]`` int[n, dim] and ``scales[token]`` int[n] for ``tokens`` int[n], 0 or more.

    ``rows`` are int[vocab_size, dim], ``scales`` int[vocab_size]; a token beyond them has zeros.
    """
    tokens = np.asarray(tokens, np.int64)
    there = tokens < len(rows)
    place = np.where(there, tokens, 0)
    rows, scales = np.asarray(rows, np.int64), np.asarray(scales, np.int64)
    return np.where(there[:, None], rows[place], 0), np.where(there, scales[place], 0)
