"""``celosia simulate``: tokens, figures and files; and errors before anything is built."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from celosia.reference.checkpoint import load
from celosia.reference.tokenizer import ScoreTokenizer
from celosia.sim import native
from celosia.sim import simulate as module
from celosia.sim.request import Request, RequestError, prompt_tokens, stop_tokens
from celosia.sim.simulate import decode_logits
from command_line import fails, run
from small_checkpoint import write_checkpoint

from celosia.cli import _printer

KEYS = [
    *("model", "config", "prompt_tokens", "tokens", "reference_tokens", "matches_reference"),
    *("logits_match", "cycles", "ideal_cycles", "utilisation", "prefill_cycles", "multipliers"),
    *("overhead", "saturated", "wall_seconds", "simulated_cycles_per_second"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def command(small):
    return ("simulate", small, "--config", "tiny", "--set", "token_parallelism=2")


@pytest.fixture
def nothing_is_built(monkeypatch):
    def build(*arguments):
        raise AssertionError("a simulation was built")

    monkeypatch.setattr(native, "build", build)


def test_json(tmp_path, command):
    """The figures agree with one another: five prompt tokens in three passes, four made."""
    path, trace = tmp_path / "result.json", tmp_path / "trace.json"
    prompt = ("--prompt-tokens", "1,2,3,4,36")
    done = run(*command, *prompt, "--tokens", 4, "--json", path, "--trace", trace)
    assert done.exit_code == 0, done.stderr
    result = json.loads(path.read_text())
    assert list(result) == KEYS
    assert result["prompt_tokens"] == [1, 2, 3, 4, 36]
    assert result["tokens"] == result["reference_tokens"]
    assert len(result["tokens"]) == 4
    assert result["matches_reference"] is result["logits_match"] is True
    assert done.stdout.startswith("1 2 3 4 36 " + " ".join(map(str, result["tokens"])))
    cycles, ideal = result["cycles"], result["ideal_cycles"]
    assert len(cycles) == len(ideal) == 8
    assert abs(cycles[0] - cycles[1]) <= 1
    assert all(isinstance(n, int) and n > i > 0 for n, i in zip(cycles, ideal, strict=True))
    assert ideal[4] - ideal[3] == (37 * 16 + 2 * 2 * 4 * 4) / 16
    assert result["utilisation"] == pytest.approx(sum(ideal[4:]) / sum(cycles[4:]))
    assert result["prefill_cycles"] == sum(cycles[:5])
    assert result["multipliers"] == 16
    spent = sum(ideal) + sum(result["overhead"].values())
    assert spent == pytest.approx(sum(cycles))
    assert min(result["overhead"].values()) >= 0
    assert result["wall_seconds"] > 0
    events = json.loads(trace.read_text())["traceEvents"]
    assert [e["args"]["tokens"] for e in events if e["name"].startswith("position")] == [
        *(2, 2, 1),
        *(1, 1, 1),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.json", "trace.json"]
    fabric = [e for e in events if e["ph"] == "X" and e["tid"] == 1]
    covered = sum(e["dur"] for e in fabric)
    assert sum(cycles) <= covered <= sum(cycles) + 50 * len(cycles)


def test_temperature(tmp_path, command):
    """Sampled tokens equal the reference's too, and differ with the seed."""
    tokens = set()
    for seed in (1, 2):
        path = tmp_path / f"{seed}.json"
        options = ("--temperature", 2, "--seed", seed, "--tokens", 8, "--json", path)
        assert run(*command, "--prompt-tokens", "7", *options).exit_code == 0
        tokens.add(tuple(json.loads(path.read_text())["tokens"]))
    assert len(tokens) == 2


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["axi", "sdram", "sdram --set boot=flash"])
def test_external_memory(command, memory):
    settings = ("--set", *f"memory={memory}".split(), "--prompt-tokens", "7,8", "--tokens", 3)
    assert run(*command, *settings).exit_code == 0


@pytest.mark.parametrize("what", ["token", "logit"])
def test_mismatch(tmp_path, command, monkeypatch, what):
    def compare(plan, run):
        tokens, logits = list(run.tokens), run.logits.copy()
        if what == "token":
            tokens[1] ^= 1
        else:
            logits[1, 36] += 1
        return tokens, logits

    monkeypatch.setattr(module, "compare", compare)
    path = tmp_path / "result.json"
    options = ("--prompt-tokens", "1,2", "--tokens", 2, "--json", path)
    assert "differs from the integer reference" in fails(*command, *options, status=1)
    result = json.loads(path.read_text())
    assert result["matches_reference"] == (what != "token")
    assert result["logits_match"] == (what != "logit")


def test_logits_of_a_tap():
    """24 signed bits a lane, ten tokens in words of four lanes; the frame above is ignored."""

    class Shape:
        lanes, vocab_size = 4, 10

    logits = np.random.default_rng(0).integers(-(1 << 23), 1 << 23, (2, 12))
    logits[0, :2] = -(1 << 23), (1 << 23) - 1
    words = [
        sum((int(v) & 0xFFFFFF) << 24 * n for n, v in enumerate(word)) | 0x2BCDEF0 << 96
        for word in logits.reshape(-1, 4)
    ]
    payload = [list(word.to_bytes(16, "little")) for word in words]
    payload = np.array(payload, np.uint8)
    np.testing.assert_array_equal(decode_logits(Shape, payload), logits[:, :10])
    np.testing.assert_array_equal(decode_logits(Shape, payload[:-1]), logits[:1, :10])


