"""GGUF files, written and quantised by the format's own library."""

import math
import struct

import gguf
import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import CheckpointError, load
from celosia.reference.model import Model, RopeScaling, random_model
from celosia.reference.units.rope_scaling import YarnScaling
from gguf import GGMLQuantizationType as Kind
from gguf import quants

NAMES = {
    "attention_norm": "attn_norm",
    "wq": "attn_q",
    "wk": "attn_k",
    "wv": "attn_v",
    "wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "w_gate": "ffn_gate",
    "w_up": "ffn_up",
    "w_down": "ffn_down",
}


def foreign_tensors(model):
    tensors = {
        "token_embd.weight": model.tensors["embedding"],
        "output_norm.weight": model.tensors["norm"],
    }
    for index, layer in enumerate(model.layers):
        for name, foreign in NAMES.items():
            tensors[f"blk.{index}.{foreign}.weight"] = layer[name]
    if not model.config.tied:
        tensors["output.weight"] = model.tensors["head"]
    return tensors


def foreign_fields(config):
    return {
        "general.architecture": "llama",
        "llama.embedding_length": config.dim,
        "llama.feed_forward_length": config.hidden_dim,
        "llama.block_count": config.n_layers,
        "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": config.rope_theta,
        "llama.context_length": config.seq_len,
        "llama.attention.layer_norm_rms_epsilon": config.norm_eps,
    }


def write_gguf(path, fields, tensors, kind=Kind.F32, kinds=None):
    """A file of float32 arrays stored as ``kind``, vectors as F32; ``kinds`` names exceptions."""
    writer = gguf.GGUFWriter(path, fields.get("general.architecture", "llama"))
    adders = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    for name, value in fields.items():
        if name != "general.architecture" and value is not None:
            adders[type(value)](name, value)
    for name, array in tensors.items():
        stored = (kinds or {}).get(name, Kind.F32 if array.ndim == 1 else kind)
        writer.add_tensor(name, quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def write(tmp_path):
    """A function that writes a model's file, with any metadata or tensor changed."""

    def write_file(model, fields=(), tensors=(), **kinds):
        all_fields = foreign_fields(model.config) | dict(fields)
        all_tensors = foreign_tensors(model) | dict(tensors)
        return write_gguf(tmp_path / "small.gguf", all_fields, all_tensors, **kinds)

    return write_file


def assert_same(loaded, model):
    tokens = [1, 2, 3, 32, 5]
    np.testing.assert_array_equal(float32.forward(loaded, tokens), float32.forward(model, tokens))


@pytest.mark.parametrize("shape", [{}, {"tied": False, "n_kv_heads": 6}, {"head_dim": 10}])
def test_interleaved_rows(write, tiny_config, shape):
    """The rows are taken as they are."""
    model = random_model(tiny_config(**shape, norm_eps=1e-6), seed=10)
    loaded = load(write(model))
    assert loaded.config == model.config
    assert ("head" not in loaded.tensors) == model.config.tied
    assert not loaded.layers[0]["wq"].flags.owndata
    assert_same(loaded, model)


def through(model, kind):
    """The model with its matrices quantised and dequantised by the format's own library."""

    def convert(array):
        if array.ndim == 1:
            return array
        return quants.dequantize(quants.quantize(array, kind), kind).astype(np.float32)

    layers = [{name: convert(array) for name, array in layer.items()} for layer in model.layers]
    tensors = {name: convert(array) for name, array in model.tensors.items()}
    return Model(model.config, tensors, layers)


@pytest.mark.parametrize(
    "kind", [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1], ids=lambda k: k.name
)
def test_types(write, tiny_config, kind):
    model = random_model(tiny_config(dim=64, hidden_dim=96, head_dim=16), seed=10)
    loaded = load(write(model, kind=kind))
    expected = through(model, kind)
    np.testing.assert_array_equal(loaded.tensors["embedding"], expected.tensors["embedding"])
    for layer, other in zip(loaded.layers, expected.layers, strict=True):
        for name in NAMES:
            np.testing.assert_array_equal(layer[name], other[name])
    assert_same(loaded, expected)


def test_rope_factors(write, tiny_config):
    """What converters write for Llama 3 gives the frequencies of the scaling itself."""
    scaling = RopeScaling(8.0, 1.0, 4.0, 8192)
    scaled = tiny_config(head_dim=16, rope_theta=500000.0, rope_scaling=scaling)
    plain = tiny_config(head_dim=16, rope_theta=500000.0)
    factors = (plain.rope_frequencies / scaled.rope_frequencies).astype(np.float32)
    assert factors.min() == 1
    assert factors.max() == 8
    loaded = load(write(random_model(plain), tensors={"rope_freqs.weight": factors}))
    np.testing.assert_allclose(
        loaded.config.rope_frequencies, scaled.rope_frequencies, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("names", "factor"),
    [
        ({"rope.scaling.factor": 4.0}, 4.0),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, 4.0),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, 1.0),
        ({"rope.scale_linear": 2.0}, 2.0),
        ({"rope.scaling.factor": 4.0, "rope.scale_linear": 2.0}, 4.0),
    ],
)
def test_linear_scaling(write, tiny_config, names, factor):
    """As llama.cpp has it: a factor without a type is a linear one."""
    plain = tiny_config(head_dim=16)
    names = {f"llama.{name}": value for name, value in names.items()}
    config = load(write(random_model(plain), names)).config
    np.testing.assert_allclose(config.rope_frequencies, plain.rope_frequencies / factor)


