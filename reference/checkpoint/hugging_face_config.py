"""config.json and generation_config.json of Llama-family models."""

import logging
from typing import Annotated

import msgspec
from celosia.reference.checkpoint.error import CheckpointError, spelled
from celosia.reference.checkpoint.foreign_json import read_json
from celosia.reference.checkpoint.schema import Size
from celosia.reference.model import ModelConfig, RopeScaling

from celosia.printable import shown

__all__ = ["model_config", "read_ends", "read_fields"]

_ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral"}
#: Our names of the fields, and theirs.
_NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
}
_Number = Annotated[float, msgspec.Meta(gt=0, le=1e30)]
_Token = int | list[int] | None


class _Rope(msgspec.Struct):
    """``rope_parameters``, or ``rope_scaling`` as it was called before."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: _Number | None = None
    partial_rotary_factor: float | None = None
    factor: _Number | None = None
    low_freq_factor: _Number | None = None
    high_freq_factor: _Number | None = None
    original_max_position_embeddings: Size | None = None


class _Fields(msgspec.Struct):
    """config.json."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    vocab_size: Size
    max_position_embeddings: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    rms_norm_eps: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    tie_word_embeddings: bool | None = None
    architectures: list[str] | None = None
    model_type: str | None = None
    hidden_act: str | None = None
    attention_bias: bool | None = None
    mlp_bias: bool | None = None
    quantization_config: dict | None = None
    sliding_window: Size | None = None
    rope_theta: _Number | None = None
    partial_rotary_factor: float | None = None
    original_max_position_embeddings: Size | None = None
    rope_parameters: _Rope | None = None
    rope_scaling: _Rope | None = None
    bos_token_id: int | None = None
    eos_token_id: _Token = None


class _Generation(msgspec.Struct):
    """generation_config.json."""

    eos_token_id: _Token = None


def read_fields(path):
    """The fields of the directory's config.json.

    Raises
    ------
    CheckpointError
        If it is not there, or a field is not what it should be.
    """
    path = path / "config.json"
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    return read_json(path, _Fields)


def model_config(fields, path):
    """The ModelConfig that the fields describe.

    A window of attention that is shorter than the context shortens the context to it.

    Raises
    ------
    CheckpointError
        If they describe another kind of model.
    """
    path = path / "config.json"

    def error(name, text):
        return CheckpointError(f"{path}: {name}: {text}")

    kind = _kind(fields, error)
    for name in ("attention_bias", "mlp_bias"):
        if getattr(fields, name):
            raise error(name, "biases are not supported")
    if fields.hidden_act not in (None, "silu", "swish"):
        raise error("hidden_act", f"{shown(fields.hidden_act)} is not supported (only 'silu')")
    if fields.quantization_config is not None:
        raise error("quantization_config", "quantised weights are not supported")
    dim, n_heads, head_dim = fields.hidden_size, fields.num_attention_heads, fields.head_dim
    if head_dim is None:
        if dim % n_heads:
            raise error("num_attention_heads", f"{n_heads} does not divide hidden_size")
        head_dim = dim // n_heads
    seq_len = fields.max_position_embeddings
    if kind == "mistral" and (fields.sliding_window or seq_len) < seq_len:
        seq_len = fields.sliding_window
        logging.getLogger(__name__).warning(
            "%s: sliding_window: the context is taken as the window's %d positions", path, seq_len
        )
    with spelled(path, _NAMES):
        theta, scaling = _read_rope(fields, error)
        return ModelConfig(
            dim=dim,
            hidden_dim=fields.intermediate_size,
            n_layers=fields.num_hidden_layers,
            n_heads=n_heads,
            n_kv_heads=fields.num_key_value_heads or (8 if kind == "mistral" else n_heads),
            head_dim=head_dim,
            vocab_size=fields.vocab_size,
            seq_len=seq_len,
            rope_theta=theta,
            rope_scaling=scaling,
            norm_eps=1e-6 if fields.rms_norm_eps is None else fields.rms_norm_eps,
            tied=fields.tie_word_embeddings or False,
        )


def _kind(fields, error):
    named = fields.architectures
    kind = fields.model_type
    if named is not None:
        kind = _ARCHITECTURES.get(named[0]) if named else None
    if kind not in _ARCHITECTURES.values():
        found = shown(named or fields.model_type)
        known = ", ".join(_ARCHITECTURES)
        raise error("architectures", f"{found} is not supported (only {known})")
    return kind


def _read_rope(fields, error):
    """theta and the RopeScaling or None, from ``rope_parameters`` or the older fields."""
    where, rope = "rope_parameters", fields.rope_parameters
    if rope is None or rope == _Rope():
        where, rope = "rope_scaling", fields.rope_scaling or _Rope()
    theta = rope.rope_theta or fields.rope_theta or 10000.0
    for name, holder in (("", fields), (f"{where}.", rope)):
        if holder.partial_rotary_factor not in (None, 1):
            raise error(f"{name}partial_rotary_factor", "only 1 is supported")
    kind = rope.rope_type or rope.type or "default"
    # Within the trained length "dynamic" changes nothing, and "linear" not with the factor 1.
    if kind in ("default", "dynamic") or (kind == "linear" and rope.factor == 1):
        return theta, None
    if kind != "llama3":
        supported = "'default', 'dynamic' and 'llama3'"
        raise error(f"{where}.rope_type", f"{shown(kind)} is not supported (only {supported})")
    length = rope.original_max_position_embeddings or fields.original_max_position_embeddings
    values = {
        "factor": rope.factor,
        "low_freq_factor": rope.low_freq_factor,
        "high_freq_factor": rope.high_freq_factor,
        "original_max_position_embeddings": length,
    }
    for name, value in values.items():
        if value is None:
            raise error(f"{where}.{name}", "is missing")
    values["original_seq_len"] = values.pop("original_max_position_embeddings")
    try:
        return theta, RopeScaling(**values)
    except ValueError as fault:
        raise error(where, fault) from None


def read_ends(path, fields):
    """The begin token, or None, and the end tokens, as config.json and generation_config.json say.

    Raises
    ------
    CheckpointError
        If one is no token of the model.
    """
    bos, ends = fields.bos_token_id, _tokens(fields.eos_token_id)
    _check_tokens(path / "config.json", fields.vocab_size, bos_token_id=_tokens(bos))
    _check_tokens(path / "config.json", fields.vocab_size, eos_token_id=ends)
    file = path / "generation_config.json"
    if file.exists():
        more = _tokens(read_json(file, _Generation).eos_token_id)
        _check_tokens(file, fields.vocab_size, eos_token_id=more)
        ends += [token for token in more if token not in ends]
    return bos, tuple(ends)


def _tokens(value):
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _check_tokens(path, vocab_size, **named):
    for name, tokens in named.items():
        for token in tokens:
            if token not in range(vocab_size):
                raise CheckpointError(f"{path}: {name}: {token} is no token")
