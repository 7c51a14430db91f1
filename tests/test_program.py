"""The program and its tapes, read back the slow way: number by number, by the components' rules."""

import numpy as np
import pytest
from celosia.generators.program.program import write_program
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations.attention import Attention, IntegerAttention
from celosia.reference.operations.embed import Embed, IntegerEmbed
from celosia.reference.operations.gate import Gate, IntegerGate
from celosia.reference.operations.linear import IntegerLinear, Linear, LinearPair
from celosia.reference.operations.norm import IntegerNorm, Norm
from celosia.reference.operations.rotate import IntegerRotate, Rotate
from celosia.reference.quantization.matrix import Matrix
from celosia.reference.quantization.quantize import QuantizedModel, Scheme
from celosia.reference.rewrites.rewrites import machine_form
from celosia.reference.view import View
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.machine.step import (
    BUFFERS,
    Operand,
    Region,
    Resource,
    Scalar,
    Source,
    argument,
    argument_layout,
    step_layout,
)
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
    "rows that are no power of two": ((10, 14, 2, 6, 3, 8, 31), (4, 12, 26), False, 3),
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
    tapes, _ = write_program(model, rows, (View(max_seq_len),) * model.config.n_layers)
    return model, (lanes, rows, max_seq_len, early), tapes


def part(step):
    """What a step's matrix is in its layer."""
    return step["name"].rpartition(".")[2]


def head_argument(step):
    """Key or query, and the layer, of a step on the heads' route."""
    return argument_layout().from_bits(step["argument"]).head


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
    """All matrices in the order of their use: what they are, the layer, and their rows.

    The queries of the ``early`` heads come before the others'.
    """
    heads = model.config.n_heads
    split = early * model.head_dim
    for index, layer in enumerate(model.layers):
        late = [("wq", slice(split, None))] * (early < heads)
        for name, rows in (
            ("wk", slice(None)),
            ("wq", slice(split)),
            *late,
            ("wv", slice(None)),
            ("wo", slice(None)),
            ("w_gate+w_up", slice(None)),
            ("w_down", slice(None)),
        ):
            matrix = matrices(layer)[name]
            yield name, index, matrix.weight[rows], matrix.scale[rows], matrix.shift
    head = only(model.end, IntegerLinear).matrix
    yield "head", len(model.layers), head.weight, head.scale, head.shift


