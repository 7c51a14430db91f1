"""Framed words for tests: values int[index, tokens, lanes] in the order of an operation."""

import numpy as np

__all__ = ["data_of", "frame"]


def frame(values, argument=0, **more):
    """The words of ``values`` int[n, tokens, lanes], and ``more`` int[n, tokens]."""
    n, tokens, _ = values.shape
    return [
        {
            "data": values[index, token].tolist(),
            "token": token,
            "index": index,
            "argument": argument,
            "last": int((index, token) == (n - 1, tokens - 1)),
            **{name: int(array[index, token]) for name, array in more.items()},
        }
        for index in range(n)
        for token in range(tokens)
    ]


def data_of(words, shape):
    """What :func:`frame` was made of, int[shape]."""
    return np.array([word["data"] for word in words]).reshape(shape)
