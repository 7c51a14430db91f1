"""GGUF files of the architecture "llama", with their tokenizer."""

import logging
from typing import Annotated

import msgspec
from celosia.reference.checkpoint import gguf_tokenizer
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError, spelled
from celosia.reference.checkpoint.gguf_container import Container
from celosia.reference.checkpoint.schema import Count, Size, convert
from celosia.reference.checkpoint.tensors import check_shape, check_values
from celosia.reference.families import describe
from celosia.reference.model import Model, ModelConfig

from celosia.printable import shown

__all__ = ["read_model", "read_tokenizer"]

_LAYER = {
    "attention_norm": "attn_norm",
    "wq": "attn_q",
    "wk": "attn_k",
    "wv": "attn_v",
    "wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "w_gate": "ffn_gate",
    "w_up": "ffn_up",
    "w_down": "ffn_down",
}
_FIELDS = {
    "dim": "embedding_length",
    "hidden_dim": "feed_forward_length",
    "n_layers": "block_count",
    "n_heads": "attention.head_count",
    "n_kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "seq_len": "context_length",
    "rope_theta": "rope.freq_base",
    "norm_eps": "attention.layer_norm_rms_epsilon",
}
_ONLY = {
    "value_length": "attention.value_length",
    "rotated": "rope.dimension_count",
    "scaling": "rope.scaling.type",
    "linear": "rope.scale_linear",
    "experts": "expert_count",
}


class _Fields(msgspec.Struct, rename=_FIELDS | _ONLY):
    """The metadata behind ``llama.``."""

    dim: Size
    hidden_dim: Size
    n_layers: Size
    n_heads: Size
    seq_len: Size
    norm_eps: Annotated[float, msgspec.Meta(ge=0, le=1)]
    n_kv_heads: Size | None = None
    head_dim: Size | None = None
    rope_theta: Annotated[float, msgspec.Meta(gt=0, le=1e30)] = 10000.0
    value_length: int | None = None
    rotated: int | None = None
    scaling: str = "none"
    linear: float = 1.0
    experts: int = 0


class _Part(msgspec.Struct, rename={"number": "split.no", "count": "split.count"}):
    """Which part of a split file this is."""

    number: Count = 0
    count: Count = 0


def read_model(path, with_tokenizer=True):
    """The model in a GGUF file; the format holds the rows of wq and wk interleaved already.

    Without a tensor output.weight the head is tied. ``rope_freqs.weight`` becomes
    ``rope_factors``.
    """
    container = Container(path)
    _check_whole(container)
    shapes = dict(container.shapes)
    factors = None
    if "rope_freqs.weight" in shapes:
        if len(shapes.pop("rope_freqs.weight")) != 1:
            raise CheckpointError(f"{path}: rope_freqs.weight must have one dimension")
        factors = tuple(container.float32("rope_freqs.weight").tolist())
    config = _read_config(container, factors)

    def take(name, shape):
        if name not in shapes:
            raise CheckpointError(f"{path}: {name} is missing")
        check_shape(path, name, shapes.pop(name), shape)
        return check_values(path, name, container.float32(name))

    layer_shapes = describe(config).layer_shapes(0)
    tensors = {"embedding": take("token_embd.weight", (config.vocab_size, config.dim))}
    layers = [
        {
            name: take(f"blk.{index}.{foreign}.weight", layer_shapes[name])
            for name, foreign in _LAYER.items()
        }
        for index in range(config.n_layers)
    ]
    tensors["norm"] = take("output_norm.weight", (config.dim,))
    if not config.tied:
        tensors["head"] = take("output.weight", (config.vocab_size, config.dim))
    for name in shapes:
        raise CheckpointError(f"{path}: {name} is a tensor that a Llama model does not have")
    tokenizer = None
    if with_tokenizer and "tokenizer.ggml.model" in container.fields:
        try:
            tokenizer = gguf_tokenizer.read_tokenizer(container)
        except UnsupportedTokenizerError as error:
            logging.getLogger(__name__).warning("%s: read without tokenizer", error)
    return Model(config, tensors, layers, tokenizer)


def read_tokenizer(path):
    """The tokenizer of a GGUF file, which need not hold a model."""
    return gguf_tokenizer.read_tokenizer(Container(path))


def _check_whole(container):
    """Refuse a part of a split file."""
    part = convert(container.fields, _Part, container.path)
    if part.count > 1:
        raise CheckpointError(
            f"{container.path}: split.count: part {part.number + 1} of {part.count} of a split "
            "file, which is not supported: join the parts first"
        )


def _read_config(container, factors):
    path, prefix = container.path, "llama."
    architecture = container.fields.get("general.architecture")
    if architecture != "llama":
        fault = f"{shown(architecture)} is not supported" if architecture else "is missing"
        raise CheckpointError(f"{path}: general.architecture: {fault}")
    values = {
        name.removeprefix(prefix): value
        for name, value in container.fields.items()
        if name.startswith(prefix)
    }
    fields = convert(values, _Fields, path, prefix)
    head_dim = fields.head_dim or fields.dim // fields.n_heads
    for name, only in (
        ("value_length", head_dim),
        ("rotated", head_dim),
        ("scaling", "none"),
        ("linear", 1.0),
        ("experts", 0),
    ):
        if (value := getattr(fields, name)) not in (only, None):
            raise CheckpointError(f"{path}: {prefix}{_ONLY[name]}: {shown(value)} is not supported")
    if "token_embd.weight" not in container.shapes:
        raise CheckpointError(f"{path}: token_embd.weight is missing")
    names = {ours: f"{prefix}{foreign}" for ours, foreign in _FIELDS.items()}
    with spelled(path, names | {"rope_factors": "rope_freqs.weight"}):
        return ModelConfig(
            dim=fields.dim,
            hidden_dim=fields.hidden_dim,
            n_layers=fields.n_layers,
            n_heads=fields.n_heads,
            n_kv_heads=fields.n_kv_heads or fields.n_heads,
            head_dim=head_dim,
            vocab_size=container.shapes["token_embd.weight"][0],
            seq_len=fields.seq_len,
            rope_theta=fields.rope_theta,
            norm_eps=fields.norm_eps,
            tied="output.weight" not in container.shapes,
            rope_factors=factors,
        )
