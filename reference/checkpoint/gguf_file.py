"""GGUF files of the architecture "llama", with their tokenizer."""

from celosia.reference.checkpoint import gguf_tokenizer
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.gguf_container import Container
from celosia.reference.families import describe
from celosia.reference.model import Model, ModelConfig

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


def read_model(path, with_tokenizer=True):
    """The model in a GGUF file; the format holds the rows of wq and wk interleaved already.

    Without a tensor output.weight the head is tied. ``rope_freqs.weight`` becomes
    ``rope_factors``.
    """
    container = Container(path)
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
        found = shapes.pop(name)
        if found != shape:
            raise CheckpointError(
                f"{path}: {name} must have the shape {list(shape)}, not {list(found)}"
            )
        return container.float32(name)

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
        tokenizer = gguf_tokenizer.read_tokenizer(container)
    return Model(config, tensors, layers, tokenizer)


def read_tokenizer(path):
    """The tokenizer of a GGUF file, which need not hold a model."""
    return gguf_tokenizer.read_tokenizer(Container(path))


def _read_config(container, factors):
    number = (int, float)

    def get(name, kinds, default=None):
        value = container.fields.get(name, default)
        if value is None:
            raise CheckpointError(f"{container.path}: {name} is missing")
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise CheckpointError(f"{container.path}: {name}: {value!r} is of the wrong type")
        return value

    def refuse(name, value):
        raise CheckpointError(f"{container.path}: {name}: {value!r} is not supported")

    if (architecture := get("general.architecture", str)) != "llama":
        refuse("general.architecture", architecture)
    dim = get("llama.embedding_length", int)
    n_heads = get("llama.attention.head_count", int)
    head_dim = get("llama.attention.key_length", int, dim // n_heads if n_heads else 0)
    for name, only in (
        ("llama.attention.value_length", head_dim),
        ("llama.rope.dimension_count", head_dim),
        ("llama.rope.scaling.type", "none"),
        ("llama.rope.scale_linear", 1.0),
        ("llama.expert_count", 0),
    ):
        if (value := container.fields.get(name, only)) != only:
            refuse(name, value)
    if "token_embd.weight" not in container.shapes:
        raise CheckpointError(f"{container.path}: token_embd.weight is missing")
    return ModelConfig(
        dim=dim,
        hidden_dim=get("llama.feed_forward_length", int),
        n_layers=get("llama.block_count", int),
        n_heads=n_heads,
        n_kv_heads=get("llama.attention.head_count_kv", int, n_heads),
        head_dim=head_dim,
        vocab_size=container.shapes["token_embd.weight"][0],
        seq_len=get("llama.context_length", int),
        rope_theta=float(get("llama.rope.freq_base", number, 10000.0)),
        norm_eps=float(get("llama.attention.layer_norm_rms_epsilon", number)),
        tied="output.weight" not in container.shapes,
        rope_factors=factors,
    )
