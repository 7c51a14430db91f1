"""Tensors of BitNet b1.58 and of Llamas with its ternary weights (Falcon-E)."""

import numpy as np

from families.decoder import attention, decoder, gated

__all__ = ["pack", "ternary"]


def pack(codes):
    """Ternary rows as bytes: row ``r + i * rows / 4`` of int8[rows, n] in bits ``2 i`` of row r.

    The result is uint8[rows / 4, n] of values plus 1.
    """
    quarters = (codes + 1).astype(np.uint8).reshape(4, -1, codes.shape[1])
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def _quantize(t, quantization, unpacked):
    """Replace the layers' matrices by what the file holds; ``unpacked`` codes are not packed."""
    if quantization is None:
        return
    kept = quantization.get("modules_to_not_convert") or ()
    inverse = quantization.get("linear_class", "bitlinear") == "bitlinear"
    for name in list(t):
        module = name.removesuffix(".weight")
        if not module.endswith("_proj") or module == name or module in kept:
            continue
        weight = t[name]
        if quantization.get("use_rms_norm"):
            t.norm(f"{module}.rms_norm", weight.shape[1])
        if quantization.get("quantization_mode") == "online":
            continue
        scale = np.float32([np.std(weight) * 1.3])
        codes = t.ternary(weight.shape)
        t[name] = codes.astype(np.float32) if unpacked else pack(codes)
        t[f"{module}.weight_scale"] = 1 / scale if inverse else scale


def ternary(t, c):
    """Llama's names; BitNet has a norm before the output and down projections."""
    dim, hidden, bias = c["hidden_size"], c["intermediate_size"], c.get("attention_bias", False)

    def layer(t, at, index):
        attention(t, f"{at}.self_attn", c, bias, size=1.2)
        gated(t, f"{at}.mlp", dim, hidden, c.get("mlp_bias", False))
        if c["model_type"] == "bitnet":
            t.norm(f"{at}.self_attn.attn_sub_norm", dim)
            t.norm(f"{at}.mlp.ffn_sub_norm", hidden)

    decoder(t, c, layer)
    _quantize(t, c.get("quantization_config"), c.get("unpacked", False))
