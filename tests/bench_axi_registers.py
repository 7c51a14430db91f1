"""A cocotb program: an AxiLiteMaster of cocotbext-axi works the registers, slowly or not."""

import random
from itertools import repeat

import cocotb
from celosia.rtl.host.axi_registers import Register
from celosia.sim.bench_cocotb import arguments, reply, start
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

OKAY, SLVERR = 0, 2


def pauses(rng):
    return (rng.random() < 0.4 for _ in repeat(None))


@cocotb.test()
async def work(dut):
    given = arguments()
    plain = {"busy": 0, "fault": 0, "ended": 0, "open": 1}
    counters = {f"counters__{n}": value for n, value in enumerate(given["counters"])}
    await start(dut, plain | counters)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    if given["slow"]:
        write, read = master.write_if, master.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel)
        for n, channel in enumerate((*channels, read.ar_channel, read.r_channel)):
            channel.set_pause_generator(pauses(random.Random(n)))

    async def get(address, expected=OKAY):
        answer = await master.read(address, 4)
        assert answer.resp == expected, f"{address:#x} was answered with {answer.resp}"
        return int.from_bytes(answer.data, "little")

    async def put(address, value, size=4, expected=OKAY):
        answer = await master.write(address, value.to_bytes(size, "little"))
        assert answer.resp == expected, f"{address:#x} was answered with {answer.resp}"

    assert (await get(Register.IDENTITY)).to_bytes(4, "big") == b"CELO"
    assert await get(Register.N_COUNTERS) == len(given["counters"])
    read = [await get(Register.COUNTERS + 4 * n) for n in range(len(given["counters"]))]
    assert read == given["counters"]
    await get(Register.COUNTERS + 4 * len(read), SLVERR)
    await get(Register.SEND, SLVERR)
    await put(Register.STATUS, 1, expected=SLVERR)
    await put(0xFFC, 1, expected=SLVERR)

    # Bytes there and back.
    assert await get(Register.RECEIVE) == 0
    assert await get(Register.LEVELS) == 256 << 16
    sent = random.Random(1).randbytes(40)
    for byte in sent:
        await put(Register.SEND, byte)
    await ClockCycles(dut.clk, 10)
    assert await get(Register.LEVELS) == 256 << 16 | len(sent)
    heard = [await get(Register.RECEIVE) for _ in sent]
    assert heard == [1 << 31 | byte for byte in sent]
    assert await get(Register.RECEIVE) == 0

    # A full queue refuses, and loses nothing.
    dut.open.value = 0
    for n in range(256):
        await put(Register.SEND, n)
    assert await get(Register.LEVELS) == 0
    await put(Register.SEND, 7, expected=SLVERR)
    dut.open.value = 1
    await ClockCycles(dut.clk, 300)
    assert [await get(Register.RECEIVE) & 0xFF for _ in range(256)] == [*range(256)]
    assert await get(Register.RECEIVE) == 0

    # Control, and strobes: the upper bytes alone change nothing.
    await put(Register.CONTROL, 0b111)
    assert await get(Register.CONTROL) == 0b111
    assert int(dut.claim.value) == 1
    await put(Register.CONTROL + 1, 0, size=3)
    assert await get(Register.CONTROL) == 0b111

    # Status, stop and the interrupt's two causes.
    assert int(dut.interrupt.value) == 0
    await put(Register.STOP, 1)
    assert int(dut.stop.value) == 0  # without a run
    dut.busy.value = 1
    await ClockCycles(dut.clk, 2)
    assert await get(Register.STATUS) == 0b01
    await put(Register.STOP, 1)
    assert int(dut.stop.value) == 1
    dut.fault.value = 1
    dut.ended.value = 1
    await ClockCycles(dut.clk, 1)
    dut.ended.value = 0
    dut.busy.value = 0
    await ClockCycles(dut.clk, 2)
    assert int(dut.stop.value) == 0
    assert int(dut.interrupt.value) == 1
    assert await get(Register.STATUS) == 0b10
    assert await get(Register.INTERRUPT) == 0b10
    await put(Register.SEND, 1)
    await ClockCycles(dut.clk, 10)
    assert await get(Register.INTERRUPT) == 0b11
    await put(Register.INTERRUPT, 0b10)
    assert await get(Register.INTERRUPT) == 0b01
    assert int(dut.interrupt.value) == 1
    await get(Register.RECEIVE)
    await ClockCycles(dut.clk, 2)
    assert int(dut.interrupt.value) == 0
    reply("all")
