"""Models rounded by a recipe: what ``quantize`` and ``simulate --scheme`` share."""

from celosia.made_codes import (
    bar,
    begun,
    keeper,
    say,
    scheme_with_groups,
    settings_of,
    sources_text,
)

__all__ = ["MEASURED", "round_model", "rounded", "sentence", "texts_for"]

MEASURED = 1024  # tokens of a text that are kept from a recipe


def sentence(scheme, recipe, integers):
    """What is done, for the user: the widths ``scheme``, the recipe's name, the Scheme."""
    groups = "one scale for each row"
    if integers.group:
        offsets = " and an offset" if integers.has_offsets(integers.weight_width) else ""
        groups = f"a scale{offsets} for each {integers.group} columns"
    head = integers.head_width or integers.weight_width
    return f"{scheme} by the recipe {recipe}: {groups}, head and embedding in {head} bits"


def texts_for(source, data, recipe, measure, name):
    """The windows of tokens to calibrate by, and the pairs of windows to measure on.

    Parameters
    ----------
    source : celosia.reference.model.Model
    data : bytes, or None for a text that the model writes
    recipe : celosia.reference.recipes.recipe.Recipe
    measure : int
        Tokens.
    name : object
        The text's, for errors.

    Raises
    ------
    celosia.reference.recipes.recipe.RecipeError
        If the text is too short, is no UTF-8 or has tokens other than the model's.
    """
    from celosia.reference.evaluate import TextError
    from celosia.reference.recipes.recipe import RecipeError
    from celosia.reference.recipes.text import split_windows

    try:
        words = data.decode("utf-8") if data is not None else None
        with bar("reading the text") as progress:
            calibration, held = split_windows(source, words, recipe, measure, progress)
    except (TextError, RecipeError, ValueError) as error:
        raise RecipeError(f"{name}: {error}") from None
    return [tokens for tokens, _ in calibration], held


def round_model(source, scheme, recipe, made, fed):
    """The model in codes, with its machine's settings, and what celosia.json says of the recipe.

    Layer by layer it is kept in the cache, for a call that is interrupted and for the next one.
    """
    from celosia.reference.recipes.apply import apply_recipe

    told = {
        "calibrated_tokens": sum(map(len, fed)) if recipe.calibrated else 0,
        "recipe": recipe.as_dict(),
    }
    text = repr((made | told, scheme, [list(map(int, tokens)) for tokens in fed]))
    keep = keeper("quantize", text + sources_text("recipes", "rewrites", "quantization"))
    with bar("rounding") as progress:
        coded = apply_recipe(source, scheme, recipe, fed, keep, progress)
    coded.settings = settings_of(scheme)
    return coded, told


def rounded(source, name, scheme_of, config, settings):
    """``source`` in the codes of the scheme ``name``, by the best recipe known for its widths.

    Weights of 8 bits, and those that are in codes already, stay as they are.
    """
    from celosia.reference.recipes.recipe import best_recipe, load_recipe

    integers = scheme_with_groups(scheme_of, source, config, settings, name)
    recipe = best_recipe(integers.weight_width)
    if source.codes or recipe == "rtn":
        return source
    say(sentence(name, recipe, integers))
    steps = load_recipe(recipe)
    made, _ = begun(source, None)
    fed, _ = texts_for(source, None, steps, MEASURED, source.name)
    return round_model(source, integers, steps, made, fed)[0]
