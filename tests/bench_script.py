"""The cocotb half of ``scripted.play``: sets ports and reads ports, cycle by cycle."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply, start, word


@cocotb.test()
async def play(dut):
    given = arguments()
    edge = await start(dut, dict.fromkeys(given["inputs"], 0))
    seen = []
    for changes in given["cycles"]:
        for port, bits in changes.items():
            getattr(dut, port).value = bits
        await edge
        seen.append({port: word(getattr(dut, port), port) for port in given["outputs"]})
    reply(seen)
