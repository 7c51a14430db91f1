"""Blocks of which families' descriptions are made, and Llama's names of their tensors.

The vectors: ``x`` the residual stream, ``h`` what a norm makes of it, ``q``, ``k``, ``v`` and ``a``
attention's, ``g``, ``u`` and ``f`` an MLP's (gate, up, and what ``down`` reads), ``y`` what is
normed before it is added. A matrix ``w`` has the bias ``w_bias``.
"""

from celosia.reference.description import Description
from celosia.reference.families.names import Names
from celosia.reference.operations import Attention, Clip, Embed, Gate, Linear, Norm, Rotate

__all__ = [
    "GGUF_LAYER",
    "attention",
    "decoder",
    "gated_mlp",
    "gguf",
    "gguf_llama",
    "head",
    "head_norm",
    "linear",
    "llama",
    "norm",
    "plain_mlp",
    "whole_norm",
]

#: The modules of Llama's files, which many others keep.
OWN = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
LAYER = {
    "attention_norm": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "w_gate": "mlp.gate_proj",
    "w_up": "mlp.up_proj",
    "w_down": "mlp.down_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
}
#: Those of GGUF files.
GGUF_OWN = {"embedding": "token_embd", "norm": "output_norm", "head": "output"}
GGUF_LAYER = {
    "attention_norm": "attn_norm",
    "wq": "attn_q",
    "wk": "attn_k",
    "wv": "attn_v",
    "wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "w_gate": "ffn_gate",
    "w_up": "ffn_up",
    "w_down": "ffn_down",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "attention_post_norm": "post_attention_norm",
    "ffn_post_norm": "post_ffw_norm",
}


def llama(c, f=None, changes=None, own=None, prefix="model.layers.{}.", **more):
    """Llama's names with ``changes``; pairs of rotary values are halves of a head."""
    rotary = c.head_dim, c.options.get("rotary_dim", c.head_dim)
    layer = LAYER | (changes or {})
    return Names(OWN | (own or {}), layer, prefix, rotary, **more)


def gguf(c, f=None, changes=None, own=None, interleaved=False, **more):
    """GGUF's names with ``changes``; ``interleaved`` says that pairs of rotary values are so."""
    rotary = None if interleaved else (c.head_dim, c.options.get("rotary_dim", c.head_dim))
    layer = GGUF_LAYER | (changes or {})
    return Names(GGUF_OWN | (own or {}), layer, "blk.{}.", rotary, **more)


def gguf_llama(c, f=None):
    """GGUF's names of those architectures whose files have rotary pairs side by side."""
    return gguf(c, interleaved=True)


def linear(input, out, weight, bias=False, factor=1.0):
    """A matrix; what it makes is added if ``out`` is the residual stream."""
    return Linear(input, out, weight, f"{weight}_bias" if bias else None, out == "x", factor)


def norm(c, gain, input="x", out="h", layer_norm=False, groups=1):
    """RMSNorm with the tensor ``gain``, or LayerNorm with ``gain`` and a bias."""
    bias = f"{gain}_bias" if layer_norm else None
    return Norm(input, out, c.norm_eps, gain, bias, layer_norm, groups)


def attention(
    c, index, *, bias=None, heads=None, frequencies=None, scale=None, cap=None, limit=None
):
    """From ``h`` to ``a``: queries, keys and values; their norms, limits and rotation; attention.

    Parameters
    ----------
    bias : bool, optional
        Of the projections; the option ``attention_bias`` by default.
    heads : callable(c, vector, n_heads) -> Norm, optional
        The norm of queries ("q") and of keys ("k"); see :func:`head_norm` and :func:`whole_norm`.
    frequencies : float64[head_dim / 2], optional
        Of the rotation; by default the configuration's.
    scale, cap, limit : float, optional
        Of the scores, of the scores, of queries, keys and values; by default ``head_dim ** -0.5``.
    """
    bias = c.options.get("attention_bias", False) if bias is None else bias
    names = ("q", "k", "v") if heads is None else ("raw_q", "raw_k", "v")
    operations = [linear("h", out, f"w{out[-1]}", bias) for out in names]
    if heads is not None:
        operations += (heads(c, "q", c.n_heads), heads(c, "k", c.n_kv_heads))
    if limit:
        operations += (Clip(vector, limit) for vector in "qkv")
    if not c.options.get("learned_positions"):
        operations += _rotation(c, frequencies)
    scale = c.head_dim**-0.5 if scale is None else scale
    sizes = c.n_heads, c.n_kv_heads, c.head_dim
    return *operations, Attention("q", "k", "v", "a", *sizes, scale, _window(c, index), cap)


def head_norm(c, vector, n_heads, layer_norm=False):
    """Of each head, all with the same gains."""
    return norm(c, f"{vector}_norm", f"raw_{vector}", vector, layer_norm, n_heads)


def whole_norm(c, vector, n_heads):
    """Of all heads as one vector."""
    return norm(c, f"{vector}_norm", f"raw_{vector}", vector)


def _rotation(c, frequencies):
    factor = 1.0
    if frequencies is None:
        frequencies = c.frequencies(rotary_dim=c.options.get("rotary_dim"))
        factor = getattr(c.rope_scaling, "attention_factor", 1.0)
    turns = c.head_dim, tuple(frequencies.tolist()), factor
    return Rotate("q", *turns), Rotate("k", *turns)


def _window(c, index):
    """The layer's window, or None if it is as long as the context."""
    width = c.options.get("windows", (None,) * c.n_layers)[index]
    return None if width is None or width >= c.seq_len else width


def gated_mlp(c, usual="silu", bias=False, out="x", factor=1.0):
    """Gate and up from ``h``, down to ``out``; with the ``usual`` activation, or the option's."""
    return (
        linear("h", "g", "w_gate", bias),
        linear("h", "u", "w_up", bias),
        Gate("g", "f", c.options.get("activation", usual), up="u"),
        linear("f", out, "w_down", bias, factor),
    )


def plain_mlp(c, usual="gelu_tanh", bias=True, input="h"):
    """Up from ``input``, the ``usual`` activation or the option's, and down onto ``x``."""
    return (
        linear(input, "u", "w_up", bias),
        Gate("u", "f", c.options.get("activation", usual)),
        linear("f", "x", "w_down", bias),
    )


def head(c, bias=False, factor=1.0):
    """Logits of ``h``, by a matrix of their own or the embedding."""
    weight = "embedding" if c.tied else "head"
    return Linear("h", "logits", weight, "head_bias" if bias else None, factor=factor)


def decoder(c, layer, begin=None, end=None):
    """Embedding, the layers ``layer(c, index)``, norm and head; or what comes instead."""
    heads = dict.fromkeys(("q", "raw_q", "a", "normed_a"), c.n_heads)
    heads |= dict.fromkeys(("k", "raw_k", "v"), c.n_kv_heads)
    sizes = dict.fromkeys(("x", "h", "h2", "y", "z"), c.dim) | {"logits": c.vocab_size}
    sizes |= dict.fromkeys(("g", "u", "f", "normed_f"), c.hidden_dim)
    sizes |= {name: n * c.head_dim for name, n in heads.items()}
    return Description(
        begin=begin or (Embed("x", "embedding"),),
        layers=tuple(layer(c, index) for index in range(c.n_layers)),
        end=end or (norm(c, "norm"), head(c)),
        sizes=sizes,
        heads=heads,
    )
