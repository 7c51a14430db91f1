"""What a USB serial port (CDC-ACM) says of itself: its descriptors, as bytes."""

import struct

__all__ = ["BULK", "NOTIFY", "PRODUCT", "VENDOR", "descriptors"]

VENDOR, PRODUCT = 0x1209, 0x0001  # of pid.codes, for tests; not for what is sold
MAKER, NAME = "Celosia", "Celosia machine"
ENGLISH = b"\x09\x04"
NOTIFY, BULK = 1, 2  # the numbers of the endpoints
IN = 0x80
DEVICE, CONFIGURATION, STRING, INTERFACE, ENDPOINT, ASSOCIATION, FUNCTIONAL = 1, 2, 3, 4, 5, 11, 36
COMMUNICATION, DATA = 2, 10  # classes of interfaces


def descriptors(vendor=VENDOR, product=PRODUCT):
    """The descriptors by ``(type, index)``, as the host asks for them: dict of bytes."""
    # USB 2.0, a device of several interfaces that belong together, packets of 64 bytes.
    device = struct.pack("<H4B3H4B", 0x200, 0xEF, 2, 1, 64, vendor, product, 0x100, 1, 2, 0, 1)
    inner = _serial_port()
    # Two interfaces, powered by the bus, 500 mA.
    whole = struct.pack("<H5B", 9 + len(inner), 2, 1, 0, 0x80, 250)
    return {
        (DEVICE, 0): _descriptor(DEVICE, device),
        (CONFIGURATION, 0): _descriptor(CONFIGURATION, whole) + inner,
        (STRING, 0): _descriptor(STRING, ENGLISH),
        (STRING, 1): _descriptor(STRING, MAKER.encode("utf-16-le")),
        (STRING, 2): _descriptor(STRING, NAME.encode("utf-16-le")),
    }


def _serial_port():
    """Interface 0, which notifies, and interface 1, the bytes: an abstract control model."""
    parts = [
        _descriptor(ASSOCIATION, bytes([0, 2, COMMUNICATION, 2, 0, 0])),
        _descriptor(INTERFACE, bytes([0, 0, 1, COMMUNICATION, 2, 0, 0])),
        _descriptor(FUNCTIONAL, b"\x00" + struct.pack("<H", 0x120)),  # version of the class
        _descriptor(FUNCTIONAL, bytes([1, 0, 1])),  # no calls are managed
        _descriptor(FUNCTIONAL, bytes([2, 2])),  # line coding, control line state
        _descriptor(FUNCTIONAL, bytes([6, 0, 1])),  # 0 controls 1
        _descriptor(ENDPOINT, struct.pack("<2BHB", IN | NOTIFY, 3, 8, 16)),
        _descriptor(INTERFACE, bytes([1, 0, 2, DATA, 0, 0, 0])),
        _descriptor(ENDPOINT, struct.pack("<2BHB", BULK, 2, 64, 0)),
        _descriptor(ENDPOINT, struct.pack("<2BHB", IN | BULK, 2, 64, 0)),
    ]
    return b"".join(parts)


def _descriptor(kind, content):
    return bytes([2 + len(content), kind]) + content
