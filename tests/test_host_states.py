"""The host link of a recurrent model's machine: reading and writing states; what is refused."""

import random

import pytest
from celosia.protocol.frames import LONGEST_FRAME, frame
from celosia.protocol.messages import (
    Ack,
    AskInfo,
    Error,
    Kind,
    Restore,
    Resume,
    Run,
    Save,
    States,
    decode,
    encode,
)
from celosia.protocol.refusals import Code, refusal
from celosia.rtl.host.host_link import HostLink
from celosia.sim import bench
from celosia.sim.driver import DriverError
from celosia.sim.state import State
from test_driver import scripted
from test_host_link import BAD, GOOD, INFO, TIMEOUT, Model, mutated, said

VALUES = 500
FOUND = -70_000  # what the states' memory says of each place
END = 41  # the position behind the states
COMMANDS = [
    Save(0, 1),
    Save(439, 61),
    Save(499, 1),
    Restore(0, (0, 2**18 - 1, 7)),
    Restore(416, tuple(range(1000, 1084))),
    Resume(17, INFO.model_hash),
    Resume(0, INFO.model_hash),
    Resume(100, INFO.model_hash),
]
REFUSED = [
    encode(Save(0, 0)),
    encode(Save(440, 61)),
    encode(Save(500, 1)),
    encode(Save(2**24 - 1, 1)),
    encode(Save(0, 62)),
    encode(Restore(0, ())),
    encode(Restore(417, tuple(range(84)))),
    encode(Restore(500, (1,))),
    encode(Restore(2**24 - 1, (1,))),
    encode(Restore(0, (5, 2**18))),
    encode(Restore(0, (2**24 - 1,))),
    encode(Resume(101, INFO.model_hash)),
    encode(Resume(2**24 - 1, INFO.model_hash)),
    encode(Resume(5, b"abcdefgX")),
    encode(Resume(5, b"Xbcdefgh")),
    frame(Kind.SAVE, bytes(3)),
    frame(Kind.SAVE, bytes(5)),
    frame(Kind.RESTORE),
    frame(Kind.RESTORE, bytes(7)),
    frame(Kind.RESUME, bytes(3)),
    frame(Kind.RESUME, bytes(10)),
    frame(Kind.RESUME, bytes(12)),
    frame(Kind.STATES, bytes(8)),
]


class StateModel(Model):
    """Likewise for a link with states."""

    def __init__(self, text):
        self.write, self.resume = [], []
        super().__init__(text)

    def _answer(self, command):
        limits = INFO.vocab_size, INFO.max_seq_len, bool(self.command)
        states = {"least_start": END, "states": VALUES, "model_hash": INFO.model_hash}
        code = refusal(command, *limits, **states)
        if code is not None:
            return Error(command.kind, code)
        message = decode(command)
        if isinstance(message, Save):
            return States(END, VALUES, (FOUND % 2**32,) * message.count)
        if isinstance(message, Restore):
            signed = ((v + 2**17) % 2**18 - 2**17 for v in message.values)
            self.write += [
                {"address": message.address + n, "value": v} for n, v in enumerate(signed)
            ]
            self.resume.append(0)
            return Ack(Kind.RESTORE)
        if isinstance(message, Resume):
            self.resume.append(message.position)
            return Ack(Kind.RESUME)
        return super()._answer(command)


def case(text, **arguments):
    model = StateModel(text)
    counts = {name: len(getattr(model, name)) for name in ("prompt", "command", "resume")}
    counts |= {"state.write": len(model.write)}
    counts["tx"] = sum(len(encode(answer)) for answer in model.answers)
    settings = {"state.value": FOUND, "least_start": END}
    return {"inputs": {"rx": text}, "counts": counts, "settings": settings, **arguments}, model


def test_commands_refusals_and_noise():
    run = encode(Run(0, 1, 1, 300, 0, 0))
    good, bad = b"".join(map(encode, COMMANDS)), b"".join(REFUSED)
    text = good + bad + good + b"".join(map(encode, GOOD)) + run + good
    cases = [case(text, stall=stall, seed=3) for stall in (0, 0.5)]
    codes = {a.code for a in cases[0][1].answers if isinstance(a, Error)}
    expected = {"KIND", "LENGTH", "BUSY", "EMPTY", "ADDRESS", "SPAN", "VOCABULARY", "MODEL"}
    assert codes == {Code[name] for name in expected}
    chooser = random.Random(5)
    pool = [*map(encode, [*COMMANDS, *COMMANDS, *GOOD]), *REFUSED, *BAD]
    for seed in range(3):
        noise = mutated(chooser, chooser.choices(pool, k=60))
        noise += bytes(LONGEST_FRAME) + encode(AskInfo())
        cases.append(case(noise, stall=0.5 * (seed // 2), seed=seed))
    link = HostLink(INFO, TIMEOUT, rings=True, states=VALUES)
    results = bench.run_many(link, [given for given, _ in cases])
    for (_, model), result in zip(cases, results, strict=True):
        assert said(result.outputs["tx"]) == model.answers
        for name in ("prompt", "command", "resume"):
            assert result.outputs[name] == getattr(model, name)
        assert result.outputs["state.write"] == model.write


def test_number_of_values():
    with pytest.raises(ValueError, match="states must be from 0 to 1048576, not 1048577"):
        HostLink(INFO, TIMEOUT, rings=True, states=(1 << 20) + 1)


STATE = State(INFO.model_hash, "a link", 7, (-(2**17), -1, 0, 5, 2**17 - 1))


def test_a_file_of_a_state():
    text = STATE.to_bytes()
    assert State.from_bytes(text) == STATE
    with pytest.raises(ValueError, match="it is not a saved state"):
        State.from_bytes(b"\0" + text)
    for broken in (text[:-1], text[:20], text[:30] + b"x" + text[31:], text + b"abc"):
        with pytest.raises(ValueError, match="it is damaged"):
            State.from_bytes(broken)


def test_driver():
    """What it asks of a machine, and what it refuses by itself."""
    answers = [
        States(7, 5, (2**32 - 2**17,)),
        States(7, 5, (2**32 - 2**17, 2**32 - 1, 0, 5, 131071)),
    ]
    driver = scripted(INFO, *answers, Ack(Kind.RESTORE), Ack(Kind.RESUME))
    assert driver.save() == STATE
    driver.restore(STATE)
    values = 2**17, 2**18 - 1, 0, 5, 2**17 - 1
    assert driver._transport.heard[1:] == [
        Save(0, 1),
        Save(0, 5),
        Restore(0, values),
        Resume(7, INFO.model_hash),
    ]
    other = State(b"somebody", "another", 7, STATE.values)
    with pytest.raises(DriverError, match=r"another model: of another \(736f.*\), not of a link"):
        driver.restore(other)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (Code.KIND, "refused save: the machine does not know it"),
        (Code.BUSY, "refused save: the machine is busy"),
        (Code.ADDRESS, "refused save: it goes beyond the machine's states"),
    ],
)
def test_driver_hears_refusals(code, message):
    with pytest.raises(DriverError, match=message):
        scripted(INFO, Error(Kind.SAVE, code)).save()