def test_text_as_it_arrives(capsys):
    """The prompt, then every token; a character only when its last byte has come."""
    tokenizer = load("demo").tokenizer
    prompt = tuple(tokenizer.encode("Sir, "))
    hear = _printer(tokenizer, prompt)
    assert capsys.readouterr().out == "Sir, "
    heard = []
    for token in tokenizer.encode("café é!", bos=False):
        hear(token)
        heard.append(capsys.readouterr().out)
    assert "".join(heard) == "café é!"
    assert "" in heard
    for token in tokenizer.encode("é", bos=False)[:1]:
        hear(token)
    hear(None)  # the limit came in the middle of the character
    assert capsys.readouterr().out == "\ufffd\n"


def test_text_that_stops(capsys):
    tokenizer = load("demo").tokenizer
    hear = _printer(tokenizer, (tokenizer.bos,), ["JU", "fé "])
    tokens = tokenizer.encode("café é!", bos=False)
    ended = [hear(token) for token in tokens]
    text = next(n for n in range(len(tokens)) if "fé " in tokenizer.decode(tokens[: n + 1]))
    assert ended.index(True) == text
    assert capsys.readouterr().out.endswith("café é!")


def test_stops():
    texts = ("<s>", "</s>", "<end>", "a", "b")
    pieces = [b"", b"", b"", b"a", b"b"]
    special = {text: token for token, text in enumerate(texts[:3])}
    options = {"vocabulary": {"a": 3, "b": 4}, "scores": [0.0] * 5, "byte_tokens": {}}
    tokenizer = ScoreTokenizer(pieces, 0, 1, special=special, add_space=False, **options)
    assert stop_tokens(tokenizer, 5, ["<end>", "4", "a", "ab"]) == ({2, 4}, ["a", "ab"])
    assert stop_tokens(None, 5, ["1"]) == ({1}, [])
    for stop, message in (("5", "token 5 is not one of the model's 5"), ("", "must not be empty")):
        with pytest.raises(RequestError, match=f"--stop.* {message}"):
            stop_tokens(tokenizer, 5, [stop])
    with pytest.raises(RequestError, match="give --stop as a token's number"):
        stop_tokens(None, 5, ["a"])


def test_stopping_tokens(tmp_path, command):
    """The machine knows one of them; after another the host ends the run. All logits agree."""
    path = tmp_path / "result.json"
    sampled = ("--temperature", 3, "--seed", 1)  # not the same token again and again
    prompt = (*command, "--prompt-tokens", "1,2,3,4,36", *sampled, "--json", path)
    assert run(*prompt, "--tokens", 6).exit_code == 0
    whole = json.loads(path.read_text())["tokens"]
    last = next(n for n in range(2, 6) if whole[n] not in whole[:n])
    unused = next(token for token in range(37) if token not in whole)  # the machine's, if lower
    for stops in ([whole[last]], [unused, whole[last]]):
        done = run(*prompt, "--tokens", 6, *(f"--stop={stop}" for stop in stops))
        assert done.exit_code == 0, done.stderr
        result = json.loads(path.read_text())
        assert result["tokens"] == result["reference_tokens"] == whole[: last + 1]
        assert result["logits_match"]


@pytest.mark.usefixtures("nothing_is_built")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt-tokens", "1,37"], "prompt token 37 is not one of the model's 37"),
        (["--prompt-tokens", "-1"], "prompt token -1 is not"),
        (["--prompt-tokens", "1,x"], "whole numbers divided by commas, not '1,x'"),
        (["--prompt-tokens", ""], "whole numbers divided by commas, not ''"),
        (["--prompt-tokens", "1", "--prompt", "a"], "as text or as tokens, not both"),
        (["--prompt", "a"], "the model brings no tokenizer"),
        ([], "the model brings no tokenizer"),
        (["--prompt-tokens", "1,2", "--tokens", "24"], "25 positions, more than max_seq_len, 24"),
        (
            ["--prompt-tokens", "1", "--tokens", "9", "--set", "max_seq_len=8"],
            "9 positions, more than max_seq_len, 8",
        ),
        (["--prompt-tokens", "1", "--tokens", "0"], "tokens must be at least 1, not 0"),
        (
            ["--prompt-tokens", "1", "--temperature", "15.999"],
            "temperature must be 0, or from 1/256",
        ),
        (["--prompt-tokens", "1", "--temperature", "-1"], "temperature must be 0, or from 1/256"),
        (
            ["--prompt-tokens", "1", "--temperature=1", "--config=compact", "--set=max_seq_len=16"],
            "temperature must be 0, not 1: this machine takes the most likely token",
        ),
        (["--prompt-tokens", "1", "--temperature", "0.001"], "temperature must be 0, or from"),
        (["--prompt-tokens", "1", "--temperature", "nan"], "temperature must be 0, or from"),
        (["--prompt-tokens", "1", "--seed", "-1"], r"seed must be from 0 to 2**32 - 1, not -1"),
        (["--prompt-tokens", "1", "--stop", "37"], "--stop: token 37 is not one of the model's 37"),
        (["--prompt-tokens", "1", "--stop", "a"], "give --stop as a token's number"),
        (["--prompt-tokens", "1", "--clock", "0"], "--clock must be more than 0, not 0"),
        (["--prompt-tokens", "1", "--config", "no"], "'no' is no configuration"),
        (["--prompt-tokens", "1", "--set", "vector_lanes=0"], "vector_lanes must be"),
        (["--prompt-tokens", "1", "--set", "weight_parallelism=1024"], "the model can fill"),
        (["--prompt-tokens", "1", "--json", "/no/x.json"], "/no/x.json: No such file"),
        (["--prompt-tokens", "1", "--trace", "/no/x.json"], "/no/x.json: No such file"),
        (["--prompt-tokens", "1", "--waves", "/no/x.vcd"], "/no/x.vcd: No such file"),
    ],
)
def test_bad_input(small, options, message):
    options = ["--tokens", "3", *options]
    assert message in fails("simulate", small, "--config", "tiny", *options)


