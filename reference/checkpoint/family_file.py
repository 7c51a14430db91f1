"""Files of any family: which family it is, what is refused, and its tensors as a Model has them."""

import difflib

import msgspec
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.tensors import check_shape, check_values
from celosia.reference.families import FAMILIES, describe
from celosia.reference.families.fields import Fields
from celosia.reference.families.metadata import Metadata

from celosia.printable import shown

__all__ = ["TensorFile", "check_fields", "find_family", "model_tensors", "our_names"]

_LISTED = 150  # characters


def find_family(path, field, given, kind, values):
    """The family of the architecture (or model type) ``given``, by the format ``kind``.

    Parameters
    ----------
    field : str
        That gives it, for messages.
    kind : str
        ``hugging_face`` or ``gguf``.
    values : dict
        The file's fields.

    Raises
    ------
    CheckpointError
        If there is none; the message lists what there is, the nearest first.
    """
    formats = {name: getattr(family, kind) for name, family in FAMILIES.items()}
    formats = {name: form for name, form in formats.items() if form}
    named = {
        name: form
        for name, form in formats.items()
        if given in (*form.architectures, *(form.model_types or (name,)))
    }
    for name in sorted(named, key=lambda name: named[name].claims is None):
        if named[name].claims is None or named[name].claims(values):
            return FAMILIES[name]
    if given is None:
        raise CheckpointError(f"{path}: {field}: is missing")
    names = sorted({each for form in formats.values() for each in form.architectures})
    text = str(given)[:100].lower()
    names.sort(key=lambda name: -difflib.SequenceMatcher(None, name.lower(), text).ratio())
    listed = names[:1]
    for name in names[1:]:
        if len(", ".join((*listed, name))) > _LISTED:
            break
        listed.append(name)
    more = ", ..." if len(listed) < len(names) else ""
    raise CheckpointError(
        f"{path}: {field}: {shown(given)} is not supported (only {', '.join(listed)}{more})"
    )


def our_names(fields):
    """The files' names of a msgspec structure's fields by ours."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(fields)}


def check_fields(path, values, family, kind, prefix=""):
    """Refuse fields that other families' computations follow, and this one's does not.

    Raises
    ------
    CheckpointError
        That names the field and a family that has it.
    """
    form = getattr(family, kind)
    usual = Fields if kind == "hugging_face" else Metadata
    own = {*our_names(form.fields).values(), *our_names(usual).values(), *form.ignored}
    for other in FAMILIES.values():
        their = getattr(other, kind)
        for name in our_names(their.fields).values() if their else ():
            if name not in own and name in values and not _neutral(values[name]):
                raise CheckpointError(
                    f"{path}: {prefix}{name}: is not supported for {family.name} "
                    f"(the nearest family that has it: {other.name})"
                )


def _neutral(value):
    """Whether a field of this value is as good as none: also where every layer is a plain one."""
    if isinstance(value, list):
        return all(each == "full_attention" for each in value)
    return value is None or (value is not True and value in (0, 1, "", "none", {}))


class TensorFile:
    """Tensors as :mod:`celosia.reference.families.names` reads them; each is checked and marked.

    Parameters
    ----------
    find : callable(name) -> object with ``path``, ``name``, ``shape``, ``kind``, ``float32()``
        None if there is no such tensor.
    path : Path
        For messages about tensors that are missing.
    count, size : int
        Of all tensors, and of their bytes.
    """

    def __init__(self, find, path, count, size):
        self._find, self._path = find, path
        self._count, self._size = count, size
        self._last = None, None
        self.used = set()

    def check_sizes(self, config):
        """Refuse sizes that the file's tensors cannot have, before anything is made of them."""
        for text, least, most in (
            (f"{config.n_layers} layers", config.n_layers, self._count),
            (f"heads of {config.head_dim} values", config.n_heads * config.head_dim, self._size),
        ):
            if least > most:
                raise CheckpointError(
                    f"{self._path}: {text} are not in {self._count} tensors of {self._size} bytes"
                )

    def has(self, name):
        """Whether the file has the tensor."""
        return self._find(name) is not None

    def packed(self, name):
        """Whether the tensor holds bytes."""
        return self._tensor(name).kind == "U8"

    def take(self, name, shape):
        """float32[shape]."""
        tensor = self._tensor(name, shape)
        if self._last[0] != name:  # parts of one tensor are read one after the other
            self._last = name, check_values(tensor.path, tensor.name, tensor.float32())
        return self._last[1]

    def bytes(self, name, shape):
        """uint8[shape]."""
        return self._tensor(name, shape).bytes()

    def checked(self, name, array):
        """``array``, made of the tensor, if its values can be computed with."""
        return check_values(self._tensor(name).path, name, array)

    def fail(self, name, text):
        """Raise a CheckpointError about the tensor."""
        raise CheckpointError(f"{self._tensor(name).path}: {name}: {text}")

    def _tensor(self, name, shape=None):
        tensor = self._find(name)
        if tensor is None:
            raise CheckpointError(f"{self._path}: {name} is missing")
        if shape is not None:
            self.used.add(tensor.name)
            check_shape(tensor.path, tensor.name, tensor.shape, shape)
        return tensor


def model_tensors(config, names, file):
    """The tensors outside of the layers, and the list of the layers', of a :class:`TensorFile`."""
    file.check_sizes(config)
    description = describe(config)
    own = {name: names.read(file, name, shape) for name, shape in description.shapes.items()}
    layers = [
        {
            name: names.read(file, name, shape, index)
            for name, shape in description.layer_shapes(index).items()
        }
        for index in range(config.n_layers)
    ]
    return own, layers
