"""The host link of a machine whose memory is loaded: loads and checks, good ones and others."""

import random

import pytest
from celosia.protocol.frames import LONGEST_FRAME, frame
from celosia.protocol.messages import (
    Ack,
    AskInfo,
    Check,
    Checksum,
    Error,
    Kind,
    Load,
    Run,
    decode,
    encode,
)
from celosia.protocol.refusals import Code, refusal
from celosia.rtl.host.host_link import HostLink
from celosia.sim import bench
from test_host_link import BAD, GOOD, INFO, TIMEOUT, Model, mutated, said

SIZE = 1000
SUMS = [0x01020304, 0xFFFFFFFF, 0, 0x89ABCDEF]
RUN = encode(Run(0, 1, 1, 300, 0, 0))
LOADS = [
    Load(0, b"ab"),
    Load(998, b"yz"),
    Load(2, bytes(range(250))),
    Load(512, bytes(range(100, 148))),
    Check(0, SIZE),
    Check(998, 2),
    Check(256, 44),
]
REFUSED = [
    encode(Load(998, b"abcd")),
    encode(Load(1, b"ab")),
    encode(Load(2**32 - 2, b"ab")),
    encode(Load(0, b"")),
    encode(Check(2, SIZE)),
    encode(Check(2**32 - 2, 2**32 - 2)),
    encode(Check(5, 2)),
    encode(Check(0, 7)),
    encode(Check(0, 0)),
    frame(Kind.LOAD),
    frame(Kind.LOAD, bytes(3)),
    frame(Kind.LOAD, bytes(7)),
    frame(Kind.LOAD, bytes(255)),
    frame(Kind.CHECK, bytes(7)),
    frame(Kind.CHECK, bytes(9)),
    frame(Kind.CHECK, bytes(10)),
    frame(Kind.CHECKSUM, bytes(4)),
]


class MemoryModel(Model):
    """Likewise for a link with a memory."""

    def __init__(self, text, holds):
        self.holds = holds
        self.write, self.check, self.sums = [], [], iter(SUMS * 1000)
        super().__init__(text)

    def _answer(self, command):
        running = bool(self.command)
        limits = (INFO.vocab_size, INFO.max_seq_len, running, SIZE, self.holds)
        code = refusal(command, *limits)
        if code is not None:
            return Error(command.kind, code)
        message = decode(command)
        if isinstance(message, Load):
            self.write += [
                {
                    "address": (message.address + n) // 2,
                    "data": int.from_bytes(message.data[n : n + 2], "little"),
                }
                for n in range(0, len(message.data), 2)
            ]
            return Ack(Kind.LOAD)
        if isinstance(message, Check):
            self.check.append({"address": message.address // 2, "count": message.length // 2})
            return Checksum(next(self.sums))
        return super()._answer(command)


def case(text, holds=1, **arguments):
    model = MemoryModel(text, holds)
    counts = {name: len(getattr(model, name)) for name in ("prompt", "command")}
    counts |= {"memory.write": len(model.write), "memory.check": len(model.check)}
    counts["tx"] = sum(len(encode(answer)) for answer in model.answers)
    sums = (SUMS * 1000)[: len(model.check)]
    given = {"inputs": {"rx": text, "memory.checksum": sums}, "counts": counts, **arguments}
    return given | {"settings": {"memory.holds": holds}}, model


def check(cases):
    results = bench.run_many(HostLink(INFO, TIMEOUT, SIZE), [given for given, _ in cases])
    for (_, model), result in zip(cases, results, strict=True):
        assert said(result.outputs["tx"]) == model.answers
        for name in ("prompt", "command"):
            assert result.outputs[name] == getattr(model, name)
        assert result.outputs["memory.write"] == model.write
        assert result.outputs["memory.check"] == model.check
    return results


@pytest.mark.parametrize("stall", [0, 0.5])
def test_loads_checks_and_refusals(stall):
    good, bad = b"".join(map(encode, LOADS)), b"".join(REFUSED)
    old = b"".join(map(encode, GOOD))
    text = good + bad + good + old + bad + good + RUN + good
    cases = [case(text, holds, stall=stall, seed=3) for holds in (1, 0)]
    assert Error(Kind.RUN, Code.MEMORY) in cases[1][1].answers
    assert Error(Kind.LOAD, Code.BUSY) in cases[0][1].answers
    assert Error(Kind.CHECK, Code.BUSY) in cases[0][1].answers
    check(cases)


def test_fuzz():
    chooser = random.Random(5)
    pool = [*map(encode, [*LOADS, *LOADS, *GOOD]), *REFUSED, *BAD]
    cases = []
    for seed in range(4):
        text = mutated(chooser, chooser.choices(pool, k=60))
        text += bytes(LONGEST_FRAME) + encode(AskInfo())
        cases.append(case(text, holds=seed % 2, stall=0.5 * (seed // 2), seed=seed))
    assert all(model.answers[-1] == INFO for _, model in cases)
    assert sum(len(model.write) for _, model in cases) > 150
    assert sum(len(model.check) for _, model in cases) > 10
    check(cases)


@pytest.mark.parametrize("memory", [-2, 3, 2**32])
def test_refuses_a_size(memory):
    with pytest.raises(ValueError, match=rf"memory must be an even number below .*, not {memory}"):
        HostLink(INFO, TIMEOUT, memory)
