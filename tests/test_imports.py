"""No module needs one that needs it: each can be imported first."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("celosia", "protocol", "reference", "rtl", "generators", "sim", "boards")


def modules():
    """Our modules by name, each one's file."""
    found = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(parts if folder == "celosia" else ("celosia", *parts))] = path
    return found


def needed(name, path, known):
    """What is imported with a module: modules of ours, and the packages that they lie in."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [found_name.split(".") for found_name in found]
    found |= {".".join(part[:n]) for part in parts for n in range(1, len(part))}
    inside = {".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 2)}
    return (found & known) - inside


def check(files):
    """Raise CycleError where modules need each other."""
    graph = {name: needed(name, path, files.keys()) for name, path in files.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_no_circles():
    files = modules()
    assert {"celosia", "celosia.reference.model", "celosia.rtl.machine.machine"} <= files.keys()
    check(files)


def test_a_circle_is_found(tmp_path):
    """Also one that leads through a package."""
    texts = {"a": "from p.inner import x", "p": "from p.inner import x", "p.inner": "import a"}
    files = {name: tmp_path / f"{name}.py" for name in texts}
    for name, text in texts.items():
        files[name].write_text(text)
    with pytest.raises(graphlib.CycleError):
        check(files)
    files["p.inner"].write_text("def later():\n    import a")
    check(files)
