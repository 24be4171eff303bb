#!/usr/bin/env python3
"""Time tree ensembles against ONNX Runtime, in interleaved rounds on the same number of threads.

    python benchmarks/kernels/trees.py [--trees 100] [--depth 8] [--threads 2]

The ratio is ONNX Runtime's median time over pyinfer's: above 1, pyinfer is faster.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

import pyinfer


def ensemble(trees: int, depth: int, features: int, rng: np.random.Generator) -> bytes:
    """Complete trees of `depth` levels of branches, with random features and thresholds."""
    n, branches = 2 ** (depth + 1) - 1, 2**depth - 1
    ids = np.arange(n)
    branch = ids < branches
    attributes = {
        "nodes_treeids": np.repeat(np.arange(trees), n),
        "nodes_nodeids": np.tile(ids, trees),
        "nodes_featureids": rng.integers(features, size=n * trees),
        "nodes_values": rng.normal(size=n * trees),
        "nodes_modes": ["BRANCH_LEQ" if b else "LEAF" for b in branch] * trees,
        "nodes_truenodeids": np.tile(np.where(branch, 2 * ids + 1, 0), trees),
        "nodes_falsenodeids": np.tile(np.where(branch, 2 * ids + 2, 0), trees),
        "target_treeids": np.repeat(np.arange(trees), n - branches),
        "target_nodeids": np.tile(ids[branches:], trees),
        "target_ids": np.zeros((n - branches) * trees, int),
        "target_weights": rng.normal(size=(n - branches) * trees),
    }
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        **{k: v if isinstance(v, list) else v.tolist() for k, v in attributes.items()},
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    data = ensemble(args.trees, args.depth, args.features, rng)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    model = pyinfer.load(data, threads=args.threads)
    for rows in (1, 1000):
        x = rng.normal(size=(rows, args.features)).astype(np.float32)
        runs = {"onnxruntime": lambda x=x: session.run(None, {"x": x})[0], "pyinfer": lambda x=x: model(x)}
        np.testing.assert_allclose(runs["pyinfer"](), runs["onnxruntime"](), rtol=1e-3, atol=1e-3)
        repeats = max(3, 2000 // rows)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, call in runs.items():
                call()
                start = time.perf_counter()
                for _ in range(repeats):
                    call()
                times[name].append((time.perf_counter() - start) / repeats)
        ort, ours = (float(np.median(times[name])) for name in ("onnxruntime", "pyinfer"))
        print(f"{rows} rows: onnxruntime {ort * 1e6:.1f} us, pyinfer {ours * 1e6:.1f} us, ", end="")
        print(f"ratio {ort / ours:.2f}")


if __name__ == "__main__":
    main()
