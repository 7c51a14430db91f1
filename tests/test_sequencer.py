import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from celosia.rtl.machine.sequencer import Program, Sequencer
from celosia.rtl.machine.step import RESOURCES, Kind, Operand, Region, Resource, Source
from celosia.sim import bench

WORK = 11  # cycles from an operation's acceptance to its end
QUEUES = ("fetch", "operation", "scales", "weights", "row_scales", "recall")
SETS = {
    Kind.QUERY: Resource.QUERIES.value,
    Kind.KEY: Resource.KEYS.value,
    Kind.VALUE: Resource.VALUES.value,
}


class Worked(wiring.Component):
    """A sequencer whose operations end WORK cycles after they were accepted."""

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
        ended, score = Signal(RESOURCES), Signal(RESOURCES)
        m.d.comb += score.eq(Resource.SCORES0.value << operation.argument[:2])
        retired = Signal()
        with m.If(s.operation.valid & s.operation.ready), m.Switch(operation.kind):
            for kind, resource in SETS.items():
                with m.Case(kind):
                    m.d.comb += ended.eq(resource)
            with m.Case(Kind.SCORE):
                m.d.comb += ended.eq(score)
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


def step(rng, kind, **more):
    return {
        "kind": kind,
        "operand": rng.choice([*Operand]),
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
        "norm": rng.randrange(1024),
        "head": rng.randrange(256),
        "scale_address": rng.randrange(1 << 20),
        "waits": 0,
        "sets": SETS.get(kind, 0),
    } | more


def random_program(rng, steps):
    return Program(
        steps=steps,
        weight_words=(rng.randrange(1, 1 << 27), rng.randrange(1, 1 << 27)),
        scale_words=(rng.randrange(1, 1 << 20), rng.randrange(1, 1 << 20)),
        embedding_address=rng.randrange(1 << 20),
        embedding_scale_address=rng.randrange(1 << 20),
        embedding_words=rng.randrange(1, 1 << 7),
        embedding_planes=bool(rng.randrange(2)),
        embedding_shift=rng.randrange(-128, 128),
        embedding_argument=rng.randrange(256),
    )


def load(program, rows, lanes, token, place):
    """What a token's embedding asks for."""
    words = program.embedding_words
    beats = words << program.embedding_planes
    yield (
        "fetch",
        {
            "kind": Kind.LOAD,
            "operand": Operand.TAPE,
            "source": Source.ACTIVATIONS,
            "region": Region.NONE,
            "fills": Region.NONE if place else Region.NORMED,
            "words": beats,
            "tiles": 1,
            "planes": int(program.embedding_planes),
            "row": token % rows,
        },
    )
    yield (
        "operation",
        {
            "kind": Kind.LOAD,
            "chunks": words,
            "single": words == 1,
            "argument": program.embedding_argument,
            "shift": program.embedding_shift,
            "first": place,
            "group": place,
        },
    )
    yield "scales", {"kind": Kind.LOAD, "chunks": words, "lane": token % lanes}
    address = program.embedding_address + token // rows * beats
    yield "weights", {"address": address, "count": beats}
    address = program.embedding_scale_address + token // lanes
    yield "row_scales", {"address": address, "count": 1}


