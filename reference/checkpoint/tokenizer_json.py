"""tokenizer.json: what the ``tokenizers`` library cuts, with a table of what each token prints."""

import json
import re

import tokenizers
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.tokenizer import LibraryTokenizer

__all__ = ["byte_level_piece", "read_tokenizer"]

_SAME = {*range(33, 127), *range(161, 173), *range(174, 256)}
_OTHER = [value for value in range(256) if value not in _SAME]
#: Byte-level BPE's character for each byte: itself where it prints, else one from U+0100 on.
_BYTE = {chr(value): value for value in _SAME} | {
    chr(256 + index): value for index, value in enumerate(_OTHER)
}


def byte_level_piece(text):
    """The bytes that ``text`` spells in byte-level BPE's alphabet, or its UTF-8 if it does not."""
    if all(character in _BYTE for character in text):
        return bytes(_BYTE[character] for character in text)
    return text.encode("utf-8")


def _space_piece(text):
    """The bytes of a SentencePiece-like token: U+2581 is a space, <0xNN> a byte."""
    if match := re.fullmatch("<0x([0-9A-F]{2})>", text):
        return bytes([int(match[1], 16)])
    return text.replace("\u2581", " ").encode("utf-8")


def read_tokenizer(path, bos=None, eos=None, stop=()):
    """The tokenizer of a tokenizer.json file; special tokens print nothing.

    Parameters
    ----------
    bos, eos, stop
        As of :class:`~celosia.reference.tokenizer.Tokenizer`. Without ``bos``, it is the token
        that the file's post-processor puts first, if any.
    """
    text = path.read_text(encoding="utf-8")
    try:
        library = tokenizers.Tokenizer.from_str(text)
        described = json.loads(text)
    except Exception as error:  # the library raises Exception itself
        raise CheckpointError(f"{path}: no tokenizer.json: {error}") from error
    library.no_truncation()
    library.no_padding()
    if bos is None:
        bos = next(iter(library.encode("", add_special_tokens=True).ids), None)
    decoders = _steps(described.get("decoder"), "decoders")
    kinds = {step["type"] for step in decoders}
    if "ByteLevel" in kinds:
        convert = byte_level_piece
    elif kinds and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        convert = _space_piece
    else:
        named = ", ".join(sorted(kinds)) or "null"
        raise CheckpointError(f"{path}: decoder: {named} is not supported")
    vocabulary = library.get_vocab(with_added_tokens=True)
    pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for name, token in vocabulary.items():
        pieces[token] = convert(name)
    for token, added in library.get_added_tokens_decoder().items():
        pieces[token] = b"" if added.special else added.content.encode("utf-8")
    strip = any(_strips(step) for step in decoders)
    return LibraryTokenizer(library, pieces, bos, eos, stop=stop, strip=strip)


def _steps(node, members):
    """The steps of a sequence, or the one step that ``node`` is, or none."""
    if node is None:
        return []
    return node[members] if node["type"] == "Sequence" else [node]


def _strips(step):
    if step["type"] == "Strip":
        return step["content"] == " " and step["start"] >= 1
    if step["type"] == "Metaspace":
        return step.get("prepend_scheme", "always") != "never"
    return False
