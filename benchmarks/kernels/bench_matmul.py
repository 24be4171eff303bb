"""Matrix products with constant weights: square, and the shapes of small transformers and of one row."""

import pytest
from harness import label, measure, normal

SHAPES = [
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (256, 2048, 512),
    (128, 768, 3072),
    (128, 3072, 768),
    (128, 384, 1536),
    (197, 192, 576),
    (49, 512, 2048),
    (1, 768, 3072),
    (1, 3072, 768),
    (4, 768, 768),
]


@pytest.mark.parametrize(("m", "k", "n"), SHAPES, ids=[label(s) for s in SHAPES])
def test_matmul(benchmark, m, k, n):
    inputs = {"a": normal(m, k)}
    goal = 90 if min(m, k, n) >= 256 else None
    measure(benchmark, "MatMul", inputs, {"b": normal(k, n)}, goal)


@pytest.mark.parametrize(("batch", "m", "k", "n"), [(12, 128, 64, 128), (12, 128, 128, 64)])
def test_matmul_of_two_inputs(benchmark, batch, m, k, n):
    inputs = {"a": normal(batch, m, k), "b": normal(batch, k, n)}
    measure(benchmark, "MatMul", inputs)
