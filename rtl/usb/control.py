"""Endpoint 0 of a USB serial port: what hosts ask and set."""

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out
from celosia.rtl.stream.checks import check_range
from celosia.rtl.usb.descriptors import BULK, IN, descriptors
from celosia.rtl.usb.packets import LARGEST, in_port, out_port

__all__ = ["ControlEndpoint"]

REQUEST = data.StructLayout(
    {"kind": 8, "request": 8, "value": 8, "type": 8, "index": 8, "upper": 8, "length": 16}
)
# Requests: what they concern, then what they want.
GET_DEVICE_STATUS, GET_INTERFACE_STATUS, GET_ENDPOINT_STATUS = 0x8000, 0x8100, 0x8200
CLEAR_ENDPOINT_FEATURE, SET_ENDPOINT_FEATURE = 0x0201, 0x0203
GET_DESCRIPTOR, SET_ADDRESS = 0x8006, 0x0005
GET_CONFIGURATION, SET_CONFIGURATION = 0x8008, 0x0009
GET_INTERFACE, SET_INTERFACE = 0x810A, 0x010B
SET_LINE_CODING, GET_LINE_CODING, SET_CONTROL_LINE_STATE = 0x2120, 0xA121, 0x2122
LINE_CODING = bytes([0x00, 0xC2, 0x01, 0x00, 0, 0, 8])  # 115,200 baud, one stop bit, 8 data bits
ZEROS, ONE = (0, 1), (0, 2)  # what is said of states, beside the descriptors, whose types are >= 1


class Stage(enum.Enum, shape=unsigned(3)):
    """Of a request: what is next."""

    IDLE = 0
    DECODE = 1
    REFUSE = 2
    LIMIT = 3
    GIVE = 4
    TAKE = 5
    CONFIRM = 6


