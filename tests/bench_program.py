"""A cocotb program for test_bench: multiplies on the component `Affine`."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply, start


@cocotb.test()
async def multiply(dut):
    given = arguments()
    edge = await start(dut, {"factor": given["factor"], "offset": 0, "o__ready": 1, "i__valid": 0})
    results = []
    dut.i__valid.value = 1
    for x in given["x"]:
        dut.i__payload.value = x & 0xFF
        await edge
        results.append(dut.o__payload.value.to_signed())
    reply(results)
