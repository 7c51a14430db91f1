"""Families that `transformers` does not have, in PyTorch, written from their formulas."""

import torch
from torch.nn.functional import linear, silu

__all__ = ["FORMULAS"]


def _rms(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


class HgrnBit:
    """MatMul-free LM, arXiv 2406.02528, with the output gate of the released code."""

    def __init__(self, case, rounded):
        self.tensors = {name: torch.from_numpy(array) for name, array in case.tensors.items()}
        self.config, self.rounded = case.config, rounded

    def bit_linear(self, x, name):
        """Ternary weights by their mean magnitude; activations of 8 bits for each token."""
        x = _rms(x, self.tensors[f"{name}.norm.weight"], 1e-8)
        if self.rounded:
            scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
            x = (x * scale).round().clamp(-128, 127) / scale
        weight = self.tensors[f"{name}.weight"]
        mean = weight.abs().mean().clamp(min=1e-5)
        return linear(x, (weight / mean).round().clamp(-1, 1) * mean)

    def mixer(self, h, at, bound):
        """The recurrence, from a state of zeros, one position after the other."""
        i, z, g = (self.bit_linear(h, f"{at}.{name}_proj") for name in "ifg")
        forget = bound + (1 - bound) * torch.sigmoid(z)
        state, states = torch.zeros(h.shape[-1]), []
        for f, new in zip(forget, silu(i), strict=True):
            state = f * state + (1 - f) * new
            states.append(state)
        eps = self.config["rms_norm_eps"]
        gated = _rms(g, self.tensors[f"{at}.g_norm.weight"], eps) * silu(torch.stack(states))
        return self.bit_linear(gated, f"{at}.o_proj")

    def mlp(self, h, at):
        """Gate and up are the halves of one matrix."""
        gate, up = self.bit_linear(h, f"{at}.gate_proj").chunk(2, -1)
        return self.bit_linear(silu(gate) * up, f"{at}.down_proj")

    def bounds(self):
        """Of each layer: what its forget gates cannot go below."""
        layers = self.config["num_hidden_layers"]
        if not self.config.get("use_lower_bound", True):
            return [torch.tensor(0.0)] * layers
        shares = self.tensors["model.lower_bounds"].softmax(0)
        return shares.cumsum(0) - shares[0]

    def logits(self, tokens):
        """Of each token: float32[n, vocab_size]."""
        eps = self.config["rms_norm_eps"]
        x = self.tensors["model.embeddings.weight"][tokens]
        for index, bound in enumerate(self.bounds()):
            at = f"model.layers.{index}"
            x = x + self.mixer(self._normed(x, f"{at}.attn_norm", eps), f"{at}.attn", bound)
            x = x + self.mlp(self._normed(x, f"{at}.mlp_norm", eps), f"{at}.mlp")
        return self.bit_linear(self._normed(x, "model.norm", eps), "lm_head")

    def _normed(self, x, name, eps):
        return _rms(x, self.tensors[f"{name}.weight"], eps)


FORMULAS = {"hgrn_bit": HgrnBit}
