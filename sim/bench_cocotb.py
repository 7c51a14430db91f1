"""The half of the test bench that runs inside the simulator, as a cocotb test.

A program of one's own (:func:`celosia.sim.bench.run_program`) gets what it was given with
:func:`arguments` and hands back a result with :func:`reply`.
"""

import os
import pickle
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

__all__ = ["arguments", "reply", "start"]

DRAIN = 16
PATIENCE = 10_000


def arguments():
    """What the caller passed to the simulation."""
    return pickle.loads(Path(os.environ["CELOSIA_ARGUMENTS"]).read_bytes())


def reply(value):
    """Hand `value` back to the caller."""
    Path(os.environ["CELOSIA_REPLY"]).write_bytes(pickle.dumps(value))


class Failure(Exception):
    """A rule of streams was broken, or the component hangs."""


async def start(dut, inputs=()):
    """Start the clock, hold `inputs` (a dict by port) and reset; returns the trigger of a cycle.

    After ``await`` of the trigger, reads give the values just before the clock edge, and writes
    take effect just after it.
    """
    clocked = hasattr(dut, "clk")
    if clocked and not start.running:
        Clock(dut.clk, 2, unit="step").start(start_high=False)
        start.running = True
    edge = RisingEdge(dut.clk) if clocked else Timer(2, unit="step")
    for name, value in dict(inputs).items():
        getattr(dut, name).value = value
    if hasattr(dut, "rst"):
        dut.rst.value = 1
        await edge
        await edge
        dut.rst.value = 0
    return edge


start.running = False


class Source:
    """Offers a list of payloads on an input stream, with random gaps."""

    def __init__(self, dut, stream, payloads, stall, seed):
        self.name = stream.name
        self.payload = getattr(dut, stream.port + "__payload", None)
        self.valid = None if stream.always_valid else getattr(dut, stream.port + "__valid")
        self.ready = None if stream.always_ready else getattr(dut, stream.port + "__ready")
        self.payloads = payloads
        self.stall = stall
        self.random = random.Random(f"{seed} {stream.name}")
        self.offering = False
        self.cycles = []

    def drive(self):
        """Decide what to offer in the next cycle."""
        left = len(self.cycles) < len(self.payloads)
        if not self.offering and left:
            gap = self.valid is not None and self.stall and self.random.random() < self.stall
            if not gap:
                self.offering = True
                if self.payload is not None:
                    self.payload.value = self.payloads[len(self.cycles)]
        if self.valid is not None and self.shown != self.offering:
            self.valid.value = self.shown = int(self.offering)

    shown = None

    def sample(self, cycle):
        """Note whether the component takes the offer at this clock edge."""
        ready = 1 if self.ready is None else bit(self.ready, self.name)
        if self.offering and ready:
            self.offering = False
            self.cycles.append(cycle)
            return True
        return False

    @property
    def missing(self):
        return len(self.payloads) - len(self.cycles)


