"""What a model is trained on: windows of texts, which may be its own."""

import torch

from celosia.training.distill import Windows
from celosia.training.forward import Cache, forward

__all__ = ["divided", "windows", "written"]

SIDE_BY_SIDE = 256  # texts that are written at once
LINE = b"\n"  # behind it a window may begin


@torch.no_grad()
def written(description, tensors, count, size, begin, seed, progress=None):
    """Texts that a model writes at temperature 1, the begin token first: int64[count, size].

    Parameters
    ----------
    description, tensors
        As :func:`celosia.training.forward.forward` takes them.
    count, size, begin, seed : int
    progress : callable(done, total), optional
        Told tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    device, texts = next(iter(tensors[0].values())).device, []
    for first in range(0, count, SIDE_BY_SIDE):
        rows = min(SIDE_BY_SIDE, count - first)
        made = torch.full((rows, size), begin)
        cache = Cache(size)
        for n in range(1, size):
            fed = made[:, n - 1 : n].to(device)
            chances = torch.softmax(forward(description, tensors, fed, cache)[:, -1], dim=-1)
            made[:, n] = torch.multinomial(chances.cpu(), 1, generator=generator)[:, 0]
            if progress:
                progress(first * size + rows * (n + 1), count * size)
        texts.append(made)
    return torch.cat(texts)


def divided(texts, count):
    """Texts to train on and to measure on, which are the last ``count`` tokens, or a quarter."""
    rest, held = list(texts), []
    count = min(count, sum(map(len, texts)) // 4)
    while count > 0:
        last = rest.pop()
        cut = max(len(last) - count, 0)
        held.append(last[cut:])
        count -= len(held[-1])
        if cut:
            rest.append(last[:cut])
    return rest, held[::-1]


def windows(texts, size, begin, pieces=()):
    """:class:`Windows` of lists of tokens, one behind the other, a begin token before each.

    They begin where a text does and, in longer ones, where a line does. ``pieces`` are the
    tokenizer's.
    """
    stream, starts = [], []
    for tokens in texts:
        stream.append(begin)
        starts.append(len(stream))
        for token in tokens:
            stream.append(token)
            if len(tokens) >= size and token < len(pieces) and pieces[token].endswith(LINE):
                starts.append(len(stream))
    return Windows(stream, starts, size, begin)
