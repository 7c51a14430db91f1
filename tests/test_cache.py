"""The cache of what tools built: whole or made anew, shared, and never in the way."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
from celosia.reference.checkpoint import CheckpointError, known
from celosia.sim import cache
from celosia.sim.cache import cached, keep_only, tool_home, under_way
from celosia.sim.toolchain import python_tool, run_tool

from celosia.cache_folder import cache_folder

KEY = "0123456789abcdef" * 2
OTHER = "verilog-" + KEY[::-1]


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A cold cache."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_cache(monkeypatch):
    """Neither ``CELOSIA_CACHE`` nor the user's cache."""
    for name in ("CELOSIA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    cache._temporary.cache_clear()
    yield
    cache._temporary.cache_clear()


def build(folder):
    (folder / "obj").mkdir()
    (folder / "obj" / "part").write_text("part")
    (folder / "chip.so").write_bytes(b"machine code" * 99)


def never(folder):
    raise AssertionError("it was built again")


def is_good(folder):
    assert (folder / "chip.so").read_bytes() == b"machine code" * 99
    assert (folder / "obj" / "part").read_text() == "part"
    return True


def test_builds_once_and_leaves_nothing_half_built(base):
    built = []

    def interrupted(folder):
        (folder / "half").write_text("x")
        built.append(folder)
        if len(built) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("thing", interrupted)
    assert [p.name for p in base.iterdir()] == ["thing.lock"]
    assert cached("thing", interrupted) == cached("thing", interrupted)
    assert len(built) == 2
    assert (base / "thing" / "half").is_file()


def _count_builds(number):
    def build(folder):
        time.sleep(0.2)
        with (cache_folder() / "log").open("a") as log:
            log.write("built\n")

    return str(cached("shared", build))


def test_is_shared_by_processes(base):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert set(pool.map(_count_builds, range(6))) == {str(base / "shared")}
    assert (base / "log").read_text() == "built\n"


def flip(path):
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)


