"""What a machine takes of a chip, before synthesis."""

import math
from dataclasses import dataclass, replace

from celosia.boards import compact_estimate, full_estimate
from celosia.boards.error import BoardError
from celosia.boards.link import USB_COSTS, link_of
from celosia.boards.measure import POSITION
from celosia.generators.automatic import choose_config
from celosia.generators.config import AUTO, ConfigError
from celosia.generators.estimate.report import token_cycles
from celosia.reference.families import describe
from celosia.reference.operations import Attention

__all__ = [
    "MACHINES",
    "Estimate",
    "board_config",
    "check_board",
    "check_fit",
    "default_clock",
    "estimate",
    "fitting_config",
    "largest_text",
    "machine_kind",
    "on_board",
    "smallest_config",
]

#: By the machine's name: ``needs``, ``choices``, ``clock``, ``configs``, the ``smallest`` one,
#: ``settings``, ``text``.
MACHINES = {"full": full_estimate, "compact": compact_estimate}
LEAST_WINDOW = 64
NAMES = {
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "lut": "LUTs",
    "ff": "flip-flops",
    "sdram": "bytes of SDRAM",
    "spram": "bytes of single-port RAM",
}


@dataclass(frozen=True)
class Estimate:
    """Resources: ``dsp`` and ``bram`` exact on an ECP5, ``lut`` within a tenth.

    Parameters
    ----------
    lut, dsp, bram : int
    ff : int
        0 where nobody has said.
    sdram, spram : int
        Bytes of a tape that lies there.
    """

    lut: int
    dsp: int
    bram: int
    sdram: int = 0
    spram: int = 0
    ff: int = 0

    def missing(self, available):
        """``{"bram": (needed, available), ...}`` of what ``available`` does not have."""
        needs = {name: getattr(self, name) for name in NAMES}
        return {n: (x, available.get(n, 0)) for n, x in needs.items() if x > available.get(n, 0)}


def estimate(model, config, lut_share=1.0):
    """The resources of a machine.

    Parameters
    ----------
    model : celosia.reference.model.ModelConfig
    config : celosia.generators.config.Config
    lut_share : float
        LUTs of the chip that do what one LUT4 of an ECP5 does.
    """
    found = MACHINES[config.machine].needs(model, config)
    return Estimate(**found | {"lut": round(found["lut"] * lut_share)})


def on_board(model, config, board):
    """The resources of a machine on ``board``, with its link."""
    more = getattr(board.flow, "ternary_share", 1.0) if config.ternary else 1.0
    found = estimate(model, config, board.flow.lut_share * more)
    if link_of(board) == "usb":
        more = round(USB_COSTS["lut"] * board.flow.lut_share)
        found = replace(found, lut=found.lut + more, ff=found.ff and found.ff + USB_COSTS["ff"])
    return found


def check_fit(model, config, board):
    """The estimate of ``config``, if ``board`` has all of that.

    Raises
    ------
    BoardError
        Otherwise: what is needed, what there is, and the nearest configuration that fits.
    """
    check_board(config, board)
    found = on_board(model, config, board)
    missing = found.missing(board.resources)
    if not missing:
        return found
    parts = [f"{NAMES[n]}: {a:,} needed, {b:,} available" for n, (a, b) in missing.items()]
    text = f"{model_text(config)} does not fit {board.name}: {'; '.join(parts)}. "
    try:
        nearest = MACHINES[config.machine].settings(fitting_config(model, board, config))
        raise BoardError(f"{text}The nearest configuration that fits: {nearest}")
    except LookupError:
        raise BoardError(f"{text}No configuration of this model fits {board.name}") from None


