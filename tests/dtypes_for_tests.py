"""Arrays of every element type, for operators that only move elements."""

import ml_dtypes
import numpy as np

# One type for each way an element is held: 1, 2, 4, 8 and 16 bytes, sub-byte codes, and strings.
MOVABLE = [
    np.bool_,
    np.uint8,
    np.int16,
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.int4,
    np.float32,
    np.int32,
    np.float64,
    np.int64,
    np.complex64,
    np.complex128,
    np.object_,
]


def numbered(dtype, *shape):
    """Elements that tell their place, as far as the type can."""
    n = int(np.prod(shape))
    if dtype is np.object_:
        return np.array([f"string number {i}" for i in range(n)], dtype=object).reshape(shape)
    if dtype is np.bool_:
        return (np.random.default_rng(n).random(shape) < 0.5).astype(np.bool_)
    if dtype is ml_dtypes.int4:
        return (np.arange(n) % 16 - 8).astype(np.int8).astype(dtype).reshape(shape)
    return (np.arange(n) % 113).astype(np.float32).astype(dtype).reshape(shape)
