"""From a float Model to integers: formats by calibration, weights rounded, scales folded.

Everything that the integer machine multiplies by is fixed here. Activations are block floating
point (:mod:`celosia.reference.units.block_quantize`), queries and keys have a step per head and
token (:mod:`celosia.reference.units.head_quantize`); values a static scale per channel, folded into
the rows that make and use them. What an operation makes of its formats stands at the operation
(:mod:`celosia.reference.operations`), what those of the whole machine are, in
:mod:`celosia.reference.quantization.formats`.
"""

import logging

import numpy as np
from celosia.reference.operations.attention import Attention
from celosia.reference.operations.clip import Clip
from celosia.reference.operations.experts import Experts, IntegerExperts
from celosia.reference.operations.gate import Gate
from celosia.reference.operations.hadamard import Hadamard
from celosia.reference.operations.linear import IntegerLinear
from celosia.reference.operations.norm import (
    ACTIVATION_WIDTH,
    IntegerNorm,
    IntegerStreamNorm,
    Norm,
)
from celosia.reference.operations.recur import Recur
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.formats import (
    LOG2E,
    LOGIT_FRACTION,
    SCORE_FRACTION,
    SCORE_WIDTH,
    check_model,
    excess,
    gate_fraction,
    least_epsilon,
    router_fraction,
    score_format,
)
from celosia.reference.quantization.matrix import ceil_log2, recoded, rounded, scaled
from celosia.reference.quantization.quantized_model import QuantizedModel
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.quantization.ternary import check_ternary
from celosia.reference.units import stream_norm
from celosia.reference.units.scale import LEAST_SHIFT, ROOM

__all__ = [
    "ACTIVATION_WIDTH",
    "LOGIT_FRACTION",
    "SCORE_FRACTION",
    "QuantizedModel",
    "Quantizer",
    "Scheme",
    "quantize",
]

ROUNDS = 16  # in which the formats of the residual stream and the routers are found
RESIDUAL_FRACTION = 18  # the most
NORM_INPUT_BITS = 19  # of the magnitude of a vector that is normed on its way


def quantize(model, scheme=None, calibration=None, margin=1.25):
    """Round ``model`` to a :class:`QuantizedModel`.

    ``margin`` is the room, as a factor, that static ranges leave above what calibration saw; values
    have more of it, the fewer positions that was.

    Raises
    ------
    ValueError
        If there are no formats that hold the model's values.
    """
    check_model(model)
    scheme = scheme or Scheme()
    given, model = model, scheme.form(model)
    if len(model.codes) < len(given.codes):
        text = "%s: the machine's form of it changes %d of %d matrices, which are rounded anew"
        lost = len(given.codes) - len(model.codes)
        logging.getLogger(__name__).warning(text, model.name, lost, len(given.codes))
    if scheme.ternary:
        check_ternary(model, scheme.wide_head)
    return Quantizer(model, scheme, calibration or calibrate(model), margin).model()


