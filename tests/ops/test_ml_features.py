"""Features, labels and maps of ai.onnx.ml, against ONNX Runtime and NumPy."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pyinfer
from ml_nodes import check_ort, ml_model, ort_run, run_ml
from nodes import assert_same

RNG = np.random.default_rng(41)
NUMBERS = [np.float32, np.float64, np.int32, np.int64]


def values(dtype, *shape):
    return (RNG.standard_normal(shape) * 3).astype(dtype)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("wide", [False, True])
def test_scaler(dtype, wide):
    attributes = {
        "offset": [0.5, -1.0, 2.0] if wide else [0.5],
        "scale": [2.0, 0.25, -1.0] if wide else [3.0],
    }
    for shape in [(4, 3), (1, 3), (0, 3), (3,)]:
        x = values(dtype, *shape)
        (got,) = run_ml("Scaler", x, attributes)
        want = (x.astype(np.float64) - attributes["offset"]) * attributes["scale"]
        assert_same(got, want.astype(np.float32))
    with pytest.raises(pyinfer.InvalidInput, match="offset"):
        run_ml("Scaler", values(dtype, 2, 4), {"offset": [1.0] * 3, "scale": [1.0]})


@pytest.mark.parametrize("dtype", NUMBERS)
def test_binarizer(dtype):
    for shape in [(4, 3), (), (0,)]:
        x = values(dtype, *shape)
        (got,) = run_ml("Binarizer", x, {"threshold": 0.5})
        assert_same(got, (x > 0.5).astype(dtype))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(dtype, norm):
    x = values(dtype, 5, 4)
    x[2] = 0
    a = np.abs(x).astype(np.float64)
    length = {"MAX": a.max(1), "L1": a.sum(1), "L2": np.sqrt((a * a).sum(1))}[norm][:, None]
    (got,) = run_ml("Normalizer", x, {"norm": norm})
    assert_same(got, (x / np.where(length == 0, 1, length)).astype(np.float32))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("wide", [False, True])
def test_imputer(dtype, wide):
    x = RNG.integers(-1, 2, (5, 3)).astype(dtype)
    new = [10, 20, 30] if wide else [10]
    if np.dtype(dtype).kind == "f":
        attributes = {"imputed_value_floats": [float(v) for v in new], "replaced_value_float": -1.0}
    else:
        attributes = {"imputed_value_int64s": new, "replaced_value_int64": -1}
    (got,) = run_ml("Imputer", x, attributes)
    assert_same(got, np.where(x == -1, np.array(new), x).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_imputer_of_nan(dtype):
    x = np.array([[1, np.nan, 3], [np.nan, 5, 6]], dtype)
    attributes = {"imputed_value_floats": [7.0, 8.0, 9.0], "replaced_value_float": np.nan}
    assert_same(run_ml("Imputer", x, attributes)[0], np.array([[1, 8, 3], [7, 5, 6]], dtype))


def test_imputer_rejects_values_of_the_other_kind():
    with pytest.raises(pyinfer.InvalidModel, match="imputed"):
        run_ml("Imputer", values(np.int64, 2, 3), {"imputed_value_floats": [1.0]})
    with pytest.raises(pyinfer.InvalidModel, match="int32"):
        run_ml("Imputer", values(np.int32, 2, 3), {"imputed_value_int64s": [1 << 40]})


def test_feature_vectorizer():
    inputs = [values(np.float32, 3, 2), values(np.int64, 3, 4), values(np.float64, 3, 1)]
    (got,) = run_ml("FeatureVectorizer", inputs, {"inputdimensions": [2, 3, 2]})
    want = np.concatenate([inputs[0], inputs[1][:, :3], inputs[2], np.zeros((3, 1))], axis=1)
    assert_same(got, want.astype(np.float32))
    with pytest.raises(pyinfer.InvalidInput, match="rows"):
        run_ml(
            "FeatureVectorizer",
            [values(np.float32, 3, 2), values(np.float32, 2, 2)],
            {"inputdimensions": [2, 2]},
        )


@pytest.mark.parametrize("dtype", [*NUMBERS, object])
def test_array_feature_extractor(dtype):
    x = np.arange(24).reshape(2, 3, 4).astype(str if dtype is object else dtype).astype(dtype)
    indices = np.array([[2, 0, 2]])
    assert_same(run_ml("ArrayFeatureExtractor", [x, indices], {})[0], x[..., [2, 0, 2]])
    assert_same(run_ml("ArrayFeatureExtractor", [x[0, 0], indices], {})[0], x[0, :1, [2, 0, 2]].T)
    with pytest.raises(pyinfer.InvalidInput):
        run_ml("ArrayFeatureExtractor", [x, np.array([4])], {})


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32, np.float64, object])
@pytest.mark.parametrize("shape", [(7,), (2, 3)])
def test_one_hot_encoder(dtype, shape):
    numbers = RNG.integers(0, 4, shape)
    if dtype is object:
        x, attributes = numbers.astype(str).astype(object), {"cats_strings": ["2", "0", "3"]}
    else:
        x, attributes = numbers.astype(dtype), {"cats_int64s": [2, 0, 3]}
    want = (numbers[..., None] == np.array([2, 0, 3])).astype(np.float32)
    assert_same(run_ml("OneHotEncoder", x, attributes)[0], want)
    with pytest.raises(pyinfer.InvalidInput, match="none of the categories"):
        run_ml("OneHotEncoder", np.full_like(x, "9" if dtype is object else 9), attributes | {"zeros": 0})


LISTS = {
    "strings": (object, ["a", "b", "ß", ""]),
    "int64s": (np.int64, [5, -3, 0, 7]),
    "floats": (np.float32, [0.5, -3.0, float("nan"), 2.0]),
}


@pytest.mark.parametrize("keys", LISTS)
@pytest.mark.parametrize("results", LISTS)
def test_label_encoder(keys, results):
    key_type, key_list = LISTS[keys]
    result_type, result_list = LISTS[results]
    attributes = {f"keys_{keys}": key_list, f"values_{results}": result_list[::-1]}
    attributes |= {"default_string": "none", "default_int64": 99, "default_float": 9.5}
    unknown = {"strings": "zz", "int64s": 1234, "floats": 77.0}[keys]
    x = np.array([*key_list, unknown, key_list[0]], key_type).reshape(2, 3)
    other = {"strings": "none", "int64s": 99, "floats": 9.5}[results]
    want = np.array([*result_list[::-1], other, result_list[-1]], result_type).reshape(2, 3)
    assert_same(run_ml("LabelEncoder", x, attributes, opset=2)[0], want)


@pytest.mark.parametrize("key_type", [np.int16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("value_type", [np.int16, np.int32, np.float64])
def test_label_encoder_with_tensors(key_type, value_type):
    keys, results = np.array([3, 1, 2], key_type), np.array([30, 10, 20], value_type)
    attributes = {
        "keys_tensor": onnx.numpy_helper.from_array(keys),
        "values_tensor": onnx.numpy_helper.from_array(results),
        "default_tensor": onnx.numpy_helper.from_array(np.array([-7], value_type)),
    }
    x = np.array([1, 2, 3, 4], key_type)
    assert_same(run_ml("LabelEncoder", x, attributes, opset=4)[0], np.array([10, 20, 30, -7], value_type))


def test_label_encoder_takes_the_last_of_equal_keys():
    attributes = {"keys_int64s": [1, 1], "values_int64s": [5, 6]}
    assert_same(run_ml("LabelEncoder", np.array([1, 2]), attributes, opset=4)[0], np.array([6, -1]))


def test_label_encoder_1():
    attributes = {"classes_strings": ["a", "b"], "default_int64": -5, "default_string": "?"}
    assert_same(
        run_ml("LabelEncoder", np.array(["b", "x"], object), attributes, opset=1)[0], np.array([1, -5])
    )
    assert_same(
        run_ml("LabelEncoder", np.array([1, 2]), attributes, opset=1)[0], np.array(["b", "?"], object)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"values_int64s": [1]},
        {"keys_strings": ["a", "b"]},
        {"keys_int64s": None},
        {"values_floats": [1.0, 2.0]},
    ],
)
def test_label_encoder_rejects(change):
    attributes = {"keys_int64s": [1, 2], "values_int64s": [5, 6]} | change
    attributes = {k: v for k, v in attributes.items() if v is not None}
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(ml_model("LabelEncoder", np.array([1]), attributes, opset=2))


def test_category_mapper():
    attributes = {
        "cats_strings": ["x", "y"],
        "cats_int64s": [10, 20],
        "default_int64": -1,
        "default_string": "?",
    }
    check_ort("CategoryMapper", np.array([["x", "z"]], object), attributes, opset=1)
    check_ort("CategoryMapper", np.array([20, 3]), attributes, opset=1)


@pytest.mark.parametrize("strings", [False, True])
def test_zip_map(strings):
    names = ["a", "b", "c"] if strings else [3, 1, 2]
    x = values(np.float32, 2, 3)
    (got,) = run_ml("ZipMap", x, {"classlabels_strings" if strings else "classlabels_int64s": names}, opset=1)
    assert [list(m) for m in got] == [names, names]
    np.testing.assert_array_equal([list(m.values()) for m in got], x)
    with pytest.raises(pyinfer.InvalidInput, match="3 columns"):
        run_ml("ZipMap", values(np.float32, 2, 4), {"classlabels_int64s": [1, 2, 3]})


def map_model(op, key, value, attributes):
    value_type = onnx.TypeProto()
    value_type.tensor_type.elem_type = value
    graph_input = onnx.ValueInfoProto(name="m")
    graph_input.type.map_type.key_type = key
    graph_input.type.map_type.value_type.CopyFrom(value_type)
    node = helper.make_node(op, ["m"], ["y"], domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph([node], "g", [graph_input], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize(
    ("key", "value", "vocabulary", "given", "want"),
    [
        ("INT64", "FLOAT", [4, 7, 9], {7: 1.5, 4: 2.5}, np.array([[2.5, 1.5, 0]], np.float32)),
        ("STRING", "FLOAT", ["a", "b"], {"b": 3.0}, np.array([[0, 3]], np.float32)),
        ("STRING", "INT64", ["a", "b"], {"a": 3}, np.array([[3, 0]])),
        ("INT64", "STRING", [1, 2], {2: "x"}, np.array([["", "x"]], object)),
        ("STRING", "DOUBLE", ["a"], {}, np.array([[0.0]])),
    ],
)
def test_dict_vectorizer(key, value, vocabulary, given, want):
    name = "string_vocabulary" if key == "STRING" else "int64_vocabulary"
    model = map_model(
        "DictVectorizer", getattr(TensorProto, key), getattr(TensorProto, value), {name: vocabulary}
    )
    assert_same(pyinfer.load(model).run({"m": given})["y"], want)


@pytest.mark.parametrize(
    ("value", "given", "attributes", "want"),
    [
        ("FLOAT", {3: 1.5, 1: 2.5}, {"cast_to": "TO_FLOAT"}, np.array([[2.5, 1.5]], np.float32)),
        ("FLOAT", {3: 1.5}, {"map_form": "SPARSE", "max_map": 5}, np.array([[0, 0, 0, 1.5, 0]], np.float32)),
        ("FLOAT", {3: 1.5}, {"cast_to": "TO_INT64"}, np.array([[1]])),
        ("STRING", {3: "4.5", 1: "2"}, {"cast_to": "TO_FLOAT"}, np.array([[2, 4.5]], np.float32)),
        ("STRING", {3: "x"}, {"cast_to": "TO_STRING"}, np.array([["x"]], object)),
    ],
)
def test_cast_map(value, given, attributes, want):
    model = map_model("CastMap", TensorProto.INT64, getattr(TensorProto, value), attributes)
    assert_same(pyinfer.load(model).run({"m": given})["y"], want)


def test_cast_map_rejects_keys_and_numbers_that_do_not_fit():
    sparse = map_model("CastMap", TensorProto.INT64, TensorProto.FLOAT, {"map_form": "SPARSE", "max_map": 2})
    with pytest.raises(pyinfer.InvalidInput, match="max_map"):
        pyinfer.load(sparse).run({"m": {2: 1.0}})
    text = map_model("CastMap", TensorProto.INT64, TensorProto.STRING, {"cast_to": "TO_FLOAT"})
    with pytest.raises(pyinfer.InvalidInput, match="no number"):
        pyinfer.load(text).run({"m": {2: "two"}})


def test_scaler_agrees_with_onnx_runtime():
    x = values(np.float32, 6, 3)
    attributes = {"offset": [0.5, -1.0, 2.0], "scale": [2.0, 0.25, -1.0]}
    check_ort("Scaler", x, attributes, opset=1)
    (want,) = ort_run(ml_model("Normalizer", x, {"norm": "L2"}, opset=1), {"x0": x})
    assert_same(run_ml("Normalizer", x, {"norm": "L2"})[0], want)
