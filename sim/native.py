"""The whole chip as a shared library: Verilator at full speed, without cocotb."""

import contextlib
import os
import time
from pathlib import Path

import numpy as np
from celosia.sim.native_library import build, load
from celosia.sim.native_ports import read_ports

__all__ = ["NativeSimulation"]

TX, ACTIVITY = -1, -2
LARGEST_BATCH = 200_000
SDRAM_BYTES = 1 << 25


class NativeSimulation:
    """A simulated chip with a byte stream in and a byte stream out.

    The top module has the ports ``clk`` and ``rst``; ``rx__payload`` (8 bits), ``rx__valid`` and
    ``rx__ready`` into the chip; ``tx__payload`` (8 bits), ``tx__valid`` and ``tx__ready`` out of
    it. Each output ``NAME__valid`` with an output ``NAME__payload`` beside it and no
    ``NAME__ready`` is a tap: in each cycle in which it is valid, its payload is recorded. An
    output ``activity`` of any width is recorded whenever it changes, if asked for.
    Ports ``m_axi0_araddr`` and so on, ``m_axi_kv_araddr`` and so on are AXI4 masters, served by
    :meth:`memory`. Ports ``sdram__cs_n`` and so on are those of
    :func:`celosia.rtl.memory.sdram.sdram_pins`: :meth:`sdram`.

    The chip starts reset. Bytes are offered to it as fast as it takes them, and taken from it
    as soon as they are valid. Cycle 0 is the first after reset.

    Parameters
    ----------
    verilog : str or pathlib.Path
        The text of the top module, called ``top``, and of the modules inside it; or the folder of
        its file ``top.v`` and of those that it reads.
    taps : iterable of str, optional
        The taps to record; by default all.
    waves : path, optional
        Where to write a VCD file of everything (slow, and large).
    optimise : str, optional
        The C++ compiler's option: "-O0" is built in a third of the time, and runs slower. By
        default what the environment variable ``CELOSIA_OPTIMISE`` says, else "-O2".

    Attributes
    ----------
    widths : dict
        Bits of each tap's payload.
    axi_ports : dict
        Bits of a transfer of each AXI4 port, by its name: ``"m_axi0"``.
    cycle : int
        Cycles since reset.

    Raises
    ------
    ValueError
        If a port is missing.
    celosia.sim.toolchain.ToolError
        If a tool is missing or fails.
    """

    def __init__(self, verilog, taps=None, *, waves=None, optimise=None):
        optimise = optimise or os.environ.get("CELOSIA_OPTIMISE", "-O2")
        folder = verilog if isinstance(verilog, Path) else Path()
        if isinstance(verilog, Path):
            verilog = (folder / "top.v").read_text()
        ports = read_ports(verilog)
        if taps is not None:
            ports = ports.tapping(taps)
        self.widths = ports.taps
        self.axi_ports = ports.axi
        self._activity_width = ports.activity
        self._has_sdram = ports.has_sdram
        self._library = load(build(verilog, ports.header(), waves is not None, optimise))
        self._waves = waves and str(Path(waves).absolute())
        path = os.fsencode(self._waves or "")
        with contextlib.chdir(folder):  # where $readmemh finds its files
            self._chip = self._library.celosia_new(path)
        self._batch = 1000
        self._memories = {}

    def close(self):
        """Free the chip and finish its VCD file.

        Without this, or a ``with``, both wait for the end of the process: an interrupt that comes
        while Python frees an object is lost.

        Raises
        ------
        OSError
            If the VCD file could not be written.
        """
        if self._chip:
            chip, self._chip = self._chip, None
            if error := self._library.celosia_delete(chip):
                raise OSError(error, os.strerror(error), self._waves)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def reset(self):
        """Reset the chip for two cycles; forget what was sent, received and recorded.

        The contents of memories remain, as in hardware.
        """
        self._library.celosia_reset(self._chip)

    @property
    def cycle(self):
        return self._library.celosia_cycle(self._chip)

    @property
    def unsent(self):
        """How many bytes the chip has not taken yet."""
        return self._library.celosia_unsent(self._chip)

    def send(self, data):
        """Queue bytes for the chip."""
        data = bytes(data)
        self._library.celosia_send(self._chip, data, len(data))

    def memory(self, port, contents, latency=20, stall=0):
        """What lies behind an AXI4 port.

        Parameters
        ----------
        port : int, or str
            ``0`` for the port ``m_axi0``, ``"kv"`` for ``m_axi_kv``.
        contents : uint8 array, C-contiguous
            What lies beyond its end is answered with DECERR. Not copied; writes change it.
        latency : int
            Cycles from a burst's address to its first transfer, where it need not wait.
        stall : int, 0 to 255
            In so many of 256 cycles, at random, a channel pauses.
        """
        index = self._port(port)
        contents = np.ascontiguousarray(contents, np.uint8)
        self._memories[index] = contents
        self._library.celosia_memory(
            self._chip, index, contents.ctypes.data, contents.size, latency, stall
        )

    def fault(self, port, address, response=2):
        """Answer for the byte at ``address`` with ``response`` until :meth:`memory` is called.

        2 is SLVERR, 3 DECERR.
        """
        self._library.celosia_fault(self._chip, self._port(port), address, response)

    def _port(self, port):
        name = f"m_axi{port}" if isinstance(port, int) else f"m_axi_{port}"
        if name not in self.axi_ports:
            raise ValueError(f"port must be among {[*self.axi_ports]}, not {name}")
        return [*self.axi_ports].index(name)

    def sdram(self, contents):
        """What the SDRAM holds from its address 0 on; the rest is noise.

        Parameters
        ----------
        contents : uint8 array, up to 32 MB
        """
        contents = np.ascontiguousarray(contents, np.uint8)
        if not self._has_sdram:
            raise ValueError("the top module has no SDRAM")
        if contents.size > SDRAM_BYTES:
            raise ValueError(f"contents must have up to {SDRAM_BYTES} bytes, not {contents.size}")
        self._library.celosia_sdram(self._chip, contents.ctypes.data, contents.size)

    def step(self, max_cycles, until_tx=1):
        """Run until `until_tx` bytes wait to be fetched, or for `max_cycles` cycles.

        Parameters
        ----------
        max_cycles : int
        until_tx : int or None
            None runs all cycles.

        Returns
        -------
        int
            The cycles run.
        """
        done = 0
        while done < max_cycles:
            missing = 2**63
            if until_tx is not None:
                missing = until_tx - self._library.celosia_count(self._chip, TX)
                if missing <= 0:
                    break
            batch = min(self._batch, max_cycles - done)
            begin = time.monotonic()
            done += self._library.celosia_step(self._chip, batch, missing)
            # A batch takes about a tenth of a second, so that Ctrl-C is heard.
            if time.monotonic() - begin < 0.1:
                self._batch = min(2 * self._batch, LARGEST_BATCH)
            else:
                self._batch = max(self._batch // 2, 1)
        return done

    def received(self):
        """The bytes that came out of the chip since the last call."""
        return self.received_with_cycles()[0]

    def received_with_cycles(self):
        """Like :meth:`received`, with the cycle of each byte: ``(bytes, uint64[n])``."""
        cycles, payload = self._record(TX, 8)
        self._library.celosia_clear(self._chip, TX)
        return payload.tobytes(), cycles

    def record(self, taps=True, activity=False):
        """Switch recording of the taps and of the activity on or off."""
        if activity and not self._activity_width:
            raise ValueError("the top module has no output called activity")
        self._library.celosia_recording(self._chip, taps, activity)

    def taps(self, name):
        """What a tap recorded since reset or :meth:`forget`: ``(uint64[n], uint8[n, bytes])``.

        The first array holds the cycles, the second the payloads, lowest byte first.
        """
        return self._record([*self.widths].index(name), self.widths[name])

    def activity(self):
        """The values of ``activity`` and the cycles since when each held, like :meth:`taps`."""
        return self._record(ACTIVITY, self._activity_width)

    def forget(self):
        """Drop what the taps and the activity recorded."""
        for which in (ACTIVITY, *range(len(self.widths))):
            self._library.celosia_clear(self._chip, which)

    def _record(self, which, width):
        count = self._library.celosia_count(self._chip, which)
        octets = -(-width // 8)
        if not count:
            return np.zeros(0, np.uint64), np.zeros((0, octets), np.uint8)
        cycles = self._library.celosia_cycles(self._chip, which)
        payload = self._library.celosia_bytes(self._chip, which)
        return (
            np.ctypeslib.as_array(cycles, (count,)).copy(),
            np.ctypeslib.as_array(payload, (count, octets)).copy(),
        )
