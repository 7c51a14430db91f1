"""The command ``celosia quantize``: a model in codes, by a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from celosia.folder import check_new_folder
from celosia.made_codes import bar, begun, say, scheme_with_groups, show, write
from celosia.options import (
    ConfigOption,
    LayersOption,
    ModelArgument,
    OutputOption,
    SetOption,
    TokenizerOption,
)
from celosia.rounded import MEASURED, round_model, sentence, texts_for

__all__ = ["register"]

MADE_BY = "celosia quantize"
RECIPES = (
    "rtn, smoothquant, awq, gptq, quarot, spinquant, or a TOML file; by default the best one known."
)


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
        ] = MEASURED,
        layers: LayersOption = None,
        config: ConfigOption = "auto",
        settings: SetOption = None,
    ):
        """Round a model's weights by a recipe, and write them as a checkpoint of ours.

        DIR serves every command as MODEL. What the codes lose is measured with the integer model,
        and compared with rounding to the nearest. A call that was interrupted goes on where it was.
        """
        from celosia.reference.evaluate import NoFormatError
        from celosia.reference.recipes.measure import measured
        from celosia.reference.recipes.recipe import (
            RecipeError,
            best_recipe,
            load_recipe,
            need_torch,
        )

        check_new_folder(output, MADE_BY)
        steps = load_recipe(recipe) if recipe else None
        if steps and steps.learn:
            need_torch(recipe)
        source = load(model, tokenizer, layers)
        if source.codes:
            raise RecipeError(f"{model}: its weights are in codes already")
        integers = scheme_with_groups(scheme_of, source, config, settings or [], scheme)
        name = recipe or best_recipe(integers.weight_width)
        say(sentence(scheme, name, integers))
        steps = steps or load_recipe(name)
        made, data = begun(source, text)
        fed, held = texts_for(source, data, steps, measure, text or source.name)
        coded, told = round_model(source, integers, steps, made, fed)
        try:
            with bar("measuring what is lost") as progress:
                others = {"recipe": coded, "nearest": source}
                made |= told | {"measured": measured(source, others, integers, held, progress)}
        except (NoFormatError, OverflowError) as error:
            raise RecipeError(str(error)) from None
        made |= {"scheme": scheme, "recipe": {"name": Path(name).stem} | made["recipe"]}
        write(output, MADE_BY, model, tokenizer, coded, made)
        _show(coded.name, output, made)


def _show(name, output, made):
    found = made["measured"]
    titles = {"nearest": "rounded to the nearest", "recipe": made["recipe"]["name"]}
    show(name, output, found, titles)
    print(f"{found['tokens']:,} tokens measured, {made['calibrated_tokens']:,} calibrated by")
    if found["recipe"]["kl"] > found["nearest"]["kl"]:
        say("this recipe loses more here than rounding to the nearest (rtn)")