def check_board(config, board):
    """Raise a BoardError for a machine that ``board`` is not for, however small."""
    if config.memory not in board.memories:
        raise BoardError(
            f"{board.name} has no {config.memory.upper()} memory: "
            f"memory must be {' or '.join(board.memories)}"
        )
    if config.kv_memory == "axi" or config.control == "axi_lite":
        raise BoardError(
            f"{board.name} has no AXI bus: kv_memory must be on_chip and control stream"
        )
    kinds = _kinds(board)
    if config.machine not in kinds:
        raise BoardError(f"{board.name} is for the {kinds[0]} machine: machine must be {kinds[0]}")


def model_text(config):
    """A configuration in a few words."""
    return f"the machine of {config.weight_parallelism} weights a cycle"


def fitting_config(model, board, wish=None):
    """The configuration that fits and exceeds nothing that ``wish`` asks for.

    Of each machine the first that does, in the order of its ``configs``; of these the one that is
    predicted to make the most tokens per second. One that sees only a short part of a sequence, and
    less than the model does, is taken where there is no other.

    Raises
    ------
    LookupError
        If none fits.
    """
    found = []
    for kind in [wish.machine] if wish else _kinds(board):
        for config in MACHINES[kind].configs(model, board, wish):
            if _fits(model, config, board):
                found.append(config)
                break
    if not found:
        raise LookupError("no configuration fits")
    if len(found) == 1:
        return found[0]
    return min(found, key=lambda one: (_is_short(model, one), _seconds(model, one, board)))


def _fits(model, config, board):
    try:
        return not on_board(model, config, board).missing(board.resources)
    except ConfigError:
        return False


def _is_short(model, config):
    own = max((op.window or LEAST_WINDOW for op in describe(model).find(Attention)), default=0)
    return config.window in range(1, min(LEAST_WINDOW, config.max_seq_len, own))


def default_clock(board, config, model):
    """The clock of a machine where none is asked for, in MHz."""
    return MACHINES[config.machine].clock(board, config, model)


def _seconds(model, config, board):
    """What a token takes; where that is not known, more than any."""
    position = min(POSITION, config.max_seq_len - 1)
    frequency = board.clock(default_clock(board, config, model))
    try:
        return token_cycles(model, config, position, frequency) / frequency
    except ConfigError:
        return math.inf


def largest_text(model, board):
    """The largest machine for ``model`` that fits, or for as many layers of it; or what is missing.

    Parameters
    ----------
    model : celosia.reference.model.Model
    board : Board
    """
    count = model.config.n_layers
    for layers in range(count, 0, -1):
        part = model.shortened(layers).config
        least = on_board(part, smallest_config(part, board), board)
        missing = least.missing(board.resources)
        if not missing or "sdram" in board.memories:
            try:
                config = fitting_config(part, board)
                found = MACHINES[config.machine].text(config)
                return found if layers == count else f"{layers} of {count} layers: {found}"
            except LookupError:
                continue
    needs = ", ".join(f"{needed:,} {NAMES[name]}" for name, (needed, _) in missing.items())
    return f"none: one layer takes {needs}"


def board_config(model, board, source=AUTO, settings=()):
    """The configuration ``source`` changed by ``settings``; by default the largest that fits.

    Parameters
    ----------
    model : celosia.reference.model.Model
    board : Board
    source : str
    settings : sequence of str

    Raises
    ------
    celosia.generators.config.ConfigError
        If there is no such configuration, or a setting is wrong.
    """
    if source != AUTO or settings or model.settings:
        return choose_config(model, "small" if source == AUTO else source, settings)[0]
    try:
        return fitting_config(model.config, board)
    except LookupError:
        return smallest_config(model.config, board)  # which does not fit


def smallest_config(model, board):
    """The configuration that takes least of ``board``: if that one does not fit, none does."""
    return MACHINES[_kinds(board)[-1]].smallest(model, board)


def machine_kind(board):
    """The kind of machine that ``board`` is for in the first place."""
    return _kinds(board)[0]


def _kinds(board):
    """The kinds of machines that ``board`` is for: all, but for a board that says which."""
    return getattr(board, "machines", tuple(MACHINES))
