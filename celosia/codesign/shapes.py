"""The shapes to choose from: a grid within what the law covers."""

import itertools
import json
from dataclasses import replace

import numpy as np

__all__ = ["Grid"]

LAYERS = range(1, 13)
DIMS = (*range(16, 129, 16), *range(160, 513, 32))
GROUPS, GROUP_AXIS = (1, 2, 3, 4, 5, 6, 8, 10, 12), 2
HEADS = (16, 8)  # sizes of a head, the first that divides
RATIOS = (1, 1.5, 2, 3, 4)
UNIT = 8  # hidden dims are multiples of it


class Grid:
    """ModelConfigs that a law covers, each at its place: steps along five axes.

    The axes are layers, width, heads per key-value head, FFN ratio, and the kinds of models that
    the law was fitted on: each family, and each choice of experts.

    Parameters
    ----------
    law : Law
    models : list of Trained
        Whose kinds, and whose vocabulary and context.
    vocab_size : int, optional
        Instead of theirs.

    Members
    -------
    configs : dict of tuple of int to ModelConfig
    """

    def __init__(self, law, models, vocab_size=None):
        kinds = {json.dumps([m.config.family, m.config.options]): m.config for m in models}
        axes = (
            *(_within(axis, law.ranges[:, n]) for n, axis in enumerate((LAYERS, DIMS))),
            *(GROUPS, RATIOS, [kinds[name] for name in sorted(kinds)]),
        )
        self.configs = {}
        for place in itertools.product(*(range(len(axis)) for axis in axes)):
            config = _shape(*(axis[n] for axis, n in zip(axes, place, strict=True)))
            if config and law.covers(config):
                self.configs[place] = replace(config, vocab_size=vocab_size or config.vocab_size)
        self._places = np.array(list(self.configs))

    def beside(self, place):
        """The places a step away along one axis or two; among groups any step is one."""
        steps = np.abs(self._places - place)
        steps[:, GROUP_AXIS] = np.minimum(steps[:, GROUP_AXIS], 1)
        near = (steps.max(axis=1) <= 1) & (steps.sum(axis=1) <= 2)
        return [n for n in map(tuple, self._places[near].tolist()) if n != place]


def _within(axis, ends):
    return [value for value in axis if ends[0] <= value <= ends[1]]


def _shape(layers, dim, group, ratio, kind):
    """A ModelConfig, or None: ``group`` heads share keys and values."""
    size = next(size for size in HEADS if not dim % size)
    heads = dim // size
    if heads % group:
        return None
    experts = kind.options.get("chosen", 1)
    hidden = max(round(dim * ratio / experts / UNIT), 1) * UNIT
    return replace(
        kind,
        dim=dim,
        hidden_dim=hidden,
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=heads // group,
        head_dim=size,
    )
