"""Files that appear whole or not at all; devices, pipes and links stay what they are."""

import errno
import os
import socket
import stat
import subprocess
import sys

import pytest

from celosia.output import check_apart, named, new_file, new_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_after(done, error):
    raise error


def test_file_appears_at_the_end(tmp_path):
    with new_file(tmp_path / "result") as path:
        path.write_text("new")
        assert not (tmp_path / "result").exists()
    assert (tmp_path / "result").read_text() == "new"
    assert names(tmp_path) == ["result"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_file_after_an_error(tmp_path, error):
    (tmp_path / "result").write_text("old")
    with pytest.raises(error), new_file(tmp_path / "result") as path:
        fail_after(path.write_text("half"), error)
    assert (tmp_path / "result").read_text() == "old"
    assert names(tmp_path) == ["result"]


def test_file_that_cannot_be_made(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, new_file(tmp_path / "no" / "result"):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "result")
    with pytest.raises(IsADirectoryError), new_file(tmp_path):
        pass


def write(path, text="new"):
    with new_file(path) as unfinished:
        unfinished.write_text(text)


def test_link_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    link.symlink_to("elsewhere/target")
    for text in ("first", "second"):  # where the link leads nowhere yet, and where a file is
        write(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert names(tmp_path / "elsewhere") == ["target"]


def test_link_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="link") as caught:
        write(tmp_path / "a")
    assert caught.value.errno == errno.ELOOP
    assert names(tmp_path) == ["a", "b"]


def test_pipe_with_a_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "read").open("wb") as file:
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=file)
        write(tmp_path / "pipe", "x" * 200_000)
        assert reader.wait() == 0
    assert (tmp_path / "read").read_text() == "x" * 200_000
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_pipe_without_a_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("celosia.special.PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"a pipe that nobody reads.*pipe'"):
        write(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_devices():
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write("/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_socket(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="not written to"):
            write(tmp_path / "socket")
    assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "out"])
def test_standard_output_is_written_on(tmp_path, name):
    """Behind what was printed before, whether it is a file or a pipe."""
    code = "from celosia.output import new_json\n"
    code += f"print('before')\nwith new_json({name!r}) as write: write(7)\nprint('after')"
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "before\n7\nafter\n"
    if name != "out":
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
        assert done.stdout == b"before\n7\nafter\n"


def test_descriptor_for_reading(tmp_path):
    with open(os.devnull) as file, pytest.raises(OSError, match="for reading only"):
        write(f"/dev/fd/{file.fileno()}")


def test_mode_stays(tmp_path):
    (tmp_path / "result").write_text("old")
    (tmp_path / "result").chmod(0o600)
    write(tmp_path / "result")
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o600


def test_long_names(tmp_path):
    write(tmp_path / ("x" * 255))
    assert names(tmp_path) == ["x" * 255]


def test_one_file_twice(tmp_path):
    (tmp_path / "link").symlink_to("result")
    with pytest.raises(FileExistsError, match="written twice"), new_file(tmp_path / "result"):
        write(tmp_path / "link")


def test_outputs_that_are_inputs(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "result.json"):
        (model / name).touch()
    (tmp_path / "link").symlink_to("model/config.json")
    check_apart([model / "result.json", model / "new", None, os.devnull], [model, None, "demo"])
    for output in (model / "config.json", model / "model.safetensors", tmp_path / "link"):
        with pytest.raises(FileExistsError, match="that this command reads"):
            check_apart([output], [model])
    with pytest.raises(FileExistsError, match="that this command reads"):
        check_apart([tmp_path / "link"], [model / "config.json"])


def test_errors_are_named(tmp_path):
    """By the result's name; those of other files keep theirs."""
    for name, expected in ((None, "out"), ("half/x", "out/x"), ("other", "other")):
        with pytest.raises(OSError, match="full") as caught, named("out", "half"):
            raise OSError(errno.ENOSPC, "full", name)
        assert caught.value.filename == expected
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "no" / "x", "")
    assert caught.value.filename == str(tmp_path / "no" / "x")


def test_json(tmp_path):
    with new_json(tmp_path / "x") as write:
        write({"é": 1})
    assert (tmp_path / "x").read_text() == '{\n  "\\u00e9": 1\n}\n'
    with new_json(None) as write:
        write(1)
