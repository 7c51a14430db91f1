"""The program and its tapes, read back the slow way: number by number, by the components' rules."""

import numpy as np
import pytest
from celosia.generators.program import write_program
from celosia.reference.matrix import Matrix
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations.attention import Attention, IntegerAttention
from celosia.reference.operations.embed import Embed, IntegerEmbed
from celosia.reference.operations.gate import Gate, IntegerGate
from celosia.reference.operations.linear import IntegerLinear, Linear, LinearPair
from celosia.reference.operations.norm import IntegerNorm, Norm
from celosia.reference.operations.rotate import IntegerRotate, Rotate
from celosia.reference.quantize import QuantizedModel, Scheme
from celosia.reference.rewrites import machine_form
from celosia.rtl.kv_cache.on_chip_cache import KeyCache, ValueCache
from celosia.rtl.machine.step import BUFFERS, Kind, Operand, Region, Resource, Source, step_layout
from celosia.sim.payload import encode
from integer_operations import matrices, norms, only

NAMES = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size")

# the model's sizes; lanes, rows, max_seq_len; tied; heads whose queries come first
MACHINES = {
    "grouped 3:1, head_dim of 1.5 blocks": ((10, 14, 2, 3, 1, 6, 13), (4, 8, 21), True, 2),
    "untied, two groups": ((9, 7, 3, 6, 2, 4, 13), (2, 4, 16), False, 2),
    "one head, one row of blocks": ((5, 3, 1, 1, 1, 2, 1), (4, 4, 1), True, 1),
    "five heads in tiles wider than all": ((6, 11, 1, 5, 5, 2, 21), (2, 64, 9), False, 5),
    "queries behind the first scores": ((8, 6, 2, 10, 5, 4, 9), (2, 16, 12), False, 4),
    "tiles of one word, heads of three": ((4, 6, 1, 9, 3, 10, 9), (4, 4, 12), True, 2),
}


