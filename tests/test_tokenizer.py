"""Tokenizers of the three kinds, each against something that is not ours."""

import functools
import json
import os
import struct
import sys

import gguf
import pytest
import tokenizers
from celosia.reference.checkpoint import CheckpointError, gguf_tokenizer, load_tokenizer
from celosia.reference.tokenizer import ScoreTokenizer, Tokenizer
from celosia.reference.tokenizer_library import TokenizerError, library_errors
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece_file import write_pieces
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from celosia.printable import printable

CORPUS = [
    "Once upon a time there was a café on the moon. It wasn't open; it'll open in 2024!",
    "The naïve robot said: 'I've 12345 things — and 3.14 pies — to do.'  Then it  slept.\n\n",
    "日本語のテキスト and emoji 🙂🙃 and tabs\tand\r\nlines",
]
HARD = [
    *CORPUS,
    "",
    " ",
    "  two",
    "x ",
    "\n",
    "🙂",
    "é\u0301",
    "<s>",
    "a  b   c\n\n\n d",
    "Ġ",
    "\x00",
]


def slow_join(pieces, scores, text):
    """llama2.c's loop: join the neighbours with the best score, again and again."""
    parts = list(" " + text)
    while True:
        best = None
        for i in range(len(parts) - 1):
            token = pieces.get(parts[i] + parts[i + 1])
            if token is not None and (best is None or scores[token] > best[0]):
                best = scores[token], i
        if best is None:
            return [pieces[part] for part in parts]
        i = best[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


PIECES = [" ", "a", "b", "ab", "ba", "aa", "aab", "abab", " a", " ab", "bb"]


@given(
    st.text(alphabet="ab ", min_size=1),
    st.lists(st.integers(0, 3), min_size=len(PIECES), max_size=len(PIECES)),
)
def test_joins_the_best_pair_first(text, scores):
    """Equal scores included: the leftmost pair wins."""
    vocabulary = {piece: token for token, piece in enumerate(PIECES)}
    tokenizer = ScoreTokenizer(
        [piece.encode() for piece in PIECES],
        None,
        None,
        vocabulary=vocabulary,
        scores=scores,
        byte_tokens={},
    )
    tokens = tokenizer.encode(text)
    assert tokens == slow_join(vocabulary, scores, text)
    assert tokenizer.decode(tokens) == text


# llama2.c


def test_tok512(stories260k, stories260k_model):
    expected = json.loads((stories260k / "stories260K_greedy200.json").read_text())
    tokenizer = load_tokenizer(stories260k / "tok512.bin")
    assert tokenizer.vocab_size == 512
    assert (tokenizer.bos, tokenizer.eos, tokenizer.stop) == (1, 2, {1, 2})
    assert tokenizer.decode(expected["tokens"]) == expected["text"]
    assert tokenizer.encode(expected["text"]) == expected["tokens"]
    assert tokenizer.encode(expected["text"], bos=False) == expected["tokens"][1:]
    feed = tokenizer.stream()
    assert "".join(map(feed, expected["tokens"])) == expected["text"]
    for text in HARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    # A text that spells a control token stays text.
    assert not {0, 1, 2} & set(tokenizer.encode("<s></s><unk>", bos=False))


def test_streams_whole_characters(stories260k_model):
    """A character of four byte tokens appears with the last; a cut one when the stream ends."""
    tokenizer = stories260k_model.tokenizer
    tokens = tokenizer.encode("a🙂b")
    feed = tokenizer.stream()
    assert [feed(token) for token in tokens] == ["", "a", "", "", "", "🙂", "b"]
    assert feed(None) == ""
    feed = tokenizer.stream(previous=tokens[1])
    assert feed(tokens[2]) == ""
    assert feed(None) == "\ufffd"


def test_stream_continues_a_prompt(stories260k_model):
    tokenizer = stories260k_model.tokenizer
    tokens = tokenizer.encode("Once upon a time")
    feed = tokenizer.stream(previous=tokens[2])
    assert tokenizer.decode(tokens[:3]) + "".join(map(feed, tokens[3:])) == "Once upon a time"


def tok_bin(tokens, longest=16):
    parts = [struct.pack("<i", longest)]
    for text, score in tokens:
        parts.append(struct.pack("<fi", score, len(text)) + text)
    return b"".join(parts)


CONTROLS = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0)]


