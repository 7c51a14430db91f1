"""What ``quantize`` and ``tune`` share: digests, the cache, bars of progress, folders of codes."""

import contextlib
import hashlib
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from celosia import __version__
from celosia.folder import new_folder
from celosia.printable import NAME, printable

__all__ = [
    "bar",
    "begun",
    "digest",
    "keeper",
    "say",
    "scheme_with_groups",
    "settings_of",
    "show",
    "sources_text",
    "with_groups",
    "write",
]

GROUP = 32  # columns, of 4 bits or fewer where nothing else is asked for
#: Kept where they are not usual.
WIDTHS = (
    *("activation_width", "key_width", "value_width", "value_steps", "key_mean"),
    *("rotate_down", "rotate_keys", "offset_width"),
)


def say(text):
    """A line on the standard error."""
    print(f"celosia: {text}", file=sys.stderr, flush=True)


def digest(model):
    """The SHA-256 of a model's operations and tensors."""
    found = hashlib.sha256(repr(model.description).encode())
    for tensors in (model.tensors, *model.layers):
        for name in sorted(tensors):
            found.update(name.encode())
            found.update(memoryview(tensors[name].ravel().view("u1")))
    return found.hexdigest()


def sources_text(*folders):
    """The texts of all sources in some folders of the reference, which tell versions apart."""
    import celosia.reference

    home = Path(celosia.reference.__file__).parent
    paths = (path for each in folders for path in sorted((home / each).glob("*.py")))
    return "".join(path.read_text(encoding="utf-8") for path in paths)


def keeper(command, text):
    """A function that keeps arrays in the cache, by name: of calls that have ``text`` in common."""
    import safetensors.numpy

    from celosia.sim.cache import cached

    def keep(name, make):
        key = hashlib.sha256(f"{name}:{text}".encode()).hexdigest()[:32]
        file = "part.safetensors"
        place = cached(
            f"{command}-{key}",
            lambda folder: (folder / file).write_bytes(safetensors.numpy.save(make())),
        )
        return safetensors.numpy.load_file(place / file)

    return keep


@contextlib.contextmanager
def bar(text):
    """A bar of progress: a context that gives a function of what is done, and of all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        say(text)
        yield lambda done, total: None
        return
    columns = TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("", total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


def begun(source, text):
    """What celosia.json says of the model ``source`` and the file ``text``, and the file's bytes.

    Without a file both are None.
    """
    from celosia.reference.checkpoint.files import TEXT_LIMIT, read_file

    data = read_file(text, TEXT_LIMIT) if text else None
    made = {"name": source.name, "version": __version__, "source_sha256": digest(source)}
    return made | {"text_sha256": data and hashlib.sha256(data).hexdigest()}, data


def scheme_with_groups(scheme_of, model, config, settings, name):
    """The scheme of the widths ``name``, in groups for few bits where nobody says how."""
    _, scheme = scheme_of(model, config, settings, name)
    settings = with_groups(model, scheme, config, settings)
    return scheme_of(model, config, settings, name)[1]


def with_groups(model, scheme, config, settings):
    """``settings``, with groups for few bits where nobody spoke of them and the model has room."""
    c, width = model.config, scheme.weight_width
    free = config == "auto" and not any(
        s.startswith(("group_size", "head_width")) for s in settings
    )
    room = min(c.dim, c.hidden_dim, c.n_heads * c.head_dim) >= GROUP
    if width > 4 or not free or not room:
        return settings
    return [*settings, f"weight_width={width}", f"group_size={GROUP}", f"head_width={2 * width}"]


def settings_of(scheme):
    """The parameters of a machine that holds the codes of ``scheme``."""
    from celosia.reference.quantization.scheme import Scheme

    settings = {"weight_width": scheme.weight_width, "group_size": scheme.group}
    settings |= {"head_width": scheme.head_width}
    if scheme.ternary:
        settings["weight_format"] = "ternary"
    widths = {name: getattr(scheme, name) for name in WIDTHS}
    return settings | {n: value for n, value in widths.items() if value != getattr(Scheme, n)}


def write(output, command, model, tokenizer, coded, made):
    """Write the folder of the model ``coded`` that a command made of ``model``."""
    from celosia.reference.checkpoint import locate
    from celosia.reference.checkpoint.quantized_folder import write_model
    from celosia.reference.checkpoint.tokenizer_files import tokenizer_files

    files = tokenizer_files(locate(model) or Path(model), tokenizer)
    with new_folder(output, command) as folder:
        write_model(folder, coded, made)
        for name, data in files.items():
            (folder / name).write_bytes(data)


def show(name, output, found, titles):
    """A table of what was measured: the float model, and each of ``titles`` by its key."""
    table = Table(
        title=f"{escape(printable(name, NAME))} in {escape(printable(str(output), NAME))}"
    )
    for column in ("", "perplexity", "loss", "same top-1", "KL (nats)"):
        table.add_column(column, justify="right")
    floating = found["float"]["perplexity"]
    table.add_row("float32", f"{floating:.4f}", "", "", "")
    for key, title in titles.items():
        each = found[key]
        loss, same = f"{each['perplexity'] / floating - 1:+.2%}", f"{each['top1_agreement']:.2%}"
        table.add_row(title, f"{each['perplexity']:.4f}", loss, same, f"{each['kl']:.5f}")
    Console().print(table)
