"""Writes pictures to an MP4 for browsers, or a GIF, one by one with constant memory.

PyAV includes its encoders, so ffmpeg need not be installed. Pillow's GIF writer would keep all
frames in memory until the end.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream
from PIL import Image, ImageColor

from ezcli.errors import ConfigError, RunError
from ezcli.files import draft_of
from ezcli.film.drawing import (
    BACKGROUND,
    CHOSEN,
    DIM,
    FAINT,
    GAIN,
    INSET,
    LOSS,
    NETWORK,
    PANEL,
    SEARCH,
    TEXT,
)

SUFFIXES = (".mp4", ".gif")
H264 = "libx264"
# Without its macroblock tree x264 always writes the same bytes; with it, it did not under load.
H264_OPTIONS = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"}
BT709 = 1  # the number in FFmpeg's tables of colour matrices, primaries and transfer curves
LIMITED_RANGE = 1


def check_target(path: Path) -> None:
    """Refuses a path that cannot be a film, before anything is played.

    Raises:
      EzError: its suffix or folder is wrong, it cannot be written, or there is no encoder.
    """
    if path.suffix.lower() not in SUFFIXES:
        allowed = " or ".join(SUFFIXES)
        raise ConfigError(
            "EZ-FILM-SUFFIX",
            f"The name {str(path)!r} does not end in {allowed}.",
            "Choose one of these suffixes.",
        )
    if not path.parent.is_dir():
        raise ConfigError(
            "EZ-PATH-NO-FOLDER", f"There is no folder {str(path.parent)!r}.", "Create it first."
        )
    if path.is_dir():
        raise ConfigError("EZ-PATH-NOT-A-FILE", f"{str(path)!r} is a folder.", "Name a file.")
    if not os.access(path.parent, os.W_OK):
        raise RunError(
            "EZ-PATH-NOT-WRITABLE",
            f"{str(path.parent)!r} cannot be written to.",
            "Choose another --output.",
        )
    if not is_gif(path) and H264 not in av.codecs_available:
        raise RunError(
            "EZ-FILM-NO-ENCODER",
            "This PyAV has no encoder for H.264.",
            "Use a file that ends in .gif.",
        )


def is_gif(path: Path) -> bool:
    """Whether the file is a GIF."""
    return path.suffix.lower() == ".gif"


@contextmanager
def writing(path: Path, fps: int) -> Iterator[Callable[[Image.Image], None]]:
    """Yields a function that adds a picture. All pictures must have the same even size.

    The film is written as a draft and renamed at the end. After an exception there is no partial
    film, and an earlier film is kept.

    Raises:
      RunError: the file cannot be written.
    """
    to_frame = gif_frame if is_gif(path) else h264_frame
    with ExitStack() as stack:
        with named(path):
            draft, _ = stack.enter_context(draft_of(path))
            container, stream = open_film(draft, fps, is_gif(path))
        count = itertools.count()

        def add(image: Image.Image) -> None:
            if (stream.width, stream.height) != image.size:
                stream.width, stream.height = image.size
            frame = to_frame(image)
            frame.pts, frame.time_base = next(count), Fraction(1, fps)
            with named(path):
                container.mux(stream.encode(frame))

        try:
            yield add
            with named(path):
                container.mux(stream.encode())
                container.close()
        except BaseException:
            with suppress(OSError):  # the first error is more informative
                container.close()
            raise
        with named(path):
            stack.close()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turns errors of the system, such as a full disk, into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(
            "EZ-PATH-NOT-WRITABLE", f"{str(path)!r} cannot be written: {reason}."
        ) from error


def open_film(path: Path, fps: int, gif: bool) -> tuple[OutputContainer, VideoStream]:
    """A file with one stream, ready for its first frame."""
    if gif:
        container = av.open(path, "w", format="gif", options={"loop": "0"})  # endless loop
        stream: Stream = container.add_stream("gif", rate=fps)
    else:
        # The index is at the front, so that a browser can start before it has the whole file.
        container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream(H264, rate=fps, options=H264_OPTIONS)
    assert isinstance(stream, VideoStream)
    if gif:
        stream.pix_fmt = "pal8"
    else:
        stream.pix_fmt = "yuv420p"  # the only one that all browsers play
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
    return container, stream


def h264_frame(image: Image.Image) -> av.VideoFrame:
    """Converts a picture for H.264."""
    frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709")


def gif_frame(image: Image.Image) -> av.VideoFrame:
    """Converts a picture to the colours of `palette`, so that only changes are stored."""
    reduced = image.quantize(palette=palette(), dither=Image.Dither.NONE)
    colours = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    colours[:, 1:] = np.array(palette().getpalette(), np.uint8).reshape(256, 3)
    both: Any = (np.asarray(reduced), colours)  # PyAV's stub has no palettes
    return av.VideoFrame.from_ndarray(both, format="pal8")


@cache
def palette() -> Image.Image:
    """256 colours: the drawing's with shades towards its backgrounds, greys, an even spread."""
    drawn = [
        ImageColor.getrgb(colour)
        for colour in (TEXT, DIM, FAINT, SEARCH, CHOSEN, NETWORK, GAIN, LOSS)
    ]
    grounds = [ImageColor.getrgb(colour) for colour in (PANEL, INSET, BACKGROUND)]
    soft = [
        tuple(round(c * share + g * (1 - share)) for c, g in zip(colour, ground, strict=True))
        for colour in drawn
        for ground in grounds[:2]
        for share in (1.0, 0.75, 0.5, 0.25)
    ]
    greys = [(grey, grey, grey) for grey in range(0, 256, 5)]
    spread = [
        (red, green, blue)
        for red in (0, 64, 128, 191, 255)
        for green in (0, 51, 102, 153, 204, 255)
        for blue in (0, 64, 128, 191, 255)
    ]
    colours = list(dict.fromkeys([*grounds, *soft, *greys, *spread]))[:256]
    colours += [(0, 0, 0)] * (256 - len(colours))
    image = Image.new("P", (1, 1))
    image.putpalette([value for colour in colours for value in colour])
    return image
