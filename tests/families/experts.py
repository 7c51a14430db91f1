"""Tensors of the mixtures of experts, and of Phi-3, whose projections are fused."""

from families.decoder import attention, decoder, gated, head_dim

__all__ = ["mixtral", "olmoe", "phi3", "qwen3_moe"]


def _experts(t, at, count, dim, hidden, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = names
    for index in range(count):
        t.linear(f"{at}.{index}.{gate}", hidden, dim, size=2.0)
        t.linear(f"{at}.{index}.{up}", hidden, dim, size=2.0)
        t.linear(f"{at}.{index}.{down}", dim, hidden, size=2.0)


def mixtral(t, c):
    """``fused`` names and joins the experts as newer files do."""
    dim, hidden, count = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]

    def layer(t, at, index):
        attention(t, f"{at}.self_attn", c)
        if not c.get("fused"):
            t.linear(f"{at}.block_sparse_moe.gate", count, dim, size=1.5)
            _experts(t, f"{at}.block_sparse_moe.experts", count, dim, hidden, ("w1", "w3", "w2"))
            return
        t.linear(f"{at}.mlp.gate", count, dim, size=1.5)
        up = t.uniform((count, 2 * hidden, dim), 2.0 * dim**-0.5)
        t[f"{at}.mlp.experts.gate_up_proj"] = up
        t[f"{at}.mlp.experts.down_proj"] = t.uniform((count, dim, hidden), 2.0 * hidden**-0.5)

    decoder(t, c, layer)


def qwen3_moe(t, c):
    """Some layers have a dense MLP."""
    dim, count = c["hidden_size"], c["num_experts"]

    def layer(t, at, index):
        attention(t, f"{at}.self_attn", c, c.get("attention_bias", False), qk_norm="head")
        step, dense = c.get("decoder_sparse_step", 1), c.get("mlp_only_layers") or []
        if index in dense or (index + 1) % step:
            gated(t, f"{at}.mlp", dim, c["intermediate_size"])
        else:
            t.linear(f"{at}.mlp.gate", count, dim, size=1.5)
            _experts(t, f"{at}.mlp.experts", count, dim, c["moe_intermediate_size"])

    decoder(t, c, layer)


def olmoe(t, c):
    """Every layer has experts."""
    dim, count = c["hidden_size"], c["num_experts"]

    def layer(t, at, index):
        attention(t, f"{at}.self_attn", c, c.get("attention_bias", False), qk_norm="full")
        t.linear(f"{at}.mlp.gate", count, dim, size=1.5)
        _experts(t, f"{at}.mlp.experts", count, dim, c["intermediate_size"])

    decoder(t, c, layer)


def phi3(t, c):
    """Rows of q, k, v in one matrix, of gate and up in another."""
    dim, hidden = c["hidden_size"], c["intermediate_size"]
    rows = c["num_attention_heads"] + 2 * c["num_key_value_heads"]

    def layer(t, at, index):
        t.linear(f"{at}.self_attn.qkv_proj", rows * head_dim(c), dim, size=1.4)
        t.linear(f"{at}.self_attn.o_proj", dim, c["num_attention_heads"] * head_dim(c))
        t.linear(f"{at}.mlp.gate_up_proj", 2 * hidden, dim, size=1.4)
        t.linear(f"{at}.mlp.down_proj", dim, hidden)

    decoder(t, c, layer)
