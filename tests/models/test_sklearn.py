"""Pipelines of scikit-learn, converted by skl2onnx, against scikit-learn itself."""

import numpy as np
import pytest

import pyinfer

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

import skl2onnx.sklapi.register  # noqa: F401  (makes the traceable vectorizers known)
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from skl2onnx.sklapi import TraceableCountVectorizer, TraceableTfidfVectorizer
from sklearn.compose import ColumnTransformer
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
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
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
    onnx_model = to_onnx(
        encoder, initial_types=[("x", StringTensorType([None, 2]))], target_opset={"": 18, "ai.onnx.ml": 3}
    )
    (got,) = pyinfer.load(onnx_model).run({"x": x}).values()
    np.testing.assert_allclose(got, encoder.transform(x))


TEXTS = [
    "The cat sat on the mat.",
    "an old dog, ran!",
    "the dog sat; and the DOG ran",
    "the-cat (and) another dog?",
    "",
    "   ",
    "under_the 12 bridges\nthe cats",
]
# No two spaces, which scikit-learn makes one.
LETTERS = [*(t for t in TEXTS if "  " not in t), "naïve Ünder", "Жук жук 日本語", "😀 a 😀"]
# skl2onnx puts the first in place of scikit-learn's own pattern, which is that of Python and drops single letters.
WORDS = {"token_pattern": "[a-zA-Z0-9_]+"}
LONG_WORDS = {"token_pattern": r"[a-zA-Z0-9_]{3,}"}
SEPARATORS = [" ", "[.]", r"\?", ",", ";", r"\!", r"\(", r"\)", "\n", "-"]
VECTORIZERS = [
    (TfidfVectorizer(), {}),
    (CountVectorizer(), {}),
    (CountVectorizer(binary=True, max_features=6), {}),
    (CountVectorizer(lowercase=False, **WORDS), {}),
    (CountVectorizer(ngram_range=(2, 3), **WORDS), {}),
    (CountVectorizer(stop_words=["the", "and"]), {}),
    (CountVectorizer(token_pattern=r"\b\w+\b"), {}),
    (CountVectorizer(**LONG_WORDS), {"tokenexp": ""}),
    (CountVectorizer(), {"tokenexp": "[a-zA-Z0-9_]+"}),
    (CountVectorizer(), {"separators": SEPARATORS}),
    (CountVectorizer(), {"keep_empty_string": True}),
    (TfidfVectorizer(norm=None), {"nan": True}),  # a norm would spread the NaN
    (TfidfVectorizer(ngram_range=(1, 2), **WORDS), {"locale": "en_US"}),
    (TfidfVectorizer(stop_words="english", norm="l1"), {}),
    (TfidfVectorizer(use_idf=False, norm=None, **LONG_WORDS), {}),
    (TraceableCountVectorizer(ngram_range=(1, 2), **WORDS), {}),
    (TraceableTfidfVectorizer(ngram_range=(1, 3), **WORDS), {}),
]
LETTER_VECTORIZERS = [
    (CountVectorizer(analyzer="char"), {}),
    (CountVectorizer(analyzer="char", lowercase=False, ngram_range=(2, 2)), {}),
    (TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), {}),
]


def check_vectorizer(vectorizer, options, texts, unseen, shape):
    vectorizer.fit(texts)
    types = [("x", StringTensorType([None, *shape[1:]]))]
    onnx_model = to_onnx(
        vectorizer,
        initial_types=types,
        target_opset={"": 18, "ai.onnx.ml": 3},
        options={id(vectorizer): options} if options else None,
    )
    assert "Tokenizer" in {n.op_type for n in onnx_model.graph.node}
    model = pyinfer.load(onnx_model)
    for given in [texts, texts[:1], unseen, [""], [" ", ""]]:
        want = vectorizer.transform(given).toarray()
        if options.get("nan"):
            want = np.where(want == 0, np.nan, want)
        (got,) = model.run({"x": np.array(given, object).reshape(shape)}).values()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def vectorizer_name(value):
    return type(value).__name__ if hasattr(value, "fit") else None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize(("vectorizer", "options"), VECTORIZERS, ids=vectorizer_name)
def test_words(vectorizer, options, shape):
    check_vectorizer(vectorizer, options, TEXTS, ["the mat ran", "nothing known", "cat cat a b cat"], shape)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize(("vectorizer", "options"), LETTER_VECTORIZERS, ids=vectorizer_name)
def test_letters(vectorizer, options, shape):
    check_vectorizer(vectorizer, options, LETTERS, ["日 ЖУ", "xyz\0ï", "😀"], shape)


@pytest.mark.filterwarnings("ignore")
def test_classifier_of_texts():
    texts = np.array([[t, u] for t, u in zip(TEXTS, reversed(TEXTS), strict=True)], object)
    labels = np.array(["cat" if "cat" in t else "other" for t in TEXTS])
    columns = ColumnTransformer([("a", TfidfVectorizer(), 0), ("b", CountVectorizer(**WORDS), 1)])
    pipeline = make_pipeline(columns, LogisticRegression()).fit(texts, labels)
    onnx_model = to_onnx(
        pipeline,
        initial_types=[("x", StringTensorType([None, 2]))],
        target_opset={"": 18, "ai.onnx.ml": 3},
        options={"zipmap": False},
    )
    label, probabilities = pyinfer.load(onnx_model).run({"x": texts}).values()
    assert label.tolist() == pipeline.predict(texts).tolist()
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(texts), rtol=1e-4, atol=1e-5)
