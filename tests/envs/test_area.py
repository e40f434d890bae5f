"""Downscaling of frames, bit for bit equal to OpenCV."""

import cv2
import numpy as np
import pytest

from ezcli.envs.area import areas, shrink


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height", [210, 250])
def test_every_size_is_that_of_opencv(height, channels):
    rng = np.random.default_rng(0)
    for size in range(16, 161):
        made = areas(height, 160, channels, size)
        frame = rng.integers(0, 256, (height, 160, channels), dtype=np.uint8)
        shrunk = np.empty((channels, size, size), np.uint8)
        shrink(frame.reshape(height, -1), made, shrunk)
        expected = cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)
        expected = expected.reshape(size, size, channels).transpose(2, 0, 1)
        np.testing.assert_array_equal(shrunk, expected, str(size))
