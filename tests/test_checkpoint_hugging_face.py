"""Hugging Face directories of Llama-family models."""

import json
import struct
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from celosia.reference import float32
from celosia.reference.checkpoint import CheckpointError, load
from celosia.reference.model import Model, RopeScaling, random_model
from celosia.reference.operations import Rotate
from sentencepiece_file import write_pieces

NAMES = {
    "attention_norm": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "w_gate": "mlp.gate_proj",
    "w_up": "mlp.up_proj",
    "w_down": "mlp.down_proj",
}


def half_split(rows, head_dim):
    """Each head's even rows, then its odd ones."""
    heads = rows.reshape(-1, head_dim, rows.shape[1])
    return np.concatenate([heads[:, 0::2], heads[:, 1::2]], axis=1).reshape(rows.shape)


def foreign_tensors(model):
    tensors = {
        "model.embed_tokens.weight": model.tensors["embedding"],
        "model.norm.weight": model.tensors["norm"],
    }
    for index, layer in enumerate(model.layers):
        for name, foreign in NAMES.items():
            array = layer[name]
            if name in ("wq", "wk"):
                array = half_split(array, model.config.head_dim)
            tensors[f"model.layers.{index}.{foreign}.weight"] = array
    if not model.config.tied:
        tensors["lm_head.weight"] = model.tensors["head"]
    return tensors


def foreign_config(config):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.seq_len,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied,
    }


def write_config(path, config, **changes):
    fields = foreign_config(config) | changes
    fields = {name: value for name, value in fields.items() if value != "absent"}
    (path / "config.json").write_text(json.dumps(fields))


@pytest.fixture
def write(tmp_path):
    """A function that writes a model's directory, with any field of config.json changed."""

    def write_directory(model, **changes):
        write_config(tmp_path, model.config, **changes)
        tensors = foreign_tensors(model)
        safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
        return tmp_path

    return write_directory


def assert_same(loaded, model):
    tokens = [1, 2, 3, 32, 5]
    np.testing.assert_array_equal(float32.forward(loaded, tokens), float32.forward(model, tokens))


@pytest.mark.parametrize("shape", [{}, {"tied": False, "n_kv_heads": 6}, {"head_dim": 10}])
def test_half_split_rows(write, tiny_config, shape):
    """The rows are permuted, so that the logits come out identical."""
    model = random_model(tiny_config(**shape), seed=9)
    loaded = load(write(model))
    assert loaded.config == model.config
    assert ("head" not in loaded.tensors) == model.config.tied
    for layer, expected in zip(loaded.layers, model.layers, strict=True):
        for name in NAMES:
            np.testing.assert_array_equal(layer[name], expected[name])
    assert_same(loaded, model)


def test_half_split_rows_rotate_alike():
    """What ``half_split`` says is what rotating halves needs: the scores are the same."""
    generator = np.random.default_rng(1)
    wq, wk = generator.normal(size=(2, 8, 5)).astype(np.float32)
    x = generator.normal(size=(6, 5)).astype(np.float32)
    frequencies = np.array([1.0, 0.3, 0.1, 0.03])
    positions = np.arange(6)

    def rotate_halves(rows):
        angles = np.tile(np.outer(positions, frequencies), 2)
        swapped = np.concatenate([-rows[:, 4:], rows[:, :4]], axis=1)
        return rows * np.cos(angles) + swapped * np.sin(angles)

    def rotate_pairs(rows):
        p = float32.Pass(None, positions, SimpleNamespace(length=0), None)
        p.write("rows", rows)
        Rotate("rows", 8, tuple(frequencies)).run(p)
        return p.read("rows")

    q, k = (rotate_halves(x @ half_split(w, 8).T) for w in (wq, wk))
    q_pairs, k_pairs = (rotate_pairs(x @ w.T) for w in (wq, wk))
    np.testing.assert_allclose(q @ k.T, q_pairs @ k_pairs.T, rtol=0, atol=1e-5)


def header(**tensors):
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def bfloat16_bits(array):
    """The nearest bfloat16, ties to even."""
    bits = array.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def rounded(model, convert):
    for layer in model.layers:
        for name in NAMES:
            layer[name] = convert(layer[name])
    for name, array in model.tensors.items():
        model.tensors[name] = convert(array)
    return model


def test_float16(tmp_path, tiny_config):
    model = rounded(
        random_model(tiny_config(), seed=9), lambda a: a.astype(np.float16).astype(np.float32)
    )
    write_config(tmp_path, model.config)
    tensors = {name: a.astype(np.float16) for name, a in foreign_tensors(model).items()}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    assert_same(load(tmp_path), model)


