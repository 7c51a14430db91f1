"""Tensors of decoders that name their parts as Llama does: Llama to OLMo-2, Gemma to Gemma 3."""

__all__ = ["attention", "decoder", "gated", "gemma", "gemma3_nested", "head_dim", "llama"]


def head_dim(c):
    """The size of a head of configuration ``c``."""
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def attention(t, at, c, bias=False, o_bias=None, qk_norm=None, mean=1.0, size=1.5, o_proj="o_proj"):
    """q, k, v and output projections below ``at``.

    ``qk_norm`` is None, "head" or "full"; ``mean`` that of the norms' gains; ``size`` the gain of
    the query and key projections; ``o_bias`` that of ``bias`` if None.
    """
    dim, heads, each = c["hidden_size"], c["num_attention_heads"], head_dim(c)
    groups = c["num_key_value_heads"]
    t.linear(f"{at}.q_proj", heads * each, dim, bias, size)
    t.linear(f"{at}.k_proj", groups * each, dim, bias, size)
    t.linear(f"{at}.v_proj", groups * each, dim, bias)
    t.linear(f"{at}.{o_proj}", dim, heads * each, bias if o_bias is None else o_bias)
    if qk_norm is not None:
        whole = qk_norm == "full"
        t.norm(f"{at}.q_norm", heads * each if whole else each, mean=mean + 0.4, size=0.4)
        t.norm(f"{at}.k_norm", groups * each if whole else each, mean=mean + 0.4, size=0.4)


def gated(t, at, dim, hidden, bias=False):
    """gate, up and down projections below ``at``."""
    t.linear(f"{at}.gate_proj", hidden, dim, bias, 1.5)
    t.linear(f"{at}.up_proj", hidden, dim, bias)
    t.linear(f"{at}.down_proj", dim, hidden, bias)


def decoder(t, c, layer, root="model.", mean=1.0, embedding=1.0, **norms):
    """Embedding, layers, final norm and head; ``layer(t, at, index)`` adds a layer's tensors.

    ``mean`` is that of the norms' gains; ``norms`` gives the norms of a layer, name and whether
    they have a bias, and ``norm`` the final one's; by default those of Llama without.
    """
    dim = c["hidden_size"]
    final_bias = norms.pop("norm", False)
    norms = norms or {"input_layernorm": False, "post_attention_layernorm": False}
    t.table(f"{root}embed_tokens.weight", c["vocab_size"], dim, embedding)
    for index in range(c["num_hidden_layers"]):
        at = f"{root}layers.{index}"
        for name, bias in norms.items():
            t.norm(f"{at}.{name}", dim, bias, mean)
        layer(t, at, index)
    t.norm(f"{root}norm", dim, final_bias, mean)
    if not c["tie_word_embeddings"]:
        t.linear("lm_head", c["vocab_size"], dim, size=3.0)


def llama(qk_norm=None, qkv_bias=False, norms=()):
    """The layout of a family: its QK-norm, whether q, k and v always have a bias, its norms."""

    def layout(t, c):
        bias = c.get("attention_bias", False)

        def layer(t, at, index):
            o_bias = False if qkv_bias else bias
            attention(t, f"{at}.self_attn", c, bias or qkv_bias, o_bias, qk_norm)
            mlp_bias = c.get("mlp_bias", False)
            gated(t, f"{at}.mlp", c["hidden_size"], c["intermediate_size"], mlp_bias)

        decoder(t, c, layer, **dict.fromkeys(norms, False))

    return layout


def gemma(norms, qk_norm=None, root="model."):
    """The layout of a family whose norms scale by ``1 + weight``."""

    def layout(t, c):
        bias = c.get("attention_bias", False)

        def layer(t, at, index):
            attention(t, f"{at}.self_attn", c, bias, qk_norm=qk_norm, mean=0.0)
            gated(t, f"{at}.mlp", c["hidden_size"], c["intermediate_size"])

        decoder(t, c, layer, root, 0.0, c["hidden_size"] ** -0.5, **dict.fromkeys(norms, False))

    return layout


def gemma3_nested(norms):
    """The layout of a text model beside a vision tower, of which one norm is there."""

    def layout(t, c):
        text = c | c["text_config"]
        gemma(norms, "head", "language_model.model.")(t, text)
        width = c["vision_config"]["hidden_size"]
        t.norm("vision_tower.vision_model.post_layernorm", width, True)

    return layout
