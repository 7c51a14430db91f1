"""What a host does with a USB serial port: enumeration, requests, streams, faults, resets."""

from cocotb.triggers import Timer
from usb_host import Stalled
from usb_line import packet
from usb_stand import digest, source_bytes

__all__ = ["SCENARIOS"]

NOTIFY, BULK = 1, 2
FRAME = 12_000  # bits in a millisecond
PACKET = 660  # bits of a transaction of 64 bytes and of what is between, at most


async def enumeration(dut, host):
    """The descriptors, and how long the answers took."""
    assert int(dut.attached.value) == 1
    found = await host.enumerate()
    await host.open_port()
    return {"descriptors": found, "answers": host.bus.answers}


async def refused(host, *request, length=64):
    """That the device answers a control transfer by STALL."""
    try:
        await host.control_in(*request, length=length)
    except Stalled:
        return
    raise AssertionError(f"{request} was not refused")


async def requests(dut, host):
    """What hosts ask beside, and what no such device has."""
    await host.enumerate()
    assert await host.control_in(0x80, 0, 0, 0, 2) == bytes(2)
    assert await host.control_in(0x81, 0, 0, 0, 2) == bytes(2)
    assert await host.control_in(0x80, 8, 0, 0, 1) == b"\x01"
    assert await host.control_in(0x81, 10, 0, 1, 1) == b"\x00"
    assert len(await host.control_in(0x80, 6, 0x200, 0, 64)) == 64  # a whole packet, and no more
    assert len(await host.control_in(0x80, 6, 0x200, 0, 4096)) == 75
    await host.control_out(0x01, 11, 0, 1)
    await host.setup(0x80, 6, 0x200, 0, 75)  # given up before any of it is read
    await host.write(0, b"")
    await host.setup(0x80, 6, 0x200, 0, 75)  # given up for another one
    await host.control_out(0x00, 9, 1)
    host.toggles = {0: 1, 0x80: 1}
    await refused(host, 0x80, 6, 0x600, 0)  # a device qualifier, of high speed
    await refused(host, 0x80, 6, 0xF00, 0)
    await refused(host, 0x80, 6, 0x303, 0x409)
    await refused(host, 0xC0, 1, 0, 0)
    await refused(host, 0x80, 6, 0x201, 0)
    for kind, request, value in ((0, 9, 2), (1, 11, 1), (0x21, 0x23, 9), (0x00, 3, 1)):
        try:
            await host.control_out(kind, request, value)
        except Stalled:
            continue
        raise AssertionError(f"{kind:02x} {request:02x} was not refused")
    assert await host.read(NOTIFY) is None
    for endpoint in (BULK, 0x80 | BULK):  # a halt, and its end
        await host.control_out(0x02, 3, 0, endpoint)
        assert await host.control_in(0x82, 0, 0, endpoint, 2) == b"\x01\x00"
        try:
            await (host.read(BULK) if endpoint & 0x80 else host.write(BULK, b"x"))
            raise AssertionError("a halted endpoint goes on")
        except Stalled:
            pass
        await host.control_out(0x02, 1, 0, endpoint)
        assert await host.control_in(0x82, 0, 0, endpoint, 2) == bytes(2)
        host.toggles.pop(endpoint, None)
    await host.open_port(3_000_000)
    await host.write(BULK, b"hello")
    assert await take(host, 5) == b"hello"
    assert await host.control_in(0x80, 6, 0x100, 0, 18)
    await host.control_out(0x00, 9, 0)
    assert await host.control_in(0x80, 8, 0, 0, 1) == b"\x00"


async def take(host, count, patience=2000):
    """``count`` bytes of the stream; no more come."""
    data, naks = b"", 0
    while len(data) < count:
        part = await host.read(BULK)
        naks = naks + 1 if part is None else 0
        assert naks < patience, f"{len(data)} bytes came of {count}"
        data += part or b""
    return data


async def others(dut, host):
    """What is not for this device, or no packet at all, gets no answer."""
    await host.enumerate(17)
    bus = host.bus
    strange = [
        packet("IN", address=18),
        packet("IN", address=17, endpoint=3),
        packet("SOF", frame=17),
        packet("SETUP", address=17, endpoint=2),
        packet("ACK"),
        packet("IN", address=17) + b"\x00",
        packet("IN", address=17)[:2],
        b"\x4b",
        b"",
        bytes(3),
        packet("DATA0", bytes(8)),  # without a token
    ]
    for text in strange:
        await bus.wait(4)
        await bus.send(text)
        assert await bus.receive() is None, text.hex()
    await bus.send(packet("OUT", address=18, endpoint=BULK))
    await bus.wait(3)
    await bus.send(packet("DATA0", b"not yours"))
    assert await bus.receive() is None
    await bus.send(packet("OUT", address=17, endpoint=BULK))
    await bus.wait(40)  # too late
    await bus.send(packet("DATA0", b"too late"))
    assert await bus.receive() is None
    await bus.send(packet("OUT", address=17, endpoint=BULK))
    await bus.wait(3)
    await bus.send(packet("DATA0", bytes(65)))  # too long
    assert await bus.receive() is None
    await host.open_port()
    await host.write(BULK, b"mine")
    assert await take(host, 4) == b"mine"