def test_tok_bin_without_bytes(tmp_path):
    path = tmp_path / "tok.bin"
    path.write_bytes(tok_bin([*CONTROLS, (b" ", -1.0), (b"a", -2.0), (b" a", -3.0)]))
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("aéa") == [1, 5, 0, 4]
    assert tokenizer.decode([1, 5, 4]) == "aa"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1", "ends within max_token_length"),
        (tok_bin(CONTROLS)[:-1], "ends within token 2"),
        (tok_bin(CONTROLS) + b"\0\0\0", "ends within token 3"),
        (tok_bin([*CONTROLS, (b"x" * 17, 0.0)]), r"token 3 has the score 0.0 and the length 17"),
        (tok_bin([*CONTROLS, (b"x", float("nan"))]), "token 3 has the score nan"),
        (tok_bin([*CONTROLS, (b"\xff", 0.0)]), "token 3 is no UTF-8"),
        (tok_bin(CONTROLS[:1]), "bos must be a token below 1, not 1"),
    ],
)
def test_bad_tok_bin(tmp_path, data, message):
    path = tmp_path / "tok.bin"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)


# tokenizer.json


def byte_level_library():
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(CORPUS * 3, trainer)
    return library


def space_library():
    """Like Llama 2's: spaces as U+2581, one before the text, unknown characters as bytes."""
    library = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    library.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    library.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))],
        limit_alphabet=40,
        show_progress=False,
    )
    library.train_from_iterator(CORPUS * 3, trainer)
    described = json.loads(library.to_str())
    bytes_only = [token for token in described["added_tokens"] if token["id"] < 3]
    described["added_tokens"] = bytes_only
    library = tokenizers.Tokenizer.from_str(json.dumps(described))
    library.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return library


@pytest.mark.parametrize("make", [byte_level_library, space_library])
def test_tokenizer_json(tmp_path, make):
    library = make()
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocab_size == library.get_vocab_size()
    assert tokenizer.bos == (1 if make is space_library else None)
    for text in HARD:
        tokens = tokenizer.encode(text)
        ids = library.encode(text, add_special_tokens=False).ids
        assert tokens == [1] * (make is space_library) + ids
        assert tokenizer.decode(tokens) == library.decode(tokens)
        feed = tokenizer.stream()
        expected = printable(library.decode(tokens), keep="\n\t")  # for terminals
        assert "".join(map(feed, [*tokens, None])) == expected


def test_special_tokens_of_tokenizer_json(tmp_path):
    library = byte_level_library()
    library.add_tokens(["<tool>"])
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    tokens = tokenizer.encode("<|endoftext|>moon<tool>")
    assert tokens[0] == 0
    assert tokens[-1] == library.token_to_id("<tool>")
    assert tokenizer.decode(tokens) == "moon<tool>"
    # Tokens beyond the table print nothing.
    assert tokenizer.decode([*tokens, 1000]) == "moon<tool>"


def test_bad_tokenizer_json(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: cannot be read: No such file"):
        load_tokenizer(path)
    for text in ("{", "[]", '{"model": {"type": "other"}}'):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
            load_tokenizer(path)
    library = byte_level_library()
    library.decoder = decoders.WordPiece()
    library.save(str(path))
    with pytest.raises(CheckpointError, match="decoder: WordPiece is not supported"):
        load_tokenizer(path)
    path.write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not UTF-8: invalid"):
        load_tokenizer(path)


@functools.cache
def space_description():
    return space_library().to_str()


def changed(path, **changes):
    """Write space_library's tokenizer.json with members changed."""
    described = json.loads(space_description())
    model = described["model"] | changes.pop("model", {})
    path.write_text(json.dumps(described | {"model": model} | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": text}}, "no character")
            for text in ("AAAA", "/////w==", "!!", "", "BAAAAAAAAAD/")
        ),
        ({"decoder": {"pattern": {"String": "a"}, "content": "b"}}, r"decoder\.type: is missing"),
        ({"decoder": 5}, r"decoder: int is of the wrong type \(expected object or null\)"),
        (
            {"model": {"vocab": {"<unk>": 0, "zz": 2**32 - 1}, "merges": []}},
            "'zz' has the number 4294967295",
        ),
    ],
)
def test_hostile_tokenizer_json(tmp_path, capfd, changes, message):
    path = changed(tmp_path / "tokenizer.json", **changes)
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json: .*{message}"):
        load_tokenizer(path)
    assert capfd.readouterr().err == ""


