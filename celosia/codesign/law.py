"""The loss of a model by its shape: a polynomial in logarithms, fitted on trained models."""

import math
from dataclasses import dataclass
from importlib.resources import files

import msgspec
import numpy as np

from celosia.reference.model import ModelConfig

__all__ = [
    "QUANTITIES",
    "TERMS",
    "Law",
    "Trained",
    "fitted",
    "is_held",
    "known_models",
    "quantities",
]

#: What a shape is to the law; each by its natural logarithm.
QUANTITIES = ("depth", "width", "KV width", "FFN ratio", "activation rate")
#: The law's terms: products of such quantities, by their numbers. Those behind the linear ones are
#: taken, in this order, where a term has at least ``MODELS`` models.
TERMS = ((), (0,), (1,), (2,), (3,), (4,), (0, 1), (0, 0), (1, 1), (1, 3), (1, 4))
LINEAR, MODELS = 6, 3
EACH = 4  # one of so many models is held out of the fit
SPREADS = 2  # standard deviations of the error that is stated
ROOM = 1e-9  # of a range's ends


@dataclass(frozen=True)
class Trained:
    """A model that was trained by :func:`celosia.codesign.course.course`.

    Parameters
    ----------
    name : str
    config : ModelConfig
    tokens : int
        That it was trained on.
    loss : float
        Nats per held-out token.
    """

    name: str
    config: ModelConfig
    tokens: int
    loss: float


@dataclass(frozen=True)
class Law:
    """``loss = sum of c * product of log(quantities)``, by least squares.

    The form is the "parametric polynomial" of roofline co-design (arXiv 2602.10377), whose terms
    and coefficients were not at hand: those here are chosen and fitted anew.

    Parameters
    ----------
    terms : tuple
        Of :data:`TERMS`.
    coefficients : float64[terms]
    spread : float
        The standard deviation of a loss around the fit, in nats.
    inverse : float64[terms, terms]
        Of the products of the fitted shapes' terms.
    leverage : float
        The largest of a fitted shape.
    ranges : float64[2, quantities]
        The least and the largest of each.
    r2, held_r2, held_error : float
        The share of the variance that is explained, of the fit and of models that are not in it;
        the largest error of those, in nats.
    """

    terms: tuple
    coefficients: np.ndarray
    spread: float
    inverse: np.ndarray
    leverage: float
    ranges: np.ndarray
    r2: float
    held_r2: float
    held_error: float

    def loss(self, config):
        """What a model of ``config`` is to lose, in nats per token."""
        return float(_rows([config], self.terms)[0] @ self.coefficients)

    def error(self, config):
        """What that is good for: two standard deviations of a prediction, in nats."""
        return SPREADS * self.spread * math.sqrt(1 + self._leverage(config))

    def covers(self, config):
        """Whether the fit had such shapes: in each quantity, and in all together."""
        values = quantities(config)
        low, high = self.ranges
        within = np.all(values >= low * (1 - ROOM)) and np.all(values <= high * (1 + ROOM))
        return bool(within) and self._leverage(config) <= self.leverage * (1 + ROOM)

    def _leverage(self, config):
        row = _rows([config], self.terms)[0]
        return float(row @ self.inverse @ row)


def quantities(config):
    """Of a shape the :data:`QUANTITIES`: float64[5]."""
    chosen, experts = (config.options.get(name, 1) for name in ("chosen", "experts"))
    width, ratio = config.n_kv_heads * config.head_dim, chosen * config.hidden_dim / config.dim
    return np.array([config.n_layers, config.dim, width, ratio, chosen / experts])


def _rows(configs, terms):
    logs = np.log([quantities(config) for config in configs])
    return np.stack([logs[:, list(term)].prod(axis=1) for term in terms], axis=1)


def known_models():
    """All that were trained: a list of :class:`Trained`."""
    data = (files("celosia.codesign") / "loss_law.json").read_bytes()
    return [
        Trained(name, ModelConfig(**one["model"]), one["tokens"], one["loss"])
        for name, one in msgspec.json.decode(data).items()
    ]


def fitted(models):
    """The :class:`Law` of ``models``, every fourth of which is held out of the fit."""
    seen, held = ([one for n, one in enumerate(models) if is_held(n) is x] for x in (False, True))
    terms = TERMS[: max(LINEAR, len(seen) // MODELS)]
    rows = _rows([one.config for one in seen], terms)
    losses = np.array([one.loss for one in seen])
    coefficients, *_ = np.linalg.lstsq(rows, losses, rcond=None)
    inverse = np.linalg.pinv(rows.T @ rows)
    rest = losses - rows @ coefficients
    others = np.array([one.loss for one in held])
    held_rest = others - _rows([one.config for one in held], terms) @ coefficients
    values = np.array([quantities(one.config) for one in seen])
    return Law(
        terms=terms,
        coefficients=coefficients,
        spread=math.sqrt(rest @ rest / max(len(seen) - len(terms), 1)),
        inverse=inverse,
        leverage=float(np.einsum("ij,jk,ik->i", rows, inverse, rows).max()),
        ranges=np.array([values.min(axis=0), values.max(axis=0)]),
        r2=_explained(losses, rest),
        held_r2=_explained(others, held_rest),
        held_error=float(np.abs(held_rest).max()),
    )


def is_held(number):
    """Whether the model of this number is held out of the fit."""
    return number % EACH == EACH - 1


def _explained(values, rest):
    return float(1 - rest @ rest / np.sum((values - values.mean()) ** 2))
