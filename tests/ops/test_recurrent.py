"""LSTM, GRU and RNN against a plain NumPy loop in float64."""

from __future__ import annotations

import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run

ACTIVATIONS = {
    "Sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, a, b: np.tanh(x),
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "ThresholdedRelu": lambda x, a, b: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, b: np.where(x < 0, a * np.expm1(x), x),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log1p(np.exp(x)),
}
TAKES = {"Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2, "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1}
DEFAULTS = {"LeakyRelu": (0.01, 0), "HardSigmoid": (0.2, 0.5), "ThresholdedRelu": (1, 0), "Elu": (1, 0)}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
EACH = {"RNN": 1, "GRU": 2, "LSTM": 3}


def functions(cell, directions, attributes):
    names = attributes.get("activations")
    if not names:
        names = [*["Sigmoid"] * (cell != "RNN"), *["Tanh"] * (EACH[cell] - (cell != "RNN"))] * directions
    alphas, betas = list(attributes.get("activation_alpha", [])), list(attributes.get("activation_beta", []))
    clip = attributes.get("clip")
    result = []
    for name in names:
        a, b = DEFAULTS.get(name, (1, 1 if name == "ScaledTanh" else 0))
        if TAKES.get(name, 0) > 0 and alphas:
            a = alphas.pop(0)
        if TAKES.get(name, 0) > 1 and betas:
            b = betas.pop(0)

        gate = len(result) % EACH[cell] < 2  # LSTM's third is applied to the cell, which is not clipped

        def f(x, name=name, a=a, b=b, gate=gate):
            return ACTIVATIONS[name](np.clip(x, -clip, clip) if clip and gate else x, a, b)

        result.append(f)
    return [result[i : i + EACH[cell]] for i in range(0, len(result), EACH[cell])]


def reference(cell, attributes, x, w, r, b=None, lens=None, h0=None, c0=None, p=None):
    dtype = x.dtype
    x, w, r = (v.astype(np.float64) for v in (x, w, r))
    if attributes.get("layout"):
        x = x.transpose(1, 0, 2)
        h0, c0 = (None if v is None else v.transpose(1, 0, 2) for v in (h0, c0))
    steps, batch, _ = x.shape
    directions, _, hidden = r.shape
    lens = np.full(batch, steps) if lens is None else lens
    b = np.zeros((directions, 2 * w.shape[1])) if b is None else b.astype(np.float64)
    y = np.zeros((steps, directions, batch, hidden))
    hs, cs = np.zeros((directions, batch, hidden)), np.zeros((directions, batch, hidden))
    for d in range(directions):
        f = functions(cell, directions, attributes)[d]
        wb, rb = np.split(b[d], 2)
        for n in range(batch):
            h = np.zeros(hidden) if h0 is None else h0[d, n].astype(np.float64)
            c = np.zeros(hidden) if c0 is None else c0[d, n].astype(np.float64)
            order = range(lens[n])
            if d == 1 or attributes.get("direction") == "reverse":
                order = reversed(order)
            for t in order:
                gx = np.split(w[d] @ x[t, n] + wb, GATES[cell])
                gh = np.split(r[d] @ h + rb, GATES[cell])
                if cell == "RNN":
                    h = f[0](gx[0] + gh[0])
                elif cell == "GRU":
                    z, reset = f[0](gx[0] + gh[0]), f[0](gx[1] + gh[1])
                    if attributes.get("linear_before_reset"):
                        new = f[1](gx[2] + reset * gh[2])
                    else:
                        new = f[1](gx[2] + r[d][2 * hidden :] @ (reset * h) + rb[2 * hidden :])
                    h = (1 - z) * new + z * h
                else:
                    pi, po, pf = np.zeros((3, hidden)) if p is None else np.split(p[d].astype(np.float64), 3)
                    i, forget = f[0](gx[0] + gh[0] + pi * c), f[0](gx[2] + gh[2] + pf * c)
                    if attributes.get("input_forget"):
                        forget = 1 - i
                    c = forget * c + i * f[1](gx[3] + gh[3])
                    h = f[0](gx[1] + gh[1] + po * c) * f[2](c)
                y[t, d, n] = h
            hs[d, n], cs[d, n] = h, c
    if attributes.get("layout"):
        y, hs, cs = y.transpose(2, 0, 1, 3), hs.transpose(1, 0, 2), cs.transpose(1, 0, 2)
    return [v.astype(dtype) for v in ([y, hs, cs] if cell == "LSTM" else [y, hs])]


