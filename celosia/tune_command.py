"""The command ``celosia tune``: a model whose rounded weights were trained by its own logits."""

from pathlib import Path
from typing import Annotated

import typer

from celosia.folder import check_new_folder
from celosia.made_codes import (
    bar,
    begun,
    keeper,
    scheme_with_groups,
    settings_of,
    show,
    sources_text,
    write,
)
from celosia.options import (
    ConfigOption,
    LayersOption,
    ModelArgument,
    OutputOption,
    SetOption,
    TokenizerOption,
)

__all__ = ["register"]

MADE_BY = "celosia tune"
TERNARY = "ternary"
OWN = 1 << 18  # tokens that the model writes itself, where nobody says how many
WINDOW = 512  # positions, or the model's fewer


def register(app, load, scheme_of):
    """Add the command; ``load`` and ``scheme_of`` are how the others load models and widths."""

    @app.command()
    def tune(
        model: ModelArgument,
        output: OutputOption,
        tokenizer: TokenizerOption = None,
        scheme: Annotated[
            str, typer.Option(metavar="NAME", help="The widths: w2a8kv8 to w8a8kv8, or ternary.")
        ] = "w4a8kv8",
        text: Annotated[
            Path | None, typer.Option(metavar="FILE", help="To train on, and to measure on.")
        ] = None,
        own: Annotated[
            int | None,
            typer.Option("--self", min=1, metavar="N", help="Tokens that the model writes itself."),
        ] = None,
        steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of training.")] = 1000,
        batch: Annotated[int, typer.Option(min=1, metavar="N", help="Windows in a step.")] = 8,
        rate: Annotated[
            float | None,
            typer.Option(metavar="R", help="Of learning; else 0.003 if ternary, or 0.0005."),
        ] = None,
        measure: Annotated[
            int, typer.Option(min=1, metavar="N", help="Tokens of the text's end to measure on.")
        ] = 1024,
        seed: Annotated[int, typer.Option(min=0, max=1 << 30, metavar="S")] = 0,
        layers: LayersOption = None,
        config: ConfigOption = "auto",
        settings: SetOption = None,
    ):
        """Train a model's weights in their rounded form, by the float model's own distributions.

        They are trained on a text, or on what the model writes itself. DIR serves every command as
        MODEL. A call that was interrupted goes on where it was. Needs PyTorch: the extra "train".
        """
        from celosia.reference.recipes.recipe import RecipeError, need_torch

        check_new_folder(output, MADE_BY)
        need_torch("tune")
        source = load(model, tokenizer, layers)
        if source.codes:
            raise RecipeError(f"{model}: its weights are in codes already")
        if rate is not None and not 0 < rate < 1:
            raise RecipeError(f"--rate must be more than 0 and less than 1, not {rate:g}")
        name, settings = _settings(source, scheme, settings or [])
        integers = scheme_with_groups(scheme_of, source, config, settings, name)
        rate = rate or (3e-3 if scheme == TERNARY else 5e-4)
        plan = {"steps": steps, "batch": batch, "rate": rate, "seed": seed}
        made, coded = _made(source, integers, scheme == TERNARY, text, own, measure, plan)
        made |= {"scheme": scheme, "recipe": {"name": "tune"} | made["recipe"]}
        write(output, MADE_BY, model, tokenizer, coded, made)
        titles = {"nearest": "rounded, not trained", "tuned": "trained"}
        show(coded.name, output, made["measured"], titles)


def _settings(model, scheme, settings):
    """The name of the widths, and what comes before ``settings``.

    Without attention, ternary weights need no multipliers.
    """
    from celosia.reference.operations import Attention

    if scheme != TERNARY:
        return scheme, settings
    if model.description.find(Attention):
        return "w2a8kv8", settings
    return "w2a8kv8", ["weight_width=2", "head_width=0", "weight_format=ternary", *settings]


def _made(source, scheme, ternary, text, own, measure, plan):
    """How it was made, for celosia.json, and the model in codes."""
    from celosia.reference.evaluate import NoFormatError, TextError
    from celosia.reference.recipes.measure import measured
    from celosia.reference.recipes.recipe import RecipeError
    from celosia.training.distill import Training
    from celosia.training.kept import kept
    from celosia.training.tune import Tuning

    made, data = begun(source, text)
    own = OWN if own is None and text is None else own
    made["recipe"] = {"ternary": ternary, "own_tokens": own or 0, **plan}
    sources = sources_text("rewrites", "quantization")
    key = repr((made, scheme, measure)) + sources
    written = repr((made["source_sha256"], scheme.ternary, own, plan["seed"])) + sources
    try:
        words = data.decode("utf-8") if data is not None else None
        tuning = Tuning.of(source, scheme, ternary, min(WINDOW, source.config.seq_len))
        with bar("reading the text") as progress:
            texts = tuning.texts(words, own, plan["seed"], keeper("tune", written), progress)
        with kept(key) as keep, bar("training") as progress:
            rest = Training(**plan), keep, progress
            coded, untrained, held = tuning.train(texts, measure, *rest)
        coded.settings = settings_of(scheme)
        others = {"tuned": coded, "nearest": untrained}
        with bar("measuring what is lost") as progress:
            made["measured"] = measured(source, others, scheme, held, progress)
    except (TextError, NoFormatError, OverflowError, ValueError) as error:
        raise RecipeError(f"{text or source.name}: {error}") from None
    return made, coded
