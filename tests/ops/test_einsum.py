"""Einsum against numpy.einsum in float64 (integers: exactly)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyinfer
from nodes import node_model, run

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "float16": 4e-3, "bfloat16": 3e-2}

CASES: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij->ji", [(3, 4)]),
    ("ij->i", [(3, 40)]),
    ("ij->", [(3, 4)]),
    ("ij", [(3, 4)]),
    ("ba", [(3, 4)]),
    ("ii->i", [(5, 5)]),
    ("ii", [(5, 5)]),
    ("bii->b", [(2, 5, 5)]),
    ("->", [()]),
    ("i,i", [(7,), (7,)]),
    ("i,i->i", [(7,), (7,)]),
    ("i,j->ij", [(7,), (4,)]),
    ("i,j->", [(7,), (4,)]),
    ("ij,jk->ik", [(3, 4), (4, 20)]),
    ("ij,kj->ik", [(33, 40), (20, 40)]),
    ("ji,jk->ki", [(4, 3), (4, 20)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 5, 8), (2, 3, 7, 8)]),
    ("bqhd,bkhd->bhqk", [(2, 5, 3, 8), (2, 7, 3, 8)]),
    ("bhqk,bkhd->bqhd", [(2, 3, 5, 7), (2, 7, 3, 8)]),
    ("...ij,...jk->...ik", [(2, 3, 4, 5), (3, 5, 6)]),
    ("...ij,jk", [(2, 4, 5), (5, 6)]),
    ("i...->...", [(3, 4, 5)]),
    ("a...b,b...->...a", [(2, 3, 4), (4, 3)]),
    ("...,...->...", [(2, 3), (2, 3)]),
    ("bn,anm,bm->ba", [(2, 5), (3, 5, 4), (2, 4)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ij,jk,kl,li->", [(2, 3), (3, 4), (4, 5), (5, 2)]),
    ("ii,ij->j", [(4, 4), (4, 3)]),
    ("ijk,ilm->", [(2, 3, 4), (2, 5, 6)]),
    ("ij,ik->i", [(3, 4), (3, 5)]),
    ("aB,Bc->ca", [(2, 3), (3, 4)]),
    ("ij , jk -> ik", [(2, 3), (3, 4)]),
    ("ij,jk->ik", [(1, 4), (4, 5)]),
    ("ij,jk->ik", [(3, 1), (4, 5)]),
    ("ij,ij->ij", [(3, 4), (1, 4)]),
    ("ij,jk->ik", [(0, 4), (4, 5)]),
    ("ij,jk->ik", [(3, 0), (0, 5)]),
    ("ij->j", [(0, 5)]),
]


def rand(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def verify(equation: str, operands: list[np.ndarray]) -> None:
    dtype = operands[0].dtype
    (y,) = run(node_model("Einsum", operands, {"equation": equation}), operands)
    # A size of 1 broadcasts; numpy.einsum wants that spelled out for named labels in some versions.
    if dtype.kind in "iu":
        # Modulo 2^64, of which every narrower type keeps the low bits.
        want = np.einsum(equation, *[x.astype(np.int64).view(np.uint64) for x in operands]).astype(np.uint64)
        want = want.astype(dtype)
        assert y.dtype == dtype and y.shape == want.shape
        np.testing.assert_array_equal(y, want)
        return
    wide = [x.astype(np.float64) for x in operands]
    want, scale = np.einsum(equation, *wide), np.einsum(equation, *map(np.abs, wide))
    assert y.dtype == dtype and y.shape == np.shape(want)
    error = np.abs(y.astype(np.float64) - want)
    assert np.all(error <= TOLERANCE[dtype.name] * (scale + 1)), error.max()


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("equation,shapes", CASES, ids=str)
def test_einsum(equation: str, shapes: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    verify(equation, [np.asarray(rand(rng, s, dtype)) for s in shapes])


@st.composite
def equations(draw: Any) -> tuple[str, list[tuple[int, ...]]]:
    sizes = {c: draw(st.integers(1, 4)) for c in "abcdef"}
    terms = draw(st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), min_size=1, max_size=4))
    used = sorted({c for term in terms for c in term})
    output = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
    shapes = [tuple(sizes[c] for c in term) for term in terms]
    return ",".join("".join(t) for t in terms) + "->" + "".join(output), shapes


@settings(max_examples=150, deadline=None)
@given(equations())
def test_random_equations(case: tuple[str, list[tuple[int, ...]]]) -> None:
    rng = np.random.default_rng(2)
    for dtype in (np.float64, np.int16):
        verify(case[0], [np.asarray(rand(rng, s, dtype)) for s in case[1]])


@pytest.mark.parametrize(
    "equation,shapes",
    [
        ("ij,jk->il", [(2, 3), (3, 4)]),
        ("ij->ii", [(2, 2)]),
        ("i.j->ij", [(2, 2)]),
        ("i..j->ij", [(2, 2)]),
        ("......->", [(2, 2)]),
        ("i1->i", [(2, 2)]),
        ("ij,jk->ik", [(2, 3)]),
        ("ij->ik->", [(2, 2)]),
        ("ij-", [(2, 2)]),
        ("i->...", [(2,)]),
    ],
    ids=str,
)
def test_refuses_equations(equation: str, shapes: Any) -> None:
    operands = [np.ones(s, np.float32) for s in shapes]
    if equation == "i->...":
        # As in NumPy: an ellipsis that stands for nothing.
        verify(equation, operands)
        return
    with pytest.raises(pyinfer.InvalidModel, match="equation"):
        pyinfer.load(node_model("Einsum", operands, {"equation": equation}))


@pytest.mark.parametrize(
    "equation,shapes",
    [("ij,jk->ik", [(2, 3), (4, 5)]), ("ij->i", [(2, 3, 4)]), ("ij...->i", [(2,)]), ("ii->i", [(2, 3)])],
    ids=str,
)
def test_refuses_shapes(equation: str, shapes: Any) -> None:
    operands = [np.ones(s, np.float32) for s in shapes]
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("Einsum", operands, {"equation": equation}), operands)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("equation", ["bqhd,bkhd->bhqk", "bqhd,bkhd->bh", "bqhd,bkhd->bhqd"])
def test_same_bits_for_every_batch_and_thread_count(equation: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    a, b = rand(rng, (8, 33, 3, 40), dtype), rand(rng, (8, 33, 3, 40), dtype)
    model = node_model("Einsum", [a, b], {"equation": equation})
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole = one(a, b)
    assert two(a, b).tobytes() == whole.tobytes()
    for i in range(8):
        assert one(a[i : i + 1], b[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
