"""Files and folders that appear whole or not at all."""

import pytest

from celosia.folder import new_folder
from celosia.output import new_file


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


@pytest.mark.parametrize("before", ["nothing", "empty", "earlier"])
def test_folder_appears_at_the_end(tmp_path, before):
    target = tmp_path / "a" / "result"
    if before != "nothing":
        target.mkdir(parents=True)
    if before == "earlier":
        (target / "marker").touch()
        (target / "old").touch()
    with new_folder(target, "marker") as path:
        (path / "marker").touch()
        assert not (target / "new").exists()
        (path / "new").touch()
    assert names(target) == ["marker", "new"]
    assert names(tmp_path / "a") == ["result"]


def test_folder_after_an_error(tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "marker").write_text("old")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "result", "marker") as path:
        fail_after((path / "half").touch(), KeyboardInterrupt)
    assert names(tmp_path) == ["result"]
    assert names(tmp_path / "result") == ["marker"]


def test_folder_with_other_files_is_left(tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(FileExistsError, match="is left as it is"), new_folder(tmp_path, "marker"):
        pass
    assert names(tmp_path) == ["precious"]


def test_folder_on_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), new_folder(tmp_path / "file", "marker"):
        pass
    with pytest.raises(OSError, match=r"file/below"), new_folder(tmp_path / "file/below", "marker"):
        pass
