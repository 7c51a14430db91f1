"""A conversation with a machine behind a transport."""

import time

from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.tokenizer_library import TokenizerError
from celosia.sim.driver import Driver, DriverError

from celosia.printable import NAME, printable
from celosia.terminal import utf8

__all__ = ["Chat"]


class Chat:
    """Texts in, their continuations out; with a template, questions in and answers out.

    Parameters
    ----------
    transport : celosia.sim.driver.Transport
    tokenizer : celosia.reference.tokenizer.Tokenizer
    tokens : int
        The most tokens that one text is continued with.
    temperature : float
    seed : int
        Of the first text; the next text has the next one.
    vocab_size : int, optional
        Of the model; by default the tokenizer's, beyond which some models go.
    template : celosia.reference.checkpoint.chat_template.ChatTemplate, optional
        How a conversation is written: all of it goes to the machine, which computes what is new.

    Raises
    ------
    celosia.sim.driver.DriverError
        If nobody answers, or the machine is one for another vocabulary.
    celosia.reference.checkpoint.CheckpointError
        If the template cannot be used.
    """

    def __init__(
        self, transport, tokenizer, tokens, temperature, seed, vocab_size=None, template=None
    ):
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.temperature = temperature
        self.seed = seed
        self.driver = Driver(transport)
        self.driver.reset()
        self.info = self.driver.info()
        expected = vocab_size or tokenizer.vocab_size
        if self.info.vocab_size != expected:
            raise DriverError(
                f"the machine's model has {self.info.vocab_size} tokens, this one {expected}"
            )
        ends = sorted(tokenizer.stop, key=lambda token: (token != tokenizer.eos, token))
        ends += self._end_of_turn(template) if template else []
        self.stops = [token for token in dict.fromkeys(ends) if token < expected]
        self.template = template
        self.messages = []
        self.held = []  # the tokens whose keys and values the machine has

    def _end_of_turn(self, template):
        """The token that ends an answer, in a list, if it is one that prints nothing."""
        first = self.tokenizer.encode(template.end_of_turn(), bos=False)[:1]
        return first if first and not self.tokenizer.piece(None, first[0]) else []

    def greeting(self):
        """What the machine says it is, in a line."""
        info = self.info
        clock = f", {info.frequency / 1e6:g} MHz" if info.frequency else ""
        return (
            f"{printable(info.name, NAME)}: {info.weight_parallelism} weights a cycle, "
            f"{info.max_seq_len} positions{clock}"
        )

    def loop(self, lines, output):
        """Answer each of ``lines`` until ``/quit`` or their end."""
        for line in lines:
            try:
                text = utf8(line.rstrip("\n"))
            except ValueError as error:
                print(f"not answered: the line {error}", file=output, flush=True)
                continue
            if text == "/quit":
                return
            if text == "/reset":
                self.driver.reset()
                self.messages, self.held = [], []
                print("ready", file=output, flush=True)
            elif text == "/status":
                status = self.driver.status()
                state = "busy" if status.busy else "ready"
                print(f"{state}, {status.tokens} tokens given", file=output, flush=True)
            elif text.startswith("/"):
                print("commands: /reset, /status, /quit", file=output, flush=True)
            else:
                self.answer(text, output)

    def answer(self, text, output):
        """Continue ``text``, or answer it; a line about the speed comes last."""
        asked = [*self.messages, {"role": "user", "content": text}]
        try:
            prompt = self._prompt(text, asked)
        except (CheckpointError, TokenizerError) as error:
            print(f"not answered: {error}", file=output, flush=True)
            return
        room = self.info.max_seq_len - len(prompt) + 1
        if not prompt:
            print("this model has no begin token: type a text", file=output, flush=True)
            return
        if room < 1:
            again = " (/reset begins anew)" if self.messages else ""
            print(f"too long: {len(prompt)} tokens{again}", file=output, flush=True)
            return
        begin = time.monotonic()
        run = self._run(prompt, min(self.tokens, room))
        if not self.template:
            output.write(printable(self.tokenizer.decode(prompt), keep="\n\t"))
        feed = self.tokenizer.stream(prompt[-1])
        tokens, n_tokens = [], 0
        for token in run:
            n_tokens += 1
            if token.token not in self.stops:
                tokens.append(token.token)
                output.write(printable(feed(token.token), keep="\n\t"))
                output.flush()
        output.write(printable(feed(None), keep="\n\t"))
        seconds = time.monotonic() - begin
        if self.template:
            begun = self.tokenizer.decode(prompt[-1:])
            reply = self.tokenizer.decode([prompt[-1], *tokens])[len(begun) :]
            self.messages = [*asked, {"role": "assistant", "content": reply}]
            # The last token was not processed; what came after a stop leaves nothing certain.
            self.held = prompt + tokens[: n_tokens - 1] if run.given == n_tokens else []
        speed = f"{n_tokens} tokens, {n_tokens / seconds:,.0f} per second at the host"
        cycles = run.done.counters.get("counter_0")
        if cycles and self.info.frequency:
            speed += f", {run.given * self.info.frequency / cycles:,.0f} in the machine"
        elif cycles and run.given:
            speed += f", {cycles / run.given:,.0f} cycles each"
        print(f"\n[{speed}]", file=output, flush=True)

    def _prompt(self, text, asked):
        """The tokens of a text, or of the conversation that it ends."""
        if not self.template:
            return self.tokenizer.encode(text)
        tokens = self.tokenizer.encode(self.template.render(asked), bos=False)
        if max(tokens, default=0) >= self.info.vocab_size:
            raise TokenizerError(f"token {max(tokens)} is not one of the model's")
        return tokens

    def _run(self, prompt, count):
        """The machine's run, from the first position on that it does not hold."""
        held = len(self.held)
        start = held if held < len(prompt) and prompt[:held] == self.held else 0
        run = self.driver.run(
            prompt[start:], count, self.temperature, self.seed, stop=self.stops, start=start
        )
        self.seed = (self.seed + 1) % (1 << 32)
        return run
