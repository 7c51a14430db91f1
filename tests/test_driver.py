import itertools
import time

import pytest
from celosia.generators.verilog import to_verilog
from celosia.protocol import messages
from celosia.protocol.frames import FrameDecoder, frame
from celosia.protocol.messages import Ack, Kind, Reason, Token, encode
from celosia.protocol.refusals import Code
from celosia.sim.driver import Done, Driver, DriverError
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from echo_machine import INFO, EchoMachine

COUNTERS = ("given", "temperature", "seed")


@pytest.fixture(scope="module")
def verilog():
    return to_verilog(EchoMachine())


@pytest.fixture
def chip(verilog):
    with NativeSimulation(verilog) as chip:
        yield chip


@pytest.fixture
def driver(chip):
    return Driver(NativeTransport(chip), COUNTERS)


class Scripted:
    """A transport to a machine that says what a list gives for each command it hears."""

    def __init__(self, *script):
        self.heard = []
        self._script = iter(script)
        self._decoder = FrameDecoder()
        self._says = []

    def send(self, data):
        for command in self._decoder.feed(data):
            self.heard.append(messages.decode(command))
            says = next(self._script, b"")
            self._says.append(says if isinstance(says, bytes) else encode(says))

    def receive(self, timeout):
        if self._says:
            return self._says.pop(0)
        time.sleep(timeout)
        return b""

    def close(self):
        self.closed = True


def scripted(*script, **arguments):
    return Driver(Scripted(*script), timeout=0.05, **arguments)


def tokens(generation):
    return [item.token for item in generation]


def test_info_and_status(driver):
    assert driver.info() == INFO
    assert driver.status() == messages.Status(busy=0, tokens=0)


def test_run(driver):
    generation = driver.run([5, 6, 299], 8, temperature=0.75, seed=2**32 - 1)
    items = list(generation)
    assert [item.token for item in items] == [5, 6, 299, 5, 6, 299, 5, 6]
    cycles = [item.cycles for item in items]
    assert all(a < b for a, b in itertools.pairwise(cycles))
    assert generation.done == Done(
        Reason.COUNT, {"given": 8, "temperature": 192, "seed": 2**32 - 1}
    )
    assert driver.status() == messages.Status(busy=0, tokens=8)
    assert driver.damaged == 0


def test_prompt_of_several_frames(driver):
    prompt = [(7 * index) % 300 for index in range(150)]
    assert tokens(driver.run(prompt, 51)) == prompt[:51]


def test_start(driver):
    list(driver.run([1, 2, 3, 4], 1))
    assert tokens(driver.run([9, 8], 3, start=2)) == [9, 8, 9]
    assert tokens(driver.run([9], 200, start=0)) == [9] * 200
    assert tokens(driver.run([7], 1, start=199)) == [7]
    with pytest.raises(DriverError, match="go beyond the machine's longest sequence"):
        driver.run([7], 2, start=199)


def test_stop_token(driver):
    generation = driver.run([5, 6, 7], 100, stop=6)
    assert tokens(generation) == [5, 6]
    assert generation.done.reason == Reason.STOP


def test_several_stop_tokens(driver):
    for stop, expected in (([6, 7], [5, 6]), ([7, 6], [5, 6]), ([299, 7, 5], [5])):
        generation = driver.run([5, 6, 7], 190, stop=stop)
        assert tokens(generation) == expected
        assert generation.done.reason == Reason.STOP
        assert len(expected) <= generation.given < 190
        assert generation.done.counters["given"] == generation.given
    assert tokens(driver.run([5, 6, 7], 1, stop=[299, 5])) == [5]
    assert tokens(driver.run([1], 2, stop=[])) == [1, 1]


def test_abort(driver):
    generation = driver.run([5, 6, 7], 190)
    first = [next(generation) for _ in range(3)]
    driver.abort()
    rest = list(generation)
    assert [item.token for item in first] == [5, 6, 7]
    assert len(rest) < 20
    assert generation.done.reason == Reason.ABORTED
    assert generation.done.counters["given"] == 3 + len(rest)
    driver.abort()


def test_another_run_aborts(driver):
    first = driver.run([5, 6, 7], 190)
    next(first)
    assert tokens(driver.run([1], 2)) == [1, 1]
    assert first.done.reason == Reason.ABORTED


def test_reset_ends_a_frame_and_a_run(driver, chip):
    generation = driver.run([5, 6, 7], 190)
    next(generation)
    chip.send(encode(messages.Run(0, 1, 1, 300, 0, 0))[:9])
    driver.reset()
    assert not driver.status().busy
    with pytest.raises(DriverError, match="the machine was given another run, or reset"):
        list(generation)
    assert tokens(driver.run([1], 2)) == [1, 1]


def test_counters_without_names(chip):
    generation = Driver(NativeTransport(chip)).run([5], 1)
    list(generation)
    assert generation.done.counters == {"counter_0": 1, "counter_1": 0, "counter_2": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 1), "the machine refused run: the prompt is empty"),
        (([1], 0), "the machine refused run: no tokens are asked for"),
        (([1, 300], 1), "the machine refused prompt: a token is not in the machine's vocabulary"),
        (([1] * 201, 1), "refused prompt: the prompt goes beyond the machine's longest sequence"),
        (([1] * 100, 102), "refused run: prompt and generated tokens go beyond the machine's"),
    ],
)
def test_refusals(driver, arguments, message):
    with pytest.raises(DriverError, match=message):
        driver.run(*arguments)
    assert tokens(driver.run([1] * 100, 101)) == [1] * 101


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 16}, "temperature must be from 0 to less than 16, not 16"),
        ({"temperature": -1}, "temperature must be from 0 to less than 16, not -1"),
        ({"seed": -1}, r"seed must be from 0 to 4294967295, not -1"),
        ({"start": -1}, r"start must be from 0 to 16777215, not -1"),
        ({"prompt": [-1]}, r"token must be from 0 to 16777215, not -1"),
    ],
)
def test_numbers_out_of_range(driver, changes, message):
    with pytest.raises(ValueError, match=message):
        driver.run(**{"prompt": [1], "count": 1} | changes)


