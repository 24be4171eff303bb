"""Random operators: seeded draws are NumPy's RandomState; the others are judged by their moments."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

import pyinfer
from nodes import assert_same, check, node_model, run

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def type_of(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", [0.0, 7.0, 123456.0])
def test_seeded_numbers(dtype, seed):
    state = np.random.RandomState(int(seed))
    for shape in [(1,), (3, 0), (700,), (5, 77, 2)]:
        state.seed(int(seed))
        uniform = state.rand(*shape).astype(np.float32 if dtype is not np.float64 else dtype)
        state.seed(int(seed))
        normal = state.randn(*shape).astype(np.float32 if dtype is not np.float64 else dtype)
        wanted_uniform = (uniform * 4.5 - 1.5).astype(dtype)
        wanted_normal = (normal * 2 + 3).astype(dtype)
        tight = {"rtol": 1e-6 if dtype is not np.float64 else 1e-13}
        if dtype in FLOATS[2:]:
            tight = {"rtol": 1e-2, "atol": 2e-2}
        common = {"seed": seed, "dtype": type_of(dtype)}
        check(
            "RandomUniform",
            [],
            {"shape": shape, "low": -1.5, "high": 3.0, **common},
            expected=[wanted_uniform],
            **tight,
        )
        check(
            "RandomNormal",
            [],
            {"shape": shape, "mean": 3.0, "scale": 2.0, **common},
            expected=[wanted_normal],
            **tight,
        )
        like = np.zeros(shape, np.int8)
        check(
            "RandomUniformLike",
            [like],
            {"low": -1.5, "high": 3.0, **common},
            expected=[wanted_uniform],
            **tight,
        )
        check(
            "RandomNormalLike",
            [like],
            {"mean": 3.0, "scale": 2.0, **common},
            expected=[wanted_normal],
            **tight,
        )
        like = like.astype(dtype)
        check(
            "RandomNormalLike",
            [like],
            {"mean": 3.0, "scale": 2.0, "seed": seed},
            expected=[wanted_normal],
            **tight,
        )


@pytest.mark.parametrize(
    ("op", "mean", "deviation"), [("RandomUniform", 0.5, 12**-0.5), ("RandomNormal", 0.0, 1.0)]
)
def test_numbers_without_a_seed_differ(op, mean, deviation):
    model = pyinfer.load(node_model(op, [], {"shape": [20_000]}))
    a, b = (np.asarray(next(iter(model.run({}).values()))) for _ in range(2))
    assert not np.array_equal(a, b)
    for y in (a, b):
        assert y.dtype == np.float32
        assert abs(y.mean() - mean) < 6 * deviation / 20_000**0.5
        assert abs(y.std() - deviation) < 0.03 * max(deviation, 0.3)


@pytest.mark.parametrize("dtype", [*FLOATS, np.bool_, np.int8, np.int64, np.uint16])
def test_bernoulli(dtype):
    rng = np.random.default_rng(1)
    p = rng.uniform(0, 1, (9, 61))
    expected = np.random.RandomState(5).binomial(1, p).astype(dtype)
    check("Bernoulli", [p], {"seed": 5.0, "dtype": type_of(dtype)}, expected=[expected])
    edge = np.array([[0.0, 1.0] * 50], np.float32)
    check("Bernoulli", [edge], expected=[edge])
    check("Bernoulli", [edge[:, :0]], {"dtype": type_of(dtype)}, expected=[edge[:, :0].astype(dtype)])
    many = np.full(20_000, 0.3, np.float16)
    drawn = run(node_model("Bernoulli", [many]), [many])[0]
    assert abs(drawn.astype(np.float64).mean() - 0.3) < 0.03
    for bad in [-0.1, 1.1, np.nan]:
        with pytest.raises(pyinfer.InvalidInput):
            check("Bernoulli", [np.array([0.5, bad], np.float32)])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("to", [np.int32, np.int64])
def test_multinomial(dtype, to):
    logits = np.log(np.array([[0.1, 0.2, 0.3, 0.4], [5, 0.001, 5, 0.001], [1, 1, 1, 1]])).astype(dtype)
    logits[2, 1] = -np.inf
    attributes = {"sample_size": 8000, "seed": 3.0, "dtype": type_of(to)}
    model = node_model("Multinomial", [logits], attributes)
    drawn = run(model, [logits])[0]
    assert drawn.dtype == to
    assert drawn.shape == (3, 8000)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    counts = np.array([np.bincount(row, minlength=4) for row in drawn.astype(np.int64)]) / 8000
    np.testing.assert_allclose(counts, p, atol=0.03)
    assert counts[2, 1] == 0
    assert_same(run(model, [logits])[0], drawn)
    # The first draws against the inverse of the distribution function.
    u = np.random.RandomState(3).uniform(size=100)
    expected = np.searchsorted(
        np.cumsum(np.exp(logits[0].astype(np.float64) - float(logits[0].max()))),
        u * np.exp(logits[0].astype(np.float64) - float(logits[0].max())).sum(),
        side="right",
    )
    assert (drawn[0, :100] == expected).mean() > 0.98


def test_multinomial_edges():
    none = run(node_model("Multinomial", [np.zeros((0, 3), np.float32)]), [np.zeros((0, 3), np.float32)])[0]
    assert none.shape == (0, 1)
    huge = np.array([[1e30, -1e30, 0]], np.float32)
    assert run(node_model("Multinomial", [huge], {"sample_size": 5}), [huge])[0].tolist() == [[0] * 5]
    for bad in [[[np.nan, 1]], [[np.inf, 1]], [[-np.inf, -np.inf]]]:
        with pytest.raises(pyinfer.InvalidInput):
            check("Multinomial", [np.array(bad, np.float32)])
    for x, attributes in [
        (np.zeros(3, np.float32), {}),
        (np.zeros((2, 0), np.float32), {}),
        (np.zeros((2, 3), np.float32), {"sample_size": -1}),
        (np.zeros((2, 3), np.float32), {"sample_size": 2**62}),
        (np.zeros((2, 3), np.float32), {"dtype": TensorProto.FLOAT}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check("Multinomial", [x], attributes)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dropout_in_inference(dtype):
    x = np.random.default_rng(2).normal(size=(3, 41)).astype(dtype)
    ones = np.ones(x.shape, np.bool_)
    for inputs in [
        [x],
        [x, np.float32(0.3)],
        [x, np.float32(0.3), np.bool_(False)],
        [x, None, np.bool_(False)],
    ]:
        check("Dropout", inputs, outputs=2, expected=[x, ones])
        check(
            "Dropout",
            inputs,
            constant=[i for i in range(1, len(inputs)) if inputs[i] is not None],
            expected=[x],
        )
    check("Dropout", [x[:0]], outputs=2, expected=[x[:0], ones[:0]])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ratio", [None, 0.0, 0.25, 0.9])
def test_dropout_in_training(dtype, ratio):
    x = np.random.default_rng(3).normal(size=(5, 77)).astype(dtype)
    p = 0.5 if ratio is None else ratio
    mask = np.random.RandomState(11).uniform(size=x.shape) >= p
    expected = np.where(mask, x.astype(np.float64) / (1 - float(np.float32(p))), 0).astype(dtype)
    inputs = [x, None if ratio is None else np.float32(ratio), np.bool_(True)]
    for constant in ([], [2]):
        check("Dropout", inputs, {"seed": 11}, outputs=2, constant=constant, expected=[expected, mask])
    check("Dropout", inputs, {"seed": 11}, expected=[expected])


@pytest.mark.parametrize("ratio", [1.0, -0.1, np.nan, np.inf])
def test_dropout_refuses_ratios(ratio):
    with pytest.raises(pyinfer.InvalidInput):
        check("Dropout", [np.ones(3, np.float32), np.float32(ratio), np.bool_(True)])


@pytest.mark.parametrize("dtype", [*FLOATS, np.bool_, np.int8, np.int64, np.uint32])
@pytest.mark.parametrize("k", [0, 1, -2, 3, -4, 4, 10**15, 2**63 - 1, -(2**63)])
def test_eye_like(dtype, k):
    for shape in [(4, 4), (3, 5), (5, 2), (0, 3), (3, 0)]:
        expected = np.eye(*shape, k=max(-99, min(99, k)), dtype=dtype)
        check("EyeLike", [np.zeros(shape, dtype)], {"k": k}, expected=[expected])
        check("EyeLike", [np.zeros(shape, np.int16)], {"k": k, "dtype": type_of(dtype)}, expected=[expected])


def test_refusals():
    x = np.zeros((2, 2), np.float32)
    for op, inputs, attributes in [
        ("EyeLike", [np.zeros(3, np.float32)], {}),
        ("EyeLike", [x], {"dtype": TensorProto.STRING}),
        ("RandomUniform", [], {}),
        ("RandomUniform", [], {"shape": [2, -1]}),
        ("RandomNormal", [], {"shape": [2**40, 2**40]}),
        ("RandomNormal", [], {"shape": [2], "dtype": TensorProto.INT8}),
        ("RandomNormalLike", [np.zeros(2, np.int32)], {}),
        ("Bernoulli", [np.zeros(2, np.int32)], {}),
        ("Dropout", [x, np.zeros(2, np.float32), np.bool_(True)], {}),
        ("Dropout", [np.zeros(2, np.int32), None, np.bool_(True)], {}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, inputs, attributes)
