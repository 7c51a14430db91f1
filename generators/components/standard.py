"""The standard set of the component library: every unit, at parameters of a small machine."""

import numpy as np
from celosia.reference.units.rope import rope_increments
from celosia.rtl.activation.gate import Gate
from celosia.rtl.activation.soft_cap import SoftCap
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.attention.rope import Rope
from celosia.rtl.attention.rope_halves import RopeHalves
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.attention.softmax_sum import SoftmaxSum
from celosia.rtl.functions.function_table import Function
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.rtl.kv_cache.kv_paged import KvPaged
from celosia.rtl.kv_cache.on_chip_cache import KeyCache, ValueCache
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.mac.bias import Bias
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.mac.output_stationary import OutputStationary
from celosia.rtl.mac.scale import Scale
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.rtl.memory.ternary_words import TernaryWords
from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.rtl.norm.residual import Residual
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.rtl.norm.stream_norm import StreamNorm
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.rtl.norm.weigh import Weigh
from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.rtl.quantize.dequantizer import Dequantizer
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.quantize.quantizer import StaticQuantizer
from celosia.rtl.recurrent.recurrent import Recurrent
from celosia.rtl.stream.reshape import Transposer, WidthConverter
from celosia.rtl.token.embedding import Embedding
from celosia.rtl.token.sampler import Sampler
from celosia.rtl.token.top_k import TopK

__all__ = ["STANDARD", "build"]


def _rms_norm(lanes, words, width, epsilon, norms, tokens):
    gains = np.random.default_rng(0).integers(-1 << 15, 1 << 15, (norms, words * lanes))
    return RmsNorm(lanes, words, width, epsilon, gains.tolist(), tokens)


def _stream_norm(lanes, words, epsilon, norms, o_width, tokens):
    gains = np.random.default_rng(0).integers(-1 << 15, 1 << 15, (norms, words * lanes))
    return StreamNorm(lanes, words, epsilon, gains.tolist(), [0] * norms, o_width, tokens)


def _weigh(lanes, words, width, norms, tokens):
    weights = np.random.default_rng(0).integers(0, 1 << 15, (norms, words * lanes))
    return Weigh(lanes, words, width, weights.tolist(), tokens)


def _recurrent(lanes, words, layers, **settings):
    most = np.random.default_rng(0).integers(0, (1 << 16) + 1, (layers, words * lanes))
    return Recurrent(lanes, words, most.tolist(), **settings)


def _layer_norm(lanes, words, width, epsilon, tokens):
    gains, biases = np.random.default_rng(0).integers(-1 << 15, 1 << 15, (2, words * lanes))
    return LayerNorm(lanes, words, width, epsilon, gains, biases, tokens=tokens)


def _mac_fabric(activation_width, weight_width, ternary, packing, **settings):
    form = MacFormat(activation_width, weight_width, ternary, packing)
    return MacFabric(form=form, **settings)


def _systolic(component):
    def make(rows, cols, activation_width, weight_width):
        form = MacFormat(activation_width, weight_width)
        return component(rows, cols, form)

    return make


def _cache(component):
    def make(rows, lanes, n_layers, n_kv_heads, head_words, max_seq_len):
        slots = (max_seq_len,) * n_layers
        return component(CachePlaces(rows, lanes, slots, n_kv_heads, head_words))

    return make


def _rope(lanes, head_words, base, tokens):
    increments = rope_increments(head_words * lanes, base)
    return Rope(lanes, head_words, [increments.tolist()], tokens)


def _rope_halves(lanes, head_words, base):
    return RopeHalves(lanes, head_words, rope_increments(head_words * lanes, base).tolist())


def _embedding(lanes, vocab_size, dim, width):
    chooser, half = np.random.default_rng(0), 1 << (width - 1)
    rows = chooser.integers(-half, half, (vocab_size, dim))
    return Embedding(lanes, rows, chooser.integers(0, 1 << 16, vocab_size), width)


