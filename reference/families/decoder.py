"""Blocks of which families' descriptions are made: attention, MLPs, whole decoders."""

from celosia.reference.description import Description
from celosia.reference.operations import Attention, Embed, Gate, Linear, Norm, Rotate

__all__ = ["attention", "gated_layer", "gated_mlp", "pre_norm", "sizes"]


def sizes(c):
    """The sizes of a decoder's vectors, and of those made of heads how many these are."""
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    n = {"x": c.dim, "h": c.dim, "q": q, "k": kv, "v": kv, "a": q, "y": c.dim}
    n |= {"g": c.hidden_dim, "u": c.hidden_dim, "f": c.hidden_dim, "logits": c.vocab_size}
    heads = {"q": c.n_heads, "k": c.n_kv_heads, "v": c.n_kv_heads, "a": c.n_heads}
    return n, heads


def attention(c, frequencies=None, scale=None, window=None, cap=None):
    """Queries, keys and values from ``h``; rotated; attention to ``a``."""
    frequencies = tuple((c.rope_frequencies if frequencies is None else frequencies).tolist())
    return (
        Linear("h", "q", "wq"),
        Linear("h", "k", "wk"),
        Linear("h", "v", "wv"),
        Rotate("q", c.head_dim, frequencies),
        Rotate("k", c.head_dim, frequencies),
        Attention(
            *("q", "k", "v", "a", c.n_heads, c.n_kv_heads, c.head_dim),
            c.head_dim**-0.5 if scale is None else scale,
            window,
            cap,
        ),
    )


def gated_mlp(activation="silu"):
    """Gate and up from ``h``, to ``f``."""
    return (
        Linear("h", "g", "w_gate"),
        Linear("h", "u", "w_up"),
        Gate("g", "f", activation, up="u"),
    )


def gated_layer(c):
    """Norms before attention and before a gated MLP."""
    return (
        Norm("x", "h", c.norm_eps, "attention_norm"),
        *attention(c),
        Linear("a", "x", "wo", add=True),
        Norm("x", "h", c.norm_eps, "ffn_norm"),
        *gated_mlp(),
        Linear("f", "x", "w_down", add=True),
    )


def pre_norm(c, layer):
    """Embedding, the layers that ``layer(index)`` gives, norm and head."""
    n, heads = sizes(c)
    return Description(
        begin=(Embed("x", "embedding"),),
        layers=tuple(layer(index) for index in range(c.n_layers)),
        end=(
            Norm("x", "h", c.norm_eps, "norm"),
            Linear("h", "logits", "embedding" if c.tied else "head"),
        ),
        sizes=n,
        heads=heads,
    )
