"""A seeded generator of damaged files over every format that is read."""

import copy
import json
import random
import struct

import safetensors.numpy
from celosia.reference.model import ModelConfig, random_model
from test_checkpoint_gguf import foreign_fields, write_gguf
from test_checkpoint_gguf import foreign_tensors as gguf_tensors
from test_checkpoint_hugging_face import foreign_config, foreign_tensors
from test_checkpoint_llama2c import write_bin
from test_tokenizer import CONTROLS, SCORE_FIELDS, space_library, tok_bin

__all__ = ["FORMATS", "MODEL", "damage", "write_files"]

MODEL = random_model(
    ModelConfig(
        dim=16,
        hidden_dim=20,
        n_layers=1,
        n_heads=4,
        n_kv_heads=2,
        head_dim=4,
        vocab_size=300,
        seq_len=16,
    )
)
#: The file to damage, and what is then read: the same path or the directory.
FORMATS = {
    "llama2c": ("model.bin", "model.bin"),
    "tok_bin": ("tok.bin", "tok.bin"),
    "safetensors": ("hf/model.safetensors", "hf"),
    "config": ("hf/config.json", "hf"),
    "generation": ("hf/generation_config.json", "hf"),
    "tokenizer": ("hf/tokenizer.json", "hf"),
    "index": ("shards/model.safetensors.index.json", "shards"),
    "gguf": ("model.gguf", "model.gguf"),
    "toml": ("mine.toml", "mine.toml"),
}
TOML = 'weight_parallelism = 64\nvector_lanes = 8\nweight_width = 4\nmemory = "axi"\n'
NUMBERS = (0, 1, 2, 3, 31, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
DEEP = 20000


def write_files(folder):
    """Write a sound file of each format to ``folder``."""
    config = foreign_config(MODEL.config)
    for name in ("hf", "shards"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    write_bin(MODEL, folder / "model.bin")
    pieces = [(bytes([97 + n % 26]) * (1 + n // 26), -float(n)) for n in range(60)]
    (folder / "tok.bin").write_bytes(tok_bin([*CONTROLS, *pieces]))
    tensors = foreign_tensors(MODEL)
    safetensors.numpy.save_file(tensors, folder / "hf" / "model.safetensors")
    shard = "model-00001-of-00001.safetensors"
    safetensors.numpy.save_file(tensors, folder / "shards" / shard)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (folder / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "hf" / "generation_config.json").write_text('{"eos_token_id": [2, 1]}')
    tokenizer = json.loads(space_library().to_str())
    tokenizer["model"]["vocab"] = dict(list(tokenizer["model"]["vocab"].items())[:290])
    known = tokenizer["model"]["vocab"]
    tokenizer["model"]["merges"] = [
        pair
        for pair in tokenizer["model"]["merges"]
        if "".join(pair) in known and pair[0] in known and pair[1] in known
    ]
    (folder / "hf" / "tokenizer.json").write_text(json.dumps(tokenizer))
    fields = {f"tokenizer.ggml.{name}": value for name, value in SCORE_FIELDS.items()}
    write_gguf(folder / "model.gguf", foreign_fields(MODEL.config) | fields, gguf_tensors(MODEL))
    (folder / "mine.toml").write_text(TOML)


def damage(name, data, seed):
    """The bytes ``data`` of a file of the format ``name``, damaged."""
    rng = random.Random(f"{name} {seed}")
    if name in ("config", "generation", "tokenizer", "index") and rng.random() < 0.75:
        return _json(rng, json.loads(data)).encode("utf-8", "surrogatepass")
    if name == "safetensors" and rng.random() < 0.6:
        (length,) = struct.unpack_from("<Q", data)
        head = _json(rng, json.loads(data[8 : 8 + length])).encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(head)) + head + data[8 + length :]
    if name == "toml" and rng.random() < 0.6:
        key = rng.choice([line.partition(" ")[0] for line in TOML.splitlines()] + ["name"])
        value = rng.choice(["[" * 9999, "9" * 5000, "2.0", "true", "nan", '"\\u001b[31m"', "-1"])
        kept = [line for line in TOML.splitlines() if not line.startswith(key)]
        return "\n".join([*kept, f"{key} = {value}"]).encode()
    return _bytes(rng, data)


def _bytes(rng, data):
    """Bytes changed, most often near the beginning, where headers are."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(min(len(data), rng.choice((40, 400, 4000, 1 << 30))))
        kind = rng.randrange(7)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            size = rng.choice((4, 8))
            number = rng.choice(NUMBERS) % (1 << 8 * size)
            data[place : place + size] = number.to_bytes(size, "little")
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            del data[place : place + rng.randrange(1, 20)]
        elif kind == 5:
            data[place:place] = rng.randbytes(rng.randrange(1, 20))
        else:
            data += rng.randbytes(rng.randrange(1, 100))
        if not data:
            break
    return bytes(data)


def _json(rng, value):
    """JSON with a member changed, taken away, twice there, or renamed."""
    value = copy.deepcopy(value)
    holder, key = _place(rng, value)
    marker = "@@changed@@"
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}\x1b[2J"] = holder.pop(key)
    elif kind == 2 and isinstance(holder, dict):
        text = json.dumps(holder | {marker: holder[key]})
        holder[key] = marker
        twice = text.replace(json.dumps(marker), json.dumps(key))
        return twice if holder is value else json.dumps(value)
    else:
        holder[key] = marker
        return json.dumps(value).replace(json.dumps(marker), _value(rng))
    return json.dumps(value)


def _place(rng, value):
    """A member somewhere in ``value``: what holds it, and its key."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.3:
            return value, key
        value = value[key]


def _value(rng):
    """The text of a value that is probably wrong."""
    return rng.choice(
        [
            *("null", "true", "-1", "0", "0.5", "1e999", "NaN", "-Infinity", "[]", "{}", '""'),
            *("1" + "0" * 400, "9" * 5000, str(2**31), str(2**64), '"\\u001b[31m\\n"', '"\\ud800"'),
            *('"../../etc/passwd"', '"' + "x" * 5000 + '"', "[[1]]", '{"type": 3}', '{"a": {}}'),
            *("[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP),
        ]
    )
