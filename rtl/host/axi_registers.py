"""The register port: the host's bytes, status, counters and an interrupt behind AXI4-Lite."""

import enum

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range

__all__ = ["IDENTITY", "PREFIX", "AxiRegisters", "Register", "register_pins"]

PREFIX = "s_axi_"
IDENTITY = int.from_bytes(b"CELO", "big")
ADDRESS_WIDTH = 12
DEPTH = 256  # bytes that wait, each way
SLVERR = 2


class Register(enum.IntEnum):
    """Byte addresses. docs/registers.md says the same in prose."""

    IDENTITY = 0x00  # read: "CELO"
    STATUS = 0x04  # read: Status
    CONTROL = 0x08  # read and write: Control
    INTERRUPT = 0x0C  # read: Interrupt; writing a one clears ENDED
    SEND = 0x10  # write: a byte to the machine
    RECEIVE = 0x14  # read: bit 31, if there was a byte; that byte, which is taken
    LEVELS = 0x18  # read: bytes that wait (16 bits), room for bytes (16 bits)
    N_COUNTERS = 0x1C  # read
    STOP = 0x20  # write: end the run after the current token
    COUNTERS = 0x100  # read: the first counter, the others behind it


def register_pins():
    """The members of an AXI4-Lite slave of 32 bits: ``s_axi_awaddr`` and so on."""
    pins = {
        "awaddr": In(ADDRESS_WIDTH), "awprot": In(3), "awvalid": In(1), "awready": Out(1),
        "wdata": In(32), "wstrb": In(4), "wvalid": In(1), "wready": Out(1),
        "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
        "araddr": In(ADDRESS_WIDTH), "arprot": In(3), "arvalid": In(1), "arready": Out(1),
        "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
    }  # fmt: skip
    return {PREFIX + name: member for name, member in pins.items()}


