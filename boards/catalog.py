"""All boards that Celosia builds for."""

from celosia.boards import amd, ecp5_modules, ecpix5, icebreaker, orangecrab, tang, ulx3s
from celosia.boards.error import BoardError

__all__ = ["BOARDS", "BoardError", "find_board"]

BOARDS = {
    **ulx3s.BOARDS,
    **ecpix5.BOARDS,
    **orangecrab.BOARDS,
    **ecp5_modules.BOARDS,
    **tang.BOARDS,
    **icebreaker.BOARDS,
    **amd.BOARDS,
}


def find_board(name):
    """The board of this name.

    Raises
    ------
    BoardError
        If there is none; the message names those that there are.
    """
    if name not in BOARDS:
        raise BoardError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