def test_no_dropout(tmp_path, caplog):
    tokenizer = load_tokenizer(changed(tmp_path / "tokenizer.json", model={"dropout": 0.5}))
    assert "tokenizer.json: dropout is for training: not used" in caplog.text
    plain = load_tokenizer(changed(tmp_path / "tokenizer.json"))
    assert all(tokenizer.encode(CORPUS[0]) == plain.encode(CORPUS[0]) for _ in range(5))


def test_appended_token_is_no_begin_token(tmp_path):
    library = space_library()
    library.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    library.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).bos is None


def test_panics_are_one_error(capfd):
    class PanicException(BaseException):
        pass

    def panic():
        with library_errors():
            os.write(2, b"a backtrace")
            raise PanicException("at once\nmore")

    with pytest.raises(TokenizerError, match=r"^at once$"):
        panic()
    with pytest.raises(KeyboardInterrupt), library_errors():
        raise KeyboardInterrupt
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_text_that_cannot_be_cut(tmp_path):
    tokenizer = load_tokenizer(changed(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError):
        tokenizer.encode("\ud800")
    lacking = ScoreTokenizer(
        [b"a"], None, None, vocabulary={"a": 0}, scores=[0.0], byte_tokens={}, add_space=False
    )
    with pytest.raises(TokenizerError, match=r"the tokenizer has no token for '\\x1b'"):
        lacking.encode("\x1b")


def test_stream_does_not_steer_the_terminal():
    tokenizer = Tokenizer([b"\x1b[31m", b"\n\ta"], None, None)
    feed = tokenizer.stream()
    assert [feed(0), feed(1), feed(None)] == ["\\x1b[31m", "\n\ta", ""]


# GGUF


def write_gguf(path, fields):
    """A GGUF file with the tokenizer's fields only, written by the format's own library."""
    writer = gguf.GGUFWriter(path, "llama")
    kinds = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        list: writer.add_array,
    }
    for name, value in fields.items():
        kinds[type(value)](f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level_fields(library, pre):
    vocabulary = library.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    merges = json.loads(library.to_str())["model"]["merges"]
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "token_type": [3, 3] + [1] * (len(tokens) - 2),
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": 1,
        "eos_token_id": 0,
    }


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def pre_tokenizer(pre):
    """The same cuts from the library's own parts, as tokenizer.json files give them."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre != "llama-bpe")
    first = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [pre_tokenizers.Split(tokenizers.Regex(LLAMA3), "isolated")],
    }[pre]
    return pre_tokenizers.Sequence([*first, byte_level])


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe"])
def test_gguf_byte_level(tmp_path, pre):
    library = byte_level_library()
    library.pre_tokenizer = pre_tokenizer(pre)
    path = tmp_path / "model.gguf"
    fields = byte_level_fields(library, pre)
    write_gguf(path, fields)
    # As in llama.cpp: without add_bos_token only texts in Llama-3's words have a begin token.
    assert load_tokenizer(path).bos == (1 if pre == "llama-bpe" else None)
    write_gguf(path, fields | {"add_bos_token": True})
    tokenizer = load_tokenizer(path)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.stop) == (1, 0, {0})
    for text in [*HARD, "a1234567b 12 '99 IT'S <|start|>x<|endoftext|>", "a\n b\r\n\tc!\n?"]:
        tokens = tokenizer.encode(text)
        assert tokens == [1, *library.encode(text).ids]
        assert tokenizer.decode(tokens) == library.decode(tokens)


def test_gguf_default_words(tmp_path):
    """Punctuation on its own, digits by threes from the left."""
    library = byte_level_library()
    fields = byte_level_fields(library, "default")
    del fields["pre"]
    path = tmp_path / "model.gguf"
    write_gguf(path, fields)
    tokenizer = load_tokenizer(path)
    words = [
        word for word, _ in tokenizer.backend.pre_tokenizer.pre_tokenize_str("a 12345, (b) $c")
    ]
    assert words == ["a", "Ġ", "123", "45", ",", "Ġ", "(", "b", ")", "Ġ", "$", "c"]
    for text in HARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_gguf_user_tokens(tmp_path):
    library = byte_level_library()
    fields = byte_level_fields(library, "gpt-2")
    fields["tokens"] += ["<tool é>"]
    fields["token_type"] += [4]
    fields |= {"add_bos_token": False, "eot_token_id": 1, "eom_token_id": 3}
    path = tmp_path / "model.gguf"
    write_gguf(path, fields)
    tokenizer = load_tokenizer(path)
    tokens = tokenizer.encode("moon<tool é>")
    assert tokens[-1] == len(fields["tokens"]) - 1
    assert tokenizer.decode(tokens) == "moon<tool é>"
    assert tokenizer.bos is None
    assert tokenizer.stop == {0, 1, 3}


def test_gguf_fields_are_those_that_are_written():
    names = {value for name, value in vars(gguf.Keys.Tokenizer).items() if name.isupper()}
    read = {f"tokenizer.ggml.{name}" for name in gguf_tokenizer._Fields.__struct_fields__}
    assert read <= names


SCORE_FIELDS = {
    "model": "llama",
    "tokens": [
        *("<unk>", "<s>", "</s>"),
        *(f"<0x{value:02X}>" for value in range(256)),
        *("\u2581", "a", "b", "ab", "\u2581a", "\u2581ab", "<tool>"),
    ],
    "scores": [0.0] * 259 + [-5.0, -6.0, -7.0, -2.0, -3.0, -1.0, 0.0],
    "token_type": [2, 3, 3] + [6] * 256 + [1] * 6 + [4],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "unknown_token_id": 0,
}
SPACE, A, B, AB, SPACE_A, SPACE_AB, TOOL = range(259, 266)


def test_gguf_scores(tmp_path):
    path = tmp_path / "model.gguf"
    write_gguf(path, SCORE_FIELDS)
    tokenizer = load_tokenizer(path)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.vocab_size) == (1, 2, 266)
    assert tokenizer.encode("ab") == [1, SPACE_AB]
    assert tokenizer.encode("aab b") == [1, SPACE_A, AB, SPACE, B]
    assert tokenizer.encode("é") == [1, SPACE, 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.encode("a</s>b<tool>") == [1, SPACE_A, 2, SPACE, B, TOOL]
    assert tokenizer.decode([1, SPACE_AB, TOOL, SPACE, B]) == "ab<tool> b"
    for text in ["ab é a\n", "", " a", "日本"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("unknown", [0, None])
def test_gguf_byte_tokens_typed_normal(tmp_path, unknown):
    """Tokens spelled <0xNN> are bytes, whatever a conversion took them for."""
    path = tmp_path / "model.gguf"
    fields = SCORE_FIELDS | {"token_type": [2, 3, 3] + [1] * 262 + [4]}
    fields = {k: v for k, v in fields.items() if k != "unknown_token_id" or unknown is not None}
    write_gguf(path, fields)
    assert load_tokenizer(path).encode("é") == [1, SPACE, 3 + 0xC3, 3 + 0xA9]


def test_gguf_scores_without_space(tmp_path):
    path = tmp_path / "model.gguf"
    write_gguf(path, SCORE_FIELDS | {"add_space_prefix": False})
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("ab a") == [1, AB, SPACE_A]
    assert tokenizer.decode([1, SPACE_A]) == " a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "bert"}, "tokenizer.ggml.model: 'bert' is not supported"),
        ({"model": None}, "tokenizer.ggml.model: is missing"),
        ({"tokens": None}, "tokenizer.ggml.tokens: is missing"),
        ({"tokens": [1, 2]}, r"tokenizer.ggml.tokens\[0\]: 1 is of the wrong type"),
        ({"scores": [0.0]}, "tokenizer.ggml.scores: must have 266 values"),
        ({"scores": None}, "tokenizer.ggml.scores: is missing"),
        ({"scores": [float("nan")] * 266}, "tokenizer.ggml.scores: nan is no score"),
        ({"scores": ["x"] * 266}, r"tokenizer.ggml.scores\[0\]: 'x' is of the wrong type"),
        ({"token_type": [7] * 266}, r"tokenizer.ggml.token_type\[0\]: must be <= 6, not 7"),
        ({"tokens": True}, "tokenizer.ggml.tokens: True is of the wrong type"),
        ({"model": ["llama"]}, r"tokenizer.ggml.model: \['llama'\] is of the wrong type"),
        ({"token_type": [1]}, "tokenizer.ggml.token_type: must have 266 values"),
        ({"token_type": [6] * 266}, "tokenizer.ggml.tokens: '<unk>' is no byte"),
        ({"bos_token_id": 266}, "tokenizer.ggml.bos_token_id: 266 is no token"),
        ({"model": "gpt2"}, "tokenizer.ggml.merges: is missing"),
        ({"model": "gpt2", "pre": "qwen2"}, "tokenizer.ggml.pre: 'qwen2' is not supported"),
        ({"model": "gpt2", "merges": ["ab"]}, "tokenizer.ggml.merges: must be a list of texts"),
        ({"model": "gpt2", "merges": ["a z"]}, "tokenizer.ggml.merges: .*z"),
    ],
)
def test_bad_gguf_tokenizer(tmp_path, change, message):
    path = tmp_path / "model.gguf"
    fields = SCORE_FIELDS | change
    write_gguf(path, {name: value for name, value in fields.items() if value is not None})
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(path)


def test_bad_ends():
    with pytest.raises(ValueError, match="eos must be a token below 2, not 2"):
        Tokenizer([b"a", b"b"], 0, 2)


def test_sentencepiece_needs_its_package(tmp_path, monkeypatch):
    write_pieces(tmp_path / "tokenizer.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(CheckpointError, match=r"pip install 'celosia\[sentencepiece\]'"):
        load_tokenizer(tmp_path)


def test_sentencepiece(tmp_path):
    """As the package cuts; control tokens and added ones are one token each."""
    package = pytest.importorskip("sentencepiece")
    path = write_pieces(tmp_path / "tokenizer.model")
    tokenizer = load_tokenizer(tmp_path)
    processor = package.SentencePieceProcessor(model_proto=path.read_bytes())
    assert (tokenizer.bos, tokenizer.eos, tokenizer.stop) == (1, 2, {2})
    for text in ("hello", "hello a", "é🙂", "hello\n"):
        tokens = tokenizer.encode(text)
        assert tokens == [1, *processor.encode(text)]
        assert tokenizer.decode(tokens) == text
    assert tokenizer.encode("<s>hello</s>") == [1, 1, 259, 2]
    added = {"262": {"content": "<|im_end|>", "special": True}}
    config = {"add_bos_token": False, "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("hello<|im_end|>") == [259, 262]
    assert tokenizer.piece(259, 262) == b""
    assert (tokenizer.n_own, tokenizer.vocab_size) == (262, 263)


def test_bad_sentencepiece(tmp_path, capfd):
    pytest.importorskip("sentencepiece")
    path = tmp_path / "tokenizer.model"
    without_trainer = write_pieces(path).read_bytes()[:-7]
    for data, reason in ((b"no such thing", r"\w"), (without_trainer, "byte_fallback")):
        path.write_bytes(data)
        match = rf"tokenizer\.model: no tokenizer of SentencePiece \(.*{reason}.*\)"
        with pytest.raises(CheckpointError, match=match):
            load_tokenizer(path)
    write_pieces(path)
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"added_tokens_decoder": {"99999": {"content": "x"}}}')
    with pytest.raises(CheckpointError, match="added_tokens_decoder: 99999 is no token"):
        load_tokenizer(path)
    assert capfd.readouterr().err == ""
