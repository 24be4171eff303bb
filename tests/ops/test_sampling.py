"""GridSample, AffineGrid, Col2Im, RoiAlign, MaxRoiPool, NonMaxSuppression."""

import math

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check

MODES = ["nearest", "linear", "cubic"]
PADDINGS = ["zeros", "border", "reflection"]


def noise(*dims, seed=0):
    return np.random.default_rng(seed).standard_normal(dims).astype(np.float32)


def cubic(d, a=-0.75):
    """Keys' kernel at distance d."""
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def sample_plane(x, point, mode, padding, align):
    """The value of an N-D array at one point, whose coordinates are listed last axis first; in float64."""

    def reflect(v, low, high):
        if high <= low:
            return low
        while v < low or v > high:
            v = 2 * low - v if v < low else 2 * high - v
        return v

    taps = [((), 1.0)]
    for n, at in zip(x.shape, point[::-1], strict=True):
        at = float(at)
        v = (at + 1) / 2 * (n - 1) if align else ((at + 1) * n - 1) / 2
        low, high = (0, n - 1) if align else (-0.5, n - 0.5)
        if mode == "nearest":
            v = float(np.rint(v))
        if v < low or v > high:
            if padding == "border":
                v = min(max(v, 0), n - 1)
            elif padding == "reflection":
                v = reflect(v, low, high)
        first = math.floor(v)
        t = v - first
        if mode == "nearest":
            around = [(int(np.rint(v)), 1.0)]
        elif mode == "linear":
            around = [(first, 1 - t), (first + 1, t)]
        else:
            weights = [cubic(t + 1), cubic(t), cubic(1 - t), cubic(2 - t)]
            around = [(first - 1 + k, w) for k, w in enumerate(weights)]
        grown = []
        for index, w in taps:
            for i, wi in around:
                if padding == "border":
                    i = min(max(i, 0), n - 1)
                elif padding == "reflection":
                    i = min(max(int(reflect(i, low, high)), 0), n - 1)
                if 0 <= i < n:
                    grown.append(((*index, i), w * wi))
        taps = grown
    return sum(float(x[i]) * w for i, w in taps)


def grid_sample(x, grid, **rule):
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(y.shape):
        y[at] = sample_plane(x[at[0], at[1]], grid[(at[0], *at[2:])], **rule)
    return y


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample(mode, padding, align):
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    rule = {"mode": mode, "padding": padding, "align": align}
    for dims, out in [
        ((2, 3, 4, 5), (3, 6)),
        ((1, 1, 1, 3), (2, 2)),
        ((2, 2, 6), (5,)),
        ((1, 2, 3, 4, 2), (2, 3, 2)),
    ]:
        x = noise(*dims)
        grid = np.random.default_rng(1).uniform(-2.4, 2.4, (dims[0], *out, len(out))).astype(np.float32)
        expected = grid_sample(x, grid, **rule).astype(np.float32)
        check("GridSample", [x, grid], attributes, expected=[expected], rtol=1e-4, atol=2e-5)
        wide = grid.astype(np.float64)
        expected = grid_sample(x, wide, **rule)
        check(
            "GridSample", [x.astype(np.float64), wide], attributes, expected=[expected], rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("dtype", MOVABLE)
def test_grid_sample_moves_every_type(dtype):
    x = numbered(dtype, 1, 2, 3, 3)
    grid = np.array([[[[-1, -1], [0, 0], [1, 0], [3, 0]]]], np.float32)
    zero = "" if dtype is np.object_ else np.zeros((), dtype)
    expected = np.full((1, 2, 1, 4), zero, x.dtype)
    expected[0, :, 0, 0], expected[0, :, 0, 1], expected[0, :, 0, 2] = (
        x[0, :, 0, 0],
        x[0, :, 1, 1],
        x[0, :, 1, 2],
    )
    check("GridSample", [x, grid], {"mode": "nearest", "align_corners": 1}, expected=[expected])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_grid_sample_of_halves(dtype):
    x = noise(1, 2, 4, 4).astype(dtype)
    grid = np.random.default_rng(2).uniform(-1, 1, (1, 3, 3, 2)).astype(dtype)
    rule = {"mode": "linear", "padding": "zeros", "align": 0}
    expected = grid_sample(x.astype(np.float32), grid.astype(np.float32), **rule).astype(dtype)
    check("GridSample", [x, grid], expected=[expected], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [0, 1])
def test_grid_points_from_nowhere_do_no_harm(mode, padding, align):
    values = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e10, -1e10]
    grid = np.array([[[a, b] for a in values] for b in values], np.float32)[None]
    x = np.ones((1, 1, 5, 5), np.float32)
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    expected = np.full((1, 1, 7, 7), 0 if padding == "zeros" else 1, np.float32)
    check("GridSample", [x, grid], attributes, expected=[expected], atol=1e-4)


