"""Fourier transforms, windows and the mel matrix against NumPy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11, np.float16: 5e-3, ml_dtypes.bfloat16: 4e-2}


def parts(x, dtype):
    return np.stack([x.real, x.imag], -1).astype(dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("length", [1, 2, 3, 8, 10, 64, 97, 100])
@pytest.mark.parametrize("inverse", [0, 1])
def test_dft(dtype, length, inverse):
    rng = np.random.default_rng(length)
    for axis, complex_input, n in [(1, True, None), (0, True, 12), (-2, False, None), (1, True, 7)]:
        shape = (3, length, 4)[: 3 - (axis == -2)]
        x = rng.standard_normal(shape) + 1j * complex_input * rng.standard_normal(shape)
        inputs = [parts(x, dtype) if complex_input else x.real[..., None].astype(dtype)]
        x = inputs[0].astype(np.float64)
        x = x[..., 0] + 1j * (x[..., 1] if complex_input else 0)
        np_axis = axis + 1 if axis < 0 else axis
        want = (np.fft.ifft if inverse else np.fft.fft)(x, n, np_axis)
        inputs += [None if n is None else np.array(n), np.array(axis)]
        scale = TOLERANCE[dtype] * max(1, np.abs(want).max())
        check(
            "DFT",
            inputs,
            {"inverse": inverse},
            expected=[parts(want, dtype)],
            rtol=TOLERANCE[dtype],
            atol=scale,
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 2, 5, 16, 31])
def test_one_sided_dft(dtype, length):
    rng = np.random.default_rng(length)
    x = rng.standard_normal((2, length, 3))
    spectrum = np.fft.rfft(x, axis=1)
    options = {"rtol": 1e-4, "atol": 1e-4}
    axis = np.array(1)
    check(
        "DFT",
        [x[..., None].astype(dtype), None, axis],
        {"onesided": 1},
        expected=[parts(spectrum, dtype)],
        **options,
    )
    inputs = [parts(spectrum, dtype), np.array(length), axis]
    check("DFT", inputs, {"onesided": 1, "inverse": 1}, expected=[x[..., None].astype(dtype)], **options)


def test_dft_before_version_20_has_an_axis_attribute():
    x = np.random.default_rng(0).standard_normal((2, 6, 3, 1)).astype(np.float32)
    want = parts(np.fft.fft(x[..., 0], axis=1), np.float32)
    check("DFT", [x], expected=[want], opset=17, atol=1e-5)
    want = parts(np.fft.fft(x[..., 0], axis=2), np.float32)
    check("DFT", [x], {"axis": 2}, expected=[want], opset=17, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 0, 1), (2, 0, 3, 1), (64, 0, 100, 1)])
def test_a_one_sided_transform_of_nothing(shape):
    x = np.zeros(shape, np.float32)
    model = pyinfer.load(node_model("DFT", [x], {"onesided": 1, "axis": 1}, opset=17))
    with pytest.raises(pyinfer.InvalidInput, match="nothing to transform along axis 1"):
        model(x)


def test_dft_errors():
    x = np.ones((2, 6, 1), np.float32)
    for inputs in (
        [x, np.array(0)],
        [x, np.array(-3)],
        [x, np.array(2**62)],
        [x, None, np.array(2)],
        [x, None, np.array(3)],
        [x, None, np.array(-4)],
        [np.ones((2, 6, 3), np.float32)],
        [np.ones(2, np.float32)],
    ):
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("DFT", inputs), inputs)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("complex_input", [False, True])
@pytest.mark.parametrize(("length", "step"), [(16, 8), (10, 3), (40, 1), (1, 5)])
def test_stft(dtype, complex_input, length, step):
    rng = np.random.default_rng(length)
    x = rng.standard_normal((2, 40)) + 1j * complex_input * rng.standard_normal((2, 40))
    signal = parts(x, dtype) if complex_input else x.real[..., None].astype(dtype)
    x = signal[..., 0].astype(np.float64) + 1j * (signal[..., 1].astype(np.float64) if complex_input else 0)
    window = rng.uniform(0, 1, length).astype(dtype)
    frames = np.stack([x[:, i : i + length] for i in range(0, 40 - length + 1, step)], 1)
    one_sided = 0 if complex_input else 1
    want = np.fft.fft(frames * window.astype(np.float64))
    want = want[..., : length // 2 + 1] if one_sided else want
    options = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype] * max(1, np.abs(want).max())}
    attributes = {"onesided": one_sided}
    check("STFT", [signal, np.array(step), window], attributes, expected=[parts(want, dtype)], **options)
    want = np.fft.fft(frames)
    want = want[..., : length // 2 + 1] if one_sided else want
    options["atol"] = TOLERANCE[dtype] * max(1, np.abs(want).max())
    check(
        "STFT",
        [signal, np.array(step), None, np.array(length)],
        attributes,
        expected=[parts(want, dtype)],
        **options,
    )


def test_stft_errors():
    x, window = np.ones((1, 8, 1), np.float32), np.ones(4, np.float32)
    for inputs in (
        [x, np.array(0), window],
        [x, np.array(-1), window],
        [x, np.array(1), np.ones(9, np.float32)],
        [x, np.array(1), window, np.array(5)],
        [x, np.array(1), None, np.array(0)],
        [x[0], np.array(1), window],
    ):
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("STFT", inputs), inputs)


WINDOWS = {
    "HannWindow": lambda t: 0.5 - 0.5 * np.cos(t),
    "HammingWindow": lambda t: 25 / 46 - 21 / 46 * np.cos(t),
    "BlackmanWindow": lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t),
}


@pytest.mark.parametrize("op", sorted(WINDOWS))
@pytest.mark.parametrize("size", [0, 1, 2, 10, 33])
@pytest.mark.parametrize("constant", [(), (0,)])
def test_windows(op, size, constant):
    n = np.arange(size)
    for periodic in (0, 1):
        length = size if periodic else size - 1
        want = WINDOWS[op](2 * np.pi * n / length) if length else np.ones(size)
        for kind, dtype in ((1, np.float32), (11, np.float64), (10, np.float16)):
            attributes = {"periodic": periodic, "output_datatype": kind}
            tolerance = 1e-3 if dtype == np.float16 else 1e-7
            check(
                op,
                [np.array(size)],
                attributes,
                expected=[want.astype(dtype)],
                constant=constant,
                rtol=tolerance,
                atol=tolerance,
            )
    with pytest.raises(pyinfer.PyInferError):
        run(node_model(op, [np.array(-1)]), [np.array(-1)])


@pytest.mark.parametrize(
    ("mels", "length", "rate", "low", "high"), [(8, 16, 8192, 0, 4096), (4, 512, 16000, 20, 7600)]
)
def test_mel_weight_matrix(mels, length, rate, low, high):
    inputs = [
        np.array(mels),
        np.array(length),
        np.array(rate),
        np.array(low, np.float32),
        np.array(high, np.float32),
    ]
    check("MelWeightMatrix", inputs)


def test_mel_weight_matrix_errors():
    good = [np.array(8), np.array(16), np.array(8192), np.array(0, np.float32), np.array(4096, np.float32)]
    for i, bad in [(0, -1), (1, -5), (2, 0), (3, np.nan), (4, 1e9), (3, -900), (0, 2**60)]:
        inputs = list(good)
        inputs[i] = np.array(bad, good[i].dtype)
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("MelWeightMatrix", inputs), inputs)