def test_silence():
    with pytest.raises(DriverError, match=r"no answer from the machine within 0\.05 s"):
        scripted().info()


def test_close():
    with scripted() as driver:
        pass
    assert driver._transport.closed


def test_another_version():
    later = frame(Kind.INFO, bytes([2]) + INFO.payload()[1:])
    message = "the machine speaks version 2 of the protocol, this driver version 1"
    with pytest.raises(DriverError, match=message):
        scripted(later).info()


def test_other_counters():
    with pytest.raises(DriverError, match="the machine has 3 counters, not 2"):
        scripted(INFO, counters=["a", "b"]).info()
    driver = scripted(INFO, Ack(Kind.PROMPT), encode(Ack(Kind.RUN)) + encode(DONE_OF_TWO))
    with pytest.raises(DriverError, match="the machine sent 2 counters"):
        list(driver.run([1], 1))


DONE_OF_TWO = messages.Done(Reason.COUNT, 0, (1, 2))
DONE_OF_THREE = messages.Done(Reason.COUNT, 1, (1, 2, 3))


def test_words_outside_the_protocol():
    with pytest.raises(DriverError, match="does not keep to the protocol: kind must be one of"):
        scripted(frame(0x99)).info()
    with pytest.raises(DriverError, match="does not keep to the protocol: TOKEN must have 7 bytes"):
        scripted(frame(Kind.TOKEN, b"1")).info()
    unknown = messages.Error(Kind.ASK_INFO, 99)
    with pytest.raises(DriverError, match="the machine refused askinfo: reason 99"):
        scripted(unknown).info()


def test_damage_on_the_way_to_the_machine():
    damaged = messages.Error(0x77, Code.CRC)
    with pytest.raises(DriverError, match="refused askinfo: it was damaged on the way"):
        scripted(damaged).info()


def test_damage_on_the_way_from_the_machine():
    noise = b"\xc5\x00\xff" + bytes(20)
    driver = scripted(noise + encode(INFO))
    assert driver.info() == INFO
    assert driver.damaged == 1


def test_late_answers_are_not_mistaken():
    late = encode(messages.Error(Kind.PROMPT, Code.BUSY)) + encode(Ack(Kind.ABORT))
    token = encode(Token(1, 2))
    driver = scripted(
        late + token + encode(INFO),
        token + encode(messages.Error(Kind.RUN, Code.SPAN)) + encode(Ack(Kind.PROMPT)),
        encode(messages.Error(Kind.ABORT, Code.KIND)) + encode(Ack(Kind.RUN)) + token,
    )
    assert driver.info() == INFO
    assert next(driver.run([1], 1)) == Token(1, 2)


def test_lost_token():
    begin = encode(Ack(Kind.RUN)) + encode(DONE_OF_THREE)
    generation = scripted(INFO, Ack(Kind.PROMPT), begin).run([1], 1)
    with pytest.raises(DriverError, match="only 0 of 1 generated tokens arrived"):
        list(generation)


def test_lost_end():
    begin = encode(Ack(Kind.RUN)) + encode(Token(7, 8))
    driver = scripted(INFO, Ack(Kind.PROMPT), begin, messages.Status(0, 1))
    generation = driver.run([1], 1)
    assert next(generation) == Token(7, 8)
    with pytest.raises(DriverError, match="ended its run, but not all it said arrived"):
        next(generation)


def test_waits_as_long_as_the_machine_is_busy():
    busy = messages.Status(1, 0)
    last = encode(Token(7, 8)) + encode(DONE_OF_THREE) + encode(messages.Status(0, 1))
    script = [INFO, Ack(Kind.PROMPT), Ack(Kind.RUN), busy, busy, last]
    driver = scripted(*script)
    generation = driver.run([1], 1)
    assert tokens(generation) == [7]
    assert [type(command).__name__ for command in driver._transport.heard[3:]] == ["AskStatus"] * 3
    driver = scripted(*script, patience=0.06)
    with pytest.raises(DriverError, match=r"the machine is still busy after 0\.06 s"):
        list(driver.run([1], 1))


def test_a_simulated_machine_s_time_is_its_cycles(chip, monkeypatch):
    """However long the computer takes: the clock on the wall plays no part."""
    wall = itertools.count(step=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(wall))
    transport = NativeTransport(chip)
    assert tokens(Driver(transport, COUNTERS, patience=500).run([5, 6], 9)) == [5, 6] * 4 + [5]
    begin = chip.cycle
    assert transport.receive(1234) == b""
    assert chip.cycle - begin == 1234
    chip.send(b"\xc5\x05")  # a frame whose end does not come
    begin = chip.cycle
    with pytest.raises(DriverError, match="no answer from the machine within 20 cycles"):
        Driver(transport, COUNTERS, timeout=20).info()
    assert 20 <= chip.cycle - begin < 40


def test_a_simulated_machine_that_is_stuck():
    slow = to_verilog(EchoMachine(pace=100_000))
    with NativeSimulation(slow) as chip:
        driver = Driver(NativeTransport(chip), COUNTERS, timeout=1000, patience=20_000)
        run = driver.run([5], 1)
        with pytest.raises(DriverError, match="the machine is still busy after 20,000 cycles"):
            list(run)
        assert 20_000 < chip.cycle < 25_000
