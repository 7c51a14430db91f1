"""Distillation: a model, its weights rounded or not, learns another's distributions, or a text."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from celosia.reference.operations import Recur
from celosia.training.forward import forward

__all__ = ["Training", "Windows", "distill"]


@dataclass(frozen=True)
class Training:
    """How long, and by what steps.

    Parameters
    ----------
    steps : int
    batch : int
        Windows in a step.
    rate : float
        Of AdamW, after ``warmup`` steps; from there on it falls to ``last`` of it as a cosine does.
    warmup : int
    last : float
    text : float, 0 to 1
        The share of the text's own tokens in what is learnt; the rest is the teacher's.
    decay : float
        Of matrices, as a part of the rate.
    seed : int
    """

    steps: int
    batch: int = 8
    rate: float = 1e-3
    warmup: int = 100
    last: float = 0.01
    text: float = 0.0
    decay: float = 0.0
    seed: int = 0

    def rate_at(self, step):
        """The rate of a step."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * (self.last + (1 - self.last) * cosine) * min(1, (step + 1) / self.warmup)


class Windows:
    """Stretches of a text of ``size`` tokens, the first of which is the begin token.

    Parameters
    ----------
    tokens : list of int
    starts : list of int
        Where windows may begin, which is what comes second in them.
    size, begin : int
    """

    def __init__(self, tokens, starts, size, begin):
        self.tokens = torch.tensor(tokens)
        last = len(tokens) - size
        self.starts = torch.tensor([start for start in starts if start <= last])
        if not len(self.starts):
            raise ValueError(f"the text is too short: {len(tokens)} tokens for windows of {size}")
        self.size, self.begin = size, begin

    def batch(self, n, step, seed):
        """What ``n`` windows feed and what follows it: int64[n, size] each."""
        generator = torch.Generator().manual_seed(seed << 32 | step)
        starts = self.starts[torch.randint(len(self.starts), (n,), generator=generator)]
        following = self.tokens[starts[:, None] + torch.arange(self.size)]
        return F.pad(following[:, :-1], (1, 0), value=self.begin), following


def distill(student, tensors, teacher, windows, training, rounding=None, keep=None, progress=None):
    """Train ``tensors`` in place, so that ``student``'s distributions become the teacher's.

    What falls is the mean of KL(teacher || student) over all positions of the windows. With
    ``rounding`` the student's matrices are those of its codes, in each step anew, and gradients
    pass the rounding as if it were none. Lower bounds of states stay as they are.

    Parameters
    ----------
    student : Description
    tensors : list of dict of str to Tensor
    teacher : (Description, list of dict of str to Tensor) or None
        Without one the text's own tokens are what is learnt.
    windows : Windows
    training : Training
    rounding : Rounding, optional
    keep : callable(state or None) -> dict or None, optional
        Gives the state kept at an earlier call, or keeps one.
    progress : callable(step, steps), optional
        Called after each step.

    Returns
    -------
    float
        A running mean of what falls, in nats.
    """
    fixed = {op.bounds for op in student.find(Recur)}
    named = [each for part in tensors for each in part.items() if each[0] not in fixed]
    parameters = [tensor.requires_grad_() for _, tensor in named]
    matrices = [tensor for tensor in parameters if tensor.dim() > 1]
    vectors = [tensor for tensor in parameters if tensor.dim() < 2]
    groups = [{"params": matrices, "weight_decay": training.decay}, {"params": vectors}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    first, running = 0, None
    if keep and (state := keep(None)):
        first, running = state["step"], state["loss"]
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for tensor, kept in zip(parameters, state["tensors"], strict=True):
                tensor.copy_(kept)
    for step in range(first, training.steps):
        for group in optimizer.param_groups:
            group["lr"] = training.rate_at(step)
        loss = _loss(student, tensors, teacher, windows, training, rounding, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if keep:
            kept = {"step": step + 1, "loss": running, "tensors": parameters}
            keep(kept | {"optimizer": optimizer.state_dict()})
        if progress:
            progress(step + 1, training.steps)
    for tensor in parameters:
        tensor.requires_grad_(False)
    return running


def _loss(student, tensors, teacher, windows, training, rounding, step):
    fed, following = windows.batch(training.batch, step, training.seed)
    device = next(iter(tensors[0].values())).device
    fed, following = fed.to(device), following.to(device)
    tensors = rounding.rounded(tensors) if rounding else tensors
    if teacher is None:
        found = forward(student, tensors, fed)
        return F.cross_entropy(found.flatten(0, 1), following.flatten())
    with torch.no_grad():
        wanted = torch.softmax(forward(teacher[0], teacher[1], fed), dim=-1)
        if training.text:
            wanted *= 1 - training.text
            wanted.scatter_add_(
                -1, following[..., None], wanted.new_full((*fed.shape, 1), training.text)
            )
        entropy = -torch.special.xlogy(wanted, wanted).sum(-1).mean()
    found = forward(student, tensors, fed)
    return F.cross_entropy(found.flatten(0, 1), wanted.flatten(0, 1)) - entropy
