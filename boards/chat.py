"""A conversation with a machine behind a transport."""

import time

from celosia.reference.tokenizer_library import TokenizerError
from celosia.sim.driver import Driver, DriverError

from celosia.printable import NAME, printable
from celosia.terminal import utf8

__all__ = ["Chat"]


class Chat:
    """Texts in, their continuations out.

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

    Raises
    ------
    celosia.sim.driver.DriverError
        If nobody answers, or the machine is one for another vocabulary.
    """

    def __init__(self, transport, tokenizer, tokens, temperature, seed, vocab_size=None):
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
        self.stops = [token for token in ends if token < expected]

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
        """Continue ``text``; a line about the speed comes last."""
        try:
            prompt = self.tokenizer.encode(text)
        except TokenizerError as error:
            print(f"not answered: {error}", file=output, flush=True)
            return
        room = self.info.max_seq_len - len(prompt) + 1
        if not prompt:
            print("this model has no begin token: type a text", file=output, flush=True)
            return
        if room < 1:
            print(f"too long: {len(prompt)} tokens", file=output, flush=True)
            return
        begin = time.monotonic()
        count = min(self.tokens, room)
        run = self.driver.run(prompt, count, self.temperature, self.seed, stop=self.stops)
        self.seed = (self.seed + 1) % (1 << 32)
        output.write(printable(self.tokenizer.decode(prompt), keep="\n\t"))
        feed = self.tokenizer.stream(prompt[-1])
        n_tokens = 0
        for token in run:
            n_tokens += 1
            if token.token not in self.stops:
                output.write(printable(feed(token.token), keep="\n\t"))
                output.flush()
        seconds = time.monotonic() - begin
        speed = f"{n_tokens} tokens, {n_tokens / seconds:,.0f} per second at the host"
        cycles = run.done.counters.get("counter_0")
        if cycles and self.info.frequency:
            speed += f", {run.given * self.info.frequency / cycles:,.0f} in the machine"
        elif cycles and run.given:
            speed += f", {cycles / run.given:,.0f} cycles each"
        print(f"\n[{speed}]", file=output, flush=True)