DAMAGE = {
    "a bit": lambda entry: flip(entry / "chip.so"),
    "a bit further down": lambda entry: flip(entry / "obj" / "part"),
    "cut off": lambda entry: os.truncate(entry / "chip.so", 100),
    "empty": lambda entry: os.truncate(entry / "chip.so", 0),
    "gone": lambda entry: (entry / "chip.so").unlink(),
    "a folder": lambda entry: ((entry / "chip.so").unlink(), (entry / "chip.so").mkdir()),
    "a dead link": lambda entry: ((entry / "chip.so").unlink(), os.symlink("x", entry / "chip.so")),
    "no manifest": lambda entry: (entry / cache.MANIFEST).unlink(),
    "half a manifest": lambda entry: os.truncate(entry / cache.MANIFEST, 30),
    "another manifest": lambda entry: (entry / cache.MANIFEST).write_text("[1]"),
    "deep manifest": lambda entry: (entry / cache.MANIFEST).write_text("[" * 100_000),
    "wrong manifest": lambda entry: (entry / cache.MANIFEST).write_text('{"chip.so": 1}'),
    "an empty folder": lambda entry: (shutil.rmtree(entry), entry.mkdir()),
    "a file": lambda entry: (shutil.rmtree(entry), entry.touch()),
    "a link": lambda entry: (shutil.rmtree(entry), entry.symlink_to("/nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_anew(base, damage):
    entry = cached(KEY, build)
    assert cached(KEY, never) == entry
    DAMAGE[damage](entry)
    assert is_good(cached(KEY, build))
    assert cached(KEY, never) == entry
    assert sorted(p.name for p in base.iterdir()) == [KEY, f"{KEY}.lock"]


def test_a_damaged_folder_that_was_linked_to_stays(base, tmp_path):
    """The entry is replaced, not what a link in its place leads to."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    base.mkdir()
    (base / KEY).symlink_to(tmp_path / "mine")
    assert is_good(cached(KEY, build))
    assert (tmp_path / "mine" / "letter").is_file()


def test_all_is_on_the_disk_before_it_has_its_name(base, monkeypatch):
    said = []
    monkeypatch.setattr(os, "fsync", lambda f: said.append(os.readlink(f"/proc/self/fd/{f}")))
    entry = cached(KEY, build)
    names = [re.sub(rf".*/{KEY}\.[0-9a-f]+\.unfinished", "new", name) for name in said]
    assert sorted(names[:-1]) == [
        "new",
        "new/chip.so",
        "new/manifest.json",
        "new/obj",
        "new/obj/part",
    ]
    assert names[-1] == str(base)
    assert json.loads((entry / "manifest.json").read_text()).keys() == {"chip.so", "obj/part"}


@pytest.fixture
def unprivileged(monkeypatch):
    """A folder, and a user to whom the modes of folders mean something."""
    folder = Path(tempfile.mkdtemp(prefix="celosia-test-"))
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    shutil.rmtree(folder)


def test_a_warm_cache_serves_from_a_read_only_place(unprivileged, monkeypatch):
    base = unprivileged / "cache"
    monkeypatch.setenv("CELOSIA_CACHE", str(base))
    entry = cached(KEY, build)
    for folder in (entry, base):
        folder.chmod(0o555)
    assert is_good(cached(KEY, never))
    with pytest.raises(PermissionError, match=f"{base}/{OTHER}.lock"):
        cached(OTHER, build)
    entry.chmod(0o755)
    flip(entry / "chip.so")
    with pytest.raises(PermissionError, match=f"{base}/"):
        cached(KEY, build)


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("home", ["none", "read-only", "no folder"])
def test_without_a_home(unprivileged, monkeypatch, capfd, home):
    """Builds last as long as the process; that is said once."""
    if home == "none":
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        assert cache_folder() is None
    elif home == "read-only":
        monkeypatch.setenv("HOME", str(unprivileged))
        unprivileged.chmod(0o555)
    else:
        monkeypatch.setenv("HOME", "/proc/nohome")
    entry = cached(KEY, build)
    assert is_good(entry)
    assert cached(KEY, never) == entry
    assert tool_home().parent == entry.parent
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "what is built is not kept" in said[0]
    shutil.rmtree(entry.parent)


@pytest.mark.usefixtures("no_cache")
def test_fetching_without_a_home(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(CheckpointError, match="no home folder to keep it in: name one in CELOSIA"):
        known.fetch("smollm2", None)
    with pytest.raises(CheckpointError, match="not here yet"):
        known.locate("smollm2")


@pytest.mark.usefixtures("no_cache")
def test_the_current_folder_is_no_cache(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_folder() == Path("/home/x/.cache/celosia")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/celosia")
    monkeypatch.setenv("HOME", ".")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() is None


def test_tools_keep_their_own_caches_in_the_cache(base, monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nohome")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert tool_home() == base / "tools"
    monkeypatch.setenv("HOME", str(base.parent))
    assert tool_home() is None


def _die(number):
    def build(folder):
        (folder / "half").write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)

    cached(KEY, build)


def test_what_a_killed_process_leaves(base):
    context = multiprocessing.get_context("spawn")
    for number in range(2):
        child = context.Process(target=_die, args=(number,))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert len([*base.glob(f"{KEY}.*.unfinished")]) == 1  # of this one alone
    (base / f"{KEY}.{os.getpid():016x}.unfinished").mkdir()
    assert is_good(cached(KEY, build))
    assert sorted(p.name for p in base.iterdir()) == [KEY, f"{KEY}.lock"]


def test_file_systems_without_locks(base, monkeypatch):
    """Two build at a time; one of them is first, and both are served."""

    def no_lock(*_):
        raise OSError(cache.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache.fcntl, "flock", no_lock)

    def slow(folder):
        build(folder)
        if not (base / KEY).exists():
            cached(KEY, build)

    assert is_good(cached(KEY, slow))
    assert sorted(p.name for p in base.iterdir()) == [KEY, f"{KEY}.lock"]


def test_only_what_is_ours_is_removed(base):
    """A cache in somebody's own folder: all is old, and only our entries go."""
    cached(KEY, build)
    cached("not-a-key", build)
    names = ["models", "photos", KEY[::-1], "letter.lock", "notes"]
    for name in names:
        (base / name).mkdir()
        (base / name / "mine").touch()
    for name in (f"{OTHER}.lock", f"{OTHER}.{KEY[:16]}.unfinished"):
        (base / name).touch()
    (base / f"{KEY[1:]}0.lock").write_text("mine")
    (base / KEY / "obj" / "mine").touch()
    long_ago = time.time() - 15 * 24 * 3600
    for path in base.iterdir():
        os.utime(path, (long_ago, long_ago))
    cached("yosys-" + KEY, build)
    left = {p.name for p in base.iterdir()}
    assert left >= {*names, f"{KEY[1:]}0.lock", "not-a-key", "yosys-" + KEY}
    assert f"{OTHER}.lock" not in left
    assert [p for p in (base / KEY).rglob("*") if p.is_file()] == [base / KEY / "obj" / "mine"]
    assert all((base / name / "mine").exists() for name in names)


def test_an_old_entry_is_removed(base):
    entry = cached(KEY, build)
    os.utime(entry, (1, 1))
    cached(OTHER, build)
    assert sorted(p.name for p in base.iterdir()) == [f"{KEY}.lock", OTHER, f"{OTHER}.lock"]


def test_a_full_disk_is_named(base):
    """Whether a file is written or a tool runs, nothing half is left."""

    def full(folder):
        raise OSError(28, "No space left on device")

    def compiler(folder):
        run_tool(python_tool("-c", "import sys; sys.exit('x.o: No space left on device')"), folder)

    for build in (full, compiler):
        with pytest.raises(OSError, match=f"No space left on device: '{base}/{KEY}"):
            cached(KEY, build)
        assert [p.name for p in base.iterdir()] == [f"{KEY}.lock"]


def test_keep_only(tmp_path):
    build(tmp_path)
    (tmp_path / "link").symlink_to("obj")
    keep_only(tmp_path, "chip.so")
    assert [p.name for p in tmp_path.iterdir()] == ["chip.so"]


def test_what_is_under_way_is_found_again(base):
    """Whatever else is built; and removed when nobody has come for it in 14 days."""
    folder = under_way(KEY)
    (folder / "state").write_text("half")
    cached(OTHER, build)
    assert (under_way(KEY) / "state").read_text() == "half"
    os.utime(folder, (0, 0))
    cached(KEY[::-1], build)
    assert not folder.exists()
