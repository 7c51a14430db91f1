"""Our own checkpoints keep every code and every operation, and what is wrong in one is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from celosia.reference import float32
from celosia.reference.checkpoint import KNOWN, CheckpointError, load
from celosia.reference.checkpoint.quantized_folder import write_model
from celosia.reference.checkpoint.tokenizer_files import tokenizer_files
from celosia.reference.model import random_model
from celosia.reference.operations import Hadamard
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.quantize import quantize
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.recipes.apply import apply_recipe
from celosia.reference.recipes.recipe import Recipe
from celosia.reference.rewrites.rewrites import machine_form
from families.cases import CASES
from test_checkpoint_gguf import write_gguf

SCHEME = Scheme(lanes=2, weight_width=4, group=4, head_width=8)


def written(model, folder, scheme=SCHEME, recipe=None):
    """The model in codes, and what is read of it from ``folder``."""
    coded = apply_recipe(model, scheme, recipe or Recipe())
    coded.settings = {"weight_width": scheme.weight_width, "group_size": scheme.group}
    folder.mkdir()
    write_model(folder, coded, {"name": "x"})
    return coded, load(folder)


@pytest.mark.parametrize(
    "scheme",
    [SCHEME, Scheme(lanes=8, weight_width=4), Scheme(lanes=4, weight_width=3, group=8)],
    ids=["groups", "rows", "padded"],
)
def test_every_integer_stays(tiny_config, tmp_path, scheme):
    """Codes, groups and logits; and they are those of rounding the float model itself."""
    model = random_model(tiny_config(tied=False), seed=2)
    coded, read = written(model, tmp_path / "a", scheme)
    assert read.codes.keys() == coded.codes.keys()
    assert len(read.codes) == 2 * 7 + 2
    for key, one in coded.codes.items():
        for part in ("codes", "groups", "scales", "offsets"):
            np.testing.assert_array_equal(getattr(read.codes[key], part), getattr(one, part))
    ours, theirs, plain = (quantize(each, scheme) for each in (coded, read, model))
    for one, other, third in zip(ours.matrices, theirs.matrices, plain.matrices, strict=True):
        np.testing.assert_array_equal(one.integers(), other.integers())
        np.testing.assert_array_equal(one.weight, third.weight)
    tokens = [1, 5, 9, 3]
    np.testing.assert_array_equal(ours.logits(tokens)[0], theirs.logits(tokens)[0])


@pytest.mark.parametrize(
    "name", ["gpt2-tied", "gpt_neox-parallel", "hgrn_bit-bounds", "olmoe-clip", "phi3-long"]
)
def test_descriptions_stay(tmp_path, name):
    """Rewritten operations are written as they are, and computed so."""
    (case,) = (case for case in CASES if case.name == name)
    model = load(case.write(tmp_path / "source"))
    coded, read = written(model, tmp_path / "a", Scheme(weight_width=8))
    assert read.description == coded.description
    assert read.config.seq_len == model.config.seq_len
    np.testing.assert_array_equal(
        float32.forward(read, case.tokens), float32.forward(coded, case.tokens)
    )


def test_transforms_are_kept(tiny_config, tmp_path):
    scheme = Scheme(weight_width=4, rotate_down=4, rotate_keys=2)
    coded, read = written(random_model(tiny_config()), tmp_path / "a", scheme)
    assert len(read.description.find(Hadamard)) == 3 * read.config.n_layers
    for each in (scheme, Scheme(weight_width=4)):  # the description has them
        matrices = quantize(read, each).matrices
        for one, other in zip(matrices, quantize(coded, scheme).matrices, strict=True):
            np.testing.assert_array_equal(one.weight, other.weight)


def test_ternary_codes_take_a_fifth_of_a_byte(tiny_config, tmp_path):
    """What is no code in such a byte is refused."""
    model = random_model(tiny_config(tied=False), seed=2)
    weight = model.layers[0]["wq"]
    one = Coded(np.sign(weight).astype(np.int8), np.zeros(12, np.int64), np.ones((24, 1), "f4"))
    folder = tmp_path / "a"
    folder.mkdir()
    write_model(folder, replace(model, codes={(0, "wq"): one}), {})
    read = load(folder)
    np.testing.assert_array_equal(read.codes[0, "wq"].codes, one.codes)
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    assert arrays["layers.0.wq.trits"].shape == (24, 3)
    for array, message in (
        (np.full((24, 3), 243, np.uint8), "layers.0.wq.trits: byte 0 of word 0 is 243"),
        (np.zeros((24, 4), np.uint8), "layers.0.wq.trits must have 12 columns"),
        (np.zeros((24, 3), np.int8), "layers.0.wq.trits must have 12 columns"),
    ):
        changed = arrays | {"layers.0.wq.trits": array}
        safetensors.numpy.save_file(changed, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=message):
            load(folder)


def test_the_same_bytes(tiny_config, tmp_path):
    model = random_model(tiny_config())
    for name in "ab":
        written(model, tmp_path / name)
    for file in ("celosia.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_rewrites_drop_the_codes_of_what_they_change(tmp_path):
    """Here centring changes ``wo`` and not ``wq``."""
    (case,) = (case for case in CASES if case.name == "gpt2-tied")
    model = load(case.write(tmp_path / "source"))
    codes = {}
    for name in ("wq", "wo"):
        weight = model.layers[0][name]
        columns = np.arange(weight.shape[1]), weight.shape[1]
        codes[0, name] = Coded.of(weight, 8, Scheme(), columns, name)
    assert set(machine_form(replace(model, codes=codes)).codes) == {(0, "wq")}


def test_fewer_layers(tiny_config, tmp_path):
    _, read = written(random_model(tiny_config()), tmp_path / "a")
    short = read.shortened(1)
    assert {layer for layer, _ in short.codes} == {0, None}
    whole, part = quantize(read, SCHEME), quantize(short, SCHEME)
    np.testing.assert_array_equal(part.matrices[0].weight, whole.matrices[0].weight)


def test_codes_that_a_machine_cannot_hold(tiny_config, tmp_path):
    model = random_model(tiny_config())
    coded, _ = written(model, tmp_path / "a")
    for scheme, message in (
        (Scheme(lanes=2, weight_width=3, group=4), "embedding: its codes have more than 3 bits"),
        (
            Scheme(lanes=2, weight_width=4),
            "its codes have .* bits .weight_width|its codes have offsets",
        ),
        (replace(SCHEME, group=12, head_width=8), "a group of 12 .group_size. spans groups"),
    ):
        with pytest.raises(ValueError, match=message):
            quantize(coded, scheme)
    finer = quantize(coded, replace(SCHEME, group=2))  # each half of a group
    np.testing.assert_array_equal(
        finer.matrices[0].integers(), quantize(coded, SCHEME).matrices[0].integers()
    )


def test_tokenizers_come_along(tmp_path):
    """Of a Hugging Face folder, of a file, and a GGUF file's fields without its tensors."""
    model = load("demo")
    source = tmp_path / "a"
    written(model, source)
    for name, data in tokenizer_files(KNOWN["demo"]).items():
        (source / name).write_bytes(data)
    read, text = load(source).tokenizer, "What light through yonder window breaks?"
    assert read.encode(text) == model.tokenizer.encode(text)
    assert (read.bos, read.stop) == (model.tokenizer.bos, model.tokenizer.stop)
    files = tokenizer_files("nothing", KNOWN["demo"] / "tokenizer.json")
    assert list(files) == ["tokenizer.json"]


