"""Train celosia's embedded models with weights of few bits, on one CPU core.

    pip install 'celosia[train]'
    python examples/train_demos.py demo-small -o celosia/models/demo-small
    python examples/train_demos.py demo-tiny -o celosia/models/demo-tiny
    python examples/train_demos.py demo-ternary -o celosia/models/demo-ternary
    python examples/train_demos.py demo-matmulfree -o demo-matmulfree

``demo-small`` is a Llama of 125,000 parameters that fits small chips. It learns from the text and
from the distributions of the embedded model ``demo``, first in float, then with the compact
machine's weights: 4 bits, and one of 16 scales for each row. ``demo-tiny``, for a Tang Nano 9K, has
91,000 parameters, the layers' ternary; it learns from the same and begins with ``demo-small``'s
weights.

``demo-ternary`` is ``demo``, whose matrices become ternary: what
``celosia tune demo --scheme ternary`` makes on the same text. ``demo-matmulfree`` is a MatMul-free
LM (HGRN with BitLinear) of ``demo``'s sizes, which begins with its tables and MLPs. It learns from
the text and from ``demo``'s distributions, first in float, then with ternary weights. A call that
was interrupted goes on where it was.

The text is that of ``train_demo.py``, without its held-out tenth.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from celosia.reference import float32
from celosia.reference.checkpoint import KNOWN, load
from celosia.reference.checkpoint.quantized_folder import write_model
from celosia.reference.compact.form import compact_form
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.quantization.scheme import Scheme
from train_demo import fetch_text, split_text

from celosia.made_codes import settings_of
from celosia.training.compact import CompactRounding, equal_values
from celosia.training.distill import Training, distill
from celosia.training.forward import forward, tensors_of
from celosia.training.kept import kept
from celosia.training.pretrain import fresh
from celosia.training.rounding import Rounding
from celosia.training.text import windows
from celosia.training.tune import coded_model, trainable

WINDOW = 32  # positions that the small model's attention sees
SMALL = ModelConfig(
    dim=64,
    hidden_dim=128,
    n_layers=3,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    vocab_size=512,
    seq_len=256,
    options={"windows": (WINDOW,) * 3},
)
TINY = replace(
    SMALL,
    hidden_dim=68,
    n_heads=5,
    n_kv_heads=1,
    options=SMALL.options | {"ternary": True},
)
CONFIG = ModelConfig(
    dim=96,
    hidden_dim=224,
    n_layers=4,
    n_heads=1,
    n_kv_heads=1,
    head_dim=2,
    vocab_size=512,
    seq_len=256,
    tied=False,
    norm_eps=1e-6,
    family="hgrn_bit",
    options={"lower_bounds": True},
)
SCHEME = Scheme(weight_width=2, ternary=True)
HELD_OUT = 8297  # characters of what is held out, on which perplexities are measured


class Course:
    """What a student learns from: windows of the text, and ``demo``'s distributions."""

    def __init__(self, text, held_out, options):
        self.options, self.demo = options, load("demo")
        self.tokenizer = self.demo.tokenizer
        self.tokens = self.tokenizer.encode(text, bos=False)
        self.held = self.tokenizer.encode(held_out[:HELD_OUT], bos=False)
        rest = CONFIG.seq_len, self.tokenizer.bos, self.tokenizer.pieces
        self.windows = windows([self.tokens], *rest)
        self.teacher = self.demo.description, tensors_of(self.demo)
        self.perplexities = {"teacher": perplexity(*self.teacher, self.held)}

    def train(self, name, model, steps, rounding=None, rate=3e-3):
        """``model``, trained for a stage of this name."""
        options, tensors = self.options, tensors_of(model)
        training = Training(steps, options.batch, rate, text=0.1, decay=0.05, seed=options.seed)
        if steps:
            with kept(f"{name} {options}") as keep:
                rest = self.teacher, self.windows, training, rounding, keep, tell
                loss = distill(model.description, tensors, *rest)
            rounded = rounding.rounded(tensors) if rounding else tensors
            self.perplexities[name] = perplexity(model.description, rounded, self.held)
            told = self.perplexities
            print(f"{name}: loss {loss:.3f}, held-out perplexities {told}", flush=True)
        own, *layers = [{n: t.numpy() for n, t in part.items()} for part in tensors]
        return replace(model, tensors=own, layers=layers)

    def write(self, model, settings):
        """The folder of a model in codes."""
        options, model.settings = self.options, settings
        made = {"name": options.name, "held_out_perplexity": self.perplexities}
        made["recipe"] = {"float_steps": options.float_steps, "steps": options.steps}
        options.output.mkdir(parents=True, exist_ok=True)
        write_model(options.output, model, made)
        tokenizer = (KNOWN["demo"] / "tokenizer.json").read_bytes()
        (options.output / "tokenizer.json").write_bytes(tokenizer)


