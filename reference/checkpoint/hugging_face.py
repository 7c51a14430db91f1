"""Hugging Face directories of Llama-family models: config.json, *.safetensors, tokenizer.json."""

import json
from pathlib import Path

from celosia.reference.checkpoint import tokenizer_json
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.safetensors_file import read_tensors
from celosia.reference.families import describe
from celosia.reference.model import Model, ModelConfig, RopeScaling

__all__ = ["read_model"]

_LAYER = {
    "attention_norm": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "w_gate": "mlp.gate_proj",
    "w_up": "mlp.up_proj",
    "w_down": "mlp.down_proj",
}
_ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral"}


def read_model(path, with_tokenizer=True):
    """The model in a directory; the rows of wq and wk are permuted from half-split to interleaved.

    A directory without tokenizer.json gives a model without tokenizer.
    """
    fields = _Fields(path / "config.json")
    config = _read_config(fields)
    tensors = _read_files(path)

    def take(name, shape):
        if name not in tensors:
            raise CheckpointError(f"{path}: {name} is missing")
        tensor = tensors.pop(name)
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.path}: {name} must have the shape {list(shape)}, not {list(tensor.shape)}"
            )
        return tensor.float32()

    def layer(index):
        prefix = f"model.layers.{index}."
        arrays = {
            name: take(f"{prefix}{foreign}.weight", shapes[name])
            for name, foreign in _LAYER.items()
        }
        for name in ("wq", "wk"):
            arrays[name] = _interleave(arrays[name], config.head_dim)
        return arrays

    shapes = describe(config).layer_shapes(0)
    own = {"embedding": take("model.embed_tokens.weight", (config.vocab_size, config.dim))}
    layers = [layer(index) for index in range(config.n_layers)]
    own["norm"] = take("model.norm.weight", (config.dim,))
    if config.tied:
        tensors.pop("lm_head.weight", None)
    else:
        own["head"] = take("lm_head.weight", (config.vocab_size, config.dim))
    for name in tensors:
        if not name.endswith("rotary_emb.inv_freq"):  # computed from the configuration instead
            raise CheckpointError(f"{path}: {name} is a tensor that a Llama model does not have")

    tokenizer = None
    if with_tokenizer and (path / "tokenizer.json").exists():
        tokenizer = tokenizer_json.read_tokenizer(
            path / "tokenizer.json", *_ends(fields, config.vocab_size)
        )
    return Model(config, own, layers, tokenizer)


