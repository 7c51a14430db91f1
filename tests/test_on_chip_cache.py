import random

import numpy as np
import pytest
import scripted
from celosia.rtl.kv_cache.on_chip_cache import KeyCache, ValueCache
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.kv_cache.value_words import ValueWords
from celosia.sim import bench

LATENCY = 3

# rows, lanes, slots of each layer, n_kv_heads, head_words, and where there are several parts, paths
SHAPES = [
    (8, 2, (13, 13), 3, 3),
    (4, 4, (9,), 2, 2),
    (4, 2, (8, 21, 4, 8), 2, 3),
    (6, 2, (9, 14), 1, 4),
    (24, 2, (13, 40), 2, 3, 4, 2),
]


def key_place(t, word, shape, _):
    """Where lane 0 of a key's word goes: address within its head, then rows and lanes."""
    rows, lanes, _, _, head_words, *_ = shape
    return t // rows * head_words + word, [t % rows] * lanes, [*range(lanes)]


def value_place(t, word, shape, slots):
    rows, lanes, *_ = shape
    channels = word * lanes + np.arange(lanes)
    blocks = -(-slots // lanes)
    if parts := shape[5:]:
        read, part = divmod(t // lanes, parts[0])
        return read, [*((word * parts[0] + part) * lanes + np.arange(lanes))], [t % lanes] * lanes
    return channels[0] // rows * blocks + t // lanes, [*(channels % rows)], [t % lanes] * lanes


def head_starts(component, shape):
    """Where each head begins, and the end of all: in words and in blocks of steps."""
    rows, lanes, layer_slots, n_kv_heads, head_words, *more = shape
    parts, paths = more or (1, 1)
    starts, steps = [0], [0]
    for slots in layer_slots:
        size = -(-slots // rows) * head_words
        if component is ValueCache:
            size = -(-head_words * lanes // rows) * -(-slots // (lanes * parts))
        for _ in range(n_kv_heads):
            starts.append(starts[-1] + size)
            steps.append(steps[-1] + -(-slots // (lanes * parts)) * parts // paths)
    return starts, steps


def traffic(shape, seed):
    """Words to all places in random order, then random ones; gaps between them."""
    rng = random.Random(seed)
    _, lanes, layer_slots, n_kv_heads, head_words, *_ = shape
    places = [
        (layer, head, word, t)
        for layer, slots in enumerate(layer_slots)
        for head in range(n_kv_heads)
        for word in range(head_words)
        for t in range(slots)
    ]
    rng.shuffle(places)
    for layer, head, word, t in places + rng.choices(places, k=100):
        while rng.random() < 0.2:
            yield None
        yield {
            "data": [rng.randrange(-128, 128) for _ in range(lanes)],
            "layer": layer,
            "head": head,
            "word": word,
            "slot": t,
            "step": rng.randrange(512),
            "last": rng.random() < 0.2,
        }
    yield from [None] * (LATENCY + 1)


class Model:
    """What a cache holds, element by element, and since which cycle it must show."""

    def __init__(self, component, shape):
        self.rows, self.lanes, self.layer_slots, self.n_kv_heads, *_ = self.shape = shape
        self.step_slots = self.lanes * (shape[6] if shape[6:] else 1)
        self.place = key_place if component is KeyCache else value_place
        self.starts, self.step_starts = head_starts(component, shape)
        self.held, self.steps = {}, {}

    def write(self, word, cycle):
        head, t = word["layer"] * self.n_kv_heads + word["head"], word["slot"]
        slots = self.layer_slots[word["layer"]]
        address, rows, lanes = self.place(t, word["word"], self.shape, slots)
        address += self.starts[head]
        for row, lane, value in zip(rows, lanes, word["data"], strict=True):
            self.held[address, row, lane] = value, cycle
        if word["word"] == 0:
            place = self.step_starts[head] + t // self.step_slots, t % self.step_slots
            self.steps[place] = word["step"], cycle
        return address

    def expect(self, address, cycle):
        """All elements of a word that a read in ``cycle`` must find."""
        return {
            (row, lane): value
            for (at, row, lane), (value, written) in self.held.items()
            if at == address and written + LATENCY <= cycle
        }

    def expect_steps(self, address, cycle):
        return {
            lane: value
            for (at, lane), (value, written) in self.steps.items()
            if at == address and written + LATENCY <= cycle
        }


@pytest.mark.parametrize("component", [KeyCache, ValueCache])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_element_lies_in_its_place(component, shape):
    rng = random.Random(3)
    model = Model(component, shape)
    words = [*traffic(shape, seed=5)]
    recent = [0] * 6
    cycles, expected, lasts = [], [{}], []
    n_reads = model.starts[-1]
    for cycle in range(len(words) + 2 * n_reads):
        word = words[cycle] if cycle < len(words) else None
        port = {"i__valid": word is not None}
        if word is not None:
            port["i__payload"] = word
            recent.append(model.write(word, cycle))
        lasts.append(bool(word and word["last"]))
        address = recent[rng.randrange(-6, 0)] if word else cycle % n_reads
        read_en = rng.random() < 0.7 or cycle >= len(words) + n_reads
        port |= {"address": address, "read_en": read_en}
        found = model.expect(address, cycle), {}
        if component is KeyCache:
            block = rng.randrange(model.step_starts[-1])
            port |= {"step_address": block, "step_en": read_en}
            found = found[0], model.expect_steps(block, cycle)
        expected.append(found if read_en else None)
        cycles.append(port)
    parts = dict(zip(("parts", "paths"), shape[5:], strict=False))
    seen = scripted.play(component(CachePlaces(*shape[:5], **parts)), cycles)
    compared = 0
    for cycle, outputs in enumerate(seen):
        assert outputs["written"] == (cycle >= LATENCY and lasts[cycle - LATENCY])
        if expected[cycle] is None:  # kept
            for name in {"data", "steps"} & {*outputs}:
                assert outputs[name] == seen[cycle - 1][name]
        elif expected[cycle]:
            data, steps = expected[cycle]
            assert {at: outputs["data"][at[0]][at[1]] for at in data} == data
            assert {lane: outputs["steps"][lane] for lane in steps} == steps
            compared += len(data) + len(steps)
    assert compared > 100


def value_words(lanes, tokens, n_heads, head_words, layers, seed):
    """VALUE operations' words, and what the value cache is to get, from position 0 on."""
    rng = np.random.default_rng(seed)
    words, cached = [], []
    for layer in layers:
        data = rng.integers(-(1 << 23), 1 << 23, (n_heads * head_words, tokens, lanes))
        data >>= rng.integers(0, 24, (n_heads * head_words, tokens, 1))
        data[0, 0] = rng.choice([127, 128, -128, -129], lanes)
        for index, token in np.ndindex(data.shape[:2]):
            last = (index, token) == (len(data) - 1, tokens - 1)
            frame = {"token": token, "index": index, "argument": layer, "last": last}
            words.append({"data": data[index, token], **frame})
            head, word = divmod(index, head_words)
            cached.append(
                {
                    "data": np.clip(data[index, token], -128, 127).tolist(),
                    "layer": layer,
                    "head": head,
                    "word": word,
                    "slot": 77,
                    "step": 0,
                    "last": last,
                }
            )
    return words, cached


@pytest.mark.parametrize(("lanes", "tokens", "head_words"), [(4, 4, 3)])
def test_value_words_saturate_and_count_heads(lanes, tokens, head_words):
    cases, expected = [], []
    for group in (tokens - 1, tokens // 2):
        words, cached = value_words(lanes, group + 1, 5, head_words, (0, 3, 255, 3), group)
        settings = {"slot": 77, "group": group}
        for stall in (0.0, 0.5):
            cases.append({"inputs": words, "settings": settings, "stall": stall, "seed": 2})
            expected.append(cached)
    results = bench.run_many(ValueWords(lanes, tokens, head_words), cases)
    for result, y in zip(results, expected, strict=True):
        assert result.outputs["o"] == y
    assert results[0].stream_cycles["o"] == [*range(1, len(expected[0]) + 1)]


def test_places_say_where_things_are():
    places = CachePlaces(4, 2, (8, 21, 4), 2, 3)
    assert [places.tiles(layer) for layer in range(3)] == [2, 6, 1]
    assert places.most_blocks == 11
    assert places.key_address(1, 1) == (2 * 2 + 6) * 3
    assert places.step_address(2, 0) == 2 * 4 + 2 * 11
    assert places.value_address(1, 1) == 2 * (2 * 4 + 11)  # two tiles of channels
    assert places.size(64) == 8 * (3 * 18 + 2 * 2 * (4 + 11 + 2))
    places = CachePlaces(16, 2, (8, 21, 4), 2, 2, parts=4, paths=2)
    assert [places.reads(layer) for layer in range(3)] == [1, 3, 1]
    assert places.most_reads == 3
    assert places.value_address(2, 1) == 2 * 1 + 2 * 3 + 1
    assert places.step_address(2, 0) == 2 * (2 * 1 + 2 * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 6}, r"rows must be a multiple of lanes \(4\) to 1024, not 6"),
        ({"key_width": 5}, "key_width must be 8, 6 or 4, not 5"),
        ({"lanes": 3}, "lanes must be a power of two from 1 to 64, not 3"),
        ({"rows": 2}, r"rows must be a multiple of lanes \(4\) to 1024, not 2"),
        ({"layer_slots": ()}, "the number of layer_slots must be from 1 to 256, not 0"),
        ({"layer_slots": (8, 0)}, "layer_slots must be from 1 to 1048576, not 0"),
        ({"n_kv_heads": 257}, "n_kv_heads must be from 1 to 256, not 257"),
        ({"head_words": 0}, "head_words must be from 1 to 256, not 0"),
        ({"parts": 3}, "parts must be a power of two from 1 to 64, not 3"),
        ({"parts": 2, "paths": 4}, "paths must be a power of two from 1 to 2, not 4"),
        ({"parts": 4}, "parts must divide the 2 blocks of rows, and leave 1 of them for each"),
        ({"parts": 2, "head_words": 2}, "leave 2 of them for each, not 2"),
    ],
)
def test_bad_places(changes, message):
    shape = {"rows": 8, "lanes": 4, "layer_slots": (8,), "n_kv_heads": 1, "head_words": 1}
    with pytest.raises(ValueError, match=message):
        CachePlaces(**shape | changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "lanes must be from 1 to 64, not 0"),
        ((4, 65, 1), "tokens must be from 1 to 64, not 65"),
        ((4, 1, 257), "head_words must be from 1 to 256, not 257"),
    ],
)
def test_bad_value_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        ValueWords(*arguments)
