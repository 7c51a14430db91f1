"""A quantised model's operations by the names that the program's writer knows."""

from types import SimpleNamespace

from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.gate import IntegerGate
from celosia.reference.operations.linear import IntegerLinear
from celosia.reference.operations.norm import IntegerNorm
from celosia.reference.operations.rotate import IntegerRotate

__all__ = ["layer_view", "model_view"]


def model_view(model):
    """The model as one object."""
    norms = [op for op in model.operations if isinstance(op, IntegerNorm)]
    rotations = [op for op in model.operations if isinstance(op, IntegerRotate)]
    (embed,) = model.begin
    norm, head = model.end
    return SimpleNamespace(
        config=model.config,
        scheme=model.scheme,
        head_dim=model.head_dim,
        acc_width=model.acc_width,
        epsilon=norms[0].epsilon,
        rope_increments=rotations[0].increments,
        embedding=embed.table,
        head=head.matrix,
        head_gain=norm.gains,
        head_gain_shift=norm.shift,
        layers=[layer_view(layer) for layer in model.layers],
    )


def layer_view(operations):
    """A layer as one object."""
    norms = [op for op in operations if isinstance(op, IntegerNorm)]
    linears = {op.out: op.matrix for op in operations if isinstance(op, IntegerLinear)}
    added = [op.matrix for op in operations if isinstance(op, IntegerLinear) and op.add]
    (attention,) = (op for op in operations if isinstance(op, IntegerAttention))
    (gate,) = (op for op in operations if isinstance(op, IntegerGate))
    return SimpleNamespace(
        norm_gain=norms[0].gains,
        norm_shift=norms[0].shift,
        q=linears["q"],
        k=linears["k"],
        v=linears["v"],
        score_shift=attention.score_shift,
        value_scale=attention.value_scale,
        value_shift=attention.value_shift,
        o=added[0],
        ffn_gain=norms[1].gains,
        ffn_shift=norms[1].shift,
        gate_up=linears["g:u"],
        swiglu_shift=gate.shift,
        down=added[1],
    )
