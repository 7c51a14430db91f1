"""``--config auto``: what is chosen for which model, and what it says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from celosia.generators import automatic
from celosia.generators.automatic import choose_config, memory_needs
from celosia.generators.config import ConfigError, load_config
from celosia.generators.files.generate import check_memory
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.families import describe
from celosia.reference.model import ModelConfig, random_model
from command_line import run
from small_checkpoint import CONFIG, write_checkpoint

SMOLLM2 = ModelConfig(576, 1536, 30, 9, 3, 64, 49152, 8192)


def shaped(config):
    return SimpleNamespace(config=config, description=describe(config), settings={})


def test_small_models_have_todays_machine(stories260k_model):
    for model in (load("demo"), stories260k_model):
        config, why = choose_config(model)
        assert config == load_config("small")
        assert why.startswith("auto: 64 weights of 8 bits a cycle, 8 lanes; ")
        assert why.count("on chip") == 2
    config, _ = choose_config(model, settings=["weight_parallelism=128", "max_seq_len=64"])
    assert config == load_config("small", ["weight_parallelism=128", "max_seq_len=64"])
    assert choose_config(model, "large") == (load_config("large"), "")


def test_larger_models_lie_outside():
    model = shaped(SMOLLM2)
    assert memory_needs(model, load_config()) == (134_515_008, 2 * 30 * 3 * 64 * 8192)
    config, why = choose_config(model)
    assert (config.memory, config.kv_memory, config.token_parallelism) == ("axi", "axi", 1)
    assert config.value_steps == "token"
    word = config.weight_parallelism * config.weight_width
    assert config.axi_width * config.axi_ports == word  # all weights of a cycle in a cycle
    assert why == (
        "auto: 256 weights of 8 bits a cycle, 16 lanes; 134.5 MB of weights behind AXI ports, "
        "94.4 MB of keys and values behind AXI ports"
    )
    check_memory(model, config)
    config, why = choose_config(model, settings=["max_seq_len=128", "weight_parallelism=512"])
    assert (config.memory, config.kv_memory, config.weight_parallelism) == ("axi", "on_chip", 512)
    assert why.endswith("1.5 MB of keys and values on chip")
    config, _ = choose_config(model, settings=["memory=on_chip"])
    with pytest.raises(ConfigError, match="choose a smaller max_seq_len or weight_width"):
        check_memory(model, config)
    with pytest.raises(ConfigError, match="memory must be on_chip, axi or sdram, not 'x'"):
        choose_config(model, settings=["memory=x"])


def test_what_is_chosen_can_be_built(monkeypatch):
    """The machine's units exist, also for models with few positions and narrow heads."""
    monkeypatch.setattr(automatic, "ON_CHIP", 100)
    model = random_model(CONFIG)
    config, _ = choose_config(model)
    assert (config.memory, config.kv_memory) == ("axi", "axi")
    assert make_plan(model, config).shape.cache_width == 512


def test_it_is_the_default_and_said(tmp_path):
    small = write_checkpoint(tmp_path)
    done = run("simulate", small, "--prompt-tokens", "1", "--tokens", 99)
    assert done.exit_code == 2  # so many positions are refused after the choice
    assert "celosia: auto: 64 weights of 8 bits a cycle, 8 lanes; 0.0 MB of weights" in done.stderr
    named = run("simulate", small, "--prompt-tokens", "1", "--tokens", 99, "--config", "small")
    assert "auto" not in named.stderr


def test_a_models_own_settings(tiny_config):
    """Codes say what holds them, before --set does; the compact machine has formats of its own."""
    settings = {"weight_width": 4, "group_size": 32, "head_width": 8}
    model = replace(random_model(tiny_config()), settings=settings)
    for source in ("auto", "large"):
        config, _ = choose_config(model, source, ["group_size=16"])
        assert (config.weight_width, config.group_size, config.head_width) == (4, 16, 8)
    assert choose_config(model, "compact")[0].machine == "compact"
