"""What is said of families, and what is refused of their files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from celosia.reference import float32, integer
from celosia.reference.checkpoint import CheckpointError, load
from celosia.reference.families import FAMILIES, JUDGE, describe
from celosia.reference.model import ModelConfig
from celosia.reference.operations import Linear, Norm
from celosia.reference.quantization.quantize import quantize
from families.cases import CASES
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from celosia.cli import app
from celosia.printable import MESSAGE


def read(name, folder, tensors=None, **changes):
    """Load the case with fields of config.json changed, and tensors (None removes one)."""
    (case,) = (case for case in CASES if case.name == name)
    path = case.write(folder / name)
    (path / "config.json").write_text(json.dumps(case.config | changes))
    arrays = load_file(path / "model.safetensors") | (tensors or {})
    save_file({n: a for n, a in arrays.items() if a is not None}, path / "model.safetensors")
    return load(path)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_what_it_was_checked_with(name):
    family = FAMILIES[name]
    architectures = set(family.hugging_face.architectures)
    cases = [case for case in CASES if case.config["architectures"][0] in architectures]
    assert family.checked == len(cases) >= 3
    assert family.models


def test_the_judge_is_the_documented_one():
    name, version = JUDGE.split()
    text = (Path(__file__).parents[1] / "docs" / "judges.md").read_text()
    assert f"| `{name}` | {version}." in text


def test_families_are_listed():
    done = CliRunner().invoke(app, ["families"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    names, architectures = ("".join(row[n].strip() for row in rows) for n in (1, 3))
    for family in FAMILIES.values():
        assert family.name in names
        assert family.hugging_face.architectures[0] in architectures


def test_names_of_architectures_are_told_apart():
    for kind in ("hugging_face", "gguf"):
        forms = [getattr(family, kind) for family in FAMILIES.values()]
        names = [name for form in forms if form and not form.claims for name in form.architectures]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("llama-tied", {"architectures": ["Qwen2MoeForCausalLM"]}, r"\(only Qwen3MoeForCausalLM, "),
        ("llama-tied", {"architectures": []}, "architectures: names none"),
        ("llama-tied", {"architectures": None, "model_type": "rwkv"}, "model_type: 'rwkv' is not"),
        (
            "llama-tied",
            {"sliding_window": 8},
            "sliding_window: is not supported for llama .*gemma2",
        ),
        ("llama-tied", {"num_local_experts": 8}, "num_local_experts: is not .*: mixtral"),
        ("llama-tied", {"num_hidden_layers": 20000}, "num_hidden_layers: must be <= 10000"),
        ("llama-tied", {"num_hidden_layers": 5000}, "5000 layers are not in 20 tensors"),
        ("llama-tied", {"head_dim": 2**30}, "heads of 1073741824 values are not in 20 tensors"),
        ("llama-tied", {"partial_rotary_factor": 0.5}, "partial_rotary_factor: only 1 is"),
        ("llama-tied", {"rope_scaling": {"type": "ntk"}}, "rope_scaling.rope_type: 'ntk' is not"),
        ("llama-linear", {"rope_scaling": {"type": "linear"}}, "rope_scaling.factor: is missing"),
        ("llama-tied", {"hidden_act": "tanh"}, "hidden_act: 'tanh' is not supported"),
        ("llama-tied", {"hidden_size": 25}, "num_attention_heads: 6 does not divide"),
        ("qwen2-tied", {"quantization_config": {"bits": 4}}, "quantization_config: quantised"),
        ("qwen2-types", {"layer_types": ["full_attention"]}, "layer_types: must have 3 values"),
        ("qwen2-types", {"layer_types": ["chunked"] * 3}, r"layer_types\[0\]: 'chunked' is not"),
        ("smollm3-biases", {"no_rope_layers": [1]}, "no_rope_layers: must have 3 values, not 1"),
        ("gemma3_text-types", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gpt_neo-local", {"attention_types": [[["odd"], 3]]}, "attention_types: must say of 3"),
        (
            "phi-qk",
            {"partial_rotary_factor": 0.4},
            "partial_rotary_factor: 0.4 of 8 values must be",
        ),
        ("hgrn_bit-bounds", {"use_short_conv": True}, "use_short_conv: is not supported"),
        ("hgrn_bit-bounds", {"expand_ratio": 2}, "expand_ratio: only 1 is supported, not 2"),
        ("hgrn_bit-bounds", {"tie_word_embeddings": True}, "tie_word_embeddings: is not supported"),
        ("opt-before", {"word_embed_proj_dim": 12}, "word_embed_proj_dim: only hidden_size, 24"),
        ("mixtral-two", {"num_experts_per_tok": 9}, "num_experts_per_tok: must be from 1 to"),
        (
            "falcon_e-grouped",
            {"quantization_config": {"quant_method": "hqq"}},
            "quantization_config.quant_method: 'hqq' is not supported",
        ),
        (
            "falcon_e-grouped",
            {"quantization_config": {"quant_method": "bitnet", "use_rms_norm": True}},
            "quantization_config.use_rms_norm: only",
        ),
        (
            "bitnet-packed",
            {"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}},
            "quantization_mode: 'online' needs 'autobitlinear'",
        ),
        ("falcon_e-grouped", {"intermediate_size": 42}, "weight: 4 must divide its rows, 42"),
    ],
)
def test_fields_refused(tmp_path, case, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read(case, tmp_path, **changes)
    text = str(caught.value).removeprefix(str(tmp_path))
    assert "config.json: " in text or "tensors" in text
    assert len(text) <= MESSAGE
    assert "\n" not in text


W = "model.layers.0.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("case", "tensors", "message"),
    [
        (
            "qwen3-tied",
            {"model.layers.1.self_attn.k_norm.weight": None},
            "k_norm.weight is missing",
        ),
        (
            "llama-tied",
            {"model.layers.1.extra.weight": np.ones(2)},
            "extra.weight is a tensor that",
        ),
        ("llama-tied", {"model.layers.1.self_attn.q_proj.bias": np.ones(24)}, "q_proj.bias is a t"),
        (
            "gpt2-hub",
            {"transformer.wte.weight": np.ones((51, 20))},
            r"wte.weight is \S*wte.weight too",
        ),
        ("gpt2-hub", {"h.0.attn.c_attn.weight": np.ones((60, 20))}, r"the shape \[20, 60\]"),
        ("falcon_e-grouped", {f"{W}_scale": np.zeros(1)}, "weight_scale: must be greater than 0"),
        ("falcon_e-grouped", {W: np.full((6, 44), 3, "u1")}, "holds a code that is neither"),
        ("falcon_e-grouped", {W: np.zeros((5, 44), "u1")}, r"the shape \[6, 44\], not \[5, 44\]"),
        ("hgrn_bit-bounds", {"model.lower_bounds": np.ones((2, 24))}, r"shape \[3, 24\]"),
        ("llama-tied", {W: np.zeros((24, 44), "u1")}, "dtype U8 is not supported"),
    ],
)
def test_tensors_refused(tmp_path, case, tensors, message):
    tensors = {
        n: a if a is None or a.dtype == np.uint8 else a.astype(np.float32)
        for n, a in tensors.items()
    }
    with pytest.raises(CheckpointError, match=message) as caught:
        read(case, tmp_path, tensors)
    assert len(str(caught.value).removeprefix(str(tmp_path))) <= MESSAGE


def test_fields_of_no_effect(tmp_path):
    """Fields of other families that are as good as none, and biases of zeros."""
    zeros = {"model.layers.1.self_attn.q_proj.bias": np.zeros(24, np.float32)}
    plain = {"sliding_window": None, "num_local_experts": 0, "use_sliding_window": False}
    assert read("llama-tied", tmp_path, zeros, **plain).config.options == {}


VALUES = (None, True, False, 0, 1, -1, 3, 2**31, 10**400, 0.5, 1e300, "x", "", [], [1], {}, [[]])


@pytest.mark.parametrize("seed", range(40))
def test_any_field_may_be_anything(tmp_path, seed):
    """What is loaded or refused is so in good order, whatever a field holds."""
    rng = np.random.default_rng(seed)
    case = CASES[rng.integers(len(CASES))]
    path = case.write(tmp_path / "case")
    for _ in range(5):
        name = list(case.config)[rng.integers(len(case.config))]
        changed = case.config | {name: VALUES[rng.integers(len(VALUES))]}
        (path / "config.json").write_text(json.dumps(changed))
        try:
            assert load(path).config.n_layers >= 1
        except CheckpointError as error:
            text = str(error).removeprefix(str(tmp_path))
            assert len(text) <= MESSAGE
            assert text.isprintable()


def test_windows_as_long_as_the_context_are_none():
    sizes = dict.fromkeys(("dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size"), 4)
    for width, expected in ((16, None), (15, 15)):
        config = ModelConfig(
            **sizes, n_layers=1, head_dim=2, seq_len=16, options={"windows": (width,)}
        )
        (attention,) = (op for op in describe(config).layers[0] if hasattr(op, "window"))
        assert attention.window == expected


def test_odd_heads_only_where_nothing_is_rotated():
    sizes = dict.fromkeys(("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads"), 1)
    sizes |= {"vocab_size": 4, "seq_len": 8, "head_dim": 5}
    with pytest.raises(ValueError, match="head_dim must be even, not 5"):
        ModelConfig(**sizes)
    assert ModelConfig(**sizes, family="gpt2", options={"learned_positions": True}).head_dim == 5


@pytest.mark.parametrize("name", ["qwen3-yarn", "phi3-long", "phi-qk", "olmoe-clip"])
def test_integers_are_near(name, tmp_path):
    """Scaled rotations, LayerNorms of heads and limits, in the formats of the integer model."""
    (case,) = (case for case in CASES if case.name == name)
    model = read(name, tmp_path)
    form = quantize(model)
    expected = float32.forward(model, case.tokens)
    logits = integer.forward(form, case.tokens)[:, : expected.shape[1]] / 2.0**form.logit_fraction
    assert np.sqrt(np.mean((logits - expected) ** 2)) < 0.05 * expected.std()


def test_norms_of_the_stream_itself_have_no_unit(tmp_path):
    model = read("opt-after", tmp_path)
    with pytest.raises(ValueError, match="attention_norm replaces the residual stream by its norm"):
        quantize(model)


def test_limits_without_a_norm_have_no_unit(tmp_path):
    model = read("olmoe-clip", tmp_path)
    layers = tuple(
        tuple(op for op in layer if not isinstance(op, Norm) or op.input == "x")
        for layer in model.description.layers
    )
    layers = tuple(
        tuple(
            replace(op, out=op.out.removeprefix("raw_")) if isinstance(op, Linear) else op
            for op in layer
        )
        for layer in layers
    )
    tensors = [{n: a for n, a in layer.items() if n[1:] != "_norm"} for layer in model.layers]
    description = replace(model.description, layers=layers)
    model = replace(model, description=description, layers=tensors)
    with pytest.raises(ValueError, match="q is clipped without a norm"):
        quantize(model)