def test_every_weight_once_and_in_its_place(written):
    model, (lanes, rows, _, early), tapes = written
    reader, program = Reader(tapes, lanes, rows), tapes.program
    ops = linears(model, early)
    group = model.config.n_heads // model.config.n_kv_heads
    ends, layer, heads, queries = [], -1, {}, {}
    for step in program.steps:
        ends.append((reader.read, reader.read_scales))
        if step["route"] == "scores":
            continue
        if step["route"] == "attention":
            head = heads[layer] = heads.get(layer, -1) + 1
            value_scale = only(model.layers[layer], IntegerAttention).value_scale[head // group]
            assert reader.vector(step, len(value_scale)) == value_scale.tolist()
            continue
        name, layer, weight, scale, _ = next(ops)
        assert step["name"] == (name if name == "head" else f"layers.{layer}.{name}")
        assert step.get("operand", Operand.TAPE) == Operand.TAPE
        if name == "wq":
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
    assert len([*reader.beats]) == tiles * program.loads[0].words
    assert len([*reader.words]) == -(-model.config.vocab_size // lanes)


def test_every_embedding_where_the_sequencer_looks_for_it(written):
    model, (lanes, rows, *_), tapes = written
    program = tapes.program
    (load,) = program.loads
    words = load.words
    table = only(model.begin, IntegerEmbed).table
    assert (load.shift, load.planes) == (table.shift, False)
    assert (load.position, load.keep, load.normed) == (False, False, True)
    for token, embedding in enumerate(table.weight):
        address = load.address + token // rows * words
        beats = tapes.weights[address : address + words]
        found = [int(v) for beat in beats for v in beat[token % rows]]
        assert found == embedding.tolist()
        scale = tapes.scales[load.scale_address + token // lanes][token % lanes]
        assert scale == table.scale[token]


def test_norms_and_shifts(written):
    model, (*_, early), tapes = written
    program, layers = tapes.program, model.layers
    arguments = [(0, program.loads[0].argument)]
    ops = linears(model, early)
    layer = 0
    for step in program.steps:
        route = step["route"]
        if route == "scores":
            assert step["shift"] == only(layers[layer], IntegerAttention).score_shift
            assert step["scalar"] == Scalar.QUERY
        elif route == "attention":
            assert step["shift"] == only(layers[layer], IntegerAttention).value_shift - 1
            assert step["scalar"] == Scalar.SUM
        else:
            name, layer, _, _, shift = next(ops)
            normed = name not in ("wo", "w_down")
            assert step["shift"] == shift - normed  # the norm's rsqrt is doubled
            assert step.get("scalar", Scalar.ONE) == (Scalar.NORM if normed else Scalar.ONE)
            assert [step.get(n, 0) for n in ("keep", "restarts", "normed")] == [not normed] * 3
            assert step.get("last_token", 0) == (name == "head")
        if route == "heads":
            head = head_argument(step)
            assert (head.is_key, head.layer) == (name == "wk", layer)
        elif route == "values":
            assert step["argument"] == argument(layer=layer)
        elif route == "gated":
            assert step["argument"] == only(layers[layer], IntegerGate).shift
        elif route == "residual":
            arguments.append((step["norm"], step["argument"]))
    expected = norms(model.operations)
    assert len(expected) == len(arguments) == len(tapes.gains)
    assert not program.quiet
    for (gain, shift), (norm, behind) in zip(expected, arguments, strict=True):
        assert [*tapes.gains.values()][norm].tolist() == gain.tolist()
        assert behind == shift


def test_attention_reads_each_head_and_its_group(written):
    model, (lanes, rows, max_seq_len, _), tapes = written
    c, head_words = model.config, model.head_dim // lanes
    position_tiles, position_words = -(-max_seq_len // rows), -(-max_seq_len // lanes)
    channel_tiles = -(-model.head_dim // rows)
    scores = [s for s in tapes.program.steps if s["route"] == "scores"]
    attentions = [s for s in tapes.program.steps if s["route"] == "attention"]
    heads = [(layer, head) for layer in range(c.n_layers) for head in range(c.n_heads)]
    for (layer, head), score, attention in zip(heads, scores, attentions, strict=True):
        kv = layer * c.n_kv_heads + head * c.n_kv_heads // c.n_heads
        assert (score["operand"], score["source"]) == (Operand.KEYS, Source.QUERIES)
        assert (score["words"], score["head"]) == (head_words, head)
        assert score["dynamic"] == {"tiles": 1, "chunks": 1}
        assert score["source_base"] == head * head_words
        for position in range(max_seq_len):
            block = score["scale_address"] + position // lanes
            assert block == kv * position_words + position // lanes
            for word in range(head_words):
                address = score["address"] + position // rows * score["stride"] + word
                assert address == (kv * position_tiles + position // rows) * head_words + word
        assert (attention["operand"], attention["source"]) == (Operand.VALUES, Source.SCORES)
        assert attention["dynamic"] == {"words": 1}
        assert attention["argument"] == score["argument"] < BUFFERS
        assert attention["source_base"] == attention["argument"] * position_words
        assert attention["base"] == head * head_words
        assert attention["chunks"] == head_words
        assert attention["tiles"] == -(-model.head_dim // rows)
        for channel in range(model.head_dim):
            tile = attention["address"] + channel // rows * attention["stride"]
            expected = kv * channel_tiles + channel // rows
            assert tile == expected * position_words


def test_layers_have_their_own_slots():
    model = quantized_model((8, 8, 3, 2, 1, 8, 5), 4, True)
    views = (View(16, 9), View(40), View(16, 9))
    tapes, _ = write_program(model, 8, views)
    steps = tapes.program.steps
    scores = [s for s in steps if s["route"] == "scores"]
    attentions = [s for s in steps if s["route"] == "attention"]
    places = CachePlaces(8, 4, (16, 40, 16), 1, 2)
    for n, (score, attention) in enumerate(zip(scores, attentions, strict=True)):
        layer, head = divmod(n, 2)
        assert score["view"] == attention["view"] == (0, 1, 0)[layer]
        assert score["address"] == places.key_address(layer, 0) == (0, 4, 14)[layer]
        assert score["scale_address"] == places.step_address(layer, 0) == (0, 4, 14)[layer]
        assert attention["address"] == places.value_address(layer, 0)
        assert attention["stride"] == (4, 10, 4)[layer]
        assert attention["source_base"] == 10 * head
        assert score["argument"] == attention["argument"] == head


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
        if step["route"] == "scores":
            late = early == c.n_heads or step["head"] >= early
            queries = Resource.QUERIES if late else Resource.EARLY_QUERIES
            assert waits == queries | Resource.KEYS
            assert sets.value == Resource.SCORES0.value << step["argument"]
            assert step["argument"] not in scores_held
            queried.pop(step["head"])
            scores_held[step["argument"]] = step["head"]
        elif step["route"] == "attention":
            buffer = Resource(Resource.SCORES0.value << step["argument"])
            assert waits == Resource.VALUES | buffer
            scores_held.pop(step["argument"])
        else:
            words = early * model.head_dim // lanes
            first = part(step) == "wq" and step["base"] < words < c.n_heads * words // early
            assert sets.value == {
                "wq": (Resource.EARLY_QUERIES if first else Resource.QUERIES).value,
                "wk": Resource.KEYS.value,
                "wv": Resource.VALUES.value,
            }.get(part(step), 0)
        attention = step["route"] in ("scores", "attention")
        assert (step["region"] == Region.NONE) == attention
        if step["region"] != Region.NONE:
            assert step["region"] in filled
            start, words = starts[step["region"]]
            assert (step.get("source_base", 0), step["words"]) == (start, words)
        if step["fills"] != Region.NONE:
            assert step["fills"] != step["region"]
            filled.add(step["fills"])
        assert number == 0 or part(step) != "wk" or not scores_held
        if part(step) == "wq":  # heads whose scores were computed, or none before
            words = model.head_dim // lanes
            for head in range(step["base"] // words, (step["base"] + step["chunks"]) // words):
                assert head not in queried
                queried[head] = number


def test_steps_fit_their_layout(written):
    _, _, tapes = written
    shapes = {name: field.shape for name, field in step_layout()}
    for step in tapes.program.steps:
        for name, value in step.items():
            if name in ("name", "route"):
                assert isinstance(value, str)
            elif isinstance(value, dict):
                assert value.keys() <= dict(shapes[name]).keys()
            else:
                encode(shapes[name], value)


@pytest.mark.parametrize(
    ("rows", "views", "message"),
    [
        (10, (View(8),), r"rows must be a multiple of lanes \(4\) to 1024, not 10"),
        (2, (View(8),), r"rows must be a multiple of lanes \(4\) to 1024, not 2"),
        (8, (View(8), View(8)), "views must be those of 1 layers, not of 2"),
        (8, (View(12, 4),), r"slots must be a multiple of rows \(8\), not 12"),
    ],
)
def test_bad_parameters(rows, views, message):
    model = quantized_model((4, 4, 1, 1, 1, 4, 5), 4, True)
    with pytest.raises(ValueError, match=message):
        write_program(model, rows, views)
