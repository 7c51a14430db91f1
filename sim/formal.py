"""Formal proof of the stream rules: for every input and every pattern of stalls.

Two rules, for a component whose input streams keep the first one as well:

stable
    An offer stays, and does not change, until it is taken.
alive
    ``valid`` does not wait for ``ready``, and nothing hangs: of the cycles in which every input is
    offered and every offered output is taken, ``patience`` do not pass without a transfer.

Each is proved for all times by induction, or for all runs of ``depth`` cycles from reset. What
multipliers and memories give is taken to be anything: what is proved so holds all the more for
what they are, and the proofs stay small. Yosys's own SAT solver does the work.
"""

import tempfile
from pathlib import Path
from typing import Any

from amaranth import ClockDomain, ClockSignal, Module, Signal
from amaranth.hdl import Assert, Assume, Const
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from celosia.generators.components.synthesis import run_yosys
from celosia.generators.verilog import to_rtlil

__all__ = ["RULES", "Refuted", "prove"]

RULES = ("stable", "alive")

SCRIPT = """
hierarchy -top top
proc
flatten
opt_expr
memory_nordff
memory_collect
{memories}
delete t:$mul
chformal -lower
async2sync
dffunmap
opt_clean
tee -q -o sat.log sat -tempinduct {options} -prove-asserts -set-assumes \
    -show-inputs -show-outputs -maxsteps {steps} top
"""


class Refuted(AssertionError):
    """A component breaks a rule; the message shows the cycles up to it."""


def prove(component, rule, depth=None, *, patience=4, idle=(), held=None, given=None, exact=False):
    """Prove that ``component`` keeps ``rule``.

    Parameters
    ----------
    component : wiring.Component
    rule : str, one of ``RULES``
    depth : int, optional
        Prove it for all runs of that many cycles from reset, instead of by induction.
    patience : int
        Of the rule ``alive``.
    idle : sequence of str
        Input streams that offer nothing.
    held : dict of str to str
        Plain inputs that change only in the cycle after that one of the unit's outputs was high:
        what a memory gives, by its enable.
    given : function, optional
        Of the component: a list of expressions that are true in every cycle.
    exact : bool
        Whether memories count as what they are.

    Raises
    ------
    Refuted
        If the rule is broken, or (without ``depth``) not inductive.
    ToolError
        If there is no Yosys, or it fails.
    ValueError
        If there is no such rule or input.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
    rtlil = to_rtlil(_Rules(component, rule, patience, idle, held or {}, given))
    fill = {
        "options": "-tempinduct-baseonly" if depth else "",
        "memories": "memory_map" if exact else "delete t:$mem_v2",
        "steps": depth or 3,
    }
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        run_yosys(folder, rtlil, SCRIPT.format(**fill))
        log = (Path(folder) / "sat.log").read_text()
    if "SUCCESS!" not in log:
        what = "breaks" if "model found for base case" in log else "is not shown to keep"
        name = type(component).__name__
        raise Refuted(f"{name} {what} the rule {rule!r}:\n{log[-6000:]}")


class _Rules(wiring.Component):
    """``component`` with everything around it free, and one rule asserted."""

    clk: Any

    def __init__(self, component, rule, patience, idle, held, given):
        self._component, self._rule, self._patience = component, rule, patience
        self._ports = {
            "__".join(map(str, path)): (member, _value(value))
            for path, member, value in component.signature.flatten(component)
            if not isinstance(_value(value), Const)
        }
        streams = [name for name, way, _ in _streams(component.signature, component) if way == In]
        for name in idle:
            if name not in streams:
                raise ValueError(f"idle must be among {streams}, not {name!r}")
        for name in [*held, *held.values()]:
            if name not in self._ports:
                raise ValueError(f"held must be of {[*self._ports]}, not {name!r}")
        self._idle, self._held, self._given = idle, held, given
        free = {n: In(len(v)) for n, (member, v) in self._ports.items() if member.flow == In}
        super().__init__({"clk": In(1), **free})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal().eq(self.clk)
        m.submodules.component = self._component
        for name, (member, value) in self._ports.items():
            if member.flow == In:
                m.d.comb += value.eq(getattr(self, name))
        started = Signal()
        m.d.sync += started.eq(1)
        for name, enable in self._held.items():
            changes, before = Signal(), Signal(len(getattr(self, name)))
            m.d.sync += [changes.eq(self._ports[enable][1]), before.eq(getattr(self, name))]
            m.d.comb += Assume(~started | changes | (before == getattr(self, name)))
        m.d.comb += [Assume(true) for true in (self._given(self._component) if self._given else ())]
        willing, moved = Const(1, 1), Const(0, 1)
        for name, way, s in _streams(self._component.signature, self._component):
            valid, ready, payload = (
                _value(s.valid),
                _value(s.ready),
                _value(s.payload).as_unsigned(),
            )
            waiting, before = Signal(name=f"{name}_waiting"), Signal(len(payload))
            m.d.sync += [waiting.eq(valid & ~ready), before.eq(payload)]
            kept = ~waiting | (valid & (before == payload))
            moved = moved | (valid & ready)
            if way == In:
                m.d.comb += Assume(~valid if name in self._idle else kept)
                willing = willing & (valid | Const(name in self._idle, 1))
            else:
                willing = willing & (ready | ~valid)
                if self._rule == "stable":
                    m.d.comb += Assert(kept)
        if self._rule == "alive":
            waited = Signal(range(self._patience + 1))
            with m.If(moved):
                m.d.sync += waited.eq(0)
            with m.Elif(willing & (waited != self._patience)):
                m.d.sync += waited.eq(waited + 1)
            m.d.comb += Assert(waited != self._patience)
        return m


def _value(value):
    return value.as_value() if hasattr(value, "as_value") else value


def _streams(signature, owner, path=()):
    """``(name, flow, stream)`` of all streams of a component, arrays and nested ones included."""
    for name, member in signature.members.items():
        if not member.is_port:
            yield from _member(member, member.dimensions, getattr(owner, name), (*path, name))


def _member(member, dimensions, value, path):
    if dimensions:
        for index in range(dimensions[0]):
            yield from _member(member, dimensions[1:], value[index], (*path, str(index)))
    elif isinstance(member.signature, stream.Signature):
        yield "__".join(path), member.signature.members["payload"].flow, value
    else:
        yield from _streams(member.signature, value, path)