def small(text, held_out, options):
    """Make ``demo-small``."""
    course = Course(text, held_out, options)
    model = compact_form(fresh(SMALL, options.seed), WINDOW)
    model = course.train("float", replace(model, tokenizer=course.tokenizer), options.float_steps)
    stages = (options.steps * 2 // 3, 2e-3), (options.steps // 3, 1e-3)
    course.write(rounded(course, "4 bits", model, stages), {})


def tiny(text, held_out, options):
    """Make ``demo-tiny``."""
    course = Course(text, held_out, options)
    model = compact_form(fresh(TINY, options.seed), WINDOW, ternary=True)
    model = narrowed(load("demo-small"), replace(model, tokenizer=course.tokenizer))
    stages = ((options.steps, 3e-3),)
    course.write(rounded(course, "ternary", model, stages, ternary=True), {})


def rounded(course, name, model, stages, ternary=False):
    """``model`` in the compact machine's own codes, trained in stages of (steps, rate).

    Any machine of as many bits, or more, has these codes.
    """
    size = model.config.seq_len
    texts = [course.tokens[n : n + size] for n in range(0, 1 << 13, size)]
    for number, (steps, rate) in enumerate(stages):
        model = equal_values(model, texts)
        rounding = CompactRounding(model, WINDOW, ternary=ternary)
        model = course.train(f"{name}, {number}", model, steps, rounding, rate)
    return coded_model(model, tensors_of(model), rounding)


def narrowed(given, model):
    """``model`` with the weights of ``given``: KV heads' means, the largest hidden values.

    Heads that ``given`` does not have stay as they are.
    """
    c, own = model.config, {name: given.tensors[name] for name in model.tensors}
    layers = []
    for layer, fresh_layer in zip(given.layers, model.layers, strict=True):
        part, rows = dict(layer), len(layer["wq"])
        part["wq"] = np.vstack([layer["wq"], fresh_layer["wq"][rows:]])
        part["wo"] = np.hstack([layer["wo"], fresh_layer["wo"][:, rows:]])
        for name in ("wk", "wv"):
            heads = layer[name].reshape(c.n_kv_heads, -1, c.head_dim, c.dim)
            part[name] = heads.mean(axis=1).reshape(-1, c.dim)
        sizes = np.square(layer["w_down"]).sum(0) * np.square(layer["w_up"]).sum(1)
        chosen = np.sort(np.argsort(-sizes)[: c.hidden_dim])
        part |= {name: layer[name][chosen] for name in ("w_gate", "w_up")}
        layers.append(part | {"w_down": layer["w_down"][:, chosen]})
    return replace(model, tensors=own, layers=layers)


def ternary(text, held_out, options):
    """Make ``demo-ternary``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(text, encoding="utf-8")
        training = ("--steps", options.steps, "--batch", options.batch, "--seed", options.seed)
        command = ("tune", "demo", "--scheme", "ternary", "--text", path, *training)
        command = (sys.executable, "-m", "celosia", *command, "-o", options.output)
        subprocess.run([str(word) for word in command], check=True)


def matmul_free(text, held_out, options):
    """Make ``demo-matmulfree``."""
    course = Course(text, held_out, options)
    model = begun(course.demo, course.tokens[: CONFIG.seq_len], options.seed)
    model = course.train("float", trainable(model, SCHEME), options.float_steps)
    rounding = Rounding(model.description, SCHEME, ternary=True)
    model = course.train("ternary", model, options.steps, rounding)
    course.write(coded_model(model, tensors_of(model), rounding), settings_of(SCHEME))


def begun(demo, tokens, seed):
    """A model with ``demo``'s tables and MLPs, and what its attention reads and writes by.

    Norms that ``demo`` does not have, one before each matrix, begin with the size of what the
    matrix reads there.
    """
    model, sizes = random_model(CONFIG, seed), {}

    def observe(name, layer, array):
        sizes[layer, name] = size(array)

    float32.forward(demo, tokens, observe=observe)
    model.tensors["embedding"] = model.tensors["head"] = demo.tensors["embedding"]
    model.tensors["norm"] = demo.tensors["norm"]
    model.tensors["head_norm"][:] = size(demo.tensors["norm"])
    for index, (layer, given) in enumerate(zip(model.layers, demo.layers, strict=True)):
        layer |= {name: given[name] for name in ("wo", "ffn_norm", "w_gate", "w_up", "w_down")}
        layer["mixer_norm"] = given["attention_norm"]
        values = given["wv"].reshape(demo.config.n_kv_heads, demo.config.head_dim, -1)
        group = demo.config.n_heads // demo.config.n_kv_heads
        layer["w_fill"] = np.repeat(values, group, axis=0).reshape(CONFIG.dim, -1)
        for way in ("fill", "forget", "output"):
            layer[f"w_{way}_norm"][:] = size(given["attention_norm"])
        layer["w_gate_norm"][:] = size(given["ffn_norm"])
        layer["wo_norm"][:] = sizes[index, "attention"]
        layer["w_down_norm"][:] = sizes[index, "hidden"]
        if index:
            layer["bounds"][:] = index / CONFIG.n_layers
    return model


def size(array):
    """The root of the mean square."""
    return np.sqrt(np.mean(array * array))


@torch.no_grad()
def perplexity(description, tensors, tokens):
    """Per token, in windows of the context, each behind a begin token."""
    total = 0.0
    for chunk in torch.tensor(tokens).split(CONFIG.seq_len - 1):
        logits = forward(description, tensors, F.pad(chunk[None, :-1], (1, 0)))[0]
        total += F.cross_entropy(logits, chunk, reduction="sum").item()
    return math.exp(total / len(tokens))


def tell(step, steps):
    """Show how far it is."""
    if step % 25 == 0 or step == steps:
        print(f"step {step} of {steps}", flush=True)


MAKERS = {
    "demo-small": small,
    "demo-tiny": tiny,
    "demo-ternary": ternary,
    "demo-matmulfree": matmul_free,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=tuple(MAKERS))
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--float-steps", type=int, default=800)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text, held_out = split_text(fetch_text())
    MAKERS[options.name](text, held_out, options)


if __name__ == "__main__":
    main()
