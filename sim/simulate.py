"""A whole machine in simulation, through its host link alone, against the integer reference."""

import hashlib
import importlib.metadata
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from celosia.generators.verilog import to_verilog
from celosia.protocol.refusals import TEMPERATURE_ONE
from celosia.rtl.machine.run_counters import CAUSES, SATURATED
from celosia.sim.cache import cached
from celosia.sim.driver import Driver
from celosia.sim.loader import load_memory
from celosia.sim.native_transport import NativeTransport
from celosia.sim.request import Request
from celosia.sim.state import State

__all__ = [
    "Run",
    "compare",
    "decode_logits",
    "fill_memories",
    "machine_verilog",
    "simulate",
    "summary",
]

BEATS = ("linear", "scores", "values")  # counters of cycles in which the fabric works
FILE_BITS = 1 << 14  # of a memory, beyond which its contents are a file: no tool reads them then
PATIENCE = 5_000_000, 100  # cycles for one token: at least, and for each that is the least possible


def machine_verilog(plan):
    """The folder of ``top.v``, ``to_verilog(plan.machine())``, and of the files that it reads.

    It is kept for the next time.

    A tape that the board's flash would bring is the host's to load: there is no flash beside the
    simulated chip, and its copying would take longer than most runs.

    It is made anew when the plan, a source file of Celosia or the version of Amaranth changes.
    """
    if plan.config.boot == "flash" and plan.config.memory == "sdram":
        plan = replace(plan, config=replace(plan.config, boot="host"))
    digest = hashlib.sha256(plan.info.payload())
    for part in plan.contents:
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(repr((plan.config, plan.shape, plan.program)).encode())
    digest.update(importlib.metadata.version("amaranth").encode())
    root = Path(__file__).parents[1]
    for folder in ("rtl", "generators", "protocol", "reference", "sim"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())

    def build(folder):
        text = to_verilog(plan.machine(), folder=folder, file_bits=FILE_BITS)
        (folder / "top.v").write_text(text)

    return cached(f"verilog-{digest.hexdigest()[:32]}", build)


@dataclass(frozen=True)
class Run:
    """What a machine did.

    Parameters
    ----------
    request : Request
    tokens : list of int
        The generated ones.
    logits : int64[n, vocab_size]
        What the sampler took, for each generated token, in units of ``2**-logit_fraction`` of the
        plan's model.
    passes : list of (position, tokens, end, cycles)
        Each pass over the tape: its first position, how many tokens it served, the cycle of the
        simulation in which it ended, and its cycles since the pass before it.
    counters : dict
        Of the whole run, see :data:`celosia.rtl.machine.run_counters.COUNTERS`.
    simulated_cycles : int
        Of the simulation, the host link's included.
    wall_seconds : float
    stopped : bool
        Whether a stop ended it, before ``request.count`` tokens.
    state : celosia.sim.state.State, optional
        What a recurrent model remembers behind it, if it was asked for.
    """

    request: Request
    tokens: list
    logits: np.ndarray
    passes: list
    counters: dict
    simulated_cycles: int
    wall_seconds: float
    stopped: bool = False
    state: State | None = None

    @property
    def cycles(self):
        """Cycles per position; a pass over several divides its own among them."""
        return [
            total * (n + 1) // group - total * n // group
            for _, group, _, total in self.passes
            for n in range(group)
        ]


def fill_memories(plan, simulation):
    """Give the simulated machine's external memories their contents; how many bytes."""
    size = 0
    for port, image in enumerate(plan.images() if plan.config.memory != "on_chip" else ()):
        size += image.size
        if plan.config.memory == "axi":
            simulation.memory(port, image)
        else:
            simulation.sdram(image)
    if plan.config.kv_memory == "axi":
        simulation.memory("kv", np.zeros(plan.cache_bytes, np.uint8))
        size += plan.cache_bytes
    return size


def _patience(plan, request, size):
    """Cycles in which the next token has long come, from a machine with ``size`` bytes outside."""
    least, slack = PATIENCE
    last = len(request.before) + len(request.prompt) + request.count - 1
    return least + slack * len(request.prompt) * (plan.ideal_cycles(last) + size)


