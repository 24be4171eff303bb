"""Pipelines of scikit-learn, converted by skl2onnx, against scikit-learn itself."""

import numpy as np
import pytest

import pyinfer

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from skl2onnx import to_onnx
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

CLASSIFIERS = [
    DecisionTreeClassifier(max_depth=4, random_state=0),
    RandomForestClassifier(n_estimators=7, max_depth=4, random_state=0),
    GradientBoostingClassifier(n_estimators=7, random_state=0),
    AdaBoostClassifier(n_estimators=5, random_state=0),
    LogisticRegression(),
    SGDClassifier(random_state=0),
    SVC(probability=True, random_state=0),
    SVC(kernel="poly", degree=2),
    NuSVC(kernel="sigmoid", nu=0.2),
    LinearSVC(random_state=0),
    KNeighborsClassifier(3),
    GaussianNB(),
    MLPClassifier((5,), max_iter=50, random_state=0),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
REGRESSORS = [
    DecisionTreeRegressor(max_depth=4, random_state=0),
    RandomForestRegressor(n_estimators=7, max_depth=4, random_state=0),
    ExtraTreesRegressor(n_estimators=7, max_depth=4, random_state=0),
    GradientBoostingRegressor(n_estimators=7, random_state=0),
    LinearRegression(),
    SVR(),
    SVR(kernel="poly", degree=3),
    make_pipeline(MinMaxScaler(), Normalizer(), LinearRegression()),
]


def name(model):
    steps = getattr(model, "steps", None)
    return "-".join(type(s).__name__ for _, s in steps) if steps else type(model).__name__


def convert(model, x, **options):
    return pyinfer.load(to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, **options))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=name)
def test_classifier(estimator, classes, strings):
    x, y = make_classification(200, 6, n_informative=5, n_redundant=0, n_classes=classes, random_state=1)
    x = x.astype(np.float32)
    y = np.array([f"class {c}" for c in y]) if strings else y
    estimator.fit(x, y)
    options = {} if isinstance(estimator, LinearSVC) else {"zipmap": False}
    model = convert(estimator, x, options={id(estimator): options})
    got = list(model.run({model.inputs[0].name: x}).values())
    np.testing.assert_array_equal(got[0].astype(y.dtype), estimator.predict(x))
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(got[1], estimator.predict_proba(x), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_classifier_with_maps():
    x, y = make_classification(50, 6, random_state=1)
    x = x.astype(np.float32)
    estimator = LogisticRegression().fit(x, y)
    model = convert(estimator, x)
    _, maps = model.run({model.inputs[0].name: x}).values()
    got = [[m[0], m[1]] for m in maps]
    np.testing.assert_allclose(got, estimator.predict_proba(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", REGRESSORS, ids=name)
def test_regressor(estimator):
    x, y = make_regression(200, 6, random_state=2)
    x = x.astype(np.float32)
    estimator.fit(x, y)
    model = convert(estimator, x)
    (got,) = model.run({model.inputs[0].name: x}).values()
    np.testing.assert_allclose(got.ravel(), estimator.predict(x), rtol=1e-3, atol=1e-2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator", [OneClassSVM(), IsolationForest(n_estimators=5, random_state=0)], ids=name
)
def test_outliers(estimator):
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    estimator.fit(x)
    model = pyinfer.load(to_onnx(estimator, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}))
    label = next(iter(model.run({model.inputs[0].name: x}).values()))
    assert (label.ravel() == estimator.predict(x)).mean() > 0.97


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler(), Normalizer("l1"), Binarizer(threshold=0.2)], ids=name
)
def test_preprocessing(scaler):
    x = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    scaler.fit(x)
    model = convert(scaler, x)
    (got,) = model.run({model.inputs[0].name: x}).values()
    np.testing.assert_allclose(got, scaler.transform(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("encoder", [OneHotEncoder(sparse_output=False), OrdinalEncoder()], ids=name)
def test_categories(encoder):
    x = np.array([["a", "x"], ["b", "y"], ["c", "x"], ["a", "z"]], object)
    encoder.fit(x)
    from skl2onnx.common.data_types import StringTensorType

    onnx_model = to_onnx(
        encoder, initial_types=[("x", StringTensorType([None, 2]))], target_opset={"": 18, "ai.onnx.ml": 3}
    )
    (got,) = pyinfer.load(onnx_model).run({"x": x}).values()
    np.testing.assert_allclose(got, encoder.transform(x))
