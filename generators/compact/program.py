"""The compact machine's program, tapes and first contents of its memories."""

from dataclasses import replace

import numpy as np
from amaranth.utils import ceil_log2
from celosia.generators.compact.overlap import overlapped
from celosia.generators.compact.places import (
    MINUS,
    ONE,
    TURNS,
    biased,
    round_up,
)
from celosia.generators.compact.steps import CompactSteps
from celosia.reference.compact.matrix import CONSTANTS
from celosia.reference.compact.operations import (
    BYTE,
    HALF,
    ONES,
    SIGMOID_FRACTION,
    WIDE,
    CompactAttention,
    CompactGate,
    CompactLinear,
    CompactNorm,
)
from celosia.reference.compact.tables import initial_state
from celosia.reference.compact.trits import TRITS, pack
from celosia.reference.operations import Norm
from celosia.rtl.compact.operation import (
    A,
    Add,
    B,
    Control,
    Exponent,
    Group,
    Step,
    Stride,
    Table,
    Width,
    field_bits,
)
from celosia.rtl.compact.shape import CompactImage, CompactShape
from celosia.rtl.memory.spram import SPRAM_DEPTH

__all__ = ["write_compact"]

DIM, HIDDEN, VOCABULARY = 2048, 8192, 65536  # the most


def write_compact(model, max_seq_len, rows=4, columns=4, spram=False, sampling=False):
    """``(CompactShape, CompactImage)`` for ``model``.

    Parameters
    ----------
    model : celosia.reference.compact.arithmetic.CompactModel
    max_seq_len : int
    rows, columns : int
        Weights of a beat.
    spram : bool
        The tape is to lie in single-port memories.
    sampling : bool
        Runs may have a temperature.

    Raises
    ------
    ValueError
        If the model has sizes that the machine cannot have.
    """
    c = model.config
    # A tile's results are scaled while the next is summed up.
    octets = rows * columns * model.weight_width // 8
    tile = TRITS * octets // columns if model.ternary else rows
    least = max(tile, rows) * columns
    for name, value in (("dim", c.dim), ("head_dim", c.head_dim), ("window", model.window)):
        if value % columns:
            raise ValueError(f"{name} must be a multiple of {columns}, not {value}")
    for name, value, most in (
        ("dim", c.dim, DIM),
        ("n_heads * head_dim", c.n_heads * c.head_dim, DIM),
        ("hidden_dim", c.hidden_dim, HIDDEN),
    ):
        if value not in range(least, most + 1):
            raise ValueError(f"{name} must be from {least} to {most}, not {value}")
    if c.vocab_size > VOCABULARY:
        raise ValueError(f"vocab_size must be at most {VOCABULARY}, not {c.vocab_size}")
    return _Writer(model, rows, columns, tile).write(max_seq_len, spram, sampling)


