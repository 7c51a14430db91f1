"""What a machine takes of a chip, before synthesis."""

from dataclasses import dataclass

from celosia.boards import compact_estimate, full_estimate
from celosia.boards.catalog import BoardError
from celosia.generators.automatic import choose_config
from celosia.generators.config import AUTO

__all__ = [
    "Estimate",
    "board_config",
    "check_board",
    "check_fit",
    "estimate",
    "fitting_config",
    "largest_text",
    "machine_kind",
    "smallest_config",
]

#: By the machine's name: ``needs``, ``configs``, the ``smallest`` one, ``settings``, ``text``.
MACHINES = {"full": full_estimate, "compact": compact_estimate}
NAMES = {
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "lut": "LUTs",
    "sdram": "bytes of SDRAM",
    "spram": "bytes of single-port RAM",
}


@dataclass(frozen=True)
class Estimate:
    """Resources: ``dsp`` exact, ``bram`` within an eighth, ``lut`` within a fifth.

    Parameters
    ----------
    lut, dsp, bram : int
    sdram, spram : int
        Bytes of a tape that lies there.
    """

    lut: int
    dsp: int
    bram: int
    sdram: int = 0
    spram: int = 0

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


def check_fit(model, config, board):
    """The estimate of ``config``, if ``board`` has all of that.

    Raises
    ------
    BoardError
        Otherwise: what is needed, what there is, and the nearest configuration that fits.
    """
    check_board(config, board)
    found = estimate(model, config, board.flow.lut_share)
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
    kind = machine_kind(board)
    if config.machine != kind:
        raise BoardError(f"{board.name} is for the {kind} machine: machine must be {kind}")


def model_text(config):
    """A configuration in a few words."""
    return f"the machine of {config.weight_parallelism} weights a cycle"


def fitting_config(model, board, wish=None):
    """The configuration that fits and exceeds nothing that ``wish`` asks for.

    The first that does, in the order of the machine's ``configs``.

    Raises
    ------
    LookupError
        If none fits.
    """
    for config in MACHINES[machine_kind(board)].configs(model, board, wish):
        if not estimate(model, config, board.flow.lut_share).missing(board.resources):
            return config
    raise LookupError("no configuration fits")


def largest_text(model, board):
    """The largest machine for ``model`` that fits, or for as many layers of it; or what is missing.

    Parameters
    ----------
    model : celosia.reference.model.Model
    board : Board
    """
    kind, count = MACHINES[machine_kind(board)], model.config.n_layers
    for layers in range(count, 0, -1):
        part = model.shortened(layers).config
        least = estimate(part, smallest_config(part, board), board.flow.lut_share)
        missing = least.missing(board.resources)
        if not missing or "sdram" in board.memories:
            try:
                found = kind.text(fitting_config(part, board))
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
    return MACHINES[machine_kind(board)].smallest(model)


def machine_kind(board):
    """The kind of machine that ``board`` is for."""
    return getattr(board, "machine", "full")
