"""Rooflines: work of each operation, what binds, the ratios of a model's shape."""

import json

import pytest
from celosia.generators.config import ConfigError, load_config
from celosia.generators.estimate.codesign import Ratios, balance, model_ratios
from celosia.generators.estimate.device import DEVICES, Device, load_device
from celosia.generators.estimate.machinery import Machinery
from celosia.generators.estimate.outline import machine_description
from celosia.generators.estimate.passes import Pass
from celosia.generators.estimate.roofline import (
    device_peaks,
    machine_peaks,
    predicted_seconds,
    roofline,
)
from celosia.generators.estimate.sketch import make_sketch
from celosia.generators.estimate.work import Formats, work_of
from celosia.reference.model import ModelConfig
from celosia.reference.quantization.group_quantize import OFFSET_WIDTH, SCALE_WIDTH
from command_line import SVG, drawings, fails, run
from small_checkpoint import write_checkpoint

SIZES = {
    "dim": 32,
    "hidden_dim": 64,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 8,
    "vocab_size": 48,
    "seq_len": 64,
}
DEVICE = {
    "name": "d",
    "macs_per_second": 1e12,
    "bytes_per_second": 1e9,
    "memory_bytes": 1e9,
    "source": "invented",
}


def model(family="llama", **changes):
    return ModelConfig(**SIZES | changes, family=family)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("family", "options"),
    [("llama", {}), ("gemma2", {"windows": (4, None)}), ("mixtral", {"experts": 4, "chosen": 2})],
)
def test_work_adds_up_to_the_models_own(family, options):
    description = machine_description(model(family, options=options))
    work = work_of(description, Formats(), 1, 9)
    assert sum(one.macs for one in work) == description.macs(10)
    prompt = work_of(description, Formats(), 8, 0, 4)
    assert sum(one.macs for one in prompt) == sum(
        description.macs(n + 1, logits=n == 7) for n in range(8)
    )


def test_bytes_by_class():
    description = machine_description(model())
    work = {one.name: one for one in work_of(description, Formats(4, 8, 16), 8, 0, 4)}
    down = work["w_down"].bytes  # two layers, two passes
    assert down["weights"] == 2 * 2 * 32 * 64 / 2
    assert down["scales"] == 2 * 2 * (32 * 2 + 32 * 4 * (SCALE_WIDTH + OFFSET_WIDTH) / 8)
    assert down["activations"] == 2 * 8 * (32 + 64)
    assert work["scores"].bytes["cache"] == 2 * (4 + 8) * (2 * 8 + 2 * 2)
    assert work["values"].bytes["cache"] == 2 * (4 + 8) * 2 * 8
    assert work["head"].bytes["weights"] == 48 * 32
    assert work["head"].macs == 48 * 32
    assert work["head"].intensity == 48 * 32 / sum(work["head"].bytes.values())


def test_a_device_with_one_memory_reads_everything_from_it():
    description = machine_description(model())
    report = roofline(description, Formats(), device_peaks(Device(**DEVICE)), 16)
    decode = report["phases"]["decode"]
    assert {row["binds"] for row in decode["operations"]} == {"memory"}
    total = sum(decode["total"]["bytes"].values())
    assert report["tokens_per_second"] == pytest.approx(1e9 / total)
    assert report["more_bandwidth"] == pytest.approx(1e9 / total)  # twice as much
    weights = description.macs(0)
    assert report["weights_per_byte"] == pytest.approx(weights / total)
    fast = Device(**DEVICE | {"macs_per_second": 1e6})
    report = roofline(description, Formats(), device_peaks(fast), 16)
    assert {row["binds"] for row in report["phases"]["prefill"]["operations"]} == {"compute"}
    assert report["more_bandwidth"] == 0


def test_a_machine_of_ours_has_predictions_beside_its_bounds():
    config = load_config("small", ["token_parallelism=4", "memory=axi", "axi_width=64"])
    sketch = make_sketch(model(), config)
    predicted = predicted_seconds(sketch, 10, 1e6)
    peaks = machine_peaks(sketch, 1e6)
    report = roofline(sketch.description, Formats(), peaks, 10, predicted)
    for phase in report["phases"].values():
        assert phase["total"]["predicted_seconds"] >= phase["total"]["seconds"] * 0.98
        for row in phase["operations"]:
            bound = max(row["compute_seconds"], row["memory_seconds"])
            assert row["predicted_seconds"] >= 0.7 * bound  # what is read ahead is not waited for
    one = Pass(Machinery(sketch, 1e6), 10, generated=True)
    assert predicted["decode"]["total"] == one.cycles / 1e6
    assert sum(one.operations.values()) <= one.cycles