def _static_quantizer(lanes, channels, shift, x_width, width, group_size):
    multipliers = np.random.default_rng(0).integers(0, 1 << 16, channels // group_size)
    return StaticQuantizer(lanes, multipliers.tolist(), shift, x_width, width, group_size)


# name: what makes it, and its standard parameters. Vector units are as wide as those of the machine
# that fits a ULX3S, 4 lanes; arrays have 8 x 8 multipliers.
STANDARD = {
    "bias": (Bias, {"lanes": 4, "tokens": 1}),
    "block_quantize": (BlockQuantize, {"lanes": 4, "width": 23, "tokens": 1}),
    "dequantizer": (
        Dequantizer,
        {"lanes": 4, "acc_width": 32, "sum_width": 16, "groups": 64, "width": 24},
    ),
    "dynamic_quantizer": (
        DynamicQuantizer,
        {"lanes": 4, "words": 128, "x_width": 16, "width": 8, "symmetric": True},
    ),
    "embedding": (_embedding, {"lanes": 4, "vocab_size": 512, "dim": 64, "width": 8}),
    "gate": (
        Gate,
        {"lanes": 4, "tokens": 1, "fraction": 12, "activation": "silu", "gated": True},
    ),
    "gelu": (Function, {"table": "gelu", "lanes": 4, "tokens": 1, "multiplier_blocks": False}),
    "hadamard": (Hadamard, {"n": 64, "lanes": 4, "width": 16, "o_width": 16, "tokens": 1}),
    "head_quantize": (HeadQuantize, {"lanes": 4, "head_words": 16, "tokens": 1}),
    "key_cache": (
        _cache(KeyCache),
        {
            "rows": 8,
            "lanes": 8,
            "n_layers": 4,
            "n_kv_heads": 4,
            "head_words": 1,
            "max_seq_len": 256,
        },
    ),
    "kv_paged": (
        KvPaged,
        {"n_blocks": 512, "block_size": 16, "n_sequences": 4, "max_blocks": 128},
    ),
    "layer_norm": (
        _layer_norm,
        {"lanes": 4, "words": 128, "width": 16, "epsilon": 1, "tokens": 1},
    ),
    "mac_fabric": (
        _mac_fabric,
        {
            "rows": 8,
            "lanes": 8,
            "tokens": 1,
            "activation_width": 8,
            "weight_width": 8,
            "ternary": False,
            "packing": "none",
            "cached_rows": 0,
            "acc_width": 40,
            "results_in_blocks": True,
        },
    ),
    "output_stationary": (
        _systolic(OutputStationary),
        {"rows": 8, "cols": 8, "activation_width": 8, "weight_width": 8},
    ),
    "reciprocal": (Reciprocal, {"width": 32, "multiplier_blocks": False}),
    "recurrent": (
        _recurrent,
        {
            "lanes": 4,
            "words": 128,
            "layers": 4,
            "fraction": 12,
            "state_fraction": 15,
            "shift": 10,
            "o_width": 24,
        },
    ),
    "residual": (Residual, {"lanes": 4, "words": 128, "width": 24, "tokens": 1}),
    "rms_norm": (
        _rms_norm,
        {"lanes": 4, "words": 128, "width": 24, "epsilon": 1, "norms": 4, "tokens": 1},
    ),
    "rope": (_rope, {"lanes": 4, "head_words": 16, "base": 10000, "tokens": 1}),
    "rope_halves": (_rope_halves, {"lanes": 4, "head_words": 16, "base": 10000}),
    "rsqrt": (Rsqrt, {"width": 62, "multiplier_blocks": False}),
    "sampler": (Sampler, {"lanes": 4, "vocab_size": 32000, "fraction": 12}),
    "scale": (Scale, {"lanes": 4, "acc_width": 40, "tokens": 1}),
    "soft_cap": (
        SoftCap,
        {"lanes": 4, "cap": 50 << 12, "tokens": 1, "multiplier_blocks": False},
    ),
    "softmax": (
        Softmax,
        {"lanes": 4, "words": 128, "unit": 2.0**-8, "x_width": 16, "o_width": 16, "tokens": 1},
    ),
    "softmax_block": (SoftmaxBlock, {"lanes": 4, "tokens": 1}),
    "softmax_sum": (SoftmaxSum, {"lanes": 4, "tokens": 1, "words": 128}),
    "static_quantizer": (
        _static_quantizer,
        {"lanes": 4, "channels": 512, "shift": 20, "x_width": 16, "width": 8, "group_size": 64},
    ),
    "stream_norm": (
        _stream_norm,
        {"lanes": 4, "words": 128, "epsilon": 1, "norms": 4, "o_width": 24, "tokens": 1},
    ),
    "sum_of_squares": (
        SumOfSquares,
        {"lanes": 4, "words": 128, "width": 24, "epsilon": 1, "tokens": 1},
    ),
    "ternary_words": (TernaryWords, {"rows": 8, "lanes": 8}),
    "top_k": (TopK, {"lanes": 4, "k": 5, "vocab_size": 32000}),
    "transposer": (Transposer, {"lanes": 4, "width": 16}),
    "value_cache": (
        _cache(ValueCache),
        {
            "rows": 8,
            "lanes": 8,
            "n_layers": 4,
            "n_kv_heads": 4,
            "head_words": 1,
            "max_seq_len": 256,
        },
    ),
    "weigh": (_weigh, {"lanes": 4, "words": 128, "width": 24, "norms": 4, "tokens": 1}),
    "weight_stationary": (
        _systolic(WeightStationary),
        {"rows": 8, "cols": 8, "activation_width": 8, "weight_width": 8},
    ),
    "width_converter": (WidthConverter, {"lanes": 4, "o_lanes": 16, "width": 16}),
}


def build(name, settings=None):
    """The standard component ``name`` with ``settings`` changed, and its parameters.

    Raises
    ------
    ValueError
        If there is no such component or parameter, or its constructor refuses a value.
    """
    if name not in STANDARD:
        raise ValueError(f"no component {name!r}; there are {', '.join(STANDARD)}")
    make, parameters = STANDARD[name]
    for given in settings or {}:
        if given not in parameters:
            raise ValueError(f"{name} has the parameters {', '.join(parameters)}, not {given!r}")
    parameters = parameters | (settings or {})
    return make(**parameters), parameters
