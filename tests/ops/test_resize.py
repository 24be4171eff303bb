import itertools

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check

COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def scales(*values):
    return np.array(values, np.float32)


def sizes(*values):
    return np.array(values, np.int64)


def image(*dims, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(dims).astype(dtype)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_modes(mode, coordinates):
    x = image(1, 2, 5, 7)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    for s in [(1, 1, 2, 3), (1, 1, 0.55, 0.45), (1, 1, 0.45, 2.6), (1, 2, 1, 1)]:
        check("Resize", [x, None, scales(*s)], attributes, atol=2e-5)
    for s in [(1, 2, 9, 9), (1, 2, 3, 14), (1, 2, 2, 2), (1, 3, 5, 8)]:
        check("Resize", [x, None, None, sizes(*s)], attributes, atol=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_pytorch_half_pixel_of_one_element_reads_the_first(mode):
    x = image(1, 1, 5, 1)
    attributes = {"mode": mode, "coordinate_transformation_mode": "pytorch_half_pixel"}
    check("Resize", [x, None, scales(1, 1, 0.25, 1)], attributes, expected=[x[:, :, :1]])


@pytest.mark.parametrize(("coordinates", "nearest"), itertools.product(COORDINATES, NEAREST))
def test_nearest_modes(coordinates, nearest):
    x = numbered(np.float32, 1, 1, 6, 9)
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    for s in [(2, 3), (0.5, 1 / 3), (1.5, 0.7), (1, 4)]:
        check("Resize", [x, None, scales(1, 1, *s)], attributes)


@pytest.mark.parametrize("dtype", MOVABLE)
def test_nearest_of_every_type(dtype):
    x = numbered(dtype, 2, 3, 4, 2)
    expected = x.repeat(2, 1).repeat(3, 2)
    attributes = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    check("Resize", [x, None, scales(1, 2, 3, 1)], attributes, expected=[expected])
    expected = x[:, :, ::2]
    check("Resize", [x, None, None, sizes(2, 3, 2, 2)], attributes, expected=[expected])


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
def test_antialias(mode, exclude):
    x = image(1, 2, 17, 23)
    attributes = {"mode": mode, "antialias": 1, "exclude_outside": exclude}
    for s in [(0.3, 0.6), (0.1, 2), (1, 0.5)]:
        check("Resize", [x, None, scales(1, 1, *s)], attributes, atol=2e-5)
    check("Resize", [x, None, None, sizes(1, 2, 1, 4)], attributes, atol=2e-5)


@pytest.mark.parametrize("a", [-0.75, -0.5])
def test_cubic_excludes_outside(a):
    x = image(1, 1, 6, 8)
    attributes = {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": a}
    check("Resize", [x, None, scales(1, 1, 1.7, 0.8)], attributes, atol=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crop_and_resize(mode):
    x = image(1, 1, 8, 9)
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 7.5,
    }
    for region in [
        (0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9),
        (0, 0, -0.3, 0.5, 1, 1, 0.7, 1.4),
        (0, 0, 0.9, 0, 1, 1, 0.1, 1),
    ]:
        for roi in (scales(*region), np.array(region)):
            check("Resize", [x, roi, None, sizes(1, 1, 5, 6)], attributes, atol=2e-5)
    attributes["axes"] = [3, 2]
    check("Resize", [x, scales(0.2, -0.4, 0.8, 0.9), None, sizes(4, 5)], attributes, atol=2e-5)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1, -2], [2]])
