"""Tensors of MatMul-free LM: BitLinear, each with a norm of its own, and gates of a state."""

__all__ = ["hgrn_bit"]


def hgrn_bit(t, c):
    """Names of the released code."""
    dim, hidden, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]

    def linear(name, outputs, inputs, size=1.0):
        t.linear(name, outputs, inputs, size=size)
        t.norm(f"{name}.norm", inputs)

    t.table("model.embeddings.weight", c["vocab_size"], dim)
    if c.get("use_lower_bound", True):
        t["model.lower_bounds"] = t.uniform((layers, dim), 1.0)
    for index in range(layers):
        at = f"model.layers.{index}"
        t.norm(f"{at}.attn_norm", dim)
        for name in "ifgo":
            linear(f"{at}.attn.{name}_proj", dim, dim)
        t.norm(f"{at}.attn.g_norm", dim)
        t.norm(f"{at}.mlp_norm", dim)
        linear(f"{at}.mlp.gate_proj", 2 * hidden, dim)
        linear(f"{at}.mlp.down_proj", dim, hidden)
    t.norm("model.norm", dim)
    linear("lm_head", c["vocab_size"], dim)
