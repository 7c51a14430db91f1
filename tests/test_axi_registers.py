"""The register port against an AXI4-Lite master of other hands."""

import pytest
from amaranth import Array, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from celosia.rtl.host.axi_registers import IDENTITY, AxiRegisters, Register
from celosia.rtl.memory.axi_port import join_pins
from celosia.sim import bench
from celosia.sim.register_transport import RegisterTransport

COUNTERS = [5, 1 << 31, 0xFFFFFFFF, 77]


class Echo(wiring.Component):
    """Registers whose bytes come back while ``open`` is high."""

    def __init__(self):
        self.registers = AxiRegisters(len(COUNTERS))
        members = self.registers.signature.members
        self.names = [name for name in members if name not in ("rx", "tx", "number", "value")]
        super().__init__(
            {
                **{name: members[name] for name in self.names},
                "counters": In(32).array(len(COUNTERS)),
                "open": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = inner = self.registers
        join_pins(m, self, "", inner, {n: inner.signature.members[n] for n in self.names})
        m.d.comb += [
            inner.value.eq(Array(self.counters)[inner.number]),
            inner.tx.payload.eq(inner.rx.payload),
            inner.tx.valid.eq(inner.rx.valid & self.open),
            inner.rx.ready.eq(inner.tx.ready & self.open),
        ]
        return m


@pytest.mark.parametrize("slow", [False, True])
def test_registers(slow):
    pytest.importorskip("cocotbext.axi", reason="needs cocotbext-axi: pip install celosia[test]")
    given = {"counters": COUNTERS, "slow": slow}
    assert bench.run_program(Echo(), "bench_axi_registers", given) == "all"


def test_refuses():
    with pytest.raises(ValueError, match="n_counters must be from 0 to 62, not 63"):
        AxiRegisters(63)


class Registers:
    """The register port in Python, with bytes that come back, and no room now and then."""

    def __init__(self, identity=IDENTITY):
        self.words = {Register.IDENTITY: identity, Register.N_COUNTERS: 2, Register.CONTROL: 0}
        self.words |= {Register.COUNTERS: 11, Register.COUNTERS + 4: 12}
        self.bytes = bytearray()
        self.looks = 0

    def read(self, address):
        if address == Register.LEVELS:
            self.looks += 1
            return (3 if self.looks % 2 else 0) << 16 | len(self.bytes)
        if address == Register.RECEIVE:
            return 1 << 31 | self.bytes.pop(0)
        return self.words[address]

    def write(self, address, value):
        if address == Register.SEND:
            self.bytes.append(value)
        self.words[address] = value


def test_transport():
    registers = Registers()
    transport = RegisterTransport(registers.read, registers.write)
    assert registers.words[Register.CONTROL] == 1
    transport.send(b"eleven bytes")
    assert transport.receive(0.1) == b"eleven bytes"
    assert transport.receive(0.001) == b""
    assert transport.counters() == [11, 12]
    transport.stop()
    assert registers.words[Register.STOP] == 1
    transport.close()
    assert registers.words[Register.CONTROL] == 0
    with pytest.raises(ValueError, match="register 0x0 must hold 0x43454c4f, not 0xdead"):
        RegisterTransport(Registers(0xDEAD).read, registers.write)