@pytest.mark.parametrize(
    ("x", "grid", "attributes"),
    [
        ((1, 1, 3, 3), (2, 2, 2, 2), {}),
        ((1, 1, 3, 3), (1, 2, 2, 3), {}),
        ((1, 1, 3, 3), (1, 2, 2), {}),
        ((1, 1), (1, 0), {}),
        ((1, 1, 0, 3), (1, 2, 2, 2), {}),
        ((1, 1, 3, 3), (1, 2, 2, 2), {"mode": "quintic"}),
        ((1, 1, 3, 3), (1, 2, 2, 2), {"padding_mode": "mirror"}),
        ((1, 1, *[1] * 8), (1, *[1] * 8, 8), {"mode": "cubic"}),
    ],
)
def test_grid_sample_refuses(x, grid, attributes):
    with pytest.raises(pyinfer.PyInferError):
        check("GridSample", [np.zeros(x, np.float32), np.zeros(grid, np.float32)], attributes, expected=[])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 2, 3, 4), (2, 1, 2, 1), (0, 1, 2, 2), (1, 1, 0, 3)])
def test_affine_grid(dtype, align, size):
    axes = len(size) - 2
    theta = noise(size[0], axes, axes + 1).astype(dtype)
    steps = []
    for n in size[2:]:
        i = np.arange(n)
        steps.append(
            (np.array([-1.0]) if n == 1 else -1 + 2 * i / max(n - 1, 1))
            if align
            else (2 * i + 1) / max(n, 1) - 1
        )
    points = np.stack([*np.meshgrid(*steps, indexing="ij")[::-1], np.ones(size[2:])], -1)
    expected = np.einsum("nij,...j->n...i", theta.astype(np.float64), points).astype(dtype)
    tolerance = 1e-5 if dtype in (np.float32, np.float64) else 2e-2
    check(
        "AffineGrid",
        [theta, np.array(size)],
        {"align_corners": align},
        expected=[expected],
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize(
    ("theta", "size"),
    [
        ((1, 2, 3), (1, 1, 3)),
        ((1, 2, 3), (2, 1, 3, 3)),
        ((1, 2, 3), (1, 1, -3, 3)),
        ((1, 3, 4), (1, 1, 3, 3)),
    ],
)
def test_affine_grid_refuses(theta, size):
    with pytest.raises(pyinfer.PyInferError):
        check("AffineGrid", [np.zeros(theta, np.float32), np.array(size)], expected=[])


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.int8, np.int64, np.uint32, np.bool_]
)
@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ((5, 5), (1, 5), {}),
        ((5, 6), (2, 3), {"strides": [2, 1]}),
        ((6, 7), (2, 2), {"dilations": [2, 3], "pads": [1, 0, 0, 2]}),
        ((4, 5, 6), (2, 1, 3), {"strides": [1, 2, 3]}),
        ((7,), (3,), {"pads": [1, 1]}),
    ],
)
def test_col2im(dtype, image, block, attributes):
    axes = len(image)
    strides, dilations = attributes.get("strides", [1] * axes), attributes.get("dilations", [1] * axes)
    pads = attributes.get("pads", [0] * 2 * axes)
    blocks = [
        (image[i] + pads[i] + pads[axes + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        for i in range(axes)
    ]
    x = np.random.default_rng(3).integers(0, 5, (2, 3 * math.prod(block), math.prod(blocks))).astype(dtype)
    expected = np.zeros((2, 3, *image), dtype)
    columns = x.reshape(2, 3, *block, *blocks)
    for k in np.ndindex(*block):
        for at in np.ndindex(*blocks):
            pixel = [at[i] * strides[i] + k[i] * dilations[i] - pads[i] for i in range(axes)]
            if all(0 <= p < n for p, n in zip(pixel, image, strict=True)):
                expected[(slice(None), slice(None), *pixel)] += columns[(slice(None), slice(None), *k, *at)]
    check("Col2Im", [x, np.array(image), np.array(block)], attributes, expected=[expected])


@pytest.mark.parametrize(
    ("x", "image", "block", "attributes"),
    [
        ((1, 4, 15), (5, 5), (2, 2), {}),
        ((1, 5, 16), (5, 5), (2, 2), {}),
        ((4, 16), (5, 5), (2, 2), {}),
        ((1, 4, 16), (5, 5), (2, 0), {}),
        ((1, 4, 16), (5, -5), (2, 2), {}),
        ((1, 4, 16), (1, 1), (2, 2), {}),
        ((1, 4, 16), (5, 5), (4,), {}),
        ((1, 4, 16), (5, 5), (2**62, 2**62), {}),
        ((1, 4, 16), (2**62, 2**62), (2, 2), {}),
        ((1, 4, 16), (5, 5), (2, 2), {"strides": [0, 1]}),
        ((1, 4, 16), (5, 5), (2, 2), {"strides": [1]}),
        ((1, 4, 16), (5, 5), (2, 2), {"dilations": [-1, 1]}),
        ((1, 4, 16), (5, 5), (2, 2), {"pads": [-1, 0, 0, 0]}),
        ((1, 4, 16), (5, 5), (2, 2), {"pads": [2**62] * 4}),
    ],
)
def test_col2im_refuses(x, image, block, attributes):
    with pytest.raises(pyinfer.PyInferError):
        check("Col2Im", [np.zeros(x, np.float32), np.array(image), np.array(block)], attributes, expected=[])


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("shift", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("samples", [0, 1, 3])
def test_roi_align(mode, shift, samples):
    x = noise(2, 3, 9, 11)
    corners = np.random.default_rng(4).uniform(-4, 20, (7, 2, 2))
    rois = np.concatenate([corners.min(1), corners.max(1)], -1).astype(np.float32)
    batch = np.array([0, 1, 0, 1, 1, 0, 0])
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": shift,
        "sampling_ratio": samples,
        "spatial_scale": 0.75,
        "output_height": 3,
        "output_width": 2,
    }
    check("RoiAlign", [x, rois, batch], attributes, rtol=1e-4, atol=2e-5)
    check(
        "RoiAlign", [x.astype(np.float64), rois.astype(np.float64), batch], attributes, rtol=1e-9, atol=1e-9
    )


def test_roi_align_of_a_constant_map_is_the_constant():
    rois = np.array([[1, 1, 6, 7], [2, 3, 3, 4]])
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64):
        x = np.full((1, 2, 9, 9), 1.5).astype(dtype)
        expected = np.full((2, 2, 2, 2), 1.5).astype(dtype)
        attributes = {"output_height": 2, "output_width": 2}
        check("RoiAlign", [x, rois.astype(dtype), np.array([0, 0])], attributes, expected=[expected])


@pytest.mark.parametrize(
    ("x", "roi", "batch", "attributes"),
    [
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [1], {}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [-1], {}),
        ((1, 1, 4, 4), [[0, 0, 1e30, 1]], [0], {}),
        ((1, 1, 4, 4), [[0, 0, np.inf, 1]], [0], {}),
        ((1, 1, 4, 4), [[0, 0, np.nan, 1]], [0], {}),
        ((1, 1, 4, 4), [[0, 0, 1]], [0], {}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [0, 0], {}),
        ((1, 1, 0, 4), [[0, 0, 1, 1]], [0], {}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [0], {"output_height": 0}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [0], {"output_width": 2**62}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [0], {"sampling_ratio": -1}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [0], {"mode": "sum"}),
        ((1, 1, 4, 4), [[0, 0, 1, 1]], [0], {"coordinate_transformation_mode": "whole"}),
    ],
)
def test_roi_align_refuses(x, roi, batch, attributes):
    inputs = [np.zeros(x, np.float32), np.array(roi, np.float32), np.array(batch)]
    with pytest.raises(pyinfer.PyInferError):
        check("RoiAlign", inputs, attributes, expected=[])