def test_a_gguf_files_tokenizer(tiny_config, tmp_path):
    """Its fields alone, without tensors."""
    fields = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "\u2581", "a"],
        "tokenizer.ggml.scores": [0.0] * 5,
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1],
        "tokenizer.ggml.bos_token_id": 1,
    }
    model = random_model(tiny_config())
    path = write_gguf(tmp_path / "a.gguf", fields, {"x": model.layers[0]["wq"]})
    (name, data), *_ = tokenizer_files("nothing", path).items()
    assert len(data) < path.stat().st_size - model.layers[0]["wq"].nbytes
    written(model, tmp_path / "a")
    (tmp_path / "a" / name).write_bytes(data)
    assert load(tmp_path / "a").tokenizer.encode("a a") == [1, 3, 4, 3, 4]


def broken(folder, change):
    """The message of a folder whose celosia.json ``change`` has altered."""
    file = folder / "celosia.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format=2), "celosia.json: format: 2 is not supported (only 1)"),
        (lambda v: v.pop("settings"), "celosia.json: settings: is missing"),
        (
            lambda v: v["description"]["layers"][0].insert(0, {"Exec": {}}),
            "celosia.json: description.layers[0][0]: ['Exec'] is no operation",
        ),
        (
            lambda v: v["description"]["begin"][0]["Embed"].pop("table"),
            "celosia.json: description.begin[0].Embed.table: is missing",
        ),
        (lambda v: v["description"]["sizes"].pop("h"), "description.sizes.h: is missing"),
        (lambda v: v["config"].update(n_heads=5), "n_kv_heads must divide n_heads (5)"),
        (
            lambda v: v["description"]["layers"].pop(),
            "layers.1.attention_norm: there are 1 layers",
        ),
    ],
)
def test_a_broken_description(tiny_config, tmp_path, change, message):
    written(random_model(tiny_config()), tmp_path / "a")
    assert message in broken(tmp_path / "a", change)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("layers.0.wq.scales", None, "layers.0.wq.scales is missing"),
        ("layers.0.wq.codes", None, "there is no layers.0.wq.codes"),
        ("layers.0.wq.scales", np.ones((3, 3), np.float32), "must have the shape [24, 3], not [3,"),
        ("layers.0.wq.groups", np.array([2, 1, 0], np.int32), "wq.groups must not decrease"),
        ("layers.0.wq.groups", np.zeros(3, np.int32), "wq.codes must have 3 columns"),
        ("layers.0.wq.scales", -np.ones((24, 3), np.float32), "wq.scales must be 0 or more"),
        ("layers.0.attention_norm", np.full(12, np.nan, np.float32), "value that is not finite"),
        ("layers.0.extra", np.zeros(2, np.float32), "layers.0.extra is a tensor that the model"),
        ("norm", None, "norm is missing"),
    ],
)
def test_broken_tensors(tiny_config, tmp_path, name, array, message):
    written(random_model(tiny_config()), tmp_path / "a")
    file = tmp_path / "a" / "model.safetensors"
    arrays = safetensors.numpy.load(file.read_bytes())
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    file.write_bytes(safetensors.numpy.save(arrays))
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a")
    assert message in str(caught.value)
