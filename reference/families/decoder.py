"""Blocks of which families' descriptions are made, and Llama's names of their tensors.

The vectors: ``x`` the residual stream, ``h`` what a norm makes of it, ``q``, ``k``, ``v`` and ``a``
attention's, ``g``, ``u`` and ``f`` an MLP's (gate, up, and what ``down`` reads), ``y`` what is
normed before it is added. A matrix ``w`` has the bias ``w_bias``.
"""

from celosia.reference.description import Description
from celosia.reference.families.names import Names
from celosia.reference.operations import Attention, Embed, Gate, Linear, Norm, Rotate

__all__ = [
    "GGUF_LAYER",
    "GGUF_OWN",
    "LAYER",
    "OWN",
    "attend",
    "decoder",
    "gated_mlp",
    "gguf",
    "head",
    "head_norms",
    "linear",
    "llama",
    "norm",
    "plain_mlp",
    "projections",
    "rotation",
    "window",
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


def llama(c, changes=None, own=None, prefix="model.layers.{}.", **more):
    """Llama's names with ``changes``; pairs of rotary values are halves of a head."""
    rotary = c.head_dim, c.options.get("rotary_dim", c.head_dim)
    layer = LAYER | (changes or {})
    return Names(OWN | (own or {}), layer, prefix, rotary, **more)


def gguf(c, changes=None, own=None, interleaved=False, **more):
    """GGUF's names with ``changes``; ``interleaved`` says that pairs of rotary values are so."""
    rotary = None if interleaved else (c.head_dim, c.options.get("rotary_dim", c.head_dim))
    layer = GGUF_LAYER | (changes or {})
    return Names(GGUF_OWN | (own or {}), layer, "blk.{}.", rotary, **more)


def linear(input, out, weight, bias=False, factor=1.0):
    """A matrix; what it makes is added if ``out`` is the residual stream."""
    return Linear(input, out, weight, f"{weight}_bias" if bias else None, out == "x", factor)


def norm(c, gain, input="x", out="h", layer_norm=False, groups=1):
    """RMSNorm with the tensor ``gain``, or LayerNorm with ``gain`` and a bias."""
    bias = f"{gain}_bias" if layer_norm else None
    return Norm(input, out, c.norm_eps, gain, bias, layer_norm, groups)


def projections(bias=False, normed=False, input="h"):
    """Queries, keys and values; the first two are raw if ``normed``, by :func:`head_norms`."""
    raw = "raw_" if normed else ""
    outs = f"{raw}q", f"{raw}k", "v"
    return tuple(
        linear(input, out, weight, bias)
        for out, weight in zip(outs, ("wq", "wk", "wv"), strict=True)
    )


def head_norms(c, whole=False, layer_norm=False):
    """Norms of the raw queries and keys: of each head, or of the ``whole`` vector."""
    return (
        norm(c, "q_norm", "raw_q", "q", layer_norm, 1 if whole else c.n_heads),
        norm(c, "k_norm", "raw_k", "k", layer_norm, 1 if whole else c.n_kv_heads),
    )


def rotation(c, frequencies=None):
    """Queries and keys rotated, by default as the configuration says."""
    factor = 1.0
    if frequencies is None:
        frequencies = c.frequencies(rotary_dim=c.options.get("rotary_dim"))
        factor = getattr(c.rope_scaling, "attention_factor", 1.0)
    turns = c.head_dim, tuple(frequencies.tolist()), factor
    return Rotate("q", *turns), Rotate("k", *turns)


def window(c, index):
    """The layer's window, or None if it is as long as the context."""
    width = c.options.get("windows", (None,) * c.n_layers)[index]
    return None if width is None or width >= c.seq_len else width


def attend(c, index, scale=None, cap=None):
    """Attention to ``a`` with the layer's window."""
    scale = c.head_dim**-0.5 if scale is None else scale
    heads = c.n_heads, c.n_kv_heads, c.head_dim
    return Attention("q", "k", "v", "a", *heads, scale, window(c, index), cap)


def gated_mlp(activation="silu", bias=False, out="x", factor=1.0):
    """Gate and up from ``h``, down to ``out``."""
    return (
        linear("h", "g", "w_gate", bias),
        linear("h", "u", "w_up", bias),
        Gate("g", "f", activation, up="u"),
        linear("f", out, "w_down", bias, factor),
    )


def plain_mlp(activation, bias=True, input="h"):
    """Up from ``input``, an activation, and down onto ``x``."""
    return (
        linear(input, "u", "w_up", bias),
        Gate("u", "f", activation),
        linear("f", "x", "w_down", bias),
    )


def head(c, bias=False, factor=1.0):
    """Logits of ``h``, by a matrix of their own or the embedding."""
    weight = "embedding" if c.tied else "head"
    return Linear("h", "logits", weight, "head_bias" if bias else None, factor=factor)


def decoder(c, layer, begin=None, end=None):
    """Embedding, the layers that ``layer(index)`` gives, norm and head; or what comes instead."""
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    sizes = dict.fromkeys(("x", "h", "h2", "y", "z"), c.dim) | {"logits": c.vocab_size}
    sizes |= dict.fromkeys(("g", "u", "f", "normed_f"), c.hidden_dim)
    sizes |= dict.fromkeys(("q", "raw_q", "a", "normed_a"), q) | dict.fromkeys(
        ("k", "raw_k", "v"), kv
    )
    heads = dict.fromkeys(("q", "raw_q", "a", "normed_a"), c.n_heads)
    heads |= dict.fromkeys(("k", "raw_k", "v"), c.n_kv_heads)
    return Description(
        begin=begin or (Embed("x", "embedding"),),
        layers=tuple(layer(index) for index in range(c.n_layers)),
        end=end or (norm(c, "norm"), head(c)),
        sizes=sizes,
        heads=heads,
    )
