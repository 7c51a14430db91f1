"""Platforms that amaranth-boards lacks, in its own form: Tang Nano 20K and Colorlight i5."""

from amaranth.build import Attrs, Clock, Connector, Pins, PinsN, Resource, Subsignal
from amaranth.vendor import GowinPlatform, LatticeECP5Platform
from amaranth_boards.resources import (
    ButtonResources,
    LEDResources,
    SPIFlashResources,
    UARTResource,
)

__all__ = ["ColorlightI5Platform", "TangNano20kPlatform"]


class TangNano20kPlatform(GowinPlatform):
    """Sipeed's Tang Nano 20K: a Gowin GW2AR-18, whose SDRAM lies in the chip's own package.

    Pins after Sipeed's schematic 3921. The SDRAM has no pins.
    """

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = (
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), Attrs(IO_TYPE="LVCMOS33")),
        *ButtonResources(pins="88 87", attrs=Attrs(IO_TYPE="LVCMOS33")),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
        *SPIFlashResources(
            0, cs_n="60", clk="59", copi="61", cipo="62", attrs=Attrs(IO_TYPE="LVCMOS33")
        ),
    )
    connectors = ()


class ColorlightI5Platform(LatticeECP5Platform):
    """A Colorlight i5 (7.0) on Muse Lab's extension board: a Lattice ECP5 LFE5U-25F.

    Pins after https://github.com/wuxx/Colorlight-FPGA-Projects. The flash's clock is the chip's own
    (USRMCLK); the SDRAM's select, clock enable and masks are fixed on the board.
    """

    device = "LFE5U-25F"
    package = "BG381"
    speed = "6"
    default_clk = "clk25"
    resources = (
        Resource("clk25", 0, Pins("P3", dir="i"), Clock(25e6), Attrs(IO_TYPE="LVCMOS33")),
        *LEDResources(pins="U16", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
        *ButtonResources(pins="K18", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
        UARTResource(0, rx="H18", tx="J17", attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
        Resource(
            "spi_flash",
            0,
            Subsignal("cs", PinsN("R2", dir="o")),
            Subsignal("copi", Pins("W2", dir="o")),
            Subsignal("cipo", Pins("V2", dir="i")),
            Attrs(IO_TYPE="LVCMOS33"),
        ),
    )
    connectors = (
        Connector("pmod", 0, "C17 B18 B20 F20 - - A18 A19 B19 D20 - -"),  # PMODE
        Connector("pmod", 1, "D1 C1 C2 E3 - - E2 D2 B1 A3 - -"),  # PMODF
    )
