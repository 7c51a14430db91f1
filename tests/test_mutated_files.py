"""Damaged files of every format: a line that names the file, or what another reader reads too."""

import json
import resource
import shutil
import struct
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from celosia.generators.config import ConfigError, load_config
from celosia.reference.checkpoint import CheckpointError, load, load_tokenizer
from celosia.reference.model import Model
from mutated_files import FORMATS, MODEL, damage, write_files

from celosia.printable import MESSAGE, printable

GIB = 1 << 30


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with a sound file of each format."""
    folder = tmp_path_factory.mktemp("sound")
    write_files(folder)
    return folder


@pytest.fixture
def one_gib():
    """No more than 1 GiB may be taken above what the process has."""
    status = Path("/proc/self/status").read_text().splitlines()
    (taken,) = (int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (taken + GIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def read(name, path):
    """What the product makes of the file."""
    if name == "toml":
        return load_config(path)
    return load_tokenizer(path) if name == "tok_bin" else load(path)


def check_accepted(name, path, result):
    """What was read is what another reader reads, as far as there is one."""
    if isinstance(result, Model):
        assert all(np.isfinite(array).all() for array in result.tensors.values())
    if name == "safetensors":
        values = safetensors.numpy.load_file(path)
        np.testing.assert_array_equal(
            result.tensors["embedding"], values["model.embed_tokens.weight"]
        )
        np.testing.assert_array_equal(
            result.layers[0]["w_up"], values["model.layers.0.mlp.up_proj.weight"]
        )
    if name == "config":
        values, c = json.loads(path.read_bytes()), result.config
        assert c.dim == values["hidden_size"] == MODEL.config.dim
        assert c.n_layers == values["num_hidden_layers"] == 1
        assert c.seq_len == values["max_position_embeddings"]
        assert c.norm_eps == pytest.approx(values.get("rms_norm_eps") or 1e-6)
        assert c.n_kv_heads == (values.get("num_key_value_heads") or c.n_heads)
    if name == "llama2c":
        header = struct.unpack("<7i", path.read_bytes()[:28])
        assert header[:5] == (16, 20, 1, 4, 2)
        assert abs(header[5]) == result.config.vocab_size
    if name == "toml":
        for key, value in tomllib.loads(path.read_text()).items():
            assert getattr(result, key) == value


def attack(name, seed, sound, folder):
    """Whether a file of the format, damaged by ``seed``, was refused; in time, in one line."""
    file, read_from = FORMATS[name]
    path, given = folder / file, folder / read_from
    if (sound / read_from).is_dir():
        shutil.copytree(sound / read_from, given)
    path.write_bytes(damage(name, (sound / file).read_bytes(), seed))
    begin = time.monotonic()
    try:
        result = read(name, given)
    except (CheckpointError, ConfigError) as error:
        line = printable(f"celosia: error: {error}", MESSAGE)
        assert line.isprintable()
        assert len(line) <= MESSAGE
        assert given.name in line
        refused = True
    else:
        check_accepted(name, path, result)
        refused = False
    assert time.monotonic() - begin < 10
    return refused


@pytest.mark.parametrize("name", FORMATS)
def test_sound(sound, name):
    read(name, sound / FORMATS[name][1])


def _attack_all(name, seeds, sound, tmp_path):
    refused = 0
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        refused += attack(name, seed, sound, folder)
        shutil.rmtree(folder)
    return refused


@pytest.mark.usefixtures("one_gib")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged(sound, tmp_path, name):
    assert _attack_all(name, range(7), sound, tmp_path) >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("one_gib")
@pytest.mark.parametrize("name", FORMATS)
def test_more_damaged(sound, tmp_path, name):
    assert _attack_all(name, range(7, 57), sound, tmp_path) >= 15