def case(cell, rng, *, steps, batch, inputs, hidden, attributes, extras, dtype=np.float32):
    """The inputs of one node; `extras` names the optional ones that are given."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1

    def random(*shape):
        return rng.uniform(-1, 1, shape).astype(dtype)

    state = (batch, directions, hidden) if attributes.get("layout") else (directions, batch, hidden)
    x = random(batch, steps, inputs) if attributes.get("layout") else random(steps, batch, inputs)
    gates = GATES[cell] * hidden
    values = [
        x,
        random(directions, gates, inputs),
        random(directions, gates, hidden) / dtype(max(hidden, 1) ** 0.5),
        random(directions, 2 * gates) if "b" in extras else None,
        rng.integers(0, steps + 1, batch).astype(np.int32) if "lens" in extras else None,
        random(*state) if "h" in extras else None,
    ]
    if cell == "LSTM":
        values += [
            random(*state) if "c" in extras else None,
            random(directions, 3 * hidden) if "p" in extras else None,
        ]
    return values


def compare(cell, values, attributes, **options):
    attributes = {**attributes, "hidden_size": values[2].shape[-1]}
    expected = reference(cell, attributes, *values)
    return check(cell, values, attributes, expected=expected, outputs=len(expected), **options)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("seed", range(12))
def test_random(cell, seed):
    rng = np.random.default_rng(seed)
    attributes = {
        "direction": ["forward", "reverse", "bidirectional"][seed % 3],
        "layout": int(rng.integers(2)),
    }
    if cell == "GRU":
        attributes["linear_before_reset"] = int(rng.integers(2))
    if cell == "LSTM":
        attributes["input_forget"] = int(rng.integers(2))
    extras = {e for e in ("b", "lens", "h", "c", "p") if rng.integers(2)}
    sizes = dict(zip(("steps", "batch", "inputs", "hidden"), map(int, rng.integers(1, 20, 4)), strict=True))
    values = case(cell, rng, **sizes, attributes=attributes, extras=extras)
    compare(cell, values, attributes, constant=(1, 2, 3, 7) if seed % 2 else (), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("sizes", [(0, 2, 3, 4), (3, 0, 3, 4), (3, 2, 0, 4), (1, 1, 1, 1), (40, 17, 5, 33)])
def test_sizes(cell, sizes):
    rng = np.random.default_rng(1)
    steps, batch, inputs, hidden = sizes
    values = case(
        cell,
        rng,
        steps=steps,
        batch=batch,
        inputs=inputs,
        hidden=hidden,
        attributes={},
        extras={"b", "h", "c"},
    )
    compare(cell, values, {}, constant=(1, 2, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations(cell, name):
    rng = np.random.default_rng(2)
    attributes = {
        "activations": [name, "HardSigmoid", "Softsign", "LeakyRelu", "ScaledTanh", "Tanh"][: 2 * EACH[cell]],
        "activation_alpha": [0.3, 0.7],
        "activation_beta": [0.4],
        "direction": "bidirectional",
    }
    values = case(cell, rng, steps=4, batch=2, inputs=3, hidden=5, attributes=attributes, extras={"b"})
    compare(cell, values, attributes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_clip_and_default_parameters(cell):
    rng = np.random.default_rng(3)
    names = ["HardSigmoid", "ScaledTanh", "Elu"][: EACH[cell]]
    attributes = {"activations": names, "clip": 0.4}
    values = case(cell, rng, steps=5, batch=3, inputs=4, hidden=6, attributes=attributes, extras={"b", "p"})
    compare(cell, values, attributes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float16, 4e-3)])
def test_types(cell, dtype, tolerance):
    rng = np.random.default_rng(4)
    values = case(
        cell,
        rng,
        steps=6,
        batch=3,
        inputs=7,
        hidden=9,
        attributes={},
        extras={"b", "h", "c", "p"},
        dtype=dtype,
    )
    for constant in ((), (1, 2, 3, 7)):
        compare(cell, values, {}, constant=constant, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_same_bits_for_every_batch(cell):
    rng = np.random.default_rng(5)
    values = case(cell, rng, steps=9, batch=37, inputs=11, hidden=21, attributes={}, extras={"b", "h", "c"})
    attributes, outputs = {"hidden_size": 21}, 2
    whole = run(node_model(cell, values, attributes, outputs=outputs), values)
    for n in (0, 18, 36):
        one = [v[:, n : n + 1] if i in (0, 5, 6) and v is not None else v for i, v in enumerate(values)]
        alone = run(node_model(cell, one, attributes, outputs=outputs), one)
        np.testing.assert_array_equal(whole[0][:, :, n : n + 1], alone[0])
        np.testing.assert_array_equal(whole[1][:, n : n + 1], alone[1])


def test_errors():
    rng = np.random.default_rng(6)
    values = case("LSTM", rng, steps=3, batch=2, inputs=4, hidden=5, attributes={}, extras={"b", "lens"})

    def attempt(match, attributes=None, **changes):
        changed = [changes.get(f"i{i}", v) for i, v in enumerate(values)]
        with pytest.raises(pyinfer.PyInferError, match=match):
            run(node_model("LSTM", changed, attributes or {}), changed)

    attempt("sequence_lens", i4=np.array([1, 4], np.int32))
    attempt("sequence_lens", i4=np.array([-1, 2], np.int32))
    attempt("hidden_size", {"hidden_size": 6})
    attempt("direction", {"direction": "up"})
    attempt("layout", {"layout": 2})
    attempt("activation", {"activations": ["Tanh"]})
    attempt("sine", {"activations": ["Sine", "Tanh", "Tanh"]})
    attempt("shape", i1=values[1][:, :, :3])
    attempt("shape", i3=values[3][:, :-1])
    attempt("shape", i5=np.zeros((1, 3, 5), np.float32))
    attempt("dimensions", i2=values[2][0])
