"""How a board and its host are joined: a serial line, or USB of the chip's own."""

import copy
from types import MappingProxyType

from celosia.boards.error import BoardError

__all__ = ["LINKS", "USB_COSTS", "link_of", "linked"]

LINKS = ("uart", "usb")
#: Of an ECP5, beside what a machine takes with a serial line: demo-small's top on an OrangeCrab,
#: synthesised, takes 1,246 LUTs and 427 flip-flops more.
USB_COSTS = MappingProxyType({"lut": 1250, "ff": 430})


def link_of(board):
    """The link of ``board``."""
    return getattr(board, "link", LINKS[0])


def linked(board, link=None):
    """``board`` with ``link``, by default its own.

    Raises
    ------
    BoardError
        If it has no such link.
    """
    if link is None:
        return board
    if link not in LINKS:
        raise BoardError(f"link must be {' or '.join(LINKS)}, not {link!r}")
    if link not in getattr(board, "links", LINKS[:1]):
        raise BoardError(f"{board.name} has no USB at pins of its FPGA: link must be {LINKS[0]}")
    found = copy.copy(board)
    found.link = link
    return found
