"""tokenizer_config.json and chat_template.jinja: how a directory's texts are written."""

import msgspec
from celosia.reference.checkpoint.chat_template import ChatTemplate
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.foreign_json import LIMIT, read_json

__all__ = ["read_chat", "read_tokenizer_config"]


class _Token(msgspec.Struct):
    """A token and its text."""

    content: str
    special: bool = False


class _Named(msgspec.Struct):
    """One of several templates."""

    name: str
    template: str


class TokenizerConfig(msgspec.Struct):
    """The fields that are read."""

    bos_token: str | _Token | None = None
    eos_token: str | _Token | None = None
    add_bos_token: bool | None = None
    added_tokens_decoder: dict[str, _Token] = {}
    chat_template: str | list[_Named] | None = None

    @property
    def texts(self):
        """The texts of the begin and end tokens, by their names in templates."""
        named = {"bos_token": self.bos_token, "eos_token": self.eos_token}
        texts = {n: t.content if isinstance(t, _Token) else t for n, t in named.items()}
        return {name: text for name, text in texts.items() if text is not None}


def read_tokenizer_config(folder):
    """What tokenizer_config.json in ``folder`` says; without one, nothing is said.

    Raises
    ------
    CheckpointError
        If it is no such file; the message names the field.
    """
    path = folder / "tokenizer_config.json"
    return read_json(path, TokenizerConfig) if path.exists() else TokenizerConfig()


def read_chat(folder, config):
    """The ChatTemplate of a directory, or None.

    chat_template.jinja goes before tokenizer_config.json; of its templates, "default" is taken.
    """
    path, text = folder / "chat_template.jinja", config.chat_template
    if path.exists():
        try:
            text = read_text(path, LIMIT)
        except ValueError as error:
            raise CheckpointError(str(error)) from None
    else:
        path = folder / "tokenizer_config.json"
    if isinstance(text, list):
        text = next((each.template for each in text if each.name == "default"), None)
    return None if text is None else ChatTemplate(text, config.texts, path)
