import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.machine.controller import Controller
from celosia.rtl.machine.run_counters import COUNTERS, TURNS, Cause
from celosia.sim import bench
from counted import done_layout

PLACES = 40  # of the token memory
WORK = 5  # cycles from a pass's last load to its end
SETTLE = TURNS + 2  # cycles until the counters have their values
STREAMS = (
    *("prompt", "command", "sampled"),
    *("result", "done", "run", "load", "seed", "passes"),
)


class Loop(wiring.Component):
    """A controller and a sequencer's ``idle``; a pass lasts WORK cycles after its last load.

    ``cause`` is LINEAR from a pass's acceptance to its last load, then DRAIN, CONTROL between. In
    each LINEAR cycle a value of the residual reaches its limits, in each DRAIN cycle 3 activations.
    ``done`` has the counters, which are read one by one, from ``SETTLE`` cycles on.
    """

    def __init__(self, tokens):
        self.controller = Controller(PLACES, tokens)
        members = self.controller.signature.members
        super().__init__(
            {
                **{name: members[name] for name in STREAMS},
                "done": Out(stream.Signature(done_layout(len(COUNTERS)))),
                "abort": In(1),
                "busy": Out(1),
                "temperature": Out(12),
                "busy_cycles": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = c = self.controller
        for name in set(STREAMS) - {"done"}:
            connect(m, flipped(getattr(self, name)), getattr(c, name))
        self._collect(m, c)
        loading, working = Signal(8), Signal(8)
        taken = c.load.valid & c.load.ready
        with m.If(c.run.valid & c.run.ready):
            m.d.sync += loading.eq(c.run.p.group + 1)
        with m.Elif(taken):
            m.d.sync += loading.eq(loading - 1)
            with m.If(loading == 1):
                m.d.sync += working.eq(WORK)
        with m.Elif(working != 0):
            m.d.sync += working.eq(working - 1)
        m.d.comb += [c.cause.eq(Cause.CONTROL), c.idle.eq((loading == 0) & (working == 0))]
        with m.If(loading != 0):
            m.d.comb += [c.cause.eq(Cause.LINEAR), c.saturated[0].eq(1)]
        with m.Elif(working != 0):
            m.d.comb += [c.cause.eq(Cause.DRAIN), c.saturated[1].eq(3)]
        m.d.comb += [c.abort.eq(self.abort), self.busy.eq(c.busy)]
        m.d.comb += self.temperature.eq(c.temperature)
        m.d.sync += self.busy_cycles.eq(self.busy_cycles + c.busy)
        return m

    def _collect(self, m, c):
        """The counters, one by one, then the end of the run."""
        scan, counters = Signal(6), Signal.like(self.done.p.counters)
        m.d.comb += [
            c.number[0].eq(scan - SETTLE),
            self.done.valid.eq(c.done.valid & (scan == SETTLE + len(COUNTERS))),
            self.done.p.reason.eq(c.done.p.reason),
            self.done.p.counters.eq(counters),
            c.done.ready.eq(self.done.valid & self.done.ready),
        ]
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += scan.eq(0)
        with m.Elif(c.done.valid & ~self.done.valid):
            m.d.sync += scan.eq(scan + 1)
            with m.If(scan >= SETTLE):
                m.d.sync += counters[c.number[0]].eq(c.value[0])


def expected(order, memory, tokens, sampled, abort):
    """What a command makes of the token memory; takes what it needs of the iterator `sampled`."""
    out = {name: [] for name in STREAMS[3:]}
    position, left = order["start"], order["length"]
    reason, new = None, None
    out["seed"].append(order["seed"])
    while reason is None:
        group = [new] if not left else memory[position : position + min(left, tokens)]
        logits = left <= tokens
        place = {"position": position, "group": len(group) - 1}
        out["run"].append(place | {"logits": int(logits)})
        out["load"] += group
        out["passes"].append(place)
        position, left = position + len(group), max(left - len(group), 0)
        if logits:
            new = next(sampled)
            out["result"].append(new)
            if new == order["stop"]:
                reason = 1
            elif len(out["result"]) == order["count"]:
                reason = 0
        if abort:
            reason = 2
    out["done"].append(reason)
    return out


def orders(tokens, seed):
    """Commands: a single token, whole groups, one more than those, a stop token met or not."""
    rng = random.Random(seed)
    lengths = [1, tokens, tokens + 1, 2 * tokens, 3 * tokens - 1, rng.randrange(1, 20)]
    for length in lengths:
        yield {
            "start": rng.randrange(PLACES - 20),
            "length": length,
            "count": rng.choice([1, 1, 3, 6]),
            "stop": rng.choice([7, 7, 1 << 19]),
            "temperature": rng.randrange(1 << 12),
            "seed": rng.randrange(1 << 32),
        }


def check(result, commands, runs, memory):
    """Compare payloads, and all counters with the cycles in which the bench saw things happen."""
    outputs, cycles = result.outputs, result.stream_cycles
    for name in ("seed", "run", "load"):
        assert outputs[name] == [payload for run in runs for payload in run[name]]
    seen = dict.fromkeys(STREAMS, 0)
    busy = 0

    def take(name, n=1):
        """Payloads of the stream's next ``n``, and their cycles."""
        start, seen[name] = seen[name], seen[name] + n
        return outputs.get(name, [])[start : seen[name]], cycles[name][start : seen[name]]

    for run in runs:
        _, (began,) = take("command")
        _, (origin,) = take("seed")
        passes, ends = take("passes", len(run["passes"]))
        for pass_, end, previous, place in zip(
            passes, ends, [origin, *ends], run["passes"], strict=False
        ):
            assert pass_ == place | {"cycles": end - previous}
        results, taken = take("result", len(run["result"]))
        with_logits = [end for end, p in zip(ends, run["run"], strict=True) if p["logits"]]
        assert results == [
            {"token": token, "cycles": end - origin}
            for token, end in zip(run["result"], with_logits, strict=True)
        ]
        _, accepted = take("run", len(run["run"]))
        linear = 0
        for place, start in zip(run["run"], accepted, strict=True):
            _, loads = take("load", place["group"] + 1)
            linear += loads[-1] - start
        (done,), (end,) = take("done")
        counters = dict.fromkeys(COUNTERS, 0)
        counters["cycles"] = max([*taken, ends[-1]]) - origin
        counters |= {"linear": linear, "drain": WORK * len(passes)}
        counters["saturated_residual"] = linear
        counters["saturated_activations"] = 3 * counters["drain"]
        counters["control"] = counters["cycles"] - linear - counters["drain"]
        assert dict(zip(COUNTERS, done["counters"], strict=True)) == counters
        assert done["reason"] == run["done"][0]
        busy += end - began
    assert result.signals["busy_cycles"] == busy
    assert result.signals["busy"] == 0
    assert result.signals["temperature"] == commands[-1]["temperature"]


def check_pace(cycles, runs):
    """From a pass's end to the next one's first load 3 cycles, from load to load 2."""
    loads, ends = iter(cycles["load"]), iter(cycles["passes"])
    for run in runs:
        end = None
        for place in run["run"]:
            own = [next(loads) for _ in range(place["group"] + 1)]
            assert end is None or own[0] == end + 3
            assert own == [own[0] + 2 * n for n in range(len(own))]
            end = next(ends)


@pytest.mark.parametrize("tokens", [1, 4])
def test_runs_commands(tokens):
    rng = random.Random(tokens)
    memory = [rng.randrange(1 << 20) for _ in range(PLACES)]
    order = [*range(PLACES)]
    rng.shuffle(order)
    nothing = dict.fromkeys(STREAMS[3:], 0)
    prompt = [{"address": n, "token": memory[n]} for n in order]
    cases = [{"inputs": {"prompt": prompt}, "counts": nothing, "stall": 0.5}]
    checks = []
    for abort in (0, 1):
        for stall in (0.0, 0.5):
            commands = [*orders(tokens, seed=abort + 2)]
            sampled = [rng.choice([rng.randrange(1 << 20), 7]) for _ in range(40)]
            left = iter(sampled)
            runs = [expected(c, memory, tokens, left, abort) for c in commands]
            used = sum(len(run["result"]) for run in runs)
            inputs = {"command": commands, "sampled": sampled[:used]}
            counts = {name: sum(len(run[name]) for run in runs) for name in nothing}
            case = {"inputs": inputs, "counts": counts, "stall": stall, "seed": 6}
            cases.append(case | {"settings": {"abort": abort}})
            checks.append((commands, runs))
    assert {run["done"][0] for _, runs in checks for run in runs} == {0, 1, 2}
    results = bench.run_many(Loop(tokens), cases)[1:]
    for result, (commands, runs) in zip(results, checks, strict=True):
        check(result, commands, runs, memory)
    check_pace(results[0].stream_cycles, checks[0][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "max_seq_len must be from 1 to 1048576, not 0"),
        ((16, 0), "tokens must be from 1 to 64, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Controller(*arguments)
