"""The command ``celosia quantize``: a model in codes, by a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from celosia.folder import check_folder
from celosia.made_codes import (
    bar,
    begun,
    keeper,
    say,
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

MADE_BY = "celosia quantize"
RECIPES = "rtn, smoothquant, awq, gptq, quarot, or a TOML file; by default the best one known."


def register(app, load, scheme_of):
    """Add the command; ``load`` and ``scheme_of`` are how the others load models and widths."""

    @app.command()
    def quantize(
        model: ModelArgument,
        output: OutputOption,
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
        integers = scheme_with_groups(scheme_of, source, config, settings or [], scheme)
        name = recipe or best_recipe(integers.weight_width)
        say(_sentence(scheme, name, integers))
        made, coded = _made(source, integers, steps or load_recipe(name), text, measure)
        made |= {"scheme": scheme, "recipe": {"name": Path(name).stem} | made["recipe"]}
        write(output, MADE_BY, model, tokenizer, coded, made)
        _show(coded.name, output, made)


def _sentence(scheme, recipe, integers):
    groups = "one scale for each row"
    if integers.group:
        offsets = " and an offset" if integers.has_offsets(integers.weight_width) else ""
        groups = f"a scale{offsets} for each {integers.group} columns"
    head = integers.head_width or integers.weight_width
    return f"{scheme} by the recipe {recipe}: {groups}, head and embedding in {head} bits"


def _made(source, scheme, recipe, text, measure):
    """How it was made, for celosia.json, and the model in codes."""
    from celosia.reference.evaluate import NoFormatError, TextError
    from celosia.reference.recipes.apply import apply_recipe
    from celosia.reference.recipes.measure import measured
    from celosia.reference.recipes.recipe import RecipeError
    from celosia.reference.recipes.text import split_windows

    made, data = begun(source, text)
    try:
        words = data.decode("utf-8") if data is not None else None
        with bar("reading the text") as progress:
            calibration, held = split_windows(source, words, recipe, measure, progress)
    except (TextError, RecipeError, ValueError) as error:
        raise RecipeError(f"{text or source.name}: {error}") from None
    fed = [tokens for tokens, _ in calibration]
    made |= {
        "calibrated_tokens": sum(map(len, fed)) if recipe.calibrated else 0,
        "recipe": recipe.as_dict(),
    }
    text = repr((made, scheme, [list(map(int, tokens)) for tokens in fed]))
    keep = keeper("quantize", text + sources_text("recipes", "rewrites", "quantization"))
    with bar("rounding") as progress:
        coded = apply_recipe(source, scheme, recipe, fed, keep, progress)
    coded.settings = settings_of(scheme)
    try:
        with bar("measuring what is lost") as progress:
            others = {"recipe": coded, "nearest": source}
            made["measured"] = measured(source, others, scheme, held, progress)
    except (NoFormatError, OverflowError) as error:
        raise RecipeError(str(error)) from None
    return made, coded


def _show(name, output, made):
    found = made["measured"]
    titles = {"nearest": "rounded to the nearest", "recipe": made["recipe"]["name"]}
    show(name, output, found, titles)
    print(f"{found['tokens']:,} tokens measured, {made['calibrated_tokens']:,} calibrated by")
    if found["recipe"]["kl"] > found["nearest"]["kl"]:
        say("this recipe loses more here than rounding to the nearest (rtn)")