class Quantizer:
    """What operations ask when they are quantised.

    Members
    -------
    scheme : Scheme
    margin : float
    positions : int
        That calibration saw.
    residual, score_fraction, score_width, gate_fraction, router_fraction, logit_fraction : int
        Formats of the whole machine.
    weights_bits : int
        Integer bits of what norms multiply the residual stream by.
    layer : int or None
        Of the operation that asks.
    """

    def __init__(self, source, scheme, calibration, margin):
        self.source, self.config, self.scheme, self.margin = source, source.config, scheme, margin
        self.description = source.description
        self.calibration, self.positions = calibration, calibration.positions
        self.layer = None
        self._codes, self._notes = {}, {}
        residual = scheme.residual_width - 2 - ceil_log2(margin * calibration.residual())
        self.residual = min(residual, RESIDUAL_FRACTION)
        self.logit_fraction = LOGIT_FRACTION
        self._whole_machine()

    def _whole_machine(self):
        """The formats that are constants of the machine: those of the layer that needs most."""
        largest = self.calibration.largest
        attentions = self._of_layers(Attention)
        self.score_fraction, self.score_width = SCORE_FRACTION, SCORE_WIDTH
        if attentions:
            scores = max(float(largest("scores", n)) for n, _ in attentions)
            most = 64
            for self.layer, op in attentions:
                most = min(most, op.folds(self)[2])
            most -= 2 + ROOM + ceil_log2(self.config.head_dim)
            self.score_fraction, self.score_width = score_format(scores, self.margin, most)
        gates = [float(largest("gate", n).max()) for n, _ in self._of_layers((Gate, Experts))]
        recurrent = self._of_layers(Recur)
        gates += [float(largest("recurrent gates", n).max()) for n, _ in recurrent]
        self.gate_fraction = gate_fraction(max(gates, default=1.0), self.margin)
        routers = [float(largest("router", n).max()) for n, _ in self._of_layers(Experts)]
        self.router_fraction = router_fraction(max(routers, default=1.0), self.margin)
        weights = [self._largest_weight(self.source.tensors, op) for op in self.description.end]
        for n, op in self._of_layers(Norm):
            weights.append(self._largest_weight(self.source.layers[n], op))
        self.weights_bits = ceil_log2(max(weights))

    @staticmethod
    def _largest_weight(tensors, op):
        """Of those that a norm multiplies the residual stream by; 1 where there are none."""
        name = getattr(op, "weights", None)
        return max(float(np.abs(tensors[name]).max()), 2.0**-100) if name else 1.0

    def _of_layers(self, kind):
        layers = enumerate(self.description.layers)
        return [(n, op) for n, layer in layers for op in layer if isinstance(op, kind)]

    @property
    def head_dim(self):
        """``head_dim`` padded to whole blocks."""
        return self.scheme.padded(self.config.head_dim)

    def seen(self, name):
        """The largest magnitudes of ``name`` in this layer; see :class:`Calibration`."""
        return self.calibration.largest(name, self.layer)

    def key_mean(self):
        """The mean of this layer's rotated keys."""
        return self.calibration.key_mean(self.layer)

    def centred_keys(self):
        """The largest magnitudes of this layer's rotated keys without their mean."""
        return self.calibration.centred_keys(self.layer)

    def tensor(self, name):
        """A tensor of the layer, or of the model."""
        tensors = self.source.tensors if self.layer is None else self.source.layers[self.layer]
        return tensors[name]

    def weight(self, name):
        """The same, or a :class:`celosia.reference.quantization.coded.Coded` one."""
        return self.source.codes.get((self.layer, name)) or self.tensor(name)

    def size(self, vector):
        """Values in a vector."""
        return self.description.sizes[vector]

    def places(self, vector):
        """Where a vector's values lie in its padded form, and the size of that."""
        return self.scheme.places(self.description, vector)

    def biases(self, vector, values):
        """Integers of a padded vector."""
        if vector == "logits":
            return np.round(values).astype(np.int64)
        places, size = self.places(vector)
        padded = np.zeros(size, np.int64)
        padded[places] = np.round(values)
        return padded

    def ask(self, vector, factor):
        """Say what the values of a vector are to be multiplied by to be integers."""
        self._wants[vector] = np.asarray(factor, np.float64).reshape(-1)

    def want(self, vector):
        """What was asked for: float64[1] or [size]."""
        if vector == "x":
            return np.array([2.0**self.residual])
        if vector == "logits":
            return np.array([2.0**self.logit_fraction])
        return self._wants[vector]

    def wanted(self, vector):
        """Whether an operation behind has asked for the format of a vector."""
        return vector in ("x", "logits") or vector in self._wants

    def normed(self, vector):
        """Whether a norm makes the vector, in this layer."""
        layer = self.description.layers[self.layer]
        return any(isinstance(op, Norm) and op.out == vector for op in layer)

    def taken_by_norm(self, vector):
        """Whether a norm takes the vector on its way, in this layer."""
        layer = self.description.layers[self.layer]
        return any(isinstance(op, Norm) and op.input == vector for op in layer)

    def transform(self, vector):
        """The Hadamard transform of a vector, in this layer; else None."""
        layer = self.description.layers[self.layer]
        found = (op for op in layer if isinstance(op, Hadamard) and op.vector == vector)
        return next(found, None)

    def limit(self, vector):
        """Of a clipped vector, in this layer; else None."""
        layer = self.description.layers[self.layer]
        limits = [op.limit for op in layer if isinstance(op, Clip) and op.vector == vector]
        return limits[0] if limits else None

    def norm_input_fraction(self, norm):
        """Bits behind the point of what all such norms take: they share a unit, and its epsilon."""
        alike = "qk" if norm.out[0] in "qk" else norm.out[0]
        layers = [(n, op) for n, op in self._of_layers(Norm) if op.out[0] in alike]
        largest = max(self.calibration.largest(f"{op.key} input", n).max() for n, op in layers)
        return NORM_INPUT_BITS - ceil_log2(self.margin * largest)

    def everywhere(self, name):
        """The largest magnitude of ``name`` in all layers."""
        layers = range(len(self.description.layers))
        return max(float(self.calibration.largest(name, n).max()) for n in layers)

    def give(self, vector, unit):
        """Say what the integers of an activation vector are multiplied by to be real."""
        self._units[vector] = unit

    def unit(self, vector):
        """What was given."""
        return self._units[vector]

    def note(self, operation, value):
        """Keep something between an operation's ``demand`` and its ``quantize``."""
        self._notes[id(operation)] = value

    def noted(self, operation):
        """What was kept."""
        return self._notes[id(operation)]

    def table(self, name):
        """The rounded rows of an embedding or a head: they may be one and the same."""
        if name not in self._codes:
            width = self.scheme.head_width or self.scheme.weight_width
            columns = self.scheme.columns_of(self.config.dim)
            coded = self.source.codes.get((None, name))
            digits = self.scheme.ternary and not self.scheme.wide_head
            if digits and any(op.table == name for op in self.description.begin):
                coded = None  # its codes are those of all digits
            if coded and self.scheme.wide_head and np.ptp(coded.groups):
                text = "%s: %s is rounded anew: a wide head has no groups"
                logging.getLogger(__name__).warning(text, self.source.name, name)
                coded = None
            weight = coded or self.source.tensors[name]
            self._codes[name] = rounded(weight, width, self.scheme, columns)
        return self._codes[name]

    def head(self, name, normed):
        """The head's matrix; its logits get fewer bits behind the point where it needs that."""
        logits = self.margin * self.seen("logits")
        rows = self.table(name)
        while self.logit_fraction >= 0:
            factor = normed * 2.0**self.logit_fraction
            self._codes[name] = recoded(rows, factor)
            head = scaled(self._codes[name], factor)
            outputs = logits * 2.0**self.logit_fraction
            missing = excess(head.scale[: len(logits)], outputs, normed=True)
            if not missing:
                return head
            self.logit_fraction -= missing
        raise ValueError(f"logits reach {logits.max():,.0f}, which no format holds")

    def model(self):
        """The quantised model."""
        d, fraction = self.description, self.residual
        for embed in d.begin:
            for name in filter(None, (embed.table, embed.positions)):
                factor = 2.0**fraction * embed.factor
                shift = scaled(self.table(name), factor).shift
                self.residual = min(self.residual, fraction - max(0, LEAST_SHIFT - shift))
        for _ in range(ROUNDS):
            layers = [self._operations(ops, n) for n, ops in enumerate(d.layers)]
            found = [(n, op) for n, ops in enumerate(layers) for op in ops]
            missing = max(self._missing(n, op) for n, op in found)
            routers = [self._router_missing(n, op) for n, op in found]
            if missing <= 0 and not any(routers):
                break
            self.residual -= max(missing, 0)
            self.router_fraction -= max(routers)
        else:
            raise ValueError("what is added to the residual stream is in reach of no format")
        end = self._operations(d.end, None)
        begin = self._operations(d.begin, None)
        self._epsilon([*layers, end])
        return QuantizedModel(
            config=self.config,
            description=self.description,
            scheme=self.scheme,
            begin=begin,
            layers=layers,
            end=end,
            residual_fraction=self.residual,
            score_fraction=self.score_fraction,
            score_width=self.score_width,
            gate_fraction=self.gate_fraction,
            router_fraction=self.router_fraction,
            logit_fraction=self.logit_fraction,
        )

    def _operations(self, operations, layer):
        """The integer forms of ``operations``."""
        self.layer, self._wants, self._units = layer, {}, {}
        for operation in reversed(operations):
            operation.demand(self)
        forms = (operation.quantize(self) for operation in operations)
        return [form for form in forms if form is not None]

    def _missing(self, layer, op):
        """Bits that the residual's binary point is too far right for what writes it."""
        if isinstance(op, IntegerStreamNorm):
            return stream_norm.LEAST_SHIFT - op.shift
        if isinstance(op, IntegerExperts):
            return op.missing(self._outputs(f"{op.source.down} output", layer))
        if not isinstance(op, IntegerLinear) or not op.add:
            return 0
        outputs = self._outputs(f"{op.name} output", layer)
        return max(excess(op.matrix.scale[: len(outputs)], outputs), LEAST_SHIFT - op.matrix.shift)

    def _outputs(self, name, layer):
        """The largest of what is added to the residual stream, in its unit: float64[size]."""
        return self.margin * self.calibration.largest(name, layer) * 2.0**self.residual

    def _router_missing(self, layer, op):
        """Bits that the binary point of the routers' results is too far right for one of them.

        Raises
        ------
        ValueError
            If there are no fewer.
        """
        if not isinstance(op, IntegerExperts):
            return 0
        outputs = self.margin * self.calibration.largest("router", layer) * LOG2E
        outputs = outputs * 2.0**self.router_fraction
        missing = excess(op.router.matrix.scale, outputs, normed=True)
        if missing > self.router_fraction:
            raise ValueError(f"layer {layer}: the router's logits are in reach of no format")
        return missing

    def _epsilon(self, parts):
        """Give all norms of the residual an epsilon with which no scale is out of reach."""
        shifts, norms = {}, []
        for operations in parts:
            for op in (part for one in operations for part in getattr(one, "parts", (one,))):
                if isinstance(op, IntegerNorm):
                    norms.append(op)
                elif isinstance(op, IntegerLinear) and any(op.input == n.out for n in norms):
                    shifts[op.name] = min(op.matrix.shift, shifts.get(op.name, 64))
        inverse = float(self.calibration.largest("inverse"))
        for op in norms:
            if op.epsilon is not None:
                residual = self.residual - (op.weights is not None) * self.weights_bits
                op.epsilon = least_epsilon(
                    self.config.dim, op.source.eps, residual, shifts, inverse
                )
