"""The tokenizer inside a GGUF file: SentencePiece-like ("llama") or byte-level BPE ("gpt2")."""

import re

from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.tokenizer_json import byte_level_piece
from celosia.reference.tokenizer import LibraryTokenizer, ScoreTokenizer
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

__all__ = ["read_tokenizer"]

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)


def read_tokenizer(container):
    """The tokenizer that the fields ``tokenizer.ggml.*`` describe.

    Control and user-defined tokens are respected in the text; control tokens print nothing.
    """
    fields = _Fields(container)
    readers = {"llama": _score_tokenizer, "gpt2": _byte_level_tokenizer}
    kind = fields.need("model")
    if kind not in readers:
        raise fields.error("model", f"{kind!r} is not supported (only 'llama' and 'gpt2')")
    texts = fields.need("tokens")
    if not texts or not all(isinstance(text, str) for text in texts):
        raise fields.error("tokens", "must be a list of texts")
    types = fields.list("token_type", len(texts), [_NORMAL] * len(texts))
    ends = {name: fields.token(f"{name}_token_id", len(texts)) for name in ("bos", "eos", "eot")}
    if fields.get("add_bos_token", True) is False:
        ends["bos"] = None
    stop = () if ends["eot"] is None else (ends["eot"],)
    return readers[kind](fields, texts, types, ends["bos"], ends["eos"], stop)


class _Fields:
    """The fields ``tokenizer.ggml.*`` of a file; errors name the field."""

    def __init__(self, container):
        self.container = container

    def error(self, name, text):
        return CheckpointError(f"{self.container.path}: tokenizer.ggml.{name}: {text}")

    def get(self, name, default=None):
        return self.container.fields.get(f"tokenizer.ggml.{name}", default)

    def need(self, name):
        value = self.get(name)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def list(self, name, length, default=None):
        values = self.need(name) if default is None else self.get(name, default)
        if not isinstance(values, list) or len(values) != length:
            raise self.error(name, f"must have {length} values, one for each token")
        return values

    def token(self, name, vocab_size):
        value = self.get(name)
        if value is not None and not (isinstance(value, int) and 0 <= value < vocab_size):
            raise self.error(name, f"{value!r} is no token")
        return value


def _score_tokenizer(fields, texts, types, bos, eos, stop):
    pieces, vocabulary, byte_tokens, special = [], {}, {}, {}
    for token, (text, kind) in enumerate(zip(texts, types, strict=True)):
        spaced = text.replace("\u2581", " ")
        piece = spaced.encode("utf-8", "surrogateescape")
        if kind in (_NORMAL, _USER):
            vocabulary.setdefault(spaced, token)
        if kind in (_CONTROL, _USER):
            special[spaced] = token
        if kind in (_CONTROL, _UNKNOWN):
            piece = b""
        if kind == _BYTE:
            match = re.fullmatch("<0x([0-9A-F]{2})>", text)
            if match is None:
                raise fields.error("tokens", f"{text!r} is no byte")
            byte_tokens[int(match[1], 16)] = token
            piece = bytes([int(match[1], 16)])
        pieces.append(piece)
    return ScoreTokenizer(
        pieces,
        bos,
        eos,
        stop=stop,
        vocabulary=vocabulary,
        scores=fields.list("scores", len(texts)),
        byte_tokens=byte_tokens,
        unknown=fields.token("unknown_token_id", len(texts)),
        special=special,
        add_space=fields.get("add_space_prefix", True) is True,
    )


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")
#: How a text is cut into words before the merges, each expression within the words of the last.
_WORDS = {
    "default": _DEFAULT,
    "gpt-2": (_GPT2,),
    "llama-bpe": (_LLAMA3,),
    "smollm": (r"\p{N}", _GPT2),
}


def _byte_level_tokenizer(fields, texts, types, bos, eos, stop):
    words = fields.get("pre", "default")
    if words not in _WORDS:
        supported = ", ".join(_WORDS)
        raise fields.error("pre", f"{words!r} is not supported (only {supported})")
    merges = fields.need("merges")
    if not all(isinstance(merge, str) and merge.count(" ") == 1 for merge in merges):
        raise fields.error("merges", "must be a list of texts with one space each")
    vocabulary = {text: token for token, text in enumerate(texts)}
    try:
        model = models.BPE(
            vocab=vocabulary,
            merges=[tuple(merge.split(" ")) for merge in merges],
            ignore_merges=words == "llama-bpe",
        )
    except Exception as error:  # the library raises Exception itself
        raise fields.error("merges", str(error)) from error
    library = Library(model)
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(words), "isolated") for words in _WORDS[words]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    pieces = []
    for text, kind in zip(texts, types, strict=True):
        if kind in (_CONTROL, _USER):
            added = AddedToken(text, special=kind == _CONTROL, normalized=False)
            library.add_special_tokens([added]) if added.special else library.add_tokens([added])
        if kind == _USER:
            pieces.append(text.encode("utf-8"))
        else:
            pieces.append(b"" if kind == _CONTROL else byte_level_piece(text))
    return LibraryTokenizer(library, pieces, bos, eos, stop=stop)
