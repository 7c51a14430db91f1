"""A foreign UART at the pins of a design under cocotb."""

from cocotb.triggers import ClockCycles
from cocotbext.uart import UartSink, UartSource

__all__ = ["converse"]


async def converse(dut, given, period, check=lambda: None):
    """Send each of ``talk`` when the design has said all bytes expected before; what it said.

    Parameters
    ----------
    dut
        With ``rx``, ``tx`` and ``clk``.
    given : dict
        ``talk``, pairs of bytes and the number of bytes heard in all by when the next are sent;
        ``divisor``, the cycles of a bit; ``skew`` of the UART's clock; ``patience`` in bits.
    period : float
        Of the clock, in ns.
    check : function()
        Called with every bit that is waited for; may raise.

    Returns
    -------
    bytes
    """
    baud = 1e9 / (period * given["divisor"]) * (1 + given["skew"])
    source, sink = UartSource(dut.rx, baud=baud), UartSink(dut.tx, baud=baud)
    heard = bytearray()
    for data, expect in given["talk"]:
        source.write_nowait(data)
        patience = 12 * (expect + len(data)) + given["patience"]
        while len(heard) < expect and patience > 0:
            await ClockCycles(dut.clk, given["divisor"])
            check()
            patience -= 1
            heard += sink.read_nowait()
        await source.wait()
    await ClockCycles(dut.clk, 20 * given["divisor"])
    return bytes(heard + sink.read_nowait())
