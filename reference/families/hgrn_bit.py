"""MatMul-free LM (HGRN with BitLinear): ternary matrices, a state in place of attention."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.description import Description
from celosia.reference.families import decoder, fields
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import Names
from celosia.reference.families.ternary import Online
from celosia.reference.operations import Embed, Linear, Norm, Recur

__all__ = ["FAMILY"]

INNER_EPS = 1e-8  # of the norm that each matrix has of its own
MULTIPLE = 256  # of an MLP's width


def describe(c):
    """Zhu and others, arXiv 2406.02528, as the released code computes it."""
    sizes = dict.fromkeys(("x", "h", "m", "a", "normed_a"), c.dim) | {"logits": c.vocab_size}
    sizes |= dict.fromkeys((f"{way}{part}" for way in WAYS for part in ("", "_input")), c.dim)
    sizes |= dict.fromkeys(("g", "u", "f", "normed_f"), c.hidden_dim)
    return Description(
        begin=(Embed("x", "embedding"),),
        layers=tuple(_layer(c, index) for index in range(c.n_layers)),
        end=(
            decoder.norm(c, "norm"),
            _inner("h", "m", "head_norm"),
            Linear("m", "logits", "head"),
        ),
        sizes=sizes,
    )


WAYS = ("fill", "forget", "output")


def _inner(source, out, gain):
    return Norm(source, out, INNER_EPS, gain)


def _layer(c, index):
    """Each matrix has a norm in front; gate and up are one matrix."""
    bounds = "bounds" if c.options.get("lower_bounds") and index else None
    gate, up, product, down = decoder.gated_mlp(c)
    return (
        decoder.norm(c, "mixer_norm"),
        *(_inner("h", f"{way}_input", f"w_{way}_norm") for way in WAYS),
        *(Linear(f"{way}_input", way, f"w_{way}") for way in WAYS),
        Recur(*WAYS, "a", bounds, "gate_norm", c.norm_eps),
        _inner("a", "normed_a", "wo_norm"),
        Linear("normed_a", "x", "wo", add=True),
        decoder.norm(c, "ffn_norm"),
        _inner("h", "m", "w_gate_norm"),
        *(Linear("m", op.out, op.weight) for op in (gate, up)),
        product,
        _inner("f", "normed_f", "w_down_norm"),
        Linear("normed_f", "x", down.weight, add=True),
    )


class HgrnFields(fields.Fields, kw_only=True, rename=fields.NAMES | {"n_heads": "num_heads"}):
    """The released configuration's, with its defaults."""

    hidden_dim: fields.Size | None = None
    n_heads: fields.Size = 1
    seq_len: fields.Size = 2048
    hidden_ratio: fields.Number | None = 4
    expand_ratio: fields.Number | None = 1
    use_short_conv: bool | None = False
    use_lower_bound: bool | None = True


def config(f):
    """Heads change nothing, and there are none: the state is of each channel alone."""
    if f.use_short_conv:
        fields.refuse("use_short_conv", "is not supported")
    if f.expand_ratio not in (None, 1):
        fields.refuse("expand_ratio", f"only 1 is supported, not {f.expand_ratio:g}")
    if f.tied:
        fields.refuse("tied", "is not supported")
    wide = int(f.dim * (f.hidden_ratio or 4) * 2 / 3)
    values = fields.common(f, rope=False, lower_bounds=f.use_lower_bound is not False)
    values["hidden_dim"] = f.hidden_dim or -(-wide // MULTIPLE) * MULTIPLE
    return values | {"n_heads": 1, "n_kv_heads": 1, "head_dim": 2}


@dataclass(frozen=True)
class Bounds:
    """A layer's row of the cumulative softmax over all layers, less the first one's."""

    n_layers: int

    def present(self, file, place, suffix):
        return file.has("model.lower_bounds")

    def read(self, file, place, suffix, shape):
        table = file.take("model.lower_bounds", (self.n_layers, *shape)).astype(np.float64)
        shares = np.exp(table - table.max(axis=0))
        shares /= shares.sum(axis=0)
        layer = int(place.rstrip(".").rpartition(".")[2])
        return shares[1 : layer + 1].sum(axis=0).astype(np.float32)


def names(c, f):
    """Matrices as they are trained: the model rounds them itself."""
    joined = "mlp.gate_proj", (c.hidden_dim, c.hidden_dim)
    modules = dict(zip(WAYS, ("attn.i_proj", "attn.f_proj", "attn.g_proj"), strict=True))
    layer = {f"w_{way}": Online(module) for way, module in modules.items()}
    layer |= {f"w_{way}_norm": f"{module}.norm" for way, module in modules.items()}
    layer |= {
        "mixer_norm": "attn_norm",
        "gate_norm": "attn.g_norm",
        "bounds": Bounds(c.n_layers),
        "wo": Online("attn.o_proj"),
        "wo_norm": "attn.o_proj.norm",
        "ffn_norm": "mlp_norm",
        "w_gate": Online(joined[0], 0, joined[1]),
        "w_up": Online(joined[0], 1, joined[1]),
        "w_gate_norm": "mlp.gate_proj.norm",
        "w_down": Online("mlp.down_proj"),
        "w_down_norm": "mlp.down_proj.norm",
    }
    own = {
        "embedding": "model.embeddings",
        "norm": "model.norm",
        "head": Online("lm_head"),
        "head_norm": "lm_head.norm",
    }
    unused = (r"^model\.lower_bounds$",) if c.n_layers == 1 else ()
    return Names(own, layer, "model.layers.{}.", ignored=unused)


FAMILY = Family(
    name="hgrn_bit",
    models="MatMul-free LM 370M, 1.3B and 2.7B",
    describe=describe,
    hugging_face=Format(
        ("HGRNBitForCausalLM",),
        HgrnFields,
        config,
        names,
        ignored=("attn_mode", "conv_size", "share_conv_kernel"),
    ),
    checked=3,
    judge="PyTorch, written from the formulas",
)