class AxiRegisters(wiring.Component):
    """Registers of 32 bits beside a machine: what :class:`Register` names.

    CONTROL: bit 0 takes the host link from the byte stream, bits 1 and 2 enable the interrupt when
    bytes wait and when a run has ended. STATUS: bit 0 the machine is busy, bit 1 external memory
    has answered with an error since the run began. INTERRUPT: bit 0 bytes wait, bit 1 a run has
    ended.

    Other addresses, writing what is only read and the reverse, and SEND without room are answered
    with SLVERR and change nothing. A write whose strobe of byte 0 is low changes nothing.

    Latency 1 cycle from an address (and data) to the answer. Throughput a transfer in 2 cycles.

    Parameters
    ----------
    n_counters : int, 0 to 62

    Members
    -------
    s_axi_awaddr ... s_axi_rready
        An AXI4-Lite slave.
    rx : Out(stream of unsigned(8))
        Bytes to the machine.
    tx : In(stream of unsigned(8))
        Bytes of the machine.
    claim : Out(1)
        CONTROL's bit 0.
    stop : Out(1)
        From a write to STOP to the end of the run; without a run it does nothing.
    busy, fault, ended : In(1)
        A run is going on; it had a fault; high for a cycle when it has ended.
    number, value : Out(unsigned(6)), In(unsigned(32))
        Of a counter, in the same cycle.
    interrupt : Out(1)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, n_counters):
        check_range("n_counters", n_counters, 0, 62)
        self.n_counters = n_counters
        super().__init__(
            {
                **register_pins(),
                "rx": Out(stream.Signature(8)),
                "tx": In(stream.Signature(8)),
                "claim": Out(1),
                "stop": Out(1),
                "busy": In(1),
                "fault": In(1),
                "ended": In(1),
                "number": Out(6),
                "value": In(32),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.to_machine = to_machine = fifo.SyncFIFOBuffered(width=8, depth=DEPTH)
        m.submodules.from_machine = from_machine = fifo.SyncFIFOBuffered(width=8, depth=DEPTH)
        enabled, ended = Signal(2), Signal()
        waiting = from_machine.r_rdy
        m.d.comb += [
            self.rx.payload.eq(to_machine.r_data),
            self.rx.valid.eq(to_machine.r_rdy),
            to_machine.r_en.eq(self.rx.ready),
            from_machine.w_data.eq(self.tx.payload),
            from_machine.w_en.eq(self.tx.valid),
            self.tx.ready.eq(from_machine.w_rdy),
            self.interrupt.eq((Cat(waiting, ended) & enabled).any()),
        ]
        with m.If(self.ended):
            m.d.sync += [ended.eq(1), self.stop.eq(0)]
        self._read(m, from_machine, to_machine, enabled, ended)
        self._write(m, to_machine, enabled, ended)
        return m

    def _read(self, m, from_machine, to_machine, enabled, ended):
        address, given = self.s_axi_araddr, Signal()
        waiting = from_machine.r_rdy
        words = {
            Register.IDENTITY: IDENTITY,
            Register.STATUS: Cat(self.busy, self.fault),
            Register.CONTROL: Cat(self.claim, enabled),
            Register.INTERRUPT: Cat(waiting, ended),
            Register.RECEIVE: Cat(Mux(waiting, from_machine.r_data, 0)[:8], Const(0, 23), waiting),
            Register.LEVELS: Cat(
                from_machine.level, Const(0, 16 - len(from_machine.level)), DEPTH - to_machine.level
            ),
            Register.N_COUNTERS: self.n_counters,
        }
        m.d.comb += [
            self.number.eq(address[2:] - (Register.COUNTERS >> 2)),
            self.s_axi_arready.eq(~self.s_axi_rvalid),
            given.eq(self.s_axi_arvalid & self.s_axi_arready),
        ]
        with m.If(self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(given):
            m.d.sync += [self.s_axi_rvalid.eq(1), self.s_axi_rresp.eq(0)]
            with m.Switch(address[2:]):
                for register, word in words.items():
                    with m.Case(register >> 2):
                        m.d.sync += self.s_axi_rdata.eq(word)
                for n in range(self.n_counters):
                    with m.Case((Register.COUNTERS >> 2) + n):
                        m.d.sync += self.s_axi_rdata.eq(self.value)
                with m.Default():
                    m.d.sync += [self.s_axi_rdata.eq(0), self.s_axi_rresp.eq(SLVERR)]
            m.d.comb += from_machine.r_en.eq(address[2:] == Register.RECEIVE >> 2)

    def _write(self, m, to_machine, enabled, ended):
        """Address and data may come in either order; they are taken together."""
        both, word = Signal(), self.s_axi_wdata
        m.d.comb += [
            both.eq(self.s_axi_awvalid & self.s_axi_wvalid & ~self.s_axi_bvalid),
            self.s_axi_awready.eq(both),
            self.s_axi_wready.eq(both),
            to_machine.w_data.eq(word[:8]),
        ]
        with m.If(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(both):
            m.d.sync += [self.s_axi_bvalid.eq(1), self.s_axi_bresp.eq(0)]
            some = self.s_axi_wstrb[0]
            with m.Switch(self.s_axi_awaddr[2:]):
                with m.Case(Register.CONTROL >> 2), m.If(some):
                    m.d.sync += Cat(self.claim, enabled).eq(word)
                with m.Case(Register.INTERRUPT >> 2), m.If(some & word[1]):
                    m.d.sync += ended.eq(self.ended)
                with m.Case(Register.SEND >> 2):
                    m.d.comb += to_machine.w_en.eq(some)
                    with m.If(~to_machine.w_rdy):
                        m.d.sync += self.s_axi_bresp.eq(SLVERR)
                with m.Case(Register.STOP >> 2), m.If(some & self.busy & ~self.ended):
                    m.d.sync += self.stop.eq(1)
                with m.Default():
                    m.d.sync += self.s_axi_bresp.eq(SLVERR)