class _Writer(CompactSteps):
    """Appends instructions, and to the tapes what each reads."""

    def __init__(self, model, rows, columns, tile):
        super().__init__(model, rows, columns)
        self.tile = tile  # rows of a layer's
        self.weights, self.scales, self.words = [], [], 0
        self.tables = {}  # where on the tapes of weights and scales a table lies

    def write(self, max_seq_len, spram, sampling):
        """All of it."""
        model, places = self.model, self.places
        self.max_seq_len = max_seq_len
        self._begin()
        loop = len(self.program)
        for index, layer in enumerate(model.layers):
            self._layer(index, layer, loop)
        self._mark(loop=True)
        first = len(self.program)
        self._operations(model.end)
        self._mark(end=True)
        self._mark(first, stop=True)
        self.program = overlapped(self.program, loop, self.columns)
        embedding_address, embedding_scale = self._embeddings()
        wide, half = self._contents()
        c, gate = self.config, next(iter(self._all(CompactGate)), None)
        shape = CompactShape(
            dim=c.dim,
            head_dim=c.head_dim,
            n_layers=c.n_layers,
            vocab_size=c.vocab_size,
            window=model.window,
            max_seq_len=self.max_seq_len,
            rows=self.rows,
            columns=self.columns,
            weight_width=model.weight_width,
            ternary=model.ternary,
            spram=spram,
            acc_width=self._acc_width(),
            sum_width=self._sum_width(),
            wide_depth=_depth(places.wide_size),
            half_depth=_depth(places.half_size),
            vector_words=_depth(places.vector_bytes // self.columns),
            cache_words=2 * places.values // self.columns,
            tape_words=SPRAM_DEPTH if spram else self.words,
            bits=field_bits(self.program),
            embedding_address=embedding_address,
            embedding_scale=embedding_scale,
            loop=loop,
            activation=gate.source.activation if gate else "silu",
            gate_shift=gate.fraction - SIGMOID_FRACTION if gate else 0,
            positions=len(model.begin) > 1,
            sampling=sampling,
            logit_fraction=model.logit_fraction if sampling else 0,
        )
        if spram and self.words > SPRAM_DEPTH:
            raise ValueError(
                f"its weights take {8 * self.words:,} bytes of the memory's {8 * SPRAM_DEPTH:,}"
            )
        words = np.concatenate(self.weights)
        image = CompactImage(
            program=self.program,
            weights=[int.from_bytes(word.tobytes(), "little") for word in words],
            scales=self.scales,
            gains=self.gains,
            wide=wide,
            half=half,
        )
        return shape, image

    def _all(self, kind):
        return [op for op in self.model.operations if isinstance(op, kind)]

    def _contents(self):
        """The first contents of the wide and the half memory."""
        places, rotation = self.places, self.model.rotation
        wide, half = [0] * places.wide_size, [1, -1, 16, 0]
        wide[places.constants :] = CONSTANTS[: places.wide_size - places.constants].tolist()
        if rotation is not None:
            cosine, sine = rotation.T
            turns = np.stack([cosine, -sine, sine, cosine], axis=-1)
            half += turns.reshape(-1).tolist()
            wide[places.before : places.constants] = initial_state(rotation).reshape(-1).tolist()
        return wide, half

    def _begin(self):
        """The position's sines and cosines, the biases' constants, the embedding."""
        if self.model.rotation is not None:
            self._turn()
        if biased(self.model.description) or not self.program:
            places, byte = self.places, Control(width=Width.BYTE, byte=True)
            self._do(byte, 4, source=places.constants, second=ONE, target=places.ones)
        for op in self.model.begin:
            self._embed(op)
        self._mark(rewind=True)

    def _turn(self):
        """The sines and cosines; the first instruction is left out behind position 0."""
        hd, half, places = self.config.head_dim, self.config.head_dim // 2, self.places
        copy = Control(wide=True)
        self._do(copy, hd, source=places.before, second=ONE, target=places.state)
        turn = Control(step=Step.PAIRS, b_next=True, group=Group.TWO, wide=True)
        state = places.state
        self._do(turn, 2 * hd, source=state, second=TURNS, target=state, shift=15)
        part = Control(step=Step.SECOND, half=True, width=Width.HALF, stride=Stride.FOUR)
        for place, (which, sign) in enumerate(((0, ONE), (1, MINUS), (1, ONE), (0, ONE))):
            target = places.sines + place
            self._do(part, half, source=state + which, second=sign, target=target, shift=8)

    def _embed(self, op):
        """Row by row the residual stream grows: of the token, of the position."""
        a, add = (A.POSITION, Add.WIDE) if op.positions else (A.EMBEDDING, Add.NONE)
        control = Control(a=a, b=B.SCALE, add=add, wide=True, sum=True)
        self._do(control, self.config.dim, shift=op.shift)
        self.vectors.put("wide", op.out, 0, self.config.dim)
        self.vectors.put("measured", op.out)

    def _embeddings(self):
        """Where the embedding's weights and scales are: the head's, or behind these."""
        found = 0, 0
        for place, op in enumerate(self.model.begin):
            if op.name in self.tables:
                found = self.tables[op.name]
                continue
            if not place:
                found = self.words, len(self.scales)
            matrix = op.matrix
            if op.positions:
                rows = round_up(self.config.vocab_size, self.rows)
                self.scales += [0] * (found[1] + rows - len(self.scales))
                codes, scale = matrix.codes[: self.max_seq_len], matrix.scale[: self.max_seq_len]
                matrix = replace(matrix, codes=codes, scale=scale)
            self._tape(matrix.codes)
            self.scales += matrix.scale.tolist()
        return found

    def _layer(self, index, operations, loop):
        """One layer; all have the same instructions, so only the first one's are kept."""
        begin = len(self.program)
        self._operations(operations)
        if index:
            if self.program[begin:] != self.program[loop:begin]:
                raise ValueError(f"layer {index} has other instructions than layer 0")
            del self.program[begin:]

    def _operations(self, operations):
        self.ups = {op.source.up for op in operations if isinstance(op, CompactGate)}
        self.gates = {op.source.gate: op for op in operations if isinstance(op, CompactGate)}
        self.attention = next((op for op in operations if isinstance(op, CompactAttention)), None)
        queries = self.attention and self.attention.source.q
        norms = [op for op in operations if isinstance(op, CompactNorm)]
        self.queries = {queries} | {op.input for op in norms if op.out == queries}
        for op in operations:
            getattr(self, f"_{type(op).__name__.removeprefix('Compact').lower()}")(op)

    def _linear(self, op):
        """A matrix: onto the residual stream, to the cache, to a gate, as queries, keys, logits."""
        places, rows, codes = self.places, len(op.matrix.codes), op.matrix.codes
        vector, control, target = 0, {"wide": True}, 0
        if op.input == ONES:
            before = (self.rows - 1) * self.columns  # of a tile's words, all but the last
            vector, codes = places.ones - before, np.pad(codes, ((0, 0), (before, 0)))
        else:
            vector = self.vectors.place("bytes", op.input)
        if op.input in {gate.out for gate in self.gates.values()}:
            self.vectors.place("exponent", op.input)
            control["exponent"] = Exponent.MINUS
        if op.add:
            control |= {"add": Add.WIDE, "sum": True}
            self.vectors.put("measured", op.out)
        elif op.out == "logits":
            control = {"largest": True}
        elif op.width == BYTE:
            control = {"value": True, "stride": Stride.WINDOW}
            target = places.values
        elif op.out in self.ups:
            control, target = {"half": True}, places.work
            self.vectors.put("half", op.out, target, rows)
        else:
            if op.out in self.gates:
                control |= {"table": Table.GATE, "half": True}
            target = self._target(op)
            self.vectors.put("wide", op.out, target, rows)
        width = {WIDE: Width.WIDE, HALF: Width.HALF, BYTE: Width.BYTE}[op.width]
        self.tables[op.name] = self.words, len(self.scales) + 1
        self.scales += [op.matrix.shift, *op.matrix.scale.tolist()]
        if self.model.ternary and op.out != "logits":
            self._ternary_tape(codes)
        else:
            self._tape(codes)
        beats = round_up(codes.shape[1], self.columns) // self.columns
        control = Control(
            a=A.PRODUCT, b=B.SCALE, tape_shift=True, beats=beats, width=width, **control
        )
        self._do(control, rows, target=target, vector=vector // self.columns, shift=op.base)
        if op.out in self.gates:
            self._activation(self.gates[op.out])

    def _target(self, op):
        """Gates, queries and keys have places of their own in the wide memory."""
        if op.out in self.gates:
            return self.places.work
        return self.places.query if op.out in self.queries else self.places.key

    def _tape(self, codes):
        """The codes, rows of columns in a word: uint8[words, bytes]."""
        words = self._tiles(codes, self.rows).view(np.uint8)
        if self.model.weight_width == 4:
            words = words[:, 0::2] & 15 | words[:, 1::2] << 4
        self.weights.append(words)
        self.words += len(words)

    def _ternary_tape(self, codes):
        """Likewise, of five digits in a byte."""
        words = self._tiles(codes, self.tile)
        self.weights.append(pack(words.reshape(len(words), -1, TRITS)))
        self.words += len(words)

    def _tiles(self, codes, rows):
        """int8[words, rows * columns]."""
        (height, width), columns = codes.shape, self.columns
        padded = np.zeros((round_up(height, rows), round_up(width, columns)), np.int8)
        padded[:height, :width] = codes
        tiles = padded.reshape(-1, rows, padded.shape[1] // columns, columns)
        return tiles.transpose(0, 2, 1, 3).reshape(-1, rows * columns)

    def _acc_width(self):
        c, codes = self.config, [op.matrix.codes for op in self._all(CompactLinear)]
        sums = [int(np.abs(code.astype(np.int64)).sum(axis=1).max()) for code in codes]
        largest = 128 * max(*sums, 128 * c.head_dim, 128 * self.model.window)
        return max(16, largest.bit_length() + 1)

    def _sum_width(self):
        """Bits of a sum of squares of 16 bits, of a product of 16 bits more."""
        d = self.model.description
        largest = max(d.sizes[op.input] // op.groups for op in d.find(Norm))
        return max(40, self._acc_width() + 16, 32 + ceil_log2(largest))


def _depth(n):
    """Words of the memory that holds ``n``: whole block RAMs."""
    return -(-n // 256) * 256
