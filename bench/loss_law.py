"""What models of different shapes lose: ``python bench/loss_law.py [-o FILE]``.

Each shape of :func:`shapes` is trained by the same course (:mod:`celosia.codesign.course`) on the
text of ``examples/train_demo.py``, and what it loses on the held-out part is written to FILE; what
is there is not trained again. ``--check`` trains nothing: it fits the law and prints its errors.
"""

import dataclasses
import functools
import sys
import time
from pathlib import Path

import numpy as np
from celosia.reference.checkpoint import load
from celosia.reference.families import describe
from celosia.reference.model import ModelConfig
from known_results import begin, write_known

from celosia.codesign.law import QUANTITIES, fitted, is_held, known_models

__all__ = ["FILE", "NAMED", "lesson", "shapes"]

FILE = Path(__file__).parents[1] / "celosia" / "codesign" / "loss_law.json"
SEED = 15
COUNT = 36
#: From which to which number of parameters, in thousands, in turn.
SIZES = (20, 50), (50, 110), (110, 220), (20, 50), (50, 110), (110, 350)
#: Shapes of models that are there.
NAMED = {
    "demo": (4, 96, 6, 2, 224),
    "demo-small": (3, 64, 8, 4, 128),
    "stories260K": (5, 64, 8, 4, 172),
}
EXPERTS = ((1, 1), (1, 1), (1, 1), (4, 1), (4, 2), (8, 2))  # all, chosen


def model(layers, dim, heads, kv_heads, hidden, experts=1, chosen=1):
    """The ModelConfig of a shape."""
    options = {"experts": experts, "chosen": chosen, "renormalise": True}
    mixture = {"family": "mixtral", "options": options} if experts > 1 else {}
    sizes = {"n_heads": heads, "n_kv_heads": kv_heads, "head_dim": dim // heads}
    return ModelConfig(dim, hidden, layers, **sizes, vocab_size=512, seq_len=256, **mixture)


def drawn(rng):
    """A shape at random."""
    layers, head = int(rng.integers(1, 9)), int(rng.choice([8, 16]))
    dim = int(rng.choice([32, 48, 64, 80, 96, 128, 160, 192, 256]))
    heads = dim // head
    kv_heads = int(rng.choice([n for n in range(1, heads + 1) if heads % n == 0]))
    experts, chosen = (int(n) for n in rng.choice(EXPERTS))
    hidden = round(dim * float(rng.choice([1, 1.5, 2, 3, 4])) / chosen / 8) * 8
    return model(layers, dim, heads, kv_heads, max(hidden, 8), experts, chosen)


def shapes():
    """All ModelConfigs by their names."""
    rng = np.random.default_rng(SEED)
    found = {name: model(*shape) for name, shape in NAMED.items()}
    number = 0
    while number < COUNT:
        config = drawn(rng)
        least, most = SIZES[number % len(SIZES)]
        if least * 1000 <= describe(config).parameters < most * 1000:
            found[f"shape{number}"] = config
            number += 1
    return found


@functools.cache
def lesson():
    """What a shape loses after the course: a function of a ModelConfig, and the course's tokens."""
    import torch

    from celosia.codesign.course import HELD, TOKENS, course

    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    from train_demo import fetch_text, split_text

    torch.set_num_threads(1)
    tokenizer = load("demo").tokenizer
    tokens, held = (tokenizer.encode(part, bos=False) for part in split_text(fetch_text()))
    return lambda config: course(config, [tokens], held[:HELD], tokenizer), TOKENS


def train(known, path):
    """Train what is not in ``known`` yet."""
    order = sorted(shapes().items(), key=lambda one: one[1].n_layers)  # soon trained first
    for name, config in order:
        if name in known:
            continue
        course, tokens = lesson()
        started = time.process_time()
        loss = course(config)
        seconds = round(time.process_time() - started)
        given = {n: v for n, v in dataclasses.asdict(config).items() if v}
        known[name] = {"model": given, "tokens": tokens, "loss": round(loss, 5), "seconds": seconds}
        count = describe(config).parameters
        print(f"{name}: {count:,} parameters, loss {loss:.4f}, {seconds} s", flush=True)
        write_known(path, known)


def check():
    """Print the law and its errors."""
    models = known_models()
    law = fitted(models)
    for coefficient, term in zip(law.coefficients, law.terms, strict=True):
        name = " x ".join(f"log({QUANTITIES[n]})" for n in term) or "1"
        print(f"{coefficient:+9.4f} {name}")
    for number, one in enumerate(models):
        found = law.loss(one.config)
        error = f"{found - one.loss:+.4f}" + ", held out" * is_held(number)
        print(f"{one.name:12} {one.loss:.4f} nats, by the law {found:.4f} ({error})")
    print(f"{len(models)} models; R2 {law.r2:.4f}, of those held out {law.held_r2:.4f}")
    print(f"spread {law.spread:.4f} nats, the largest held-out error {law.held_error:.4f}")


def main():
    arguments, known = begin(__doc__, FILE)
    check() if arguments.check else train(known, arguments.o)


if __name__ == "__main__":
    main()
