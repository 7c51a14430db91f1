"""Tokenizers: text to tokens and back, whatever file they come from.

Every tokenizer has a table of pieces, the bytes each token stands for; the subclasses differ in how
they cut a text into pieces.
"""

import codecs
import heapq
import re
from itertools import pairwise
from typing import Any

from celosia.reference.tokenizer_library import TokenizerError, library_errors

from celosia.printable import printable, shown

__all__ = ["LibraryTokenizer", "ScoreTokenizer", "Tokenizer"]


class Tokenizer:
    """Text to tokens and back.

    Parameters
    ----------
    pieces : list of bytes
        What each token prints: nothing for a control token.
    bos, eos : int or None
        The tokens at the start of a text and at its end.
    stop : iterable of int
        Further tokens that end a text.
    strip : bool
        The space that ``encode`` puts before a text is taken off its first piece.
    special : dict of str to int
        Texts that become one token wherever they stand.

    Attributes
    ----------
    chat : celosia.reference.checkpoint.chat_template.ChatTemplate or None
        How the model writes a conversation, where its file says so.
    """

    chat: Any = None

    def __init__(self, pieces, bos, eos, *, stop=(), strip=False, special=None):
        for name, token in (("bos", bos), ("eos", eos)):
            if token is not None and not 0 <= token < len(pieces):
                raise ValueError(f"{name} must be a token below {len(pieces)}, not {token!r}")
        self.pieces = pieces
        self.n_own = len(pieces)
        self.bos = bos
        self.eos = eos
        self.stop = frozenset(stop) | ({eos} - {None})
        self.strip = strip
        self.special = special or {}
        longest_first = sorted(filter(None, self.special), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @property
    def vocab_size(self):
        return len(self.pieces)

    def encode(self, text, bos=True):
        """The tokens of ``text``, after the token ``bos`` where the tokenizer has one.

        Raises
        ------
        TokenizerError
            If the tokenizer cannot cut the text.
        """
        start = [self.bos] if bos and self.bos is not None else []
        tokens, end = start, 0
        for match in self._special.finditer(text):
            tokens += self._cut(text[end : match.start()])
            tokens.append(self.special[match.group()])
            end = match.end()
        return tokens + self._cut(text[end:])

    def _cut(self, text):
        raise NotImplementedError

    def piece(self, previous, token):
        """The bytes ``token`` prints after the token ``previous`` (None at the start).

        Tokens beyond the table, with which some models fill up their vocabulary, print nothing.
        """
        piece = self.pieces[token] if token < len(self.pieces) else b""
        if self.strip and previous in (None, self.bos) and token != self.bos:
            return piece.removeprefix(b" ")
        return piece

    def decode(self, tokens):
        """The text of ``tokens``; bytes that are no UTF-8 become U+FFFD."""
        tokens = list(tokens)
        pieces = [self.piece(*pair) for pair in pairwise([None, *tokens])]
        return b"".join(pieces).decode("utf-8", "replace")

    def stream(self, previous=None):
        """A function from each next token to the text it completes, for printing as tokens arrive.

        A character whose bytes come in several tokens is given whole, with the last of them.
        ``previous`` is the token before the first. Called with None, the function gives what is
        left of an incomplete character. What would steer a terminal is escaped, but for line ends
        and tabs.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def feed(token):
            nonlocal previous
            if token is None:
                return printable(decoder.decode(b"", final=True), keep="\n\t")
            piece = self.piece(previous, token)
            previous = token
            return printable(decoder.decode(piece), keep="\n\t")

        return feed


class ScoreTokenizer(Tokenizer):
    """SentencePiece-like BPE: join the neighbours whose joint piece scores highest, until none.

    Among equals the leftmost pair is joined. A character without a piece becomes its bytes' tokens,
    or ``unknown`` where the vocabulary has none.

    Parameters
    ----------
    pieces, bos, eos, stop, special
        As of :class:`Tokenizer`.
    vocabulary : dict of str to int
        The pieces that text may become.
    scores : sequence of float
    byte_tokens : dict of int to int
        The token of each byte value.
    unknown : int or None
    add_space : bool
        A space is put before the text, and after each special token.
    """

    def __init__(
        self,
        pieces,
        bos,
        eos,
        *,
        vocabulary,
        scores,
        byte_tokens,
        unknown=None,
        special=None,
        add_space=True,
        stop=(),
    ):
        super().__init__(pieces, bos, eos, stop=stop, strip=add_space, special=special)
        self.vocabulary = vocabulary
        self.scores = scores
        self.byte_tokens = byte_tokens
        self.unknown = unknown
        self.add_space = add_space

    def _cut(self, text):
        if not text:
            return []
        parts = list(" " + text if self.add_space else text)  # None: joined to the part before
        before = list(range(-1, len(parts) - 1))
        after = list(range(1, len(parts) + 1))
        heap = []

        def offer(left, right):
            if left >= 0 and right < len(parts):
                joint = parts[left] + parts[right]
                token = self.vocabulary.get(joint)
                if token is not None:
                    heapq.heappush(heap, (-self.scores[token], left, right, joint))

        for right in range(1, len(parts)):
            offer(right - 1, right)
        while heap:
            _, left, right, joint = heapq.heappop(heap)
            if parts[left] is None or parts[right] is None or parts[left] + parts[right] != joint:
                continue  # one of the two has been joined to another
            parts[left], parts[right] = joint, None
            after[left] = after[right]
            if after[right] < len(parts):
                before[after[right]] = left
            offer(before[left], left)
            offer(left, after[left])
        return [token for part in parts if part is not None for token in self._tokens(part)]

    def _tokens(self, part):
        token = self.vocabulary.get(part)
        if token is not None:
            return [token]
        values = part.encode("utf-8", "replace")
        if all(value in self.byte_tokens for value in values):
            return [self.byte_tokens[value] for value in values]
        if self.unknown is None:
            raise TokenizerError(f"the tokenizer has no token for {shown(part)}")
        return [self.unknown]


class LibraryTokenizer(Tokenizer):
    """A tokenizer of the ``tokenizers`` library, as a tokenizer.json describes it.

    The library cuts the text; its special tokens are respected in the text, and its
    post-processor (which would add a start token of its own) is not run.

    Parameters
    ----------
    library : tokenizers.Tokenizer
    pieces, bos, eos, stop, strip
        As of :class:`Tokenizer`.
    n_own : int, optional
        How many of the tokens belong to the vocabulary; those beyond were added to it. By default
        all.
    """

    def __init__(self, library, pieces, bos, eos, *, stop=(), strip=False, n_own=None):
        super().__init__(pieces, bos, eos, stop=stop, strip=strip)
        self.backend = library
        self.n_own = self.n_own if n_own is None else n_own

    def _cut(self, text):
        with library_errors():
            return self.backend.encode(text, add_special_tokens=False).ids
