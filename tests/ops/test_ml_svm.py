"""Support vector machines of ai.onnx.ml, against ONNX Runtime."""

import numpy as np
import pytest

import pyinfer
from ml_nodes import check_ort, ml_model, run_ml

KERNELS = ["LINEAR", "POLY", "RBF", "SIGMOID"]
RNG = np.random.default_rng(31)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def flat(*shape):
    return floats(*shape).ravel().tolist()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("one_class", [0, 1])
def test_regressor(kernel, one_class):
    attributes = {
        "kernel_type": kernel,
        "kernel_params": [0.25, 0.5, 3.0],
        "support_vectors": flat(6, 4),
        "coefficients": flat(6),
        "n_supports": 6,
        "rho": [0.125],
        "one_class": one_class,
    }
    for rows in (1, 7):
        check_ort("SVMRegressor", floats(rows, 4), attributes, opset=1)


def test_regressor_without_support_vectors_is_linear():
    x = floats(5, 3)
    (got,) = run_ml("SVMRegressor", x, {"coefficients": [1.0, -2.0, 0.5], "rho": [0.25]})
    np.testing.assert_allclose(got, x @ np.array([[1.0], [-2.0], [0.5]]) + 0.25, rtol=1e-5)


def svc(classes, kernel, probabilities, per_class=3, features=4):
    pairs = classes * (classes - 1) // 2
    count = classes * per_class
    attributes = {
        "kernel_type": kernel,
        "kernel_params": [0.25, 0.5, 2.0],
        "support_vectors": flat(count, features),
        "vectors_per_class": [per_class] * classes,
        "coefficients": flat(classes - 1, count),
        "rho": flat(pairs),
    }
    if probabilities:
        attributes |= {"prob_a": (-np.abs(floats(pairs)) - 0.5).tolist(), "prob_b": flat(pairs)}
    return attributes


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("strings", [False, True])
def test_classifier(kernel, classes, probabilities, strings):
    attributes = svc(classes, kernel, probabilities)
    names = [f"c{i}" for i in range(classes)] if strings else [7 * i for i in range(classes)]
    attributes["classlabels_strings" if strings else "classlabels_ints"] = names
    for rows in (1, 30):
        check_ort("SVMClassifier", floats(rows, 4), attributes, outputs=2, opset=1)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_classifier_transforms_scores(transform):
    attributes = svc(3, "RBF", False) | {"classlabels_ints": [0, 1, 2], "post_transform": transform}
    check_ort("SVMClassifier", floats(9, 4), attributes, outputs=2, opset=1)


def test_a_linear_classifier_of_many_classes_needs_no_room_for_pairs():
    classes = 20_000
    attributes = {
        "coefficients": flat(classes, 1),
        "rho": [0.0],
        "classlabels_ints": list(range(classes)),
    }
    x = floats(2, 1)
    model = pyinfer.load(
        ml_model("SVMClassifier", x, attributes, outputs=2), limits=pyinfer.Limits(max_total_bytes=10_000_000)
    )
    labels = model.run({"x0": x})
    want = x.astype(np.float64) @ np.reshape(attributes["coefficients"], (classes, 1)).T
    np.testing.assert_array_equal(next(iter(labels.values())), want.argmax(1))


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_classifier(classes):
    attributes = {
        "coefficients": flat(classes, 4),
        "rho": [0.125],
        "classlabels_ints": [3 * i for i in range(classes)],
    }
    x = floats(20, 4)
    labels, scores = run_ml("SVMClassifier", x, attributes, outputs=2)
    want = x.astype(np.float64) @ np.reshape(attributes["coefficients"], (classes, 4)).T + 0.125
    np.testing.assert_allclose(scores, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(labels, want.argmax(1) * 3)


@pytest.mark.parametrize(
    "change",
    [
        {"vectors_per_class": [3, 4]},
        {"vectors_per_class": [-3, 9]},
        {"vectors_per_class": [2, 2, 2]},
        {"coefficients": [1.0]},
        {"rho": [1.0, 2.0]},
        {"kernel_type": "QUANTUM"},
        {"kernel_params": [1.0]},
        {"kernel_params": [1.0, 0.0, 2.5]},
        {"prob_a": [1.0]},
        {"support_vectors": [1.0]},
        {"post_transform": "X"},
    ],
)
def test_classifier_rejects(change):
    x = floats(2, 4)
    attributes = svc(2, "RBF", False) | {"classlabels_ints": [0, 1]} | change
    with pytest.raises(pyinfer.PyInferError):
        pyinfer.load(ml_model("SVMClassifier", x, attributes, 2)).run({"x0": x})


def test_regressor_rejects_other_numbers_of_features():
    attributes = {"support_vectors": flat(2, 4), "coefficients": flat(2), "n_supports": 2, "rho": [0.0]}
    with pytest.raises(pyinfer.InvalidInput, match="3 features"):
        run_ml("SVMRegressor", floats(2, 3), attributes)
