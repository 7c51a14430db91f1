"""What mixtures of experts have in common: their operation, and where their tensors are."""

from celosia.reference.families import fields, metadata
from celosia.reference.families.names import First, Slices, Stack
from celosia.reference.operations import Experts

__all__ = ["GGUF", "ExpertMetadata", "experts", "gguf_config", "names", "options"]


def experts(c):
    """A router chooses among gated MLPs: the options ``experts``, ``chosen``, ``expert_dim``."""
    o = c.options
    return Experts(
        *("h", "x", "router", "experts_gate", "experts_up", "experts_down"),
        n=o["experts"],
        k=o["chosen"],
        hidden_dim=o.get("expert_dim", c.hidden_dim),
        activation=o.get("activation", "silu"),
        renormalise=o.get("renormalise", False),
    )


def names(gate="gate_proj", up="up_proj", down="down_proj"):
    """Each expert's modules, or all experts' matrices in two tensors."""
    each = "mlp.experts.{}."
    return {
        "router": "mlp.gate",
        "experts_gate": First((Stack(each + gate), Slices("mlp.experts.gate_up_proj", 0, 2))),
        "experts_up": First((Stack(each + up), Slices("mlp.experts.gate_up_proj", 1, 2))),
        "experts_down": First((Stack(each + down), Slices("mlp.experts.down_proj"))),
    }


#: Those of GGUF files; older ones have each expert's.
GGUF = {"router": "ffn_gate_inp"} | {
    f"experts_{part}": First((Slices(f"ffn_{part}_exps.weight"), Stack(f"ffn_{part}.{{}}")))
    for part in ("gate", "up", "down")
}


class ExpertMetadata(
    metadata.Metadata,
    kw_only=True,
    rename=metadata.NAMES
    | {"chosen": "expert_used_count", "expert_dim": "expert_feed_forward_length"},
):
    """GGUF metadata of mixtures of experts."""

    chosen: fields.Size
    expert_dim: fields.Size | None = None


def options(name, n, k, renormalise):
    """The options of ``n`` experts of which ``k``, the field ``name``, are chosen."""
    if not 1 <= k <= n:
        fields.refuse(name, f"must be from 1 to the number of experts, {n}, not {k}")
    return {"experts": n, "chosen": k, "renormalise": renormalise}


def gguf_config(renormalise, **more):
    """A function of :class:`ExpertMetadata`; whether weights sum to 1 is not in the file."""

    def config(f):
        chosen = options("chosen", f.n_experts, f.chosen, renormalise)
        given = {name: getattr(f, field) for name, field in more.items()}
        return metadata.common(f, **chosen, **given)

    return config
