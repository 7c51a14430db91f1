"""Chat templates: how a model writes a conversation, as its file says in Jinja."""

import json
import subprocess
import sys
import tempfile

from celosia.reference.checkpoint.error import CheckpointError

from celosia import process
from celosia.printable import cut

__all__ = ["ChatTemplate"]

SECONDS = 10  # of the processor, for one conversation
MEMORY = 1 << 30  # bytes
LONGEST = 1 << 20  # characters of a conversation


class ChatTemplate:
    """A template in Jinja, as ``transformers`` and llama.cpp have it.

    It comes from elsewhere: it is rendered in Jinja's sandbox, by a process of its own that ends
    after 10 seconds of the processor or at 1 GiB.

    Parameters
    ----------
    text : str
    tokens : dict of str to str
        The texts of special tokens by their names: ``bos_token``, ``eos_token``.
    path : str or Path
        Where it is from, for messages.
    """

    def __init__(self, text, tokens, path):
        self.text = text
        self.tokens = tokens
        self.path = path

    def render(self, messages, reply=True):
        """The text of a conversation, special tokens included.

        Parameters
        ----------
        messages : list of {"role": str, "content": str}
        reply : bool
            What begins the assistant's next answer comes last.

        Raises
        ------
        CheckpointError
            If the template is broken, refuses the conversation, does what is not allowed, or finds
            no end.
        """
        values = {"messages": messages, "add_generation_prompt": reply, **self.tokens}
        work = {"text": self.text, "values": values, "memory": MEMORY, "seconds": SECONDS}
        command = [sys.executable, "-P", "-m", "celosia.reference.checkpoint.render_template"]
        try:
            with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
                done = process.run(
                    command,
                    input=json.dumps(work),
                    timeout=6 * SECONDS,
                    cwd=folder,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    encoding="utf-8",
                )
            answer = json.loads(done.stdout) if done.returncode == 0 else {}
        except subprocess.TimeoutExpired:
            raise self._error(f"found no end within {6 * SECONDS} s") from None
        except ValueError:
            answer = {}
        if "text" in answer and len(answer["text"]) <= LONGEST:
            return answer["text"]
        raise self._error(answer.get("error", "took too much memory or time"))

    def end_of_turn(self):
        """What the template writes behind an assistant's answer, up to the next turn: a text."""
        mark = "\x01answer\x02"
        user = {"role": "user", "content": "a"}
        text = self.render([user, {"role": "assistant", "content": mark}], reply=False)
        return text.rpartition(mark)[2] if mark in text else ""

    def _error(self, text):
        return CheckpointError(f"{self.path}: the chat template {cut(text, 200)}")
