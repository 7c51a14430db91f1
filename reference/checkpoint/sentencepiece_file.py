"""tokenizer.model: SentencePiece's file, whose texts the ``sentencepiece`` package cuts."""

import importlib

from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError
from celosia.reference.checkpoint.files import read_file
from celosia.reference.checkpoint.tokenizer_config import read_chat, read_tokenizer_config
from celosia.reference.checkpoint.tokenizer_json import space_piece
from celosia.reference.tokenizer import Tokenizer
from celosia.reference.tokenizer_library import TokenizerError, library_errors

from celosia.printable import printable

__all__ = ["read_tokenizer"]

LIMIT = 64 << 20  # bytes of a file


class _PieceTokenizer(Tokenizer):
    """A tokenizer of the ``sentencepiece`` package."""

    def __init__(self, processor, *arguments, **options):
        super().__init__(*arguments, **options)
        self._processor = processor

    def _cut(self, text):
        with library_errors():
            return self._processor.encode(text)


def read_tokenizer(path, ends=()):
    """The tokenizer of a tokenizer.model file; control tokens print nothing.

    As ``transformers`` has it, a text begins with the file's begin token, unless the
    tokenizer_config.json beside it says that none is added. Control tokens, and those that this
    file adds, are respected in the text.

    Parameters
    ----------
    path : Path
    ends : sequence of int
        End tokens beside the file's own.

    Raises
    ------
    UnsupportedTokenizerError
        If the package is not there.
    CheckpointError
        If the file is something else.
    OSError
        If it cannot be read.
    """
    data = read_file(path, LIMIT)
    try:
        package = importlib.import_module("sentencepiece")
    except ImportError:
        raise UnsupportedTokenizerError(
            f"{path}: a tokenizer of SentencePiece needs the sentencepiece package: "
            "pip install 'celosia[sentencepiece]'"
        ) from None
    try:
        with library_errors():
            processor = package.SentencePieceProcessor(model_proto=data)
    except TokenizerError as error:
        text = f"{path}: no tokenizer of SentencePiece ({printable(str(error))})"
        raise CheckpointError(text) from None
    config = read_tokenizer_config(path.parent)
    pieces, special = [], {}
    for token in range(processor.get_piece_size()):
        text = processor.id_to_piece(token)
        silent = processor.is_control(token) or processor.is_unknown(token)
        pieces.append(b"" if silent else space_piece(text))
        if processor.is_control(token):
            special[text] = token
    n_own = len(pieces)
    special |= _added(path, config, pieces)
    bos, eos = (None if token < 0 else token for token in (processor.bos_id(), processor.eos_id()))
    spaced = processor.encode("a", out_type=str)[0].startswith("\u2581")
    tokenizer = _PieceTokenizer(
        processor,
        pieces,
        None if config.add_bos_token is False else bos,
        next(iter(ends), eos),
        stop={*ends, eos} - {None},
        strip=spaced,
        special=special,
    )
    tokenizer.n_own = n_own
    tokenizer.chat = read_chat(path.parent, config)
    return tokenizer


def _added(path, config, pieces):
    """The tokens that tokenizer_config.json adds, ``{text: token}``; ``pieces`` grows for them."""
    added = {}
    for number, token in config.added_tokens_decoder.items():
        if not number.isdecimal() or int(number) > len(pieces) + len(config.added_tokens_decoder):
            file = path.parent / "tokenizer_config.json"
            raise CheckpointError(f"{file}: added_tokens_decoder: {number[:20]} is no token")
        pieces += [b""] * (int(number) + 1 - len(pieces))
        pieces[int(number)] = b"" if token.special else token.content.encode("utf-8")
        added[token.content] = int(number)
    return added
