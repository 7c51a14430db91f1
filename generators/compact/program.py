"""The compact machine's program, tapes and first contents of its memories."""

import numpy as np
from celosia.reference.compact.arithmetic import DOWN_SHIFT, EXTRA, ROPE_SHIFT, SIGMOID_FRACTION
from celosia.reference.compact.tables import initial_state
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
    Stride,
    Table,
    Width,
)
from celosia.rtl.compact.shape import CompactImage, CompactShape
from celosia.rtl.memory.spram import SPRAM_DEPTH

__all__ = ["write_compact"]

ONE, MINUS, SIXTEEN = range(3)  # constants in the half memory
TURNS = 4  # behind them the rotation of a position, and a position's sines and cosines


def write_compact(model, max_seq_len):
    """``(CompactShape, CompactImage)`` for ``model``.

    Parameters
    ----------
    model : celosia.reference.compact.arithmetic.CompactModel
    max_seq_len : int

    Raises
    ------
    ValueError
        If the model has sizes that the machine cannot have.
    """
    c = model.config
    for name, value in (("dim", c.dim), ("head_dim", c.head_dim)):
        if value % 4:
            raise ValueError(f"{name} must be a multiple of 4, not {value}")
    for name, value in (("dim", c.dim), ("n_heads * head_dim", c.n_heads * c.head_dim)):
        if value not in range(16, 257):
            raise ValueError(f"{name} must be from 16 to 256, not {value}")
    if c.hidden_dim not in range(16, 1021):
        raise ValueError(f"hidden_dim must be from 16 to 1020, not {c.hidden_dim}")
    return _Writer(model, max_seq_len).write()


