"""The program: an operation's steps, and on the tapes every weight in the order of its use."""

import numpy as np
from amaranth.hdl import Shape
from celosia.generators.program.attention_steps import AttentionSteps
from celosia.generators.program.expert_steps import ExpertSteps
from celosia.generators.program.recurrent_steps import recurrent_steps
from celosia.generators.program.tape_writer import Tapes, TapeWriter
from celosia.generators.program.ways import Ways
from celosia.reference.operations.add import IntegerAdd
from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.cap import IntegerCap
from celosia.reference.operations.experts import IntegerExperts
from celosia.reference.operations.gate import IntegerGate
from celosia.reference.operations.linear import IntegerLinear
from celosia.reference.operations.norm import IntegerNorm, IntegerStreamNorm
from celosia.reference.operations.recur import IntegerRecur
from celosia.reference.quantization.matrix import Matrix, ceil_log2
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.kv_cache.slots import check_slots, view_table
from celosia.rtl.machine.program import Load, Program, Run
from celosia.rtl.machine.step import Operand, Region, Scalar, argument, step_layout
from celosia.rtl.stream.checks import check_range

__all__ = ["Tapes", "write_program"]


def _limits(shape):
    """The least and the largest number of a shape, or None if it holds no single number."""
    try:
        shape = Shape.cast(shape)
    except TypeError:
        return None
    low = -(1 << shape.width - 1) if shape.signed else 0
    return low, low + (1 << shape.width) - 1


#: Of each member of a step its least and its largest number.
STEP = {name: _limits(shape) for name, shape in step_layout().members.items()}


def write_program(model, rows, views, tape=None, cached_rows=0, parts=1, paths=1):
    """The program of ``model`` for a fabric of ``rows``, its tapes, and its routes.

    Each matrix is on the tape once, in the order of its use: tile after tile of ``rows`` rows, in
    a tile block after block of ``lanes`` columns, in a block row by row; missing rows are zero. Row
    scales are on theirs in words of ``lanes``; each head's value scales are among them where its
    weighted values are computed. Biases are on a third one. A tied embedding is the head's matrix;
    other tables follow the head. The tables' scales come last. Experts lie all where the first one
    chosen is used.

    Parameters
    ----------
    model : QuantizedModel
    rows : int, a multiple of the model's lanes to 1024
    views : tuple of celosia.reference.view.View
        What each layer sees, and the slots of its cache.
    tape : TapeWriter, optional
        What takes what is written; by default a new one.
    cached_rows : int
        Rows of a tile of keys or values; 0 for ``rows``.
    parts, paths : int
        See :class:`celosia.rtl.kv_cache.places.CachePlaces`.

    Returns
    -------
    (Tapes, tuple of Route)

    Raises
    ------
    ValueError
        If a parameter, or what a step says of the model, is out of range.
    """
    lanes = model.scheme.lanes
    if rows not in range(lanes, 1025, lanes):
        raise ValueError(f"rows must be a multiple of lanes ({lanes}) to 1024, not {rows!r}")
    layers = model.config.n_layers
    if len(views) != layers:
        raise ValueError(f"views must be those of {layers} layers, not of {len(views)}")
    for view in views:
        check_slots(view, 1, cached_rows or rows, lanes)
    wide = model.scheme.wide_head
    if wide and not 0 < model.scheme.head_width * cached_rows <= model.scheme.weight_width * rows:
        raise ValueError(
            "head_width must be weight_width without groups, unless so many bits of all rows "
            "hold the head's of each row of keys and values"
        )
    tape = tape or TapeWriter(model, rows, cached_rows)
    return Writer(model, rows, views, tape, cached_rows or rows, parts, paths).write()


