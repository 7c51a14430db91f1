"""The command ``celosia chat``: a conversation with a board, or with a machine in simulation."""

import contextlib
import itertools
import sys
from typing import Annotated

import typer
from celosia.boards.options import BaudOption, say

from celosia.options import ModelArgument, SetOption, TokenizerOption
from celosia.terminal import reader_gone

__all__ = ["chat"]

HELP = "Type a text and the machine goes on from it. /reset, /status, /quit."
CHAT_HELP = "Ask, and the model answers. /reset begins anew; /status, /quit."


def chat(
    model: ModelArgument,
    port: Annotated[
        str | None,
        typer.Option("--port", metavar="PORT", help="The board's: /dev/ttyUSB0, /dev/ttyACM0."),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="A machine in simulation in place of a board.")
    ] = False,
    tokenizer: TokenizerOption = None,
    config: Annotated[str, typer.Option("--config", metavar="C", help="If simulated.")] = "auto",
    settings: SetOption = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Go on from each text; no chat template.")
    ] = False,
    baud: BaudOption = None,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="At most, per text.")] = 200,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the sampling.")] = 0,
):
    """Talk with a machine, on a board or in simulation.

    A model that brings a chat template answers; from any other's texts the machine goes on. The
    model is needed for its tokenizer alone, except with --simulated. Lines that begin with a slash
    are commands: /reset, /status, /quit.
    """
    from celosia.generators.automatic import usual_config
    from celosia.generators.config import ConfigError
    from celosia.reference.checkpoint import load
    from celosia.sim.request import Request

    if (port is None) != simulated:
        raise ConfigError("give either --port PORT or --simulated")
    samples = not simulated or usual_config(config, settings or []).samples
    Request((), tokens, temperature, seed).check_sampling(samples)
    loaded = load(model, tokenizer)
    if loaded.tokenizer is None:
        raise ConfigError(
            f"{model}: a chat needs a tokenizer, and the model brings none: give --tokenizer FILE"
        )
    with contextlib.closing(_transport(loaded, port, baud, config, settings)) as transport:
        from celosia.boards.chat import Chat

        vocab_size = loaded.config.vocab_size
        template = None if plain else loaded.tokenizer.chat
        options = tokens, temperature, seed, vocab_size, template
        talk = Chat(transport, loaded.tokenizer, *options)
        print(talk.greeting())
        print(CHAT_HELP if template else HELP)
        lines = itertools.takewhile(lambda line: not reader_gone(), sys.stdin)
        talk.loop(lines, sys.stdout)


def _transport(loaded, port, baud, config, settings):
    """The board behind ``port``, or a simulated machine."""
    if port is not None:
        from celosia.boards.serial_port import open_board

        return open_board(port, baud)
    from celosia.generators.automatic import choose_config
    from celosia.generators.plan import make_plan
    from celosia.sim.driver import Driver
    from celosia.sim.loader import load_memory
    from celosia.sim.native import NativeSimulation
    from celosia.sim.native_transport import NativeTransport
    from celosia.sim.simulate import fill_memories, machine_verilog

    parameters, why = choose_config(loaded, config, settings or [])
    say(why or f"configuration {parameters.name}")
    say("building the simulation (kept for the next time) ...")
    plan = make_plan(loaded, parameters)
    simulation = NativeSimulation(machine_verilog(plan), ())
    fill_memories(plan, simulation)
    transport = NativeTransport(simulation)
    if plan.config.memory == "sdram":
        load_memory(Driver(transport), plan.images()[0])
    return transport
