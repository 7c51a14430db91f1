"""The k largest logits, and sampling among them."""

import numpy as np
from celosia.reference.units.sampler import Sampler

__all__ = ["TopKSampler", "top_k"]


def top_k(logits, k):
    """The tokens of the ``k`` largest of ``logits``, largest first, the lowest token of equals."""
    logits = np.asarray(logits, np.int64)
    return np.lexsort((np.arange(len(logits)), -logits))[:k]


class TopKSampler:
    """:class:`celosia.reference.units.sampler.Sampler` among the ``k`` largest logits only.

    One random generator serves all ranks in turn.
    """

    def __init__(self, k, fraction, temperature=0, seed=0):
        self.k = k
        self.sampler = Sampler(1, fraction, temperature, seed)

    def __call__(self, logits):
        """The token for ``logits`` int[vocab_size]. Advances the generator when not greedy."""
        tokens = top_k(logits, self.k)
        return int(tokens[self.sampler(np.asarray(logits)[tokens])])
