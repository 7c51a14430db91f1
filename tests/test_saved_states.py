"""``celosia simulate --save-state`` and ``--state``: a sequence that goes on; what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from celosia.sim import native
from celosia.sim.request import Request
from celosia.sim.state import State, StateError, read_state
from command_line import fails, run
from small_checkpoint import write_checkpoint

STATE = State(b"somebody", "another", 3, (-(2**17), -1, 0, 2**17 - 1), (43, 299, 7, 7))
COMMAND = "simulate", "demo-matmulfree"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A file of another model's state; nothing is built."""
    monkeypatch.setattr(native, "build", lambda *arguments: pytest.fail("a simulation was built"))
    path = tmp_path / "saved"
    path.write_bytes(STATE.to_bytes())
    return path


def test_files(saved):
    assert read_state(saved) == STATE
    assert replace(STATE, tokens=()).behind(_run((43, 299), 7, 7)) == STATE
    with pytest.raises(StateError, match="the machine went on behind the stop"):
        STATE.behind(_run((43, 299), 7))


def _run(prompt, *tokens):
    return SimpleNamespace(request=Request(prompt[1:], 2, before=prompt[:1]), tokens=list(tokens))


def test_refused(saved, tmp_path):
    assert "the state is that of another model: of another (736f6d65626f6479), not of demo-m" in (
        fails(*COMMAND, "--state", saved)
    )
    text = saved.read_bytes()
    for damaged, message in (
        (text[:-5] + b"?" + text[-4:], "it is damaged"),
        (text[4:], "it is not a saved state"),
        (replace(STATE, tokens=(1,)).to_bytes(), "it does not hold the tokens of its 3 positions"),
    ):
        saved.write_bytes(damaged)
        assert fails(*COMMAND, "--state", saved) == f"{saved}: {message}"
    assert fails(*COMMAND, "--state", tmp_path / "none").endswith("none: No such file or directory")
    small = write_checkpoint(tmp_path)
    assert "--state and --save-state are for recurrent models, not" in (
        fails("simulate", small, "--prompt-tokens", 1, "--save-state", tmp_path / "new")
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_sequence_goes_on(tmp_path):
    """In two runs what one gives, logits included; a prompt comes behind the last token."""
    path, file = tmp_path / "saved", tmp_path / "result.json"

    def tokens(*options):
        done = run(*COMMAND, "--json", file, *options)
        assert done.exit_code == 0, done.stderr
        return json.loads(file.read_text())["tokens"]

    whole = tokens("--prompt-tokens", "43,299", "--tokens", 7)
    found = tokens("--prompt-tokens", "43,299", "--tokens", 4, "--save-state", path)
    assert read_state(path).tokens == (43, 299, *found)
    assert found + tokens("--state", path, "--tokens", 3, "--save-state", path) == whole
    assert read_state(path).position == 8
    more = tokens("--state", path, "--prompt-tokens", "5", "--tokens", 1)
    assert more == tokens(
        "--prompt-tokens", ",".join(map(str, (43, 299, *whole, 5))), "--tokens", 1
    )