def test_ratios_of_a_models_shape():
    ratios = model_ratios(machine_description(model()))
    assert ratios.alpha == (32 * 32 * 2 + 2 * 16 * 32) / 32**2
    assert (ratios.r, ratios.rho) == (64 / 32, 1)
    options = {"experts": 8, "chosen": 2}
    ratios = model_ratios(machine_description(model("mixtral", hidden_dim=48, options=options)))
    assert (ratios.r, ratios.rho) == (2 * 48 / 32, 0.25)


def test_partial_derivatives():
    step = 1e-6
    one, more = Ratios(2.5, 3.0, 0.25), Ratios(2.5, 3.0 + step, 0.25)
    assert (more.xi_f - one.xi_f) / step == pytest.approx(6)
    assert (more.xi_dec - one.xi_dec) / step == pytest.approx(3)
    assert (more.xi_pre - one.xi_pre) / step == pytest.approx(3 / 0.25)
    wider = Ratios(2.5 + step, 3.0, 0.25)
    assert (wider.xi_f - one.xi_f) / step == pytest.approx(2)
    assert (wider.xi_dec - one.xi_dec) / step == pytest.approx(1)


def test_the_least_activation_rate_balances_products_and_weights():
    eta, width = balance(1e12, 1e10, 1024), 0.5
    assert eta == 2e12 / (1e10 * 1024)
    alpha, r = 2.5, 3.0
    least = Ratios(alpha, r).least_rho(eta, width)
    assert least == 3 * eta * width * r / (alpha * (2 - eta * width) + 6 * r)
    at = Ratios(alpha, r, least)
    assert at.xi_f == pytest.approx(eta * width * at.xi_pre)
    assert Ratios(alpha, r).least_rho(1e6, width) is None


@pytest.mark.parametrize("name", DEVICES)
def test_each_device_says_where_its_numbers_come_from(name):
    assert load_device(name).source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1.0}, "unknown field 'speed'; known: name, macs_per_second"),
        ({"bytes_per_second": 0.0}, "bytes_per_second must be more than 0, not 0.0"),
        ({"source": None}, "source"),
        ({"macs_per_second": "fast"}, "macs_per_second"),
    ],
)
def test_bad_devices(tmp_path, changes, message):
    values = {name: v for name, v in (DEVICE | changes).items() if v is not None}
    path = tmp_path / "device.toml"
    path.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in values.items()))
    with pytest.raises(ConfigError, match=message):
        load_device(path)


def test_a_device_that_there_is_not(tmp_path):
    with pytest.raises(ConfigError, match=r"'nothing' is no device \(a100, jetson_orin, u280, v80"):
        load_device("nothing")
    path = tmp_path / "device.toml"
    path.write_text("name =")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_device(path)


def test_the_command(tmp_path, small):
    path = tmp_path / "roofline.json"
    result = run("roofline", small, "--config", "tiny", "--prompt-length", 5, "--json", path)
    assert result.exit_code == 0
    assert "weights per byte of bandwidth" in result.output
    report = json.loads(path.read_text())
    assert report["phases"]["decode"]["total"]["predicted_seconds"] > 0
    options = ("--device", "a100", "--set", "weight_width=4", "--prompt-length", 5)
    assert run("roofline", small, *options, "--json", path).exit_code == 0
    report = json.loads(path.read_text())
    assert report["device"]["name"].startswith("NVIDIA A100")
    assert "predicted_seconds" not in report["phases"]["decode"]["total"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt-length", 5000), "--prompt-length must be less than the"),
        (("--device", "a100", "--board", "ulx3s_85f"), "--device and --board exclude each other"),
        (("--device", "a100", "--config", "small"), "--config has no effect with --device"),
        (("--device", "a100", "--set", "memory=axi"), "--set memory has no effect with --device"),
        (("--device", "none"), "'none' is no device"),
        (("--config", "compact"), "machine must be full, not compact: there is no model of it"),
        (("--set", "kv_page_size=3", "--config", "small"), "kv_page_size must be 0 or a power"),
    ],
)
def test_bad_input(small, options, message):
    assert message in fails("roofline", small, *options)


@pytest.mark.parametrize("options", [("--config", "tiny"), ("--device", "a100")])
def test_a_page_with_rooflines(tmp_path, small, options):
    page, path = tmp_path / "roofline.html", tmp_path / "roofline.json"
    assert run("roofline", small, *options, "--html", page, "--json", path).exit_code == 0
    report = json.loads(path.read_text())
    kinds = 1 + (report["device"]["shared"] is False)  # bounds, and of machines predictions
    pictures = drawings(page)
    assert len(pictures) == 2
    for picture, phase in zip(pictures, report["phases"].values(), strict=True):
        dots = [dot.find(f"{SVG}title").text for dot in picture.iter(f"{SVG}circle")]
        assert dots == kinds * [one["name"] for one in phase["operations"]]
        assert picture.findall(f"{SVG}polyline")
