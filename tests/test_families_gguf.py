"""GGUF files of each family against the Hugging Face files of the same model."""

import gguf
import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import CheckpointError, load
from celosia.reference.checkpoint.gguf_container import Container
from celosia.reference.families import FAMILIES
from families.cases import relative_difference
from families.gguf_file import CHANGES, gguf_case, write_gguf

READ = {name for family in FAMILIES.values() if family.gguf for name in family.gguf.architectures}


@pytest.mark.parametrize("name", [name for name, (arch, _) in CHANGES.items() if arch in READ])
def test_logits_are_those_of_the_hugging_face_files(name, tmp_path):
    case = gguf_case(name)
    model = load(case.write(tmp_path / "hf"))
    theirs = float32.forward(model, case.tokens)
    ours = load(write_gguf(case, model, tmp_path / "model.gguf"))
    assert relative_difference(float32.forward(ours, case.tokens), theirs) <= 1e-5
    assert ours.description == model.description


def test_every_architecture_is_tried():
    assert {arch for arch, _ in CHANGES.values()} >= READ


def test_mixtral_is_told_by_its_experts(tmp_path):
    case = gguf_case("mixtral-two")
    model = load(case.write(tmp_path / "hf"))
    assert load(write_gguf(case, model, tmp_path / "model.gguf")).config.family == "mixtral"


def test_unknown_architecture_and_fields(tmp_path):
    case = gguf_case("llama-tied")
    path = write_gguf(case, load(case.write(tmp_path / "hf")), tmp_path / "model.gguf")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"llama", b"lamma"))
    with pytest.raises(CheckpointError, match=r"architecture: 'lamma' is not supported \(only ll"):
        load(path)
    path = write_gguf(case, load(tmp_path / "hf"), path, {"attention.sliding_window": 8})
    with pytest.raises(CheckpointError, match=r"llama\.attention\.sliding_window: is not .*gemma2"):
        load(path)
    path = write_gguf(case, load(tmp_path / "hf"), path, {"expert_count": 0})
    assert load(path).config.family == "llama"


def half(value):
    return np.float16(value).tobytes()


def test_blocks_of_256(tmp_path):
    """Q4_K, Q5_K and Q6_K by the format's own words, value by value."""
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, 400, dtype=np.uint8).tobytes()
    scales, low, high, six = raw[:12], raw[12:140], raw[140:172], raw[172:364]
    d, least = half(0.01), half(0.02)
    signed = np.frombuffer(raw[364:380], np.int8).tolist()
    blocks = {
        "Q4_K": d + least + scales + low,
        "Q5_K": d + least + scales + high + low,
        "Q6_K": six + raw[364:380] + d,
    }
    expected = {name: [] for name in blocks}
    for n in range(256):
        sub, place = n // 32, n % 32
        a, b, c = (scales[sub % 4 + 4 * i] for i in range(3))
        scale = a & 63 if sub < 4 else (c & 15) | (a >> 6) << 4
        minimum = b & 63 if sub < 4 else (c >> 4) | (b >> 6) << 4
        code = low[32 * (sub // 2) + place] >> 4 * (sub % 2) & 15
        one, two = float(np.float16(0.01)), float(np.float16(0.02))
        expected["Q4_K"].append(one * scale * code - two * minimum)
        code += 16 * (high[place] >> sub & 1)
        expected["Q5_K"].append(one * scale * code - two * minimum)
        part, quarter, at = n // 128, n % 128 // 32, n % 32
        lower = six[64 * part + 32 * (quarter % 2) + at] >> 4 * (quarter // 2) & 15
        upper = six[128 + 32 * part + at] >> 2 * quarter & 3
        expected["Q6_K"].append(one * signed[n // 16] * ((lower | upper << 4) - 32))
    writer = gguf.GGUFWriter(tmp_path / "blocks.gguf", "llama")
    for name, data in blocks.items():
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(name, np.frombuffer(data, np.uint8)[None], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    container = Container(tmp_path / "blocks.gguf")
    for name, values in expected.items():
        np.testing.assert_allclose(container.float32(name)[0], values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ2_0"])
def test_types_keep_values(name, tmp_path):
    """What the package rounds comes back within the type's step; F32 as it is."""
    values = np.random.default_rng(2).choice([-1, 0, 1], (3, 256)).astype(np.float32)
    values *= np.linspace(1, 2, 256, dtype=np.float32) if name != "TQ2_0" else 1.5
    kind = gguf.GGMLQuantizationType[name]
    writer = gguf.GGUFWriter(tmp_path / "types.gguf", "llama")
    writer.add_tensor("w", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    step = {"F16": 1e-3, "BF16": 8e-3, "Q8_0": 0.01, "TQ2_0": 0.0}.get(name, 0.27)
    np.testing.assert_allclose(
        Container(tmp_path / "types.gguf").float32("w"), values, rtol=0, atol=step
    )
