"""A USB host in Python: transactions with faults, control transfers, enumeration, bulk streams."""

import struct

from usb_line import packet

__all__ = ["FAULTS", "Stalled", "UsbHost"]

#: What may go wrong, each with a share of the transactions: a packet of the host's is damaged
#: (token, data, or a stuffed bit), its end is cut off, the device's answer or the host's own
#: handshake is lost.
FAULTS = ("token", "data", "stuff", "cut", "deaf", "mute")
TRIES = 400


class Stalled(AssertionError):
    """The device said STALL."""


class UsbHost:
    """Transactions on a :class:`usb_bus.UsbBus`, as a host controller makes them.

    Parameters
    ----------
    bus : usb_bus.UsbBus
    faults : dict of str to float, optional
        The probabilities of ``FAULTS``.
    gap : tuple of float
        The bits that the line idles between packets: from, to.
    """

    def __init__(self, bus, faults=None, gap=(3, 3)):
        self.bus = bus
        self.random = bus.random
        self.faults = faults or {}
        self.gap = gap
        self.address = 0
        self.toggles = {}
        self.frame = 0
        self.counts = dict.fromkeys(FAULTS, 0)

    def fails(self, fault):
        """Whether this goes wrong this time."""
        found = self.random.random() < self.faults.get(fault, 0)
        self.counts[fault] += found
        return found

    async def idle(self):
        """Between packets that no one answers."""
        await self.bus.wait(self.random.uniform(*self.gap))

    async def send(self, name, data=b"", fault=None, **fields):
        """A packet, damaged where ``fault`` or others say so; whether it was whole."""
        text = packet(name, data, **fields)
        if fault and self.fails(fault):
            place = self.random.randrange(8, 8 * len(text))
            text = bytearray(text)
            text[place // 8] ^= 1 << place % 8
            await self.bus.send(bytes(text))
            return False
        if name.startswith("DATA") and data and self.fails("stuff"):
            await self.bus.send(text[:-3] + b"\xff\xff" + text[-1:], stuff=False)
            return False
        if self.fails("cut"):
            await self.bus.send(text[: self.random.randrange(len(text))])
            return False
        await self.bus.send(text)
        return True

    async def token(self, name, endpoint):
        await self.idle()
        return await self.send(name, fault="token", address=self.address, endpoint=endpoint)

    async def start_of_frame(self):
        """SOF, which no device answers."""
        await self.idle()
        await self.bus.send(packet("SOF", frame=self.frame))
        self.frame = (self.frame + 1) % 2048

    async def give(self, endpoint, data, toggle, name="OUT"):
        """One transaction to the device: ``ACK``, ``NAK``, ``STALL``, or None without an answer."""
        whole = await self.token(name, endpoint)
        if not whole:
            await self.idle()
            assert await self.bus.receive() is None
            return None
        await self.bus.wait(self.random.uniform(2, 4))
        whole = await self.send("DATA1" if toggle else "DATA0", data, fault="data")
        answer = await self.bus.receive()
        if not whole:
            assert answer is None, f"the device answers {answer} to a damaged packet"
            return None
        assert answer is not None, f"no answer to {name}"
        return None if self.fails("deaf") else answer[0]

    async def take(self, endpoint, toggle):
        """One transaction from the device: bytes, ``NAK``, ``STALL``, or None: to be repeated."""
        whole = await self.token("IN", endpoint)
        answer = await self.bus.receive()
        if not whole:
            assert answer is None, f"the device answers {answer} to a damaged token"
            return None
        assert answer is not None, "no answer to IN"
        name, data = answer
        if not name.startswith("DATA"):
            return name
        if self.fails("deaf"):
            return None  # as if it had been damaged: no handshake
        again = name != ("DATA1" if toggle else "DATA0")
        if self.fails("mute"):
            # The handshake is lost on its way: the host has the data, the device does not know.
            await self.bus.wait(20)
        else:
            await self.bus.wait(self.random.uniform(2, 4))
            await self.bus.send(packet("ACK"))
        return None if again else data

    async def offer(self, endpoint, data):
        """Send one packet; whether it was taken."""
        toggle = self.toggles.get(endpoint, 0)
        answer = await self._until(self.give, endpoint, data, toggle)
        if answer == "STALL":
            raise Stalled(f"endpoint {endpoint}")
        if answer == "ACK":
            self.toggles[endpoint] = 1 - toggle
        return answer == "ACK"

    async def write(self, endpoint, data):
        """Send one packet until it is taken; how many NAKs that took."""
        for naks in range(TRIES):
            if await self.offer(endpoint, data):
                return naks
        raise AssertionError(f"endpoint {endpoint} takes no data")

    async def read(self, endpoint):
        """One packet, or None where the device has none."""
        toggle = self.toggles.get(endpoint | 0x80, 0)
        answer = await self._until(self.take, endpoint, toggle)
        if answer == "STALL":
            raise Stalled(f"endpoint {endpoint}")
        if answer == "NAK":
            return None
        self.toggles[endpoint | 0x80] = 1 - toggle
        return answer

    async def _until(self, what, *arguments):
        """Repeat a transaction until there is an answer."""
        for _ in range(TRIES):
            answer = await what(*arguments)
            if answer is not None:
                return answer
        raise AssertionError("no answer, however often it is asked")

    async def setup(self, kind, request, value, index, length):
        """The begin of a control transfer."""
        data = struct.pack("<BBHHH", kind, request, value, index, length)
        answer = await self._until(self.give, 0, data, 0, "SETUP")
        assert answer == "ACK", f"SETUP is answered by {answer}"
        self.toggles[0] = self.toggles[0x80] = 1

    async def control_in(self, kind, request, value=0, index=0, length=0):
        """A control transfer that reads."""
        await self.setup(kind, request, value, index, length)
        data = b""
        while True:
            part = await self._patient(0)
            data += part
            if len(part) < 64 or len(data) >= length:
                break
        await self.write(0, b"")
        return data

    async def control_out(self, kind, request, value=0, index=0, data=b""):
        """A control transfer that writes, or has no data."""
        await self.setup(kind, request, value, index, len(data))
        if data:
            await self.write(0, data)
        assert await self._patient(0) == b""
        if (kind, request) == (0, 5):
            self.address = value

    async def _patient(self, endpoint):
        for _ in range(TRIES):
            data = await self.read(endpoint)
            if data is not None:
                return data
        raise AssertionError(f"endpoint {endpoint} gives no data")

    def restarted(self):
        """What a reset of the bus, or another configuration, leaves of toggles and address."""
        self.address = 0
        self.toggles = {}

    async def enumerate(self, address=5):
        """What a host does with a new device; the descriptors that it read, by type and index."""
        await self.bus.reset(10)
        self.restarted()
        found = {}
        first = await self.control_in(0x80, 6, 0x0100, 0, 8)
        assert len(first) == 8
        assert first[7] == 64
        await self.control_out(0x00, 5, address)
        found[1, 0] = await self.control_in(0x80, 6, 0x0100, 0, 18)
        head = await self.control_in(0x80, 6, 0x0200, 0, 9)
        (whole,) = struct.unpack_from("<H", head, 2)
        found[2, 0] = await self.control_in(0x80, 6, 0x0200, 0, whole)
        for index in (0, 1, 2):
            found[3, index] = await self.control_in(0x80, 6, 0x0300 | index, 0x409, 255)
        await self.control_out(0x00, 9, 1)
        self.toggles = {}
        return found

    async def open_port(self, baud=115200):
        """What a driver of serial ports does when a program opens one."""
        coding = struct.pack("<IBBB", baud, 0, 0, 8)
        await self.control_out(0x21, 0x20, 0, 0, coding)
        assert await self.control_in(0xA1, 0x21, 0, 0, 7) == coding
        await self.control_out(0x21, 0x22, 3)

    async def close_port(self):
        await self.control_out(0x21, 0x22, 0)