def max_roi_pool(x, rois, height, width, scale):
    y = np.zeros((len(rois), x.shape[1], height, width), x.dtype)
    for r, roi in enumerate(rois):
        x0, y0, x1, y1 = (math.floor(abs(v * scale) + 0.5) * (1 if v >= 0 else -1) for v in roi[1:].tolist())
        w, h = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
        for i in range(height):
            top, bottom = (
                min(max(v, 0), x.shape[2]) for v in (y0 + i * h // height, y0 - (-(i + 1) * h // height))
            )
            for j in range(width):
                left, right = (
                    min(max(v, 0), x.shape[3]) for v in (x0 + j * w // width, x0 - (-(j + 1) * w // width))
                )
                if top < bottom and left < right:
                    y[r, :, i, j] = x[int(roi[0]), :, top:bottom, left:right].max((1, 2))
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_max_roi_pool(dtype):
    x = noise(2, 3, 8, 9).astype(dtype)
    rng = np.random.default_rng(5)
    corners = rng.integers(-3, 24, (9, 2, 2))
    rois = np.concatenate([rng.integers(0, 2, (9, 1)), corners.min(1), corners.max(1)], -1).astype(dtype)
    expected = max_roi_pool(x, rois, 3, 2, 0.5)
    check("MaxRoiPool", [x, rois], {"pooled_shape": [3, 2], "spatial_scale": 0.5}, expected=[expected])


@pytest.mark.parametrize(
    ("roi", "shape"),
    [
        ([[1, 0, 0, 1, 1]], [1, 1]),
        ([[-1, 0, 0, 1, 1]], [1, 1]),
        ([[np.nan, 0, 0, 1, 1]], [1, 1]),
        ([[0, 0, 1, 1]], [1, 1]),
        ([[0, 0, 0, 1, 1]], [0, 1]),
        ([[0, 0, 0, 1, 1]], [1]),
    ],
)
def test_max_roi_pool_refuses(roi, shape):
    inputs = [np.zeros((1, 1, 4, 4), np.float32), np.array(roi, np.float32)]
    with pytest.raises(pyinfer.PyInferError):
        check("MaxRoiPool", inputs, {"pooled_shape": shape}, expected=[])


def test_max_roi_pool_of_far_regions():
    rois = np.array([[0, 1e30, 1e30, 2e30, 2e30], [0, np.nan, -np.inf, np.inf, 3e38]], np.float32)
    expected = np.array([[[[0, 0], [0, 0]]], [[[1, 0], [1, 0]]]], np.float32)
    check(
        "MaxRoiPool", [np.ones((1, 1, 4, 4), np.float32), rois], {"pooled_shape": [2, 2]}, expected=[expected]
    )


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def non_max_suppression(boxes, scores, most, iou, least, centers):
    chosen = []
    for b, c in np.ndindex(scores.shape[:2]):
        if centers:
            corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in boxes[b].tolist()]
        else:
            corners = [
                (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)) for y0, x0, y1, x1 in boxes[b].tolist()
            ]
        kept = []
        for i in np.argsort(-scores[b, c], kind="stable"):
            if len(kept) < most and (least is None or scores[b, c, i] > least):
                if all(overlap(corners[i], corners[k]) <= iou for k in kept):
                    kept.append(i)
        chosen += [(b, c, i) for i in kept]
    return np.array(chosen, np.int64).reshape(-1, 3)