def test_yarn(write, tiny_config):
    """What converters write for YaRN, whose factor of scores is not in the file."""
    plain = tiny_config(head_dim=16)
    names = {"type": "yarn", "factor": 4.0, "original_context_length": 8}
    names = {f"llama.rope.scaling.{name}": value for name, value in names.items()}
    config = load(write(random_model(plain), names)).config
    assert config.rope_scaling == YarnScaling(4.0, 8, 1 + 0.1 * math.log(4))
    assert config.rope_frequencies[-1] == pytest.approx(plain.rope_frequencies[-1] / 4)
    more = {"ext_factor": -1.0, "attn_factor": 0.5, "beta_fast": 24.0, "beta_slow": 2.0}
    names |= {f"llama.rope.scaling.yarn_{name}": value for name, value in more.items()}
    config = load(write(random_model(plain), names)).config
    assert config.rope_scaling == YarnScaling(4.0, 8, 0.5 * (1 + 0.1 * math.log(4)), 24.0, 2.0)
    for name in ("ext_factor", "log_multiplier"):
        odd = {f"llama.rope.scaling.yarn_{name}": 0.5}
        with pytest.raises(CheckpointError, match=rf"yarn_{name}: 0\.5 is not supported"):
            load(write(random_model(plain), names | odd))


def test_defaults(write, tiny_config):
    model = random_model(tiny_config(dim=24, n_kv_heads=6))
    names = ["head_count_kv", "key_length", "value_length"]
    absent = dict.fromkeys([f"llama.attention.{name}" for name in names])
    absent |= dict.fromkeys(["llama.rope.dimension_count", "llama.rope.freq_base"])
    assert load(write(model, absent)).config == model.config


