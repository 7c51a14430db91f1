"""Modules with an ECP5-25F, 25 MHz, on their boards: Colorlight i5 and iCESugar-Pro."""

from amaranth_boards.icesugar_pro import ICESugarProPlatform
from celosia.boards.ecp5 import ECP5_SIZES, Ecp5Flow
from celosia.boards.ecp5_top import Ecp5Board, rgb_leds
from celosia.boards.platforms import ColorlightI5Platform
from celosia.boards.top import request
from celosia.rtl.memory.sdram_bursts import CAPACITY

__all__ = ["BOARDS", "ColorlightI5", "IceSugarPro"]


class ColorlightI5(Ecp5Board):
    """A Colorlight i5 (7.0) on its extension board: an LFE5U-25F, one LED.

    Its SDRAM, 8 MB with 32 data lines, is not used.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    name = "colorlight_i5"
    loader = "colorlight-i5"
    source, source_clock = "clk25", 25e6
    flow = Ecp5Flow("25k", "CABGA381", 6)
    resources = ECP5_SIZES["25f"]

    def platform(self):
        """A fresh platform."""
        return ColorlightI5Platform()

    def leds(self, platform):
        """The one there is."""
        return [request(platform, "led")]


class IceSugarPro(Ecp5Board):
    """An iCESugar-Pro: an LFE5U-25F, 32 MB of SDRAM, one coloured LED.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    name = "icesugar_pro"
    loader = "colorlight-i5 --vid=0x1d50 --pid=0x602b"  # the same probe by other numbers
    memories = ("on_chip", "sdram")
    source, source_clock = "clk25", 25e6
    flash = "spi_flash_1x"
    flow = Ecp5Flow("25k", "CABGA256", 6)
    resources = ECP5_SIZES["25f"] | {"sdram": 2 * CAPACITY}

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return ICESugarProPlatform()

    def leds(self, platform):
        """Red, green and blue."""
        return rgb_leds(platform)


BOARDS = {board.name: board for board in (ColorlightI5(), IceSugarPro())}
