"""The float32 forward pass in PyTorch: that of :mod:`celosia.reference.float32`, for batches."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from celosia.reference.operations import (
    Add,
    Attention,
    Cap,
    Clip,
    Copy,
    Embed,
    Experts,
    Gate,
    Hadamard,
    Linear,
    Norm,
    Recur,
    Rotate,
)

__all__ = ["Cache", "forward", "tensors_of"]


class Cache:
    """The keys and values, or states, of the ``length`` positions seen, by layer."""

    def __init__(self, positions):
        self.positions, self.length = positions, 0
        self.pairs, self.states = {}, {}


def tensors_of(model):
    """A model's tensors for :func:`forward`: those of its end, and behind them each layer's."""
    parts = (model.tensors, *model.layers)
    return [{name: torch.tensor(array) for name, array in part.items()} for part in parts]


def forward(description, tensors, tokens, cache=None, activations=None):
    """The logits of each of ``tokens``: float32[batch, n, vocab_size].

    Bit for bit it is not what NumPy gives: sums have another order.

    Parameters
    ----------
    description : Description
    tensors : list of dict of str to Tensor
        As :func:`tensors_of` gives them.
    tokens : Tensor of int64[batch, n]
    cache : Cache, optional
        Extended in place, by a batch of one token each; the tokens follow those it has seen.
    activations : callable(Tensor) -> Tensor, optional
        What becomes of each matrix's inputs.

    Raises
    ------
    ValueError
        If the description has an operation that cannot be trained.
    """
    p = _Pass(tokens, cache, activations or (lambda x: x))
    p.run(description.begin, tensors[0], None)
    for index, operations in enumerate(description.layers):
        p.run(operations, tensors[index + 1], index)
    p.run(description.end, tensors[0], None)
    if cache is not None:
        cache.length += tokens.shape[1]
    return p.vectors["logits"]


class _Pass:
    """The vectors of a batch on their way, [batch, n, size]."""

    def __init__(self, tokens, cache, activations):
        self.tokens, self.cache, self.activations = tokens, cache, activations
        start = cache.length if cache is not None else 0
        self.positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        self.vectors, self._turns = {}, {}

    def run(self, operations, tensors, layer):
        self.tensors, self.layer = tensors, layer
        for op in operations:
            if type(op) not in _RUN:
                raise ValueError(f"the operation {type(op).__name__} cannot be trained")
            _RUN[type(op)](op, self)

    def turns(self, op):
        """A rotation's turns: complex64[n, 1, pairs]."""
        key = op.frequencies, op.factor
        if key not in self._turns:
            frequencies = torch.tensor(op.frequencies, dtype=torch.float64)
            angles = torch.outer(self.positions.cpu().double(), frequencies)[:, None]
            factors = torch.where(frequencies != 0, op.factor, 1.0).double()
            turns = torch.polar(factors.expand_as(angles), angles)
            self._turns[key] = turns.to(self.tokens.device, torch.complex64)
        return self._turns[key]

    def cached(self, k, v):
        """The keys and values of all positions so far, of ``k`` and ``v`` [batch, heads, n, hd]."""
        if self.cache is None:
            return k, v
        batch, heads, n, size = k.shape
        if self.layer not in self.cache.pairs:
            shape = (2, batch, heads, self.cache.positions, size)
            self.cache.pairs[self.layer] = k.new_zeros(shape)
        pair, start = self.cache.pairs[self.layer], self.cache.length
        pair[0, :, :, start : start + n], pair[1, :, :, start : start + n] = k, v
        return pair[0, :, :, : start + n], pair[1, :, :, : start + n]


def _embed(op, p):
    x = F.embedding(p.tokens, p.tensors[op.table])
    if op.factor != 1.0:
        x = x * op.factor
    if op.positions:
        x = x + p.tensors[op.positions][p.positions + op.offset]
    p.vectors[op.out] = x


def _norm(op, p):
    x = p.vectors[op.input]
    shape = x.shape
    if op.weights:
        x = x * p.tensors[op.weights]
    if op.groups > 1:
        x = x.unflatten(-1, (op.groups, -1))
    if op.centred:
        x = x - x.mean(-1, keepdim=True)
    gain = p.tensors[op.gain] if op.gain else None
    y = F.rms_norm(x, x.shape[-1:], gain, op.eps)
    if op.bias:
        y = y + p.tensors[op.bias]
    p.vectors[op.out] = y.reshape(shape)


def _linear(op, p):
    x, bias = p.activations(p.vectors[op.input]), p.tensors[op.bias] if op.bias else None
    y = F.linear(x, p.tensors[op.weight], bias)
    if op.factor != 1.0:
        y = y * op.factor
    p.vectors[op.out] = p.vectors[op.out] + y if op.add else y


def _rotate(op, p):
    x = p.vectors[op.vector]
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, op.head_dim // 2, 2)))
    p.vectors[op.vector] = torch.view_as_real(pairs * p.turns(op)).reshape(x.shape)