def test_bfloat16(tmp_path, tiny_config):
    def through_bits(array):
        return (bfloat16_bits(array).astype(np.uint32) << 16).view(np.float32)

    model = rounded(random_model(tiny_config(), seed=9), through_bits)
    write_config(tmp_path, model.config)
    entries, data = {}, b""
    for name, array in foreign_tensors(model).items():
        begin, shape = len(data), list(array.shape)
        data += bfloat16_bits(array).tobytes()
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    # Of odd length, so that no tensor is aligned.
    head = header(**entries)
    head = header(**entries, __metadata__={"odd": "1" * (len(head) % 2)})
    assert len(head) % 2
    (tmp_path / "model.safetensors").write_bytes(head + data)
    assert_same(load(tmp_path), model)


def write_shards(path, model, n=3):
    write_config(path, model.config)
    tensors = foreign_tensors(model)
    names = sorted(tensors)
    weight_map = {}
    for shard in range(n):
        file = f"model-{shard + 1:05}-of-{n:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::n]}
        safetensors.numpy.save_file(part, path / file)
        weight_map |= dict.fromkeys(part, file)
    return weight_map


def write_index(path, weight_map):
    index = {"metadata": {}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def test_several_files(tmp_path, tiny_config):
    model = random_model(tiny_config(tied=False), seed=9)
    weight_map = write_shards(tmp_path, model)
    assert_same(load(tmp_path), model)
    write_index(tmp_path, weight_map)
    # A file that the index does not name is not read.
    (tmp_path / "other.safetensors").write_bytes(b"")
    assert_same(load(tmp_path), model)


def test_bad_index(tmp_path, tiny_config):
    model = random_model(tiny_config(), seed=9)
    weight_map = write_shards(tmp_path, model)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"index\.json: no JSON"):
        load(tmp_path)
    write_index(tmp_path, dict.fromkeys(weight_map, 3))
    with pytest.raises(
        CheckpointError, match=r"index\.json: weight_map\.model\S+: 3 is of the wrong"
    ):
        load(tmp_path)
    write_index(tmp_path, weight_map | {"model.norm.weight": "gone.safetensors"})
    with pytest.raises(CheckpointError, match=r"weight_map: gone\.safetensors is missing"):
        load(tmp_path)
    write_index(tmp_path, weight_map | {"extra": weight_map["model.norm.weight"]})
    with pytest.raises(CheckpointError, match=r"\.safetensors: extra is missing"):
        load(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    safetensors.numpy.save_file(
        {"model.norm.weight": model.tensors["norm"]}, tmp_path / "z.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"z\.safetensors: model\.norm\.weight is in model-"):
        load(tmp_path)


LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
SCALING = RopeScaling(8.0, 1.0, 4.0, 8192)


@pytest.mark.parametrize(
    ("changes", "theta", "scaling"),
    [
        ({"rope_theta": 5e5}, 5e5, None),
        ({"rope_theta": "absent"}, 1e4, None),
        ({"rope_theta": 500000, "rope_scaling": None}, 5e5, None),
        ({"rope_scaling": {"rope_type": "llama3", **LLAMA3}}, 1e4, SCALING),
        ({"rope_scaling": {"type": "llama3", **LLAMA3}}, 1e4, SCALING),
        (
            {
                "rope_theta": "absent",
                "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3},
            },
            5e5,
            SCALING,
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, 7.0, None),
        ({"rope_scaling": {"rope_type": "default", "rope_theta": 7.0}}, 7.0, None),
        ({"rope_scaling": {"type": "linear", "factor": 1.0}}, 1e4, None),
    ],
)
def test_rope_fields(write, tiny_config, changes, theta, scaling):
    loaded = load(write(random_model(tiny_config()), **changes))
    assert loaded.config.rope_theta == theta
    assert loaded.config.rope_scaling == scaling


def test_defaults(write, tiny_config):
    model = random_model(tiny_config(dim=24, n_kv_heads=6, tied=False))
    absent = ["num_key_value_heads", "head_dim", "rms_norm_eps", "hidden_act", "architectures"]
    absent += ["tie_word_embeddings"]
    loaded = load(write(model, **dict.fromkeys(absent, "absent")))
    assert (loaded.config.n_kv_heads, loaded.config.head_dim) == (6, 4)
    assert loaded.config.norm_eps == 1e-6
    assert not loaded.config.tied


def test_mistral(write, tiny_config, caplog):
    model = random_model(tiny_config())
    mistral = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    for window in (None, 16):
        assert_same(load(write(model, **mistral, sliding_window=window)), model)
        assert not caplog.records
    loaded = load(write(model, **mistral, sliding_window=15))
    assert loaded.config.options == {"windows": (15, 15)}


@pytest.mark.parametrize("own", [False, True])
def test_tied_head_may_be_stored(tmp_path, write, tiny_config, caplog, own):
    """A head that differs from the embedding is used, whatever config.json says."""
    model = random_model(tiny_config(tied=True))
    write(model)
    head = model.tensors["embedding"] + own
    tensors = foreign_tensors(model) | {"lm_head.weight": head}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    loaded = load(tmp_path)
    assert loaded.config.tied == (not own)
    assert ("tie_word_embeddings: not heeded" in caplog.text) == own
    if own:
        config = replace(model.config, tied=False)
        model = Model(config, model.tensors | {"head": head}, model.layers)
    assert_same(loaded, model)


def write_tokenizer(path):
    vocabulary = {text: token for token, text in enumerate(["<s>", "</s>", "<end>", "a", "b"])}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    library.add_special_tokens(["<s>", "</s>", "<end>"])
    library.decoder = tokenizers.decoders.ByteLevel()
    library.save(str(path / "tokenizer.json"))


@pytest.mark.parametrize(
    ("bos", "eos", "expected"),
    [(0, 1, (0, 1, {1})), (0, [2, 1], (0, 2, {1, 2})), (None, None, (None, None, set()))],
)
def test_tokenizer(write, tiny_config, bos, eos, expected):
    path = write(random_model(tiny_config()), bos_token_id=bos, eos_token_id=eos)
    write_tokenizer(path)
    tokenizer = load(path).tokenizer
    assert (tokenizer.bos, tokenizer.eos, tokenizer.stop) == expected
    assert tokenizer.encode("ab") == [0] * (bos == 0) + [3, 4]
    assert load(path, path).tokenizer.encode("ab") == [3, 4]


def test_sentencepiece_beside_a_model(write, tiny_config):
    """tokenizer.json goes before it; without the package the model is read all the same."""
    pytest.importorskip("sentencepiece")
    path = write(random_model(tiny_config(vocab_size=262)), eos_token_id=5)
    write_pieces(path / "tokenizer.model")
    tokenizer = load(path).tokenizer
    assert (tokenizer.bos, tokenizer.eos, tokenizer.stop) == (1, 5, {2, 5})
    assert tokenizer.encode("hello") == [1, 259]
    write_tokenizer(path)
    assert load(path).tokenizer.vocab_size == 6


def test_bad_tokenizer(write, tiny_config):
    path = write(random_model(tiny_config()), bos_token_id=33)
    assert load(path).tokenizer is None
    write_tokenizer(path)
    with pytest.raises(CheckpointError, match=r"config\.json: bos_token_id: 33 is no token"):
        load(path)
    write_config(path, tiny_config(), eos_token_id=["x"])
    with pytest.raises(CheckpointError, match=r"config\.json: eos_token_id\[0\]: 'x' is of the"):
        load(path)
    write_config(path, tiny_config(), bos_token_id=20)
    with pytest.raises(CheckpointError, match="bos must be a token below 5, not 20"):
        load(path)
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["Qwen5ForCausalLM"]}, r"architectures: 'Qwen5ForCausalLM' is not"),
        ({"architectures": []}, "architectures: names none"),
        ({"architectures": "absent", "model_type": "gpt5"}, "model_type: 'gpt5' is not"),
        ({"architectures": "absent", "model_type": "absent"}, "model_type: is missing"),
        ({"attention_bias": True}, r"model.layers.0.self_attn.q_proj.bias is missing"),
        ({"mlp_bias": True}, r"model.layers.0.mlp.gate_proj.bias is missing"),
        ({"hidden_act": "gelu_10"}, "hidden_act: 'gelu_10' is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantization_config.quant_method: is missing"),
        ({"rope_scaling": {"type": "linear", "factor": 0.0}}, "rope_scaling.factor: must be > 0.0"),
        ({"rope_scaling": {"rope_type": "ntk"}}, "rope_scaling.rope_type: 'ntk' is not"),
        ({"rope_scaling": {"type": "yarn"}, "rope_theta": 1.0}, "rope_theta must be above 1 with"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling.factor: is missing"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope_parameters.short_factor: is miss"),
        (
            {"rope_scaling": {"type": "su", "short_factor": [1.0] * 3}},
            "short_factor must have 2 values, not 3",
        ),
        ({"rope_scaling": {"rope_type": "llama3", **LLAMA3, "factor": 0.5}}, "factor must be at"),
        ({"rope_scaling": "llama3"}, "rope_scaling: 'llama3' is of the wrong type"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: only 1 is supported"),
        ({"hidden_size": "absent"}, "hidden_size: is missing"),
        ({"vocab_size": "33"}, "vocab_size: '33' is of the wrong type"),
        ({"num_hidden_layers": True}, "num_hidden_layers: True is of the wrong type"),
        ({"num_hidden_layers": 3}, r"model.layers.2.input_layernorm.weight is missing"),
        ({"num_hidden_layers": 1}, r"model.layers.1.\S+ is a tensor that a model of the"),
        ({"num_attention_heads": 5, "head_dim": None}, "num_attention_heads: 5 does not divide"),
        ({"num_attention_heads": 0, "head_dim": None}, "num_attention_heads: must be >= 1, not 0"),
        ({"num_key_value_heads": 4}, r"num_key_value_heads must divide num_attention_heads \(6\)"),
        ({"intermediate_size": 21}, r"mlp.gate_proj.weight must have the shape \[21, 12\]"),
        ({"vocab_size": 34}, r"model.embed_tokens.weight must have the shape \[34, 12\]"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
        ({"rope_theta": 10**400}, "config.json: rope_theta: Number out of range"),
        ({"rms_norm_eps": -1}, "config.json: rms_norm_eps: must be >= 0.0, not -1"),
        ({"rms_norm_eps": 1e10}, "config.json: rms_norm_eps: must be <= 1.0, not"),
        (
            {"architectures": [["LlamaForCausalLM"]]},
            r"architectures\[0\]: \['LlamaForCausalLM'\] is",
        ),
    ],
)
def test_refused(write, tiny_config, changes, message):
    path = write(random_model(tiny_config()), **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_bad_config(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        load(tmp_path)
    for text, message in (("{", "no JSON: "), ("[]", "no JSON object")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=rf"config\.json: {message}"):
            load(tmp_path)


def test_no_weights(tmp_path, tiny_config):
    write_config(tmp_path, tiny_config())
    with pytest.raises(CheckpointError, match=r"there is no \.safetensors file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_config.json", "an adapter, not a model"),
        ("x-q4_0.gguf", r"give the GGUF file itself: x-q4_0\.gguf"),
        ("pytorch_model-00001-of-00002.bin", r"pytorch_model-00001.*is a pickle of PyTorch"),
        ("consolidated.00.pth", r"consolidated\.00\.pth is a pickle of PyTorch"),
    ],
)
def test_folders_of_other_kinds_are_named(tmp_path, tiny_config, name, message):
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)
    write_config(tmp_path, tiny_config())
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends within the header's length"),
        (b"1234567", "ends within the header's length"),
        (b"\x09" + b"\0" * 7 + b"{}", r"ends within the header \(9 bytes long\)"),
        (b"\x02" + b"\0" * 7 + b"{,", "no safetensors header: Expecting"),
        (b"\x02" + b"\0" * 7 + b"[]", "no safetensors header object"),
        (header(a={"dtype": "F32"}), r"a\.shape: is missing"),
        (header(a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}), "a: the file ends"),
        (header(a={"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}), r"a\.shape\[0\]: must"),
        (header(a={"dtype": "F32", "shape": [0], "data_offsets": [1, 0]}), "a.data_offsets: "),
        (header(a={"dtype": "F32", "shape": [0], "data_offsets": [0]}), "a.data_offsets: "),
    ],
)
def test_bad_safetensors(tmp_path, tiny_config, data, message):
    write_config(tmp_path, tiny_config())
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(tmp_path)
    assert "model.safetensors" in str(caught.value)


def test_truncated(write, tiny_config):
    path = write(random_model(tiny_config()))
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.\S+: the file ends within this tensor"):
        load(path)


def test_other_types(tmp_path, write, tiny_config):
    model = random_model(tiny_config())
    write(model)
    tensors = foreign_tensors(model) | {
        "model.norm.weight": model.tensors["norm"].astype(np.float64)
    }
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight: dtype F64 is not supported"):
        load(tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes().replace(b'"F64"', b'"F32"')
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"\[12\] F32 takes 48 bytes, not 96"):
        load(tmp_path)


def entry(begin, end):
    return {"dtype": "F32", "shape": [1], "data_offsets": [begin, end]}


TWICE = b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": 3}'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(a=entry(0, 4), b=entry(0, 4)) + bytes(4), r"b\.data_offsets: \[0, 4\] overlaps a"),
        (header(a=entry(4, 8)) + bytes(8), r"a\.data_offsets: .* leaves a hole after the header"),
        (header(a=entry(0, 4)) + bytes(5), "1 bytes follow the last tensor"),
        (header(a=entry(False, 4)) + bytes(4), r"a\.data_offsets\[0\]: False is of the wrong type"),
        (header(__metadata__={"a": 1}), r"__metadata__.* wrong type"),
        (struct.pack("<Q", len(TWICE)) + TWICE, "no safetensors header: 'a' is there twice"),
    ],
)
def test_forbidden_safetensors(tmp_path, tiny_config, data, message):
    write_config(tmp_path, tiny_config())
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a\0.safetensors", ""])
def test_files_of_other_folders(tmp_path, tiny_config, name):
    model = random_model(tiny_config())
    write_index(tmp_path, dict.fromkeys(write_shards(tmp_path, model), name))
    with pytest.raises(CheckpointError, match=r"is no name of a \.safetensors file of this"):
        load(tmp_path)