class _Writer:
    """Appends instructions, and to the tapes what each reads."""

    def __init__(self, model, max_seq_len):
        self.model, self.config, self.max_seq_len = model, model.config, max_seq_len
        c = self.config
        self.program, self.weights, self.scales, self.gains = [], [], [], []
        self.words = 0
        # One place in the wide and the half memory, and in bytes that of softmax's powers.
        self.work = _up(max(c.dim, TURNS + 4 * c.head_dim))
        heads, hidden = c.n_heads * c.head_dim, _up(c.hidden_dim)
        self.query = self.work + c.dim
        self.key = self.query + heads
        used = max(c.dim + heads + c.n_kv_heads * c.head_dim, hidden, model.window)
        self.total = self.work + used
        self.root, self.one = self.total + 1, self.total + 2
        self.inverse = self.total + 2  # in the half memory
        self.state = self.total + 3
        self.before = self.state + c.head_dim
        self.turn, self.sines = TURNS, TURNS + 2 * c.head_dim
        # Of the activations, in bytes; the normed ones are at 0, the powers at ``work``.
        self.attention = self.work + _up(model.window)
        self.queries = self.attention + heads
        self.hidden = self.queries + heads
        self.vector_bytes = self.hidden + hidden
        self.values = c.n_kv_heads * model.window * c.head_dim  # bytes of a layer's keys

    def write(self):
        """All of it."""
        model, c = self.model, self.config
        self._begin()
        loop = len(self.program)
        for index, layer in enumerate(model.layers):
            self._layer(layer, index == 0)
        self._norm(model.head_gain, model.head_norm_shift, stop=True)
        embedding_address, embedding_scale = self.words, len(self.scales) + 1
        self._linear(model.head, 0, largest=True, end=True)
        if not c.tied:
            embedding_address, embedding_scale = self.words, len(self.scales)
            self._tape(model.embedding)
            self.scales += model.embedding.scale.tolist()
        hd = c.head_dim
        turn_cosine, turn_sine = model.rotation.T
        turns = np.stack([turn_cosine, -turn_sine, turn_sine, turn_cosine], axis=-1).reshape(-1)
        half = [1, -1, 16, 0, *turns.tolist()]
        wide = [0] * (self.before + hd)
        wide[self.one] = 1
        wide[self.before :] = initial_state(model.rotation).reshape(-1).tolist()
        shape = CompactShape(
            dim=c.dim,
            head_dim=hd,
            n_layers=c.n_layers,
            vocab_size=c.vocab_size,
            window=model.window,
            max_seq_len=self.max_seq_len,
            acc_width=self._acc_width(),
            wide_depth=_depth(len(wide)),
            half_depth=_depth(self.inverse + 1),
            vector_words=_depth(self.vector_bytes // 4),
            cache_words=2 * self.values // 4,
            embedding_address=embedding_address,
            embedding_scale=embedding_scale,
            loop=loop,
        )
        words = np.concatenate(self.weights)
        if len(words) > SPRAM_DEPTH:
            raise ValueError(
                f"its weights take {8 * len(words):,} bytes of the memory's {8 * SPRAM_DEPTH:,}"
            )
        image = CompactImage(
            program=self.program,
            weights=[int.from_bytes(word.tobytes(), "little") for word in words],
            scales=self.scales,
            gains=self.gains,
            wide=wide,
            half=half,
        )
        return shape, image

    def _begin(self):
        """The position's sines and cosines, and the token's embedding."""
        hd, half = self.config.head_dim, self.config.head_dim // 2
        copy = Control(wide=True)
        self._do(copy, hd, source=self.before, second=ONE, target=self.state)
        turn = Control(step=Step.PAIRS, b_next=True, group=Group.TWO, wide=True)
        self._do(turn, 2 * hd, source=self.state, second=self.turn, target=self.state, shift=15)
        part = Control(step=Step.SECOND, half=True, width=Width.HALF, stride=Stride.FOUR)
        for place, (which, sign) in enumerate(((0, ONE), (1, MINUS), (1, ONE), (0, ONE))):
            self._do(
                part,
                half,
                source=self.state + which,
                second=sign,
                target=self.sines + place,
                shift=8,
            )
        embed = Control(a=A.EMBEDDING, b=B.SCALE, wide=True, sum=True, rewind=True)
        self._do(embed, self.config.dim, shift=self.model.embedding_shift)

    def _layer(self, layer, first):
        """One layer; all have the same instructions, so only the first one's are kept."""
        begin = len(self.program)
        c, model, hd = self.config, self.model, self.config.head_dim
        self._norm(layer.norm_gain, model.norm_shift)
        self._linear(layer.q, self.query, wide=True)
        self._linear(layer.k, self.key, wide=True)
        self._linear(layer.v, self.values, value=True, stride=Stride.WINDOW, width=Width.BYTE)
        for head in range(c.n_heads):
            self._rope(self.query + head * hd, self.queries + head * hd, byte=True)
        for head in range(c.n_kv_heads):
            self._rope(self.key + head * hd, head * model.window * hd, key=True)
        for head in range(c.n_heads):
            self._attention(head)
        self._linear(layer.o, 0, vector=self.attention, add=Add.WIDE, wide=True, sum=True)
        self._norm(layer.ffn_gain, model.norm_shift)
        self._feed_forward(layer)
        if not first:
            del self.program[begin:]

    def _norm(self, gains, shift, stop=False):
        self.gains += gains.tolist()
        dim, work = self.config.dim, self.work
        short = Control(
            measure=Measure.FIFTEEN,
            exponent=Exponent.PLUS,
            width=Width.HALF,
            wide=True,
            half=True,
            stop=stop,
        )
        self._do(short, dim, second=ONE, target=work)
        squares = Control(b_next=True, group=Group.ALL, wide=True, sum=True)
        self._do(
            squares,
            dim,
            source=work,
            second=work,
            target=self.total,
            shift=self.model.square_shift,
        )
        self._root()
        self._do(Control(b=B.GAIN, wide=True), dim, source=work, target=work)
        normed = Control(exponent=Exponent.HALF, width=Width.BYTE, byte=True)
        self._do(normed, dim, source=work, second=self.root, shift=shift)

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
        self._do(root, 1, source=self.total, second=ONE, target=self.root)

    def _rope(self, source, target, **where):
        rope = Control(step=Step.PAIRS, b_next=True, group=Group.TWO, width=Width.BYTE, **where)
        self._do(
            rope,
            2 * self.config.head_dim,
            source=source,
            second=self.sines,
            target=target,
            shift=ROPE_SHIFT + EXTRA,
        )

    def _attention(self, head):
        c, window, work = self.config, self.model.window, self.work
        kv_head = head // (c.n_heads // c.n_kv_heads)
        words = window * c.head_dim // 4
        dot = {"a": A.PRODUCT, "cache": True}
        scores = Control(**dot, beats=c.head_dim // 4, wide=True, largest=True, masked=True)
        self._do(
            scores,
            window,
            source=kv_head * words,
            second=SIXTEEN,
            target=work,
            vector=(self.queries + head * c.head_dim) // 4,
            shift=self.model.score_shift,
        )
        powers = Control(add=Add.LARGEST, table=Table.EXP, half=True, byte=True, masked=True)
        self._do(powers, window, source=work, second=ONE, target=work)
        total = Control(step=Step.STAY, b_next=True, group=Group.ALL, wide=True, sum=True)
        self._do(total, window, source=self.one, second=work, target=self.total)
        self._root()
        square = Control(step=Step.STAY, width=Width.HALF, half=True)
        self._do(square, 1, source=self.root, second=self.root, target=self.inverse, shift=9)
        values = Control(
            **dot, beats=window // 4, exponent=Exponent.PLUS, width=Width.BYTE, byte=True
        )
        self._do(
            values,
            c.head_dim,
            source=self.values // 4 + kv_head * words,
            second=self.inverse,
            target=self.attention + head * c.head_dim,
            vector=work // 4,
            shift=21,
        )

    def _feed_forward(self, layer):
        hidden, work = self.config.hidden_dim, self.work
        self._linear(layer.gate, work, width=Width.HALF, wide=True)
        sigmoid = Control(table=Table.SIGMOID, half=True)
        step = self.model.gate_fraction - SIGMOID_FRACTION
        self._do(sigmoid, hidden, source=work, second=ONE, target=work, shift=step)
        silu = Control(b_next=True, wide=True)
        self._do(silu, hidden, source=work, second=work, target=work, shift=8)
        self._linear(layer.up, work, width=Width.HALF, half=True)
        product = Control(b_next=True, width=Width.HALF, wide=True, sum=True)
        self._do(
            product,
            hidden,
            source=work,
            second=work,
            target=work,
            shift=self.model.gate_fraction,
        )
        short = Control(measure=Measure.SEVEN, exponent=Exponent.PLUS, width=Width.BYTE, byte=True)
        self._do(short, hidden, source=work, second=ONE, target=self.hidden)
        self._linear(
            layer.down,
            0,
            vector=self.hidden,
            shift=DOWN_SHIFT,
            exponent=Exponent.MINUS,
            add=Add.WIDE,
            wide=True,
            sum=True,
            loop=True,
        )

    def _linear(self, op, target, vector=0, shift=0, **control):
        rows, columns = op.codes.shape
        self.scales += [op.shift, *op.scale.tolist()]
        self._tape(op)
        control = Control(
            a=A.PRODUCT, b=B.SCALE, tape_shift=True, beats=_up(columns) // 4, **control
        )
        self._do(control, rows, target=target, vector=vector // 4, shift=shift)

    def _tape(self, op):
        """The codes, four rows of four columns in a word: uint8[words, 8]."""
        rows, columns = op.codes.shape
        padded = np.zeros((_up(rows), _up(columns)), np.uint8)
        padded[:rows, :columns] = op.codes.view(np.uint8) & 15
        tiles = padded.reshape(_up(rows) // 4, 4, _up(columns) // 4, 4).transpose(0, 2, 1, 3)
        nibbles = tiles.reshape(-1, 8, 2)
        self.weights.append(nibbles[..., 0] | nibbles[..., 1] << 4)
        self.words += len(nibbles)

    def _do(self, control, count, **numbers):
        self.program.append(Instruction(control, count, **numbers))

    def _acc_width(self):
        model, c = self.model, self.config
        linears = ("q", "k", "v", "o", "gate", "up", "down")
        ops = [model.head] + [getattr(layer, name) for layer in model.layers for name in linears]
        sums = [int(np.abs(op.codes.astype(np.int64)).sum(axis=1).max()) for op in ops]
        largest = 128 * max(*sums, 128 * c.head_dim, 128 * model.window)
        return max(16, largest.bit_length() + 1)


def _up(n):
    return -(-n // 4) * 4


def _depth(n):
    """Words of the memory that holds ``n``: whole block RAMs."""
    return -(-n // 256) * 256
