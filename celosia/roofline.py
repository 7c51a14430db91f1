"""The command ``celosia roofline``: what bounds each operation, on a machine or on a device."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from celosia.estimate import BoardOption, choose
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

__all__ = ["roofline"]

CLOCK = 100.0  # MHz
PROMPT = 64  # tokens
ON_DEVICES = ("weight_width", "group_size", "head_width", "vector_lanes")


def roofline(
    model: ModelArgument,
    tokenizer: TokenizerOption = None,
    layers: LayersOption = None,
    config: ConfigOption = "auto",
    settings: SetOption = None,
    board: BoardOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Instead of a machine: a100, jetson_orin, u280, v80, or TOML."
        ),
    ] = None,
    prompt_length: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Tokens of the prompt: 64, or as many as fit."),
    ] = None,
    html: HtmlOption = None,
    json_file: JsonOption = None,
):
    """Show what bounds each operation of a model: multipliers or memory, and by how much.

    Once for the prompt, once for the token behind it. With --device the configuration says nothing
    but the width of the weights.
    """
    from celosia.boards.catalog import find_board
    from celosia.generators.config import ConfigError
    from celosia.generators.estimate.roofline import roofline as work_out
    from celosia.page.predicted import roofline_page

    if device is not None:
        _check_device_options(config, settings or [], board)
    chosen = board and find_board(board)
    loaded, parameters = choose(
        model, tokenizer, layers, config, settings or [], chosen, device is None
    )
    length = parameters.max_seq_len or loaded.config.seq_len
    prompt_length = prompt_length or min(PROMPT, length - 1)
    if prompt_length not in range(1, length):
        raise ConfigError(
            f"--prompt-length must be less than the {length} positions that there are, "
            f"not {prompt_length}: decoding is that of the token behind the prompt"
        )
    check_apart([json_file, html], [model, tokenizer, config, device])
    with new_json(json_file) as write_json, new_text(html) as write_page:
        description, formats, peaks, predicted = _subject(
            loaded.config, parameters, chosen, device, prompt_length
        )
        report = work_out(description, formats, peaks, prompt_length, predicted)
        write_json({"model": loaded.name, **report})
        write_page(roofline_page(loaded.name, report))
    for phase in ("prefill", "decode"):
        _show(f"{loaded.name} on {peaks.name}: {phase}", report["phases"][phase])
    _show_summary(report)


def _check_device_options(config, settings, board):
    """Raise ConfigError for what would say nothing of a device."""
    from celosia.generators.config import ConfigError

    if board is not None:
        raise ConfigError("--device and --board exclude each other")
    if config != "auto":
        raise ConfigError("--config has no effect with --device, but --set weight_width=N has")
    for setting in settings:
        name = setting.partition("=")[0]
        if name not in ON_DEVICES:
            known = ", ".join(ON_DEVICES)
            raise ConfigError(f"--set {name} has no effect with --device; those that have: {known}")


def _subject(model, config, board, device, prompt_length):
    """The description, the formats, the peaks, and what the cycle model predicts, if it does."""
    from celosia.generators.config import ConfigError
    from celosia.generators.estimate.device import load_device
    from celosia.generators.estimate.outline import machine_description
    from celosia.generators.estimate.roofline import (
        device_peaks,
        formats_of,
        machine_peaks,
        predicted_seconds,
    )
    from celosia.generators.estimate.sketch import make_sketch

    formats = formats_of(config)
    if device is not None:
        return machine_description(model), formats, device_peaks(load_device(device)), None
    if config.machine != "full":
        raise ConfigError(f"machine must be full, not {config.machine}: there is no model of it")
    frequency = CLOCK * 1e6
    if board is not None:
        frequency = board.clock(board.default_clock)
    sketch = make_sketch(model, config)
    predicted = predicted_seconds(sketch, prompt_length, frequency)
    return sketch.description, formats, machine_peaks(sketch, frequency), predicted


def _show(title, phase):
    table = Table(title=printable(title, NAME))
    for column in ("operation", "MACs", "bytes", "MACs/byte", "products", "memory", "predicted"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for row in phase["operations"]:
        times = [f"{row[f'{name}_seconds'] * 1e6:,.2f}" for name in ("compute", "memory")]
        binds = ("compute", "memory").index(row["binds"])
        times[binds] = f"[bold]{times[binds]}[/bold]"
        predicted = row.get("predicted_seconds")
        table.add_row(
            printable(row["name"], NAME),
            f"{row['macs']:,}",
            f"{sum(row['bytes'].values()):,.0f}",
            f"{row['intensity']:.2f}",
            *times,
            "" if predicted is None else f"{predicted * 1e6:,.2f}",
        )
    total = phase["total"]
    table.add_section()
    predicted = total.get("predicted_seconds")
    table.add_row(
        *("all", f"{total['macs']:,}", f"{sum(total['bytes'].values()):,.0f}", ""),
        *("", f"{total['seconds'] * 1e6:,.2f}"),
        "" if predicted is None else f"{predicted * 1e6:,.2f}",
    )
    table.caption = "times in microseconds; what binds is bold"
    Console().print(table)


def _show_summary(report):
    ratios = report["ratios"]
    print(f"tokens per second, at most: {report['tokens_per_second']:,.1f}")
    print(f"weights per byte of bandwidth (W/B): {report['weights_per_byte']:.3f}")
    print(f"1 GB/s more gives {report['more_bandwidth']:,.1f} tokens/s")
    least = ratios["least_rho"]
    print(
        f"attention ratio {ratios['alpha']:.2f}, FFN ratio {ratios['r']:.2f}, "
        f"activation rate {ratios['rho']:.3f} (rho*: {'none' if least is None else f'{least:.3f}'})"
    )
