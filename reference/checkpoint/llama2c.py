"""llama2.c's files: version-0 checkpoints and tok*.bin tokenizers."""

import math
import struct

import numpy as np
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import map_file, read_file
from celosia.reference.checkpoint.tensors import check_values
from celosia.reference.checkpoint.tokenizer_json import byte_value
from celosia.reference.families import describe
from celosia.reference.model import Model, ModelConfig
from celosia.reference.tokenizer import ScoreTokenizer

__all__ = ["read_model", "read_tokenizer"]

_FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_HEADER = struct.Struct("<7i")
_MAGIC = 0x616B3432  # of the later versions, which begin with it
_TOKENIZER_LIMIT = 16 << 20  # bytes
_LARGEST = 2**24  # of any field: a larger one shows that the file is something else


def read_model(path, with_tokenizer=True):
    """The model of a version-0 checkpoint: seven int32, then float32 tensors, RoPE interleaved.

    A negative ``vocab_size`` says that the head is not tied. ``head_dim`` is ``dim / n_heads``, the
    norm's epsilon 1e-5 and the RoPE base 10000. The format carries no tokenizer.
    """
    data = map_file(path)
    config = _read_config(path, data[: _HEADER.size].tobytes())
    offset = _HEADER.size

    def take(name, *shape):
        nonlocal offset
        size = 4 * math.prod(shape)
        if offset + size > len(data):
            raise CheckpointError(
                f"{path}: the file ends within {name} ({len(data)} bytes, "
                f"{offset + size} needed so far)"
            )
        offset += size
        return data[offset - size : offset].view("<f4").reshape(shape)

    def stack(name):
        return take(name, config.n_layers, *shapes[name])

    shapes = describe(config).layer_shapes(0)
    tensors = {"embedding": take("embedding", config.vocab_size, config.dim)}
    order = ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up")
    stacks = {name: stack(name) for name in order}
    tensors["norm"] = take("norm", config.dim)
    take("freq_cis", 2, config.seq_len, config.head_dim // 2)  # the angles are computed instead
    if not config.tied:
        tensors["head"] = take("head", config.vocab_size, config.dim)
    if offset != len(data):
        raise CheckpointError(
            f"{path}: the header's sizes need {offset} bytes, but the file has {len(data)}"
        )
    for name, tensor in tensors.items():
        check_values(path, name, tensor)
    layers = [
        {
            name: check_values(path, f"layers[{index}].{name}", stack[index])
            for name, stack in stacks.items()
        }
        for index in range(config.n_layers)
    ]
    return Model(config, tensors, layers)


def _read_config(path, header):
    if len(header) < _HEADER.size:
        raise CheckpointError(f"{path}: the file ends within the header ({len(header)} bytes)")
    fields = dict(zip(_FIELDS, _HEADER.unpack(header), strict=True))
    if fields["dim"] == _MAGIC:
        raise CheckpointError(
            f"{path}: a llama2.c checkpoint of version {fields['hidden_dim']}; "
            "only version 0 is supported"
        )
    tied = fields["vocab_size"] > 0
    fields["vocab_size"] = abs(fields["vocab_size"])
    for name, value in fields.items():
        if not 0 < value <= _LARGEST:
            raise CheckpointError(
                f"{path}: {name} is {value}, so this is no llama2.c version-0 checkpoint"
            )
    if fields["dim"] % fields["n_heads"]:
        raise CheckpointError(
            f"{path}: n_heads ({fields['n_heads']}) must divide dim ({fields['dim']})"
        )
    return ModelConfig(**fields, head_dim=fields["dim"] // fields["n_heads"], tied=tied)


def read_tokenizer(path):
    """The tokenizer of a tok*.bin: an int32, then per token a float32 score, a length, the bytes.

    Token 0 is unknown, 1 begins and 2 ends a text; like llama2.c's own program, a text also ends at
    token 1. Texts that look like control tokens stay text.
    """
    data = read_file(path, _TOKENIZER_LIMIT)
    if len(data) < 4:
        raise CheckpointError(f"{path}: the file ends within max_token_length")
    (longest,) = struct.unpack_from("<i", data)
    texts, scores, offset = [], [], 4
    while offset < len(data):
        name = f"token {len(texts)}"
        if offset + 8 > len(data):
            raise CheckpointError(f"{path}: the file ends within {name}")
        score, length = struct.unpack_from("<fi", data, offset)
        offset += 8
        if not 0 <= length <= longest or not np.isfinite(score):
            raise CheckpointError(
                f"{path}: {name} has the score {score} and the length {length} "
                f"(longest: {longest}), so this is no tok*.bin file"
            )
        if offset + length > len(data):
            raise CheckpointError(f"{path}: the file ends within {name}")
        try:
            texts.append(data[offset : offset + length].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path}: {name} is no UTF-8: {error}") from error
        scores.append(score)
        offset += length
    return _tokenizer(texts, scores)


def _tokenizer(texts, scores):
    vocabulary, byte_tokens = {}, {}
    pieces = [text.encode("utf-8") for text in texts]
    pieces[:3] = [b""] * len(pieces[:3])
    for token, text in enumerate(texts[3:], start=3):
        if (value := byte_value(text)) is not None:
            byte_tokens[value] = token
            pieces[token] = bytes([value])
        else:
            vocabulary.setdefault(text, token)
    return ScoreTokenizer(
        pieces,
        bos=1,
        eos=2,
        stop=(1,),
        vocabulary=vocabulary,
        scores=scores,
        byte_tokens=byte_tokens,
        unknown=0,
    )