def simulate(
    plan, simulation, request, on_token=lambda token: None, stops=(), state=None, save=False
):
    """Let the simulated machine of ``plan`` carry out ``request``; ``on_token`` hears each token.

    The run ends after one of the tokens ``stops``, and when ``on_token`` gives True.

    Parameters
    ----------
    plan : celosia.generators.plan.Plan
    simulation : celosia.sim.native.NativeSimulation
        With the taps ``logits`` and ``passes``.
    request : Request
    state : celosia.sim.state.State, optional
        What a recurrent model remembers of ``request.before``.
    save : bool
        Ask the machine for what it remembers behind the run.

    Returns
    -------
    Run

    Raises
    ------
    celosia.sim.driver.DriverError
        If the machine refuses, or does not answer within cycles in which any other would have.
    """
    simulation.forget()
    size = fill_memories(plan, simulation)
    patience = _patience(plan, request, size)
    driver = Driver(NativeTransport(simulation), plan.counters, patience=patience)
    if plan.config.memory == "sdram":
        load_memory(driver, plan.images()[0])  # so that the machine knows what it holds
    if state:
        driver.restore(state)
    begin, first_cycle = time.monotonic(), simulation.cycle
    temperature = request.heat / TEMPERATURE_ONE
    generation = driver.run(
        *(request.prompt, request.count, temperature, request.seed),
        stop=sorted(stops),
        start=len(request.before),
    )
    tokens, stopped = [], False
    for token in generation:
        tokens.append(token.token)
        if on_token(token.token):
            generation.stop()
            stopped = True
        stopped = stopped or token.token in stops
    wall_seconds = time.monotonic() - begin
    return Run(
        request=request,
        tokens=tokens,
        logits=decode_logits(plan.shape, simulation.taps("logits")[1])[: len(tokens)],
        passes=_passes(*simulation.taps("passes")),
        counters=generation.done.counters,
        simulated_cycles=simulation.cycle - first_cycle,
        wall_seconds=wall_seconds,
        stopped=stopped,
        state=driver.save() if save else None,
    )


def decode_logits(shape, payload):
    """The logits in a tap's words uint8[n, octets]: int64[passes, vocab_size].

    Each pass gives its words in order; lanes beyond the vocabulary are left out.
    """
    words = -(-shape.vocab_size // shape.lanes)
    octets = payload[:, : 3 * shape.lanes].reshape(-1, shape.lanes, 3).astype(np.int64)
    values = octets @ np.array([1, 1 << 8, 1 << 16])
    values = np.where(values >= 1 << 23, values - (1 << 24), values)
    complete = len(values) // words * words
    return values[:complete].reshape(-1, words * shape.lanes)[:, : shape.vocab_size]


def _passes(ends, payload):
    """:attr:`Run.passes`, from the tap: position (20 bits), group - 1 (8), cycles (32)."""
    passes = []
    for end, octets in zip(ends.tolist(), payload, strict=True):
        bits = int.from_bytes(octets.tobytes(), "little")
        cycles = end - passes[-1][2] if passes else (bits >> 28) + 1
        passes.append((bits & 0xFFFFF, (bits >> 20 & 0xFF) + 1, end, cycles))
    return passes


def compare(plan, run):
    """The reference's tokens and logits for the run's request: ``(list, int64[n, vocab_size])``."""
    request = run.request
    count = len(run.tokens) if run.stopped else request.count
    return plan.generate((*request.before, *request.prompt), count, request.heat, request.seed)


def summary(plan, run, reference):
    """The result of a simulation, as ``celosia simulate --json`` writes it.

    Position by position, from the prompt's first to the last that was computed: ``cycles`` and
    ``ideal_cycles``. ``utilisation`` is their quotient over the passes that gave tokens,
    ``prefill_cycles`` the sum over the prompt. ``overhead`` says where the difference between
    all cycles and all ideal ones went: ``edges`` are beats whose multipliers were not all of use,
    the rest are counters of cycles without a beat. ``saturated`` are the machine's counts of what
    reached the limits of its format.

    Parameters
    ----------
    plan : celosia.generators.plan.Plan
    run : Run
    reference : (list, int64[n, vocab_size])
        Of :func:`compare`.
    """
    prompt, first = run.request.prompt, len(run.request.before)
    n_prompt = len(prompt)
    cycles = run.cycles
    ideal = [plan.ideal_cycles(first + n, logits=n >= n_prompt - 1) for n in range(len(cycles))]
    counters = run.counters
    overhead = {"serial": sum(cycles) - sum(ideal)}  # of a machine that does not count causes
    if set(BEATS) <= set(counters):
        overhead = {"edges": sum(counters[name] for name in BEATS) - sum(ideal)}
        overhead |= {name: counters[name] for name in CAUSES if name not in BEATS}
        # The last token's way to the host comes after the last pass, and is nobody's.
        overhead["control"] -= counters["cycles"] - sum(cycles)
    tokens, logits = reference
    return {
        "model": plan.info.name,
        "config": asdict(plan.config),
        "prompt_tokens": list(prompt),
        "tokens": run.tokens,
        "reference_tokens": tokens,
        "matches_reference": run.tokens == tokens,
        "logits_match": np.array_equal(run.logits, logits),
        "cycles": cycles,
        "ideal_cycles": ideal,
        "utilisation": sum(ideal[n_prompt - 1 :]) / sum(cycles[n_prompt - 1 :]),
        "prefill_cycles": sum(cycles[:n_prompt]),
        "multipliers": plan.shape.multipliers,
        "overhead": overhead,
        "saturated": {
            name.removeprefix("saturated_"): counters[name]
            for name in SATURATED
            if name in counters
        },
        "wall_seconds": run.wall_seconds,
        "simulated_cycles_per_second": run.simulated_cycles / run.wall_seconds,
    }
