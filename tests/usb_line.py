"""A full-speed USB line in Python: packets as bytes, and the states of the two wires."""

__all__ = ["NAMES", "PIDS", "SE0", "DamagedPacket", "J", "K", "decoded", "packet", "states"]

K, J, SE0 = 0b10, 0b01, 0b00  # D- and D+
PIDS = {
    "OUT": 0x1, "IN": 0x9, "SOF": 0x5, "SETUP": 0xD, "DATA0": 0x3, "DATA1": 0xB,
    "ACK": 0x2, "NAK": 0xA, "STALL": 0xE,
}  # fmt: skip
NAMES = {number: name for name, number in PIDS.items()}
SYNC = [0, 0, 0, 0, 0, 0, 0, 1]


class DamagedPacket(AssertionError):
    """What was on the line is no packet."""


def _remainder(bits, width, polynomial):
    crc = (1 << width) - 1
    for bit in bits:
        top = crc >> (width - 1)
        crc = (crc << 1) & ((1 << width) - 1)
        if top ^ bit:
            crc ^= polynomial
    return [1 - (crc >> n & 1) for n in range(width - 1, -1, -1)]  # as they are sent


def _bits(data):
    return [byte >> n & 1 for byte in data for n in range(8)]


def _bytes(bits):
    return bytes(
        sum(bit << n for n, bit in enumerate(bits[k : k + 8])) for k in range(0, len(bits), 8)
    )


def packet(name, data=b"", address=0, endpoint=0, frame=0):
    """A packet's bytes, without SYNC."""
    pid = PIDS[name]
    head = bytes([pid | (pid ^ 15) << 4])
    if name.startswith("DATA"):
        return head + data + _bytes(_remainder(_bits(data), 16, 0x8005))
    if pid & 3 != 1:
        return head
    value = frame if name == "SOF" else address | endpoint << 7
    bits = [value >> n & 1 for n in range(11)]
    return head + _bytes(bits + _remainder(bits, 5, 0x05))


def states(data, sync=SYNC, stuff=True):
    """The states of the line, a bit each, from SYNC to the end: two of SE0, one of J."""
    level, ones, found = J, 0, []
    for bit in [*sync, *_bits(data)]:
        level = level if bit else J + K - level
        found.append(level)
        ones = ones + 1 if bit else 0
        if ones == 6 and stuff:
            level, ones = J + K - level, 0
            found.append(level)
    return [*found, SE0, SE0, J]


def decoded(levels):
    """``(name, data)`` of the line's states, a bit each, before SE0; the CRC is checked."""
    bits, before, ones = [], J, 0
    for level in levels:
        if level not in (J, K):
            raise DamagedPacket(f"the line shows {level:02b}")
        bit = int(level == before)
        before = level
        if ones == 6:
            if bit:
                raise DamagedPacket("seven ones")
            ones = 0
            continue
        ones = ones + 1 if bit else 0
        bits.append(bit)
    if ones == 6:
        raise DamagedPacket("the last bits are not stuffed")
    if bits[:8] != SYNC or len(bits) % 8:
        raise DamagedPacket(f"no packet: {bits}")
    data = _bytes(bits[8:])
    if not data or data[0] & 15 != data[0] >> 4 ^ 15 or data[0] & 15 not in NAMES:
        raise DamagedPacket(f"no identifier: {data.hex()}")
    name, body = NAMES[data[0] & 15], data[1:]
    if name.startswith("DATA"):
        if packet(name, body[:-2]) != data:
            raise DamagedPacket(f"a wrong CRC: {data.hex()}")
        return name, body[:-2]
    if body:
        raise DamagedPacket(f"a device does not send {data.hex()}")
    return name, b""
