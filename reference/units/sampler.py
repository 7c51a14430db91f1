"""Choosing the next token: the largest logit, or by the Gumbel maximum a sample of the softmax."""

import numpy as np
from celosia.reference.arithmetic import bit_length, round_shift
from celosia.reference.functions.tables import gumbel_table

__all__ = ["Sampler", "gumbel", "xorshift32"]

LN2 = 1420  # ln 2 in units of 2**-11


def xorshift32(state):
    """The successor of a 32-bit xorshift state (Marsaglia 2003: 13, 17, 5); never 0."""
    state = np.asarray(state, np.int64)
    state = state ^ (state << 13 & 0xFFFFFFFF)
    state = state ^ state >> 17
    return state ^ (state << 5 & 0xFFFFFFFF)


def gumbel(bits):
    """A Gumbel variate in units of 2**-11 from 32 random bits, not all zero."""
    bits = np.asarray(bits, np.int64)
    zeros = 32 - bit_length(bits)
    mantissa = (bits << np.minimum(zeros + 1, 32) & 0xFFFFFFFF) >> 26
    row = np.minimum(zeros, 15)
    return gumbel_table()[row, mantissa] + (zeros - row) * LN2


class Sampler:
    """``argmax(logits + temperature * gumbel)``, the lowest token among equals.

    Parameters
    ----------
    lanes : int
        Logits arrive ``lanes`` at a time; each lane owns a random generator.
    fraction : int, 0 to 19
        Logits are in units of ``2**-fraction``.
    temperature : int, 0 to 4095
        In units of 1/256; 0 is greedy.
    seed : int, 32 bits
        Lane ``i`` starts from ``seed ^ (i + 1) * 0x9E3779B1`` (modulo 2**32; 1 in place of 0).
    """

    def __init__(self, lanes, fraction, temperature=0, seed=0):
        self.lanes, self.fraction, self.temperature = lanes, fraction, temperature
        state = (seed ^ (np.arange(1, lanes + 1, dtype=np.int64) * 0x9E3779B1)) & 0xFFFFFFFF
        self.state = np.where(state == 0, 1, state)

    def __call__(self, logits):
        """The token for ``logits`` int[vocab_size]. Advances the generators when not greedy."""
        logits = np.asarray(logits, np.int64)
        if self.temperature == 0:
            return int(np.argmax(logits))
        words = -(-len(logits) // self.lanes)
        noise = np.empty((words, self.lanes), np.int64)
        for word in range(words):
            noise[word] = gumbel(self.state)
            self.state = xorshift32(self.state)
        scaled = round_shift(
            noise.reshape(-1)[: len(logits)] * self.temperature, 19 - self.fraction
        )
        return int(np.argmax(logits + scaled))
