"""Why a machine refuses a command, in words."""

from celosia.protocol.refusals import MEMORY_COMMANDS, STATE_COMMANDS, Code

__all__ = ["DAMAGE", "reason", "refused"]

REASONS = {
    Code.CRC: "it was damaged on the way",
    Code.TRUNCATED: "its end did not arrive",
    Code.KIND: "the machine does not know it",
    Code.LENGTH: "it has a wrong length",
    Code.BUSY: "the machine is busy",
    Code.EMPTY: "the prompt is empty",
    Code.COUNT: "no tokens are asked for",
    Code.ADDRESS: "the prompt goes beyond the machine's longest sequence",
    Code.SPAN: "prompt and generated tokens go beyond the machine's longest sequence",
    Code.VOCABULARY: "a token is not in the machine's vocabulary",
    Code.TEMPERATURE: "the temperature is too high",
    Code.MEMORY: "its memory does not hold the model: load it",
    Code.OVERWRITTEN: "start lies so far back that the positions its window sees were overwritten, "
    "or is no position of which the machine has a state: begin at 0, or where the sequence ends",
    Code.START: "its runs begin at position 0",
    Code.GREEDY: "it takes the most likely token: the temperature must be 0",
    Code.MODEL: "the state is that of another model",
}
MEMORY_REASONS = {
    Code.EMPTY: "it names no bytes",
    Code.ADDRESS: "it goes beyond the machine's memory, or begins or ends at an odd byte",
}
STATE_REASONS = {
    Code.EMPTY: "it names no values",
    Code.ADDRESS: "it goes beyond the machine's states, or asks for too many at once",
    Code.SPAN: "its position lies beyond the machine's longest sequence",
    Code.VOCABULARY: "a value has more than 18 bits",
}
DAMAGE = (Code.CRC, Code.TRUNCATED)  # of whatever command, which nobody could read


def refused(command, error):
    """What to say of a message that was refused by an :class:`~celosia.protocol.messages.Error`."""
    return f"the machine refused {type(command).__name__.lower()}: {reason(error)}"


def reason(error):
    """Why, by an :class:`~celosia.protocol.messages.Error`."""
    reasons = REASONS | (MEMORY_REASONS if error.command in MEMORY_COMMANDS else {})
    reasons |= STATE_REASONS if error.command in STATE_COMMANDS else {}
    return reasons.get(error.code, f"reason {error.code}")
