import random

import numpy as np
import pytest
import scripted
from celosia.rtl.kv_cache.on_chip_cache import KeyCache, ValueCache, ValueWords
from celosia.sim import bench

LATENCY = 3

# rows, lanes, n_layers, n_kv_heads, head_words, max_seq_len
SHAPES = [(8, 2, 2, 3, 3, 13), (4, 4, 1, 2, 2, 9), (6, 2, 2, 1, 5, 15)]


def key_place(t, word, shape):
    """Where lane 0 of a key's word goes: address within its head, then rows and lanes."""
    rows, lanes, _, _, head_words, _ = shape
    return t // rows * head_words + word, [t % rows] * lanes, [*range(lanes)]


def value_place(t, word, shape):
    rows, lanes, _, _, _, max_seq_len = shape
    channels = word * lanes + np.arange(lanes)
    blocks = -(-max_seq_len // lanes)
    return channels[0] // rows * blocks + t // lanes, [*(channels % rows)], [t % lanes] * lanes


def head_size(component, shape):
    """Addresses of a head."""
    rows, lanes, _, _, head_words, max_seq_len = shape
    if component is KeyCache:
        return -(-max_seq_len // rows) * head_words
    return -(-head_words * lanes // rows) * -(-max_seq_len // lanes)


def traffic(shape, seed):
    """Words to all places in random order, then random ones; gaps between them."""
    rng = random.Random(seed)
    _, lanes, n_layers, n_kv_heads, head_words, max_seq_len = shape
    places = [
        (layer, head, word, t)
        for layer in range(n_layers)
        for head in range(n_kv_heads)
        for word in range(head_words)
        for t in range(max_seq_len)
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
            "position": t,
            "step": rng.randrange(512),
            "last": rng.random() < 0.2,
        }
    yield from [None] * (LATENCY + 1)


class Model:
    """What a cache holds, element by element, and since which cycle it must show."""

    def __init__(self, component, shape):
        self.rows, self.lanes, _, self.n_kv_heads, _, max_seq_len = self.shape = shape
        self.place = key_place if component is KeyCache else value_place
        self.size = head_size(component, shape)
        self.blocks = -(-max_seq_len // self.lanes)
        self.held, self.steps = {}, {}

    def write(self, word, cycle):
        head = word["layer"] * self.n_kv_heads + word["head"]
        address, rows, lanes = self.place(word["position"], word["word"], self.shape)
        for row, lane, value in zip(rows, lanes, word["data"], strict=True):
            self.held[head * self.size + address, row, lane] = value, cycle
        if word["word"] == 0:
            t = word["position"]
            place = head * self.blocks + t // self.lanes, t % self.lanes
            self.steps[place] = word["step"], cycle

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
    heads = shape[2] * shape[3]
    words = [*traffic(shape, seed=5)]
    recent = [(0, 0)] * 6
    cycles, expected, lasts = [], [{}], []
    n_reads = heads * model.size
    for cycle in range(len(words) + 2 * n_reads):
        word = words[cycle] if cycle < len(words) else None
        port = {"i__valid": word is not None}
        if word is not None:
            port["i__payload"] = word
            model.write(word, cycle)
            head = word["layer"] * shape[3] + word["head"]
            address, _, _ = model.place(word["position"], word["word"], shape)
            recent.append((head * model.size + address, word["position"] // shape[1]))
        lasts.append(bool(word and word["last"]))
        address = recent[rng.randrange(-6, 0)][0] if word else cycle % n_reads
        read_en = rng.random() < 0.7 or cycle >= len(words) + n_reads
        port |= {"address": address, "read_en": read_en}
        found = model.expect(address, cycle), {}
        if component is KeyCache:
            block = rng.randrange(heads * model.blocks)
            port |= {"step_address": block, "step_en": read_en}
            found = found[0], model.expect_steps(block, cycle)
        expected.append(found if read_en else None)
        cycles.append(port)
    seen = scripted.play(component(*shape), cycles)
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
                    "position": token,
                    "step": 0,
                    "last": last,
                }
            )
    return words, cached


@pytest.mark.parametrize(("lanes", "tokens", "head_words"), [(4, 4, 3)])
def test_value_words_saturate_and_count_heads(lanes, tokens, head_words):
    cases, expected = [], []
    for group, position in [(tokens - 1, 0), (tokens // 2, 77), (tokens - 1, (1 << 20) - tokens)]:
        words, cached = value_words(lanes, group + 1, 5, head_words, (0, 3, 255, 3), group)
        settings = {"position": position, "group": group}
        for stall in (0.0, 0.5):
            cases.append({"inputs": words, "settings": settings, "stall": stall, "seed": 2})
            expected.append([w | {"position": w["position"] + position} for w in cached])
    results = bench.run_many(ValueWords(lanes, tokens, head_words), cases)
    for result, y in zip(results, expected, strict=True):
        assert result.outputs["o"] == y
    assert results[0].stream_cycles["o"] == [*range(1, len(expected[0]) + 1)]


@pytest.mark.parametrize(
    ("component", "arguments", "message"),
    [
        (KeyCache, (6, 4, 1, 1, 1, 8), r"rows must be a multiple of lanes \(4\) to 1024, not 6"),
        (KeyCache, (64, 3, 1, 1, 1, 8), "lanes must be a power of two from 1 to 64, not 3"),
        (ValueCache, (2, 4, 1, 1, 1, 8), r"rows must be a multiple of lanes \(4\) to 1024, not 2"),
        (KeyCache, (8, 4, 0, 1, 1, 8), "n_layers must be from 1 to 256, not 0"),
        (ValueCache, (8, 4, 1, 257, 1, 8), "n_kv_heads must be from 1 to 256, not 257"),
        (KeyCache, (8, 4, 1, 1, 0, 8), "head_words must be from 1 to 256, not 0"),
        (ValueCache, (8, 4, 1, 1, 1, 0), "max_seq_len must be from 1 to 1048576, not 0"),
        (ValueWords, (0, 1, 1), "lanes must be from 1 to 64, not 0"),
        (ValueWords, (4, 65, 1), "tokens must be from 1 to 64, not 65"),
        (ValueWords, (4, 1, 257), "head_words must be from 1 to 256, not 257"),
    ],
)
def test_bad_parameters(component, arguments, message):
    with pytest.raises(ValueError, match=message):
        component(*arguments)
