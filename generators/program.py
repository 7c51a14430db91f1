"""The program and its tapes: every weight in the order in which the machine uses it."""

from dataclasses import dataclass, replace

import numpy as np
from amaranth.hdl import Shape
from celosia.generators.group_parts import group_format, group_parts
from celosia.generators.layer_view import model_view
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.kv_cache.slots import check_slots, view_table
from celosia.rtl.machine.program import Load, Program
from celosia.rtl.machine.step import (
    BUFFERS,
    Operand,
    Region,
    Resource,
    Scalar,
    Source,
    argument,
    step_layout,
)
from celosia.rtl.stream.checks import check_range

__all__ = ["Tapes", "write_program"]

STEP = {name: field.shape for name, field in step_layout()}
AHEAD = BUFFERS - 1  # scores of so many heads are computed before the first head's values


@dataclass(frozen=True)
class Tapes:
    """A program, and what it reads.

    Parameters
    ----------
    program : Program
    weights : int8[beats, rows, lanes]
    parts : int64[beats, rows], or None
        Parts of the groups' parameters, which ride with the weights.
    ends : bool[beats], or None
        Beats that end a group.
    scales : int64[words, lanes]
    gains : dict of int64[dim_words * lanes]
        Of every norm, by its name, in order.
    """

    program: Program
    weights: np.ndarray
    parts: np.ndarray | None
    ends: np.ndarray | None
    scales: np.ndarray
    gains: dict


def write_program(model, rows, views):
    """The program of ``model`` for a fabric of ``rows``, and its tapes.

    Each matrix is on the tape once, in the order of its use: tile after tile of ``rows`` rows, in
    a tile block after block of ``lanes`` columns, in a block row by row; missing rows are zero. Row
    scales are on theirs in words of ``lanes``; each head's value scales are among them where its
    weighted values are computed. A tied embedding is the head's matrix; one of its own follows
    the head. The embedding's scales come last.

    Parameters
    ----------
    model : QuantizedModel
    rows : int, a multiple of the model's lanes to 1024
    views : tuple of celosia.reference.view.View
        What each layer sees, and the slots of its cache.

    Raises
    ------
    ValueError
        If a parameter, or what a step says of the model, is out of range.
    """
    lanes = model.scheme.lanes
    if rows not in range(lanes, 1025, lanes):
        raise ValueError(f"rows must be a multiple of lanes ({lanes}) to 1024, not {rows!r}")
    layers = model.config.n_layers
    if len(views) != layers:
        raise ValueError(f"views must be those of {layers} layers, not of {len(views)}")
    for view in views:
        check_slots(view, 1, rows, lanes)
    return _Writer(model_view(model), rows, views).write()


