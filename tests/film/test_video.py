"""Films as read by another program; a failed film leaves no file."""

import errno
import os
import resource

import av
import numpy as np
import pytest
from PIL import Image

from ezcli.film.drawing import CHOSEN, SIZE, Artist, Captions
from ezcli.film.video import check_target, palette, writing
from tests.failing import fails
from tests.film.helpers import NAMES, moment

KINDS = pytest.mark.parametrize("suffix", [".mp4", ".gif"])


def pictures(count, size=SIZE):
    """Pictures with a square that moves."""
    for step in range(count):
        pixels = np.full((*size[::-1], 3), 24, np.uint8)
        pixels[20:60, 10 * step : 10 * step + 40] = (230, 159, 0)
        yield Image.fromarray(pixels)


def write(path, images, fps=15):
    with writing(path, fps) as add:
        for image in images:
            add(image)


def read(path):
    """The stream of a film and its frames, RGB."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [float(frame.time) for frame in frames]
        colours = [frame.to_ndarray(format="rgb24") for frame in frames]
        context = stream.codec_context
        facts = (context.name, context.pix_fmt, context.width, context.height)
        return facts, times, colours, frames[0]


@pytest.mark.slow
def test_an_mp4_that_browsers_play(tmp_path):
    path = tmp_path / "film.mp4"
    write(path, pictures(20), fps=5)
    facts, times, colours, first = read(path)
    assert facts == ("h264", "yuv420p", *SIZE)
    assert times == pytest.approx([step / 5 for step in range(20)])
    assert (first.colorspace, first.color_range) == (1, 1)  # BT.709, limited
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # the index is in front
    for step, (sent, found) in enumerate(zip(pictures(20), colours, strict=True)):
        error = np.abs(np.array(sent).astype(int) - found).mean()
        assert error < 1, f"frame {step}"
    assert np.abs(colours[7][30:50, 80:100].mean((0, 1)) - (230, 159, 0)).max() < 4


def test_a_gif(tmp_path):
    path = tmp_path / "film.gif"
    write(path, pictures(20), fps=5)
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (20, SIZE)
        assert film.info["loop"] == 0  # for ever
        for step, sent in enumerate(pictures(20)):
            film.seek(step)
            assert film.info["duration"] == 200
            found = np.array(film.convert("RGB")).astype(int)
            assert np.abs(found - np.array(sent)).max() <= 8


def test_a_gif_keeps_the_colours_of_the_drawing(tmp_path):
    picture = Artist(Captions("pong", "a run", NAMES)).draw(moment())
    write(tmp_path / "film.gif", [picture])
    with Image.open(tmp_path / "film.gif") as film:
        found = np.array(film.convert("RGB")).astype(int)
    assert np.abs(found - np.array(picture)).mean() < 1
    assert (found == (230, 159, 0)).all(-1).sum() > 1000
    assert CHOSEN == "#e69f00"


def test_a_gif_of_a_still_picture_grows_little(tmp_path):
    (picture,) = pictures(1)
    for count in (2, 50):
        write(tmp_path / f"{count}.gif", [picture] * count)
    one, many = ((tmp_path / f"{count}.gif").stat().st_size for count in (2, 50))
    assert many < one + 48 * 200


def test_the_palette_has_256_colours():
    colours = np.array(palette().getpalette()).reshape(-1, 3)
    assert len(colours) == 256
    assert {(0, 0, 0), (255, 255, 255), (24, 28, 34)} <= {tuple(c) for c in colours.tolist()}


@KINDS
def test_upper_case_is_a_suffix_too(suffix, tmp_path):
    path = tmp_path / f"FILM{suffix.upper()}"
    check_target(path)
    write(path, pictures(2))
    (codec, *_), times, *_ = read(path)
    assert (codec, len(times)) == ({".mp4": "h264", ".gif": "gif"}[suffix], 2)


# ------------------------------------------------------------------ what goes wrong


@KINDS
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
@pytest.mark.parametrize("after", [0, 3])
def test_an_exception_leaves_the_film_that_was_there(suffix, error, after, tmp_path):
    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"the old one")

    def broken():
        yield from pictures(after)
        raise error("Not of the film.")

    with pytest.raises(error, match="Not of the film"):
        write(path, broken())
    assert path.read_bytes() == b"the old one"
    assert os.listdir(tmp_path) == [path.name]


@KINDS
def test_a_full_disk_is_a_sentence_and_leaves_nothing(suffix, tmp_path):
    path, rng = tmp_path / f"film{suffix}", np.random.default_rng(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = (Image.fromarray(rng.integers(0, 256, (540, 960, 3), np.uint8)) for _ in range(12))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with fails("EZ-PATH-NOT-WRITABLE", path.name, os.strerror(errno.EFBIG)):
            write(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_gone_is_a_sentence(tmp_path):
    with fails("EZ-PATH-NOT-WRITABLE", "film.mp4", os.strerror(errno.ENOENT)):
        write(tmp_path / "gone" / "film.mp4", pictures(1))


@pytest.mark.parametrize("name", ["film", "film.avi", "film.mp4.png", ".mp4"])
def test_other_suffixes_are_refused(name, tmp_path):
    with fails("EZ-FILM-SUFFIX", name, ".mp4 or .gif"):
        check_target(tmp_path / name)


def test_targets_that_cannot_be(tmp_path, monkeypatch):
    with fails("EZ-PATH-NO-FOLDER", str(tmp_path / "none")):
        check_target(tmp_path / "none" / "film.mp4")
    (tmp_path / "film.mp4").mkdir()
    with fails("EZ-PATH-NOT-A-FILE", "film.mp4"):
        check_target(tmp_path / "film.mp4")
    monkeypatch.setattr(av, "codecs_available", {"gif"})
    with fails("EZ-FILM-NO-ENCODER", "H.264", ".gif"):
        check_target(tmp_path / "other.mp4")
    check_target(tmp_path / "other.gif")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with fails("EZ-PATH-NOT-WRITABLE", str(tmp_path), "--output"):
        check_target(tmp_path / "other.gif")
