"""How the groups' scales and offsets are laid out on the tape, beside the weights."""

import numpy as np
from celosia.reference.quantization.group_quantize import OFFSET_WIDTH, SCALE_WIDTH
from celosia.rtl.mac.group_scales import GroupFormat

__all__ = ["group_format", "group_parts", "pack_words"]

PIECE = 1 << 15  # words that are packed at once


def group_format(model):
    """The :class:`GroupFormat` of a quantised model's tape; None without groups."""
    s, c = model.scheme, model.config
    if not s.group:
        return None
    beats = s.group // s.lanes
    columns = {matrix.weight.shape[1] for matrix in model.matrices}
    longest = max((n % s.group + s.group) // s.lanes for n in columns)
    longest = max(longest, s.head_planes * (s.padded(c.dim) % s.group + s.group) // s.lanes)
    return GroupFormat(
        weight_width=s.weight_width,
        shortest=beats,
        longest=longest,
        offsets=s.weight_width < 8,
        planes=s.head_planes == 2,
        offset_width=s.offset_width,
    )


def group_parts(op, planes, groups, lanes):
    """What rides with the weights of ``op``: parts int64[rows, blocks, planes], and which beats
    of a tile end a group, bool[blocks * planes].

    Each row's parameters (scale, then offset) lie in the last ``groups.parts`` beats of a group,
    lowest bits first. A lower plane's codes are too low by ``2**(weight_width - 1)``, for which
    the offset makes up.
    """
    rows, columns = op.weight.shape
    scales = op.groups.scales.astype(np.int64)
    parameters = scales
    if groups.offsets:
        offsets = np.zeros_like(scales) if op.groups.offsets is None else op.groups.offsets
        if planes == 2:
            offsets = offsets + (scales << (groups.weight_width - 1))
        offsets = offsets >> (OFFSET_WIDTH - groups.offset_width)
        mask = (1 << groups.offset_width) - 1
        parameters = scales | (offsets.astype(np.int64) & mask) << SCALE_WIDTH
    blocks = columns // lanes
    parts = np.zeros((rows, blocks * planes), np.int64)
    ends = np.zeros(blocks * planes, bool)
    last = np.append(op.groups.starts[1:], columns) // lanes * planes  # beats after each group
    ends[last - 1] = True
    for part in range(groups.parts):
        bits = parameters >> part * groups.part_width & ((1 << groups.part_width) - 1)
        parts[:, last - groups.parts + part] = bits
    return parts.reshape(rows, blocks, planes), ends


def pack_words(weights, parts, ends, weight_width, part_width):
    """The words of the tape, bit by bit: uint8[beats, bytes], the last byte filled up with zeros.

    From the lowest bit: ``weights`` int8[beats, rows, lanes] in ``weight_width`` bits each,
    ``parts`` int64[beats, rows] in ``part_width`` bits, ``ends`` bool[beats].
    """
    pieces = []
    for start in range(0, len(weights), PIECE):
        some = slice(start, start + PIECE)
        bits = [_bits(weights[some], weight_width)]
        if parts is not None:
            bits += [_bits(parts[some], part_width), ends[some, None].astype(np.uint8)]
        pieces.append(np.packbits(np.concatenate(bits, axis=1), axis=1, bitorder="little"))
    return np.concatenate(pieces)


def _bits(values, width):
    """The lowest ``width`` bits of each of ``values``, lowest first: uint8[beats, bits]."""
    flat = values.reshape(len(values), -1)
    bits = (flat[..., None] >> np.arange(width, dtype=flat.dtype)) & 1
    return bits.reshape(len(flat), -1).astype(np.uint8)
