"""Configurations: names, files, settings, and what is refused."""

import pytest
from celosia.generators.config import NAMED, Config, ConfigError, load_config


def test_named_configurations():
    assert set(NAMED) == {"tiny", "small", "large", "compact"}
    for name in NAMED:
        assert load_config(name).name == name
    assert load_config() == load_config("small")
    assert load_config("small").weight_parallelism == 64


def test_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("weight_parallelism = 32\nvector_lanes = 4\n")
    config = load_config(path)
    assert (config.name, config.weight_parallelism, config.vector_lanes) == ("mine", 32, 4)
    assert config.rows == 8


def test_settings_change_parameters():
    config = load_config("small", ["weight_width=4", "max_seq_len=0x40", "token_parallelism=2"])
    assert (config.weight_width, config.max_seq_len, config.token_parallelism) == (4, 64, 2)
    assert config.weight_parallelism == 64


def test_lanes_follow_a_smaller_parallelism():
    assert load_config("large", ["weight_parallelism=16"]).vector_lanes == 4
    assert load_config("tiny", ["weight_parallelism=64"]).vector_lanes == 2
    assert load_config("large", ["weight_parallelism=96"]).vector_lanes == 4
    assert load_config("small", ["weight_parallelism=192"]).rows == 24


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["machine=half"], "machine must be full or compact, not 'half'"),
        (["window=16"], "window must be 0 for the full machine, not 16"),
        (["machine=compact"], "window must be a multiple of 4 from 4 to 2048, not 0"),
        (
            ["machine=compact", "window=8", "weight_parallelism=24"],
            "weight_parallelism must be 8, 16, 32 or 64 for the compact machine, not 24",
        ),
        (
            ["machine=compact", "window=8"],
            "boot must be image or flash for the compact machine, not host",
        ),
        (
            ["machine=compact", "window=8", "boot=flash"],
            "boot=flash needs weight_parallelism=16 and weight_width=4 with weight_format=integer, "
            "not 64 and 8",
        ),
        (
            ["machine=compact", "window=8", "vector_lanes=8", "weight_parallelism=8"],
            r"weight_parallelism must be a multiple of twice vector_lanes \(16\), not 8",
        ),
        (
            ["machine=compact", "window=8", "boot=flash", "weight_format=trits"],
            "weight_parallelism=8 and weight_width=8 with weight_format=trits, not 64 and 8",
        ),
        (
            ["machine=compact", "window=8", "boot=image", "weight_format=ternary"],
            "weight_format must be integer or trits for the compact machine, not ternary",
        ),
        (["weight_parallelism=0"], "weight_parallelism must be from 8 to 4096, not 0"),
        (["weight_parallelism=50"], r"must be a multiple of vector_lanes squared \(4\), not 50"),
        (["vector_lanes=0"], "vector_lanes must be a power of two from 2 to 32, not 0"),
        (["vector_lanes=16"], r"a multiple of vector_lanes squared \(256\), not 64"),
        (["token_parallelism=3"], "token_parallelism must be 1, 2, 4 or 8, not 3"),
        (["weight_width=9"], "weight_width must be from 2 to 8, not 9"),
        (["max_seq_len=-1"], "max_seq_len must be from 1"),
        (["group_size=12"], r"group_size must be 0 or a multiple of vector_lanes \(8\) to 256"),
        (["group_size=264"], "group_size must be 0 or a multiple"),
        (["weight_width=4", "head_width=8"], "head_width must be weight_width"),
        (["group_size=32", "head_width=16"], r"weight_width \(8\), .* twice as much, .*not 16"),
        (["memory=paper"], "memory must be on_chip, axi or sdram, not 'paper'"),
        (["boot=flash"], "boot must be host, or flash with memory=sdram, not 'flash'"),
        (["memory=sdram", "boot=disk"], "boot must be host, or flash with .*, not 'disk'"),
        (["axi_width=48"], "axi_width must be 32, 64, 128, 256 or 512, not 48"),
        (["control=voice"], "control must be stream or axi_lite, not 'voice'"),
        (["kv_memory=disk"], "kv_memory must be on_chip or axi, not 'disk'"),
        (["kv_axi_width=1024"], "kv_axi_width must be 32, 64, 128, 256 or 512, not 1024"),
        (
            ["kv_page_size=12"],
            r"a power of two to 1024 that is a .* fabric's rows of keys \(.*, 8\), not 12",
        ),
        (["kv_page_size=4"], "kv_page_size must be 0 or a power of two to 1024 .*, not 4"),
        (["kv_page_size=2048"], "kv_page_size must be 0 or a power of two to 1024 .*, not 2048"),
        (
            ["weight_parallelism=96", "kv_page_size=16"],
            "a multiple of the fabric's rows .*, not 16",
        ),
        (["kv_pages=8"], "kv_pages must be 0 without a kv_page_size, not 8"),
        (["kv_page_size=64", "kv_pages=-1"], "kv_pages must be from 0 to 16384 with .*, not -1"),
        (
            ["kv_page_size=64", "kv_pages=16385"],
            "kv_pages must be from 0 to 16384 with .*, not 16385",
        ),
        (["axi_ports=0"], "axi_ports must be from 1 to 16, not 0"),
        (["value_steps=row"], "value_steps must be channel or token, not 'row'"),
        (["key_mean=moved"], "key_mean must be kept or removed, not 'moved'"),
        (["offset_width=10"], "offset_width must be 12 or 8, not 10"),
        (
            ["offset_width=8", "weight_width=4", "group_size=32", "head_width=8"],
            "offset_width must be 12 where the head has more bits than the rest, not 8",
        ),
        (["offset_width=8"], "offset_width must be 12 without groups of fewer than 8 bits, not 8"),
        (["activation_width=7"], "activation_width must be 8, 6, 5 or 4, not 7"),
        (["rotate_down=3"], r"0 or a power of two from 2 to 64 .* \(512\), not 3"),
        (["rotate_keys=1024"], r"rotate_keys must be 0 or .* \(512\), not 1024"),
        (["gate_lanes=2"], r"half of vector_lanes \(8\), not 2"),
        (["gate_lanes=4", "token_parallelism=2"], r"with a token_parallelism of 1"),
        (["sampler_lanes=3"], r"0 or a power of two up to vector_lanes \(8\), not 3"),
        (["sampler_lanes=16"], r"up to vector_lanes \(8\), not 16"),
        (["softmax_lanes=4"], r"power of two from vector_lanes \(8\) to 64, not 4"),
        (["softmax_lanes=24"], r"softmax_lanes must be 0 or a power of two .* to 64, not 24"),
        (["packing=9x9"], "packing must be none, 18x18 or 25x18, not '9x9'"),
        (["packing=18x18"], "packing must have 25 bits for two products, not 18x18"),
        (
            ["packing=25x18", "weight_format=ternary", "weight_width=2"],
            "packing must be none if ternary",
        ),
        (
            ["packing=25x18"],
            r"a multiple of twice vector_lanes squared \(128\) with packing=25x18, not 64",
        ),
        (["attention_parallelism=32"], r"0 or a multiple of .* \(64\) to 64, not 32"),
        (
            [
                *("weight_parallelism=256", "weight_width=4", "packing=18x18"),
                *("attention_parallelism=192", "vector_lanes=8"),
            ],
            r"attention_parallelism must be 0 or a multiple of .* \(64\) to 128, not 192",
        ),
        (["lut_multipliers=65"], "at most the fabric's 64 multipliers, not 65"),
        (["lut_multipliers=-1"], "lut_multipliers must be from 0 to 1024, not -1"),
        (
            ["weight_width=2", "weight_format=trits", "head_width=8", "weight_parallelism=256"],
            "head_width must be weight_width .*, not 8",
        ),
        (["key_width=5"], "key_width must be 8, 6 or 4, not 5"),
        (["value_width=16"], "value_width must be 8, 6 or 4, not 16"),
        (["value_width=4"], "value_steps must be token with a value_width of 4, not channel"),
        (["weight_width=wide"], "weight_width must be a whole number, not 'wide'"),
        (["speed=9"], "--set takes name=value"),
        (["weight_width"], "--set takes name=value"),
        (["name=x"], "--set takes name=value"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config("small", settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed = 9", "unknown parameter 'speed'"),
        ("weight_width = ", "not valid TOML"),
        (
            "weight_width = true",
            r"mine\.toml: weight_width: True is of the wrong type \(expected int\)",
        ),
        ("weight_width = 'wide'", "weight_width: 'wide' is of the wrong type"),
        ("weight_width = " + "9" * 5000, r"mine\.toml: not valid TOML: Exceeds the limit"),
        ("a = " + "[" * 30000, r"mine\.toml: not valid TOML: nested too deeply"),
        ("#" * 70000, "nor a file: has more than 64 KiB"),
        ("vector_lanes = 3", r"mine\.toml: vector_lanes must be a power of two"),
        ("memory = 3", r"memory: 3 is of the wrong type \(expected str\)"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_no_such_configuration():
    with pytest.raises(
        ConfigError, match=r"'huge' is no configuration \(auto, compact, large, small, tiny\)"
    ):
        load_config("huge")


def test_parameters_are_checked_without_a_file():
    with pytest.raises(ConfigError, match="weight_parallelism must be from 8 to 4096, not 7"):
        Config(weight_parallelism=7)


@pytest.mark.parametrize(
    ("settings", "rows", "cached_rows"),
    [
        ("weight_parallelism=128", 16, 16),
        ("weight_parallelism=128 weight_width=4 packing=18x18", 16, 8),
        ("weight_parallelism=128 packing=25x18", 16, 16),  # two 8-bit codes of either fit
        ("weight_parallelism=512 weight_width=2 weight_format=ternary", 64, 16),
        ("weight_parallelism=64 weight_width=2 weight_format=ternary", 8, 8),
        ("weight_parallelism=192 attention_parallelism=64", 24, 8),
    ],
)
def test_rows_of_keys_and_values(settings, rows, cached_rows):
    config = load_config("small", [*settings.split(), "vector_lanes=8"])
    assert (config.rows, config.cached_rows) == (rows, cached_rows)
