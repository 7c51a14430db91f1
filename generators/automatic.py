"""``--config auto``: the configuration by the model's size, and a sentence that says why."""

from dataclasses import replace

from celosia.generators.config import AUTO, change_config, load_config
from celosia.reference.operations import Attention

__all__ = ["choose_config", "memory_needs", "usual_config"]

ON_CHIP = 4 << 20  # bytes of tape, and of cache, that are kept on chip without being asked


def memory_needs(model, config):
    """Bytes of the tape, and of the KV cache: ``(tape, cache)``, wherever they lie."""
    c = model.config
    positions = config.max_seq_len or c.seq_len
    cache = 2 * c.n_layers * c.n_kv_heads * c.head_dim * positions
    return int(model.description.parameters) * config.weight_width // 8, cache


def usual_config(source, settings):
    """The configuration ``source`` with ``settings``, whatever the model."""
    return load_config("small" if source == AUTO else source, settings)


def choose_config(model, source=AUTO, settings=()):
    """The configuration ``source`` for ``model``, changed by ``settings``: ``(Config, str)``.

    Before these come the model's own settings, which say what its codes need; a machine that has
    formats of its own does without.

    With ``auto`` it is that of "small" where tape and cache have at most 4 MiB each; else that of
    "large", one token at a time, with what is larger than that behind AXI ports: four of 512 bits
    for the tape, which give it all its weights in each cycle; and with steps of values by token,
    without which SmolLM2 does not answer behind its own system prompt. The text says so; it is
    empty where nothing was chosen.

    Raises
    ------
    celosia.generators.config.ConfigError
        If there is no such configuration, or a setting is wrong.
    """
    if model.settings:
        kind = usual_config(source, settings).kind
        own = [f"{name}={value}" for name, value in model.settings.items()]
        settings = [*own, *settings] if not model.settings.keys() & kind.fixed.keys() else settings
    if source != AUTO:
        return load_config(source, settings), ""
    small = change_config(load_config("small"), settings)
    tape, cache = memory_needs(model, small)
    if max(tape, cache) <= ON_CHIP or small.machine != "full":
        config = small
    else:
        base = replace(load_config("large"), token_parallelism=1)
        if model.description.find(Attention):
            base = replace(base, value_steps="token")
        if tape > ON_CHIP:
            base = replace(base, memory="axi", axi_width=512, axi_ports=4)
        if cache > ON_CHIP:
            base = replace(base, kv_memory="axi", kv_axi_width=512)
        config = change_config(base, settings)
    return config, _why(config, tape, cache)


def _why(config, tape, cache):
    places = {"on_chip": "on chip", "axi": "behind AXI ports", "sdram": "in an SDRAM"}
    return (
        f"auto: {config.weight_parallelism} weights of {config.weight_width} bits a cycle, "
        f"{config.vector_lanes} lanes; {tape / 1e6:,.1f} MB of weights {places[config.memory]}, "
        f"{cache / 1e6:,.1f} MB of keys and values {places[config.kv_memory]}"
    )