@pytest.mark.usefixtures("nothing_is_built")
def test_schemes(small):
    prompt = "--prompt-tokens", "1", "--tokens", "2"
    message = fails("simulate", small, *prompt, "--config", "tiny", "--scheme", "w4a4")
    assert "--scheme must be w4a8kv8 or the like, " in message
    message = fails("simulate", "demo", *prompt, "--config", "compact", "--scheme", "w4a8kv8")
    assert message == "--scheme must not be given for the compact machine"


def test_bad_models(tmp_path, small):
    assert "no such file or directory" in fails("simulate", tmp_path / "no")
    broken = tmp_path / "broken.bin"
    broken.write_bytes(small.read_bytes()[:-4])
    assert "broken.bin" in fails("simulate", broken, "--prompt-tokens", "1")
    message = fails("simulate", small, "--tokenizer", tmp_path / "no", "--prompt", "a")
    assert message == f"{tmp_path / 'no'}: cannot be read: No such file or directory"


def test_prompts():
    tokenizer = load("demo").tokenizer
    assert prompt_tokens(tokenizer) == (tokenizer.bos,)
    assert prompt_tokens(tokenizer, "") == (tokenizer.bos,)
    assert prompt_tokens(tokenizer, "Ay") == tuple(tokenizer.encode("Ay"))
    assert prompt_tokens(None, tokens="3, 4") == (3, 4)
    with pytest.raises(RequestError, match="no tokens"):
        Request((), 1).check(10, 10)


def test_temperature_in_steps():
    assert Request((1,), 1, 0.7).heat == round(0.7 * 256)
    Request((1,), 1, 15.99).check(10, 10)


def test_missing_compiler(tmp_path, command, monkeypatch):
    from celosia.sim import toolchain

    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    toolchain.find.cache_clear()
    try:
        message = fails(*command, "--prompt-tokens", "1", "--tokens", 2)
    finally:
        toolchain.find.cache_clear()
    assert message == "the C++ compiler named by CXX is not there: no-such-compiler"


def test_interrupted_build(tmp_path, small):
    """Ctrl-C while the compiler runs: 130, and neither results nor half a build remain."""
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 200\n")
    compiler.chmod(0o755)
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "celosia", "simulate", str(small), "--config", "tiny"]
    command += ["--prompt-tokens", "1", "--tokens", "2", "--json", str(tmp_path / "x.json")]
    child = subprocess.Popen(
        command,
        env={**os.environ, "CXX": str(compiler), "CELOSIA_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, they are deaf to Ctrl-C, and so would this be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert said.splitlines()[-1] == "celosia: error: interrupted"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "compiler", "started"]
    assert not [p for p in cache.iterdir() if p.name.endswith(".unfinished")]


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [(), ("--prompt", "Once upon a time, there was a dog")])
def test_stories260k(tmp_path, stories260k, prompt):
    """200 tokens: all equal, three quarters of the multipliers' cycles used, 10 tokens a second."""
    path = tmp_path / "result.json"
    files = (stories260k / "stories260K.bin", "--tokenizer", stories260k / "tok512.bin")
    done = run("simulate", *files, *prompt, "--tokens", 200, "--json", path)
    assert done.exit_code == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["matches_reference"]
    assert result["logits_match"]
    assert result["utilisation"] > 0.75
    if not prompt:
        expected = json.loads((stories260k / "stories260K_greedy200.json").read_text())
        assert result["tokens"][:40] == expected["tokens"][1:41]  # float32's


@pytest.mark.slow
def test_waves(tmp_path, command):
    path = tmp_path / "waves.vcd"
    options = ("--prompt-tokens", "1", "--tokens", 1, "--waves", path)
    assert run(*command, *options).exit_code == 0
    with path.open() as file:
        assert "$var wire" in file.read(10_000)
