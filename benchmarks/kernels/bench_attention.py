"""Attention of encoders, of vision transformers, and of one token behind a past."""

import pytest
from harness import measure, normal

CASES = [(12, 128, 128, 64), (12, 128, 128, 32), (3, 197, 197, 64), (12, 1, 129, 64), (12, 512, 512, 64)]


@pytest.mark.parametrize(("heads", "queries", "keys", "size"), CASES)
def test_attention(benchmark, heads, queries, keys, size):
    inputs = {
        "q": normal(1, heads, queries, size),
        "k": normal(1, heads, keys, size),
        "v": normal(1, heads, keys, size),
    }
    measure(benchmark, "Attention", inputs)
