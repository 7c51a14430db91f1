"""The machines to choose from: what a board's machine leaves open of a configuration."""

from dataclasses import asdict, fields, replace

from celosia.boards.estimate import MACHINES, check_board, machine_kind
from celosia.boards.full_estimate import lengths, needs
from celosia.generators.config import Config, change_config
from celosia.generators.machine_kinds import MACHINES as KINDS
from celosia.generators.machine_sizes import sampler_lanes
from celosia.reference.operations import Attention, Gate
from celosia.rtl.mac.format import packs

__all__ = ["Space"]

#: What changes the integer model's numbers: open where its loss is weighed.
WIDTHS = {
    "weight_width": range(2, 9),
    "group_size": (0, 32, 64, 128),
    "head_width": (0, 2),  # times the weights' width
}
#: Likewise, of a model with attention.
CACHED = {
    "key_width": (8, 6, 4),
    "value_width": (8, 6, 4),
    "value_steps": ("channel", "token"),
    "key_mean": ("kept", "removed"),
}
#: What changes no number.
ATTENTION = {"softmax_lanes": (0, 1, 2, 4)}  # times the vector lanes
TOKENS = (1, 2, 4, 8)


class Space:
    """Configurations for a board: those of its machine, but for what ``settings`` fix.

    Parameters
    ----------
    board : Board
    model : celosia.reference.model.Model
    settings : sequence of str
        ``name=value``.
    rungs : set of str
        The rungs whose figures are weighed. Without ``loss`` the widths stay as they are, because
        nothing speaks for wider ones; without ``prompt`` ``token_parallelism`` is 1.

    Members
    -------
    choices : dict of str to sequence
        Of each open parameter its values.

    Raises
    ------
    celosia.generators.config.ConfigError
        If a setting is wrong, or not for the board.
    """

    def __init__(self, board, model, settings, rungs):
        said = dict(setting.split("=", 1) for setting in settings if "=" in setting)
        name = said.get("machine", machine_kind(board))
        if name not in MACHINES:
            Config(machine=name)  # refused
        ranges, fixed = MACHINES[name].choices(model.config, board), KINDS[name].fixed
        if not model.settings.keys() & fixed.keys():
            settings = [*(f"{n}={value}" for n, value in model.settings.items()), *settings]
        base = MACHINES[name].smallest(model.config, board) if ranges else Config(machine=name)
        base = change_config(base, settings)
        check_board(base, board)
        named = {setting.partition("=")[0] for setting in settings}
        choices = {
            "vector_lanes": (2, 4, 8, 16, 32),
            "weight_parallelism": range(8, 1025),
            "memory": tuple(board.memories),
            "packing": ("none", "18x18"),  # of weights of few bits
            **(ATTENTION if model.description.find(Attention) else {}),
            "max_seq_len": tuple(lengths(model.config.seq_len)),
            **({"token_parallelism": TOKENS} if "prompt" in rungs else {}),
            **(WIDTHS if "loss" in rungs else {}),
            **(CACHED if "loss" in rungs and model.description.find(Attention) else {}),
            **ranges,
        }
        closed = (fixed.keys() - ranges.keys()) | named
        self.choices = {n: values for n, values in choices.items() if n not in closed}
        self.base = asdict(base) | {"name": "found"}
        self.model, self.blocks = model.config, board.resources["dsp"]
        self.fills = "lut_multipliers" not in closed
        gated = any(op.up for op in model.description.find(Gate))
        self.pairs = gated and "gate_lanes" not in closed
        self.narrows = "sampler_lanes" not in closed

    def suggest(self, trial):
        """The values that an Optuna trial takes of :attr:`choices`."""
        found = {}
        for name, values in self.choices.items():
            if len(values) == 1:
                found[name] = values[0]
            elif isinstance(values, range):
                log = values.step == 1 and values[-1] > 100 * values[0]
                found[name] = trial.suggest_int(
                    name, values[0], values[-1], step=values.step, log=log
                )
            else:
                found[name] = trial.suggest_categorical(name, values)
        return found

    def config(self, values):
        """The :class:`Config` of suggested values.

        Weights per cycle are rounded down to whole words of the fabric's rows. Where the board has
        too few multiplier blocks, the fabric's others are made of LUTs. The sampler is as narrow as
        the head's tiles allow, and the gate has half of the lanes where tokens come one by one.

        Raises
        ------
        celosia.generators.config.ConfigError
            If there is no such machine.
        """
        values = self.base | values
        if "packing" in self.choices and not packs(values["packing"], values["weight_width"]):
            values["packing"] = "none"
        if "weight_parallelism" in self.choices:
            unit = values["vector_lanes"] ** 2 * (1 if values["packing"] == "none" else 2)
            values["weight_parallelism"] = max(1, values["weight_parallelism"] // unit) * unit
        if "head_width" in self.choices:
            wide = values["group_size"] and values["weight_width"] <= 4
            values["head_width"] *= values["weight_width"] if wide else 0
        if "value_steps" in self.choices and values["value_width"] < 8:
            values["value_steps"] = "token"
        if "softmax_lanes" in self.choices:
            values["softmax_lanes"] *= values["vector_lanes"]
        if self.pairs and values["token_parallelism"] == 1:
            values["gate_lanes"] = values["vector_lanes"] // 2
        config = Config(**values)
        if self.narrows:
            config = replace(config, sampler_lanes=sampler_lanes(config, self.model.dim))
        if not self.fills:
            return config
        missing = needs(self.model, config)["dsp"] - self.blocks
        return replace(config, lut_multipliers=missing) if missing > 0 else config


def changes(config):
    """What of a Config is not as usual: ``{name: value}``."""
    usual = Config.__dataclass_fields__
    return {
        field.name: value
        for field in fields(Config)
        if field.name != "name"
        and (value := getattr(config, field.name)) != usual[field.name].default
    }
