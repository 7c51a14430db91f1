"""A cocotb program: an AxiTape reads runs from memories of cocotbext-axi, by the rules."""

from types import SimpleNamespace

import cocotb
from axi_memory import reading, watch
from axi_rules import ReadRules
from celosia.sim.bench_cocotb import Sink, Source, arguments, reply, start

PATIENCE = 5000


@cocotb.test()
async def read_runs(dut):
    given = arguments()
    stall = given["stall"]
    stream = {"always_valid": False, "always_ready": False}
    source = Source(dut, SimpleNamespace(name="run", port="run", **stream), given["runs"], stall, 1)
    sink = Sink(dut, SimpleNamespace(name="o", port="o", **stream), given["count"], stall, 2)
    memories, rules = [], []
    edge = await start(dut, {"run__valid": 0, "o__ready": 0})
    for n, contents in enumerate(given["contents"]):
        prefix = f"m_axi{n}"
        memory = reading(dut, prefix, bytearray(contents), given["latency"], stall, n)
        memory.faults = given["faults"] if n == 0 else {}
        memories.append(memory)
        rules.append(ReadRules(given["data_width"], given["most"]))
        watch(dut, edge, prefix, rules[-1])
    errors = quiet = 0
    while quiet < (40 if not sink.missing else PATIENCE):
        source.drive()
        sink.drive()
        await edge
        moved = source.sample(0) | sink.sample(0)
        errors += int(dut.error.value)
        quiet = 0 if moved else quiet + 1
    for rule in rules:
        rule.finish()
    reply(
        {
            "words": sink.payloads,
            "errors": errors,
            "bursts": [rule.bursts for rule in rules],
            "largest": [rule.largest for rule in rules],
            "longest": [rule.longest for rule in rules],
        }
    )
