import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import connect, flipped
from celosia.rtl.machine.collect import Collect
from celosia.rtl.machine.step import WORD_MEMBERS, Scalar
from celosia.rtl.stream.words import token_width
from celosia.sim import bench

ONE = 1 << 16  # the scalar of what is not scaled
WORDS = 3  # in a vector of the residual stream
HEADS = 8
SCORE_WIDTH = 19  # of the accumulators beside others
RESIDUAL = 0  # the route of the residual stream
STREAMS = ("operation", "tiles", "embedded", "row_scales", "sums", "o")


def norm(serial):
    """The scalar that the norm gives when it is asked for the ``serial``-th time."""
    return {"mantissa": 32768 + serial % 32768, "shift": serial % 37}


class Closed(wiring.Component):
    """A collector, a norm for each vector that it gives to the residual stream, queries' steps."""

    def __init__(
        self, rows, lanes, tokens, acc_width, steps, parts=1, paths=1, cached_rows=0, index_width=20
    ):
        more = {"parts": parts, "paths": paths, "score_width": SCORE_WIDTH}
        more["index_width"] = index_width
        more["cached_rows"] = cached_rows
        self.collect = Collect(rows, lanes, tokens, acc_width, **more)
        self.steps = steps
        members = self.collect.signature.members
        super().__init__({name: members[name] for name in ("group", *STREAMS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.collect = c = self.collect
        for name in STREAMS:
            connect(m, flipped(getattr(self, name)), getattr(c, name))
        table = Signal(data.ArrayLayout(c.query_steps.shape(), HEADS), init=self.steps)
        m.d.comb += [c.group.eq(self.group), c.query_steps.eq(table[c.head[:3]])]

        m.submodules.ended = ended = fifo.SyncFIFO(width=token_width(c.tokens), depth=64)
        clock, serial = Signal(3), Signal(15)
        residual = c.o.p.route == RESIDUAL
        m.d.sync += clock.eq(clock + 3)
        m.d.comb += [
            ended.w_data.eq(c.o.p.token),
            ended.w_en.eq(c.o.valid & c.o.ready & residual & (c.o.p.index == WORDS - 1)),
            ended.r_en.eq(clock[1:] == 0),
            c.norms.valid.eq(ended.r_en & ended.r_rdy),
            c.norms.p.token.eq(ended.r_data),
            c.norms.p.mantissa.eq(32768 + serial),
            c.norms.p.shift.eq(serial % 37),
        ]
        with m.If(c.norms.valid):
            m.d.sync += serial.eq(serial + 1)
        return m


def operations(rng, group, n_layers, index_width=20):
    """A pass: an embedding for each token, layers, logits of the last token."""

    def operation(scalar=None, **more):
        """One with a scalar, or one that writes the residual stream."""
        residual = scalar is None
        told = {n: rng.randrange(1 << shape.width) for n, shape in WORD_MEMBERS.items()}
        return {
            "route": RESIDUAL if residual else rng.randrange(1, 16),
            "loads": 0,
            "restarts": int(residual),
            "scalar": Scalar.ONE if residual else scalar,
            "chunks": WORDS if residual else rng.choice([1, 2, rng.randint(1, 9)]),
            "base": 0 if residual else rng.choice([0, rng.randrange(1 << index_width - 1)]),
            "argument": rng.randrange(256),
            "shift": rng.randrange(-40, 80),
            "head": rng.randrange(HEADS),
            **told,
            "first": 0,
            "group": group,
        } | more

    for token in range(group + 1):
        yield operation(loads=1, first=token, group=token)
    attention = [Scalar.QUERY, Scalar.QUERY, Scalar.SUM, Scalar.QUERY, Scalar.SUM, Scalar.SUM]
    for _ in range(n_layers):
        for scalar in (*[Scalar.NORM] * 3, *attention, None, Scalar.NORM, None):
            yield operation(scalar)
    yield operation(Scalar.NORM, first=group)


class Model:
    """The words of operations in order, and all that they are made of, chosen at random."""

    def __init__(self, rng, rows, lanes, tokens, acc_width, steps, parts=1, paths=1, cached_rows=0):
        self.rng, self.rows, self.lanes, self.tokens = rng, rows, lanes, tokens
        self.parts, self.paths, self.cached_rows = parts, paths, cached_rows
        self.limit, self.steps = 1 << (acc_width - 1), steps
        self.inputs = {name: [] for name in STREAMS[:-1]}
        self.norms, self.serial = {}, 0

    def numbers(self, n, low, high):
        return [self.rng.choice([low, high - 1, self.rng.randrange(low, high)]) for _ in range(n)]

    def rows_of(self, operation):
        """For each chunk and token the accumulators: the tiles' rows, or embedded words."""
        chunks, lanes = operation["chunks"], self.lanes
        if operation["loads"]:
            words = [self.numbers(lanes, -128, 128) for _ in range(chunks)]
            self.inputs["embedded"] += words
            return [{operation["first"]: word} for word in words]
        together = {Scalar.QUERY: self.paths, Scalar.SUM: self.parts}.get(operation["scalar"], 1)
        cached = self.cached_rows and operation["scalar"] in (Scalar.QUERY, Scalar.SUM)
        rows = self.cached_rows if cached else self.rows
        limit = self.limit // self.parts
        tiles = [
            [self.numbers(self.rows, -limit, limit) for _ in range(self.tokens)]
            for _ in range(-(-chunks * together * lanes // rows))
        ]
        self.inputs["tiles"] += tiles
        vectors = [
            [x for tile in tiles for x in tile[token][:rows]] for token in range(self.tokens)
        ]
        size = together * lanes
        words = [
            {token: v[chunk * size : (chunk + 1) * size] for token, v in enumerate(vectors)}
            for chunk in range(chunks)
        ]
        if operation["scalar"] == Scalar.SUM:
            return [
                {token: [sum(v[lane::lanes]) for lane in range(lanes)] for token, v in word.items()}
                for word in words
            ]
        return words

    def scalars(self, operation, group):
        """For each token of the operation what its words are multiplied by."""
        scalar = operation["scalar"]
        if scalar == Scalar.NORM:
            return self.norms
        if scalar == Scalar.QUERY:
            steps = self.steps[operation["head"]]
            return [{"mantissa": step << 7, "shift": 0} for step in steps]
        if scalar == Scalar.SUM:
            sums = [
                {"mantissa": self.rng.randint(1 << 15, 1 << 16), "shift": self.rng.randrange(40)}
                for _ in range(group + 1)
            ]
            self.inputs["sums"] += sums
            return sums
        for token in range(operation["first"], operation["group"] + 1):
            self.norms[token] = norm(self.serial)
            self.serial += 1
        return [{"mantissa": ONE, "shift": 0}] * self.tokens

    def beside(self, row, row_scale, scores):
        """The words of scores beside the first one, or nothing that counts."""
        if self.paths == 1:
            return {}
        starts = range(self.lanes, self.lanes * self.paths, self.lanes)
        half = 1 << SCORE_WIDTH - 1
        return {
            "beside": scores
            and [
                {
                    "data": [(x + half) % (2 * half) - half for x in row[n : n + self.lanes]],
                    "steps": [step >> 7 for step in row_scale[n : n + self.lanes]],
                }
                for n in starts
            ]
        }

    def words(self, operation, group):
        self.inputs["operation"].append(operation | {"single": operation["chunks"] == 1})
        tokens = range(operation["first"], operation["group"] + 1)
        scalars = self.scalars(operation, group)
        for chunk, rows in enumerate(self.rows_of(operation)):
            row_scale = self.numbers(self.lanes * self.paths, 0, 1 << 16)
            self.inputs["row_scales"].append(row_scale)
            for token in tokens:
                scores = self.paths > 1 and operation["scalar"] == Scalar.QUERY
                yield {
                    **self.beside(rows[token], row_scale, scores),
                    "data": rows[token][: self.lanes],
                    "token": token,
                    "index": self.paths * chunk if scores else operation["base"] + chunk,
                    "argument": operation["argument"],
                    "last": int(chunk + 1 == operation["chunks"] and token == tokens[-1]),
                    "row_scale": row_scale[: self.lanes],
                    "mantissa": scalars[token]["mantissa"],
                    "shift": min(max(operation["shift"] + scalars[token]["shift"], 3), 63),
                    **{name: operation[name] for name in ("route", *WORD_MEMBERS)},
                    "last_token": int(token == tokens[-1]),
                }


def every_word(operations, chunks, tokens):
    """The cycles of words that wait for nothing: a tile of one word takes 2 if others have more."""
    cycle = 2
    for operation in operations:
        for chunk in range(0, operation["chunks"], chunks):
            words = min(chunks, operation["chunks"] - chunk) * tokens
            yield from range(cycle, cycle + words)
            cycle += max(words, min(chunks, 2))


@pytest.mark.parametrize(("rows", "lanes", "tokens", "width"), [(8, 2, 3, 40), (4, 4, 1, 24)])
def test_words_with_their_scales(rows, lanes, tokens, width):
    rng = random.Random(rows)
    steps = [[rng.randrange(512) for _ in range(tokens)] for _ in range(HEADS)]
    cases, answers = [], []
    for stall in (0.0, 0.5, 0.8):
        for group in {tokens - 1, tokens // 2}:
            model = Model(rng, rows, lanes, tokens, width, steps)
            passes = [op for _ in range(2) for op in operations(rng, group, 2)]
            y = [word for op in passes for word in model.words(op, group)]
            case = {"inputs": model.inputs, "counts": len(y), "stall": stall, "seed": 9}
            cases.append(case | {"settings": {"group": group}})
            answers.append(y)
    scores = [op for op in operations(rng, tokens - 1, 20) if op["scalar"] == Scalar.QUERY]
    model = Model(rng, rows, lanes, tokens, width, steps)
    y = [word for op in scores for word in model.words(op, tokens - 1)]
    settings = {"group": tokens - 1}
    cases.append({"inputs": model.inputs, "counts": len(y), "settings": settings})
    answers.append(y)
    results = bench.run_many(Closed(rows, lanes, tokens, width, steps), cases)
    for result, y in zip(results, answers, strict=True):
        assert result.outputs["o"] == y
    assert results[-1].stream_cycles["o"] == [*every_word(scores, rows // lanes, tokens)]


@pytest.mark.parametrize(
    ("rows", "parts", "paths", "cached_rows", "tokens", "index_width"),
    [
        (16, 4, 2, 0, 2, 20),
        (6, 1, 1, 0, 1, 6),
        (8, 4, 4, 0, 1, 6),
        (8, 1, 1, 4, 1, 20),
        (6, 1, 1, 2, 2, 20),
        (24, 2, 2, 8, 1, 7),
        (16, 2, 2, 4, 2, 20),
    ],
)
def test_chunks_that_move_together(rows, parts, paths, cached_rows, tokens, index_width):
    """Scores by paths, weighted values summed over parts, all else chunk by chunk.

    Scores and values of the first rows of a tile alone, where keys and values have no more.
    """
    rng, lanes, width, sizes = random.Random(rows), 2, 40, (parts, paths, cached_rows)
    steps = [[rng.randrange(512) for _ in range(tokens)] for _ in range(HEADS)]
    cases, answers = [], []
    for stall in (0.0, 0.5, 0.8):
        model = Model(rng, rows, lanes, tokens, width, steps, *sizes)
        passes = [op for _ in range(2) for op in operations(rng, tokens - 1, 2, index_width)]
        y = [word for op in passes for word in model.words(op, tokens - 1)]
        case = {"inputs": model.inputs, "counts": len(y), "stall": stall, "seed": 9}
        cases.append(case | {"settings": {"group": tokens - 1}})
        answers.append(y)
    results = bench.run_many(Closed(rows, lanes, tokens, width, steps, *sizes, index_width), cases)
    for result, y in zip(results, answers, strict=True):
        for word, known in zip(result.outputs["o"], y, strict=True):
            if known.get("beside") is False:
                known["beside"] = word["beside"]
            assert word == known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 0, 1, 40), "lanes must be from 1 to 64, not 0"),
        ((6, 4, 1, 40), r"rows must be a multiple of lanes \(4\) to 1024, not 6"),
        ((8, 4, 65, 40), "tokens must be from 1 to 64, not 65"),
        ((8, 4, 1, 23), "acc_width must be from 24 to 56, not 23"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Collect(*arguments)


@pytest.mark.parametrize(
    ("parts", "paths", "message"),
    [
        (3, 1, "parts must be a power of two from 1 to 4, not 3"),
        (2, 4, "paths must be a power of two from 1 to 2, not 4"),
    ],
)
def test_bad_parts(parts, paths, message):
    with pytest.raises(ValueError, match=message):
        Collect(8, 2, 1, 40, parts=parts, paths=paths)


def test_bad_cached_rows():
    message = r"cached_rows must be a multiple of lanes \* parts \(4\) to rows \(8\), not 6"
    with pytest.raises(ValueError, match=message):
        Collect(8, 2, 1, 40, parts=2, cached_rows=6)
