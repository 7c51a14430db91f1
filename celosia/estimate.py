"""The command ``celosia estimate``: what a machine will do and take, before it is built."""

from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from celosia.options import (
    ConfigOption,
    HtmlOption,
    JsonOption,
    LayersOption,
    ModelArgument,
    SetOption,
    TokenizerOption,
)
from celosia.output import check_apart, new_json, new_text
from celosia.printable import NAME, printable

__all__ = ["BoardOption", "choose", "estimate"]

BoardOption = Annotated[
    str | None, typer.Option("--board", metavar="B", help="Whose clock and chip (celosia boards).")
]


def estimate(
    model: ModelArgument,
    tokenizer: TokenizerOption = None,
    layers: LayersOption = None,
    config: ConfigOption = "auto",
    settings: SetOption = None,
    board: BoardOption = None,
    prompt_length: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tokens of the prompt.")
    ] = 1,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="How many to generate.")] = 64,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", help="By default the board's, or 100.")
    ] = None,
    latency: Annotated[
        int | None,
        typer.Option(min=1, metavar="CYCLES", help="Of AXI memory, to a burst's first transfer."),
    ] = None,
    html: HtmlOption = None,
    json_file: JsonOption = None,
):
    """Predict a machine's cycles, and what it takes of a chip, without a simulation.

    Each figure comes with the largest error known of such predictions.
    """
    from celosia.boards.catalog import find_board
    from celosia.generators.config import ConfigError
    from celosia.generators.estimate.report import estimate_report
    from celosia.page.predicted import estimate_page

    if clock is not None and not clock > 0:
        raise ConfigError(f"--clock must be more than 0, not {clock:g}")
    chosen = board and find_board(board)
    loaded, parameters = choose(model, tokenizer, layers, config, settings or [], chosen)
    if latency is not None and "axi" not in (parameters.memory, parameters.kv_memory):
        raise ConfigError("--latency is that of AXI memory: neither memory nor kv_memory is axi")
    check_apart([json_file, html], [model, tokenizer, config])
    memory = {} if latency is None else {"latency": latency}
    with new_json(json_file) as write_json, new_text(html) as write_page:
        report = estimate_report(
            *(loaded, parameters, prompt_length, tokens, chosen),
            *(clock, memory),
        )
        rows = _rows(report)
        write_json({"model": loaded.name, **report})
        write_page(estimate_page(loaded.name, report, rows))
    table = Table("", title=printable(f"{loaded.name} on {report['config']['name']}", NAME))
    for column in ("predicted", "error known"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def choose(model, tokenizer, layers, config, settings, board=None, says=True):
    """The model, of its first ``layers`` if that is not None, and the configuration for it.

    With a ``board`` it is by default the largest that fits.
    """
    from celosia.boards.estimate import board_config
    from celosia.generators.automatic import choose_config
    from celosia.generators.config import ConfigError
    from celosia.reference.checkpoint import load

    loaded = load(model, tokenizer)
    if layers is not None:
        try:
            loaded = loaded.shortened(layers)
        except ValueError as error:
            raise ConfigError(f"--{error}") from None
    if board:
        return loaded, board_config(loaded, board, config, settings)
    parameters, why = choose_config(loaded, config, settings)
    if why and says:
        typer.echo(f"celosia: {why}", err=True)
    return loaded, parameters


def _rows(report):
    """Of each figure what it is, what is predicted, and the error known."""
    errors, total = report["errors"], sum(report["cycles"])
    share = f"{errors['cycles']:.0%}"
    causes = sorted(report["overhead"].items(), key=lambda item: -item[1])
    rows = [
        ("cycles of the last token", f"{report['cycles'][-1]:,}", share),
        ("  ideal", f"{report['ideal_cycles'][-1]:,.0f}", ""),
        ("prompt, cycles", f"{report['prefill_cycles']:,}", share),
        ("utilisation", f"{report['utilisation']:.1%}", share),
        *((f"  {name}", f"{n:,.0f} ({n / total:.1%})", "") for name, n in causes if round(n)),
        (
            f"tokens per second at {report['clock_mhz']:g} MHz",
            f"{report['tokens_per_second']:,.1f}",
            share,
        ),
        ("bytes of weights per token", f"{report['bytes_per_token']:,.0f}", "exact"),
        ("weights per byte of bandwidth (W/B)", f"{report['weights_per_byte']:.3f}", share),
        ("µJ of a token's operations in 45 nm", f"{report['energy']:,.3f}", errors["energy"]),
    ]
    if "board" in report:
        names = [name for name in ("lut", "ff", "dsp", "bram") if report[name] is not None]
        rows += [(name, f"{report[name]:,}", errors[name]) for name in names]
        missing = [f"{n} {a:,} of {b:,}" for n, (a, b) in report["missing"].items()]
        fits = f"no: {', '.join(missing)}" if missing else "yes"
        rows.append(("MHz, as routed machines of the family", *_clock(report["routed_mhz"])))
        rows.append((f"fits {report['board']}", fits, ""))
    return rows


def _clock(reached):
    """The clock to expect, and its spread over the machines that were routed."""
    if not reached:
        return "unknown", "none routed"
    if len(reached) == 1:
        return f"{reached[0]:g}", "1 routed"
    return f"{median(reached):g}", f"{min(reached):g} to {max(reached):g}, of {len(reached)}"
