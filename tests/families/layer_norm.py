"""Tensors of the families with LayerNorm: GPT-2 to Phi, OPT, StarCoder2."""

import numpy as np

from families.decoder import attention, decoder

__all__ = ["gpt2", "gpt_neo", "gpt_neox", "opt", "phi", "starcoder2"]


def gpt2(t, c):
    """``root`` is the prefix of all names but the head's; without it the masks are there too."""
    root, dim, inner = c.get("root", ""), c["n_embd"], c.get("n_inner") or 4 * c["n_embd"]

    def conv(name, outputs, inputs, size=1.0):
        t.linear(name, outputs, inputs, True, size)
        t[f"{name}.weight"] = t[f"{name}.weight"].T

    t.table(f"{root}wte.weight", c["vocab_size"], dim)
    t.table(f"{root}wpe.weight", c["n_positions"], dim, 0.7)
    for index in range(c["n_layer"]):
        at = f"{root}h.{index}"
        t.norm(f"{at}.ln_1", dim, True)
        conv(f"{at}.attn.c_attn", 3 * dim, dim, 1.4)
        conv(f"{at}.attn.c_proj", dim, dim)
        t.norm(f"{at}.ln_2", dim, True)
        conv(f"{at}.mlp.c_fc", inner, dim, 1.5)
        conv(f"{at}.mlp.c_proj", dim, inner)
        if not root:  # the mask that older files hold
            mask = np.tril(np.ones((c["n_positions"],) * 2, np.float32))
            t[f"{at}.attn.bias"] = mask[None, None]
    t.norm(f"{root}ln_f", dim, True)
    if not c["tie_word_embeddings"]:
        t.linear("lm_head", c["vocab_size"], dim, size=3.0)


def gpt_neo(t, c):
    """Names begin with ``transformer.``."""
    dim, inner = c["hidden_size"], c.get("intermediate_size") or 4 * c["hidden_size"]
    t.table("transformer.wte.weight", c["vocab_size"], dim)
    t.table("transformer.wpe.weight", c["max_position_embeddings"], dim, 0.7)
    for index in range(c["num_layers"]):
        at = f"transformer.h.{index}"
        t.norm(f"{at}.ln_1", dim, True)
        for name, size in (("q_proj", 0.9), ("k_proj", 0.9), ("v_proj", 1.0)):
            t.linear(f"{at}.attn.attention.{name}", dim, dim, size=size)
        t.linear(f"{at}.attn.attention.out_proj", dim, dim, True)
        t.norm(f"{at}.ln_2", dim, True)
        t.linear(f"{at}.mlp.c_fc", inner, dim, True, 1.5)
        t.linear(f"{at}.mlp.c_proj", dim, inner, True)
    t.norm("transformer.ln_f", dim, True)
    if not c["tie_word_embeddings"]:
        t.linear("lm_head", c["vocab_size"], dim, size=3.0)


def gpt_neox(t, c):
    """``head`` is the name of the output matrix."""
    dim, bias = c["hidden_size"], c.get("attention_bias", True)
    t.table("gpt_neox.embed_in.weight", c["vocab_size"], dim)
    for index in range(c["num_hidden_layers"]):
        at = f"gpt_neox.layers.{index}"
        t.norm(f"{at}.input_layernorm", dim, True)
        t.norm(f"{at}.post_attention_layernorm", dim, True)
        t.linear(f"{at}.attention.query_key_value", 3 * dim, dim, bias, 1.4)
        t.linear(f"{at}.attention.dense", dim, dim, bias)
        t.linear(f"{at}.mlp.dense_h_to_4h", c["intermediate_size"], dim, True, 1.5)
        t.linear(f"{at}.mlp.dense_4h_to_h", dim, c["intermediate_size"], True)
    t.norm("gpt_neox.final_layer_norm", dim, True)
    if not c["tie_word_embeddings"]:
        t.linear(c.get("head", "lm_head"), c["vocab_size"], dim, size=3.0)


def phi(t, c):
    """The head has a bias, tied or not."""
    dim = c["hidden_size"]
    t.table("model.embed_tokens.weight", c["vocab_size"], dim)
    for index in range(c["num_hidden_layers"]):
        at = f"model.layers.{index}"
        t.norm(f"{at}.input_layernorm", dim, True)
        attention(t, f"{at}.self_attn", c, bias=True, o_proj="dense")
        if c.get("qk_layernorm"):
            each = dim // c["num_attention_heads"]
            t.norm(f"{at}.self_attn.q_layernorm", each, True, mean=1.4, size=0.4)
            t.norm(f"{at}.self_attn.k_layernorm", each, True, mean=1.4, size=0.4)
        t.linear(f"{at}.mlp.fc1", c["intermediate_size"], dim, True, 1.5)
        t.linear(f"{at}.mlp.fc2", dim, c["intermediate_size"], True)
    t.norm("model.final_layernorm", dim, True)
    t.linear("lm_head", c["vocab_size"], dim, True, 3.0)
    if c["tie_word_embeddings"]:
        del t["lm_head.weight"]


def opt(t, c):
    """``root`` is the prefix of all names but the head's."""
    root, dim, bias = c.get("root", ""), c["hidden_size"], c.get("enable_bias", True)
    affine, before = (
        c.get("layer_norm_elementwise_affine", True),
        c.get("do_layer_norm_before", True),
    )

    def norm(name):
        if affine:
            t.norm(name, dim, True)

    t.table(f"{root}decoder.embed_tokens.weight", c["vocab_size"], dim)
    t.table(f"{root}decoder.embed_positions.weight", c["max_position_embeddings"] + 2, dim, 0.7)
    for index in range(c["num_hidden_layers"]):
        at = f"{root}decoder.layers.{index}"
        for name, size in (("q_proj", 1.5), ("k_proj", 1.5), ("v_proj", 1.0), ("out_proj", 1.0)):
            t.linear(f"{at}.self_attn.{name}", dim, dim, bias, size)
        norm(f"{at}.self_attn_layer_norm")
        t.linear(f"{at}.fc1", c["ffn_dim"], dim, bias, 1.5)
        t.linear(f"{at}.fc2", dim, c["ffn_dim"], bias)
        norm(f"{at}.final_layer_norm")
    if before:
        norm(f"{root}decoder.final_layer_norm")
    if not c["tie_word_embeddings"]:
        t.linear("lm_head", c["vocab_size"], dim, size=3.0)


def starcoder2(t, c):
    """Llama's names, with biases and a plain MLP."""
    bias, dim = c.get("use_bias", True), c["hidden_size"]

    def layer(t, at, index):
        attention(t, f"{at}.self_attn", c, bias)
        t.linear(f"{at}.mlp.c_fc", c["intermediate_size"], dim, bias, 1.5)
        t.linear(f"{at}.mlp.c_proj", dim, c["intermediate_size"], bias)

    norms = {"input_layernorm": True, "post_attention_layernorm": True}
    decoder(t, c, layer, norm=True, **norms)
