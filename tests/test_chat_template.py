"""Chat templates: what ``transformers`` would render, where they are found, and what is refused."""

import io
import json
from types import SimpleNamespace

import pytest
from celosia.boards.chat import Chat
from celosia.protocol.messages import Reason, Token
from celosia.reference.checkpoint import CheckpointError, chat_template, load, load_tokenizer
from celosia.reference.checkpoint.chat_template import ChatTemplate
from celosia.reference.model import random_model
from celosia.reference.tokenizer import Tokenizer
from celosia.sim.generation import Done
from gguf.constants import Keys
from test_checkpoint_gguf import foreign_fields, foreign_tensors, write_gguf
from test_tokenizer import space_library

CHATML = """{% for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' -}}
{% endif %}"""
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} "
    "[/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
TALK = [
    {"role": "user", "content": "Hi <b>"},
    {"role": "assistant", "content": "é"},
    {"role": "user", "content": "Bye "},
]


def template(text, **tokens):
    return ChatTemplate(text, tokens, "x.json")


@pytest.mark.parametrize(
    ("text", "expected", "end"),
    [
        (
            CHATML,
            "<|im_start|>user\nHi <b><|im_end|>\n<|im_start|>assistant\né<|im_end|>\n"
            "<|im_start|>user\nBye <|im_end|>\n<|im_start|>assistant\n",
            "<|im_end|>\n",
        ),
        (LLAMA2, "<s>[INST] Hi <b> [/INST] é </s>[INST] Bye [/INST]", " </s>"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "Hi <b>"}', ""),
        ("{% for m in messages %}{% break %}{% endfor %}x{{ tools }}", "x", ""),
        (
            "{% for m in messages %}{% generation %}{{ m.content }};{% endgeneration %}"
            "{% endfor %}",
            "Hi <b>;é;Bye ;",
            ";",
        ),
    ],
)
def test_rendering(text, expected, end):
    made = template(text, bos_token="<s>", eos_token="</s>")
    assert made.render(TALK) == expected
    assert made.end_of_turn() == end


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for %}", "is broken: line 1: "),
        ("{{ raise_exception('only one turn') }}", "refuses this conversation: only one turn"),
        ("{{ ''.__class__.__mro__ }}", "does what is not allowed: the attribute __class__"),
        (
            "{{ raise_exception.__globals__ }}",
            "does what is not allowed: the attribute __globals__",
        ),
        ("{{ messages.append(1) }}", "does what is not allowed: "),
        ("{{ messages[9].content.x }}", "fails: "),
        ("{{ range(10 ** 9) }}", "fails: Range too big"),
        ("{{ 'x' * 10 ** 10 }}", "took too much memory or time"),
        ("{{ 'x' * 10 ** 7 }}", "took too much memory or time"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "fails: maximum recursion"),
        ("{% include '/etc/passwd' %}", "fails: "),
    ],
)
def test_broken_and_hostile_templates(text, message):
    with pytest.raises(CheckpointError, match=rf"^x\.json: the chat template {message}") as caught:
        template(text).render(TALK)
    assert len(str(caught.value)) < 250


def test_templates_without_end(monkeypatch):
    monkeypatch.setattr(chat_template, "SECONDS", 1)
    loop = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
    with pytest.raises(CheckpointError, match=r"found no end within 6 s|too much memory or time"):
        template(loop).render(TALK)


def test_of_a_directory(tmp_path):
    """chat_template.jinja goes before tokenizer_config.json, of which "default" is taken."""
    space_library().save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).chat is None
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(config | {"chat_template": "a{{eos_token}}"}))
    assert load_tokenizer(tmp_path).chat.render([]) == "a</s>"
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    path.write_text(json.dumps(config | {"chat_template": several}))
    assert load_tokenizer(tmp_path).chat.render([]) == "d"
    path.write_text(json.dumps(config | {"chat_template": several[:1]}))
    assert load_tokenizer(tmp_path).chat is None
    (tmp_path / "chat_template.jinja").write_text("j{{ bos_token }}")
    assert load_tokenizer(tmp_path).chat.render([]) == "j<s>"
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    )
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode(tokenizer.chat.end_of_turn(), bos=False) == [2]
    assert tokenizer.piece(None, 2) == b""
    path.write_text('{"chat_template": 3}')
    with pytest.raises(CheckpointError, match=r"_config\.json: chat_template: 3 is of the"):
        load_tokenizer(tmp_path)


