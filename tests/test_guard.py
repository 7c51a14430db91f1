"""How the command line ends: statuses, signals, and nothing left behind."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run
from small_checkpoint import write_checkpoint

HEAD = """
import subprocess, sys, time
from celosia import process
from celosia.guard import guarded
from celosia.folder import new_folder
from celosia.output import new_file
"""
WORK = """
def work():
    with new_file("file") as file, new_folder("folder", "celosia test") as folder:
        file.write_text("half")
        (folder / "half").touch()
        {body}
guarded(work)
"""


def hearing():
    """Where the tests run in the background or under nohup, they are deaf, and so would this be."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(folder, code, **options):
    words = [sys.executable, "-c", HEAD + code]
    return subprocess.Popen(
        words,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hearing,
        **options,
    )


def wait_for(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    ("number", "said"),
    [("INT", "interrupted"), ("TERM", "terminated"), ("HUP", "the terminal hung")],
)
@pytest.mark.parametrize("runner", ["process.run", "subprocess.call"])
def test_signals(tmp_path, number, said, runner):
    """Nothing unfinished is left, and neither the tool nor, if we ran it, what it has started."""
    tool = "exec >/dev/null 2>&1; sleep 100 & echo $! > ../pids; echo $$ >> ../pids; wait"
    (tmp_path / "work").mkdir()
    child = start(tmp_path / "work", WORK.format(body=f"{runner}(['sh', '-c', {tool!r}])"))
    pids = tmp_path / "pids"
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    child.send_signal(getattr(signal, f"SIG{number}"))
    assert said in child.communicate(timeout=60)[1]
    assert child.returncode == 128 + getattr(signal, f"SIG{number}")
    assert not any((tmp_path / "work").iterdir())
    inner, outer = pids.read_text().split()
    assert not alive(outer)
    if runner == "process.run":
        assert not alive(inner)
    else:
        os.kill(int(inner), signal.SIGKILL)


def test_signals_while_objects_are_freed(tmp_path):
    """Python throws away what is raised then; the command ends all the same."""
    code = """
def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
class Freed:
    def __del__(self):
        spin(0.05)
def work():
    print("ready", flush=True)
    while True:
        Freed()
        spin(0.01)
guarded(work)
"""
    for _ in range(3):
        child = start(tmp_path, code, stdout=subprocess.PIPE)
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60)[1] == "celosia: error: interrupted\n"
        assert child.returncode == 130


def test_ignored_signals_stay_ignored(tmp_path):
    code = "print('ready', flush=True)\nguarded(lambda: time.sleep(1))"
    words = ["nohup", sys.executable, "-c", HEAD + code]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with child.stdout:
        child.stdout.readline()
        time.sleep(0.3)
        child.send_signal(signal.SIGHUP)
        assert child.wait(timeout=60) == 0


def test_unexpected_errors(monkeypatch, tmp_path):
    """A status of their own, one line, and a report."""
    monkeypatch.setattr("celosia.reference.checkpoint.load", lambda *_: [][1])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = run("simulate", "demo")
    assert done.exit_code == 3
    last = done.stderr.splitlines()[-1]
    found = re.fullmatch(r"celosia: error: unexpected IndexError: .*report: (.*)\)", last)
    assert "Traceback" in Path(found[1]).read_text()
    monkeypatch.setattr("tempfile.tempdir", "/no")
    assert "no report could be written: No such file" in run("simulate", "demo").stderr


def kills(folder, count, command, seed):
    """Kill ``command`` at random moments; then it must work, and leave its result alone."""
    chance = random.Random(seed)
    begin = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    whole = time.monotonic() - begin
    for _ in range(count):
        child = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0, whole))
        child.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]))
        child.wait()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_some_kills(tmp_path):
    """At random moments of writing: the next run minds nothing that they leave."""
    body = """[(folder / str(n)).write_text("x" * 9999) for n in range(50)]"""
    code = HEAD + WORK.format(body=body)
    kills(tmp_path, 12, [sys.executable, "-c", code], seed=1)
    assert len(os.listdir(tmp_path / "folder")) == 52
    assert {name for name in os.listdir(tmp_path) if not name.startswith(".celosia-")} == {
        *("file", "folder")
    }


@pytest.mark.slow
def test_50_kills(tmp_path, monkeypatch):
    """Of ``simulate`` with a cold cache and of ``generate``, at random moments."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    model = str(write_checkpoint(tmp_path))
    celosia = [sys.executable, "-m", "celosia"]
    kills(tmp_path, 25, [*celosia, "generate", model, "--config", "tiny", "-o", "out"], seed=2)
    run_it = [*celosia, "simulate", model, "--config", "tiny", "--prompt-tokens", "1"]
    kills(tmp_path, 25, [*run_it, "--tokens", "2", "--json", "x.json"], seed=3)
