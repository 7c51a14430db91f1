"""The command ``celosia quantize``: a model in codes, by a recipe."""

import contextlib
import hashlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from celosia import __version__
from celosia.folder import check_folder, new_folder
from celosia.options import ConfigOption, LayersOption, ModelArgument, SetOption, TokenizerOption
from celosia.printable import NAME, printable

__all__ = ["register"]

MADE_BY = "celosia quantize"
TEXT_LIMIT = 64 << 20  # bytes
#: Kept where they are not usual.
WIDTHS = (
    *("activation_width", "key_width", "value_width", "value_steps", "key_mean"),
    *("rotate_down", "rotate_keys"),
)
GROUPS = ("group_size=32", "head_width=8")  # of 4 bits or fewer, where nothing else is asked for
RECIPES = "rtn, smoothquant, awq, gptq, quarot, or a TOML file; by default the best one known."


def register(app, load, scheme_of):
    """Add the command; ``load`` and ``scheme_of`` are how the others load models and widths."""

    @app.command()
    def quantize(
        model: ModelArgument,
        output: Annotated[
            Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to make.")
        ],
        tokenizer: TokenizerOption = None,
        scheme: Annotated[
            str, typer.Option(metavar="NAME", help="The widths: w2a4kv4 to w8a8kv8.")
        ] = "w4a8kv8",
        recipe: Annotated[str | None, typer.Option(metavar="NAME|FILE.toml", help=RECIPES)] = None,
        text: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="To calibrate by; else the model writes one."),
        ] = None,
        measure: Annotated[
            int, typer.Option(min=1, metavar="N", help="Tokens of the text's end to measure on.")
        ] = 1024,
        layers: LayersOption = None,
        config: ConfigOption = "auto",
        settings: SetOption = None,
    ):
        """Round a model's weights by a recipe, and write them as a checkpoint of ours.

        DIR serves every command as MODEL. What the codes lose is measured with the integer model,
        and compared with rounding to the nearest. A call that was interrupted goes on where it was.
        """
        from celosia.reference.recipes.recipe import RecipeError, best_recipe, load_recipe

        check_folder(output, MADE_BY)
        steps = load_recipe(recipe) if recipe else None
        source = load(model, tokenizer, layers)
        if source.codes:
            raise RecipeError(f"{model}: its weights are in codes already")
        _, integers = scheme_of(source, config, settings or [], scheme)
        settings = _with_groups(source, integers, config, settings or [])
        _, integers = scheme_of(source, config, settings, scheme)
        name = recipe or best_recipe(integers.weight_width)
        print(f"celosia: {_sentence(scheme, name, integers)}", file=sys.stderr, flush=True)
        made, coded = _made(source, integers, steps or load_recipe(name), text, measure)
        made |= {"scheme": scheme, "recipe": {"name": Path(name).stem} | made["recipe"]}
        _write(output, model, tokenizer, coded, made)
        _show(coded.name, output, made)


def _with_groups(model, scheme, config, settings):
    """``settings``, with groups for few bits where nobody spoke of them and the model has room."""
    c = model.config
    free = config == "auto" and not any(
        s.startswith(("group_size", "head_width")) for s in settings
    )
    room = min(c.dim, c.hidden_dim, c.n_heads * c.head_dim) >= 32
    return [*settings, *GROUPS] if scheme.weight_width <= 4 and free and room else settings


def _sentence(scheme, recipe, integers):
    groups = "one scale for each row"
    if integers.group:
        offsets = " and an offset" if integers.has_offsets(integers.weight_width) else ""
        groups = f"a scale{offsets} for each {integers.group} columns"
    head = integers.head_width or integers.weight_width
    return f"{scheme} by the recipe {recipe}: {groups}, head and embedding in {head} bits"