class ControlEndpoint(wiring.Component):
    """The standard requests of a device with one configuration, and those of a CDC serial port.

    GET_DESCRIPTOR (device, configuration, strings), GET_STATUS, GET_CONFIGURATION, GET_INTERFACE,
    SET_ADDRESS, SET_CONFIGURATION, SET_INTERFACE, SET_FEATURE and CLEAR_FEATURE of an endpoint's
    halt; SET_LINE_CODING, which is kept and said at GET_LINE_CODING and changes nothing, and
    SET_CONTROL_LINE_STATE. To all others: STALL, until the next SETUP.

    Parameters
    ----------
    contents : dict, optional
        As :func:`celosia.rtl.usb.descriptors.descriptors` gives.

    Members
    -------
    ins, outs : Out(in_port), Out(out_port)
    address : Out(7)
        The device's; changes when SET_ADDRESS is complete.
    listening : Out(1)
        The host is ready for data (DTR).
    in_halted, out_halted : Out(1), Out(1)
        The bulk endpoints.
    in_clear, out_clear : Out(1), Out(1)
        Strobes: their next packets are DATA0.
    """

    ins: Out(in_port)
    outs: Out(out_port)
    address: Out(7)
    listening: Out(1)
    in_halted: Out(1)
    out_halted: Out(1)
    in_clear: Out(1)
    out_clear: Out(1)

    def __init__(self, contents=None):
        contents = {ZEROS: bytes(2), ONE: b"\x01\x00", **(contents or descriptors())}
        self.text = b"".join(contents.values())
        begins = itertools.accumulate(map(len, contents.values()), initial=0)
        self.places = {  # of each its first byte and how many there are
            name: (begin, len(each))
            for begin, (name, each) in zip(begins, contents.items(), strict=False)
        }
        check_range("bytes of descriptors", len(self.text), 1, 256)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        ins, outs = self.ins, self.outs
        setup, stage = Signal(REQUEST), Signal(Stage)
        text, written = Signal(64), Signal(range(9))  # of the packet that comes
        m.d.comb += setup.eq(text)
        with m.If(outs.write & (written != 8)):
            m.d.sync += written.eq(written + 1)
            with m.If(outs.setup):
                m.d.sync += text.eq(Cat(text[8:], outs.data))
        with m.If(outs.begin):
            m.d.sync += written.eq(0)
        with m.If(outs.accepted):
            m.d.sync += outs.toggle.eq(~outs.toggle | outs.setup)
        with m.If(ins.acked):
            m.d.sync += ins.toggle.eq(~ins.toggle)

        giving = self._give(m, setup, stage, written)
        with m.Switch(stage):
            with m.Case(Stage.DECODE):
                m.d.sync += [ins.toggle.eq(1), stage.eq(Stage.REFUSE)]
                self._decode(m, setup, stage, giving)
            with m.Case(Stage.REFUSE):
                m.d.comb += [ins.stall.eq(1), outs.stall.eq(1)]
            with m.Case(Stage.GIVE):
                m.d.comb += [ins.ready.eq(1), outs.ready.eq(1)]
                with m.If(outs.accepted):
                    m.d.sync += stage.eq(Stage.IDLE)
            with m.Case(Stage.TAKE):
                m.d.comb += outs.ready.eq(1)
                with m.If(outs.accepted):
                    m.d.sync += stage.eq(Stage.CONFIRM)
            with m.Case(Stage.CONFIRM):
                m.d.comb += ins.ready.eq(1)
                with m.If(ins.acked):
                    m.d.sync += stage.eq(Stage.IDLE)
                    with m.If(_asks(setup, SET_ADDRESS)):
                        m.d.sync += self.address.eq(setup.value)
        with m.If(outs.accepted & outs.setup):
            m.d.sync += stage.eq(Stage.DECODE)
        return m

    def _give(self, m, setup, stage, written):
        """What is given of: the descriptors or the line coding, from ``first`` on, ``left`` bytes.

        A host that asks for more gets a packet of less than 64 bytes, or of none, last.
        """
        ins, outs = self.ins, self.outs
        m.submodules.rom = rom = Memory(shape=8, depth=len(self.text), init=self.text)
        m.submodules.line = line = Memory(shape=8, depth=8, init=LINE_CODING)
        said, kept, keep = (
            rom.read_port(domain="comb"), line.read_port(domain="comb"), line.write_port()
        )  # fmt: skip
        first, pointer, left = Signal(8), Signal(8), Signal(8)
        coding = Signal()
        m.d.comb += [
            said.addr.eq(pointer),
            kept.addr.eq(pointer),
            keep.addr.eq(written),
            keep.data.eq(outs.data),
            keep.en.eq(outs.write & (stage == Stage.TAKE) & (written < len(LINE_CODING))),
            ins.data.eq(Mux(coding, kept.data, said.data)),
            ins.length.eq(Mux(left < LARGEST, left, LARGEST)),
        ]
        with m.If(ins.poll):
            m.d.sync += pointer.eq(first)
        with m.If(ins.next):
            m.d.sync += pointer.eq(pointer + 1)
        with m.If(ins.acked):
            m.d.sync += [first.eq(pointer), left.eq(left - ins.length)]
        with m.If(outs.accepted & outs.setup):
            m.d.sync += left.eq(0)

        with m.If(stage == Stage.LIMIT):  # to what was asked for
            m.d.sync += stage.eq(Stage.GIVE)
            with m.If(setup.length < left):
                m.d.sync += left.eq(setup.length)

        def give(place, length, is_coding=0):
            m.d.sync += [first.eq(place), left.eq(length), coding.eq(is_coding)]
            m.d.sync += stage.eq(Stage.LIMIT)

        return give

    def _decode(self, m, setup, stage, give):
        """What a request asks for; all that is not here is refused."""
        configured = Signal()
        halted = Mux(setup.index[7], self.in_halted, self.out_halted) & (setup.index[:4] == BULK)

        def agree(*assignments):
            m.d.sync += [*assignments, stage.eq(Stage.CONFIRM)]

        begin_anew = [self.in_clear.eq(1), self.out_clear.eq(1)]
        with m.Switch(Cat(setup.request, setup.kind)):
            with m.Case(GET_DESCRIPTOR), m.Switch(Cat(setup.value, setup.type)):
                for (kind, index), (place, length) in self.places.items():
                    if kind:
                        with m.Case(kind << 8 | index):
                            give(place, length)
            with m.Case(GET_DEVICE_STATUS, GET_INTERFACE_STATUS):
                give(self.places[ZEROS][0], 2)
            with m.Case(GET_ENDPOINT_STATUS):
                give(Mux(halted, self.places[ONE][0], self.places[ZEROS][0]), 2)
            with m.Case(GET_CONFIGURATION):
                give(Mux(configured, self.places[ONE][0], self.places[ZEROS][0]), 1)
            with m.Case(GET_INTERFACE):
                give(self.places[ZEROS][0], 1)
            with m.Case(GET_LINE_CODING):
                give(0, len(LINE_CODING), is_coding=1)
            with m.Case(SET_ADDRESS):
                agree()
            with m.Case(SET_CONFIGURATION), m.If(setup.value[1:] == 0):
                m.d.comb += begin_anew
                halts = self.in_halted.eq(0), self.out_halted.eq(0)
                agree(configured.eq(setup.value[0]), self.listening.eq(0), *halts)
            with m.Case(SET_INTERFACE), m.If(setup.value == 0):
                m.d.comb += begin_anew
                agree()
            with m.Case(CLEAR_ENDPOINT_FEATURE, SET_ENDPOINT_FEATURE), m.If(setup.value == 0):
                agree()
                with m.If(setup.index == IN | BULK):
                    m.d.comb += self.in_clear.eq(1)
                    m.d.sync += self.in_halted.eq(setup.request[1])
                with m.If(setup.index == BULK):
                    m.d.comb += self.out_clear.eq(1)
                    m.d.sync += self.out_halted.eq(setup.request[1])
            with m.Case(SET_LINE_CODING), m.If(setup.length != 0):
                m.d.sync += stage.eq(Stage.TAKE)
            with m.Case(SET_CONTROL_LINE_STATE):
                agree(self.listening.eq(setup.value[0]))


def _asks(setup, request):
    return Cat(setup.request, setup.kind) == request
