"""The quantities by which a model's shape and a device's balance are compared."""

from dataclasses import dataclass

from celosia.reference.operations import Attention, Experts, Linear, Norm
from celosia.reference.operations.linear import LinearPair

__all__ = ["Ratios", "balance", "model_ratios"]


@dataclass(frozen=True)
class Ratios:
    """A layer's weights in units of ``dim**2``, as roofline co-design (arXiv 2602.10377) has them.

    The paper's text was not at hand: meanings and formulas are derived here, from its published
    derivatives. With ``B S`` tokens of a prompt, a device of ``pi`` FLOP/s and ``beta`` bytes/s,
    ``b`` bytes per weight:

    - prefill takes ``xi_f d**2 B S / pi`` for its products, ``xi_f = 2 alpha + 6 r``: two
      operations for each weight of attention and of the three matrices of the activated FFN;
    - it reads ``xi_pre d**2 b`` bytes, ``xi_pre = alpha + 3 r / rho``: all experts are touched;
    - a token of decoding reads ``xi_dec d**2 b``, ``xi_dec = alpha + 3 r``.

    With ``eta = pi / (beta B S)`` prefill is bound by its products where ``xi_f >= eta b xi_pre``,
    that is where ``rho`` is at least ``rho* = 3 eta b r / (alpha (2 - eta b) + 6 r)``: experts
    beyond that many cost time.

    Parameters
    ----------
    alpha : float
        The attention ratio: attention's weights over ``dim**2``.
    r : float
        The FFN ratio: weights of the activated FFN over ``3 dim**2``.
    rho : float
        The activation rate of experts, ``k / n``; 1 without any.
    """

    alpha: float
    r: float
    rho: float = 1.0

    @property
    def xi_f(self):
        """Operations of prefill."""
        return 2 * self.alpha + 6 * self.r

    @property
    def xi_dec(self):
        """Weights that decoding reads."""
        return self.alpha + 3 * self.r

    @property
    def xi_pre(self):
        """Weights that prefill reads."""
        return self.alpha + 3 * self.r / self.rho

    def least_rho(self, eta, width):
        """``rho*`` for a machine balance ``eta`` and ``width`` bytes per weight.

        None where prefill is bound by memory whatever ``rho`` is, up to 1.
        """
        below = self.alpha * (2 - eta * width) + 6 * self.r
        found = 3 * eta * width * self.r / below if below > 0 else 2.0
        return found if found <= 1 else None


def balance(macs_per_second, bytes_per_second, prompt_tokens):
    """``eta``: operations (two of a multiply-accumulate) per byte and token of a prompt."""
    return 2 * macs_per_second / (bytes_per_second * prompt_tokens)


def model_ratios(description):
    """The :class:`Ratios` of a model, of its average layer."""
    attention = ffn = 0
    rho, sizes = 1.0, description.sizes
    for layer in description.layers:
        ends = {v for op in layer if isinstance(op, Attention) for v in (op.q, op.k, op.v, op.out)}
        ends |= {op.out for op in layer if isinstance(op, Norm) and op.input in ends}
        for op in layer:
            if isinstance(op, Linear) and (op.out in ends or op.input in ends):
                attention += op.macs(sizes, 1)
            elif isinstance(op, Linear | LinearPair):
                ffn += op.macs(sizes, 1)
            elif isinstance(op, Experts):
                ffn += op.macs(sizes, 1) - sizes[op.input] * op.n
                rho = op.k / op.n
    unit = len(description.layers) * sizes["x"] ** 2
    return Ratios(attention / unit, ffn / (3 * unit), rho)
