"""What ``celosia estimate`` says of a machine: its cycles, its speed, its chip."""

from dataclasses import asdict

from celosia.generators.compact.sketch import compact_sketch
from celosia.generators.estimate.compact import predict_compact
from celosia.generators.estimate.cycles import known_error, predict
from celosia.generators.estimate.energy import ERROR as ENERGY_ERROR
from celosia.generators.estimate.energy import token_energy
from celosia.generators.estimate.sketch import make_sketch
from celosia.generators.plan import with_length
from celosia.rtl.memory.gearbox import packed_width

__all__ = ["estimate_report", "tape_bandwidth", "tape_bytes", "token_cycles"]

CLOCK = 100.0  # MHz
#: Of the estimates before synthesis, see :mod:`celosia.boards.estimate`.
CHIP_ERRORS = {"lut": "10%", "ff": "10%", "dsp": "exact", "bram": "exact"}


def tape_bytes(sketch):
    """Bytes of the weight tape that a token with logits reads, the embedding's row included."""
    program, config, width = sketch.program, sketch.config, sketch.shape.word_width
    words = program.weight_words[1] + sum(load.words << load.planes for load in program.loads)
    if config.memory == "axi":
        part = -(-width // config.axi_ports)
        width = config.axi_ports * packed_width(part, config.axi_width)
    elif config.memory == "sdram":
        width = packed_width(width, 16)
    return words * width / 8


def tape_bandwidth(sketch):
    """Bytes that the tape's memory can give in a cycle."""
    config = sketch.config
    width = {"axi": config.axi_ports * config.axi_width, "sdram": 16}
    return width.get(config.memory, sketch.shape.word_width) / 8


def estimate_report(model, config, prompt_length, tokens, board=None, clock=None, memory=None):
    """A dict of what is predicted, each figure's known error beside it in ``errors``.

    Parameters
    ----------
    model : Model
    config : Config
    prompt_length, tokens : int
    board : a board of :data:`celosia.boards.catalog.BOARDS`, optional
        Whose chip, and whose clock.
    clock : number, optional
        In MHz; by default the board's, or 100.
    memory : dict, optional
        ``latency`` of AXI memory, in cycles.

    Raises
    ------
    ConfigError
        If there is no such machine, or no model of it.
    """
    frequency = (clock or CLOCK) * 1e6
    found = {"lut": None, "ff": None, "dsp": None, "bram": None}
    if board:
        from celosia.boards.estimate import default_clock, estimate

        frequency = board.clock(clock or default_clock(board, config, model.config))
        chip = estimate(model.config, config, board.flow.lut_share)
        found |= {"lut": chip.lut, "ff": chip.ff or None, "dsp": chip.dsp, "bram": chip.bram}
        found |= {"board": board.name, "missing": chip.missing(board.resources)}
        found["routed_mhz"] = list(board.flow.routed.get(config.machine, ()))
    memory = memory or {}
    run, config, sketch, bytes_per_token, bandwidth = MACHINES[config.machine](
        model.config, config, prompt_length, tokens, frequency, memory
    )
    last = memory.get("start", 0) + prompt_length + tokens - 2
    generated = run.cycles[prompt_length - 1 :]
    speed = frequency * len(generated) / sum(generated)
    return {
        "config": asdict(config),
        "cycles": run.cycles,
        "prefill_cycles": run.prefill_cycles,
        "overhead": run.overhead,
        "ideal_cycles": run.ideal_cycles,
        "utilisation": run.utilisation,
        **found,
        "clock_mhz": frequency / 1e6,
        "tokens_per_second": speed,
        "bytes_per_token": bytes_per_token,
        "weights_per_byte": sketch.macs(0) * speed / (bandwidth * frequency),
        "energy": token_energy(sketch.description, config, last),
        "errors": _errors(config) | (CHIP_ERRORS if board else {}),
    }


def _errors(config):
    cycles = known_error(config)
    return {"cycles": cycles, "tokens_per_second": cycles, "energy": ENERGY_ERROR}


def token_cycles(c, config, position, frequency):
    """Cycles of the token at ``position`` of a ModelConfig's machine, with logits.

    Raises
    ------
    ConfigError
        If there is no such machine, or no model of it.
    """
    return MACHINES[config.machine](c, config, 1, 1, frequency, {"start": position})[0].cycles[-1]


def _full(c, config, prompt_length, tokens, frequency, memory):
    """The run, the configuration, the sketch, bytes that a token reads, bytes in a cycle."""
    sketch = make_sketch(c, config)
    run = predict(sketch, prompt_length, tokens, frequency=frequency, **memory)
    return run, sketch.config, sketch, tape_bytes(sketch), tape_bandwidth(sketch)


def _compact(c, config, prompt_length, tokens, frequency, memory):
    """Likewise: its memory gives a word of weights in each cycle."""
    sketch = compact_sketch(c, with_length(config, c))
    run = predict_compact(sketch, prompt_length, tokens, memory.get("start", 0))
    word = sketch.shape.word_bits // 8
    return run, sketch.config, sketch, word * len(sketch.image.weights), word


#: By the machine's name what predicts it.
MACHINES = {"full": _full, "compact": _compact}