def test_axes_and_aspect_ratio(policy, axes):
    x = image(2, 3, 6, 10)
    attributes = {"mode": "linear", "axes": [a % 4 for a in axes], "keep_aspect_ratio_policy": policy}
    want = sizes(*(7, 9)[: len(axes)])
    expected = check("Resize", [x, None, None, want], attributes, atol=2e-5)
    check("Resize", [x, None, None, want], attributes | {"axes": axes}, expected=expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_float_types(dtype, mode):
    x = image(1, 2, 5, 4, dtype=dtype)
    attributes = {"mode": mode}
    expected = check("Resize", [x.astype(np.float32), None, scales(1, 1, 1.5, 2)], attributes, atol=2e-5)[0]
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if dtype is not np.float64 else {"rtol": 1e-5, "atol": 2e-5}
    check(
        "Resize", [x, None, scales(1, 1, 1.5, 2)], attributes, expected=[expected.astype(dtype)], **tolerance
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.uint64])
def test_integers_are_rounded_and_saturated(dtype):
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**40)), min(info.max, 2**40)
    x = np.array([[low, high, low, low, high, high]], dtype)
    check("Resize", [x, None, scales(1, 2)], {"mode": "linear"})
    wide = check("Resize", [x.astype(np.float64), None, scales(1, 2)], {"mode": "cubic"})[0]
    expected = np.clip(np.rint(wide), info.min, info.max).astype(dtype)
    check("Resize", [x, None, scales(1, 2)], {"mode": "cubic"}, expected=[expected])


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_other_ranks(mode):
    check("Resize", [image(7), None, scales(2.5)], {"mode": mode}, atol=2e-5)
    check("Resize", [image(2, 3, 4, 5, 3), None, None, sizes(2, 3, 6, 4, 7)], {"mode": mode}, atol=2e-5)
    check("Resize", [image(1, 9, 8, 3), None, scales(1, 2, 0.5, 1)], {"mode": mode}, atol=2e-5)
    check("Resize", [image(3, 40, 33), None, scales(2, 1, 1)], {"mode": mode}, atol=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_batch_changes_no_bit(mode):
    x = image(6, 3, 37, 41)
    attributes = {"mode": mode}
    together = check("Resize", [x, None, scales(1, 1, 2, 1.3)], attributes, atol=2e-5)[0]
    for i in range(6):
        check(
            "Resize",
            [x[i : i + 1], None, scales(1, 1, 2, 1.3)],
            attributes,
            expected=[together[i : i + 1]],
            rtol=0,
            atol=0,
        )


def test_what_stays_as_it_is():
    x = image(2, 3, 4)
    check("Resize", [x, None, scales(1, 1, 1)], {"mode": "cubic"}, expected=[x])
    check("Resize", [x, None, None, sizes(2, 3, 4)], {"mode": "linear"}, expected=[x])


def test_empty_tensors():
    x = np.zeros((0, 3, 4), np.float32)
    check(
        "Resize", [x, None, scales(1, 2, 1)], {"mode": "linear"}, expected=[np.zeros((0, 6, 4), np.float32)]
    )
    check("Resize", [image(2, 3), None, None, sizes(2, 0)], expected=[np.zeros((2, 0), np.float32)])


def test_shape_inputs_may_be_constants():
    x = image(1, 1, 3, 3)
    check("Resize", [x, None, scales(1, 1, 2, 2)], {"mode": "linear"}, constant=(2,), atol=2e-5)
    check("Resize", [x, None, None, sizes(1, 1, 4, 5)], {"mode": "cubic"}, constant=(3,), atol=2e-5)


X = np.zeros((1, 1, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        ([X], {}),
        ([X, None, scales(1, 1, 2, 2), sizes(1, 1, 6, 6)], {}),
        ([X, None, scales(2, 2)], {}),
        ([X, None, scales(1, 1, 0, 1)], {}),
        ([X, None, scales(1, 1, -1, 1)], {}),
        ([X, None, scales(1, 1, np.nan, 1)], {}),
        ([X, None, scales(1, 1, np.inf, 1)], {}),
        ([X, None, scales(1, 1, 1e30, 1)], {}),
        ([X, None, scales(1, 1, 1e12, 1)], {"mode": "linear"}),
        ([X, None, None, sizes(1, 1, -1, 3)], {}),
        ([X, None, None, sizes(1, 1, 2**62, 3)], {}),
        ([X, None, None, sizes(1, 1, 2**30, 3)], {"mode": "cubic"}),
        ([X, None, None, sizes(4, 4)], {"axes": [2, 4]}),
        ([X, None, None, sizes(4, 4)], {"axes": [2, -2]}),
        ([X, None, scales(1, 1, 2, 2)], {"mode": "quintic"}),
        ([X, None, scales(1, 1, 2, 2)], {"coordinate_transformation_mode": "polar"}),
        ([X, None, scales(1, 1, 2, 2)], {"nearest_mode": "odd"}),
        ([X, None, scales(1, 1, 2, 2)], {"antialias": 1}),
        ([X, None, scales(1, 1, 2, 2)], {"coordinate_transformation_mode": "tf_crop_and_resize"}),
        ([X, scales(0, 1), scales(1, 1, 2, 2)], {"coordinate_transformation_mode": "tf_crop_and_resize"}),
        (
            [X, scales(0, 0, 0, 0, 1, 1, 1, np.nan), scales(1, 1, 2, 2)],
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
        ),
        ([np.zeros((1, 0), np.float32), None, None, sizes(1, 3)], {}),
        ([np.zeros((1, 3), np.complex64), None, scales(1, 2)], {"mode": "linear"}),
    ],
)
def test_resize_refuses(inputs, attributes):
    with pytest.raises(pyinfer.PyInferError):
        check("Resize", inputs, attributes, expected=[])


def test_upsample_is_resize():
    x = numbered(np.float32, 1, 1, 2, 2)
    expected = [x.repeat(2, 2).repeat(3, 3)]
    check("Upsample", [x, scales(1, 1, 2, 3)], {"mode": "nearest"}, opset=9, constant=(1,), expected=expected)
