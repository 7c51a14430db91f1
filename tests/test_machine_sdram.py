"""A machine with its tape in an SDRAM: loaded over the host link, and equal to the reference."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from celosia.generators import plan as planning
from celosia.generators.config import ConfigError, load_config
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.memory.sdram_tape import SdramTape
from celosia.sim import loader
from celosia.sim.driver import DriverError
from celosia.sim.loader import load_memory
from celosia.sim.request import Request
from celosia.sim.simulate import machine_verilog, simulate
from test_machine import logits_of, random_machine

SIZES = (16, 24, 2, 4, 2, 4, 37, 24, True)


@pytest.fixture(scope="module")
def machine():
    plan, simulation, driver = random_machine(SIZES, ("memory=sdram", "weight_width=5"))
    with pytest.raises(DriverError, match="refused run: its memory does not hold the model"):
        driver.run([1, 2, 3], 4)
    image = plan.images()[0]
    assert load_memory(driver, image) == len(image)
    return plan, simulation, driver


def check_run(machine, prompt, count):
    plan, simulation, driver = machine
    simulation.forget()
    run = driver.run(prompt, count)
    expected, logits = integer.generate(plan.model, prompt, count)
    assert [token.token for token in run] == expected
    np.testing.assert_array_equal(logits_of(plan, simulation), logits)


@pytest.mark.parametrize(("prompt", "count"), [([1], 6), ([5, 36, 7, 0, 12], 4), ([3] * 9, 16)])
def test_equals_reference(machine, prompt, count):
    check_run(machine, prompt, count)


def test_checksums(machine):
    plan, _, driver = machine
    image = plan.images()[0].tobytes()
    for address, length in ((0, 2), (6, 1000), (len(image) - 2, 2), (0, len(image))):
        assert driver.checksum(address, length) == zlib.crc32(image[address : address + length])


@pytest.mark.parametrize(
    ("address", "length", "reason"),
    [
        (0, 0, "it names no bytes"),
        (1, 2, "it goes beyond the machine's memory"),
        (0, 3, "it goes beyond the machine's memory"),
        ((1 << 25) - 2, 4, "it goes beyond the machine's memory"),
        ((1 << 32) - 2, (1 << 32) - 2, "it goes beyond the machine's memory"),
    ],
)
def test_refuses_to_look_beyond(machine, address, length, reason):
    driver = machine[2]
    with pytest.raises(DriverError, match=f"the machine refused check: {reason}"):
        driver.checksum(address, length)


def test_refuses_to_load_beyond(machine):
    driver = machine[2]
    for address in (1, (1 << 25) - 2):
        with pytest.raises(DriverError, match="refused to load: it goes beyond the machine's mem"):
            driver.write(address, bytes(4))


def test_loads_only_what_differs(machine, monkeypatch):
    monkeypatch.setattr(loader, "BLOCK", 512)
    plan, _, driver = machine
    image = plan.images()[0].tobytes()
    assert load_memory(driver, image) == 0
    driver.write(514, b"wrong!")
    with pytest.raises(DriverError, match="refused run: its memory does not hold the model"):
        driver.run([1, 2, 3], 4)
    heard = []
    assert load_memory(driver, image, lambda done, total: heard.append(done)) == 512
    assert heard == [*range(512, len(image), 512), len(image), len(image)]
    check_run(machine, [1, 2, 3], 4)


def test_a_truncated_image_is_not_the_tape(machine):
    plan, _, driver = machine
    image = plan.images()[0].tobytes()
    driver.write(len(image) - 8, bytes(8))
    load_memory(driver, image[:-8])
    with pytest.raises(DriverError, match="its memory does not hold the model"):
        driver.run([1, 2, 3], 4)
    assert load_memory(driver, image) == len(image) % loader.BLOCK
    check_run(machine, [1, 2, 3], 4)


class Damage:
    """A transport that spoils some bytes on their way to the machine."""

    def __init__(self, transport, places):
        self.transport = transport
        self.clock = transport.clock
        self.places = places
        self.sent = 0

    def send(self, data):
        data = bytearray(data)
        for place in self.places:
            if self.sent <= place < self.sent + len(data):
                data[place - self.sent] ^= 0x40
        self.sent += len(data)
        self.transport.send(bytes(data))

    def receive(self, timeout):
        return self.transport.receive(timeout)


def test_damage_on_the_way(machine):
    plan, _, driver = machine
    image = plan.images()[0].tobytes()
    driver.write(0, bytes(len(image)))
    good, driver._transport = driver._transport, Damage(driver._transport, (300, 1003))
    try:
        load_memory(driver, image)
    finally:
        driver._transport = good
    check_run(machine, [1, 2, 3], 4)


class Forgetful:
    """A driver of a machine whose memory loses what lies beyond ``size``."""

    def __init__(self, size, later=b""):
        self.memory = bytearray(1 << 12)
        self.size = size
        self.later = later

    def checksum(self, address, length):
        if length == len(self.memory):
            self.memory[: len(self.later)] = self.later
        return zlib.crc32(self.memory[address : address + length])

    def write(self, address, data):
        end = min(address + len(data), self.size)
        self.memory[address:end] = data[: max(0, end - address)]


def test_memory_that_does_not_keep(monkeypatch):
    monkeypatch.setattr(loader, "BLOCK", 1024)
    image = bytes(range(256)) * 16
    match = r"does not keep what is written to it \(bytes 2048 to 3071, 4 times\)"
    with pytest.raises(DriverError, match=match):
        load_memory(Forgetful(3000), image)
    with pytest.raises(DriverError, match="the machine's memory changed while it was loaded"):
        load_memory(Forgetful(4096, b"x"), image)
    assert load_memory(Forgetful(4096), image) == 4096


def test_simulate(machine):
    plan, simulation, _ = machine
    simulation.reset()
    run = simulate(plan, simulation, Request((1, 2), 5))
    assert run.tokens == integer.generate(plan.model, [1, 2], 5)[0]


def test_the_host_loads_what_a_flash_would(machine):
    plan = machine[0]
    booting = replace(plan, config=replace(plan.config, boot="flash"))
    assert "flash" in booting.machine().signature.members
    assert machine_verilog(booting) == machine_verilog(plan)


def test_a_tape_that_the_chip_does_not_hold(monkeypatch):
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size")
    config = ModelConfig(**dict(zip((*names, "seq_len", "tied"), SIZES, strict=True)))
    model = random_model(config, seed=0)
    monkeypatch.setattr(planning, "CAPACITY", 1500)
    planning.make_plan(model, load_config("tiny", ("memory=sdram", "weight_width=4")))
    match = r"memory sdram holds 3,000 bytes, the tape has 4,\d\d\d: choose a smaller model or wei"
    with pytest.raises(ConfigError, match=match):
        planning.make_plan(model, load_config("tiny", ("memory=sdram",)))


def test_a_tape_that_the_flash_does_not_hold(monkeypatch):
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size")
    config = ModelConfig(**dict(zip((*names, "seq_len", "tied"), SIZES, strict=True)))
    monkeypatch.setattr(planning, "FLASH_SIZE", planning.FLASH_OFFSET + 4000)
    match = r"the flash has room for 4,000 bytes, the tape has 4,\d\d\d: load it from the host"
    with pytest.raises(ConfigError, match=match):
        planning.make_plan(
            random_model(config, seed=0), load_config("tiny", ("memory=sdram", "boot=flash"))
        )


@pytest.mark.parametrize(
    ("size", "checksum", "message"),
    [
        (0, 0, "size must be from 1 to 16777216, not 0"),
        ((1 << 24) + 1, 0, "size must be from 1 to 16777216"),
        (1, 1 << 32, "checksum must be from 0 to 4294967295"),
    ],
)
def test_bad_tape(size, checksum, message):
    with pytest.raises(ValueError, match=message):
        SdramTape(16, size, checksum, 80e6)
