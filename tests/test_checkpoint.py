"""Finding a model: by path, by content, by name; and its tokenizer."""

import pytest
from celosia.reference.checkpoint import KNOWN, CheckpointError, load, load_tokenizer
from celosia.reference.model import random_model
from safetensors.numpy import save_file
from small_checkpoint import CONFIG
from test_checkpoint_hugging_face import foreign_tensors, write_config
from test_checkpoint_llama2c import write_bin

from celosia.options import MODEL_HELP


def test_paths_as_text(stories260k):
    model = load(str(stories260k / "stories260K.bin"), str(stories260k / "tok512.bin"))
    assert model.name == "stories260K"
    assert model.tokenizer.vocab_size == 512


def test_known_name(tmp_path, monkeypatch, stories260k):
    monkeypatch.setitem(KNOWN, "stories", stories260k / "stories260K.bin")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stories").mkdir()
    assert load("stories").name == "stories"


def test_demo():
    if not (KNOWN["demo"] / "config.json").exists():
        pytest.skip("the demo model is not there")
    model = load("demo")
    assert model.name == "demo"
    text = "To be, or not to be: that is the question."
    assert model.tokenizer.decode(model.tokenizer.encode(text)) == text


def test_names_with_dots(tmp_path):
    model = random_model(CONFIG)
    for name, expected in (
        ("small-1.7b.bin", "small-1.7b"),
        ("small-1.7b", "small-1.7b"),
        ("x.Q8_0.bin", "x.Q8_0"),
    ):
        assert load(write_bin(model, tmp_path / name)).name == expected
    folder = tmp_path / "SmolLM2-1.7B"
    folder.mkdir()
    write_config(folder, model.config)
    save_file(foreign_tensors(model), folder / "model.safetensors")
    assert load(folder).name == "SmolLM2-1.7B"


def test_names_in_the_cache_of_the_hub(tmp_path):
    """Its files are links to those of its blobs, whose names are hashes."""
    model = random_model(CONFIG)
    snapshot = tmp_path / "models--some--SmolLM2-1.7B" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    write_config(snapshot, model.config)
    save_file(foreign_tensors(model), tmp_path / "a0")
    (snapshot / "model.safetensors").symlink_to(tmp_path / "a0")
    assert load(snapshot).name == "SmolLM2-1.7B"
    (snapshot / "x.Q8_0.bin").symlink_to(write_bin(model, tmp_path / "b1"))
    assert load(snapshot / "x.Q8_0.bin").name == "x.Q8_0"


def test_nothing_there(tmp_path):
    names = (
        "demo, demo-small, demo-tiny, demo-ternary, demo-matmulfree, stories-ternary, smollm2, "
        "gemma3-270m"
    )
    message = rf"^dmeo: no such file .* known model \({names}\)$"
    with pytest.raises(CheckpointError, match=message):
        load("dmeo")
    assert MODEL_HELP.endswith(f"a name: {names}.")
    with pytest.raises(CheckpointError, match="gone: no such file"):
        load(tmp_path / "gone")


def test_file_of_a_directory(tmp_path):
    for name in ("model.safetensors", "config.json"):
        path = tmp_path / name
        path.write_bytes(b"{}")
        with pytest.raises(CheckpointError, match="give the directory that holds"):
            load(path)


def test_bad_tokenizer(tmp_path, stories260k):
    checkpoint = stories260k / "stories260K.bin"
    with pytest.raises(CheckpointError, match=r"gone\.bin: cannot be read: No such file"):
        load(checkpoint, tmp_path / "gone.bin")
    with pytest.raises(CheckpointError, match="so this is no tok"):
        load(checkpoint, checkpoint)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: cannot be read"):
        load_tokenizer(tmp_path)


def test_larger_tokenizer(tmp_path, stories260k):
    data = (stories260k / "tok512.bin").read_bytes() + bytes(4) + b"\3\0\0\0new"
    (tmp_path / "tok513.bin").write_bytes(data)
    message = "the tokenizer has 513 tokens, more than the model's vocab_size, 512"
    with pytest.raises(CheckpointError, match=message):
        load(stories260k / "stories260K.bin", tmp_path / "tok513.bin")