def _attention(op, p):
    q, k, v = (
        p.vectors[name].unflatten(-1, (-1, op.head_dim)).transpose(1, 2)
        for name in (op.q, op.k, op.v)
    )
    k, v = p.cached(k, v)
    if q.shape[2] == 1 and op.window is None and not op.cap:
        q = q.reshape(*k.shape[:2], -1, op.head_dim)  # heads of a group, in place of copies
        out = F.scaled_dot_product_attention(q, k, v, scale=op.scale)
        p.vectors[op.out] = out.flatten(1)[:, None]
        return
    k, v = (x.repeat_interleave(op.group, dim=1) if op.group > 1 else x for x in (k, v))
    n = q.shape[2]
    if n == k.shape[2] and op.window and 2 * op.window <= n and not op.cap:
        out = _windowed(q, k, v, op)
    else:
        age = p.positions[:, None] - torch.arange(k.shape[2], device=q.device)
        seen = age >= 0 if op.window is None else (age >= 0) & (age < op.window)
        if op.cap:
            scores = op.cap * torch.tanh(q @ k.transpose(-1, -2) * (op.scale / op.cap))
            out = torch.softmax(scores.masked_fill(~seen, -math.inf), dim=-1) @ v
        elif op.window is None and n == k.shape[2]:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=op.scale)
        else:
            out = F.scaled_dot_product_attention(q, k, v, seen, scale=op.scale)
    p.vectors[op.out] = out.transpose(1, 2).flatten(2)


def _windowed(q, k, v, op):
    """Attention in blocks of the window's size: each sees itself and the one before."""
    size, n = op.window, q.shape[2]
    blocks = -(-n // size)
    q, k, v = (
        F.pad(x, (0, 0, 0, blocks * size - n)).unflatten(2, (blocks, size)) for x in (q, k, v)
    )
    k, v = (torch.cat((F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x), dim=3) for x in (k, v))
    places = torch.arange(2 * size, device=q.device)
    age = places[:size, None] + size - places
    seen = ((age >= 0) & (age < size)).repeat(blocks, 1, 1)
    seen[0, :, :size] = False
    scores = (q @ k.transpose(-1, -2) * op.scale).masked_fill(~seen, -math.inf)
    return (torch.softmax(scores, dim=-1) @ v).flatten(2, 3)[:, :, :n]


ACTIVATIONS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x) ** 2,
}


def _gate(op, p):
    y = ACTIVATIONS[op.activation](p.vectors[op.gate])
    p.vectors[op.out] = y * p.vectors[op.up] if op.up else y


def _experts(op, p):
    """All experts, those that are not chosen with a weight of 0: for models of few."""
    h = p.vectors[op.input]
    weights = torch.softmax(F.linear(h, p.tensors[op.router]), dim=-1)
    some, chosen = weights.topk(op.k, dim=-1)
    if op.renormalise:
        some = some / some.sum(-1, keepdim=True)
    some = torch.zeros_like(weights).scatter(-1, chosen, some)
    gate, up = (F.linear(h, p.tensors[n].flatten(0, 1)) for n in (op.gate, op.up))
    hidden = (ACTIVATIONS[op.activation](gate) * up).unflatten(-1, (op.n, -1)) * some[..., None]
    down = p.tensors[op.down].transpose(1, 2).flatten(0, 1)
    p.vectors[op.out] = p.vectors[op.out] + hidden.flatten(-2) @ down


class _States(torch.autograd.Function):
    """``h[t] = h[t - 1] + fresh[t] * (filled[t] - h[t - 1])`` of [n, batch, size], from ``first``.

    One operation for each position, there and back.
    """

    @staticmethod
    def forward(ctx, filled, fresh, first) -> Tensor:
        states, state = torch.empty_like(filled), first
        for n in range(len(filled)):
            state = torch.lerp(state, filled[n], fresh[n], out=states[n])
        ctx.save_for_backward(filled, fresh, first, states)
        return states

    @staticmethod
    def backward(ctx, *grads):
        (given,), (filled, fresh, first, states) = grads, ctx.saved_tensors
        keep, found = 1 - fresh, torch.empty_like(given)
        later = torch.zeros_like(first)
        for n in reversed(range(len(filled))):
            torch.add(given[n], later, out=found[n])
            later = found[n] * keep[n]
        before = torch.cat((first[None], states[:-1]))
        return found * fresh, found * (filled - before), later


def _recur(op, p):
    z, i, s = (p.vectors[name] for name in op.inputs)
    if op.gain:
        s = F.rms_norm(s, s.shape[-1:], p.tensors[op.gain], op.eps)
    fresh = torch.sigmoid(-z)
    if op.bounds:
        fresh = (1 - p.tensors[op.bounds]) * fresh
    states = p.cache.states if p.cache is not None else {}
    first = states.get(p.layer, torch.zeros_like(z[:, 0]))
    by_position = (x.transpose(0, 1).contiguous() for x in (F.silu(i), fresh))
    found = _States.apply(*by_position, first)
    states[p.layer] = found[-1]
    p.vectors[op.out] = s * F.silu(found.transpose(0, 1))


def _add(op, p):
    p.vectors[op.out] = p.vectors[op.out] + op.factor * p.vectors[op.input]


def _cap(op, p):
    p.vectors[op.vector] = op.cap * torch.tanh(p.vectors[op.vector] / op.cap)


def _clip(op, p):
    p.vectors[op.vector] = p.vectors[op.vector].clamp(-op.limit, op.limit)


def _copy(op, p):
    p.vectors[op.out] = p.vectors[op.input]


def _hadamard(op, p):
    x = p.vectors[op.vector]
    matrix = torch.tensor(op.matrix, dtype=x.dtype, device=x.device)
    p.vectors[op.vector] = (x.unflatten(-1, (-1, op.size)) @ matrix).flatten(-2)


_RUN = {
    Add: _add,
    Attention: _attention,
    Cap: _cap,
    Clip: _clip,
    Copy: _copy,
    Embed: _embed,
    Experts: _experts,
    Gate: _gate,
    Hadamard: _hadamard,
    Linear: _linear,
    Norm: _norm,
    Recur: _recur,
    Rotate: _rotate,
}