class Writer:
    """Appends steps, and to the tapes what each step reads.

    Members
    -------
    model : QuantizedModel
    rows, lanes : int
    head_words, attention_start, hidden_start : int
    places : CachePlaces
    view_numbers : list of int
    tape : TapeWriter
    ways : Ways
    runs : list of Run
        Those that the passes read, as far as the last experts.
    """

    def __init__(self, model, rows, views, tape, cached_rows, parts=1, paths=1):
        c, scheme = model.config, model.scheme
        self.model, self.config = model, c
        self.rows, self.cached_rows, self.lanes = rows, cached_rows, scheme.lanes
        self.head_form = {"planes": scheme.head_planes, "wide": scheme.wide_head}
        self.head_words = model.head_dim // self.lanes
        self.dim_words = scheme.padded(c.dim) // self.lanes
        self._norms = self._norms_behind()
        self.norm_stride = 1 << ceil_log2(self.dim_words)
        self.most_norms = max(1, *map(len, self._norms.values()))
        # Regions of the activation memory.
        self.attention_start = self.dim_words + (self.most_norms - 1) * self.norm_stride
        recurs = any(isinstance(op, IntegerRecur) for op in model.operations)
        mixed = self.dim_words if recurs else c.n_heads * self.head_words
        self.hidden_start = self.attention_start + mixed
        slots = tuple(view.slots for view in views)
        sizes = cached_rows, self.lanes, slots, c.n_kv_heads, self.head_words
        self.places = CachePlaces(*sizes, parts=parts, paths=paths)
        _, self.view_numbers = view_table(views)
        self.tape, self.ways = tape, Ways(model)
        self.steps, self.gains = [], {}
        self.runs, self._run_start = [], (0, 0)

    def _norms_behind(self):
        """For each operation that writes the residual stream the norms that read what it wrote."""
        found, norms = {}, []
        for op in reversed(self.model.operations):
            if isinstance(op, IntegerNorm):
                norms.insert(0, op)
            elif getattr(op, "out", None) == "x":
                found[id(op)], norms = norms, []
        return found

    def write(self):
        """Write the loads, all layers, the head, and the tables."""
        begin = self.behind(self.model.begin[0])
        self.again(self.model.begin[0], "embedding")
        for index, operations in enumerate(self.model.layers):
            self._layer(index, operations)
        before = self._counts()
        if self.runs:
            self.end_run()
        self._head()
        after = self._counts()
        if self.runs:
            self.end_run()
        loads = self._loads(before, begin)
        program = self._program(before, after, loads)
        routes = self.ways.routes(self.attention_start, self.hidden_start)
        return self.tape.tapes(program, self.gains), routes

    def _program(self, before, after, loads):
        """The program, of tapes that are as long as they were before and after the head."""
        weights, scales, biases = zip(before, after, strict=True)
        if self.runs:
            every = [(run.weights[1], run.scales[1]) for run in self.runs]
            weights, scales = zip(np.sum(every[:-1], 0), np.sum(every, 0), strict=True)
            weights, scales = (tuple(map(int, words)) for words in (weights, scales))
        experts = self.ways.n_experts
        rest = biases, tuple(self.runs), experts, self.most_norms
        return Program(self.steps, weights, scales, loads, *rest)

    def begin_run(self):
        """What the tapes now get is a run that all passes read, until it ends; its addresses."""
        self._run_start = self.tape.beats, self.tape.scale_words
        return self._run_start

    def end_run(self):
        """End that run, if there is anything in it; the addresses behind it."""
        start = self._run_start
        end = self.begin_run()
        if end != start:
            weights, scales = ((a, b - a) for a, b in zip(start, end, strict=True))
            self.runs.append(Run(weights, scales))
        return end

    def _counts(self):
        return self.tape.beats, self.tape.scale_words, self.tape.bias_words

    def behind(self, op):
        """What a step that writes the residual stream says of the norm behind it."""
        norms = self._norms[id(op)]
        if not norms:
            return {"argument": argument(shift=0), "norm": 0, "normed": 0, "restarts": 0}
        return self._normed(norms[0]) | {"restarts": 1}

    def _normed(self, norm):
        return {
            "argument": argument(shift=norm.shift),
            "norm": self._gains(norm),
            "normed": 1,
        }

    def again(self, op, name):
        """The further norms of what ``op`` wrote, each as a step that adds nothing to it.

        A matrix of zeros of one word's columns brings the residual stream past the next gains.
        """
        for number, norm in enumerate(self._norms[id(op)][1:], 1):
            size = self.dim_words * self.lanes
            nothing = Matrix(np.zeros((size, self.lanes), np.int8), np.zeros(size, np.int64), 0)
            self.tape.matrix(nothing)
            self.tape.scales(nothing.scale)
            self.product(
                nothing,
                name=f"{name} again",
                route="residual",
                keep=1,
                base=number * self.norm_stride,
                **self._normed(norm),
            )

    def _gains(self, norm):
        """The number of a norm's gains."""
        layers = self.model.layers
        where = next((f"layers.{n}." for n, ops in enumerate(layers) if norm in ops), "")
        name = where + norm.source.key
        if name not in self.gains:
            self.gains[name] = norm.gains
            self.ways.weigh(norm)
        return list(self.gains).index(name)

    def _layer(self, index, operations):
        attention = AttentionSteps(self, index, operations)
        for place, op in enumerate(operations):
            if isinstance(op, IntegerLinear) and not attention.has(op):
                self._matrix(index, operations, place)
            elif isinstance(op, IntegerAttention):
                attention.write()
            elif isinstance(op, IntegerRecur):
                recurrent_steps(self, index, operations, op)
            elif isinstance(op, IntegerExperts):
                ExpertSteps(self, index, op, self.source(operations, place)).write()

    def _matrix(self, index, operations, place):
        """A matrix whose results go to the residual stream, or to a gate."""
        op = operations[place]
        name = f"layers.{index}.{op.name}"
        if op.add:
            self.residual(op, name, self.source(operations, place), op, {})
            return
        way = self.ways.after(operations, place)
        if isinstance(way.end, IntegerRecur):
            return  # in the order that this needs
        if isinstance(way.end, IntegerAdd):
            told = self.ways.members(way)
            self.residual(op, name, self.source(operations, place), way.end, told, way.route)
        elif isinstance(way.end, IntegerGate):
            self.ways.gate(way.end)
            inner = self.ways.after(operations, operations.index(way.end))
            self.linear(
                op,
                name=name,
                route="gated",
                fills=Region.HIDDEN,
                argument=way.end.shift,
                **self.ways.members(inner, "gated"),
                **self.source(operations, place),
            )
        else:
            raise ValueError(f"{name}: there is no way for its results")

    def residual(self, op, name, source, end, told, route="residual"):
        """A matrix that adds to the residual stream, and the norm behind ``end``."""
        behind = self.behind(end)
        fills = Region.NORMED if behind["normed"] else Region.NONE
        self.linear(op, name=name, route=route, keep=1, fills=fills, **behind, **source, **told)
        self.again(end, name)

    def source(self, operations, place):
        """Where a matrix' activations come from, and what its results are multiplied by."""
        name = operations[place].input
        for op in reversed(operations[:place]):
            if getattr(op, "out", None) != name:
                continue
            if isinstance(op, IntegerNorm):
                scalar = Scalar.ONE if op.epsilon is None else Scalar.NORM
                return {"region": Region.NORMED, "source_base": self._base(op), "scalar": scalar}
            if isinstance(op, IntegerStreamNorm):
                name = op.input
            elif isinstance(op, IntegerAttention | IntegerRecur):
                return {"region": Region.ATTENTION, "source_base": self.attention_start}
            elif isinstance(op, IntegerGate):
                return {"region": Region.HIDDEN, "source_base": self.hidden_start}
        raise ValueError(f"no operation makes {name}")

    def _base(self, norm):
        """Where the activations of a norm of the residual stream begin."""
        (norms,) = (each for each in self._norms.values() if any(norm is one for one in each))
        return self.norm_stride * [norm is one for one in norms].index(True)

    def _head(self):
        """The logits, of the last token."""
        operations = self.model.end
        for op in operations:
            if isinstance(op, IntegerCap):
                self.ways.cap("logits", op.cap)
        (place,) = (n for n, op in enumerate(operations) if isinstance(op, IntegerLinear))
        self.linear(
            operations[place],
            **self.head_form,
            name="head",
            route="logits",
            last_token=1,
            **self.source(operations, place),
        )

    def _loads(self, before, behind):
        """The tables, behind the head but for a tied one, and what loads their rows."""
        (embed,) = self.model.begin
        head = next(op for op in self.model.end if isinstance(op, IntegerLinear))
        tables = [(embed.table, embed.name, {})]
        tables += [(digit, f"{embed.name} digit", {"keep": True}) for digit in embed.digits]
        if embed.positions_name:
            told = {"position": True, "offset": embed.offset, "keep": True}
            tables.append((embed.positions, embed.positions_name, told))
        tables = [(*each, told | {"normed": False}) for *each, told in tables[:-1]] + tables[-1:]
        addresses = []
        for table, name, _ in tables:
            addresses.append(before[0] if name == head.name else self.tape.beats)
            if name != head.name:
                self.tape.matrix(table, **self.head_form)
        loads = []
        for (table, _, told), address in zip(tables, addresses, strict=True):
            scale_address = self.tape.scale_words
            self.tape.scales(table.scale)
            loads.append(
                Load(
                    address=address,
                    scale_address=scale_address,
                    words=self.dim_words,
                    planes=self.head_form["planes"] == 2,
                    shift=table.shift,
                    argument=behind["argument"],
                    **told,
                )
            )
        return tuple(loads)

    def linear(self, op, planes=1, wide=False, rows=None, **fields):
        """A matrix, or some of its ``rows``, on the tapes and once through the fabric."""
        matrix, biases = op.matrix, op.bias
        if rows is not None:
            matrix = matrix.of(rows)
            biases = biases if biases is None else biases[rows]
        self.tape.matrix(matrix, planes, wide)
        self.tape.scales(matrix.scale)
        if biases is not None:
            self.tape.biases(biases)
            fields["bias"] = 1
        self.product(matrix, planes, wide, **fields)

    def product(self, matrix, planes=1, wide=False, scalar=Scalar.ONE, **fields):
        """A step: what the tapes hold of a matrix, once through the fabric."""
        n_rows, columns = matrix.weight.shape
        size, more = (self.cached_rows, {"operand": Operand.WIDE}) if wide else (self.rows, {})
        self.step(
            **more,
            words=planes * columns // self.lanes,
            planes=planes - 1,
            tiles=-(-n_rows // size),
            chunks=-(-n_rows // self.lanes),
            scalar=scalar,
            shift=matrix.shift - (scalar in (Scalar.NORM, Scalar.EXPERT)),
            **fields,
        )

    def step(self, region=Region.NONE, fills=Region.NONE, **fields):
        """A step of the program."""
        for name, value in fields.items():
            if name in STEP and isinstance(value, (int, np.integer)):
                check_range(f"a step's {name}", value, *STEP[name])
        self.steps.append({"region": region, "fills": fills, **fields})