def test_left_over_index(tmp_path, write, tiny_config):
    """model.safetensors comes first, as in the transformers library."""
    model, old = (random_model(tiny_config(), seed) for seed in (1, 2))
    write_index(tmp_path, write_shards(tmp_path, old))
    assert_same(load(write(model)), model)


def test_harmless_oddities(tmp_path, write, tiny_config):
    model = random_model(tiny_config())
    tensors = foreign_tensors(model)
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(24, np.float32)
    tensors["model.layers.0.self_attn.masked_bias"] = np.float32([-1e4])
    layers = ["full_attention"] * model.config.n_layers
    scaling = {"type": "dynamic", "factor": 2.0}
    write(model, hidden_act="swish", rope_scaling=scaling, layer_types=layers)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    assert_same(load(tmp_path), model)
    tensors["model.layers.0.self_attn.q_proj.bias"][3] = 1e-3
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"q_proj\.bias is a tensor that a model of the family"
    ):
        load(tmp_path)


def test_ends_of_two_files(write, tiny_config):
    path = write(random_model(tiny_config()), eos_token_id=1)
    write_tokenizer(path)
    (path / "generation_config.json").write_text('{"eos_token_id": [1, 32]}')
    tokenizer = load(path).tokenizer
    assert (tokenizer.eos, tokenizer.stop) == (1, {1, 32})  # 32: beyond the tokenizer's own
    (path / "generation_config.json").write_text('{"eos_token_id": 33}')
    with pytest.raises(CheckpointError, match=r"generation_config\.json: eos_token_id: 33 is no"):
        load(path)


