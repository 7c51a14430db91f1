"""A cocotb program: a whole machine, its memories and its host all on AXI, of other hands."""

import cocotb
from axi_memory import reading, watch, writing
from axi_rules import ReadRules, WriteRules
from celosia.protocol.messages import Reason
from celosia.rtl.host.axi_registers import Register
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.sim.bench_cocotb import arguments, reply, start
from celosia.sim.driver import Driver, DriverError
from celosia.sim.register_transport import RegisterTransport
from cocotb.task import bridge, resume
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

BUFFER = 512  # transfers of reads that may be under way


@cocotb.test()
async def talk(dut):
    given = arguments()
    edge = await start(dut, {"rx__valid": 0, "rx__payload": 0, "tx__ready": 0})
    slow = (given["latency"], given["stall"])
    tapes, rules = [], []
    for n, contents in enumerate(given["images"]):
        tapes.append(reading(dut, f"m_axi{n}", bytearray(contents), *slow, n))
        rules.append(ReadRules(given["axi_width"], BUFFER))
        watch(dut, edge, f"m_axi{n}", rules[-1])
    cache = bytearray(given["cache"])
    kv_read = reading(dut, "m_axi_kv", cache, *slow, 8)
    kv_write = writing(dut, "m_axi_kv", cache, *slow, 9)
    for some in (ReadRules(given["kv_width"], BUFFER), WriteRules(given["kv_width"], 16 * 256)):
        rules.append(some)
        watch(dut, edge, "m_axi_kv", some)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)

    words = []
    width = given["logits_width"]

    async def hear_logits():
        while True:
            await edge
            if int(dut.logits__valid.value):
                words.append(int(dut.logits__payload.value) & (1 << width) - 1)

    cocotb.start_soon(hear_logits())

    @resume
    async def get(address):
        return await master.read_dword(int(address))

    @resume
    async def put(address, value):
        await master.write_dword(int(address), value)

    @bridge
    def host():
        transport = RegisterTransport(get, put)
        driver = Driver(transport, COUNTERS, timeout=100.0)
        runs = []
        for prompt, count in given["requests"]:
            run = driver.run(prompt, count)
            tokens = [token.token for token in run]
            runs.append((tokens, run.done.counters, transport.counters(), get(Register.INTERRUPT)))
            put(Register.INTERRUPT, 2)
        # An error of each memory ends its run; the next one is right again.
        faults = []
        prompt, count = given["requests"][0]
        for memory, address, response in (
            (tapes[0], given["tape_byte"], 2),
            (kv_read, given["kv_byte"], 3),
            (kv_write, given["kv_byte"], 2),
        ):
            memory.faults = {address: response}
            run = driver.run(prompt, count)
            try:
                list(run)
            except DriverError:
                faults.append((run.done.reason == Reason.FAULT, get(Register.STATUS)))
            memory.faults = {}
            again = driver.run(prompt, count)
            faults.append(([token.token for token in again], get(Register.STATUS)))
        # The register that stops a run.
        run = driver.run(prompt, given["many"])
        first = next(run).token
        transport.stop()
        rest = [token.token for token in run]
        return runs, faults, (first, rest, run.done.reason == Reason.ABORTED)

    answer = await host()
    for rule in rules:
        rule.finish()
    reply([*answer, [rule.bursts for rule in rules], words])
