"""A cocotb program: an AxiCache writes and reads a memory of cocotbext-axi, by the rules."""

import random
from types import SimpleNamespace

import cocotb
from axi_memory import reading, watch, writing
from axi_rules import ReadRules, WriteRules
from celosia.sim.bench_cocotb import Sink, Source, arguments, reply, start

PATIENCE = 3000
PREFIX = "m_axi_kv"


@cocotb.test()
async def write_and_read(dut):
    given = arguments()
    stall = given["stall"]
    rng = random.Random(7)
    contents = bytearray(given["contents"])
    edge = await start(dut, dict.fromkeys(given["inputs"], 0))
    slow = (given["latency"], stall)
    reads = reading(dut, PREFIX, contents, *slow, 1)
    writes = writing(dut, PREFIX, contents, *slow, 2)
    reads.faults, writes.faults = given["read_faults"], given["write_faults"]
    most_read, most_written = given["most"]
    rules = (
        ReadRules(given["data_width"], most_read),
        WriteRules(given["data_width"], most_written),
    )
    for rule in rules:
        watch(dut, edge, PREFIX, rule)
    pulses = {"written_keys": 0, "written_values": 0, "error": 0}
    words = []
    # Each round: blocks of keys and values at once, and what is read when they were written.
    for blocks, written, recalls, count in given["rounds"]:
        for name in ("keys", "values"):
            blocks[name].reverse()
        expected = {name: pulses[name] + n for name, n in written.items()}
        quiet = 0
        while any(pulses[name] < n for name, n in expected.items()):
            for name in ("keys", "values"):
                some = bool(blocks[name]) and rng.random() >= stall
                getattr(dut, f"{name}__valid").value = int(some)
                if some:
                    getattr(dut, f"{name}__payload").value = blocks[name].pop()
            await edge
            for name in pulses:
                pulses[name] += int(getattr(dut, name).value)
            quiet += 1
            assert quiet < PATIENCE, "keys or values are not written"
        assert all(pulses[name] == n for name, n in expected.items())
        assert blocks == {"keys": [], "values": []}, "written before it was given"
        stream = {"always_valid": False, "always_ready": False}
        steps, operands = (SimpleNamespace(name=n, port=n, **stream) for n in ("recall", "o"))
        source, sink = Source(dut, steps, recalls, stall, 1), Sink(dut, operands, count, stall, 2)
        quiet = 0
        while sink.missing:
            source.drive()
            sink.drive()
            await edge
            pulses["error"] += int(dut.error.value)
            quiet = 0 if source.sample(0) | sink.sample(0) else quiet + 1
            assert quiet < PATIENCE, "operands are missing"
        dut.o__ready.value = 0
        dut.recall__valid.value = 0
        words += sink.payloads
    for rule in rules:
        rule.finish()
    reply(
        {
            "words": words,
            "contents": bytes(contents),
            "errors": pulses["error"],
            "longest": [rule.longest for rule in rules],
            "largest": [rule.largest for rule in rules],
        }
    )