def quantized_model(sizes, lanes, tied):
    """A model of random integers: no two matrices alike, all sizes padded as they must be."""
    rng = np.random.default_rng(sum(sizes))
    c = ModelConfig(**dict(zip(NAMES, sizes, strict=True)), seq_len=64, tied=tied)
    s = Scheme(lanes=lanes)
    head_dim = s.padded(c.head_dim)
    description = machine_form(random_model(c)).description

    def size(vector):
        if ":" in vector:
            return sum(size(part) for part in vector.split(":"))
        heads = description.heads.get(vector)
        return heads * head_dim if heads else s.padded(description.sizes[vector])

    def matrix(rows, columns):
        weight = rng.integers(-128, 128, (rows, columns)).astype(np.int8)
        return Matrix(weight, rng.integers(1, 1 << 16, rows), int(rng.integers(0, 60)))

    def shift():
        return int(rng.integers(1, 60))

    def linear(op):
        rows = c.vocab_size if op.out == "logits" else size(op.out)
        name = getattr(op, "weight", None) or "+".join(op.weights)
        add = getattr(op, "add", False)
        return IntegerLinear(op.input, op.out, name, matrix(rows, size(op.input)), add=add)

    integer = {
        Embed: lambda op, _: IntegerEmbed(op.out, op.table, matrix(c.vocab_size, size(op.out))),
        Norm: lambda op, _: IntegerNorm(
            op, rng.integers(-(1 << 15), 1 << 15, size(op.input)), shift(), 1
        ),
        Linear: lambda op, _: linear(op),
        LinearPair: lambda op, _: linear(op),
        Rotate: lambda op, _: IntegerRotate(op.vector, (0,) * (head_dim // 2)),
        Attention: lambda op, layer: IntegerAttention(
            op, shift(), rng.integers(1, 1 << 16, (c.n_kv_heads, head_dim)), shift(), layer
        ),
        Gate: lambda op, _: IntegerGate(op, f"{op.gate}:{op.up}", shift()),
    }

    def integers(operations, layer=None):
        return [integer[type(op)](op, layer) for op in operations]

    begin, end = integers(description.begin), integers(description.end)
    layers = [integers(ops, layer) for layer, ops in enumerate(description.layers)]
    if tied:
        only(end, IntegerLinear).matrix.weight = only(begin, IntegerEmbed).table.weight
    return QuantizedModel(c, description, s, begin, layers, end, residual_fraction=12)


@pytest.fixture(scope="module", params=MACHINES)
def written(request):
    """A model; lanes, rows and positions of its machine, and its early heads; its tapes."""
    sizes, (lanes, rows, max_seq_len), tied, early = MACHINES[request.param]
    model = quantized_model(sizes, lanes, tied)
    return model, (lanes, rows, max_seq_len, early), write_program(model, rows, max_seq_len)


class Reader:
    """Walks along both tapes as the machine does, and notes which places it has read."""

    def __init__(self, tapes, lanes, rows):
        self.tapes, self.lanes, self.rows = tapes, lanes, rows
        self.beats, self.words = iter(tapes.weights), iter(tapes.scales)
        self.read = self.read_scales = 0

    def matrix(self, step, shape):
        """A step's matrix, weight by weight; whatever is outside of ``shape`` must be zero."""
        found = {}
        for tile in range(step["tiles"]):
            for word in range(step["words"]):
                beat = next(self.beats)
                self.read += 1
                for row in range(self.rows):
                    for lane in range(self.lanes):
                        place = tile * self.rows + row, word * self.lanes + lane
                        assert place not in found
                        found[place] = int(beat[row][lane])
        n_rows, columns = shape
        outside = [v for (r, col), v in found.items() if r >= n_rows or col >= columns]
        assert not any(outside)
        return [[found[r, col] for col in range(columns)] for r in range(n_rows)]

    def vector(self, step, size):
        """A step's row scales."""
        found = []
        for _ in range(step["chunks"]):
            found += [int(scale) for scale in next(self.words)]
            self.read_scales += 1
        assert not any(found[size:])
        assert len(found) - size < self.lanes
        return found[:size]


def linears(model, early):
    """All matrices in the order of their use: the kind of their step, the layer, and their rows.

    The queries of the ``early`` heads come before the others'.
    """
    heads = model.config.n_heads
    split = early * model.head_dim
    for index, layer in enumerate(model.layers):
        late = [(Kind.QUERY, "wq", slice(split, None))] * (early < heads)
        for kind, name, part in (
            (Kind.KEY, "wk", slice(None)),
            (Kind.QUERY, "wq", slice(split)),
            *late,
            (Kind.VALUE, "wv", slice(None)),
            (Kind.ADD, "wo", slice(None)),
            (Kind.SWIGLU, "w_gate+w_up", slice(None)),
            (Kind.ADD, "w_down", slice(None)),
        ):
            matrix = matrices(layer)[name]
            yield kind, index, matrix.weight[part], matrix.scale[part], matrix.shift
    head = only(model.end, IntegerLinear).matrix
    yield Kind.LOGITS, len(model.layers), head.weight, head.scale, head.shift


def test_every_weight_once_and_in_its_place(written):
    model, (lanes, rows, _, early), tapes = written
    reader, program = Reader(tapes, lanes, rows), tapes.program
    ops = linears(model, early)
    group = model.config.n_heads // model.config.n_kv_heads
    ends, layer, heads, queries = [], -1, {}, {}
    for step in program.steps:
        ends.append((reader.read, reader.read_scales))
        if step["kind"] == Kind.SCORE:
            continue
        if step["kind"] == Kind.ATTENTION:
            head = heads[layer] = heads.get(layer, -1) + 1
            value_scale = only(model.layers[layer], IntegerAttention).value_scale[head // group]
            assert reader.vector(step, len(value_scale)) == value_scale.tolist()
            continue
        kind, layer, weight, scale, _ = next(ops)
        assert step["kind"] == kind
        assert step.get("operand", Operand.TAPE) == Operand.TAPE
        if kind == Kind.QUERY:
            assert step["base"] * lanes == queries.get(layer, 0)
            queries[layer] = queries.get(layer, 0) + len(weight)
        assert reader.matrix(step, weight.shape) == weight.tolist()
        assert reader.vector(step, len(weight)) == scale.tolist()
    assert next(ops, None) is None
    all_rows = [len(matrices(layer)["wq"].weight) for layer in model.layers]
    assert queries == dict(enumerate(all_rows))
    ends.append((reader.read, reader.read_scales))
    assert [*zip(program.weight_words, program.scale_words, strict=True)] == ends[-2:]
    tiles = 0 if model.config.tied else -(-model.config.vocab_size // rows)
    assert len([*reader.beats]) == tiles * program.embedding_words
    assert len([*reader.words]) == -(-model.config.vocab_size // lanes)


def test_every_embedding_where_the_sequencer_looks_for_it(written):
    model, (lanes, rows, *_), tapes = written
    program = tapes.program
    words = program.embedding_words
    table = only(model.begin, IntegerEmbed).table
    assert program.embedding_shift == table.shift
    for token, embedding in enumerate(table.weight):
        address = program.embedding_address + token // rows * words
        beats = tapes.weights[address : address + words]
        found = [int(v) for beat in beats for v in beat[token % rows]]
        assert found == embedding.tolist()
        scale = tapes.scales[program.embedding_scale_address + token // lanes][token % lanes]
        assert scale == table.scale[token]


def test_norms_and_shifts(written):
    model, (*_, early), tapes = written
    program, layers = tapes.program, model.layers
    arguments = [(0, program.embedding_argument)]
    ops = linears(model, early)
    layer = 0
    for step in program.steps:
        kind = step["kind"]
        if kind == Kind.SCORE:
            assert step["shift"] == only(layers[layer], IntegerAttention).score_shift
        elif kind == Kind.ATTENTION:
            assert step["shift"] == only(layers[layer], IntegerAttention).value_shift - 1
        else:
            _, layer, _, _, shift = next(ops)
            assert step["shift"] == shift - (kind != Kind.ADD)  # the norm's rsqrt is doubled
        if kind in (Kind.QUERY, Kind.KEY):
            assert step["argument"] == 2 * layer + (kind == Kind.KEY)
        elif kind == Kind.VALUE:
            assert step["argument"] == layer
        elif kind == Kind.SWIGLU:
            assert step["argument"] == only(layers[layer], IntegerGate).shift
        elif kind == Kind.ADD:
            arguments.append((step["norm"], step["argument"]))
    expected = norms(model.operations)
    assert len(expected) == len(arguments) == len(tapes.gains)
    for (gain, shift), (norm, argument) in zip(expected, arguments, strict=True):
        assert tapes.gains[norm].tolist() == gain.tolist()
        assert argument == shift


def test_attention_reads_each_head_and_its_group(written):
    model, (lanes, rows, max_seq_len, _), tapes = written
    c, head_words = model.config, model.head_dim // lanes
    sizes = (rows, lanes, c.n_layers, c.n_kv_heads, head_words, max_seq_len)
    keys, values = KeyCache(*sizes), ValueCache(*sizes)
    scores = [s for s in tapes.program.steps if s["kind"] == Kind.SCORE]
    attentions = [s for s in tapes.program.steps if s["kind"] == Kind.ATTENTION]
    attention_start = model.scheme.padded(c.dim) // lanes
    heads = [(layer, head) for layer in range(c.n_layers) for head in range(c.n_heads)]
    for (layer, head), score, attention in zip(heads, scores, attentions, strict=True):
        kv = layer * c.n_kv_heads + head * c.n_kv_heads // c.n_heads
        assert (score["operand"], score["source"]) == (Operand.KEYS, Source.QUERIES)
        assert (score["words"], score["head"]) == (head_words, head)
        assert score["dynamic"] == {"tiles": 1, "chunks": 1}
        assert score["source_base"] == head * head_words
        for position in range(max_seq_len):
            block = score["scale_address"] + position // lanes
            assert block == kv * keys.position_words + position // lanes
            for word in range(head_words):
                address = score["address"] + position // rows * score["stride"] + word
                assert address == (kv * keys.position_tiles + position // rows) * head_words + word
        assert (attention["operand"], attention["source"]) == (Operand.VALUES, Source.SCORES)
        assert attention["dynamic"] == {"words": 1}
        assert attention["argument"] == score["argument"] < BUFFERS
        assert attention["source_base"] == attention["argument"] * values.position_words
        assert attention["base"] == attention_start + head * head_words
        assert attention["chunks"] == head_words
        assert attention["tiles"] == -(-model.head_dim // rows)
        for channel in range(model.head_dim):
            tile = attention["address"] + channel // rows * attention["stride"]
            expected = kv * values.channel_tiles + channel // rows
            assert tile == expected * values.position_words


def test_nothing_is_read_before_it_is_written_or_overwritten_before_it_is_read(written):
    model, (lanes, *_, early), tapes = written
    c, s = model.config, model.scheme
    starts = {
        Region.NORMED: (0, s.padded(c.dim) // lanes),
        Region.ATTENTION: (s.padded(c.dim) // lanes, c.n_heads * model.head_dim // lanes),
    }
    starts[Region.HIDDEN] = (sum(starts[Region.ATTENTION]), s.padded(c.hidden_dim) // lanes)
    filled = {Region.NORMED}  # by the embedding
    being_written, scores_held, queried = Resource(0), {}, {}
    for number, step in enumerate(tapes.program.steps):
        waits, sets = Resource(step.get("waits", 0)), Resource(step.get("sets", 0))
        being_written &= ~waits
        assert not being_written & sets  # two writers at once
        being_written |= sets
        if step["kind"] == Kind.SCORE:
            late = early == c.n_heads or step["head"] >= early
            queries = Resource.QUERIES if late else Resource.EARLY_QUERIES
            assert waits == queries | Resource.KEYS
            assert sets.value == Resource.SCORES0.value << step["argument"]
            assert step["argument"] not in scores_held
            queried.pop(step["head"])
            scores_held[step["argument"]] = step["head"]
        elif step["kind"] == Kind.ATTENTION:
            buffer = Resource(Resource.SCORES0.value << step["argument"])
            assert waits == Resource.VALUES | buffer
            scores_held.pop(step["argument"])
        else:
            words = early * model.head_dim // lanes
            first = step["kind"] == Kind.QUERY and step["base"] < words < c.n_heads * words // early
            assert sets.value == {
                Kind.QUERY: (Resource.EARLY_QUERIES if first else Resource.QUERIES).value,
                Kind.KEY: Resource.KEYS.value,
                Kind.VALUE: Resource.VALUES.value,
            }.get(step["kind"], 0)
        attention = step["kind"] in (Kind.SCORE, Kind.ATTENTION)
        assert (step["region"] == Region.NONE) == attention
        if step["region"] != Region.NONE:
            assert step["region"] in filled
            start, words = starts[step["region"]]
            assert (step.get("source_base", 0), step["words"]) == (start, words)
        if step["fills"] != Region.NONE:
            assert step["fills"] != step["region"]
            filled.add(step["fills"])
        assert number == 0 or step["kind"] != Kind.KEY or not scores_held
        if step["kind"] == Kind.QUERY:  # heads whose scores were computed, or none before
            words = model.head_dim // lanes
            for head in range(step["base"] // words, (step["base"] + step["chunks"]) // words):
                assert head not in queried
                queried[head] = number


def test_steps_fit_their_layout(written):
    _, _, tapes = written
    shapes = {name: field.shape for name, field in step_layout()}
    for step in tapes.program.steps:
        for name, value in step.items():
            if isinstance(value, dict):
                assert value.keys() <= dict(shapes[name]).keys()
            else:
                encode(shapes[name], value)


@pytest.mark.parametrize(
    ("rows", "max_seq_len", "message"),
    [
        (12, 8, "rows must be a power of two from 1 to 1024, not 12"),
        (2, 8, r"rows must be at least lanes \(4\), not 2"),
        (8, 0, "max_seq_len must be from 1 to 1048575, not 0"),
    ],
)
def test_bad_parameters(rows, max_seq_len, message):
    model = quantized_model((4, 4, 1, 1, 1, 4, 5), 4, True)
    with pytest.raises(ValueError, match=message):
        write_program(model, rows, max_seq_len)
