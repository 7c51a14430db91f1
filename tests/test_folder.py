"""Folders of results: replaced only where all that is in them is ours."""

import os
import random
import stat
from pathlib import Path

import pytest

from celosia import manifest
from celosia.folder import check_folder, new_folder, working_folder
from celosia.manifest import MANIFEST
from celosia.output import new_file

OURS = "celosia test"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(target, *files, made_by=OURS):
    with new_folder(target, made_by) as path:
        for name in files or ("report.json", "top.v"):
            (path / name).write_text(f"{name} of ours")


def snapshot(folder):
    """All that is below ``folder``: ``{path: (kind and mode, contents)}``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        what = None
        if stat.S_ISLNK(mode):
            what = os.readlink(path)
        elif stat.S_ISREG(mode):
            what = path.read_bytes()
        found[str(path.relative_to(folder))] = (mode, what)
    return found


@pytest.mark.parametrize("before", ["nothing", "empty", "earlier"])
def test_folder_appears_at_the_end(tmp_path, before):
    target = tmp_path / "a" / "result"
    if before == "empty":
        target.mkdir(parents=True)
    if before == "earlier":
        make(target, "old", "new")
    with new_folder(target, OURS) as path:
        (path / "marker").touch()
        assert not (target / "marker").exists()
        (path / "new").touch()
    assert names(target) == [MANIFEST, "marker", "new"]
    assert names(tmp_path / "a") == ["result"]


def interrupted(path):
    path.touch()
    raise KeyboardInterrupt


def test_folder_after_an_error(tmp_path):
    make(tmp_path / "result", "old")
    before = snapshot(tmp_path)
    for target in (tmp_path / "result", tmp_path / "a" / "b"):
        with pytest.raises(KeyboardInterrupt), new_folder(target, OURS) as path:
            interrupted(path / "half")
        assert snapshot(tmp_path) == before


def add(folder):
    (folder / "precious").touch()


def edit(folder):
    with (folder / "top.v").open("a") as file:
        file.write("more")


def add_folder(folder):
    (folder / ".git").mkdir()


def link(folder):
    (folder / "top.v").rename(folder.parent / "moved")
    (folder / "top.v").symlink_to("../moved")


def edit_manifest(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace(OURS, "somebody"))


def space_in_manifest(folder):
    with (folder / MANIFEST).open("a") as file:
        file.write(" ")


def no_manifest(folder):
    (folder / MANIFEST).unlink()


def pipe(folder):
    os.mkfifo(folder / "top.v2")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (add, "precious, which celosia test did not write"),
        (edit, "top.v, which was changed since celosia test wrote it"),
        (add_folder, ".git, which celosia test did not write"),
        (link, "top.v, which is no file of celosia test"),
        (edit_manifest, "what somebody wrote"),
        (space_in_manifest, "report.json, which celosia test did not write"),
        (no_manifest, "report.json, which celosia test did not write"),
        (pipe, "top.v2, which celosia test did not write"),
    ],
)
def test_what_is_not_ours_is_left(tmp_path, change, named):
    make(tmp_path / "result")
    change(tmp_path / "result")
    before = snapshot(tmp_path)
    with pytest.raises(FileExistsError) as caught:
        make(tmp_path / "result")
    assert caught.value.strerror == f"holds {named}; the folder is left as it is"
    assert snapshot(tmp_path) == before


def test_what_comes_meanwhile_is_left(tmp_path):
    """A file that appears in the old folder while the new one is made."""
    make(tmp_path / "result")
    with pytest.raises(FileExistsError, match="precious"), new_folder(tmp_path / "result", OURS):
        add(tmp_path / "result")
    assert names(tmp_path / "result") == [MANIFEST, "precious", "report.json", "top.v"]
    assert names(tmp_path) == ["result"]


def test_what_comes_at_the_last_moment(tmp_path, monkeypatch):
    make(tmp_path / "result")

    def remove_ours(folder):
        add(folder)
        manifest.remove_ours(folder)

    monkeypatch.setattr("celosia.folder.remove_ours", remove_ours)
    with pytest.raises(FileExistsError, match="they lie in") as caught:
        make(tmp_path / "result", "new")
    assert names(tmp_path / "result") == [MANIFEST, "new"]
    left = caught.value.strerror.rpartition(" ")[2]
    assert os.listdir(left) == ["precious"]


def test_the_old_folder_comes_back(tmp_path, monkeypatch):
    """Where the new one cannot be put in its place."""
    make(tmp_path / "result")
    before = snapshot(tmp_path / "result")

    def stolen(folder, made_by):
        manifest.write_manifest(folder, made_by)
        folder.rename(tmp_path / "stolen")

    monkeypatch.setattr("celosia.folder.write_manifest", stolen)
    with pytest.raises(FileNotFoundError, match="result"):
        make(tmp_path / "result")
    assert snapshot(tmp_path / "result") == before
    assert names(tmp_path) == ["result", "stolen"]


def test_folder_behind_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/result")
    for name in ("old", "new"):
        make(tmp_path / "link", name)
        assert (tmp_path / "link").is_symlink()
        assert names(tmp_path / "elsewhere" / "result") == [MANIFEST, name]


def test_folder_on_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make(tmp_path / "file")
    with pytest.raises(OSError, match=r"file/below"):
        make(tmp_path / "file" / "below")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="leads nowhere"):
        make(tmp_path / "circle")


def test_working_folder(tmp_path):
    """It is not replaced, grows, and belongs to its command; a foreign file bars it."""
    folder = tmp_path / "a" / "build"
    for name in ("one", "two"):
        with working_folder(folder, OURS, ()) as path:
            (path / name).touch()
    assert names(folder) == [MANIFEST, "one", "two"]
    with pytest.raises(FileExistsError, match="what celosia test wrote"):
        make(folder, made_by="celosia other")
    add(folder)
    with pytest.raises(FileExistsError, match="precious"), working_folder(folder, OURS, ("*",)):
        pass
    assert (folder / "precious").exists()


def test_working_folder_that_was_killed(tmp_path):
    """Half a file of a known name does not stand in the way; another one does."""
    manifest.write_manifest(tmp_path, OURS, unfinished=True)
    (tmp_path / "top.json").write_text("half")
    (tmp_path / ".celosia-0123").write_text("half")
    with working_folder(tmp_path, OURS, ("top.*", ".celosia-*")):
        assert names(tmp_path) == [MANIFEST, "top.json"]
    manifest.write_manifest(tmp_path, OURS, unfinished=True)
    add(tmp_path)
    with pytest.raises(FileExistsError, match="precious"):
        check_folder(tmp_path, OURS, ("top.*",))


NAMES = ("a", "report.json", MANIFEST, ".git", "top.v", ".celosia-1", "top.v.new", "b\udcff", "x y")


def grow(chance, folder, depth=0):
    """A random tree of somebody's files, folders, links and pipes."""
    folder.mkdir(exist_ok=True)
    for name in chance.sample(NAMES, chance.randint(1, 5)):
        path = folder / name
        kind = chance.choice(["file", "file", "json", "folder", "link", "pipe"])
        if path.exists() or path.is_symlink():
            continue
        if kind == "folder" and depth < 2:
            grow(chance, path, depth + 1)
        elif kind == "link":
            path.symlink_to(chance.choice(["a", "..", "/no/where", "top.v"]))
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            text = '{"made_by": "celosia test", "unfinished": true, "files": {}}'
            path.write_text(text if kind == "json" else str(chance.random()))


