"""Downscaling of frames by area averaging, bit for bit equal to OpenCV's INTER_AREA.

Each pixel of the result is the mean of the pixels that it covers, weighted by area. The size 96 x
96 is the published preprocessing (Kaiser et al. 2019). Sums are in OpenCV's order, in float32, so
that rounding agrees: first along each row, then over rows.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ezcli.jit import kernel, one_at_a_time

SMALLEST = 1e-3  # share of a pixel below which OpenCV ignores it


class Areas(NamedTuple):
    """Tables for downscaling frames of one shape, with up to T source pixels per pixel.

    `columns` [T, N * C] are indices in a row of W * C numbers, `rows` [T, N] are indices of rows.
    The weights have the same shapes, and are 0 for unused entries.
    """

    columns: np.ndarray
    column_weights: np.ndarray
    rows: np.ndarray
    row_weights: np.ndarray


def areas(height: int, width: int, channels: int, size: int) -> Areas:
    """Makes the tables for frames [height, width, channels] that become [channels, size, size]."""
    assert size <= min(height, width), f"{height} x {width} to {size}: frames cannot be enlarged"
    rows, row_weights = beneath(height, size)
    columns, column_weights = beneath(width, size)
    places = columns[:, :, None] * channels + np.arange(channels, dtype=np.int32)
    weights = np.repeat(column_weights, channels, axis=1)
    return Areas(places.reshape(len(columns), -1), weights, rows, row_weights)


def beneath(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Source pixels [T, after] int32 that overlap each new one, and their weights, float32."""
    scale = before / after
    found = []
    for pixel in range(after):
        low, high = pixel * scale, (pixel + 1) * scale
        places = np.arange(int(low), min(int(np.ceil(high)), before))
        shared = np.minimum(high, places + 1) - np.maximum(low, places)
        places, shared = places[shared > SMALLEST], shared[shared > SMALLEST]
        found.append((places, shared / scale))
    most = max(len(places) for places, _ in found)
    pixels, weights = np.zeros((most, after), np.int32), np.zeros((most, after), np.float32)
    for pixel, (places, shared) in enumerate(found):
        pixels[: len(places), pixel], weights[: len(places), pixel] = places, shared
    return pixels, weights


@kernel
def shrink(frame: Any, areas: Areas, shrunk: Any) -> None:
    """Downscales a frame [height, width * channels] uint8 into [channels, size, size]."""
    columns, column_weights = areas.columns, areas.column_weights
    channels, size = shrunk.shape[0], shrunk.shape[1]
    count = columns.shape[1]
    row, total = np.empty(count, np.float32), np.empty(count, np.float32)
    for y in range(size):
        total[:] = np.float32(0)
        for above in range(areas.rows.shape[0]):
            weight = areas.row_weights[above, y]
            if weight == 0:
                continue
            pixels = frame[areas.rows[above, y]]
            row[:] = np.float32(0)
            for left in range(columns.shape[0]):
                for x in range(count):
                    row[x] += np.float32(pixels[columns[left, x]]) * column_weights[left, x]
            for x in range(count):
                total[x] += weight * row[x]
        for channel in range(channels):
            for x in range(size):
                shrunk[channel, y, x] = np.uint8(np.rint(total[x * channels + channel]))


@cache
def warm_up() -> None:
    """Compiles `shrink`, or loads it from the cache; see `ezcli.jit`."""
    with one_at_a_time():
        shrink(np.zeros((2, 2), np.uint8), areas(2, 2, 1, 1), np.zeros((1, 1, 1), np.uint8))
