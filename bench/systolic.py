"""How many of a systolic array's multipliers work in each cycle of a matrix product, measured.

    python bench/systolic.py [--size 96] [--rows 8] [--cols 8]

Simulates the arrays' Verilog on size x size matrices, checks every sum, and prints the share of
``rows * cols * cycles`` that were multiplications asked for: from the first word accepted to the
last result, loading and draining included.
"""

import argparse

import numpy as np
from celosia.rtl.mac.output_stationary import OutputStationary
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.sim import bench


def framed(x):
    return [{"data": row.tolist(), "last": int(n == len(x) - 1)} for n, row in enumerate(x)]


def weight_stationary(a, b, rows, cols):
    """The product and its cycles: sums over k are made of tiles of ``rows``, added here."""
    size = len(a)
    tiles = [(k, c) for c in range(0, size, cols) for k in range(0, size, rows)]
    weights = [w for k, c in tiles for w in framed(b[k : k + rows, c : c + cols])]
    i = [w for k, _ in tiles for w in framed(a[:, k : k + rows])]
    result = bench.run(WeightStationary(rows, cols), {"weights": weights, "i": i}, len(i))
    parts = np.array([w["data"] for w in result.outputs["o"]])
    parts = parts.reshape(size // cols, size // rows, size, cols).sum(axis=1)
    return parts.transpose(1, 0, 2).reshape(size, size), result.cycles


def output_stationary(a, b, rows, cols):
    """The product and its cycles."""
    size = len(a)
    i = [
        {
            "activations": a[r : r + rows, k].tolist(),
            "weights": b[k, c : c + cols].tolist(),
            "last": int(k == size - 1),
            "rows": rows,
        }
        for r in range(0, size, rows)
        for c in range(0, size, cols)
        for k in range(size)
    ]
    result = bench.run(OutputStationary(rows, cols), i, size * size // cols)
    y = np.array([w["data"] for w in result.outputs["o"]])
    y = y.reshape(size // rows, size // cols, rows, cols)
    return y.transpose(0, 2, 1, 3).reshape(size, size), result.cycles


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("size", 96), ("rows", 8), ("cols", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (2, args.size, args.size))
    use = {}
    for array, run in (
        (WeightStationary, weight_stationary),
        (OutputStationary, output_stationary),
    ):
        y, cycles = run(a, b, args.rows, args.cols)
        np.testing.assert_array_equal(y, a @ b)
        use[array.__name__] = args.size**3 / (args.rows * args.cols * cycles)
        shape = f"{args.rows}x{args.cols}, {args.size}x{args.size}x{args.size}"
        print(f"{array.__name__:17} {shape}: {cycles} cycles, {use[array.__name__]:.2%} MAC use")
    return use


if __name__ == "__main__":
    main()
