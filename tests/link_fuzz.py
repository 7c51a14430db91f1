"""Fuzz for a machine's host link: whatever came before, each good request is answered right."""

import random
import zlib

from celosia.protocol import messages
from celosia.protocol.frames import CRC, LONGEST_FRAME, SYNC, Frame, FrameDecoder, frame
from celosia.protocol.messages import (
    Ack,
    Checksum,
    Done,
    Error,
    Info,
    Kind,
    Status,
    Token,
    decode,
    encode,
)
from celosia.protocol.refusals import Code, refusal
from celosia.rtl.machine.machine import LINK_TIMEOUT
from celosia.sim.driver import Driver
from celosia.sim.loader import load_memory
from celosia.sim.native_transport import NativeTransport

ANSWERS = {Kind.ASK_INFO: Info, Kind.ASK_STATUS: Status, Kind.CHECK: Checksum}
QUIET = 3_000  # cycles without a byte after which nothing comes that is not a token's
SDRAM = 1 << 25


class LinkFuzz:
    """Fuzz and good requests for one machine.

    Parameters
    ----------
    plan : celosia.generators.plan.Plan
    simulation : celosia.sim.native.NativeSimulation
    counters : sequence of str
    seed : int

    Attributes
    ----------
    sent, requests, frames : int
        Bytes of fuzz, good requests, and frames that were found in the fuzz.
    codes : set
        Why frames of the fuzz were refused.
    """

    def __init__(self, plan, simulation, counters, seed):
        self.plan, self.chip = plan, simulation
        self.counters = counters
        self.memory = SDRAM if plan.config.memory == "sdram" else 0
        self.plain, self.greedy = plan.config.kind.plain, not plan.config.samples
        self.chooser = random.Random(seed)
        self.sent = self.requests = self.frames = 0
        self.codes = set()
        self.expected = {}

    def run(self, size):
        """Send ``size`` bytes of fuzz or more, a good request after each burst."""
        while self.sent < size:
            burst = self.burst()
            self.sent += len(burst)
            self.chip.send(burst + bytes(LONGEST_FRAME))
            self.check_answers(burst + bytes(LONGEST_FRAME))
            self.request()

    def silence(self):
        """A frame whose end does not come is given up; the next request needs no reset."""
        Driver(NativeTransport(self.chip), self.counters).reset()
        self.hear()
        self.chip.send(bytes([SYNC, Kind.PROMPT, 9, 1]))
        self.chip.step(LINK_TIMEOUT + QUIET, until_tx=None)
        assert self.chip.received() == encode(Error(Kind.PROMPT, Code.TRUNCATED))
        self._check_run(Driver(NativeTransport(self.chip), self.counters))

    def burst(self):
        """Some hundred bytes: noise, good frames, broken ones, good CRCs over nonsense."""
        pick, text = self.chooser, bytearray()
        for _ in range(pick.randrange(1, 16)):
            one = encode(self.command())
            match pick.randrange(6):
                case 0:
                    one = pick.randbytes(pick.randrange(1, 200))
                case 1:
                    one = bytes(pick.choices([SYNC, 0, 1, 2, 3, 5, 6, 7, 77, 255], k=40))
                case 2:
                    one = frame(pick.randrange(256), pick.randbytes(pick.randrange(256)))
                case 3:
                    one = one[: pick.randrange(len(one))]
                case 4:
                    one = bytearray(one)
                    one[pick.randrange(len(one))] ^= 1 << pick.randrange(8)
            text += one
        return bytes(text)

    def command(self):
        """A command, mostly one that could be obeyed."""
        pick, info = self.chooser, self.plan.info

        def near(limit):
            return pick.choice([0, 1, limit - 1, limit, pick.randrange(limit)])

        tokens = tuple(near(info.vocab_size) for _ in range(pick.randrange(6)))
        return pick.choice(
            [
                messages.AskInfo(),
                messages.AskStatus(),
                messages.Abort(),
                messages.Prompt(near(info.max_seq_len), tokens),
                messages.Run(0, near(4), near(5), near(info.vocab_size), 0, 1),
                messages.Run(near(3), near(4), near(5), 0, near(5000), 2**32 - 1),
                messages.Load(2 * near(1000), pick.randbytes(2 * pick.randrange(100))),
                messages.Check(near(1000), near(1000)),
            ]
        )

    def hear(self):
        """All that the machine says until it is silent and idle."""
        heard, busy = b"", True
        while self.chip.unsent or busy:
            self.chip.step(QUIET, until_tx=None)
            said = self.chip.received()
            heard += said
            busy = bool(said)
        return heard

    def check_answers(self, text):
        """One answer to each frame, in order, by the rules of the protocol; nothing else."""
        heard = self.hear()
        decoder = FrameDecoder()
        said = [decode(one) for one in decoder.feed(heard)]
        assert b"".join(map(encode, said)) == heard
        answers = [m for m in said if not isinstance(m, Token | Done)]
        frames = list(frames_of(text))
        assert len(answers) == len(frames)
        self.frames += len(frames)
        for found, answer in zip(frames, answers, strict=True):
            assert answer in self.allowed(*found) or type(answer) is ANSWERS.get(found[0])
            if isinstance(answer, Error):
                self.codes.add(Code(answer.code))

    def allowed(self, kind, payload, good):
        """Refusals and acknowledgement of a frame, busy or idle, with a good memory or not."""
        if not good:
            return [Error(kind, Code.CRC)]
        info = self.plan.info
        limits = (info.vocab_size, info.max_seq_len)
        codes = {
            refusal(
                Frame(kind, payload), *limits, busy, self.memory, holds, self.plain, self.greedy
            )
            for busy in (False, True)
            for holds in ((False, True) if self.memory else (True,))
        }
        accepted = None in codes and kind not in ANSWERS
        refused = [Error(kind, code) for code in codes if code is not None]
        return [*refused, *([Ack(kind)] if accepted else [])]

    def request(self):
        """A good request: what are you, what are you doing, a sum, or a run; compared."""
        driver = Driver(NativeTransport(self.chip), self.counters)
        if self.chooser.randrange(2):
            driver.reset()
        if self.chooser.randrange(2):
            assert driver.info() == self.plan.info
            assert driver.status().busy in (0, 1)
        if self.chooser.randrange(2):
            driver.reset()
            self._check_run(driver)
        self.requests += 1
        self.chip.forget()

    def _check_run(self, driver):
        if self.memory:
            image = self.plan.images()[0].tobytes()
            load_memory(driver, image)
            assert driver.checksum(0, len(image)) == zlib.crc32(image)
        prompt = self.chooser.choice([(1,), (3, 1, 4), (36, 0, 7, 12)])
        if prompt not in self.expected:
            self.expected[prompt] = reference(self.plan, prompt)
        run = driver.run(prompt, 3)
        assert [token.token for token in run] == self.expected[prompt]
        assert driver.damaged == 0


def reference(plan, prompt):
    """The three tokens that go on from ``prompt``."""
    return plan.generate(prompt, 3, 0, 0)[0]


def frames_of(text):
    """``(kind, payload, whether the CRC is right)`` of what a machine finds in ``text``."""
    place = text.find(SYNC)
    while place >= 0 and place + 3 <= len(text) and place + text[place + 2] + 5 <= len(text):
        end = place + text[place + 2] + 5
        good = CRC.compute(text[place + 1 : end - 2]) == int.from_bytes(
            text[end - 2 : end], "little"
        )
        yield text[place + 1], text[place + 3 : end - 2], good
        place = text.find(SYNC, end)
