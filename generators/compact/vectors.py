"""Which vectors the compact machine's memories hold while its program is written."""

__all__ = ["Vectors"]


class Vectors:
    """Named ranges of memories; what is put over another one ends that.

    The magnitude measured last and the exponent are memories of one place.
    """

    def __init__(self):
        self._held = {}

    def put(self, memory, name, start=0, size=1):
        """A vector is at ``start`` of a memory."""
        for key, (other, length) in list(self._held.items()):
            if key[0] == memory and start < other + length and other < start + size:
                del self._held[key]
        self._held[memory, name] = start, size

    def holds(self, memory, name):
        """Whether it is still there."""
        return (memory, name) in self._held

    def place(self, memory, name):
        """Where a vector begins.

        Raises
        ------
        ValueError
            If it is not there, or no longer.
        """
        if not self.holds(memory, name):
            raise ValueError(f"the compact machine no longer has {name} when it is to be read")
        return self._held[memory, name][0]
