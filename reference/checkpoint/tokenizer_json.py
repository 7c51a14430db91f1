"""tokenizer.json: what the ``tokenizers`` library cuts, with a table of what each token prints."""

import base64
import binascii
import logging
import re
import struct

import msgspec
import tokenizers
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.schema import explain
from celosia.reference.checkpoint.tokenizer_config import read_chat, read_tokenizer_config
from celosia.reference.tokenizer import LibraryTokenizer
from celosia.reference.tokenizer_library import TokenizerError, library_errors

from celosia.printable import shown

__all__ = ["byte_level_piece", "byte_value", "read_tokenizer", "space_piece"]

LIMIT = 64 << 20  # bytes of a file
MOST_TOKENS = 1 << 22

_SAME = {*range(33, 127), *range(161, 173), *range(174, 256)}
_OTHER = [value for value in range(256) if value not in _SAME]
#: Byte-level BPE's character for each byte: itself where it prints, else one from U+0100 on.
_BYTE = {chr(value): value for value in _SAME} | {
    chr(256 + index): value for index, value in enumerate(_OTHER)
}


class _Decoder(msgspec.Struct):
    """A step of the decoder, or a sequence of them."""

    type: str
    decoders: list["_Decoder"] = []
    content: str | None = None
    start: int | None = None
    prepend_scheme: str = "always"

    @property
    def steps(self):
        return self.decoders if self.type == "Sequence" else [self]

    @property
    def strips(self):
        if self.type == "Strip":
            return self.content == " " and (self.start or 0) >= 1
        return self.type == "Metaspace" and self.prepend_scheme != "never"


class _Normalizer(msgspec.Struct):
    """A step of the normalizer, or a sequence of them."""

    type: str
    normalizers: list["_Normalizer"] = []
    precompiled_charsmap: str | None = None


class _Described(msgspec.Struct):
    """The parts of tokenizer.json that are read here; the library reads all."""

    decoder: _Decoder | None = None
    normalizer: _Normalizer | None = None


def byte_level_piece(text):
    """The bytes that ``text`` spells in byte-level BPE's alphabet, or its UTF-8 if it does not."""
    if all(character in _BYTE for character in text):
        return bytes(_BYTE[character] for character in text)
    return text.encode("utf-8")


def byte_value(text):
    """The value of a token that is spelled ``<0xNN>``, or None."""
    match = re.fullmatch("<0x([0-9A-F]{2})>", text)
    return int(match[1], 16) if match else None


def space_piece(text):
    """The bytes of a SentencePiece-like token: U+2581 is a space, <0xNN> a byte."""
    value = byte_value(text)
    return text.replace("\u2581", " ").encode("utf-8") if value is None else bytes([value])


def read_tokenizer(path, bos=None, ends=()):
    """The tokenizer of a tokenizer.json file; special tokens print nothing.

    A text begins with the token that the file's post-processor puts first. BPE dropout, which is
    for training, is turned off.

    Parameters
    ----------
    path : Path
    bos : int or None
        The begin token where the post-processor puts none.
    ends : sequence of int
        The end token and further ones, also beyond the vocabulary.

    Raises
    ------
    UnsupportedTokenizerError
        If the decoder is one that is not known.
    CheckpointError
        If the file is something else.
    OSError
        If it cannot be read.
    """
    try:
        text = read_text(path, LIMIT)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    described = _describe(path, text)
    try:
        library, first, vocabulary, n_own = _read_library(path, text)
    except TokenizerError as error:
        raise CheckpointError(f"{path}: no tokenizer.json: {error}") from None
    pieces = _pieces(path, library, vocabulary, described)
    pieces += [b""] * (max(ends, default=-1) + 1 - len(pieces))
    bos = bos if first is None else first
    strip = described.decoder is not None and any(step.strips for step in described.decoder.steps)
    eos = next(iter(ends), None)
    tokenizer = LibraryTokenizer(library, pieces, bos, eos, stop=ends, strip=strip, n_own=n_own)
    tokenizer.chat = read_chat(path.parent, read_tokenizer_config(path.parent))
    return tokenizer


def _read_library(path, text):
    """The library's tokenizer, its begin token or None, its vocabulary, and how many of the
    vocabulary's tokens are not added ones."""
    with library_errors():
        library = tokenizers.Tokenizer.from_str(text)
        library.no_truncation()
        library.no_padding()
        if getattr(library.model, "dropout", None):
            library.model.dropout = None
            logging.getLogger(__name__).warning("%s: dropout is for training: not used", path)
        encoding = library.encode("a", add_special_tokens=True)
        own = library.get_vocab(with_added_tokens=False)
        vocabulary = library.get_vocab(with_added_tokens=True)
    sequences = encoding.sequence_ids  # None for what the post-processor adds
    first = encoding.ids[0] if 0 in sequences and sequences[0] is None else None
    return library, first, vocabulary, max(own.values(), default=-1) + 1


def _describe(path, text):
    try:
        described = msgspec.json.decode(text, type=_Described)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: no tokenizer.json: {explain(error)}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        why = "nested too deeply" if deep else error
        raise CheckpointError(f"{path}: no tokenizer.json: {why}") from None
    _check_normalizer(path, described.normalizer)
    return described


def _check_normalizer(path, step):
    """Refuse character maps that the library does not survive."""
    if step is None:
        return
    for each in step.normalizers:
        _check_normalizer(path, each)
    if step.type == "Precompiled" and not _is_charsmap(step.precompiled_charsmap):
        raise CheckpointError(f"{path}: normalizer: precompiled_charsmap is no character map")


def _is_charsmap(text):
    """Whether ``text`` is base64 of a trie, its size before it, and of texts in UTF-8."""
    try:
        data = base64.b64decode(text or "", validate=True)
        (size,) = struct.unpack_from("<I", data)
        data[4 + size :].decode("utf-8")
    except (ValueError, binascii.Error, struct.error):
        return False
    return size % 4 == 0 and 0 < size <= len(data) - 4


def _pieces(path, library, vocabulary, described):
    """What each token prints."""
    convert = _converter(path, described.decoder)
    largest = max(vocabulary.values(), default=-1)
    if largest >= MOST_TOKENS:
        name = max(vocabulary, key=vocabulary.get)
        raise CheckpointError(
            f"{path}: the token {shown(name)} has the number {largest}, beyond any model's"
        )
    pieces = [b""] * (largest + 1)
    for name, token in vocabulary.items():
        pieces[token] = convert(name)
    for token, added in library.get_added_tokens_decoder().items():
        pieces[token] = b"" if added.special else added.content.encode("utf-8")
    return pieces


def _converter(path, decoder):
    """The function from a token's text to its bytes, for the decoder's steps."""
    kinds = {step.type for step in decoder.steps} if decoder else set()
    if "ByteLevel" in kinds:
        return byte_level_piece
    if kinds and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        return space_piece
    named = ", ".join(sorted(kinds)) or "null"
    raise UnsupportedTokenizerError(f"{path}: decoder: {named} is not supported")
