"""Trees and linear models of ai.onnx.ml, against ONNX Runtime."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper

import pyinfer
from ml_nodes import TRANSFORMS, check_ort, ml_model, ort_run
from nodes import assert_same

RNG = np.random.default_rng(21)


def random_trees(rng, trees, depth, features, votes_per_leaf, targets, positive, modes):
    """Attributes of complete and pruned trees, without the prefix of the votes."""
    nodes = {
        k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    nodes["missing_value_tracks_true"] = []
    votes = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        count = itertools.count(1)
        stack = [(0, depth)]
        while stack:
            node, levels = stack.pop()
            leaf = levels == 0 or (levels < depth and rng.random() < 0.3)
            yes, no = (0, 0) if leaf else (next(count), next(count))
            row = (
                tree,
                node,
                0 if leaf else int(rng.integers(features)),
                0.0 if leaf else float(np.float32(rng.integers(-2, 3) / 2)),
                "LEAF" if leaf else str(rng.choice(modes)),
                yes,
                no,
                int(rng.integers(2)),
            )
            for name, value in zip(nodes, row, strict=True):
                nodes[name].append(value)
            if leaf:
                for target in rng.choice(targets, min(votes_per_leaf, len(targets)), replace=False):
                    weight = rng.random() if positive else rng.standard_normal()
                    for name, value in zip(
                        votes, (tree, node, int(target), float(np.float32(weight))), strict=True
                    ):
                        votes[name].append(value)
            else:
                stack += [(yes, levels - 1), (no, levels - 1)]
    return nodes, votes


def tree_attributes(prefix, *args):
    nodes, votes = random_trees(*args)
    return {f"nodes_{k}": v for k, v in nodes.items()} | {f"{prefix}_{k}": v for k, v in votes.items()}


LEQ = ["BRANCH_LEQ"]
ALL = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


def samples(rng, rows, features, dtype=np.float32, missing=False):
    x = rng.integers(-4, 5, (rows, features)) / (1 if np.dtype(dtype).kind == "i" else 2)
    x = x.astype(dtype)
    if missing:
        x[rng.random(x.shape) < 0.2] = np.nan
    return x


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("modes", [LEQ, ALL])
@pytest.mark.parametrize("base", [False, True])
def test_tree_regressor(aggregate, targets, modes, base):
    rng = np.random.default_rng(targets)
    attributes = tree_attributes("target", rng, 7, 4, 5, 2, list(range(targets)), False, modes)
    attributes |= {"n_targets": targets, "aggregate_function": aggregate}
    if base:
        attributes["base_values"] = [float(i) + 0.5 for i in range(targets)]
    for rows in (1, 2, 70):
        check_ort("TreeEnsembleRegressor", samples(rng, rows, 5), attributes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_tree_regressor_of_each_type(dtype):
    rng = np.random.default_rng(1)
    attributes = tree_attributes("target", rng, 3, 4, 5, 1, [0], False, LEQ) | {"n_targets": 1}
    if dtype in (np.float32, np.float64):
        check_ort("TreeEnsembleRegressor", samples(rng, 20, 5, dtype), attributes)
        return
    x = samples(rng, 20, 5, dtype)  # ONNX Runtime takes floats only here
    got = pyinfer.load(ml_model("TreeEnsembleRegressor", x, attributes)).run({"x0": x})["y0"]
    (want,) = ort_run(
        ml_model("TreeEnsembleRegressor", x.astype(np.float32), attributes), {"x0": x.astype(np.float32)}
    )
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_missing_values_follow_their_branch():
    rng = np.random.default_rng(2)
    attributes = tree_attributes("target", rng, 5, 4, 5, 1, [0], False, ALL[:4]) | {"n_targets": 1}
    check_ort("TreeEnsembleRegressor", samples(rng, 200, 5, missing=True), attributes)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [2, 4])
def test_tree_regressor_transforms(transform, targets):
    rng = np.random.default_rng(3)
    attributes = tree_attributes("target", rng, 1, 3, 5, 2, list(range(targets)), True, LEQ)
    attributes |= {"n_targets": targets, "post_transform": transform}
    check_ort("TreeEnsembleRegressor", samples(rng, 20, 5), attributes)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize(
    ("classes", "voted", "base"),
    [
        (2, [0], None),
        (2, [0], [0.25]),
        (3, [0, 1, 2], None),
        (4, [0, 1, 3], [0.5, 0.25, -1.0, 0.125]),
    ],
)
def test_tree_classifier(transform, positive, strings, classes, voted, base):
    if transform == "PROBIT":
        pytest.skip("random scores are no probabilities")
    if classes == 2 and (transform not in ("NONE", "LOGISTIC") or (positive and transform == "LOGISTIC")):
        pytest.skip("ONNX Runtime leaves the scores of two classes as they are, or takes the wrong label")
    rng = np.random.default_rng(classes)
    attributes = tree_attributes("class", rng, 4, 3, 5, 2, voted, positive, LEQ)
    names = [f"class {i}" for i in range(classes)] if strings else [10 * i - 5 for i in range(classes)]
    attributes["classlabels_strings" if strings else "classlabels_int64s"] = names
    attributes["post_transform"] = transform
    if base:
        attributes["base_values"] = base
    check_ort("TreeEnsembleClassifier", samples(rng, 40, 5), attributes, outputs=2)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def two_classes(leaves, transform, **more):
    """One tree: x <= 0.5 goes to leaf 1, else to leaf 2. `leaves` lists (leaf, class, weight)."""
    attributes = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "class_treeids": [0] * len(leaves),
        "class_nodeids": [leaf for leaf, _, _ in leaves],
        "class_ids": [c for _, c, _ in leaves],
        "class_weights": [w for _, _, w in leaves],
        "classlabels_int64s": [7, 9],
        "post_transform": transform,
    } | more
    x = np.array([[0], [1]], np.float32)
    got = pyinfer.load(ml_model("TreeEnsembleClassifier", x, attributes, 2)).run({"x0": x})
    return got["y0"].tolist(), got["y1"]


@pytest.mark.parametrize(
    ("leaves", "transform", "labels", "scores"),
    [
        # Votes for the first class only speak for the second.
        ([(1, 0, 0.3), (2, 0, 0.9)], "NONE", [7, 9], np.array([[0.7, 0.3], [0.1, 0.9]])),
        ([(1, 0, -0.3), (2, 0, 0.9)], "NONE", [7, 9], np.array([[0.3, -0.3], [-0.9, 0.9]])),
        ([(1, 0, 0.3), (2, 0, 0.9)], "LOGISTIC", [9, 9], sigmoid(np.array([[-0.3, 0.3], [-0.9, 0.9]]))),
        ([(1, 0, -0.3), (2, 0, 0.9)], "SOFTMAX", [7, 9], softmax(np.array([[0.3, -0.3], [-0.9, 0.9]]))),
        # Votes for the second class only.
        ([(1, 1, -0.3), (2, 1, 0.9)], "LOGISTIC", [7, 9], sigmoid(np.array([[0, -0.3], [0, 0.9]]))),
        # Votes for both: the larger one wins.
        (
            [(1, 0, 0.3), (1, 1, 0.4), (2, 0, 0.9), (2, 1, 0.1)],
            "NONE",
            [9, 7],
            np.array([[0.3, 0.4], [0.9, 0.1]]),
        ),
        ([(1, 0, 0.3), (2, 1, 0.8)], "SOFTMAX", [7, 9], softmax(np.array([[0.3, 0], [0, 0.8]]))),
    ],
)
def test_tree_classifier_of_two_classes(leaves, transform, labels, scores):
    got_labels, got_scores = two_classes(leaves, transform)
    assert got_labels == labels
    np.testing.assert_allclose(got_scores, scores, rtol=1e-5)


@pytest.mark.parametrize("voted", [0, 1])
def test_tree_classifier_adds_one_base_value_to_the_class_that_is_voted_for(voted):
    _, scores = two_classes([(1, voted, -0.5), (2, voted, 1.0)], "NONE", base_values=[0.25])
    np.testing.assert_allclose(scores[:, 1], [-0.25, 1.25])


CYCLE = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [0, 0, 0],
    "nodes_values": [0.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 2, 0],
    "target_treeids": [0],
    "target_nodeids": [2],
    "target_ids": [0],
    "target_weights": [1.0],
    "n_targets": 1,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "cycle"),
        ({"nodes_truenodeids": [0, 2, 0]}, "cycle"),
        ({"nodes_truenodeids": [7, 2, 0]}, "no node 7"),
        ({"nodes_truenodeids": [-1, 2, 0]}, "element -1"),
        ({"nodes_truenodeids": [1, 2]}, "expected 3"),
        ({"nodes_truenodeids": [1, 2, 0], "target_ids": [4]}, "target 4"),
        ({"nodes_truenodeids": [1, 2, 0], "nodes_modes": ["BRANCH_LEQ", "BRANCH_X", "LEAF"]}, "BRANCH_X"),
        ({"nodes_truenodeids": [1, 2, 0], "nodes_nodeids": [0, 2, 2]}, "two nodes"),
        ({"nodes_truenodeids": [1, 2, 0], "nodes_values": [0.0]}, "nodes_values"),
        ({"nodes_truenodeids": [1, 2, 0], "aggregate_function": "MEDIAN"}, "MEDIAN"),
        ({"nodes_truenodeids": [1, 2, 0], "post_transform": "RELU"}, "RELU"),
        ({"nodes_truenodeids": [1, 2, 0], "n_targets": 0}, "n_targets"),
        ({"nodes_truenodeids": [1, 2, 0], "base_values": [1.0, 2.0]}, "base_values"),
    ],
)
def test_malformed_trees_are_rejected(change, message):
    x = np.zeros((2, 1), np.float32)
    with pytest.raises(pyinfer.InvalidModel, match=message):
        pyinfer.load(ml_model("TreeEnsembleRegressor", x, CYCLE | change))


def test_too_few_features_are_rejected():
    attributes = CYCLE | {"nodes_truenodeids": [1, 2, 0], "nodes_featureids": [9, 0, 0]}
    x = np.zeros((2, 9), np.float32)
    with pytest.raises(pyinfer.InvalidInput, match="10 features"):
        pyinfer.load(ml_model("TreeEnsembleRegressor", x, attributes)).run({"x0": x})


def tensor(name, values, dtype):
    return helper.make_tensor(name, dtype, [len(values)], values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("aggregate", [0, 1, 2, 3])
@pytest.mark.parametrize("transform", [0, 1, 2, 3])
def test_tree_ensemble_5(dtype, aggregate, transform):
    onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    attributes = {
        "n_targets": 2,
        "aggregate_function": aggregate,
        "post_transform": transform,
        "tree_roots": [0, 3],
        "nodes_modes": tensor("m", [0, 6, 3, 4], TensorProto.UINT8),
        "nodes_featureids": [0, 1, 2, 1],
        "nodes_splits": tensor("s", [0.5, 0.0, -0.5, 1.0], onnx_type),
        "nodes_truenodeids": [1, 0, 2, 4],
        "nodes_trueleafs": [0, 1, 1, 1],
        "nodes_falsenodeids": [2, 1, 3, 0],
        "nodes_falseleafs": [0, 1, 1, 1],
        "nodes_missing_value_tracks_true": [0, 1, 0, 0],
        "leaf_targetids": [0, 1, 0, 1, 0],
        "leaf_weights": tensor("w", [0.25, 1.5, -0.75, 2.0, 0.5], onnx_type),
        "membership_values": tensor("v", [1.0, -1.0, np.nan], onnx_type),
    }
    x = samples(np.random.default_rng(4), 30, 3, dtype, missing=True)

    def walk(row):
        def first():
            if row[0] <= 0.5:
                return 0 if row[1] in (1.0, -1.0) or np.isnan(row[1]) else 1
            return 2 if row[2] > -0.5 else 3

        return [first(), 4 if row[1] == 1.0 else 0]

    targets, weights = [0, 1, 0, 1, 0], [0.25, 1.5, -0.75, 2.0, 0.5]
    join = {0: lambda v: sum(v) / 2, 1: sum, 2: min, 3: max}[aggregate]
    want = np.zeros((len(x), 2))
    for i, row in enumerate(x):
        for t in range(2):
            votes = [weights[leaf] for leaf in walk(row) if targets[leaf] == t]
            want[i, t] = join(votes) if votes else 0
    if transform == 1 or transform == 3:
        e = np.exp(want - want.max(1, keepdims=True))
        if transform == 3:
            e = np.where(np.abs(want) > 1e-7, e, want * np.exp(-want.max(1, keepdims=True)))
            e = np.where(e.sum(1, keepdims=True) == 0, 0.5, e)
            want = np.where(e.sum(1, keepdims=True) == 1, e, e / e.sum(1, keepdims=True))
        else:
            want = e / e.sum(1, keepdims=True)
    elif transform == 2:
        want = 1 / (1 + np.exp(-want))
    got = pyinfer.load(ml_model("TreeEnsemble", x, attributes, opset=5)).run({"x0": x})["y0"]
    assert_same(got, want.astype(dtype), rtol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_regressor(transform, dtype, bias):
    targets, features = 3, 5
    scale = 0.05 if transform == "PROBIT" else 1.0
    coefficients = (np.abs(RNG.standard_normal(targets * features)) * scale).astype(np.float32)
    attributes = {"coefficients": coefficients.tolist(), "targets": targets, "post_transform": transform}
    if bias:
        attributes["intercepts"] = [0.1, 0.2, 0.3]
    x = np.abs(samples(RNG, 9, features, dtype))
    if transform == "PROBIT":
        x = (x > 0).astype(dtype)
    if dtype == np.float32:
        check_ort("LinearRegressor", x, attributes)
        return
    want = ort_run(
        ml_model("LinearRegressor", x.astype(np.float32), attributes, opset=1), {"x0": x.astype(np.float32)}
    )
    got = pyinfer.load(ml_model("LinearRegressor", x, attributes, opset=1)).run({"x0": x})["y0"]
    np.testing.assert_allclose(got, want[0], rtol=1e-4, atol=1e-5)


def test_linear_regressor_with_one_target_is_transformed():
    x = samples(RNG, 6, 3)
    attributes = {"coefficients": [0.5, -1.0, 2.0], "intercepts": [0.25], "post_transform": "LOGISTIC"}
    got = pyinfer.load(ml_model("LinearRegressor", x, attributes)).run({"x0": x})["y0"]
    want = 1 / (1 + np.exp(-(x.astype(np.float64) @ [[0.5], [-1.0], [2.0]] + 0.25)))
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize(("rows_of_weights", "classes"), [(1, 2), (2, 2), (3, 3)])
def test_linear_classifier(transform, strings, rows_of_weights, classes):
    if rows_of_weights == 1 and transform != "LOGISTIC":
        pytest.skip("ONNX Runtime does not transform the scores of two classes")
    rng = np.random.default_rng(rows_of_weights)
    scale = 0.02 if transform == "PROBIT" else 0.5
    coefficients = (np.abs(rng.standard_normal(rows_of_weights * 4)) * scale).astype(np.float32)
    if transform != "PROBIT":
        coefficients *= rng.choice([-1, 1], coefficients.shape).astype(np.float32)
    names = [f"c{i}" for i in range(classes)] if strings else [i * 3 + 1 for i in range(classes)]
    attributes = {
        "coefficients": coefficients.tolist(),
        "intercepts": [0.125] * rows_of_weights,
        "classlabels_strings" if strings else "classlabels_ints": names,
        "post_transform": transform,
        "multi_class": 0,
    }
    x = np.abs(samples(rng, 20, 4)) if transform == "PROBIT" else samples(rng, 20, 4)
    check_ort("LinearClassifier", x, attributes, outputs=2, opset=1)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX"])
def test_linear_classifier_with_one_row_of_weights(transform):
    x = samples(RNG, 9, 2)
    attributes = {"coefficients": [0.5, -1.0], "classlabels_ints": [3, 4], "post_transform": transform}
    got = pyinfer.load(ml_model("LinearClassifier", x, attributes, 2)).run({"x0": x})
    s = x @ np.array([[0.5], [-1.0]])
    scores = np.concatenate([-s, s], axis=1)
    np.testing.assert_array_equal(got["y0"], np.where(s[:, 0] > 0, 4, 3))
    np.testing.assert_allclose(got["y1"], softmax(scores) if transform == "SOFTMAX" else scores, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"coefficients": [1.0] * 5},
        {"intercepts": [1.0]},
        {"classlabels_ints": [1, 2, 3]},
        {"post_transform": "X"},
    ],
)
def test_linear_classifier_rejects(change):
    attributes = {"coefficients": [1.0] * 6, "intercepts": [0.0, 0.0], "classlabels_ints": [0, 1]} | change
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(pyinfer.PyInferError):
        pyinfer.load(ml_model("LinearClassifier", x, attributes, outputs=2)).run({"x0": x})
