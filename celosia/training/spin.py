"""The recipe ``spinquant``: a rotation of the residual stream that is learned, not drawn."""

import numpy as np
import torch
import torch.nn.functional as F

from celosia.reference.rewrites.rotation import orthogonal, stream_sides
from celosia.training.forward import forward, tensors_of
from celosia.training.rounding import Rounding

__all__ = ["block_rounded", "cayley", "learned_rotation"]

RATE = 1e-3  # of Adam, at the first step; it falls to none


def cayley(skew):
    """``(I + A / 2)^-1 (I - A / 2)`` of ``A = skew - skew.T``: orthogonal, the identity for 0."""
    half, one = (skew - skew.T) / 2, torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve(one + half, one - half)


def block_rounded(x, lanes, width):
    """Float32[..., n] as blocks of ``lanes`` values with an exponent and mantissas of ``width``.

    As :func:`celosia.reference.units.block_quantize.block_quantize` rounds; gradients pass as if it
    did not.
    """
    n = x.shape[-1]
    blocks = F.pad(x.detach(), (0, -n % lanes)).unflatten(-1, (-1, lanes))
    below = torch.nextafter(-blocks, torch.zeros(()))  # a power of two fits if it is negative
    most = torch.maximum(blocks, below).amax(-1, keepdim=True)
    exponent = torch.frexp(most).exponent - (width - 1)
    step = torch.ldexp(torch.ones_like(blocks[..., :1]), exponent)
    codes = torch.floor(blocks / step + 0.5).clamp(max=2 ** (width - 1) - 1)
    return x + ((codes * step).flatten(-2)[..., :n] - x.detach())


def learned_rotation(model, scheme, windows, steps, seed=0, progress=None):
    """R1 for :func:`celosia.reference.rewrites.rotation.rotate_stream`: float64[dim, dim].

    It begins as a random one. In each step a window of tokens passes the rotated model, weights and
    activations rounded as the machine of ``scheme`` will hold them; gradients pass the rounding as
    if it were none, and what falls is KL(float model || rounded model). A Cayley transform keeps
    the rotation one, step for step. After Liu and others, arXiv 2405.16406.

    Parameters
    ----------
    model : Model
        In the machine's form, but for its pairs.
    scheme : Scheme
    windows : list of lists of int
    steps, seed : int
    progress : callable(step, steps, loss), optional

    Raises
    ------
    ValueError
        If the stream cannot be rotated, or the model has an operation that cannot be trained.
    """
    model, sides = stream_sides(model)
    description, tensors = model.description, tensors_of(model)
    rounding = Rounding(description, scheme)
    start = torch.tensor(orthogonal(model.config.dim, seed), dtype=torch.float32)
    skew = torch.zeros_like(start).requires_grad_()
    optimizer = torch.optim.Adam([skew])

    def activations(x):
        return block_rounded(x, scheme.lanes, scheme.activation_width)

    for step in range(steps):
        fed = torch.tensor([list(map(int, windows[step % len(windows)]))])
        with torch.no_grad():
            wanted = torch.log_softmax(forward(description, tensors, fed)[0], dim=-1)
        rounded = rounding.rounded(_rotated(tensors, sides, start @ cayley(skew)))
        found = forward(description, rounded, fed, activations=activations)[0]
        found = torch.log_softmax(found, dim=-1)
        loss = F.kl_div(found, wanted, log_target=True, reduction="batchmean")
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress:
            progress(step + 1, steps, loss.item())
    turn = cayley(skew.detach().double()).numpy()
    return orthogonal(model.config.dim, seed) @ np.ascontiguousarray(turn)


def _rotated(tensors, sides, rotation):
    """``tensors`` behind the rotation, which may be differentiated by it."""
    found = [dict(part) for part in tensors]
    for part, name, rows in sides:
        weight = tensors[part][name]
        found[part][name] = rotation.T @ weight if rows else weight @ rotation
    return found