@pytest.mark.parametrize("centers", [0, 1])
@pytest.mark.parametrize("most", [0, 1, 5, 1000, 2**62, -1])
def test_non_max_suppression(centers, most):
    rng = np.random.default_rng(6)
    for batch, classes, n in [(1, 1, 1), (2, 3, 60), (1, 2, 0), (0, 2, 5)]:
        boxes = rng.uniform(0, 4, (batch, n, 4)).astype(np.float32)
        scores = rng.integers(0, 20, (batch, classes, n)).astype(np.float32) / 20
        for iou, least in [(0.3, None), (0.5, 0.4), (0.0, 0.0), (1.0, 0.9)]:
            expected = non_max_suppression(boxes, scores, most, iou, least, centers)
            inputs = [boxes, scores, np.array(most), np.array(iou, np.float32)]
            inputs += [] if least is None else [np.array([least], np.float32)]
            check("NonMaxSuppression", inputs, {"center_point_box": centers}, expected=[expected])


def test_non_max_suppression_selects_nothing_by_default():
    boxes, scores = np.ones((1, 3, 4), np.float32), np.ones((1, 1, 3), np.float32)
    check("NonMaxSuppression", [boxes, scores], expected=[np.zeros((0, 3), np.int64)])


def test_non_max_suppression_of_nan():
    boxes = np.array([[[0, 0, 1, 1], [5, 5, 6, 6], [np.nan] * 4]], np.float32)
    scores = np.array([[[np.nan, 0.5, 0.1]]], np.float32)
    inputs = [boxes, scores, np.array(9), np.array(0.5, np.float32)]
    check("NonMaxSuppression", inputs, expected=[np.array([[0, 0, 1], [0, 0, 2], [0, 0, 0]])])
    inputs.append(np.array(0, np.float32))
    check("NonMaxSuppression", inputs, expected=[np.array([[0, 0, 1], [0, 0, 2]])])


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [((1, 3, 4), (1, 1, 2)), ((1, 3, 5), (1, 1, 3)), ((2, 3, 4), (1, 1, 3)), ((3, 4), (1, 1, 3))],
)
def test_non_max_suppression_refuses(boxes, scores):
    with pytest.raises(pyinfer.PyInferError):
        check("NonMaxSuppression", [np.zeros(boxes, np.float32), np.zeros(scores, np.float32)], expected=[])