def test_tokenizer_that_is_not_known(write, tiny_config, caplog):
    """It does not bar what needs none."""
    path = write(random_model(tiny_config()))
    write_tokenizer(path)
    described = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(described | {"decoder": None}))
    assert load(path).tokenizer is None
    assert "tokenizer.json: decoder: null is not supported" in caplog.text
    with pytest.raises(CheckpointError, match="decoder: null is not supported"):
        load(path, path)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "fields",
    [
        {"num_key_value_heads": 2, "tie_word_embeddings": True},
        {"head_dim": 20, "tie_word_embeddings": False, "rope_parameters": None},
    ],
)
def test_agrees_with_transformers(tmp_path, fields, kind):
    """Where the ``transformers`` library is installed: its directories, its logits."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    if "rope_parameters" in fields:
        scaling = LLAMA3 | {"original_max_position_embeddings": 32}
        fields = fields | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, **scaling}}
    config = transformers.LlamaConfig(
        hidden_size=48,
        intermediate_size=77,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=101,
        max_position_embeddings=128,
        initializer_range=0.2,
        attn_implementation="eager",
        **fields,
    )
    torch.manual_seed(1)
    written = transformers.LlamaForCausalLM(config).to(getattr(torch, kind))
    written.save_pretrained(tmp_path, max_shard_size="60KB")
    other = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokens = np.random.default_rng(1).integers(0, 101, 100)
    with torch.no_grad():
        expected = other(torch.tensor(tokens)[None]).logits[0].numpy()
    logits = float32.forward(load(tmp_path), tokens)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=5e-5)