def test_of_a_gguf_file(tmp_path, tiny_config):
    model = random_model(tiny_config())
    tokens = ["<unk>", "<s>", "</s>", *map(chr, range(97, 127))]
    fields = {
        "model": "llama",
        "tokens": tokens,
        "scores": [0.0] * len(tokens),
        "token_type": [2, 3, 3] + [1] * 30,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    fields = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    fields |= foreign_fields(model.config)
    text = "{{ bos_token }}|{{ messages[0].content }}|{{ eos_token }}"
    key = Keys.Tokenizer.CHAT_TEMPLATE  # as llama.cpp's own scripts write it
    tensors = foreign_tensors(model)
    path = write_gguf(tmp_path / "chat.gguf", fields | {key: text}, tensors)
    assert load(path).tokenizer.chat.render(TALK[2:]) == "<s>|Bye |</s>"
    write_gguf(path, fields | {key: 3}, tensors)
    with pytest.raises(CheckpointError, match=r"tokenizer\.chat_template: 3 is of the wrong type"):
        load(path)


class Turns:
    """A tokenizer of single bytes and of "<end>", which is token 256."""

    vocab_size, bos, eos, stop = 257, None, None, ()

    def encode(self, text, bos=True):
        parts = text.encode().split(b"<end>")
        return [t for n, part in enumerate(parts) for t in ([256] if n else []) + [*part]]

    def piece(self, previous, token):
        return b"" if token == 256 else bytes([token])

    decode = Tokenizer.decode
    stream = Tokenizer.stream


class Machine:
    """A driver that answers each run with the next of ``answers``, and keeps what it was asked."""

    def __init__(self, answers):
        self.answers = iter(answers)
        self.asked = []

    def reset(self):
        pass

    def info(self):
        return SimpleNamespace(vocab_size=257, max_seq_len=200, frequency=0)

    def run(self, prompt, count, temperature, seed, stop, start):
        self.asked.append((bytes(t % 256 for t in prompt), start, stop))
        return Run([Token(t, 0) for t in next(self.answers)])


class Run(list):
    """What a driver gives."""

    done = Done(Reason.STOP, {})

    @property
    def given(self):
        return len(self)


def talk(monkeypatch, answers, text):
    machine = Machine(answers)
    monkeypatch.setattr("celosia.boards.chat.Driver", lambda transport: machine)
    return machine, Chat(None, Turns(), 9, 0.0, 0, template=template(text))


def test_conversation(monkeypatch):
    """Each turn goes on from the last; the machine computes what is new, and stops at its end."""
    text = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<end>{% endfor %}a:"
    answers = ([*b"yo", 256], [*b"ok\xc3"], [*b"x", 256], [*b"z", 256])
    machine, chat = talk(monkeypatch, answers, text)
    output = io.StringIO()
    chat.loop(["hi", "du", "so", "/reset", "he"], output)
    assert [asked[:2] for asked in machine.asked] == [
        (b"u:hi\0a:", 0),
        (b"\0u:du\0a:", 9),  # the end of the answer was not processed
        (b"\xef\xbf\xbd\0u:so\0a:", 19),  # half a character became another text
        (b"u:he\0a:", 0),
    ]
    assert all(stop == [256] for _, _, stop in machine.asked)
    lines = [line for line in output.getvalue().splitlines() if not line.startswith("[")]
    assert lines == ["yo", "ok\ufffd", "x", "ready", "z"]


def test_questions_that_a_template_refuses(monkeypatch):
    text = "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('no') }}{% endif %}"
    machine, chat = talk(monkeypatch, ([*b"yo"],), text + "{{ m.content }}{% endfor %}")
    output = io.StringIO()
    chat.loop(["no", "x" * 201, "hi"], output)
    lines = output.getvalue().splitlines()
    assert lines[:3] == [
        "not answered: x.json: the chat template refuses this conversation: no",
        "too long: 201 tokens",
        "yo",
    ]
    assert machine.asked == [(b"hi", 0, [])]
    with pytest.raises(CheckpointError, match="is broken"):
        talk(monkeypatch, (), "{% for %}")
