"""Train a Llama with ternary layers that tells stories on an iCEBreaker, on one CPU core.

    pip install 'celosia[train]'
    python examples/train_stories.py stories260K.bin --tokenizer tok512.bin -o stories-ternary

It learns the distributions of the float model stories260K, on texts that this writes at temperature
1, and begins with its weights: wider, with half the KV heads, and a window of 24 positions. It is
trained in float first, then with the weights of the compact machine: ternary in the layers, the
embedding of 8 bits, and one of 16 scales for each row. A call that was interrupted goes on where it
was: the folder's .pt files are for that.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from celosia.reference.checkpoint import load
from celosia.reference.checkpoint.quantized_folder import write_model
from celosia.reference.checkpoint.tokenizer_files import tokenizer_files
from celosia.reference.compact.form import compact_form
from celosia.reference.model import ModelConfig, random_model

from celosia.training.compact import CompactRounding, equal_values
from celosia.training.distill import Training, distill
from celosia.training.forward import tensors_of
from celosia.training.kept import kept
from celosia.training.text import written
from celosia.training.tune import coded_model

WINDOW = 24  # positions that attention sees
SHAPE = ModelConfig(
    dim=80,
    hidden_dim=300,
    n_layers=5,
    n_heads=8,
    n_kv_heads=2,
    head_dim=8,
    vocab_size=512,
    seq_len=512,
    options={"windows": (WINDOW,) * 5},
)
SIZE = 384  # tokens of a text
NOISE = 0.02  # of weights that the teacher does not have
#: Steps, texts in a step, rate, and what part of it is left at the end.
STAGES = {
    "float": (400, 8, 2e-3, 0.01),
    "ternary, 1": (400, 8, 3e-3, 1.0),
    "ternary, 2": (2800, 4, 3e-3, 0.01),
    "ternary, 3": (1300, 4, 1.5e-3, 0.01),
}


class Texts:
    """Whole texts: what :func:`celosia.training.distill.distill` takes for windows."""

    def __init__(self, rows):
        self.rows, self.size = rows, rows.shape[1] - 1

    def batch(self, n, step, seed):
        """``n`` of them, and what follows each token, each text once before any comes again."""
        epoch, place = divmod(step * n, len(self.rows) // n * n)
        order = torch.randperm(
            len(self.rows), generator=torch.Generator().manual_seed(seed + epoch)
        )
        rows = self.rows[order[place : place + n]].long()
        return rows[:, :-1], rows[:, 1:]


def stories(teacher, options):
    """The texts that the teacher writes, 2,048 for each of some seeds; kept in the folder."""
    path = options.output / "stories.pt"
    if not path.exists():
        model, rest = (teacher.description, tensors_of(teacher)), (SIZE, teacher.tokenizer.bos)
        seeds = range(1, 1 + options.texts // 2048)
        found = [written(*model, 2048, *rest, seed).to(torch.int16) for seed in seeds]
        torch.save(torch.cat(found), path)
    return torch.load(path)


def begun(teacher, seed):
    """A model of ``SHAPE`` that computes nearly what the teacher does.

    Vectors are longer by zeros, so that norms' gains are smaller. KV heads are the means of two.
    The largest hidden values are there twice, and have half the weight.
    """
    generator, model = np.random.default_rng(seed), random_model(SHAPE, seed)
    c, more = teacher.config, SHAPE.hidden_dim - teacher.config.hidden_dim
    for index, layer in enumerate((model.tensors, *model.layers)):
        given = dict(teacher.layers[index - 1] if index else teacher.tensors)
        if index:
            for name in ("wk", "wv"):
                heads = given[name].reshape(SHAPE.n_kv_heads, -1, c.head_dim, c.dim)
                given[name] = heads.mean(axis=1).reshape(-1, c.dim)
            size = np.square(given["w_down"]).sum(0) * np.square(given["w_up"]).sum(1)
            twice = np.argsort(-size)[:more]
            given["w_down"] = given["w_down"] * np.where(
                np.isin(np.arange(len(size)), twice), 0.5, 1
            )
            given["w_down"] = np.hstack([given["w_down"], given["w_down"][:, twice]])
            for name in ("w_gate", "w_up"):
                given[name] = np.vstack([given[name], given[name][twice]])
        for name, array in layer.items():
            if array.ndim == 1:
                array[:] = given[name].mean()
                array[: c.dim] = given[name]
                array *= np.sqrt(c.dim / SHAPE.dim)
                continue
            array[:] = generator.standard_normal(array.shape) * NOISE
            rows, columns = given[name].shape
            array[:rows, :columns] += given[name]
    return model


class Course:
    """A student, its teacher and its texts."""

    def __init__(self, teacher, texts, options):
        self.teacher, self.texts, self.options = teacher, Texts(texts), options

    def train(self, name, model, rounding=None):
        """``model``, trained for a stage of :data:`STAGES`."""
        options, tensors = self.options, tensors_of(model)
        steps, batch, rate, last = STAGES[name]
        path = options.output / f"{name}.pt"
        if not path.exists():
            training = Training(steps, batch, rate, last=last, decay=0.01, seed=options.seed)
            teacher = self.teacher.description, tensors_of(self.teacher)
            rest = teacher, self.texts, training, rounding
            with kept(f"{options} {SHAPE} {training}") as keep:
                loss = distill(model.description, tensors, *rest, keep, teller(name))
            print(f"{name}: KL {loss:.4f}", flush=True)
            torch.save(tensors, path)
        own, *layers = [{n: t.numpy() for n, t in part.items()} for part in torch.load(path)]
        return replace(model, tensors=own, layers=layers)


def teller(name):
    """A function that shows how far a stage is."""

    def tell(step, steps):
        if step % 25 == 0 or step == steps:
            print(f"{name}: step {step} of {steps}", flush=True)

    return tell


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path, help="stories260K.bin")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tok512.bin")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--texts", type=int, default=6144)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    teacher = load(options.teacher, options.tokenizer)
    rows = stories(teacher, options)
    course = Course(teacher, rows, options)
    model = compact_form(begun(teacher, options.seed), WINDOW, ternary=True)
    model = replace(model, tokenizer=teacher.tokenizer)
    model = course.train("float", model)
    model = equal_values(model, rows[:32].tolist())
    rounding = CompactRounding(model, WINDOW, weight_width=8, ternary=True)
    for stage in list(STAGES)[1:]:
        model = course.train(stage, model, rounding)
    coded = coded_model(model, tensors_of(model), rounding)
    coded.settings = {}  # any machine of 8 bits has these codes, too
    write_model(options.output, coded, {"name": options.output.name, "recipe": STAGES})
    for name, data in tokenizer_files(options.teacher, options.tokenizer).items():
        (options.output / name).write_bytes(data)


if __name__ == "__main__":
    main()
