"""The steps of experts: the router's, then for each one chosen those of its two matrices."""

from celosia.rtl.machine.program import Run
from celosia.rtl.machine.step import Region, Scalar, argument

__all__ = ["ExpertSteps"]


class ExpertSteps:
    """All experts lie on the tape, of each the pair and behind it the down; a pass reads few.

    Parameters
    ----------
    writer : celosia.generators.program.program.Writer
    index : int
        The layer.
    op : IntegerExperts
    source : dict
        Where its activations come from, and what their results are multiplied by.
    """

    def __init__(self, writer, index, op, source):
        self.writer, self.index, self.op, self.source = writer, index, op, source

    def write(self):
        """All steps, and the runs of the tapes."""
        w, op = self.writer, self.op
        w.ways.gate(op.gate)
        w.ways.experts(op)
        w.linear(
            op.router, **w.head_form, name=self._name(op.router), route="router", **self.source
        )
        run = self._tapes()
        for rank in range(op.source.k):
            w.runs.append(run)
            self._expert(last=rank == op.source.k - 1)

    def _tapes(self):
        """Append all experts; the run of the first one."""
        w, op = self.writer, self.op
        start = w.end_run()
        for parts in op.experts:
            for part in parts:
                w.tape.matrix(part.matrix)
                w.tape.scales(part.matrix.scale)
        end = w.begin_run()
        sizes = [(b - a) // op.n for a, b in zip(start, end, strict=True)]
        return Run(*zip(start, sizes, strict=True), chosen=True)

    def _expert(self, last):
        """An expert's steps: the ``last`` one's results are what the next norm sees."""
        w, op = self.writer, self.op
        pair, down = op.experts[0]  # all have the same sizes and shifts
        w.product(
            pair.matrix,
            name=self._name(pair),
            route="gated",
            fills=Region.HIDDEN,
            argument=op.gate.shift,
            **self.source,
        )
        behind = w.behind(op) if last else {"argument": argument(shift=0)}
        w.product(
            down.matrix,
            name=self._name(down),
            route="residual",
            scalar=Scalar.EXPERT,
            keep=1,
            region=Region.HIDDEN,
            source_base=w.hidden_start,
            fills=Region.NORMED if behind.get("normed") else Region.NONE,
            **behind,
        )
        if last:
            w.again(op, self._name(down))

    def _name(self, part):
        return f"layers.{self.index}.{part.name}"