def dispatch(s, rows, lanes, run, external=False):
    """What a step asks for; only an external cache is asked to recall anything."""
    seen = run["position"] + run["group"] + 1
    words, tiles, chunks = (
        -(-seen // n) if s["dynamic"][name] else s[name]
        for name, n in (("words", lanes), ("tiles", rows), ("chunks", lanes))
    )
    same = {n: s[n] for n in ("kind", "operand", "source", "source_base", "region", "fills")}
    place = {name: s[name] for name in ("address", "stride", "planes")}
    place["buffer"] = s["argument"] % 4
    yield "fetch", {**same, "words": words, "tiles": tiles, **place}
    same = {n: s[n] for n in ("kind", "base", "argument", "shift", "norm", "head")}
    first = run["group"] if s["kind"] == Kind.LOGITS else 0
    yield (
        "operation",
        {**same, "chunks": chunks, "single": chunks == 1, "first": first, "group": run["group"]},
    )
    yield "scales", {"kind": s["kind"], "chunks": chunks, "address": s["scale_address"]}
    if external and s["operand"] != Operand.TAPE:
        same = {n: s[n] for n in ("operand", "address", "stride")}
        yield "recall", {**same, "words": words, "tiles": tiles}


def expected(program, rows, lanes, runs, tokens, external):
    """What every queue gives, members left out being 0, and the steps in the operations' order."""
    queues, order = {name: [] for name in QUEUES}, []
    tokens = iter(tokens)
    for run in runs:
        wanted = []
        for place in range(run["group"] + 1):
            wanted += load(program, rows, lanes, next(tokens), place)
            order.append(None)
        for name, words in (("weights", program.weight_words), ("row_scales", program.scale_words)):
            wanted.append((name, {"address": 0, "count": words[run["logits"]]}))
        for s in program.steps if run["logits"] else program.steps[:-1]:
            wanted += dispatch(s, rows, lanes, run, external)
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


def check_order(result, runs, order):
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
        count += run["group"] + run["logits"] + len(PROGRAM_KINDS)
        assert next(starts) > ends[count]
    return waited


PROGRAM_KINDS = [
    *(Kind.QUERY, Kind.KEY, Kind.VALUE, Kind.SCORE, Kind.SCORE, Kind.ATTENTION),
    *(Kind.SCORE, Kind.ATTENTION, Kind.ADD, Kind.SWIGLU, Kind.QUERY, Kind.ADD, Kind.LOGITS),
]


@pytest.mark.parametrize(
    ("rows", "lanes", "tokens", "external"), [(8, 4, 3, True), (2, 2, 1, False)]
)
def test_steps_in_order_and_after_what_they_wait_for(rows, lanes, tokens, external):
    rng = random.Random(rows)
    waits = [0, 0, 0, 5, 5, 8, 16, 16, 0, 64, 255, 0, 0]
    steps = [step(rng, kind, waits=w) for kind, w in zip(PROGRAM_KINDS, waits, strict=True)]
    for buffer, number in enumerate((3, 4, 6)):
        place = {"argument": 4 * buffer + buffer, "sets": Resource.SCORES0.value << buffer}
        steps[number] = step(rng, Kind.SCORE, waits=waits[number], **place)
    program = random_program(rng, steps)
    cases, answers = [], []
    for stall in (0.0, 0.5, 0.8):
        runs, loads = random_runs(rng, tokens, 6)
        queues, order = expected(program, rows, lanes, runs, loads, external)
        counts = {name: len(queue) for name, queue in queues.items()}
        inputs = {"run": runs, "load": loads}
        cases.append({"inputs": inputs, "counts": counts, "stall": stall, "seed": 4, "after": WORK})
        answers.append((runs, queues, order))
    waited = 0
    results = bench.run_many(Worked(program, rows, lanes, tokens, external), cases)
    for result, (runs, queues, order) in zip(results, answers, strict=True):
        for name, queue in queues.items():
            assert result.outputs[name] == [
                values(fields, payload)
                for fields, payload in zip(queue, result.outputs[name], strict=True)
            ]
        waited += check_order(result, runs, order)
        assert result.signals["idle"] == 1
        assert result.signals["position"] == runs[-1]["position"]
        assert result.signals["group"] == runs[-1]["group"]
    assert waited > 0


def test_latency_throughput_and_causes():
    rng = random.Random(1)
    kinds = [Kind.ADD] * 6 + [Kind.KEY, Kind.SWIGLU, Kind.ADD, Kind.LOGITS]
    waits = [0] * 7 + [Resource.KEYS.value, 0, 0]
    steps = [step(rng, kind, waits=w) for kind, w in zip(kinds, waits, strict=True)]
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


PROGRAM = random_program(random.Random(0), [{}, {}])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((random_program(random.Random(0), [{}]), 4, 4, 1), "at least 2 steps, not 1"),
        ((PROGRAM, 6, 4, 1), "rows must be a power of two from 1 to 1024, not 6"),
        ((PROGRAM, 8, 128, 1), "lanes must be a power of two from 1 to 64, not 128"),
        ((PROGRAM, 8, 4, 0), "tokens must be from 1 to 64, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sequencer(*arguments)
