"""A recipe at work: rewrites of the whole model, then layer by layer factors and codes."""

from dataclasses import replace
from functools import partial

import numpy as np
from celosia.reference.operations import Embed, Linear
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.coded_tensors import pack, unpack
from celosia.reference.recipes.awq import awq_factors
from celosia.reference.recipes.gptq import gptq
from celosia.reference.recipes.grid import clipped
from celosia.reference.recipes.inputs import Windows
from celosia.reference.recipes.recipe import RecipeError, need_torch
from celosia.reference.recipes.smoothquant import smooth_factors
from celosia.reference.rewrites.column_factors import scale_site, sites
from celosia.reference.rewrites.rewrites import REWRITES, transformed
from celosia.reference.rewrites.rotation import rotate_stream, rotate_values

__all__ = ["apply_recipe"]


def apply_recipe(model, scheme, recipe, windows=None, keep=None, progress=None):
    """``model`` in codes for the machines of ``scheme``, by ``recipe``.

    Layers follow each other: each one's inputs are those behind the codes of the layers before it.
    Matrices of experts stay as they are: the machine rounds them to the nearest.

    Parameters
    ----------
    model : Model
    scheme : Scheme
    recipe : Recipe
    windows : list of lists of int, optional
        Tokens to calibrate by; each list is fed from position 0 on. Needed if the recipe is
        ``calibrated``.
    keep : callable(name, make) -> dict of str to array, optional
        Gives what ``make()`` gives, now or at an earlier call with the same model, recipe and
        windows.
    progress : callable(done, total), optional
        Told the number of parts that are done.

    Returns
    -------
    Model
        With ``codes``; its tensors are what they stand for.

    Raises
    ------
    RecipeError
        If the recipe does not fit the model.
    """
    try:
        for rewrite in REWRITES[:-1]:
            model = rewrite(model)
        model = transformed(model, *scheme.transforms)
        keep = keep or (lambda name, make: make())
        if recipe.rotate:
            rotation = _learned(model, scheme, recipe, windows, keep) if recipe.learn else None
            model = rotate_values(rotate_stream(model, recipe.seed, rotation), recipe.seed)
        work = _Work(replace(model, layers=list(model.layers)), scheme, recipe)
        return work.run(windows, keep, progress)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _learned(model, scheme, recipe, windows, keep):
    need_torch("learn")
    from celosia.training.spin import learned_rotation

    given = model, scheme, windows, recipe.learn, recipe.seed
    return keep("rotation", lambda: {"stream": learned_rotation(*given)})["stream"]


class _Work:
    """A model whose parts get their codes one after the other."""

    def __init__(self, model, scheme, recipe):
        self.model, self.scheme, self.recipe = model, scheme, recipe
        self.description = model.description
        self.codes, self.layer = {}, None

    def run(self, windows, keep, progress):
        stream, layers = None, self.description.layers
        if self.recipe.calibrated:
            stream = Windows(self.model, windows)
        tell = progress or (lambda done, total: None)
        for index, operations in enumerate(layers):
            tell(index, len(layers) + 1)
            self.layer, tensors = index, self.model.layers[index]
            make = partial(self._layer, stream, operations)
            self._take(tensors, keep(f"layer{index}", make))
            if stream:
                stream.advance(operations, index)
        self.layer = None
        tell(len(layers), len(layers) + 1)
        self._take(self.model.tensors, keep("end", partial(self._end, stream)))
        return replace(self.model, codes=self.codes)

    def _take(self, tensors, made):
        place = "" if self.layer is None else f"layers.{self.layer}."
        changed, codes = unpack(made, place)
        self.codes |= {(self.layer, name): coded for name, coded in codes.items()}
        tensors = tensors | changed | {name: coded.float32() for name, coded in codes.items()}
        if self.layer is None:
            self.model.tensors = tensors
        else:
            self.model.layers[self.layer] = tensors

    def _layer(self, stream, operations):
        """The tensors of one layer that change, packed."""
        tensors = dict(self.model.layers[self.layer])
        inputs = stream.inputs(operations, self.layer) if stream else {}
        columns = {op.weight: op.input for op in operations if isinstance(op, Linear)}
        changed = self._factors(operations, tensors, inputs, columns)
        codes = {
            name: self._rounded(tensors[name], name, vector, inputs.get(name))
            for name, vector in columns.items()
        }
        return pack({name: changed[name] for name in changed.keys() - codes.keys()}, codes)

    def _factors(self, operations, tensors, inputs, columns):
        """Fold the factors of the layer's sites into ``tensors``; those that changed."""
        changed = {}
        for site in sites(operations, self.description.sizes):
            for kind in ("smooth", "awq"):
                if not getattr(self.recipe, kind):
                    continue
                seen = inputs[site.readers[0]]
                if kind == "smooth":
                    factors = smooth_factors(tensors, site, seen.largest, self.recipe.smooth)
                else:
                    places = self.scheme.places(self.description, columns[site.readers[0]])
                    rest = self.scheme.weight_width, self.scheme, places
                    factors = awq_factors(tensors, site, seen.hessian, seen.mean, *rest)
                changed |= scale_site(tensors, site, factors)
                tensors |= changed
                wide = np.repeat(factors[:, None], site.heads[1], axis=1).reshape(-1)
                inputs |= dict.fromkeys(site.readers, seen.divided(wide))
        return changed

    def _end(self, stream):
        """Embedding and head, packed. One table for both is rounded to the nearest."""
        tables = {op.table for op in self.description.begin if isinstance(op, Embed)}
        tables |= {op.positions for op in self.description.begin if isinstance(op, Embed)} - {None}
        heads = {op.weight: op for op in self.description.end if isinstance(op, Linear)}
        inputs = stream.inputs(self.description.end, None) if stream else {}
        codes = {}
        for name in sorted(tables | heads.keys()):
            own = inputs.get(name) if name not in tables else None
            vector = heads[name].input if name in heads else "x"
            codes[name] = self._rounded(self.model.tensors[name], name, vector, own)
        return pack({}, codes)

    def _rounded(self, weight, name, vector, inputs):
        """The codes of one matrix."""
        scheme, recipe = self.scheme, self.recipe
        width = scheme.weight_width
        if self.layer is None:
            width = scheme.head_width or width
        columns = scheme.places(self.description, vector)
        place = name if self.layer is None else f"layers.{self.layer}.{name}"
        if scheme.group and columns[1] < scheme.group:
            raise RecipeError(
                f"{place}: its {columns[1]} columns have no group of {scheme.group} (group_size)"
            )
        if inputs is None or (self.layer is None and width == 8):
            return Coded.of(weight, width, scheme, columns, place)
        if recipe.clip:
            coded = clipped(weight, inputs.hessian, width, scheme, columns, place)
        else:
            coded = Coded.of(weight, width, scheme, columns, place)
        if recipe.rounding == "nearest":
            return coded
        by_activation = recipe.order == "activation"
        return gptq(weight, inputs.hessian, coded, width, recipe.damping, by_activation)
