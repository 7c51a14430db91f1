"""Limits that only a unit's constructor knows, asked for before anything is written."""

import gc
import warnings

from amaranth.hdl import UnusedElaboratable
from celosia.generators.config import ConfigError
from celosia.protocol.messages import Info
from celosia.rtl.machine.machine import Machine
from celosia.rtl.machine.shape import AxiMemory

__all__ = ["check_units"]


def check_units(shape, tapes, config):
    """Make every unit of a machine once, without its tapes, which are large.

    Raises
    ------
    ConfigError
        If one of them cannot be of this size.
    """
    weights = [0]
    if config.memory == "axi":
        weights = AxiMemory(config.axi_width, config.axi_ports)
    info = Info(vocab_size=shape.vocab_size, max_seq_len=shape.max_seq_len)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        gains = [*tapes.gains.values()]
        machine = Machine(shape, tapes.program, weights, [0], gains, info, biases=[0])
        reason = _refusal(machine)
        gc.collect()  # while nobody is told that they were not used
    if reason:
        raise ConfigError(
            f"vector_lanes {shape.lanes}: there is no such machine for this model: {reason}"
        )


def _refusal(machine):
    try:
        machine.units()
    except ValueError as error:
        return str(error)
    return None