def test_tokenizer_inside(write, tiny_config):
    fields = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "\u2581", "a"],
        "tokenizer.ggml.scores": [0.0] * 5,
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1],
        "tokenizer.ggml.bos_token_id": 1,
    }
    model = random_model(tiny_config())
    assert load(write(model)).tokenizer is None
    path = write(model, fields)
    assert load(path).tokenizer.encode("a a") == [1, 3, 4, 3, 4]
    with pytest.raises(CheckpointError, match=r"small\.gguf: tokenizer\.ggml\.scores: must have 5"):
        load(write(model, fields | {"tokenizer.ggml.scores": [0.0]}))
    with pytest.raises(CheckpointError, match="the tokenizer has 5 tokens, more than the model's"):
        load(write(random_model(tiny_config(vocab_size=4)), fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"general.architecture": "gpt5"}, "general.architecture: 'gpt5' is not supported"),
        ({"llama.block_count": 3}, "blk.2.attn_norm.weight is missing"),
        ({"llama.block_count": 1}, r"blk.1.\S+ is a tensor that a model of the family llama"),
        ({"llama.block_count": None}, "llama.block_count: is missing"),
        ({"llama.block_count": "2"}, "llama.block_count: '2' is of the wrong type"),
        ({"llama.attention.head_count": 0}, "llama.attention.head_count: must be >= 1, not 0"),
        (
            {"llama.attention.head_count_kv": [2, 2]},
            r"head_count_kv: \[2, 2\] is of the wrong",
        ),
        (
            {"llama.attention.head_count_kv": 4},
            r"head_count_kv must divide llama.attention.head_count \(6\)",
        ),
        ({"llama.attention.value_length": 8}, "llama.attention.value_length: 8 is not supported"),
        ({"llama.rope.dimension_count": 2}, "llama.rope.dimension_count: 2 is not supported"),
        ({"llama.rope.scaling.type": "longrope"}, "llama.rope.scaling.type: 'longrope' is not"),
        ({"llama.rope.scale_linear": 0.0}, "llama.rope.scale_linear: must be > 0.0, not 0.0"),
        ({"llama.expert_count": 8}, "llama.expert_used_count: is missing"),
        ({"llama.feed_forward_length": 21}, r"ffn_gate.weight must have the shape \[21, 12\]"),
        ({"general.alignment": 0}, "general.alignment: 0 is wrong"),
        ({"general.alignment": 48}, "general.alignment: 48 is wrong"),
        (
            {"split.no": 1, "split.count": 2},
            "part 2 of 2 of a split file, whose name must",
        ),
        ({"llama.attention.layer_norm_rms_epsilon": 1e10}, "rms_epsilon: must be <= 1.0, not"),
    ],
)
def test_refused(write, tiny_config, fields, message):
    path = write(random_model(tiny_config()), fields)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.fixture
def parts(tmp_path, tiny_config):
    """A model, and the three parts of its file; the first has the metadata."""
    model = random_model(tiny_config(tied=False), seed=4)
    tensors, paths = foreign_tensors(model), []
    for number, names in enumerate(np.array_split([*tensors], 3)):
        fields = foreign_fields(model.config) if number == 0 else {}
        fields |= {"split.no": number, "split.count": 3}
        path = tmp_path / f"small-{number + 1:05}-of-00003.gguf"
        paths.append(write_gguf(path, fields, {name: tensors[name] for name in names}))
    return model, paths


@pytest.mark.parametrize("given", range(3))
def test_parts_are_joined(parts, given):
    model, paths = parts
    assert_same(load(paths[given]), model)


def test_a_part_that_is_not_there(parts):
    _, paths = parts
    paths[1].unlink()
    with pytest.raises(CheckpointError, match=r"its part small-00002-of-00003\.gguf is not beside"):
        load(paths[2])


def test_a_part_of_another_file(parts):
    _, paths = parts
    paths[1].write_bytes(paths[2].read_bytes())
    message = r"small-00002-of-00003\.gguf: split.no and split.count do not say part 2 of 3"
    with pytest.raises(CheckpointError, match=message):
        load(paths[0])


def test_a_tensor_in_two_parts(parts):
    model, paths = parts
    names = ("output_norm.weight", "blk.0.attn_q.weight")
    tensors = {name: foreign_tensors(model)[name] for name in names}
    write_gguf(paths[2], {"split.no": 2, "split.count": 3}, tensors)
    with pytest.raises(CheckpointError, match=r"output_norm\.weight is in small-00001-of"):
        load(paths[0])


def test_a_cut_part_is_named(parts):
    _, paths = parts
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=r"00003-of-00003\.gguf: .*ends within this tensor"):
        load(paths[0])


