import random

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.reference.units.softmax import SPAN
from celosia.rtl.mac.group_scales import GroupFormat
from celosia.rtl.machine.fetched import fetched_layout
from celosia.rtl.machine.operand_fetch import OperandFetch
from celosia.rtl.machine.step import BUFFERS, Operand, Region, Source
from celosia.rtl.stream.queue import Queue
from celosia.sim import bench

CACHE, VECTOR = 40, 24  # words in the caches, in the vectors' memories
STARTS, REGIONS = (0, 6, 14), (Region.NORMED, Region.ATTENTION, Region.HIDDEN)


class Surroundings(wiring.Component):
    """An operand fetcher, the memories that it reads, and regions that fill by themselves.

    A region's mark goes back when it is refilled, then rises by 1 every ``pace + 1`` cycles. A
    block's exponent is the number of refills of its region; behind the mark blocks are inverted.
    The tape delivers a word at most every ``gap + 1`` cycles. Beats wait in a queue. The cycles
    without a beat that the fetcher explains are counted.
    """

    def __init__(
        self,
        rows,
        lanes,
        tokens,
        weight_width,
        contents,
        groups=None,
        external=False,
        cached_rows=0,
    ):
        own = {"cached_rows": cached_rows, "wide": 8 * (cached_rows > 0)}
        self.fetch = OperandFetch(
            rows, lanes, tokens, weight_width, groups, external, blocks=VECTOR, **own
        )
        self.contents = contents
        width = weight_width if cached_rows else 8
        fetched = fetched_layout(rows, lanes, tokens, groups, width, cached_rows=cached_rows)
        o = data.StructLayout({"fetched": fetched, "operand": Operand})
        super().__init__(
            {
                "step": self.fetch.signature.members["step"],
                "tape": self.fetch.signature.members["tape"],
                "cached": self.fetch.signature.members["cached"],
                "o": Out(stream.Signature(o)),
                "pace": In(4),
                "gap": In(4),
                "starved": Out(16),
                "waiting": Out(16),
                "crowded": Out(16),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = f = self.fetch
        connect(m, flipped(self.step), f.step)
        connect(m, flipped(self.cached), f.cached)
        m.submodules.beats = beats = Queue(self.o.p.shape(), 4, spare=2)
        connect(m, beats.o, flipped(self.o))
        m.d.comb += [
            beats.i.p.fetched.eq(f.o.p),
            beats.i.p.operand.eq(f.operand),
            beats.i.valid.eq(f.o.valid),
            f.full.eq(beats.nearly_full),
        ]
        with m.If(f.o.valid & ~beats.i.ready):
            m.d.sync += self.lost.eq(1)
        vectors = ("queries", "scores", "activations")
        for name in vectors if f.external_cache else ("keys", "values", *vectors):
            address = f.address if name in ("keys", "values") else f.activation_address
            m.d.comb += getattr(f, name).eq(self._memory(m, name, address))
        largest = data.ArrayLayout(f.largest.shape(), BUFFERS)
        table = Signal(largest, init=self.contents["largest"])
        m.d.comb += f.largest.eq(table[f.buffer])
        self._fill(m)
        self._slow_tape(m)
        with m.If(~f.o.valid & (f.waiting | f.recalling)):
            m.d.sync += self.waiting.eq(self.waiting + 1)
        with m.Elif(~f.o.valid & f.starved):
            m.d.sync += self.starved.eq(self.starved + 1)
        with m.Elif(~f.o.valid & f.crowded):
            m.d.sync += self.crowded.eq(self.crowded + 1)
        return m

    def _memory(self, m, name, address):
        shape, words = getattr(self.fetch, name).shape(), self.contents[name]
        store = memory.Memory(shape=shape, depth=len(words), init=words)
        m.submodules[name] = store
        read = store.read_port()
        m.d.comb += [read.addr.eq(address), read.en.eq(self.fetch.read_en)]
        return read.data

    def _fill(self, m):
        f, ends = self.fetch, [*STARTS[1:], VECTOR]
        clock, refills, inverted = Signal(4), Signal(4), Signal()
        m.d.sync += clock.eq(Mux(clock == self.pace, 0, clock + 1))
        for mark, start, end, region in zip(f.filled, STARTS, ends, REGIONS, strict=True):
            register, count = Signal(8, init=start), Signal(4)
            m.d.comb += [mark.end.eq(register), mark.fresh.eq(register)]
            with m.If(f.refill_en & (f.refill == region)):
                m.d.comb += mark.falls.eq(1)
                m.d.sync += [register.eq(start), count.eq(count + 1)]
            with m.Elif((clock == 0) & (register < end)):
                m.d.comb += mark.moves.eq(1)
                m.d.sync += register.eq(register + 1)
            address = f.activation_address
            with m.If(f.read_en & (address >= start) & (address < end)):
                m.d.sync += [refills.eq(count), inverted.eq(address >= register)]
        for block in f.activations:
            m.d.comb += block.exponent.eq(refills)
            with m.If(inverted):
                m.d.comb += block.mantissa.eq(~0)

    def _slow_tape(self, m):
        f, clock, opened = self.fetch, Signal(4), Signal()
        taken = f.tape.valid & f.tape.ready
        m.d.comb += [
            f.tape.payload.eq(self.tape.payload),
            f.tape.valid.eq(self.tape.valid & (opened | (self.gap == 0))),
            self.tape.ready.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += [clock.eq(1), opened.eq(0)]
        with m.Elif(clock == self.gap):
            m.d.sync += opened.eq(1)
        with m.Else():
            m.d.sync += clock.eq(clock + 1)


def contents(rng, rows, lanes, tokens):
    """What all memories hold."""

    def numbers(n, low, high):
        return [rng.randrange(low, high) for _ in range(n)]

    def operands():
        return [[numbers(lanes, -128, 128) for _ in range(rows)] for _ in range(CACHE)]

    def score():
        exponent = rng.choice([-129, 128, rng.randrange(-20, 20), rng.randrange(-129, 129)])
        return {"power": numbers(lanes, 0, 128), "exponent": exponent}

    scores = [[score() for _ in range(tokens)] for _ in range(VECTOR)]
    most = [max(vector[t]["exponent"] for vector in scores) for t in range(tokens)]
    largest = [[one + b for one in most] for b in range(BUFFERS)]  # no exponent exceeds it
    queries = [[numbers(lanes, -128, 128) for _ in range(tokens)] for _ in range(VECTOR)]
    blocks = [
        [{"mantissa": numbers(lanes, -128, 128), "exponent": 0} for _ in range(tokens)]
        for _ in range(VECTOR)
    ]
    named = {"keys": operands(), "values": operands(), "queries": queries, "scores": scores}
    return named | {"activations": blocks, "largest": largest}


def steps(rng, rows, n, wide=False):
    """Steps of every sort, those of the machine's program."""
    sorts = [  # operand, source, whether it loads, whether it sums, whether it reads a region
        (Operand.TAPE, Source.ACTIVATIONS, 1, 0, False),
        (Operand.TAPE, Source.ACTIVATIONS, 0, 0, True),
        (Operand.KEYS, Source.QUERIES, 0, 0, False),
        (Operand.VALUES, Source.SCORES, 0, 1, False),
        *[(Operand.WIDE, Source.ACTIVATIONS, loads, 0, not loads) for loads in range(2) if wide],
    ]
    for number in range(n):
        operand, source, loads, sums, reads = (
            sorts[number] if number < len(sorts) else rng.choice(sorts)
        )
        words, tiles = rng.choice([1, 1, 2, 5]), rng.choice([1, 1, 2, 3])
        region = rng.randrange(3)
        start = STARTS[region] if reads else 0
        step = {
            "loads": loads,
            "sums": sums,
            "operand": operand,
            "source": source,
            "source_base": start + rng.randrange([*STARTS, VECTOR][region + 1] - start - 4),
            "region": REGIONS[region] if reads else Region.NONE,
            "fills": rng.choice([r for r in Region if not (reads and r == REGIONS[region])]),
            "words": words,
            "tiles": tiles,
            "stride": rng.randrange(6),
            "address": rng.randrange(CACHE - 16),
            "buffer": rng.randrange(BUFFERS) if sums else 0,
            "row": rng.randrange(rows),
            "planes": int(operand == Operand.TAPE and words > 1 and rng.random() < 0.3),
        }
        yield step | ({"source_base": rng.randrange(VECTOR - 4)} if not reads else {})


def activations(step, word, held, refills):
    """A beat's blocks; None where no one cares."""
    address = step["source_base"] + word
    if step["loads"]:
        return None
    if step["source"] == Source.QUERIES:
        return held["queries"][address]
    if step["source"] == Source.ACTIVATIONS:
        blocks = held["activations"][address]
        return [block | {"exponent": refills[step["region"]] % 16} for block in blocks]
    blocks = []
    for score, largest in zip(
        held["scores"][address], held["largest"][step["buffer"]], strict=True
    ):
        shift = score["exponent"] - largest + SPAN
        power = score["power"] if shift >= 0 else [0] * len(score["power"])
        blocks.append({"mantissa": power, "exponent": max(shift, 0)})
    return blocks


def beats(step, held, tape, refills, grouped, cached=None):
    """All beats of a step; takes its weights from the iterator ``tape``.

    An external cache's keys and values come from the iterator ``cached``.
    """
    if step["fills"] != Region.NONE:
        refills[step["fills"]] += 1
    for tile in range(step["tiles"]):
        for word in range(step["words"]):
            address = step["address"] + tile * step["stride"] + word
            if step["operand"] in (Operand.TAPE, Operand.WIDE):
                weights = next(tape)
                if grouped:
                    weights, parameters = weights["weights"], weights["parameters"]
            else:
                name = "keys" if step["operand"] == Operand.KEYS else "values"
                weights = held[name][address] if cached is None else next(cached)
                parameters = [{"scale": 1, "offset": 0}] * len(weights)
            upper = int(step["planes"] and word % 2 == 0)
            if upper and grouped:
                parameters = [{"scale": p["scale"] << 3, "offset": 0} for p in parameters]
            attention = step["sums"] and tile == 0
            yield {
                "weights": octets(weights) if step["operand"] == Operand.WIDE else weights,
                "parameters": parameters if grouped else None,
                "upper": upper,
                "activations": activations(step, word >> step["planes"], held, refills),
                "first": int(word == 0),
                "last": int(word == step["words"] - 1),
                "embedding": step["loads"],
                "row": step["row"],
                "sum": int(attention),
                "operand": step["operand"].value,
            }


def octets(weights):
    """A word of the tape, of codes of 4 bits, as int8 of half as many rows."""
    codes = [code & 15 for row in weights for code in row]
    pairs = zip(codes[0::2], codes[1::2], strict=True)
    values = [(low | high << 4) - (high >> 3 << 8) for low, high in pairs]
    lanes = len(weights[0])
    return [values[n : n + lanes] for n in range(0, len(values), lanes)]


def seen_as(payload, expected):
    """A payload of the bench in the form of ``expected``, without what no one cares about."""
    fetched = payload["fetched"]
    blocks = fetched["beat"]["activations"]
    if expected["activations"] is None:
        blocks = None
    elif not isinstance(expected["activations"][0], dict):
        blocks = [block["mantissa"] for block in blocks]
        assert {block["exponent"] for block in fetched["beat"]["activations"]} == {0}
    assert not fetched["sum"] or fetched["sum_last"] == fetched["beat"]["last"]
    beat = fetched["beat"]
    if "cached" in beat:
        assert beat["from_cache"] == (expected["operand"] != Operand.TAPE.value)
        beat = beat | {"weights": beat["cached"] if beat["from_cache"] else beat["weights"]}
    return {
        **{name: beat[name] for name in ("weights", "first", "last")},
        **{name: fetched[name] for name in ("embedding", "row", "sum", "upper")},
        "parameters": fetched["beat"].get("parameters"),
        "activations": blocks,
        "operand": payload["operand"],
    }


@pytest.mark.parametrize(
    ("rows", "lanes", "tokens", "weight_width", "groups", "external", "cached_rows"),
    [
        (4, 2, 3, 8, None, False, 0),
        (3, 4, 1, 3, GroupFormat(3, 4, 4, offsets=True, planes=True), False, 0),
        (4, 2, 3, 8, None, True, 0),
        (4, 2, 2, 4, None, False, 2),
        (6, 4, 1, 4, None, True, 3),
    ],
)
def test_beats_of_each_step(rows, lanes, tokens, weight_width, groups, external, cached_rows):
    rng = random.Random(rows)
    held = contents(rng, cached_rows or rows, lanes, tokens)
    limit = 1 << (weight_width - 1)
    tape = [
        [[rng.randrange(-limit, limit) for _ in range(lanes)] for _ in range(rows)]
        for _ in range(800)
    ]
    if groups:
        tape = [
            {
                "weights": weights,
                "parameters": [
                    {"scale": rng.randrange(256), "offset": rng.randrange(-2048, 2048)}
                    for _ in range(rows)
                ],
            }
            for weights in tape
        ]
    cases, answers = [], []
    for stall, pace, gap in ((0.0, 0, 0), (0.0, 4, 0), (0.0, 0, 3), (0.5, 1, 0), (0.5, 6, 2)):
        some = [*steps(rng, rows, 60, cached_rows > 0)]
        if not cases:  # full speed
            some = [step for step in some if step["region"] == Region.NONE]
        left, cached = iter(tape), None
        inputs = {"step": some, "cached": []}
        if external:
            asking = [s for s in some if s["operand"] in (Operand.KEYS, Operand.VALUES)]
            count = sum(s["tiles"] * s["words"] for s in asking)
            inputs["cached"] = random.Random(count).choices(held["keys"], k=count)
            cached = iter(inputs["cached"])
        refills = dict.fromkeys(Region, 0)
        y = [beat for step in some for beat in beats(step, held, left, refills, groups, cached)]
        inputs["tape"] = tape[: len(tape) - len([*left])]
        case = {"inputs": inputs, "counts": len(y), "stall": stall, "seed": 8}
        cases.append(case | {"settings": {"pace": pace, "gap": gap}})
        answers.append(y)
    sizes = rows, lanes, tokens, weight_width
    component = Surroundings(*sizes, held, groups, external, cached_rows)
    results = bench.run_many(component, cases)
    for result, y in zip(results, answers, strict=True):
        assert [seen_as(p, e) for p, e in zip(result.outputs["o"], y, strict=True)] == y
        assert not result.signals["lost"]
    assert results[0].stream_cycles["o"] == [*range(4, len(answers[0]) + 4)]  # 1 in the queue
    for result, y in zip(results[:3], answers, strict=False):  # nothing else stops the beats
        signals = result.signals
        assert result.last_cycle["o"] == len(y) + 3 + signals["starved"] + signals["waiting"]
        assert signals["crowded"] == 0
    assert results[1].signals["starved"] > 0
    assert results[2].signals["waiting"] > 0
    assert results[3].signals["crowded"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 1, 8), "rows must be from 1 to 1024, not 0"),
        ((4, 65, 1, 8), "lanes must be from 1 to 64, not 65"),
        ((4, 2, 0, 8), "tokens must be from 1 to 64, not 0"),
        ((4, 2, 1, 8, None, False, 0), "blocks must be from 1 to 1048575, not 0"),
        ((4, 2, 1, 9), "weight_width must be from 2 to 8, not 9"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        OperandFetch(*arguments)


def test_wide_operands_that_do_not_fit():
    with pytest.raises(ValueError, match="wide operands of 3 rows do not fit the tape's words"):
        OperandFetch(4, 2, 1, 4, cached_rows=3, wide=8)