class _Writer:
    """Appends steps, and to the tapes what each step reads."""

    def __init__(self, model, rows, views):
        self.model = model
        self.config = model.config
        self.rows = rows
        self.lanes = model.scheme.lanes
        self.head_words = model.head_dim // self.lanes
        self.dim_words = model.scheme.padded(self.config.dim) // self.lanes
        self.hidden_words = model.scheme.padded(self.config.hidden_dim) // self.lanes
        self.attention_start = self.dim_words  # regions of the activation memory
        self.hidden_start = self.dim_words + self.config.n_heads * self.head_words
        slots = tuple(view.slots for view in views)
        kv_heads = self.config.n_kv_heads
        self.places = CachePlaces(rows, self.lanes, slots, kv_heads, self.head_words)
        _, self.view_numbers = view_table(views)
        self.groups = group_format(model)
        self.steps, self.weights, self.parts, self.ends, self.scales = [], [], [], [], []
        self.beats = self.scale_words = 0

    def write(self):
        """Write all layers, the head, and what the embedding needs."""
        model = self.model
        for index in range(len(model.layers)):
            self._layer(index)
        weight_words, scale_words = [self.beats], [self.scale_words]
        self._linear(
            model.head,
            name="head",
            route="logits",
            scalar=Scalar.NORM,
            last_token=1,
            region=Region.NORMED,
            shift=model.head.shift - 1,
            planes=model.scheme.head_planes,
        )
        weight_words.append(self.beats)
        scale_words.append(self.scale_words)
        embedding_address = weight_words[0]
        if not self.config.tied:
            embedding_address = self.beats
            self._weights(model.embedding, model.scheme.head_planes)
        embedding_scale_address = self.scale_words
        self._scales(model.embedding.scale)
        embedding = Load(
            address=embedding_address,
            scale_address=embedding_scale_address,
            words=self.dim_words,
            planes=model.scheme.head_planes == 2,
            shift=model.embedding.shift,
            argument=argument(shift=model.layers[0].norm_shift),
        )
        program = Program(self.steps, tuple(weight_words), tuple(scale_words), (embedding,))
        return Tapes(
            program,
            np.concatenate(self.weights),
            np.concatenate(self.parts) if self.groups else None,
            np.concatenate(self.ends) if self.groups else None,
            np.concatenate(self.scales),
            self._gains(),
        )

    def _gains(self):
        """The gains of every norm, by its name, in the order of their numbers."""
        gains = {}
        for index, layer in enumerate(self.model.layers):
            gains[f"layers.{index}.norm"] = layer.norm_gain
            gains[f"layers.{index}.ffn_norm"] = layer.ffn_gain
        return {**gains, "norm": self.model.head_gain}

    def _layer(self, index):
        model, layer, c = self.model, self.model.layers[index], self.config
        early = self._early_heads
        key = argument(head={"is_key": 1, "layer": index})
        self._heads(layer.k, f"layers.{index}.k", "heads", key, Resource.KEYS)
        self._queries(index, 0, early)
        if early < c.n_heads:
            self._queries(index, early, c.n_heads)
        values = argument(layer=index)
        self._heads(layer.v, f"layers.{index}.v", "values", values, Resource.VALUES)
        # The scores of some heads run ahead, so that no head waits for its softmax.
        for head in range(c.n_heads + AHEAD):
            if head < c.n_heads:
                self._scores(index, head)
            if head >= AHEAD:
                self._values(index, head - AHEAD)
        self._add(
            layer.o,
            f"layers.{index}.o",
            *(Region.ATTENTION, self.attention_start),
            *(2 * index + 1, layer.ffn_shift),
        )
        self._linear(
            layer.gate_up,
            name=f"layers.{index}.gate_up",
            route="gated",
            scalar=Scalar.NORM,
            region=Region.NORMED,
            fills=Region.HIDDEN,
            shift=layer.gate_up.shift - 1,
            argument=layer.swiglu_shift,
        )
        last = index + 1 == len(model.layers)
        self._add(
            layer.down,
            f"layers.{index}.down",
            *(Region.HIDDEN, self.hidden_start),
            2 * index + 2,
            model.head_gain_shift if last else model.layers[index + 1].norm_shift,
        )

    def _add(self, op, name, region, start, norm, shift):
        """A matrix that adds to the residual stream, and the gains behind it: number and shift."""
        self._linear(
            op,
            name=name,
            route="residual",
            keep=1,
            restarts=1,
            normed=1,
            source_base=start,
            region=region,
            fills=Region.NORMED,
            shift=op.shift,
            argument=shift,
            norm=norm,
        )

    @property
    def _early_heads(self):
        """Heads whose queries come first, in whole tiles: their scores hide the others' latency."""
        head_dim, n_heads = self.model.head_dim, self.config.n_heads
        whole = max(self.rows, 2 * self.lanes)
        fitting = (n for n in range(BUFFERS // 2, n_heads) if n * head_dim % whole == 0)
        return next(fitting, n_heads)

    def _queries(self, index, start, end):
        """The queries of heads ``start`` to ``end``."""
        rows = slice(start * self.model.head_dim, end * self.model.head_dim)
        op = _rows(self.model.layers[index].q, rows)
        sets = Resource.QUERIES if end == self.config.n_heads else Resource.EARLY_QUERIES
        query = argument(head={"is_key": 0, "layer": index})
        base = start * self.head_words
        self._heads(op, f"layers.{index}.q", "heads", query, sets, base=base)

    def _heads(self, op, name, route, number, sets, base=0):
        """A matrix whose results are heads of the layer's attention."""
        self._linear(
            op,
            name=name,
            route=route,
            scalar=Scalar.NORM,
            region=Region.NORMED,
            shift=op.shift - 1,
            argument=number,
            base=base,
            sets=sets.value,
        )

    def _scores(self, index, head):
        c = self.config
        kv_head = head // (c.n_heads // c.n_kv_heads)
        buffer = head % BUFFERS
        early = head < self._early_heads < c.n_heads
        queries = Resource.EARLY_QUERIES if early else Resource.QUERIES
        self._step(
            name=f"layers.{index}.scores",
            route="scores",
            scalar=Scalar.QUERY,
            operand=Operand.KEYS,
            source=Source.QUERIES,
            source_base=head * self.head_words,
            words=self.head_words,
            dynamic={"tiles": 1, "chunks": 1},
            view=self.view_numbers[index],
            address=self.places.key_address(index, kv_head),
            stride=self.head_words,
            argument=argument(buffer=buffer),
            shift=self.model.layers[index].score_shift,
            head=head,
            scale_address=self.places.step_address(index, kv_head),
            waits=(queries | Resource.KEYS).value,
            sets=Resource.SCORES0.value << buffer,
        )

    def _values(self, index, head):
        c, layer = self.config, self.model.layers[index]
        kv_head = head // (c.n_heads // c.n_kv_heads)
        buffer = head % BUFFERS
        self._scales(layer.value_scale[kv_head])
        self._step(
            name=f"layers.{index}.values",
            route="attention",
            scalar=Scalar.SUM,
            operand=Operand.VALUES,
            source=Source.SCORES,
            source_base=buffer * self.places.most_blocks,
            fills=Region.ATTENTION if head == 0 else Region.NONE,
            tiles=self.places.channel_tiles,
            chunks=self.head_words,
            dynamic={"words": 1},
            view=self.view_numbers[index],
            address=self.places.value_address(index, kv_head),
            stride=self.places.blocks(index),
            base=head * self.head_words,
            argument=argument(buffer=buffer),
            shift=layer.value_shift - 1,
            waits=Resource.VALUES.value | Resource.SCORES0.value << buffer,
        )

    def _linear(self, op, planes=1, **fields):
        rows, columns = op.weight.shape
        self._weights(op, planes)
        self._scales(op.scale)
        self._step(
            words=planes * columns // self.lanes,
            planes=planes - 1,
            tiles=-(-rows // self.rows),
            chunks=-(-rows // self.lanes),
            **fields,
        )

    def _step(self, region=Region.NONE, fills=Region.NONE, **fields):
        for name, value in fields.items():
            if name in STEP and isinstance(value, (int, np.integer)):
                shape = Shape.cast(STEP[name])
                low = -(1 << shape.width - 1) if shape.signed else 0
                check_range(f"a step's {name}", value, low, low + (1 << shape.width) - 1)
        self.steps.append({"region": region, "fills": fills, **fields})

    def _weights(self, op, planes):
        """Append the codes of ``op`` as beats: tile by tile, block by block, plane by plane."""
        codes = op.weight[..., None]
        if planes == 2:
            width = self.model.scheme.weight_width
            low = codes & ((1 << width) - 1)
            codes = np.concatenate([codes >> width, low - (1 << (width - 1))], axis=-1)
        beats = self._tiles(codes, self.lanes).reshape(-1, self.rows, self.lanes)
        self.weights.append(beats)
        self.beats += len(beats)
        if self.groups:
            parts, ends = group_parts(op, planes, self.groups, self.lanes)
            tiles = -(-len(op.weight) // self.rows)
            self.parts.append(self._tiles(parts, 1).reshape(-1, self.rows))
            self.ends.append(np.tile(ends, tiles))

    def _tiles(self, matrix, width):
        """``matrix`` [rows, columns, planes], cut: [tiles, blocks, planes, self.rows, width]."""
        rows, columns, planes = matrix.shape
        tiles = -(-rows // self.rows)
        padded = np.zeros((tiles * self.rows, columns, planes), matrix.dtype)
        padded[:rows] = matrix
        cut = padded.reshape(tiles, self.rows, columns // width, width, planes)
        return cut.transpose(0, 2, 4, 1, 3)

    def _scales(self, scale):
        scale = np.asarray(scale).reshape(-1)
        words = -(-len(scale) // self.lanes)
        padded = np.zeros(words * self.lanes, np.int64)
        padded[: len(scale)] = scale
        self.scales.append(padded.reshape(words, self.lanes))
        self.scale_words += words


def _rows(op, rows):
    """The matrix of some rows of ``op``."""
    groups = op.groups
    if groups is not None:
        offsets = None if groups.offsets is None else groups.offsets[rows]
        groups = replace(groups, scales=groups.scales[rows], offsets=offsets)
    return replace(op, weight=op.weight[rows], scale=op.scale[rows], groups=groups)
