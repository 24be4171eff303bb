"""Convolutions and pools by their definitions, in float64: the references of the operator tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np


def output_size(
    size: int, kernel: int, stride: int, dilation: int, begin: int, end: int, ceil: bool = False
) -> int:
    extent = (kernel - 1) * dilation + 1
    room = size + begin + end - extent
    out = (-(-room // stride) if ceil else room // stride) + 1
    return out - 1 if ceil and (out - 1) * stride >= size + begin else out


def conv(
    x: np.ndarray,
    w: np.ndarray,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int = 1,
    dtype: type = np.float64,
) -> np.ndarray:
    """Channels-first convolution."""
    rank = x.ndim - 2
    begin, end = pads[:rank], pads[rank:]
    padded = np.pad(x.astype(dtype), [(0, 0), (0, 0), *zip(begin, end, strict=True)])
    kernel = w.shape[2:]
    out = [
        output_size(x.shape[2 + d], kernel[d], strides[d], dilations[d], begin[d], end[d])
        for d in range(rank)
    ]
    per_group, outputs = w.shape[1], w.shape[0] // groups
    y = np.zeros((x.shape[0], w.shape[0], *out), dtype)
    for tap in itertools.product(*map(range, kernel)):
        spatial = tuple(
            slice(tap[d] * dilations[d], tap[d] * dilations[d] + (out[d] - 1) * strides[d] + 1, strides[d])
            for d in range(rank)
        )
        for g in range(groups):
            part = padded[(slice(None), slice(g * per_group, (g + 1) * per_group), *spatial)]
            weights = w[(slice(g * outputs, (g + 1) * outputs), slice(None), *tap)].astype(dtype)
            y[:, g * outputs : (g + 1) * outputs] += np.einsum("nc...,mc->nm...", part, weights)
    return y


def conv_transpose(
    x: np.ndarray,
    w: np.ndarray,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    output_padding: Sequence[int],
    groups: int = 1,
) -> np.ndarray:
    """Channels-first transposed convolution: every input pixel scatters its kernel."""
    rank = x.ndim - 2
    per_group, inputs = w.shape[1], x.shape[1] // groups
    full = [
        (x.shape[2 + d] - 1) * strides[d] + (w.shape[2 + d] - 1) * dilations[d] + 1 + output_padding[d]
        for d in range(rank)
    ]
    y = np.zeros((x.shape[0], per_group * groups, *full))
    for tap in itertools.product(*map(range, w.shape[2:])):
        spatial = tuple(
            slice(
                tap[d] * dilations[d],
                tap[d] * dilations[d] + (x.shape[2 + d] - 1) * strides[d] + 1,
                strides[d],
            )
            for d in range(rank)
        )
        for g in range(groups):
            channels = slice(g * inputs, (g + 1) * inputs)
            weights = w[(channels, slice(None), *tap)].astype(np.float64)
            part = np.einsum("nc...,cm->nm...", x[:, channels].astype(np.float64), weights)
            y[(slice(None), slice(g * per_group, (g + 1) * per_group), *spatial)] += part
    cut = tuple(slice(pads[d], full[d] - pads[rank + d]) for d in range(rank))
    return y[(slice(None), slice(None), *cut)]


def pool(
    x: np.ndarray,
    reduce: Callable[[np.ndarray, int], float],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    ceil: bool = False,
) -> np.ndarray:
    """reduce(the taps inside the image, the number of taps inside the image and its declared padding)."""
    rank = x.ndim - 2
    out = [
        output_size(x.shape[2 + d], kernel[d], strides[d], dilations[d], pads[d], pads[rank + d], ceil)
        for d in range(rank)
    ]
    y = np.zeros((*x.shape[:2], *out))
    for index in np.ndindex(*y.shape):
        inside, padded = [], 1
        for d in range(rank):
            at = index[2 + d] * strides[d] - pads[d] + np.arange(kernel[d]) * dilations[d]
            inside.append(at[(at >= 0) & (at < x.shape[2 + d])])
            padded *= int(np.sum(at < x.shape[2 + d] + pads[rank + d]))
        y[index] = reduce(x[index[:2]][np.ix_(*inside)].astype(np.float64), padded)
    return y