async def echo(dut, host, count=1000, longest=64, reset_at=None):
    """Random bytes in packets of random lengths come back; none is lost, none comes twice."""
    await host.enumerate()
    await host.open_port()
    chosen = host.random
    sent, heard, part, naks, empty = b"", b"", None, 0, 0
    while len(heard) < count:
        if reset_at is not None and len(heard) >= reset_at:
            reset_at = None
            await host.enumerate(9)
            await host.open_port()
            sent, heard, part = b"", b"", None
            while True:  # what was on its way
                await Timer(100, "us")
                if await host.read(BULK) is None:
                    break
        if len(sent) < count and chosen.random() < 0.6:
            if part is None:
                part = chosen.randbytes(min(chosen.choice((0, 1, 63, longest)), count - len(sent)))
            if await host.offer(BULK, part):
                sent, part = sent + part, None
            else:
                naks += 1
        else:
            back = await host.read(BULK)
            empty = empty + 1 if back is None else 0
            assert empty < 3000, f"{len(heard)} of {len(sent)} bytes came back"
            heard += back or b""
        if chosen.random() < 0.1:
            await host.start_of_frame()
        assert sent.startswith(heard), (sent.hex(), heard.hex())
    assert heard == sent
    return {"naks": naks, "faults": host.counts, "answers": host.bus.answers}


async def rate_in(dut, host, frames=2):
    """Bytes that a host takes in full frames, and what it saw of them."""
    await host.enumerate()
    await host.open_port()
    dut.go.value = 1
    await Timer(20, "us")
    data, used = b"", []
    for _ in range(frames):
        begin = host.bus.now()
        await host.start_of_frame()
        before = len(data)
        while host.bus.now() - begin < (FRAME - PACKET) * host.bus.bit:
            data += await host.read(BULK) or b""
        used.append(len(data) - before)
        await Timer(round(begin + FRAME * host.bus.bit - host.bus.now()), "ps")
    assert data == source_bytes(len(data))
    return {"bytes": used}


async def rate_out(dut, host, frames=2):
    """Bytes that a host gives in full frames."""
    await host.enumerate()
    await host.open_port()
    data, used, naks = b"", [], 0
    for _ in range(frames):
        begin = host.bus.now()
        await host.start_of_frame()
        before = len(data)
        while host.bus.now() - begin < (FRAME - PACKET) * host.bus.bit:
            part = host.random.randbytes(64)
            naks += await host.write(BULK, part)
            data += part
        used.append(len(data) - before)
        await Timer(round(begin + FRAME * host.bus.bit - host.bus.now()), "ps")
    await Timer(50, "us")
    assert int(dut.count.value) == len(data)
    assert int(dut.digest.value) == digest(data)
    return {"bytes": used, "naks": naks}


async def conversation(dut, host, talk=()):
    """What a machine says: each of ``talk`` is sent when all bytes expected before have come."""
    await host.enumerate()
    await host.open_port()
    heard = b""
    for data, expect in talk:
        for begin in range(0, len(data), 64):
            await host.write(BULK, data[begin : begin + 64])
        heard += await take(host, expect - len(heard))
    return heard


async def pauses(dut, host):
    """Whole packets end with one without bytes; what nobody listens to is dropped."""
    await host.enumerate()
    await host.open_port()
    for length in (64, 128, 63):
        await host.write(BULK, bytes(range(64))[:length])
        if length > 64:
            await host.write(BULK, bytes(range(64)))
        await Timer(100, "us")
        parts = []
        while (part := await host.read(BULK)) is not None:
            parts.append(len(part))
        assert parts == {64: [64, 0], 128: [64, 64, 0], 63: [63]}[length], parts
    await host.close_port()
    for _ in range(6):  # more than there is room for
        await host.write(BULK, bytes(64))
        await Timer(30, "us")
    assert await host.read(BULK) is None
    await host.open_port()
    assert await host.read(BULK) is None
    await host.write(BULK, b"again")
    assert await take(host, 5) == b"again"
    await host.bus.wait(36_000 + host.random.random())  # suspended: 3 ms without a frame
    await host.bus.drive(0b10, 2000)  # resumed: K, then an end of low speed
    await host.bus.drive(0b00, 16)
    await host.bus.drive(0b01, 4)
    await host.write(BULK, b"awake")
    assert await take(host, 5) == b"awake"


SCENARIOS = {
    each.__name__: each
    for each in (enumeration, requests, others, echo, rate_in, rate_out, pauses, conversation)
}