@pytest.mark.parametrize("seed", range(60))
def test_foreign_trees_around_every_output(tmp_path, seed):
    """Whatever lies at and around the outputs, nothing of it changes or goes."""
    chance = random.Random(seed)
    grow(chance, tmp_path / "home")
    folders = [p for p in (tmp_path / "home").rglob("*") if p.is_dir() and not p.is_symlink()]
    folder = chance.choice([tmp_path / "home", *folders])
    if chance.random() < 0.3:
        make(folder / "ours")
        grow(chance, folder / "ours")
        (folder / "ours" / "notes").touch()
    before = snapshot(tmp_path)
    made = {}
    for name in ("new", "ours", *NAMES):
        target = folder / name
        if Path(os.path.realpath(target)) in made:  # a link to what is ours
            continue
        if target.exists() or target.is_symlink():
            for attempt in (lambda t=target: make(t), lambda t=target: work(t)):
                if target.is_dir() and os.listdir(target):
                    with pytest.raises(FileExistsError, match="left as it is"):
                        attempt()
        elif chance.random() < 0.5:
            make(target)
            made[target] = {target, *target.iterdir()}
        else:
            with new_file(target) as path:
                path.write_text("new")
            made[target] = {target}
    after = snapshot(tmp_path)
    new = {str(path.relative_to(tmp_path)) for paths in made.values() for path in paths}
    assert {name: what for name, what in after.items() if name not in new} == before


def work(target):
    with working_folder(target, OURS, ()):
        pass
