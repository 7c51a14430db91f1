"""What an instruction of the compact machine says, and how it is packed into its program."""

import enum
from dataclasses import astuple, dataclass, fields

from amaranth import unsigned
from amaranth.lib import data

__all__ = [
    "A",
    "Add",
    "B",
    "Control",
    "Exponent",
    "Group",
    "Instruction",
    "Measure",
    "Step",
    "Stride",
    "Table",
    "Width",
    "control_layout",
    "control_value",
    "field_bits",
    "instruction_layout",
]


SHIFT = 5  # bits of a shift


class A(enum.IntEnum):
    """The first operand: of the wide memory, a dot product, or a weight of the embedding.

    That is of the token's row, or of the position's.
    """

    WIDE = 0
    PRODUCT = 1
    EMBEDDING = 2
    POSITION = 3


class B(enum.IntEnum):
    """The second operand: of the half memory, a row's scale, or a gain."""

    HALF = 0
    SCALE = 1
    GAIN = 2


class Step(enum.IntEnum):
    """How the wide memory is read: one place, in order, every second, or each pair twice."""

    STAY = 0
    NEXT = 1
    SECOND = 2
    PAIRS = 3


class Group(enum.IntEnum):
    """How many products make one result."""

    ONE = 0
    TWO = 1
    ALL = 2


class Measure(enum.IntEnum):
    """The exponent: by how many bits the vector measured last exceeds 15, 8 (made even) or 7."""

    KEEP = 0
    FIFTEEN = 1
    EIGHT = 2
    SEVEN = 3


class Exponent(enum.IntEnum):
    """What the exponent does to the shift."""

    NONE = 0
    PLUS = 1
    HALF = 2
    MINUS = 3


class Width(enum.IntEnum):
    """Bits that the result is limited to."""

    WIDE = 0
    HALF = 1
    BYTE = 2


class Add(enum.IntEnum):
    """What is added behind the shift: the place of the result, or the largest, subtracted."""

    NONE = 0
    WIDE = 1
    LARGEST = 2


class Table(enum.IntEnum):
    """Through which table the result goes."""

    NONE = 0
    EXP = 1
    GATE = 2
    ROOT = 3


class Stride(enum.IntEnum):
    """How far apart results are written: 1, 4, or the window."""

    ONE = 0
    FOUR = 1
    WINDOW = 2


@dataclass(frozen=True)
class Control:
    """All of an instruction but its numbers; a program has few different ones.

    Parameters
    ----------
    a, step, b, group, measure, exponent, width, add, table, stride
        See the enumerations.
    b_next : bool
        The half memory is read in order, not one place.
    tape_shift : bool
        4 bits of the scales' tape are added to the shift.
    wide, half, byte, key, value : bool
        The memories that the results go to.
    sum : bool
        Measure the results' magnitude; ``more`` adds to what was measured before.
    largest : bool
        Keep the largest result and its index.
    masked : bool
        Results beyond the positions that there are do not count, and are 0 behind a table.
    cache : bool
        Dot products are with cached keys or values, not with weights.
    ones : bool
        They are with ones instead.
    beats : int
        Words in a dot product.
    each, along : bool
        As many products, or words in a dot product, as positions take, in whole words.
    rewind, loop, stop, end : bool
        Behind this instruction: the tapes begin; the layer's instructions begin again if there is
        another layer; the token ends if no logits are wanted; it ends.
    """

    a: A = A.WIDE
    step: Step = Step.NEXT
    b: B = B.HALF
    b_next: bool = False
    group: Group = Group.ONE
    measure: Measure = Measure.KEEP
    exponent: Exponent = Exponent.NONE
    tape_shift: bool = False
    width: Width = Width.WIDE
    add: Add = Add.NONE
    table: Table = Table.NONE
    wide: bool = False
    half: bool = False
    byte: bool = False
    key: bool = False
    value: bool = False
    stride: Stride = Stride.ONE
    sum: bool = False
    more: bool = False
    largest: bool = False
    masked: bool = False
    cache: bool = False
    ones: bool = False
    beats: int = 1
    each: bool = False
    along: bool = False
    rewind: bool = False
    loop: bool = False
    stop: bool = False
    end: bool = False


@dataclass(frozen=True)
class Instruction:
    """One vector operation.

    Parameters
    ----------
    control : Control
    count : int
        Products, or results of dot products.
    source : int
        In the wide memory; for dot products in the cache, in words.
    second : int
        In the half memory.
    target : int
        Of the first result.
    vector : int
        The activations of dot products, in words.
    shift : int, 0 to 31
    soon : bool
        The next instruction may begin before the last results are written.

    Raises
    ------
    ValueError
        If a number is below 0, or the shift too large.
    """

    control: Control
    count: int
    source: int = 0
    second: int = 0
    target: int = 0
    vector: int = 0
    shift: int = 0
    soon: bool = False

    def __post_init__(self):
        if self.shift not in range(1 << SHIFT):
            raise ValueError(f"an instruction's shift must have {SHIFT} bits, not {self.shift}")
        for name, value in self.numbers().items():
            if value < 0:
                raise ValueError(f"an instruction's {name} must be at least 0, not {value}")

    def numbers(self):
        """All but the control: ``{name: int}``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "control"}

    def pack(self, controls, bits):
        """As a number, with the place of ``control`` among ``controls``, in fields of ``bits``."""
        numbers = {"kind": controls.index(self.control), **self.numbers()}
        return instruction_layout(bits).const(numbers).as_value().value


def field_bits(program):
    """Bits of the fields of ``program``'s instructions, and of its ``beats``: ``{name: int}``."""
    bits = {"kind": len({i.control for i in program}) - 1}
    for name in program[0].numbers():
        bits[name] = max(i.numbers()[name] for i in program)
    bits["beats"] = max(i.control.beats for i in program)
    return {name: max(1, most.bit_length()) for name, most in bits.items()} | {"shift": SHIFT}


def instruction_layout(bits):
    """A word of the program whose fields have ``bits``."""
    return data.StructLayout({n: unsigned(width) for n, width in bits.items() if n != "beats"})


def control_layout(beats=8):
    """The fields of :class:`Control`, as the machine sees them; so many bits of ``beats``."""
    widths = {"beats": beats}
    enums = ("a", "step", "b", "group", "measure", "exponent", "width", "add", "table", "stride")
    widths |= dict.fromkeys(enums, 2)
    names = [f.name for f in fields(Control)]
    return data.StructLayout({name: unsigned(widths.get(name, 1)) for name in names})


def control_value(control, beats=8):
    """``control`` as a number, with so many bits of ``beats``."""
    names = [f.name for f in fields(Control)]
    values = dict(zip(names, map(int, astuple(control)), strict=True))
    return control_layout(beats).const(values).as_value().value
