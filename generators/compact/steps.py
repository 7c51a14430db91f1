"""The instructions of the compact machine's operations, but for those of its tapes."""

from dataclasses import replace

from celosia.generators.compact.places import ONE, SIXTEEN, CompactPlaces
from celosia.generators.compact.vectors import Vectors
from celosia.reference.compact.operations import (
    EXTRA,
    ROPE_SHIFT,
    WIDE,
    CompactAttention,
)
from celosia.reference.compact.tables import GATE_SHIFTS
from celosia.rtl.compact.operation import (
    A,
    Add,
    B,
    Control,
    Exponent,
    Group,
    Instruction,
    Measure,
    Step,
    Table,
    Width,
)

__all__ = ["CompactSteps"]


class CompactSteps:
    """Appends instructions to ``program``, and to ``gains`` what they read.

    Members
    -------
    model : celosia.reference.compact.arithmetic.CompactModel
    config : celosia.reference.model.ModelConfig
    rows, columns : int
        Weights of a beat.
    places : CompactPlaces
    vectors : Vectors
    program, gains : list
    attention : CompactAttention
        Of the operations that are being written.
    """

    def __init__(self, model, rows, columns):
        self.model, self.config, self.rows, self.columns = model, model.config, rows, columns
        self.places = CompactPlaces(model.config, model.description, model.window, columns)
        self.vectors, self.program, self.gains = Vectors(), [], []
        self.attention: CompactAttention | None = None

    def _norm(self, op):
        """Part by part; of the residual stream, or of queries or keys where they lie."""
        (parts, size), vectors, work = op.gains.shape, self.vectors, self.places.work
        start = vectors.place("wide", op.input)
        self.gains += op.gains.reshape(-1).tolist()
        for source in range(start, start + parts * size, size):
            if not vectors.holds("measured", op.input):
                copy = Control(wide=True, sum=True)
                self._do(copy, size, source=source, second=ONE, target=source)
            short = Control(
                measure=Measure.FIFTEEN,
                exponent=Exponent.PLUS,
                width=Width.HALF,
                wide=True,
                half=True,
            )
            self._do(short, size, source=source, second=ONE, target=work)
            squares = Control(b_next=True, group=Group.ALL, wide=True, sum=True)
            total, shift = self.places.total, op.square_shift
            self._do(squares, size, source=work, second=work, target=total, shift=shift)
            self._root()
            self._do(Control(b=B.GAIN, wide=True), size, source=work, target=work)
            normed = Control(exponent=Exponent.HALF, width=Width.BYTE, byte=True)
            target = 0
            if op.width == WIDE:
                normed, target = Control(exponent=Exponent.HALF, wide=True), source
            root = self.places.root
            self._do(normed, size, source=work, second=root, target=target, shift=op.shift)
            vectors.put("wide", "a norm", work, size)
            vectors.put("half", "a norm", work, size)
        if op.width == WIDE:
            vectors.put("wide", op.out, start, parts * size)
        else:
            vectors.put("bytes", op.out, 0, size)

    def _root(self):
        """``1 / sqrt`` of the total."""
        root = Control(
            step=Step.STAY,
            measure=Measure.EIGHT,
            exponent=Exponent.PLUS,
            table=Table.ROOT,
            wide=True,
            half=True,
        )
        places = self.places
        self._do(root, 1, source=places.total, second=ONE, target=places.root)
        self.vectors.put("measured", "a sum")
        self.vectors.put("exponent", "a root")

    def _rotate(self, op):
        """Queries to the activations, keys to the cache: turned, and in 8 bits."""
        hd, places, window = self.config.head_dim, self.places, self.model.window
        start = self.vectors.place("wide", op.vector)
        if op.vector == self.attention.source.q:
            heads, target, stride, where = self.config.n_heads, places.queries, hd, {"byte": True}
            self.vectors.put("bytes", op.vector, places.queries, heads * hd)
        else:
            heads, target, stride, where = self.config.n_kv_heads, 0, window * hd, {"key": True}
        control, count = Control(width=Width.BYTE, **where), hd
        second, shift = ONE, EXTRA
        if op.rotation is not None:
            turned = {"step": Step.PAIRS, "b_next": True, "group": Group.TWO}
            control, count = Control(width=Width.BYTE, **turned, **where), 2 * hd
            second, shift = places.sines, ROPE_SHIFT + EXTRA
        for head in range(heads):
            source, to = start + head * hd, target + head * stride
            self._do(control, count, source=source, second=second, target=to, shift=shift)

    def _attention(self, op):
        queries = self.vectors.place("bytes", op.source.q)
        for head in range(op.source.n_heads):
            self._head(op, head, queries + head * op.source.head_dim)
        self.vectors.put("bytes", "powers", self.places.work, op.window)
        size = op.source.n_heads * op.source.head_dim
        self.vectors.put("bytes", op.source.out, self.places.attention, size)

    def _head(self, op, head, queries):
        """Scores, their powers, and values of one query head."""
        s, window, places = op.source, op.window, self.places
        work, words = places.work, window * s.head_dim // self.columns
        keys = head // s.group * words
        dot = {"a": A.PRODUCT, "cache": True}
        seen = {"each": True, "masked": True}
        scores = Control(**dot, beats=s.head_dim // self.columns, wide=True, largest=True, **seen)
        self._do(
            scores,
            window,
            source=keys,
            second=SIXTEEN,
            target=work,
            vector=queries // self.columns,
            shift=op.score_shift,
        )
        powers = Control(add=Add.LARGEST, table=Table.EXP, byte=True, **seen)
        self._do(powers, window, source=work, second=ONE, target=work)
        along = {"along": True, "beats": window // self.columns}
        total = Control(**dot, **along, ones=True, wide=True, sum=True)
        self._do(total, 1, second=ONE, target=places.total, vector=work // self.columns)
        self._root()
        square, root = Control(step=Step.STAY, width=Width.HALF, half=True), places.root
        self._do(square, 1, source=root, second=root, target=places.inverse, shift=9)
        values = Control(
            **dot,
            **along,
            exponent=Exponent.PLUS,
            width=Width.BYTE,
            byte=True,
        )
        self._do(
            values,
            s.head_dim,
            source=places.values // self.columns + keys,
            second=places.inverse,
            target=places.attention + head * s.head_dim,
            vector=work // self.columns,
            shift=21,
        )
        self.vectors.put("wide", "scores", work, window)

    def _activation(self, op):
        """Gates times their shares that pass, which came with them: at their place."""
        hidden, work = self.config.hidden_dim, self.places.work
        self.vectors.put("half", "shares", work, hidden)
        product = Control(b_next=True, wide=True)
        if not op.source.up:
            product = replace(product, width=Width.HALF, sum=True)
        shift = GATE_SHIFTS[op.source.activation]
        self._do(product, hidden, source=work, second=work, target=work, shift=shift)

    def _gate(self, op):
        s, hidden, work = op.source, self.config.hidden_dim, self.places.work
        self.vectors.place("wide", s.gate)
        if s.up:
            self.vectors.place("half", s.up)
            product = Control(b_next=True, width=Width.HALF, wide=True, sum=True)
            shift = op.fraction
            self._do(product, hidden, source=work, second=work, target=work, shift=shift)
        short = Control(measure=Measure.SEVEN, exponent=Exponent.PLUS, width=Width.BYTE, byte=True)
        self._do(short, hidden, source=work, second=ONE, target=self.places.hidden)
        self.vectors.put("measured", s.out)
        self.vectors.put("exponent", s.out)
        self.vectors.put("bytes", s.out, self.places.hidden, hidden)

    def _do(self, control, count, **numbers):
        self.program.append(Instruction(control, count, **numbers))

    def _mark(self, place=-1, **fields):
        """Change an instruction's control."""
        instruction = self.program[place]
        control = replace(instruction.control, **fields)
        self.program[place] = replace(instruction, control=control)