def _interleave(rows, head_dim):
    """Rows ``i`` and ``i + head_dim / 2`` of each head become rows ``2i`` and ``2i + 1``."""
    halves = rows.reshape(-1, 2, head_dim // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


class _Fields:
    """A JSON file's fields, each checked when it is asked for; errors name the field."""

    def __init__(self, path, values=None, prefix=""):
        self.path = path
        self.prefix = prefix
        self.values = _read_json(path) if values is None else values

    def error(self, name, text):
        return CheckpointError(f"{self.path}: {self.prefix}{name}: {text}")

    def get(self, name, kinds, default=None):
        """The field's value of one of ``kinds``; null or absent gives the default."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self.error(name, f"{value!r} is of the wrong type")
        return value

    def need(self, name, kinds):
        value = self.get(name, kinds)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def within(self, name):
        return _Fields(self.path, self.get(name, dict, {}), f"{self.prefix}{name}.")


def _read_json(path):
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: no JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: no JSON object")
    return values


def _read_config(fields):
    number = (int, float)
    architecture = fields.get("architectures", list, [None])[:1]
    kind = fields.get("model_type", str)
    if architecture != [None]:
        kind = _ARCHITECTURES.get(*architecture) if architecture else None
    if kind not in _ARCHITECTURES.values():
        found = fields.values.get("architectures") or fields.values.get("model_type")
        raise fields.error(
            "architectures", f"{found!r} is not supported (only {', '.join(_ARCHITECTURES)})"
        )
    for name in ("attention_bias", "mlp_bias"):
        if fields.get(name, bool, False):
            raise fields.error(name, "biases are not supported")
    if (activation := fields.get("hidden_act", str, "silu")) != "silu":
        raise fields.error("hidden_act", f"{activation!r} is not supported (only 'silu')")
    if fields.get("quantization_config", dict) is not None:
        raise fields.error("quantization_config", "quantised weights are not supported")

    dim = fields.need("hidden_size", int)
    n_heads = fields.need("num_attention_heads", int)
    seq_len = fields.need("max_position_embeddings", int)
    if kind == "mistral" and (fields.get("sliding_window", int) or seq_len) < seq_len:
        raise fields.error("sliding_window", "a window shorter than the context is not supported")
    head_dim = fields.get("head_dim", int)
    if head_dim is None:
        if n_heads < 1 or dim % n_heads:
            raise fields.error("num_attention_heads", f"{n_heads} does not divide hidden_size")
        head_dim = dim // n_heads
    theta, scaling = _read_rope(fields)
    return ModelConfig(
        dim=dim,
        hidden_dim=fields.need("intermediate_size", int),
        n_layers=fields.need("num_hidden_layers", int),
        n_heads=n_heads,
        n_kv_heads=fields.get("num_key_value_heads", int, 8 if kind == "mistral" else n_heads),
        head_dim=head_dim,
        vocab_size=fields.need("vocab_size", int),
        seq_len=seq_len,
        rope_theta=float(theta),
        rope_scaling=scaling,
        norm_eps=float(fields.get("rms_norm_eps", number, 1e-6)),
        tied=fields.get("tie_word_embeddings", bool, False),
    )


def _read_rope(fields):
    """theta and the RopeScaling or None, from ``rope_parameters`` or the older fields."""
    number = (int, float)
    newer = fields.within("rope_parameters")
    rope = newer if newer.values else fields.within("rope_scaling")
    theta = newer.get("rope_theta", number, fields.get("rope_theta", number, 10000.0))
    for holder in (fields, rope):
        if holder.get("partial_rotary_factor", number, 1) != 1:
            raise holder.error("partial_rotary_factor", "only 1 is supported")
    kind = rope.get("rope_type", str, rope.get("type", str, "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise rope.error("rope_type", f"{kind!r} is not supported (only 'default' and 'llama3')")
    return theta, RopeScaling(
        factor=float(rope.need("factor", number)),
        low_freq_factor=float(rope.need("low_freq_factor", number)),
        high_freq_factor=float(rope.need("high_freq_factor", number)),
        original_seq_len=rope.need("original_max_position_embeddings", int),
    )


def _read_files(path):
    """Every tensor of the directory by name, from the files its index names if it has one."""
    index = path / "model.safetensors.index.json"
    if not index.exists():
        files = [path / "model.safetensors"]
        if not files[0].exists():
            files = sorted(path.glob("*.safetensors"))
        if not files:
            raise CheckpointError(f"{path}: there is no .safetensors file")
        weight_map = None
    else:
        weight_map = _Fields(index).need("weight_map", dict)
        if not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{index}: weight_map: a file name is no text")
        files = [path / Path(name).name for name in sorted(set(weight_map.values()))]
    tensors = {}
    for file in files:
        if not file.exists():
            raise CheckpointError(f"{index}: weight_map: {file.name} is missing")
        for name, tensor in read_tensors(file).items():
            if name in tensors:
                raise CheckpointError(f"{file}: {name} is in {tensors[name].path.name} too")
            tensors[name] = tensor
    for name in weight_map or ():
        if name not in tensors:
            raise CheckpointError(f"{path / weight_map[name]}: {name} is missing")
    return tensors


def _ends(fields, vocab_size):
    """bos, eos and all eos tokens, as config.json says."""

    def token(name, value):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 0 <= value < vocab_size:
            raise fields.error(name, f"{value!r} is no token")
        return value

    bos, eos = fields.values.get("bos_token_id"), fields.values.get("eos_token_id")
    several = eos if isinstance(eos, list) else [eos] if eos is not None else []
    stop = tuple(token("eos_token_id", value) for value in several)
    bos = bos if bos is None else token("bos_token_id", bos)
    return bos, next(iter(stop), None), stop
