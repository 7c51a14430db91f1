"""The rules of an AXI4 port, watched cycle by cycle, both sides of it.

ARM IHI 0022: an offer stays as it is until it is taken (A3.2.1); bursts do not cross 4 KiB, their
addresses are aligned to their transfers (A3.4.1); each burst has its number of transfers, and only
the last one is marked (A3.4.1); answers carry the ID of what was asked (A5.2); a write is answered
after its address and its last transfer (A3.3.1).
"""

__all__ = [
    "ADDRESS",
    "READ_DATA",
    "RESPONSE",
    "WRITE_DATA",
    "ReadRules",
    "RuleBroken",
    "WriteRules",
]

ADDRESS = ("addr", "len", "size", "burst", "id")
READ_DATA = ("data", "resp", "last", "id")
WRITE_DATA = ("data", "strb", "last")
RESPONSE = ("resp", "id")


class RuleBroken(AssertionError):
    """A rule of AXI4 was broken."""


class _Channel:
    """One channel's offers: none is withdrawn or changed before it is taken."""

    def __init__(self, name, members):
        self.name = name
        self.members = members
        self.waiting = None

    def sample(self, port):
        """What is taken in this cycle, as a dict, or None."""
        offer = {member: port[self.name + member] for member in self.members}
        if not port[self.name + "valid"]:
            if self.waiting is not None:
                raise RuleBroken(f"{self.name}valid fell before {self.name}ready came")
            return None
        if self.waiting not in (None, offer):
            raise RuleBroken(f"{self.name} changed before it was taken")
        taken = port[self.name + "ready"]
        self.waiting = None if taken else offer
        return offer if taken else None


class _Rules:
    """What both directions share: the shape of a burst, and how many may be under way.

    Parameters
    ----------
    data_width : int
    most : int
        Transfers that may be under way at once.
    ids : container of int
    """

    def __init__(self, data_width, most, ids=(0,)):
        self.size = data_width // 8
        self.most = most
        self.ids = ids
        self.bursts = 0
        self.largest = 0  # transfers that were under way at once
        self.longest = 0  # transfers of a burst

    def _burst(self, asked):
        transfers = asked["len"] + 1
        if asked["burst"] != 1:
            raise RuleBroken(f"burst must be 1 (incrementing), not {asked['burst']}")
        if 1 << asked["size"] != self.size:
            raise RuleBroken(f"size must say {self.size} bytes, not {1 << asked['size']}")
        if asked["addr"] % self.size:
            raise RuleBroken(f"address {asked['addr']:#x} is not aligned to {self.size} bytes")
        if asked["addr"] % 4096 + transfers * self.size > 4096:
            raise RuleBroken(f"{transfers} transfers from {asked['addr']:#x} cross 4 KiB")
        if asked["id"] not in self.ids:
            raise RuleBroken(f"id {asked['id']} is none of {[*self.ids]}")
        self.bursts += 1
        self.longest = max(self.longest, transfers)
        return transfers

    def _under_way(self, transfers):
        self.largest = max(self.largest, transfers)
        if transfers > self.most:
            raise RuleBroken(f"{transfers} transfers under way, more than {self.most}")


class ReadRules(_Rules):
    """A read port: ``sample`` takes the signals of a cycle, ``araddr`` and so on, by name."""

    def __init__(self, data_width, most, ids=(0,)):
        super().__init__(data_width, most, ids)
        self.address = _Channel("ar", ADDRESS)
        self.data = _Channel("r", READ_DATA)
        self.asked = []  # [id, transfers still to come] of each burst

    def sample(self, port):
        """Look at a cycle; RuleBroken says what is wrong with it."""
        asked, given = self.address.sample(port), self.data.sample(port)
        if given is not None:
            burst = next((b for b in self.asked if b[0] == given["id"]), None)
            if burst is None:
                raise RuleBroken(f"data with id {given['id']}, for which no burst was asked")
            burst[1] -= 1
            if given["last"] != (burst[1] == 0):
                raise RuleBroken(f"rlast is {given['last']} with {burst[1]} transfers to come")
            if burst[1] == 0:
                self.asked.remove(burst)
        if asked is not None:
            self.asked.append([asked["id"], self._burst(asked)])
            self._under_way(sum(left for _, left in self.asked))

    def finish(self):
        """Nothing may be left."""
        if self.asked:
            raise RuleBroken(f"{len(self.asked)} bursts were not given")


class WriteRules(_Rules):
    """A write port, likewise; data may come before their address, as AXI allows."""

    def __init__(self, data_width, most, ids=(0,)):
        super().__init__(data_width, most, ids)
        self.address = _Channel("aw", ADDRESS)
        self.data = _Channel("w", WRITE_DATA)
        self.response = _Channel("b", RESPONSE)
        self.asked = []  # [id, transfers] of each burst not yet answered
        self.sent = []  # transfers of each burst whose data are complete or on their way
        self.open = False  # the last of these goes on

    def sample(self, port):
        """Look at a cycle; RuleBroken says what is wrong with it."""
        response = self.response.sample(port)
        if response is not None:
            if not self.asked or self.asked[0][0] != response["id"]:
                raise RuleBroken(f"an answer with id {response['id']}, for which no burst waits")
            if not self.sent or (len(self.sent) == 1 and self.open):
                raise RuleBroken("an answer before the burst's last transfer")
            self.asked.pop(0)
            self.sent.pop(0)
        asked, sent = self.address.sample(port), self.data.sample(port)
        if asked is not None:
            self.asked.append([asked["id"], self._burst(asked)])
            self._under_way(sum(transfers for _, transfers in self.asked))
        if sent is not None:
            if not self.open:
                self.sent.append(0)
            self.sent[-1] += 1
            self.open = not sent["last"]
        for n, (count, (_, transfers)) in enumerate(zip(self.sent, self.asked, strict=False)):
            complete = n + 1 < len(self.sent) or not self.open
            if count > transfers or (complete and count != transfers):
                raise RuleBroken(f"wlast after {count} of {transfers} transfers")

    def finish(self):
        """Nothing may be left."""
        if self.asked or self.sent:
            raise RuleBroken(f"{max(len(self.asked), len(self.sent))} bursts were not answered")
