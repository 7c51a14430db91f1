"""Files within bounds, values by their schemas, and what of them reaches a terminal."""

import os
import struct
import threading
from typing import Annotated

import msgspec
import numpy as np
import pytest
from celosia.reference.checkpoint import CheckpointError, load, load_tokenizer
from celosia.reference.checkpoint.error import spelled
from celosia.reference.checkpoint.files import map_file, read_file, read_text
from celosia.reference.checkpoint.foreign_json import parse_json
from celosia.reference.checkpoint.schema import convert
from celosia.reference.checkpoint.tensors import check_values
from command_line import fails
from small_checkpoint import write_checkpoint

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.mark.parametrize("read", [lambda path: read_file(path, 99), map_file])
def test_only_files(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (("/dev/zero", "device"), (tmp_path, "folder"), (tmp_path / "pipe", "pipe")):
        with pytest.raises(OSError, match=f"is a {kind}, not a file") as caught:
            read(path)
        assert caught.value.filename == str(path)
    (tmp_path / "pointer").write_bytes(POINTER)
    with pytest.raises(OSError, match="is a Git LFS pointer"):
        read(tmp_path / "pointer")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", "is a pickle of PyTorch, which may run code: convert it to safetensors"),
        (b"<!DOCTYPE html>", "is a page of HTML: its download failed"),
        (b"tjgg\x03\0\0\0", "is a GGML file from before GGUF: convert it with llama.cpp"),
        (b"\x89HDF\r\n", "is an HDF5 file: convert it to safetensors"),
        (b"\x1f\x8b\x08\0", "is a packed archive: unpack it first"),
        (struct.pack("<4sI", b"GGUF", 3 << 24), "a GGUF file for big-endian machines"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, start, message):
    for name in ("model.bin", "model.gguf", "pytorch.pth"):
        (tmp_path / name).write_bytes(start + bytes(400))
        with pytest.raises(CheckpointError, match=f"{name}: .*{message}"):
            load(tmp_path / name)


def test_writer_of_a_pipe_goes_on(tmp_path):
    """Who waits at the other end of a refused pipe does not wait for ever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: os.close(os.open(path, os.O_WRONLY)), daemon=True)
    writer.start()
    while writer.is_alive():
        with pytest.raises(OSError, match="is a pipe"):
            read_file(path, 9)
        writer.join(0.05)


def test_sizes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xff" * 2048)
    assert len(read_file(path, 2048)) == 2048
    with pytest.raises(OSError, match="has more than 1 KiB"):
        read_file(path, 2047)
    with pytest.raises(ValueError, match="file: not UTF-8: invalid start byte at byte 0"):
        read_text(path, 2048)
    with path.open("r+b") as file:  # a terabyte of nothing
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="has more than"):
        read_file(path, 1 << 20)


def test_every_reader_refuses_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    model = write_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="pipe: cannot be read: is a pipe, not a file"):
        load(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="zero: cannot be read: is a device, not a file"):
        load(model, "/dev/zero")
    assert "is a device" in fails("generate", model, "--config", "/dev/zero", "-o", tmp_path / "o")
    text = ["evaluate", "demo", "--config", "tiny", "--text"]
    assert fails(*text, "/dev/zero") == "/dev/zero: is a device, not a file"
    (tmp_path / "hf" / "config.json").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read: is a folder"):
        load(tmp_path / "hf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100000, "no JSON: nested too deeply"),
        ('{"a":' * 100000, "no JSON: nested too deeply"),
        ("9" * 5000, "no JSON: Exceeds the limit"),
        ('{"a": 1, "a": 2}', "no JSON: 'a' is there twice"),
        ("\ufeff{}", "no JSON: Unexpected UTF-8 BOM"),
        ("3", "no JSON object"),
        (b"\xff\xfe{\0}\0", "no JSON: 'utf-8' codec"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(CheckpointError, match=f"^there: {message}"):
        parse_json(text, "there")


class Part(msgspec.Struct):
    """A part of :class:`Whole`."""

    size: Annotated[int, msgspec.Meta(ge=1)]


class Whole(msgspec.Struct):
    """What the tests below ask for."""

    parts: list[Part] = []
    factor: float | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": [{"size": 1}, {"size": 0}]}, r"parts\[1\]\.size: must be >= 1, not 0"),
        ({"parts": [{}]}, r"parts\[0\]\.size: is missing"),
        (
            {"parts": [{"size": 2.0}]},
            r"parts\[0\]\.size: 2\.0 is of the wrong type \(expected int\)",
        ),
        (
            {"parts": [{"size": True}]},
            r"parts\[0\]\.size: True is of the wrong type \(expected int\)",
        ),
        ({"parts": 5}, r"parts: 5 is of the wrong type \(expected array\)"),
        ({"factor": "x"}, r"factor: 'x' is of the wrong type \(expected float or null\)"),
        ({"factor": 10**400}, r"factor: Number out of range, not 1000\d*\.\.\.0+$"),
        ([], r"array is of the wrong type \(expected object\)"),
    ],
)
def test_schema(values, message):
    with pytest.raises(CheckpointError, match=rf"^there: (in\.)?{message}") as caught:
        convert(values, Whole, "there", "in." if isinstance(values, dict) else "")
    assert len(str(caught.value)) < 200


def test_spelling():
    with (
        pytest.raises(CheckpointError, match=r"^there: a\.heads must divide a\.n \(4\), n_x not$"),
        spelled("there", {"n_heads": "a.heads", "n": "a.n"}),
    ):
        raise ValueError("n_heads must divide n (4), n_x not")


@pytest.mark.parametrize("value", [1e-44, -2e15, np.inf, -np.inf, np.nan])
def test_values_out_of_reach(value):
    array = np.array([[0.0, value], [0.0, 0.0]], np.float32)
    with pytest.raises(CheckpointError, match=r"^there: w( holds|: its largest magnitude)"):
        check_values("there", "w", array)
    assert check_values("there", "w", np.zeros(3, np.float32)).size == 3


def test_one_line_of_at_most_300_characters(tmp_path):
    path = tmp_path / ("x\n\x1b[31m" * 20)
    path.write_bytes(struct.pack("<7i", 0, 1, 1, 1, 1, 1, 1))
    message = fails("generate", path, "--config", "tiny", "-o", tmp_path / "out")
    assert message.isprintable()
    assert len("celosia: error: " + message) <= 300
    assert message.endswith("dim is 0, so this is no llama2.c version-0 checkpoint")


def test_endless_tokenizers(tmp_path):
    for name in ("tokenizer.json", "tok.bin"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(CheckpointError, match=rf"{name}: cannot be read: has more than"):
            load_tokenizer(tmp_path / name)
