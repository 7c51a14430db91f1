"""The KV cache in external memory, against a memory of other hands, under the rules of AXI4."""

import numpy as np
import pytest
from celosia.rtl.kv_cache.axi_cache import AxiCache
from celosia.rtl.kv_cache.places import CachePlaces, cached_layout
from celosia.rtl.machine.step import Operand, recall_layout
from celosia.sim import bench
from celosia.sim.payload import encode

pytest.importorskip("cocotbext.axi", reason="needs cocotbext-axi: pip install celosia[test]")

# rows, lanes, slots of each layer, n_kv_heads, head_words, tokens; bits of a transfer
NARROW = (8, 2, (13, 13), 3, 3, 2), 32  # a column is a transfer
SHAPES = [
    pytest.param(*NARROW, marks=pytest.mark.slow),
    ((8, 8, (9,), 2, 2, 1), 32),  # a key is two transfers, a row of a column too
    ((4, 4, (9, 9), 2, 2, 2), 256),  # two columns in a transfer, words too
    pytest.param((8, 2, (16, 5, 29), 2, 3, 2), 32, marks=pytest.mark.slow),
    ((6, 2, (11, 14), 1, 4, 1), 32),  # rows that are no power of two
    pytest.param((12, 4, (29, 29), 2, 5, 2), 64, marks=pytest.mark.slow),
]
INPUTS = ("keys__valid", "values__valid", "recall__valid", "o__ready", "step_en", "step_address")


class Traffic:
    """Operations of random blocks, the memory that they leave, and steps that read it."""

    def __init__(self, shape, data_width):
        self.rows, self.lanes, self.layer_slots, self.n_heads, self.head_words, _ = shape
        self.places = CachePlaces(*shape[:-1])
        self.word_bytes = self.places.word_bytes(data_width)
        self.rng = np.random.default_rng(self.rows * self.lanes)
        self.memory = self.rng.integers(0, 256, self.places.size(data_width), np.uint8)
        self.start = self.memory.tobytes()

    def key(self, layer, head, t, word):
        """Where lane 0 of a key's block goes, and the distance to lane 1."""
        index = self.places.key_address(layer, head) + t // self.rows * self.head_words + word
        return index * self.word_bytes + t % self.rows * self.lanes, 1

    def value(self, layer, head, t, word):
        tile, row = divmod(word * self.lanes, self.rows)
        index = self.places.value_address(layer, head) + tile * self.places.blocks(layer)
        index += self.places.key_words + t // self.lanes
        return index * self.word_bytes + row * self.lanes + t % self.lanes, self.lanes

    def operation(self, layer, positions, where):
        """The blocks of an operation at ``positions``, as bits; they go to the memory too."""
        blocks = [
            (head, word, t)
            for head in range(self.n_heads)
            for word in range(self.head_words)
            for t in positions
        ]
        bits = []
        for n, (head, word, t) in enumerate(blocks):
            values = self.rng.integers(-128, 128, self.lanes)
            first, step = where(layer, head, t, word)
            self.memory[first : first + step * self.lanes : step] = values.astype(np.uint8)
            block = {"data": values.tolist(), "layer": layer, "head": head, "word": word}
            block |= {"slot": t, "step": 5, "last": n + 1 == len(blocks)}
            bits.append(encode(cached_layout(self.lanes), block))
        return bits

    def step(self, operand, layer, head, seen):
        """A step that reads a head's first ``seen`` slots, and the operands it gets."""
        places = self.places
        if operand == Operand.KEYS:
            address, first = places.key_address(layer, head), 0
            words, stride, tiles = self.head_words, self.head_words, -(-seen // self.rows)
        else:
            address = places.value_address(layer, head)
            words, stride, tiles = (
                -(-seen // self.lanes),
                places.blocks(layer),
                places.channel_tiles,
            )
            first = places.key_words
        step = {"operand": operand, "address": address, "words": words, "tiles": tiles}
        size, whole = self.word_bytes, self.rows * self.lanes
        starts = [
            (first + address + stride * n + w) * size for n in range(tiles) for w in range(words)
        ]
        got = [int.from_bytes(self.memory[n : n + whole].tobytes(), "little") for n in starts]
        return encode(recall_layout(), step | {"stride": stride}), got


def play(shape, data_width, latency, stall, read_faults=(), write_faults=()):
    """Writes and reads of two layers' worth of groups: what came, and what should have."""
    traffic = Traffic(shape, data_width)
    rounds, expected = [], []
    tokens = shape[-1]
    for turn in range(3):
        for layer, slots in enumerate(traffic.layer_slots):
            first = (0, tokens, slots - tokens)[turn]
            positions = range(first, first + tokens)
            blocks = {
                "keys": traffic.operation(layer, positions, traffic.key),
                "values": traffic.operation(layer, positions, traffic.value),
            }
            steps = [
                traffic.step(operand, layer, head, first + tokens)
                for head in range(traffic.n_heads)
                for operand in (Operand.KEYS, Operand.VALUES)
            ]
            got = [word for _, words in steps for word in words]
            written = {"written_keys": 1, "written_values": 1}
            rounds.append((blocks, written, [bits for bits, _ in steps], len(got)))
            expected += got
    given = {
        "inputs": INPUTS,
        "contents": traffic.start,
        "rounds": rounds,
        "data_width": data_width,
        "most": (512, 16 * max(1, 8 * traffic.lanes**2 // data_width)),
        "latency": latency,
        "stall": stall,
        "read_faults": dict(read_faults),
        "write_faults": dict(write_faults),
    }
    answer = bench.run_program(
        AxiCache(traffic.places, tokens, data_width), "bench_axi_cache", given
    )
    return answer, expected, traffic.memory.tobytes()


@pytest.mark.parametrize(("shape", "data_width"), SHAPES)
def test_writes_and_reads_by_the_rules(shape, data_width):
    for latency, stall in ((0, 0.0), (50, 0.3)):
        got, expected, memory = play(shape, data_width, latency, stall)
        assert got["words"] == expected
        assert got["contents"] == memory
        assert got["errors"] == 0
        if data_width == 32:
            assert got["largest"][0] > got["longest"][0]  # several reads are under way


def test_error_responses():
    """SLVERR and DECERR, of reads and of writes."""
    shape, data_width = NARROW
    places = CachePlaces(*shape[:-1])
    value = places.key_words * places.word_bytes(data_width)  # head 0's first values
    got, _, _ = play(shape, data_width, 5, 0.1, read_faults={0: 2})
    assert got["errors"] == 3  # once for each group of layer 0
    got, _, memory = play(shape, data_width, 5, 0.1, write_faults={value: 3})
    assert got["errors"] == 2  # positions 0 and 1 lie there, and are a burst each
    assert got["contents"] != memory


@pytest.mark.parametrize(
    ("lanes", "tokens", "data_width", "message"),
    [
        (64, 1, 64, "lanes must be a power of two from 1 to 32, not 64"),
        (4, 0, 64, "tokens must be from 1 to 64, not 0"),
        (4, 1, 48, "data_width must be a power of two from 32 to 1024, not 48"),
    ],
)
def test_refuses(lanes, tokens, data_width, message):
    with pytest.raises(ValueError, match=message):
        AxiCache(CachePlaces(64, lanes, (8,), 1, 1), tokens, data_width)
