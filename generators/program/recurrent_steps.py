"""The steps of a recurrent state: its matrices, in the order in which their unit takes them."""

from celosia.rtl.machine.step import Region, argument
from celosia.rtl.recurrent.recurrent import Part

__all__ = ["recurrent_steps"]


def recurrent_steps(writer, index, operations, op):
    """The matrices of a layer's state; the results of the last one are what leaves it.

    Parameters
    ----------
    writer : celosia.generators.program.program.Writer
    index : int
        The layer.
    operations : list
        The layer's.
    op : celosia.reference.operations.recur.IntegerRecur
    """
    number = writer.ways.recurrent(op)
    inner = writer.ways.after(operations, operations.index(op))
    told = writer.ways.members(inner, "recurrent")
    for part, name in zip(Part, op.source.inputs, strict=True):
        (matrix,) = (one for one in operations if getattr(one, "out", None) == name)
        last = part == Part.RELEASE
        writer.linear(
            matrix,
            name=f"layers.{index}.{matrix.name}",
            route="recurrent",
            fills=Region.ATTENTION if last else Region.NONE,
            argument=argument(state={"part": part, "layer": number}),
            **(told if last else {}),
            **writer.source(operations, operations.index(matrix)),
        )