def _made(source, scheme, recipe, text, measure):
    """How it was made, for celosia.json, and the model in codes."""
    from celosia.reference.checkpoint.files import read_file
    from celosia.reference.evaluate import NoFormatError, TextError
    from celosia.reference.quantization.scheme import Scheme
    from celosia.reference.recipes.apply import apply_recipe
    from celosia.reference.recipes.measure import measured
    from celosia.reference.recipes.recipe import RecipeError
    from celosia.reference.recipes.text import split_windows

    data = read_file(text, TEXT_LIMIT) if text else None
    try:
        words = data.decode("utf-8") if data is not None else None
        with _bar("reading the text") as progress:
            calibration, held = split_windows(source, words, recipe, measure, progress)
    except (TextError, RecipeError, ValueError) as error:
        raise RecipeError(f"{text or source.name}: {error}") from None
    fed = [tokens for tokens, _ in calibration]
    made = {
        "name": source.name,
        "version": __version__,
        "source_sha256": _digest(source),
        "text_sha256": hashlib.sha256(data).hexdigest() if data is not None else None,
        "calibrated_tokens": sum(map(len, fed)) if recipe.calibrated else 0,
        "recipe": recipe.as_dict(),
    }
    keep = _keeper(repr((made, scheme, [list(map(int, tokens)) for tokens in fed])))
    with _bar("rounding") as progress:
        coded = apply_recipe(source, scheme, recipe, fed, keep, progress)
    coded.settings = {"weight_width": scheme.weight_width, "group_size": scheme.group}
    coded.settings |= {"head_width": scheme.head_width}
    widths = {name: getattr(scheme, name) for name in WIDTHS}
    coded.settings |= {n: value for n, value in widths.items() if value != getattr(Scheme, n)}
    try:
        with _bar("measuring what is lost") as progress:
            made["measured"] = measured(source, coded, scheme, held, progress)
    except (NoFormatError, OverflowError) as error:
        raise RecipeError(str(error)) from None
    return made, coded


def _digest(model):
    """The SHA-256 of a model's operations and tensors."""
    found = hashlib.sha256(repr(model.description).encode())
    for tensors in (model.tensors, *model.layers):
        for name in sorted(tensors):
            found.update(name.encode())
            found.update(memoryview(tensors[name].ravel().view("u1")))
    return found.hexdigest()


def _keeper(text):
    """A function that keeps arrays in the cache: of this call, and of these versions of recipes."""
    import safetensors.numpy

    from celosia.sim.cache import cached

    sources = Path(__file__).parents[1] / "reference"
    for folder in ("recipes", "rewrites", "quantization"):
        for path in sorted((sources / folder).glob("*.py")):
            text += path.read_text(encoding="utf-8")

    def keep(name, make):
        key = hashlib.sha256(f"{name}:{text}".encode()).hexdigest()[:32]
        file = "part.safetensors"
        place = cached(
            f"quantize-{key}",
            lambda folder: (folder / file).write_bytes(safetensors.numpy.save(make())),
        )
        return safetensors.numpy.load_file(place / file)

    return keep


@contextlib.contextmanager
def _bar(text):
    """A bar of progress: a context that gives a function of what is done, and of all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"celosia: {text}", file=sys.stderr, flush=True)
        yield lambda done, total: None
        return
    columns = TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _write(output, model, tokenizer, coded, made):
    from celosia.reference.checkpoint import locate
    from celosia.reference.checkpoint.quantized_folder import write_model
    from celosia.reference.checkpoint.tokenizer_files import tokenizer_files

    files = tokenizer_files(locate(model) or Path(model), tokenizer)
    with new_folder(output, MADE_BY) as folder:
        write_model(folder, coded, made)
        for name, data in files.items():
            (folder / name).write_bytes(data)


def _show(name, output, made):
    found = made["measured"]
    table = Table(
        title=f"{escape(printable(name, NAME))} in {escape(printable(str(output), NAME))}"
    )
    for column in ("", "perplexity", "loss", "same top-1", "KL (nats)"):
        table.add_column(column, justify="right")
    floating = found["float"]["perplexity"]
    table.add_row("float32", f"{floating:.4f}", "", "", "")
    for row in ("nearest", "recipe"):
        each = found[row]
        loss, same = f"{each['perplexity'] / floating - 1:+.2%}", f"{each['top1_agreement']:.2%}"
        title = made["recipe"]["name"] if row == "recipe" else "rounded to the nearest"
        table.add_row(title, f"{each['perplexity']:.4f}", loss, same, f"{each['kl']:.5f}")
    Console().print(table)
    print(f"{found['tokens']:,} tokens measured, {made['calibrated_tokens']:,} calibrated by")
    if found["recipe"]["kl"] > found["nearest"]["kl"]:
        text = "this recipe loses more here than rounding to the nearest (rtn)"
        print(f"celosia: {text}", file=sys.stderr, flush=True)