class Sink:
    """Takes payloads from an output stream, at random, and watches the stream's rules."""

    def __init__(self, dut, stream, count, stall, seed):
        self.name = stream.name
        self.payload = getattr(dut, stream.port + "__payload", None)
        self.valid = None if stream.always_valid else getattr(dut, stream.port + "__valid")
        self.ready = None if stream.always_ready else getattr(dut, stream.port + "__ready")
        self.free = stream.always_valid and stream.always_ready
        self.count = count
        self.stall = stall
        self.random = random.Random(f"{seed} {stream.name}")
        self.taking = True
        self.waiting = False
        self.pending = None
        self.offered = False
        self.payloads = []
        self.cycles = []

    shown = None

    def drive(self):
        """Decide whether to be ready in the next cycle.

        With stalls, one payload in four is awaited with `ready` low, so that a component whose
        `valid` waits for `ready` hangs.
        """
        if self.ready is None:
            return
        take = True
        if self.stall:
            take = not (self.waiting and not self.offered) and self.random.random() >= self.stall
        if self.shown != take:
            self.ready.value = self.shown = int(take)
        self.taking = take

    def sample(self, cycle):
        """Note whether a payload is taken at this clock edge."""
        if self.valid is not None and not bit(self.valid, self.name):
            if self.pending is not None:
                raise Failure(f"{self.name}: an offer was withdrawn in cycle {cycle}")
            self.offered = False
            return False
        value = 0 if self.payload is None else word(self.payload, self.name)
        if self.pending is not None and value != self.pending:
            raise Failure(
                f"{self.name}: an offer was changed in cycle {cycle}, "
                f"from {self.pending:#x} to {value:#x}"
            )
        if not self.taking:
            self.pending = value
            self.offered = True
            return False
        self.pending = None
        self.offered = False
        self.waiting = bool(self.stall) and self.random.random() < 0.25
        if self.count is not None and len(self.payloads) >= self.count:
            if self.valid is None:
                return False
            raise Failure(
                f"{self.name}: one payload too many after {self.count}, {value:#x} in cycle {cycle}"
            )
        self.payloads.append(value)
        self.cycles.append(cycle)
        return self.count is not None

    @property
    def missing(self):
        return 0 if self.count is None else self.count - len(self.payloads)


def bit(handle, name):
    """A one-bit port's value."""
    value = str(handle.value)
    if value not in ("0", "1"):
        raise Failure(f"{name}: valid or ready is undefined ({value})")
    return value == "1"


def word(handle, name):
    """A port's value."""
    text = str(handle.value)
    try:
        return int(text, 2)
    except ValueError:
        raise Failure(f"{name}: the payload is undefined ({text})") from None


async def run_case(dut, streams, case):
    """Run one case from reset to its end; returns what every stream and plain output did."""
    stall, seed = case["stall"], case["seed"]
    sources = [Source(dut, s, case["inputs"][s.name], stall, seed) for s in streams if not s.output]
    sinks = [Sink(dut, s, case["counts"][s.name], stall, seed) for s in streams if s.output]
    idle = {source.valid._name: 0 for source in sources if source.valid is not None}
    idle |= {sink.ready._name: 0 for sink in sinks if sink.ready is not None}
    ends = [*sources, *sinks]
    edge = await start(dut, case["settings"] | idle)
    limit = case["max_cycles"]
    cycle = last = 0
    finish = None
    while finish is None or cycle < finish:
        for end in ends:
            end.drive()
        await edge
        moved = False
        for end in ends:
            moved |= end.sample(cycle)
        if moved:
            last = cycle
        if finish is None:
            if not any(end.missing for end in ends):
                finish = cycle + 1 + DRAIN + case["after"]
            elif limit is None and cycle - last >= PATIENCE:
                raise Failure(stuck(f"deadlock, nothing moves since cycle {last}", ends))
            elif limit is not None and cycle + 1 >= limit:
                raise Failure(stuck(f"not done after {limit} cycles", ends))
        cycle += 1
    for sink in sinks:
        if sink.count is not None and sink.pending is not None and sink.valid is not None:
            raise Failure(
                f"{sink.name}: one payload too many after {sink.count}, offered at the end"
            )
    return {
        "payloads": {sink.name: sink.payloads for sink in sinks},
        "cycles": {end.name: end.cycles for end in ends},
        "signals": {name: word(getattr(dut, name), name) for name in case["signals"]},
    }


def stuck(what, ends):
    """Say which streams still wait."""
    lines = [f"{what}; waiting:"]
    for end in ends:
        if end.missing:
            done, verb = len(end.cycles), "took" if isinstance(end, Source) else "gave"
            lines.append(f"  {end.name} {verb} {done} of {done + end.missing} payloads")
    return "\n".join(lines)


@cocotb.test()
async def run_cases(dut):
    """Run the cases of one :func:`celosia.sim.bench.run_many`, up to the first that fails."""
    job = arguments()
    results = []
    for case in job["cases"]:
        try:
            results.append(await run_case(dut, job["streams"], case))
        except Failure as failure:
            results.append({"failure": str(failure)})
            break
    reply(results)
