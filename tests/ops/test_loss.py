"""Losses against NumPy, optimiser steps against the ONNX reference evaluator."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11, np.float16: 5e-3, ml_dtypes.bfloat16: 4e-2}


def loss(x, target, weights, ignored, reduction):
    c = x.shape[1]
    t = np.where(target == ignored, 0, target) if ignored is not None else target
    w = np.ones(c) if weights is None else weights.astype(np.float64)
    w = w[t] * (1 if ignored is None else target != ignored)
    values = -np.take_along_axis(x, np.expand_dims(t, 1), 1).squeeze(1) * w
    if reduction == "none":
        return values
    return values.sum() if reduction == "sum" else values.sum() / w.sum()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 6), (2, 3, 4, 5), (1, 1)])
def test_losses(dtype, reduction, shape):
    rng = np.random.default_rng(0)
    for with_weights in (False, True):
        for ignored in (None, 0, -7):
            x = rng.standard_normal(shape).astype(dtype)
            target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
            if ignored == -7:
                target.ravel()[0] = -7
                target = target.astype(np.int32)
            if ignored == 0 and (target == 0).all():
                continue
            weights = rng.uniform(0.5, 1.5, shape[1]).astype(dtype) if with_weights else None
            attributes = {"reduction": reduction} | ({} if ignored is None else {"ignore_index": ignored})
            if ignored == -7 and target.size == 1:
                continue
            inputs = [x, target] + ([weights] if with_weights else [])
            options = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] * 4}
            wide = x.astype(np.float64)
            want = np.asarray(loss(wide, target, weights, ignored, reduction)).astype(dtype)
            check("NegativeLogLikelihoodLoss", inputs, attributes, expected=[want], **options)
            logs = wide - np.log(np.exp(wide).sum(1, keepdims=True))
            want = np.asarray(loss(logs, target, weights, ignored, reduction)).astype(dtype)
            expected = [want, logs.astype(dtype)]
            check("SoftmaxCrossEntropyLoss", inputs, attributes, expected=expected, outputs=2, **options)


def test_loss_errors():
    x, target = np.zeros((2, 3), np.float32), np.array([0, 1])
    for inputs, attributes in [
        ([x, np.array([0, 3])], {}),
        ([x, np.array([0, -1])], {}),
        ([x, np.array([0, 5])], {"ignore_index": 4}),
        ([x, np.array([0])], {}),
        ([x, target, np.ones(2, np.float32)], {}),
        ([x[0], target], {}),
        ([x, target], {"reduction": "max"}),
    ]:
        for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
            with pytest.raises(pyinfer.PyInferError):
                run(node_model(op, inputs, attributes), inputs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("op", "states", "attributes"),
    [
        ("Adagrad", 1, {"norm_coefficient": 0.01, "decay_factor": 0.1, "epsilon": 1e-3}),
        ("Adam", 2, {"norm_coefficient": 0.01, "norm_coefficient_post": 0.02, "epsilon": 1e-3}),
        ("Momentum", 1, {"norm_coefficient": 0.01, "alpha": 0.9, "beta": 0.8, "mode": "standard"}),
        ("Momentum", 1, {"norm_coefficient": 0.01, "alpha": 0.9, "beta": 0.8, "mode": "nesterov"}),
    ],
)
def test_optimizers(op, states, attributes, count, steps, dtype):
    if dtype == np.float64 and op == "Adam" and count == 2:
        return  # the reference gives float32 there
    rng = np.random.default_rng(1)
    shapes = [(3, 4), (5,)][:count]
    inputs = [np.array(0.1, np.float32), np.array(steps, np.int64)]
    for _ in range(2 + states):
        inputs += [np.abs(rng.standard_normal(s)).astype(dtype) for s in shapes]
    from onnx.reference import ReferenceEvaluator

    outputs = count * (1 + states)
    model = node_model(op, inputs, attributes, outputs=outputs, domain="ai.onnx.preview.training")
    want = ReferenceEvaluator(model).run(None, {f"x{i}": x for i, x in enumerate(inputs)})
    check(
        op,
        inputs,
        attributes,
        expected=[w.astype(dtype) for w in want],
        outputs=outputs,
        domain="ai.onnx.preview.training",
        rtol=1e-5,
    )
    bad = [*inputs[:-1], np.zeros((7, 7), dtype)]
    with pytest.raises(pyinfer.PyInferError):
        run(node_model(op, bad, attributes, outputs=outputs, domain="ai.onnx.preview.training"), bad)


def test_gradient_is_unsupported():
    x = np.ones(3, np.float32)
    with pytest.raises(pyinfer.PyInferError, match="differentiate"):
        run(node_model("Gradient", [x], {"xs": ["x0"], "y": "y0"}, domain="ai.onnx.preview.training"), [x])
