"""Attention: queries meet cached keys, softmax, weighted sums of cached values."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference import float32
from celosia.reference.arithmetic import saturate
from celosia.reference.functions.functions import reciprocal
from celosia.reference.operations.norm import ACTIVATION_WIDTH
from celosia.reference.quantization.formats import LOG2E, SCORE_FRACTION
from celosia.reference.quantization.matrix import ceil_log2, mantissas
from celosia.reference.units.head_quantize import (
    MEAN_SHIFT,
    STEP_SHIFT,
    head_quantize,
    value_quantize,
)
from celosia.reference.units.scale import LEAST_SHIFT, scale
from celosia.reference.units.soft_cap import soft_cap
from celosia.reference.units.softmax import TOTAL_PLACES, align, empty, weighted_block
from celosia.reference.view import seen

__all__ = ["Attention", "IntegerAttention"]

FEW = 80  # positions: a channel's largest value is not among as few; of 64 it is off by half
QUERIES = 64  # of a call, whose scores are held at once


@dataclass(frozen=True)
class Attention:
    """``softmax(scale * q . k) @ v`` over the positions seen; several query heads share a key.

    Parameters
    ----------
    q, k, v, out : str
    n_heads, n_kv_heads, head_dim : int
        Query head ``h`` reads key and value head ``h // (n_heads / n_kv_heads)``.
    scale : float
    window : int, optional
        Positions that a token sees, its own included; None for all.
    cap : float, optional
        Scores become ``cap * tanh(score / cap)``.
    """

    q: str
    k: str
    v: str
    out: str
    n_heads: int
    n_kv_heads: int
    head_dim: int
    scale: float
    window: int | None = None
    cap: float | None = None

    @property
    def group(self):
        """Query heads that share a key and value head."""
        return self.n_heads // self.n_kv_heads

    def shapes(self, sizes):
        return {}

    def macs(self, sizes, positions):
        return 2 * self.n_heads * self.head_dim * min(positions, self.window or positions)

    def run(self, p):
        n, kv, hd = len(p.positions), self.n_kv_heads, self.head_dim
        q = p.read(self.q).reshape(n, self.n_heads, hd)
        k, v = (p.read(name).reshape(n, kv, hd) for name in (self.k, self.v))
        for name, array in (("queries", q), ("keys", k), ("values", v)):
            p.observe(name, array)
        keys, values = p.cached(k, v)  # [end, kv, hd]
        q = q.transpose(1, 0, 2).reshape(kv, self.group, n, hd)
        scores = q @ keys.transpose(1, 2, 0)[:, None] * np.float32(self.scale)
        if self.cap:
            scores = np.float32(self.cap) * np.tanh(scores / np.float32(self.cap))
        scores = np.where(
            seen(p.positions, len(keys), self.window), scores, np.float32(-np.inf)
        )  # [kv, group, n, end]
        p.observe("scores", scores.reshape(self.n_heads, n, -1))
        out = float32.softmax(scores) @ values.transpose(1, 0, 2)[:, None]
        out = out.reshape(self.n_heads, n, hd).transpose(1, 0, 2).reshape(n, -1)
        p.observe("attention", out)
        p.write(self.out, out)

    def demand(self, q):
        """Queries and keys: pairs are balanced between the two, so that both peak alike, and their
        product is the score in powers of two. Values: a step for each channel, or one unit for
        all of a head.
        """
        (q_fold, k_fold, bits), pair = self.folds(q), self._pair(q)
        q.ask(
            self.q,
            np.repeat(np.repeat(q_fold * 2.0**bits, pair, axis=-1), self.group, axis=0),
        )
        q.ask(self.k, np.repeat(k_fold, pair, axis=-1))
        q.ask(self.v, 1.0 / self._value_step(q))
        q.note(self, (bits, np.repeat(k_fold, pair, axis=-1)))

    def _pair(self, q):
        """Neighbours of a head that have one factor: pairs may be turned, blocks transformed."""
        if transform := q.transform(self.q):
            return transform.size
        return 1 if self.head_dim % 2 else 2

    def folds(self, q):
        """Factors of queries and keys, [kv, pairs], and a power of two for the queries."""
        if limit := q.limit(self.q):
            return self._alike(q, limit)
        margin, queries, keys = q.margin, q.seen("queries"), q.seen("keys")
        if self._loses_mean(q):  # twice the range is there while they have it
            keys = np.maximum(q.centred_keys(), keys / 2)
        if q.transform(self.q):  # twice the range is there in front of a transform, too
            queries, keys = (
                np.maximum(found, q.seen(f"{name} straight").reshape(found.shape) / 2)
                for found, name in ((queries, self.q), (keys, self.k))
            )
        if q.normed(self.q):  # one set of gains serves all heads
            queries = np.broadcast_to(queries.max(axis=0), queries.shape)
            keys = np.broadcast_to(keys.max(axis=0), keys.shape)
        kv, group, pair = self.n_kv_heads, self.group, self._pair(q)
        q_pair = queries.reshape(kv, group, -1, pair).max(axis=(1, 3))
        k_pair = keys.reshape(kv, -1, pair).max(axis=-1)
        balance = np.sqrt(k_pair / q_pair)
        k_fold = 2.0**14 / margin / (balance * (k_pair / balance).max(axis=-1, keepdims=True))
        q_fold = LOG2E * self.scale / k_fold
        return q_fold, k_fold, 14 - ceil_log2(margin * (q_pair * q_fold).max())

    def _loses_mean(self, q):
        """Whether keys lose their mean: not where a cap of the scores would see it."""
        return q.scheme.key_mean == "removed" and not self.cap

    def _alike(self, q, limit):
        """All clipped queries and keys of a model have one unit, in which they have one limit."""
        if not q.normed(self.q):
            raise ValueError(f"{self.q} is clipped without a norm, for which there is no unit")
        largest = q.margin * max(q.everywhere("queries"), q.everywhere("keys"))
        largest = min(math.sqrt(2) * limit, largest)  # of a pair that is turned
        product = LOG2E * self.scale
        bits = math.floor(2 * math.log2((2**15 - 4) / largest) - math.log2(product))
        fold = np.full(
            (self.n_kv_heads, self.head_dim // self._pair(q)), (product * 2.0**bits) ** 0.5
        )
        return product / fold, fold, bits

    def _value_step(self, q):
        """float64[kv, head_dim]; with a limit the largest codes are it, or less."""
        limit, seen = q.limit(self.v) or np.inf, q.seen("values")
        if q.scheme.value_steps == "token":
            seen = np.broadcast_to(seen.max(axis=-1, keepdims=True), seen.shape)
            return np.minimum(q.margin * seen / 2**14, limit / (2**15 - 1))
        step = seen * (q.margin + FEW / q.positions) / 127
        return np.minimum(step, limit / 127)

    def quantize(self, q):
        normed = q.taken_by_norm(self.out)
        largest = q.everywhere("attention") if normed else q.seen("attention").max()
        fraction = ACTIVATION_WIDTH - 2 - ceil_log2(q.margin * largest)
        value_scale = np.zeros((self.n_kv_heads, q.head_dim))
        value_scale[:, : self.head_dim] = self._value_step(q) * 2.0**fraction
        if q.scheme.value_steps == "token":  # the softmax's sum has more places, the steps fewer
            value_scale *= 2.0 ** (TOTAL_PLACES + 8 - q.scheme.value_width)
        value_scale, value_shift = mantissas(value_scale)
        q.give(self.out, 2.0**-fraction)
        bits, k_fold = q.noted(self)
        score_shift = bits - q.score_fraction - 2 - (8 - q.scheme.key_width)
        if score_shift < LEAST_SHIFT:
            raise ValueError(
                f"layer {q.layer}: queries and keys are too large for any score format"
            )
        width = 24 if normed else ACTIVATION_WIDTH
        cap = self.cap and round(self.cap * LOG2E * 2.0**q.score_fraction)
        mean = None
        if self._loses_mean(q):
            mean = np.zeros((self.n_kv_heads, q.head_dim), np.int64)
            exact = np.round(q.key_mean() * k_fold * 2.0**-MEAN_SHIFT).astype(np.int64)
            mean[:, : self.head_dim] = saturate(exact, 8)
        formats = value_scale, value_shift, q.layer, width, cap, mean
        return IntegerAttention(self, score_shift, *formats)


@dataclass(eq=False)
class IntegerAttention:
    """Attention over an 8-bit cache: a step per head and token of the keys, one per value channel.

    With ``value_steps`` of the scheme ``token``, values have a step per head and token too. It
    multiplies the position's weight; the weights' sum is that of those without steps.

    Parameters
    ----------
    source : Attention
    score_shift : int
        Turns ``q . k`` times their steps into logarithms to base 2.
    value_scale : uint16[n_kv_heads, padded head_dim]
        Turns the weighted sum of cached values into activations.
    value_shift, layer : int
    width : int
        Bits of the result.
    cap : int, optional
        Of scores, in their units.
    key_mean : int8[n_kv_heads, padded head_dim], optional
        What is subtracted from the keys, in units of ``2**8``.
    """

    source: Attention
    score_shift: int
    value_scale: np.ndarray
    value_shift: int
    layer: int
    width: int = ACTIVATION_WIDTH
    cap: int | None = None
    key_mean: np.ndarray | None = None

    @property
    def out(self):
        """The vector that it makes."""
        return self.source.out

    def run(self, p):
        s, n = self.source, len(p.positions)
        q, k, v = (p.read(x).values.reshape(n, -1, p.head_dim) for x in (s.q, s.k, s.v))
        q, k = saturate(q, 16), saturate(k, 16)
        if self.key_mean is not None:
            k = saturate(k - (self.key_mean << MEAN_SHIFT), 16)
        p.count("heads", q, 16)
        if p.model.one_heads_unit:
            p.count("heads", k, 16)
        q, q_step = head_quantize(q)
        scheme = p.model.scheme
        limit = 16 if scheme.value_steps == "token" else 8
        p.count("values", v, limit)
        values = saturate(v, limit), 0
        if limit == 16:
            values = value_quantize(values[0], scheme.value_width)
        keys = head_quantize(k, scheme.key_width)
        p.cache.store(self.layer, p.positions, *keys, *values)
        out = np.empty((n, s.n_heads * p.head_dim), np.int64)
        for first in range(0, n, QUERIES):
            some = slice(first, first + QUERIES)
            out[some] = self._attend(p, q[some], q_step[some], p.positions[some])
        p.finish(s.out, out)

    def _attend(self, p, q, q_step, positions):
        """Of queries int[n, heads, head_dim] with steps int[n, heads], each at its position."""
        s = self.source
        n, lanes = len(positions), p.lanes
        keys, key_steps, values, value_steps = p.cache.at(self.layer, p.padded(positions[-1] + 1))
        blocks = keys.shape[1]
        visible = seen(positions, blocks, s.window)  # [n, blocks]
        shape = (s.n_kv_heads, s.group, n)
        q = q.transpose(1, 0, 2).reshape(*shape, -1)
        q_step = q_step.T.reshape(*shape, 1)
        acc = p.exact(q, keys[:, None].transpose(0, 1, 3, 2))  # [kv, group, n, blocks]
        row_scale = key_steps[:, None, None] << STEP_SHIFT
        scores = scale(acc, row_scale, self.score_shift, q_step << STEP_SHIFT)
        if self.cap:
            scores = soft_cap(scores, self.cap)
        # Low scores weigh nothing beside others: one at the lower limit counts for its own token,
        # as it does where all are.
        own = np.arange(blocks) == positions[:, None]
        counts = own | (visible & (scores >= 0))
        p.count_limited(acc, self.score_shift, counts)
        p.count("scores", np.where(counts, scores, 0), p.model.score_width)
        whole = p.model.score_width - p.model.score_fraction
        scores = scores << (SCORE_FRACTION - p.model.score_fraction)
        scores = saturate(scores, whole + SCORE_FRACTION).reshape(*shape, -1, lanes)
        visible = visible.reshape(n, -1, lanes)
        steps = None
        if p.model.scheme.value_steps == "token":
            steps = value_steps[:, None, None].reshape(s.n_kv_heads, 1, 1, -1, lanes)
        power, exponent, total = weighted_block(scores, visible, whole, steps)
        largest = exponent.max(axis=-1, initial=empty(whole), keepdims=True)
        power, shift = align(power, exponent, largest)
        power = (power << shift[..., None]).reshape(*shape, blocks)
        total, _ = align(total[..., None], exponent, largest)
        total = (total[..., 0] << shift).sum(axis=-1, keepdims=True)
        mantissa, exponent = reciprocal(total)
        acc = p.exact(power, values[:, None])  # [kv, group, n, head_dim]
        row_scale = self.value_scale[:, None, None]
        shift = self.value_shift + exponent - 1
        p.count_limited(acc, shift)
        out = scale(acc, row_scale, shift, mantissa, self.width)
        return out.reshape(s.n_heads, n, -1).transpose(1, 0, 2).reshape(n, -1)
