"""GPTQ's and AWQ's files, as an independent packer writes them, keep their codes in the machine."""

import json

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import CheckpointError, load
from celosia.reference.quantization.quantize import Scheme, quantize
from safetensors.numpy import save_file

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40}
SIZES |= {"max_position_embeddings": 32, "rms_norm_eps": 1e-5}
NAMES = {"llama": "LlamaForCausalLM", "phi3": "Phi3ForCausalLM"}
ATTENTION = "model.layers.{}.self_attn"
TOKENS = [1, 7, 30, 22, 5, 39, 2]


def modules(family):
    """Of one layer: names, outputs, inputs."""
    if family == "phi3":
        attention = ("self_attn.qkv_proj", 64, 32), ("self_attn.o_proj", 32, 32)
        return [*attention, ("mlp.gate_up_proj", 128, 32), ("mlp.down_proj", 32, 64)]
    found = [
        (f"self_attn.{x}_proj", n, 32) for x, n in (("q", 32), ("k", 16), ("v", 16), ("o", 32))
    ]
    return [*found, ("mlp.gate_proj", 64, 32), ("mlp.up_proj", 64, 32), ("mlp.down_proj", 32, 64)]


def pack_gptq(q, z, s, group, less=1):
    """Bit by bit: inputs of a word from the lowest bits on; zeros of outputs, less 1."""
    bits, (outputs, inputs) = 4, q.shape
    words = np.zeros((inputs // 8, outputs), np.uint32)
    for i in range(inputs):
        words[i // 8] |= q[:, i].astype(np.uint32) << np.uint32(bits * (i % 8))
    zeros = np.zeros((z.shape[1], outputs // 8), np.uint32)
    for o in range(outputs):
        zeros[:, o // 8] |= (z[o] - less).astype(np.uint32) << np.uint32(bits * (o % 8))
    index = (np.arange(inputs) // group).astype(np.int32)
    words, zeros = words.view(np.int32), zeros.view(np.int32)
    return {"qweight": words, "qzeros": zeros, "scales": s.T.copy(), "g_idx": index}


def pack_awq(q, z, s, group):
    """Eight outputs of a word in AWQ's order."""

    def words(rows):  # [n, outputs]
        found = np.zeros((len(rows), rows.shape[1] // 8), np.uint32)
        for o in range(rows.shape[1]):
            place = [0, 2, 4, 6, 1, 3, 5, 7].index(o % 8)
            found[:, o // 8] |= rows[:, o].astype(np.uint32) << np.uint32(4 * place)
        return found.view(np.int32)

    return {"qweight": words(q.T), "qzeros": words(z.T), "scales": s.T.copy()}


def write(folder, method, family="llama", group=16, symmetric=False, change=None, **more):
    """Write two folders: packed, and the same values in float32; what the packer packed."""
    rng = np.random.default_rng(5)
    config = SIZES | {"architectures": [NAMES[family]]}
    floats = {"model.embed_tokens.weight": rng.standard_normal((40, 32)), "lm_head.weight": 0}
    floats["lm_head.weight"] = rng.standard_normal((40, 32)) * 0.2
    floats["model.norm.weight"] = np.ones(32)
    for n in range(2):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            floats[f"model.layers.{n}.{norm}.weight"] = rng.uniform(0.8, 1.2, 32)
    packed, parts = {}, {}
    for n in range(2):
        for name, outputs, inputs in modules(family):
            q = rng.integers(0, 16, (outputs, inputs))
            z = np.full((outputs, inputs // group), 8)
            if not symmetric:
                z = rng.integers(1, 16, z.shape)
            s = rng.uniform(0.01, 0.03, z.shape).astype(np.float16)
            wide = (np.repeat(x, group, axis=1) for x in (z, s.astype(np.float32)))
            zero, scale = wide
            module = f"model.layers.{n}.{name}"
            floats[f"{module}.weight"] = (q - zero) * scale
            parts[module] = q - 8
            pack = pack_awq if method == "awq" else pack_gptq
            v2 = {"less": 0} if more.get("checkpoint_format") == "gptq_v2" else {}
            packed |= {f"{module}.{k}": v for k, v in pack(q, z, s, group, **v2).items()}
    floats = {name: np.asarray(x, np.float32) for name, x in floats.items()}
    quantization = {"quant_method": method, "bits": 4, "group_size": group, "sym": symmetric} | more
    rest = {name: x for name, x in floats.items() if name.removesuffix(".weight") not in parts}
    arrays = rest | packed
    if change:
        change(arrays, quantization)
    for name, tensors, extra in (
        ("packed", arrays, {"quantization_config": quantization}),
        ("plain", floats, {}),
    ):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config | extra))
        save_file(tensors, folder / name / "model.safetensors")
    return parts


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize(
    ("method", "symmetric", "more"),
    [
        ("gptq", False, {}),
        ("gptq", True, {"desc_act": True, "static_groups": True}),
        ("gptq", False, {"checkpoint_format": "gptq_v2"}),
        ("awq", False, {"zero_point": True, "version": "gemm"}),
    ],
    ids=["gptq", "symmetric", "v2", "awq"],
)
def test_codes_and_values(tmp_path, family, method, symmetric, more):
    """Values are those of a float file; each row's codes are the packer's, in the rotary order."""
    parts = write(tmp_path, method, family, symmetric=symmetric, **more)
    model, plain = load(tmp_path / "packed"), load(tmp_path / "plain")
    np.testing.assert_array_equal(float32.forward(model, TOKENS), float32.forward(plain, TOKENS))
    assert len(model.codes) == 14
    assert model.settings == {"weight_width": 4, "group_size": 16, "head_width": 8}
    names = ("qkv", "qkv") if family == "phi3" else ("v", "q")
    values, queries = (parts[f"model.layers.1.self_attn.{name}_proj"] for name in names)
    np.testing.assert_array_equal(model.codes[1, "wv"].codes, values[-16:])
    order = np.arange(8).reshape(2, 4).T.ravel()  # halves of a head become pairs
    np.testing.assert_array_equal(model.codes[1, "wq"].codes[:8], queries[order])


def test_the_machine_has_the_codes(tmp_path):
    parts = write(tmp_path, "gptq")
    model = load(tmp_path / "packed")
    for group in (16, 8):
        scheme = Scheme(lanes=8, weight_width=4, group=group, head_width=8)
        found = [
            op for op in quantize(model, scheme).layers[0] if getattr(op, "name", "") == "w_down"
        ]
        np.testing.assert_array_equal(found[0].matrix.weight, parts["model.layers.0.mlp.down_proj"])
    message = "a group of 32 .group_size. spans groups of columns that differ"
    with pytest.raises(ValueError, match=message):
        quantize(model, Scheme(lanes=8, weight_width=4, group=32, head_width=8))


def test_one_group_for_a_row(tmp_path):
    """``group_size`` -1 with symmetric codes is one scale for each row."""

    def whole(arrays, quantization):
        quantization["group_size"] = -1
        for name in [n for n in arrays if n.endswith(("scales", "qzeros"))]:
            arrays[name] = arrays[name][:1].copy()
        for name in [n for n in arrays if n.endswith("g_idx")]:
            arrays[name] = np.zeros_like(arrays[name])

    write(tmp_path, "gptq", symmetric=True, change=whole)
    model = load(tmp_path / "packed")
    assert model.settings == {"weight_width": 4, "group_size": 0}
    quantize(model, Scheme(lanes=8, weight_width=4))


def test_a_packed_head(tmp_path):
    """It has the width of the others."""

    def change(arrays, _):
        del arrays["lm_head.weight"]
        codes, zeros = np.full((40, 32), 9), np.full((40, 2), 7)
        parts = pack_gptq(codes, zeros, np.full((40, 2), 0.02, np.float16), 16)
        arrays |= {f"lm_head.{name}": array for name, array in parts.items()}

    write(tmp_path, "gptq", change=change)
    model = load(tmp_path / "packed")
    assert model.settings == {"weight_width": 4, "group_size": 16}
    assert (model.codes[None, "head"].codes == 1).all()
    np.testing.assert_allclose(model.tensors["head"], 0.04, rtol=1e-3)
    quantize(model, Scheme(lanes=8, weight_width=4, group=16))


O_PROJ = "model.layers.0.self_attn.o_proj"


def shuffle(arrays, _):
    arrays[f"{O_PROJ}.g_idx"] = arrays[f"{O_PROJ}.g_idx"][::-1].copy()


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("gptq", lambda a, q: q.update(bits=3), "config.bits: 3 is not supported (only 2, 4, 8)"),
        ("awq", lambda a, q: q.update(bits=8), "config.bits: 8 is not supported (only 4)"),
        ("awq", lambda a, q: q.update(version="gemv"), "version: 'gemv' is not supported (only"),
        (
            "gptq",
            lambda a, q: q.update(checkpoint_format="marlin"),
            "checkpoint_format: 'marlin' is not supported (only gptq, gptq_v2)",
        ),
        ("gptq", lambda a, q: q.update(quant_method="hqq"), "quant_method: 'hqq' is not supported"),
        ("gptq", lambda a, q: q.pop("bits"), "quantization_config.bits: is missing"),
        (
            "gptq",
            lambda a, q: q.update(group_size=0),
            "group_size: must be 1 or more, or -1, not 0",
        ),
        (
            "gptq",
            lambda a, q: q.update(group_size=8),
            "scales must have the shape [8, 32], not [4, 32]",
        ),
        ("gptq", shuffle, f"{O_PROJ}.g_idx: inputs of a group are not side by side"),
        ("gptq", lambda a, q: a.pop(f"{O_PROJ}.scales"), f"{O_PROJ}.scales is missing"),
        ("awq", lambda a, q: a.pop(f"{O_PROJ}.qzeros"), f"{O_PROJ}.qzeros is missing"),
        ("awq", lambda a, q: a.pop(f"{O_PROJ}.qweight"), f"{O_PROJ}."),
        (
            "gptq",
            lambda a, q: a.update({f"{O_PROJ}.weight": np.ones((32, 32), np.float32)}),
            f"{O_PROJ}.weight is there beside {O_PROJ}.qweight",
        ),
        (
            "gptq",
            lambda a, q: a.update({f"{O_PROJ}.qzeros": np.ones((2, 3), np.int32)}),
            f"{O_PROJ}.qzeros must have the shape [2, 4], not [2, 3]",
        ),
        (
            "gptq",
            lambda a, q: a.update({f"{O_PROJ}.qweight": np.ones((4, 32), np.float32)}),
            f"{O_PROJ}.qweight: dtype F32 is not supported (only I32)",
        ),
        (
            "gptq",
            lambda a, q: a.update({f"{O_PROJ}.qweight": np.ones((3, 32), np.int32)}),
            f"{O_PROJ}.",
        ),
        (
            "gptq",
            lambda a, q: a.update({f"{O_PROJ}.scales": -a[f"{O_PROJ}.scales"]}),
            f"{O_PROJ}.scales must be 0 or more",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, method, change, message):
    write(tmp_path, method, change=change)
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "packed")
    assert message in str(caught.value)


def test_what_is_rounded_anew_is_told(tmp_path, caplog, monkeypatch):
    """As by a reader that changes the values on the way."""
    from celosia.reference.families.names import Part

    def halved(self, file, place, suffix, shape):
        array = read(self, file, place, suffix, shape)
        return array / 2 if self.name == "mlp.down_proj" else array

    read = Part.read
    monkeypatch.setattr(Part, "read", halved)
    write(tmp_path, "awq")
    assert len(load(tmp_path / "packed").codes) == 12
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "2 packed matrices (model.layers.0.mlp.down_proj.weight, ...) are rounded anew"
    )
