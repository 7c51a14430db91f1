"""The tokenizer inside a GGUF file: SentencePiece-like ("llama") or byte-level BPE ("gpt2")."""

import math
from typing import Annotated

import msgspec
from celosia.reference.checkpoint.chat_template import ChatTemplate
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError
from celosia.reference.checkpoint.schema import Count, convert
from celosia.reference.checkpoint.tokenizer_json import byte_level_piece, byte_value
from celosia.reference.tokenizer import LibraryTokenizer, ScoreTokenizer
from celosia.reference.tokenizer_library import TokenizerError, library_errors
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from celosia.printable import shown

__all__ = ["read_tokenizer"]

_PREFIX = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)


class _Fields(msgspec.Struct):
    """The metadata behind ``tokenizer.ggml.``."""

    model: str
    tokens: list[str]
    token_type: list[Annotated[int, msgspec.Meta(ge=0, le=_BYTE)]] | None = None
    scores: list[float] | None = None
    merges: list[str] | None = None
    pre: str = "default"
    bos_token_id: Count | None = None
    eos_token_id: Count | None = None
    eot_token_id: Count | None = None
    eom_token_id: Count | None = None
    unknown_token_id: Count | None = None
    add_bos_token: bool | None = None
    add_space_prefix: bool = True


def read_tokenizer(container):
    """The tokenizer that the fields ``tokenizer.ggml.*`` describe.

    Control and user-defined tokens are respected in the text; control tokens print nothing.
    Without ``add_bos_token`` a text of the kind "llama" begins with the begin token, one of
    "gpt2" only with Llama-3's words.
    """
    values = {
        name.removeprefix(_PREFIX): value
        for name, value in container.fields.items()
        if name.startswith(_PREFIX)
    }
    fields = convert(values, _Fields, container.path, _PREFIX)

    def error(name, text, kind=CheckpointError):
        return kind(f"{container.path}: {_PREFIX}{name}: {text}")

    readers = {"llama": _score_tokenizer, "gpt2": _byte_level_tokenizer}
    if fields.model not in readers:
        text = f"{shown(fields.model)} is not supported (only 'llama' and 'gpt2')"
        raise error("model", text, UnsupportedTokenizerError)
    size = len(fields.tokens)
    if not size:
        raise error("tokens", "must be a list of texts, not empty")
    for name in ("bos_token_id", "unknown_token_id", *_ENDS):
        token = getattr(fields, name)
        if token is not None and token >= size:
            raise error(name, f"{token} is no token")
    fields.token_type = fields.token_type or [_NORMAL] * size
    if len(fields.token_type) != size:
        raise error("token_type", f"must have {size} values, one for each token")
    tokenizer = readers[fields.model](fields, error)
    if (template := container.fields.get(_TEMPLATE)) is not None:
        ends = {"bos_token": fields.bos_token_id, "eos_token": fields.eos_token_id}
        texts = {name: fields.tokens[token] for name, token in ends.items() if token is not None}
        template = convert(template, str, container.path, _TEMPLATE)
        tokenizer.chat = ChatTemplate(template, texts, container.path)
    return tokenizer


def _ends(fields, adds_bos):
    """The begin token, the end token and all end tokens."""
    adds_bos = adds_bos if fields.add_bos_token is None else fields.add_bos_token
    stop = {getattr(fields, name) for name in _ENDS[1:]} - {None}
    return fields.bos_token_id if adds_bos else None, fields.eos_token_id, stop


def _score_tokenizer(fields, error):
    if fields.scores is None:
        raise error("scores", "is missing")
    if len(fields.scores) != len(fields.tokens):
        raise error("scores", f"must have {len(fields.tokens)} values, one for each token")
    if any(map(math.isnan, fields.scores)):
        raise error("scores", "nan is no score")
    pieces, vocabulary, byte_tokens, special = [], {}, {}, {}
    for token, (text, kind) in enumerate(zip(fields.tokens, fields.token_type, strict=True)):
        spaced = text.replace("\u2581", " ")
        piece = spaced.encode("utf-8", "surrogateescape")
        value = byte_value(text) if kind in (_NORMAL, _BYTE) else None
        if value is not None:
            byte_tokens[value] = token
            piece = bytes([value])
        elif kind == _BYTE:
            raise error("tokens", f"{shown(text)} is no byte")
        elif kind in (_NORMAL, _USER):
            vocabulary.setdefault(spaced, token)
        if kind in (_CONTROL, _USER):
            special[spaced] = token
        pieces.append(b"" if kind in (_CONTROL, _UNKNOWN) else piece)
    bos, eos, stop = _ends(fields, adds_bos=True)
    return ScoreTokenizer(
        pieces,
        bos,
        eos,
        stop=stop,
        vocabulary=vocabulary,
        scores=fields.scores,
        byte_tokens=byte_tokens,
        unknown=fields.unknown_token_id,
        special=special,
        add_space=fields.add_space_prefix,
    )


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")
#: The names of Llama-3's words, whose texts begin with the begin token.
_LLAMA3_NAMES = ("llama-bpe", "llama-v3", "llama3")
#: How a text is cut into words before the merges, each expression within the words of the last.
_WORDS = {
    "default": _DEFAULT,
    "gpt-2": (_GPT2,),
    **dict.fromkeys(_LLAMA3_NAMES, (_LLAMA3,)),
    "smollm": (r"\p{N}", _GPT2),
}


def _byte_level_tokenizer(fields, error):
    if fields.pre not in _WORDS:
        text = f"{shown(fields.pre)} is not supported (only {', '.join(_WORDS)})"
        raise error("pre", text, UnsupportedTokenizerError)
    if fields.merges is None:
        raise error("merges", "is missing")
    if not all(merge.count(" ") == 1 for merge in fields.merges):
        raise error("merges", "must be a list of texts with one space each")
    try:
        with library_errors():
            library, pieces = _byte_level_library(fields)
    except TokenizerError as fault:
        raise error("merges", str(fault)) from None
    bos, eos, stop = _ends(fields, adds_bos=fields.pre in _LLAMA3_NAMES)
    return LibraryTokenizer(library, pieces, bos, eos, stop=stop)


def _byte_level_library(fields):
    """The library's tokenizer, and what each token prints."""
    model = models.BPE(
        vocab={text: token for token, text in enumerate(fields.tokens)},
        merges=[tuple(merge.split(" ")) for merge in fields.merges],
        ignore_merges=fields.pre in _LLAMA3_NAMES,
    )
    library = Library(model)
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(words), "isolated") for words in _WORDS[fields.pre]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    pieces = []
    for text, kind in zip(fields.tokens, fields.token_type, strict=True):
        if kind in (_CONTROL, _USER):
            added = AddedToken(text, special=kind == _CONTROL, normalized=False)
            library.add_special_tokens([added]) if added.special else library.add_tokens([added])
        if kind == _USER:
            pieces.append(text.encode("utf-8"))
        else:
            pieces.append(b"" if kind == _CONTROL else byte_level_piece(text))
    return library, pieces
