"""The host link's commands for the states of a recurrent model: reading and writing them."""

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.messages import PROMPT_TOKENS, SAVED_VALUES, Kind, Save
from celosia.protocol.refusals import Code

__all__ = ["StatePayload", "state_port", "written"]

VALUE = signed(18)
ADDRESS = unsigned(20)
written = data.StructLayout({"address": ADDRESS, "value": VALUE})


def state_port():
    """The side of the states, to be used only while no run is going on, as ``quiet`` says.

    ``value`` is that at ``address``, a cycle later; ``write`` is ``{address, value}``.
    """
    return wiring.Signature(
        {
            "address": Out(ADDRESS),
            "value": In(VALUE),
            "write": Out(stream.Signature(written, always_ready=True)),
            "quiet": Out(1),
        }
    )


class StatePayload(wiring.Component):
    """Reads a payload byte by byte, as a save's, a restore's and a resume's.

    The results hold 2 cycles after the last byte, until ``clear``.

    Parameters
    ----------
    values : int, 1 to 2**20
        Of all states.
    model_hash : bytes[8]

    Members
    -------
    data : In(stream of unsigned(8), always ready)
    clear : In(1)
        Begin a new payload.
    first : Out(unsigned(24))
        The first number: an address, or a position.
    count : Out(unsigned(8))
        How many values a save asks for.
    save_empty, save_unfit : Out(1)
        It asks for none; for more than an answer has, or beyond the last one.
    restore_unfit, restore_wide : Out(1)
        A restore ends beyond the last value; a value has more than 18 bits.
    other : Out(1)
        A resume's hash is not that of the model.
    """

    data: In(stream.Signature(8, always_ready=True))
    clear: In(1)
    first: Out(24)
    count: Out(8)
    save_empty: Out(1)
    save_unfit: Out(1)
    restore_unfit: Out(1)
    restore_wide: Out(1)
    other: Out(1)

    def __init__(self, values, model_hash):
        self.values = values
        self.model_hash = model_hash
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        newest = Signal(64)
        place = Signal(range(3))  # bytes of the number under way
        groups = Signal(range(PROMPT_TOKENS + 2))  # of three bytes
        saved_end, restored_end = Signal(25), Signal(25)
        m.d.comb += [
            self.count.eq(newest[-8:]),
            self.save_empty.eq(self.count == 0),
            self.save_unfit.eq((saved_end > self.values) | (self.count > SAVED_VALUES)),
            self.restore_unfit.eq(restored_end > self.values),
            self.other.eq(newest != int.from_bytes(self.model_hash, "little")),
        ]
        m.d.sync += [
            saved_end.eq(self.first + self.count),
            restored_end.eq(self.first + groups - 1),
        ]
        with m.If(self.data.valid):
            m.d.sync += [newest.eq(Cat(newest[8:], self.data.payload)), place.eq(place + 1)]
            with m.If(groups == 0):
                m.d.sync += self.first.eq(Cat(self.first[8:], self.data.payload))
            with m.If(place == 2):
                m.d.sync += [place.eq(0), groups.eq(groups + 1)]
                with m.If((groups != 0) & (self.data.payload[2:] != 0)):
                    m.d.sync += self.restore_wide.eq(1)
        with m.If(self.clear):
            m.d.sync += [place.eq(0), groups.eq(0), self.restore_wide.eq(0)]
        return m

    def reasons(self, length, payload, busy, max_seq_len):
        """Of each command about states why it is refused: codes, and whether they hold.

        Parameters
        ----------
        length : Value
            Of the frame's payload.
        payload : celosia.rtl.host.host_commands.CommandPayload
        busy : Value
        max_seq_len : int
        """
        return {
            Kind.SAVE: {
                Code.LENGTH: length != sum(Save.sizes),
                Code.BUSY: busy,
                Code.EMPTY: self.save_empty,
                Code.ADDRESS: self.save_unfit,
            },
            Kind.RESTORE: {
                Code.LENGTH: payload.uneven | (payload.groups == 0),
                Code.BUSY: busy,
                Code.EMPTY: payload.groups == 1,
                Code.ADDRESS: self.restore_unfit,
                Code.VOCABULARY: self.restore_wide,
            },
            Kind.RESUME: {
                Code.LENGTH: length != 3 + len(self.model_hash),
                Code.BUSY: busy,
                Code.SPAN: self.first > max_seq_len,
                Code.MODEL: self.other,
            },
        }
