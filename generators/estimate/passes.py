"""A pass through the machine, step by step: when its beats begin and when its words arrive.

Times are in cycles from the one in which the sequencer takes the pass. A step is worked out as a
whole: its tiles are the elements of arrays. What follows what, and how many cycles later, is that
of :mod:`celosia.rtl.machine`: sequencer, fetcher, fabric, collector, the units of the routes.
"""

import numpy as np
from celosia.generators.estimate.machinery import FETCH
from celosia.rtl.machine.step import Operand, Region, Resource, Scalar

__all__ = ["Pass"]

ROOM = 16  # tiles that may wait behind the fabric
QUANTIZE = 3  # merge and block quantisation
AHEAD, UNDER_WAY = 3, 9  # steps dispatched before they are fetched, before they are collected
PAGES, PAGED = 17, 9  # cycles until slots of pages are known; more for each token
LONG_AGO = -(1 << 20)
BEATS = {
    Operand.TAPE: "linear",
    Operand.WIDE: "linear",
    Operand.KEYS: "scores",
    Operand.VALUES: "values",
}
CACHED = (Resource.KEYS | Resource.VALUES).value


class Pass:
    """One pass: of the tokens at ``position`` to ``position + group - 1``.

    Parameters
    ----------
    machinery : Machinery
    position, group : int
    logits : bool
        Whether it ends in the sampler.
    generated : bool
        Whether its token is the one just sampled.

    Members
    -------
    cycles : int
        From the one in which the sequencer takes the pass to the pass's end.
    causes : dict of str to int
        What they were spent on, by the names of the hardware's counters.
    operations : dict of str to int
        Cycles from the last beat of what came before to an operation's own last beat.
    """

    def __init__(self, machinery, position, group=1, logits=True, generated=False):
        self.m, self.group, self.seen = machinery, group, position + group
        self.tape, self.cache, self.writer = machinery.supplies()
        self.causes, self.operations = {}, {}
        self.accepted, self.ended = [], []  # by the fetcher; the collector's last word
        self.taken = np.full(ROOM, LONG_AGO)  # tiles, by the collector
        self.filled, self.free = {}, {}  # regions: when each word came; resources: when written
        self.idle = 0, -1  # the span before the newest step's first beat
        self.norm = self.last = 0  # when the norm's scalar is there; the last event of any step
        self.summed = LONG_AGO  # the last word of weighted values
        self.gathered = {}  # routes: words that wait for the rest of their vector
        self.numbers, self.weights = [], []  # of experts: when each is known
        self.runs = [(run.weights[1], run.chosen) for run in machinery.program.runs]
        self.left, self.given = 1 << 60, 0  # words of the run under way; when it was given
        self._load(3 if generated else 4)
        self._steps(logits)
        self.cycles = self.last + 3
        self._count("drain", self.cycles - self.go_on)
        if logits:
            self.cycles = max(self.cycles, self.last + machinery.sampler)

    @property
    def go_on(self):
        """The cycle behind the last beat's."""
        return self.begun + FETCH + 1

    def _count(self, cause, cycles):
        if cycles:
            self.causes[cause] = self.causes.get(cause, 0) + int(cycles)

    def _load(self, time):
        """The group's tokens come into the residual stream; the steps are dispatched from then."""
        m = self.m
        self.go, self.begun = time, time + 1 + m.fetch_runs
        self._count("dispatch", self.begun + FETCH)
        loads = [load for _ in range(self.group) for load in m.program.loads]
        for load in loads:
            time += m.divides
            begin = max(time + 2 + m.fetch_runs, self.begun + 1)
            each = 1 << load.planes
            self.accepted.append(begin - 1)
            self.tape.ask(time + 2, m.grouping(load.planes))
            plain = begin - 1 + each * np.arange(1, load.words + 1)
            last = self.tape.take(begin, plain, each, load.words)
            self.begun = int(last[-1])
            self._count("embedding", load.words * each)
            self._count("tape", self.begun - plain[-1])
            times = last + FETCH + 3 + m.joined
            times[0] = max(times[0], self._collected())
            times = _in_turn(times)
            self.ended.append(int(times[-1]))
            self._deliver({"route": "residual", "normed": load.normed}, times, 1, Region.NORMED)
            self.go, time = time, time + 2
        started = self.go + 2
        if m.rings:
            started = max(started, 25 + m.tokens)
        if m.paged and self.seen > 1:
            started = max(started, PAGES + PAGED * self.group)
        self._next_run(started + 3) if self.runs else self.tape.ask(started + 2, m.grouping())
        self.go = started + 4

    def _collected(self):
        """When the collector is ready for the next step."""
        return self.ended[-1] + 1 if self.ended else 0

    def _next_run(self, time):
        """The tape's next run is given, if not at ``time`` then when its expert is known."""
        self.left, chosen = self.runs.pop(0)
        self.given = max(time, self.given + 2)
        if chosen:
            bits = max(1, (self.m.program.experts - 1).bit_length() - 1)
            self.given = max(self.given, self.numbers.pop(0) + 1 + bits)
        self.tape.ask(self.given + 2, self.m.grouping())

    def _steps(self, logits):
        """All steps; a layer like one before, that begins as that did, goes on as that did."""
        known = {}
        for kind, steps in self.m.layers:
            before, go = self._state(), self.go
            counts = self.causes, self.operations
            so_far = [dict(count) for count in counts]
            key = kind, *((name, times.tobytes()) for name, times in before.items())
            if key not in known or self.runs:
                for step in steps:
                    self._step(step)
                spent = [
                    {name: n - old.get(name, 0) for name, n in count.items()}
                    for count, old in zip(counts, so_far, strict=True)
                ]
                known[key] = self.go - go, self._state(), spent
            else:
                cycles, after, spent = known[key]
                self._set_state(go + cycles, after)
                for count, more in zip(counts, spent, strict=True):
                    for name, n in more.items():
                        count[name] = count.get(name, 0) + n
        if logits:
            self._step(self.m.program.steps[-1])

    def _state(self):
        """All that later steps depend on, by names: in cycles from the last step's dispatch."""
        state = {
            "events": [self.begun, self.norm, self.last, self.summed, *self.idle],
            "accepted": self.accepted[-AHEAD:],
            "ended": self.ended[-UNDER_WAY:],
            "taken": self.taken,
            "tape": self.tape.state(self.go),
            **{("filled", region): times for region, times in self.filled.items()},
            **{("free", bits): [time] for bits, time in self.free.items()},
        }
        if self.cache:
            state["cache"] = [*self.cache.state(self.go), self.writer.free]
        return {
            name: np.maximum(np.asarray(times, np.int64) - self.go, LONG_AGO)
            for name, times in state.items()
        }

    def _set_state(self, go, state):
        """Go on from ``state`` when a step was dispatched at ``go``."""
        state = {name: times + go for name, times in state.items()}
        self.go = go
        self.begun, self.norm, self.last, self.summed, *self.idle = state["events"].tolist()
        self.accepted, self.ended = state["accepted"].tolist(), state["ended"].tolist()
        self.taken, self.tape.next = state["taken"], state["tape"].tolist()
        for name, times in state.items():
            if name[0] == "filled":
                self.filled[name[1]] = times
            elif name[0] == "free":
                self.free[name[1]] = int(times[0])
        if self.cache:
            *self.cache.next, self.writer.free = state["cache"].tolist()

    def _step(self, step):
        before = self.begun
        self._work_out(step)
        name = step["name"].rsplit(".", 1)[-1]
        self.operations[name] = self.operations.get(name, 0) + self.begun - before

    def _work_out(self, step):
        words, tiles, chunks = self.m.sizes(step, self.seen)
        tokens = 1 if step.get("last_token") else self.group
        begin = self._dispatch(step)
        last = self._beats(step, words, tiles, begin)
        starts, last = self._collect(step, words, chunks, tokens, last)
        self.begun = int(last[-1])
        self._count(BEATS[step.get("operand", Operand.TAPE)], words * tiles)
        inner, each = self.m.words(step)
        inside = each * np.arange(inner * tokens)
        times = (starts[:, None] + inside).ravel()[: chunks * tokens]
        self.ended.append(int(times[-1]))
        if step.get("scalar") == Scalar.SUM:
            self.summed = self.ended[-1]
        self._deliver(step, times, tokens, step["fills"])

    def _dispatch(self, step):
        """The first cycle in which the step's first beat may begin."""
        ready = max(
            self.go + 2, self.accepted[-AHEAD:][0] + 2 if len(self.accepted) >= AHEAD else 0
        )
        if len(self.ended) >= UNDER_WAY:
            ready = max(ready, self.ended[-UNDER_WAY] + 3)
        waits = step.get("waits", 0)
        written = max((time for bit, time in self.free.items() if bit & waits), default=0)
        blocked = self.go, written - 2  # in the cycles of the beats that would begin then
        self.go = max(ready, written + 1)
        accepted = max(self.go + 1 + self.m.fetch_runs, self.begun)
        ordered = _overlap(self.idle, blocked)  # while the step before this one was on its way
        self.idle = self.begun + 1, accepted
        ordered += _overlap(self.idle, blocked)
        self._count("order", ordered)
        self._count("dispatch", accepted - self.begun - ordered)
        self.accepted.append(accepted)
        return accepted + 1

    def _beats(self, step, words, tiles, begin):
        """When the last beat of each tile begins, as far as operands are there: int64[tiles]."""
        supply, cause = self.tape, "tape"
        if step.get("operand", Operand.TAPE) not in (Operand.TAPE, Operand.WIDE):
            supply, cause = self.cache, "cache"
            if supply:
                supply.ask(self.go + 3 + self.m.recall_runs)
        elif self.left == 0:
            self._next_run(self.given)
        first = operands = begin + words - 1
        if supply:
            operands = supply.ready(begin, words)
        if step["region"] != Region.NONE:
            planes = step.get("planes", 0)
            start = step["source_base"] if step["region"] == Region.NORMED else 0
            come = self.filled[step["region"]][start : start + (words >> planes)] + 1
            places = np.arange(len(come)) << planes
            first = int(np.max(np.maximum(come, begin) - places)) + words - 1
            self._count("activations", max(0, first - operands))
        last = first + words * np.arange(tiles)
        if supply is None:
            return last
        come = supply.take(begin, last, words, tiles)
        self.left -= words * tiles if cause == "tape" else 0
        self._count(cause, come[-1] - last[-1] + min(first, operands) - begin - words + 1)
        return come

    def _collect(self, step, words, chunks, tokens, last):
        """When each tile's first word leaves the collector; when its last beat then begins."""
        m = self.m
        ready, scalar = self._collected(), step.get("scalar", Scalar.ONE)
        inner, each = m.words(step)
        size = max(inner * tokens * each, 2 if m.rows > m.lanes * m.parts else 1)
        if scalar == Scalar.NORM:
            ready = max(ready, self.norm)
        elif scalar == Scalar.SUM:
            ready = max(ready, int(last[0]) + m.sums + tokens, self.summed + tokens + 1)
        elif scalar == Scalar.EXPERT:
            ready = max(ready, self.weights.pop(0))
        starts, taken = self._given(last, size, ready)
        lag = ROOM + 1 - min(words, 3)  # beats begin with room for their tiles
        room = taken[ROOM - lag : ROOM - lag + len(last)] + 2
        late = _in_turn(np.maximum(last, room), words)
        if late[-1] > last[-1]:
            self._count("results", late[-1] - last[-1])
            starts, taken = self._given(late, size, ready)
        self.taken = taken[-ROOM:]
        return starts, late

    def _given(self, last, size, ready):
        """When the first word of each tile leaves, and when the last tiles were taken."""
        come = last + self.m.fabric + 1
        come[0] = max(come[0], ready)
        starts = _in_turn(come, size)
        return starts, np.concatenate(
            [self.taken, starts - (self.m.rows == self.m.lanes * self.m.parts)]
        )

    def _deliver(self, step, times, tokens, fills):
        """Words go to the end of their route; when its memory has them."""
        m, sets = self.m, step.get("sets", 0)
        flow = m.flows[step["route"]]
        if flow.turns:
            times = _in_turn(np.maximum(times, m.turned(self.group)))
        held, begun = self.gathered.pop(step["route"], (times[:0], fills))
        times = np.concatenate([held, times])
        if len(times) % (flow.gathered * tokens):  # a norm of a vector that several steps make
            self.gathered[step["route"]] = times, begun
            return
        if len(held):
            fills = begun
        came = flow.arrivals(times, tokens)
        end = int(came[-1]) + 1
        again = flow.scalar and step.get("base")  # past other gains
        if flow.scalar and step.get("normed") and not again:
            self.norm = end + flow.scalar
        if flow.sink == "activations":
            came = came.reshape(-1, tokens)[:, -1] + QUANTIZE
            end = int(came[-1]) + 1
            if fills != Region.NONE:
                self.filled[fills] = came
            elif step.get("base"):
                region = Region.NORMED if again else Region.ATTENTION
                before = self.filled[region][: step["base"]]
                unused = [before[-1]] * (step["base"] - len(before))
                self.filled[region] = np.concatenate([before, unused, came]).astype(np.int64)
        elif flow.sink == "experts":
            self.numbers, self.weights = m.chosen(end - 1)
        elif sets & CACHED:
            what = "keys" if sets & Resource.KEYS.value else "values"
            came = came + (what == "values")
            end = self.writer.write(what, came) if self.writer else int(came[-1]) + 3
        if sets:
            self.free[sets] = end
        self.last = max(self.last, end)


def _overlap(one, other):
    """Cycles that two spans, each of a first and a last one, have in common."""
    return max(0, min(one[1], other[1]) - max(one[0], other[0]) + 1)


def _in_turn(times, each=1):
    """The least times, no less than ``times``, of which each is ``each`` behind the one before."""
    places = each * np.arange(len(times))
    return np.maximum.accumulate(times - places) + places