def test_refused_tensors(tmp_path, write, tiny_config):
    model = random_model(tiny_config(dim=64, hidden_dim=64))
    with pytest.raises(CheckpointError, match=r"blk\.0\.attn_q\.weight: type MXFP4 is not"):
        load(write(model, kinds={"blk.0.attn_q.weight": Kind.MXFP4}))
    with pytest.raises(CheckpointError, match=r"blk\.0\.attn_q\.bias is a tensor that a model"):
        load(write(model, tensors={"blk.0.attn_q.bias": np.zeros(24, np.float32)}))
    with pytest.raises(CheckpointError, match=r"rope_freqs\.weight must have 2 values, not 3"):
        load(write(model, tensors={"rope_freqs.weight": np.ones(3, np.float32)}))
    with pytest.raises(CheckpointError, match=r"rope_freqs\.weight must have one dimension"):
        load(write(model, tensors={"rope_freqs.weight": np.ones((2, 2), np.float32)}))
    tensors = foreign_tensors(model)
    del tensors["token_embd.weight"]
    path = write_gguf(tmp_path / "other.gguf", foreign_fields(model.config), tensors)
    with pytest.raises(CheckpointError, match=r"token_embd\.weight is missing"):
        load(path)


def test_broken_blocks(write, tiny_config):
    """A row that is no whole number of blocks: 12 values as Q8_0."""
    path = write(random_model(tiny_config()))
    data = path.read_bytes()
    place = data.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
    assert data[place : place + 4] == b"\0\0\0\0"
    path.write_bytes(data[:place] + b"\x08" + data[place + 1 :])
    message = r"blk\.0\.attn_q\.weight: \[24, 12\] has no whole blocks of 32 for Q8_0"
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_truncated_anywhere(write, tiny_config):
    """Cut at many places, the file is refused with a message, never read wrongly."""
    model = random_model(tiny_config(n_layers=1))
    path = write(model, {"general.tags": ["one", "two"]})
    data = path.read_bytes()
    padding = len(data) - (data.rindex(model.layers[0]["w_down"].tobytes()) + 4 * 12 * 20)
    end = len(data) - padding
    for size in [*range(4, 2000, 7), *range(2000, end, 211), end - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match="the file ends within"):
            load(path)
    path.write_bytes(data[: end - 1])
    with pytest.raises(CheckpointError, match=r"blk\.0\.ffn_down\.weight: the file ends within"):
        load(path)


def test_bad_container(write, tiny_config):
    path = write(random_model(tiny_config()))
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\x01" + data[5:])
    with pytest.raises(CheckpointError, match="GGUF version 1 is not supported"):
        load(path)
    place = data.index(b"llama.block_count") + len("llama.block_count")
    path.write_bytes(data[:place] + b"\x0f" + data[place + 1 :])
    with pytest.raises(CheckpointError, match=r"llama\.block_count has the unknown type 15"):
        load(path)
    path.write_bytes(data.replace(b"blk.1.attn_q.weight", b"blk.0.attn_q.weight"))
    with pytest.raises(CheckpointError, match=r"blk\.0\.attn_q\.weight is described twice"):
        load(path)


def nested(depth, member=9):
    """A metadata field of arrays within arrays, and its name."""
    name = b"general.tags"
    arrays = struct.pack("<IQ", member, 1) * depth + struct.pack("<IQ", 4, 0)
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", 9) + arrays


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (nested(5), "general.tags: nested too deeply"),
        (nested(100000), "general.tags: nested too deeply"),
        (nested(0)[:-12] + struct.pack("<IQ", 0, 1 << 40), "more than 4,194,304 values in arrays"),
        (nested(0)[:-16] + struct.pack("<IB", 7, 2), "general.tags: a bool is neither 0 nor 1"),
    ],
)
def test_bad_metadata(tmp_path, field, message):
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_forbidden_places(write, tiny_config):
    path = write(random_model(tiny_config()))
    data = path.read_bytes()
    place = data.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16 + 4
    path.write_bytes(data[:place] + bytes(8) + data[place + 8 :])
    with pytest.raises(CheckpointError, match=r"(blk\.0\.attn_q|token_embd)\.weight: overlaps"):
        load(path)
    path.write_bytes(data[:place] + b"\1" + data[place + 1 :])
    with pytest.raises(CheckpointError, match=r"attn_q\.weight: offset \d+ is no multiple of 32"):
        load(path)
    place -= 4 + 16 + 4
    path.write_bytes(data[:place] + b"\0" + data[place + 1 :])
    with pytest.raises(CheckpointError, match=r"attn_q\.weight must have 1 to 4 dimensions"):
        load(path)
