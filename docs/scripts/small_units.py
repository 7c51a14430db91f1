"""Units small enough for a waveform: parameters beside the standard ones, inputs, cycles shown."""

__all__ = ["FRAME", "SMALL", "words"]

FRAME = {"token": 0, "argument": 0}


def words(*data, **more):
    """The words of one vector, with further members that all of them have."""
    last = len(data) - 1
    frame = FRAME | more
    return [{"data": d, "index": n, "last": int(n == last), **frame} for n, d in enumerate(data)]


TWO = {"lanes": 2, "words": 2}
HEAD = {"lanes": 2, "head_words": 2}
PAIR = [30, -40], [7, 8]
CACHE = {"rows": 2, "lanes": 2, "n_layers": 1, "n_kv_heads": 1, "head_words": 1, "max_seq_len": 4}
PLACE = {"layer": 0, "head": 0, "word": 0}
CACHED = [
    {"data": d, "slot": n, "step": 5 + n, "last": n, **PLACE}
    for n, d in enumerate(([1, 2], [3, 4]))
]
READ = {"address": [0], "read_en": [0, 0, 0, 0, 1, 0]}
BLOCK = {"mantissa": [64, 32], "exponent": 0}

#: Of a unit: its settings, what its input streams and ports get, and how many cycles are shown.
SMALL = {
    "bias": (
        {"lanes": 2},
        {"i": words(*PAIR, bias=1, last_token=1), "biases": [[1, 2], [3, 4]]},
        12,
    ),
    "block_quantize": ({"lanes": 2}, {"i": words([1000, -20], [3, 4])}, 16),
    "dequantizer": (
        {"lanes": 2, "groups": 2},
        {"i": words(*PAIR, zero_point=[1, 2], sums=[3, 4], scale=[500, 600], end=1)},
        16,
    ),
    "gate": ({"lanes": 2}, {"i": words([4096, -4096], [100, 200], argument=12)}, 24),
    "gelu": ({"lanes": 2}, {"i": words([4096, -4096], [100, 200])}, 16),
    "head_quantize": (HEAD, {"i": words([1000, -20], [3, 4])}, 40),
    "key_cache": (
        CACHE,
        {"i": CACHED, **READ, "step_address": [0], "step_en": READ["read_en"]},
        8,
    ),
    "kv_paged": (
        {"n_blocks": 4, "block_size": 2, "n_sequences": 2, "max_blocks": 4},
        {
            "i": [
                {"operation": o, "sequence": s, "target": t, "length": 0}
                for o, s, t in ((0, 0, 0), (2, 0, 1), (0, 1, 0), (1, 0, 0))
            ]
        },
        48,
    ),
    "mac_fabric": (
        {"rows": 2, "lanes": 2},
        {
            "i": [
                {"weights": [[1, 2], [3, 4]], "activations": [a], "first": first, "last": 1 - first}
                for first, a in ((1, BLOCK), (0, {"mantissa": [1, 1], "exponent": 2}))
            ]
        },
        14,
    ),
    "output_stationary": (
        {"rows": 2, "cols": 2},
        {
            "i": [
                {"activations": a, "weights": w, "last": last, "rows": 2}
                for a, w, last in (([1, 2], [5, 6], 0), ([3, 4], [7, 8], 1))
            ]
        },
        14,
    ),
    "reciprocal": ({}, {"i": [3, 1000]}, 40),
    "recurrent": (
        TWO | {"layers": 1},
        {"i": [w for n in range(3) for w in words([4096, -4096], [100, 200], argument=n)]},
        64,
    ),
    "residual": (
        TWO,
        {"i": words(*PAIR, keep=0, norm=0) + words([1, 1], [1, 1], keep=1, norm=0)},
        16,
    ),
    "rms_norm": (TWO | {"norms": 1}, {"i": words(*PAIR, norm=0)}, 40),
    "rope": (
        HEAD,
        {"i": words([100, 0], [0, 100]), "positions": [{"position": 1, "tokens": 1}]},
        40,
    ),
    "rope_halves": (HEAD, {"i": words([100, 0], [0, 100]), "position": [1]}, 40),
    "rsqrt": ({}, {"i": [16, 1000]}, 48),
    "sampler": ({"lanes": 2, "vocab_size": 4}, {"seed": [1], "i": words([5, 9], [7, 1])}, 20),
    "scale": (
        {"lanes": 2},
        {"i": words(*PAIR, row_scale=[1 << 15, 1 << 14], mantissa=1 << 16, shift=20)},
        16,
    ),
    "soft_cap": ({"lanes": 2}, {"i": words([4096, -40960], [1 << 20, 0])}, 24),
    "softmax_block": ({"lanes": 2}, {"i": words([4096, 0], [-4096, 8192])}, 20),
    "softmax_sum": (TWO, {"i": [{"blocks": [BLOCK], "last": n} for n in (0, 1)]}, 48),
    "static_quantizer": (
        {"lanes": 2, "channels": 4, "group_size": 2},
        {"i": words([1000, -20], [3, 4])},
        14,
    ),
    "stream_norm": (TWO | {"norms": 1}, {"i": words(*PAIR, set=0)}, 48),
    "sum_of_squares": (TWO, {"i": words(*PAIR)}, 14),
    "ternary_words": ({"rows": 2, "lanes": 2}, {"i": [[121], [0], [242]]}, 10),
    "top_k": ({"lanes": 2, "k": 2, "vocab_size": 4}, {"i": words([5, 9], [7, 1])}, 20),
    "value_cache": (CACHE, {"i": CACHED, **READ}, 8),
    "weigh": (TWO | {"norms": 1}, {"i": words(*PAIR, norm=0)}, 14),
}
