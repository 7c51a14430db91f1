"""The program and its tapes, read back the slow way: number by number, by the components' rules."""

import numpy as np
import pytest
from celosia.generators.program import write_program
from celosia.reference.model import ModelConfig
from celosia.reference.quantize import Linear, QuantizedLayer, QuantizedModel, Scheme
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
    dim, hidden, head_dim = s.padded(c.dim), s.padded(c.hidden_dim), s.padded(c.head_dim)

    def linear(rows, columns):
        weight = rng.integers(-128, 128, (rows, columns)).astype(np.int8)
        return Linear(weight, rng.integers(1, 1 << 16, rows), int(rng.integers(0, 60)))

    def gains():
        return rng.integers(-(1 << 15), 1 << 15, dim)

    def shift():
        return int(rng.integers(1, 60))

    def layer():
        return QuantizedLayer(
            norm_gain=gains(),
            norm_shift=shift(),
            q=linear(c.n_heads * head_dim, dim),
            k=linear(c.n_kv_heads * head_dim, dim),
            v=linear(c.n_kv_heads * head_dim, dim),
            score_shift=shift(),
            value_scale=rng.integers(1, 1 << 16, (c.n_kv_heads, head_dim)),
            value_shift=shift(),
            o=linear(dim, c.n_heads * head_dim),
            ffn_gain=gains(),
            ffn_shift=shift(),
            gate_up=linear(2 * hidden, dim),
            swiglu_shift=shift(),
            down=linear(dim, hidden),
        )

    embedding, head = linear(c.vocab_size, dim), linear(c.vocab_size, dim)
    if tied:
        head.weight = embedding.weight
    layers = [layer() for _ in range(c.n_layers)]
    increments = np.zeros(head_dim // 2, np.int64)
    return QuantizedModel(c, s, 12, 1, increments, embedding, layers, gains(), shift(), head)


@pytest.fixture(scope="module", params=MACHINES)
def written(request):
    """A model; lanes, rows and positions of its machine, and its early heads; its tapes."""
    sizes, (lanes, rows, max_seq_len), tied, early = MACHINES[request.param]
    model = quantized_model(sizes, lanes, tied)
    views = (View(max_seq_len),) * model.config.n_layers
    return model, (lanes, rows, max_seq_len, early), write_program(model, rows, views)


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
        late = [("q", layer.q, slice(split, None))] * (early < heads)
        for name, op, rows in (
            ("k", layer.k, slice(None)),
            ("q", layer.q, slice(split)),
            *late,
            ("v", layer.v, slice(None)),
            ("o", layer.o, slice(None)),
            ("gate_up", layer.gate_up, slice(None)),
            ("down", layer.down, slice(None)),
        ):
            yield name, index, op.weight[rows], op.scale[rows], op.shift
    yield "head", len(model.layers), model.head.weight, model.head.scale, model.head.shift


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
            value_scale = model.layers[layer].value_scale[head // group]
            assert reader.vector(step, len(value_scale)) == value_scale.tolist()
            continue
        name, layer, weight, scale, _ = next(ops)
        assert step["name"] == (name if name == "head" else f"layers.{layer}.{name}")
        assert step.get("operand", Operand.TAPE) == Operand.TAPE
        if name == "q":
            assert step["base"] * lanes == queries.get(layer, 0)
            queries[layer] = queries.get(layer, 0) + len(weight)
        assert reader.matrix(step, weight.shape) == weight.tolist()
        assert reader.vector(step, len(weight)) == scale.tolist()
    assert next(ops, None) is None
    assert queries == {n: len(layer.q.weight) for n, layer in enumerate(model.layers)}
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
    assert (load.shift, load.planes) == (model.embedding.shift, False)
    assert (load.position, load.keep, load.normed) == (False, False, True)
    for token, embedding in enumerate(model.embedding.weight):
        address = load.address + token // rows * words
        beats = tapes.weights[address : address + words]
        found = [int(v) for beat in beats for v in beat[token % rows]]
        assert found == embedding.tolist()
        scale = tapes.scales[load.scale_address + token // lanes][token % lanes]
        assert scale == model.embedding.scale[token]


def test_norms_and_shifts(written):
    model, (*_, early), tapes = written
    program, layers = tapes.program, model.layers
    norms = [(layers[0].norm_gain, layers[0].norm_shift)]
    arguments = [(0, program.loads[0].argument)]
    ops = linears(model, early)
    layer = 0
    for step in program.steps:
        route = step["route"]
        if route == "scores":
            assert step["shift"] == layers[layer].score_shift
            assert step["scalar"] == Scalar.QUERY
        elif route == "attention":
            assert step["shift"] == layers[layer].value_shift - 1
            assert step["scalar"] == Scalar.SUM
        else:
            name, layer, _, _, shift = next(ops)
            normed = name not in ("o", "down")
            assert step["shift"] == shift - normed  # the norm's rsqrt is doubled
            assert step.get("scalar", Scalar.ONE) == (Scalar.NORM if normed else Scalar.ONE)
            assert [step.get(n, 0) for n in ("keep", "restarts", "normed")] == [not normed] * 3
            assert step.get("last_token", 0) == (name == "head")
        if route == "heads":
            head = head_argument(step)
            assert (head.is_key, head.layer) == (name == "k", layer)
        elif route == "values":
            assert step["argument"] == argument(layer=layer)
        elif route == "gated":
            assert step["argument"] == layers[layer].swiglu_shift
        elif route == "residual":
            arguments.append((step["norm"], step["argument"]))
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        norms.append((layer.ffn_gain, layer.ffn_shift))
        after = (following.norm_gain, following.norm_shift) if following else None
        norms.append(after or (model.head_gain, model.head_gain_shift))
    assert len(norms) == len(arguments) == len(tapes.gains)
    assert not program.quiet
    for (gain, shift), (norm, behind) in zip(norms, arguments, strict=True):
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
    steps = write_program(model, 8, views).program.steps
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
            first = part(step) == "q" and step["base"] < words < c.n_heads * words // early
            assert sets.value == {
                "q": (Resource.EARLY_QUERIES if first else Resource.QUERIES).value,
                "k": Resource.KEYS.value,
                "v": Resource.VALUES.value,
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
        assert number == 0 or part(step) != "k" or not scores_held
        if part(step) == "q":  # heads whose scores were computed, or none before
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
