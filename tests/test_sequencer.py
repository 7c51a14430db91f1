import random
from types import SimpleNamespace

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from celosia.rtl.machine.program import Load, Program
from celosia.rtl.machine.sequencer import Sequencer
from celosia.rtl.machine.step import (
    RESOURCES,
    WORD_MEMBERS,
    Operand,
    Region,
    Resource,
    Scalar,
    Source,
)
from celosia.sim import bench

WORK = 11  # cycles from an operation's acceptance to its end
QUEUES = ("fetch", "operation", "scales", "weights", "row_scales", "recall")
WRITES = (0, *(resource.value for resource in Resource))  # what a step may write


class Worked(wiring.Component):
    """A sequencer whose operations end WORK cycles after they were accepted.

    Their ``norm`` is the number of what they write: of a resource, or 0.
    """

    def __init__(self, *arguments):
        self.sequencer = Sequencer(*arguments)
        members = self.sequencer.signature.members
        plain = {name: members[name] for name in ("position", "group", "idle")}
        streams = {name: members[name] for name in ("run", "load", *QUEUES)}
        super().__init__({**streams, **plain, "blocked": Out(16), "dispatching": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = s = self.sequencer
        for name in ("run", "load", *QUEUES):
            connect(m, flipped(getattr(self, name)), getattr(s, name))
        operation = s.operation.p
        ended, retired = Signal(RESOURCES), Signal()
        with m.If(s.operation.valid & s.operation.ready), m.Switch(operation.norm):
            for number, resource in enumerate(WRITES[1:], 1):
                with m.Case(number):
                    m.d.comb += ended.eq(resource)
            with m.Default():
                m.d.comb += retired.eq(1)
        for _ in range(WORK):
            later, later_retired = Signal.like(ended), Signal()
            m.d.sync += [later.eq(ended), later_retired.eq(retired)]
            ended, retired = later, later_retired
        m.d.comb += [s.written.eq(ended), s.retired.eq(retired)]
        m.d.comb += [getattr(self, n).eq(getattr(s, n)) for n in ("position", "group", "idle")]
        for name in ("blocked", "dispatching"):
            count = getattr(self, name)
            m.d.sync += count.eq(count + getattr(s, name))
        return m


def step(rng, writes=0, wide=False, **more):
    """A step of random numbers that writes a resource, or none."""
    told = {name: rng.randrange(1 << shape.width) for name, shape in WORD_MEMBERS.items()}
    return {
        "route": rng.choice(["heads", "values", "residual", "logits"]),
        "name": "layers.0.any",
        "loads": 0,
        "restarts": rng.randrange(2),
        "scalar": rng.choice([*Scalar]),
        "last_token": rng.randrange(2),
        "operand": rng.choice([*Operand] if wide else [*Operand][: Operand.WIDE.value]),
        "source": rng.choice([*Source]),
        "source_base": rng.randrange(1 << 20),
        "region": rng.choice([*Region]),
        "fills": rng.choice([*Region]),
        "words": rng.randrange(1 << 20),
        "tiles": rng.randrange(1 << 20),
        "chunks": rng.randrange(1 << 20),
        "dynamic": {name: rng.randrange(2) for name in ("words", "tiles", "chunks")},
        "address": rng.randrange(1 << 28),
        "stride": rng.randrange(1 << 20),
        "planes": rng.randrange(2),
        "base": rng.randrange(1 << 20),
        "argument": rng.randrange(256),
        "shift": rng.randrange(-128, 128),
        **told,
        "norm": WRITES.index(writes),
        "head": rng.randrange(256),
        "scale_address": rng.randrange(1 << 20),
        "waits": 0,
        "sets": writes,
    } | more


def random_load(rng, **more):
    return Load(
        address=rng.randrange(1 << 20),
        scale_address=rng.randrange(1 << 20),
        words=rng.randrange(1, 1 << 7),
        planes=bool(rng.randrange(2)),
        shift=rng.randrange(-128, 128),
        argument=rng.randrange(256),
        **more,
    )


def random_program(rng, steps, positions=False):
    """A program; with ``positions`` each token brings a row of a second table."""
    loads = [random_load(rng, normed=not positions)]
    if positions:
        loads.append(random_load(rng, position=True, offset=rng.randrange(5), keep=True))
    return Program(
        steps=steps,
        weight_words=(rng.randrange(1, 1 << 27), rng.randrange(1, 1 << 27)),
        scale_words=(rng.randrange(1, 1 << 20), rng.randrange(1, 1 << 20)),
        loads=tuple(loads),
    )


def load_rows(program, rows, lanes, token, place, position):
    """What a token's loads ask for."""
    for number, load in enumerate(program.loads):
        row = position + place + load.offset if load.position else token
        yield from load_row(load, rows, lanes, row, place, number == 0, program.wide)


def load_row(load, rows, lanes, row, place, first, wide):
    """What one load asks for."""
    beats = load.words << load.planes
    yield (
        "fetch",
        {
            "loads": 1,
            "operand": Operand.WIDE if wide else Operand.TAPE,
            "source": Source.ACTIVATIONS,
            "region": Region.NONE,
            "fills": Region.NORMED if first and not place else Region.NONE,
            "words": beats,
            "tiles": 1,
            "planes": int(load.planes),
            "row": row % rows,
        },
    )
    yield (
        "operation",
        {
            "route": 0,
            "loads": 1,
            "restarts": int(load.normed),
            "keep": int(load.keep),
            "normed": int(load.normed),
            "chunks": load.words,
            "single": load.words == 1,
            "argument": load.argument,
            "shift": load.shift,
            "first": place,
            "group": place,
        },
    )
    yield "scales", {"single": 1, "chunks": load.words, "lane": row % lanes}
    yield "weights", {"address": load.address + row // rows * beats, "count": beats}
    yield "row_scales", {"address": load.scale_address + row // lanes, "count": 1}


def dispatch(s, routes, rows, lanes, run, external=False):
    """What a step asks for; only an external cache is asked to recall anything."""
    seen = run["position"] + run["group"] + 1
    words, tiles, chunks = (
        -(-seen // n) if s["dynamic"][name] else s[name]
        for name, n in (("words", lanes), ("tiles", rows), ("chunks", lanes))
    )
    same = {n: s[n] for n in ("loads", "operand", "source", "source_base", "region", "fills")}
    same["sums"] = int(s["scalar"] == Scalar.SUM)
    place = {name: s[name] for name in ("address", "stride", "planes")}
    place["buffer"] = s["argument"] % 4
    yield "fetch", {**same, "words": words, "tiles": tiles, **place}
    names = ("loads", "restarts", "scalar", "base", "argument", "shift", "head", *WORD_MEMBERS)
    same = {n: s[n] for n in names} | {"route": routes.index(s["route"])}
    first = run["group"] if s["last_token"] else 0
    yield (
        "operation",
        {
            **{**same, "chunks": chunks, "single": chunks == 1, "first": first},
            **{"group": run["group"], "wide": int(s["operand"] == Operand.WIDE)},
        },
    )
    steps = int(s["scalar"] == Scalar.QUERY)
    yield "scales", {"steps": steps, "chunks": chunks, "address": s["scale_address"]}
    if external and s["operand"] in (Operand.KEYS, Operand.VALUES):
        same = {n: s[n] for n in ("operand", "address", "stride")}
        yield "recall", {**same, "words": words, "tiles": tiles}


def expected(program, rows, lanes, runs, tokens, external):
    """What every queue gives, members left out being 0, and the steps in the operations' order."""
    queues, order = {name: [] for name in QUEUES}, []
    tokens = iter(tokens)
    for run in runs:
        wanted = []
        for place in range(run["group"] + 1):
            wanted += load_rows(program, rows, lanes, next(tokens), place, run["position"])
            order += [None] * len(program.loads)
        for name, words in (("weights", program.weight_words), ("row_scales", program.scale_words)):
            wanted.append((name, {"address": 0, "count": words[run["logits"]]}))
        for s in program.steps if run["logits"] else program.steps[:-1]:
            wanted += dispatch(s, program.routes, rows, lanes, run, external)
            order.append(s)
        for name, fields in wanted:
            queues[name].append(fields)
    return queues, order


def values(fields, names):
    return {n: getattr(fields.get(n, 0), "value", fields.get(n, 0)) for n in names}


def random_runs(rng, tokens, n):
    """Passes at all sorts of positions, and their tokens."""
    runs = [
        {
            "position": rng.choice([0, 1, 7, 8, rng.randrange(1 << 19)]),
            "group": rng.choice([0, tokens - 1, rng.randrange(tokens)]),
            "logits": rng.randrange(2),
        }
        for _ in range(n)
    ]
    count = sum(run["group"] + 1 for run in runs)
    return runs, [rng.choice([0, rng.randrange(1 << 18)]) for _ in range(count)]


def check_order(result, program, runs, order):
    """No step overtakes a write it waits for, no pass the one before it, no more than 8 steps."""
    cycles = result.stream_cycles
    ends = [cycle + WORK for cycle in cycles["operation"]]
    waited = 0
    for n, s in enumerate(order):
        for earlier, end in zip(order[:n], ends, strict=False):
            if s and earlier and s["waits"] & earlier["sets"]:
                waited += cycles["fetch"][n] - end == 2
                assert cycles["fetch"][n] >= end + 2
        assert n < 8 or cycles["fetch"][n] > cycles["operation"][n - 8]
    starts = iter(cycles["run"][1:])
    count = -1
    for run in runs[:-1]:
        count += len(program.loads) * (run["group"] + 1) + len(program.steps) - 1 + run["logits"]
        assert next(starts) > ends[count]
    return waited


def waiting_steps(rng, wide=False):
    """Steps of an attention, which wait for resources, and others."""
    queries, keys, values = (r.value for r in (Resource.QUERIES, Resource.KEYS, Resource.VALUES))
    scores = [Resource.SCORES0.value << buffer for buffer in range(3)]
    writes = [queries, keys, values, *scores[:2], 0, scores[2], 0, 0, 0, queries, 0, 0]
    waits = [0, 0, 0, 5, 5, 8, 16, 16, 0, 64, 255, 0, 0]
    return [step(rng, w, wide, waits=wait) for w, wait in zip(writes, waits, strict=True)]


@pytest.mark.parametrize(
    ("rows", "lanes", "tokens", "external", "positions", "cached_rows"),
    [
        (8, 4, 3, True, False, 0),
        (2, 2, 1, False, True, 0),
        (12, 4, 3, False, True, 0),
        (6, 2, 1, True, False, 0),
        (16, 2, 2, True, True, 6),
    ],
)
def test_steps_in_order_and_after_what_they_wait_for(
    rows, lanes, tokens, external, positions, cached_rows
):
    """With rows of keys and values there are wide operands, too: all are tiles of those rows."""
    rng = random.Random(rows)
    program = random_program(rng, waiting_steps(rng, cached_rows > 0), positions)
    places = SimpleNamespace(rows=cached_rows or rows, parts=1, paths=1)
    cases, answers = [], []
    for stall in (0.0, 0.5, 0.8):
        runs, loads = random_runs(rng, tokens, 6)
        queues, order = expected(program, places.rows, lanes, runs, loads, external)
        counts = {name: len(queue) for name, queue in queues.items()}
        inputs = {"run": runs, "load": loads}
        cases.append({"inputs": inputs, "counts": counts, "stall": stall, "seed": 4, "after": WORK})
        answers.append((runs, queues, order))
    waited = 0
    component = Worked(program, rows, lanes, tokens, external, None, (), places)
    results = bench.run_many(component, cases)
    for result, (runs, queues, order) in zip(results, answers, strict=True):
        for name, queue in queues.items():
            assert result.outputs[name] == [
                values(fields, payload)
                for fields, payload in zip(queue, result.outputs[name], strict=True)
            ]
        waited += check_order(result, program, runs, order)
        assert result.signals["idle"] == 1
        assert result.signals["position"] == runs[-1]["position"]
        assert result.signals["group"] == runs[-1]["group"]
    assert waited > 0


def test_latency_throughput_and_causes():
    rng = random.Random(1)
    keys = Resource.KEYS.value
    writes, waits = [0] * 6 + [keys, 0, 0, 0], [0] * 7 + [keys, 0, 0]
    steps = [step(rng, w, waits=wait) for w, wait in zip(writes, waits, strict=True)]
    run = {"position": 0, "group": 0, "logits": 1}
    inputs = {"run": [run, run], "load": [1, 2]}
    counts = dict.fromkeys(QUEUES, 22) | {"weights": 4, "row_scales": 4, "recall": 0}
    component = Worked(random_program(rng, steps), 4, 4, 1)
    result = bench.run(component, inputs, counts, after=WORK)
    cycles = result.stream_cycles
    assert cycles["operation"] == cycles["fetch"] == [cycle - 1 for cycle in cycles["scales"]]
    first, second = cycles["run"]
    fetch = cycles["fetch"][:11]
    key = fetch[7]
    assert fetch[0] == first + 3
    assert fetch[1:8] == [*range(key - 12, key + 1, 2)]
    assert fetch[8:] == [key + WORK + 2 + 2 * n for n in range(3)]
    assert second == fetch[-1] + WORK + 3
    assert result.signals["blocked"] == 2 * WORK
    assert result.signals["dispatching"] == 2 * (fetch[-1] - 1 - first)


def test_dividing_takes_a_few_cycles():
    """Rows that are no power of two: each load and each pass waits for a quotient, at most."""
    rng = random.Random(1)
    program = random_program(rng, [step(rng) for _ in range(4)])
    run = {"position": 0, "group": 1, "logits": 1}
    counts = dict.fromkeys(QUEUES, 6) | {"weights": 3, "row_scales": 3, "recall": 0}
    ends = []
    for rows in (4, 12):
        inputs = {"run": [run], "load": [1, 2]}
        result = bench.run(Worked(program, rows, 4, 2), inputs, counts, after=WORK)
        ends.append(result.stream_cycles["fetch"][-1])
    assert ends[0] < ends[1] <= ends[0] + 3 * 7


def test_members_that_no_unit_asks_for_are_not_sent():
    program = random_program(random.Random(0), [{"route": "a", "set": 3}, {"route": "b"}])
    few = {"keep": WORD_MEMBERS["keep"]}
    payload = Sequencer(program, 4, 4, 1, more=few).operation.p.shape()
    assert {name for name, _ in payload} & WORD_MEMBERS.keys() == {"keep"}


PROGRAM = random_program(random.Random(0), [{"route": "a"}, {"route": "b"}])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((random_program(random.Random(0), [{"route": "a"}]), 4, 4, 1), "at least 2 steps, not 1"),
        ((PROGRAM, 6, 4, 1), r"rows must be a multiple of lanes \(4\) to 1024, not 6"),
        ((PROGRAM, 8, 128, 1), "lanes must be a power of two from 1 to 64, not 128"),
        ((PROGRAM, 8, 4, 0), "tokens must be from 1 to 64, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sequencer(*arguments)
