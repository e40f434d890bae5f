"""Measurable properties of pictures, and inputs that must not break them."""

import math

import numpy as np
import pytest
from PIL import ImageColor, ImageDraw

from ezcli.film import drawing
from ezcli.film.drawing import (
    CHOSEN,
    COLUMN,
    CURVE,
    GAIN,
    GAME,
    LOSS,
    NETWORK,
    PATH,
    SEARCH,
    SIZE,
    VISITS,
    Artist,
    Captions,
    fitted,
    font,
    number,
    points,
    shown_actions,
    signed,
    to_rgb,
    unbroken,
    value_range,
)
from tests.film.helpers import NAMES, edges, moment, not_a_number


def draw(*moments, names=NAMES):
    """The last picture of these moments, [H, W, 3]."""
    artist = Artist(Captions("seaquest", "a run", names))
    for one in moments:
        picture = artist.draw(one)
    assert picture.size == SIZE
    return np.array(picture)


def cut(picture, box):
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def painted(picture, colour):
    """Where a picture has exactly this colour."""
    return (picture == ImageColor.getrgb(colour)).all(-1)


def longest(picture, colour):
    """The longest row of this colour in a picture, pixels, ticks drawn over it included."""
    rows = [np.flatnonzero(row) for row in painted(picture, colour)]
    return max((row.max() - row.min() + 1 for row in rows if len(row)), default=0)


# ------------------------------------------------------------------ visits


@pytest.mark.parametrize("num_actions", [2, 6, 9])
def test_a_bar_is_as_long_as_its_share_of_visits(num_actions):
    visits = [30, 10, *[0] * (num_actions - 2)]
    names = [f"action {i}" for i in range(num_actions)]
    found = cut(draw(moment(visits), names=names), (VISITS[0] + 150, *VISITS[1:]))
    assert longest(found, CHOSEN) > longest(found, SEARCH) > 0
    bars = found[:, : VISITS[2] - VISITS[0] - 150 - 52]  # without the numbers
    assert longest(bars, CHOSEN) / longest(bars, SEARCH) == pytest.approx(3, rel=0.05)


def test_all_visits_fill_the_bar_and_none_leaves_it_empty():
    for visits, share in ([8, 0], 1), ([4, 4], 0.5):
        found = cut(draw(moment(visits), names=NAMES[:2]), VISITS)
        bar = longest(found[:, 150:-52], CHOSEN)
        assert bar / 313 == pytest.approx(share, abs=0.02)
    assert not painted(cut(draw(moment([8, 0])), VISITS), SEARCH).any()


def test_only_the_chosen_action_is_marked():
    rows = {}
    for chosen in range(3):
        visits = [1, 1, 1]
        visits[chosen] = 5
        found = cut(draw(moment(visits), names=NAMES[:3]), VISITS)
        mark = painted(found[:, :24], CHOSEN)  # beside the name
        assert mark.any()
        rows[chosen] = np.flatnonzero(mark.any(1)).mean()
    assert rows[0] < rows[1] < rows[2]


def test_the_policy_of_the_network_is_a_tick():
    ticks = []
    for share in (0.2, 0.9):
        one = moment([4, 0])
        policy = np.array([1 - share, share], np.float32)
        one = one._replace(thought=one.thought._replace(policy=policy))
        found = painted(cut(draw(one, names=NAMES[:2]), VISITS), NETWORK)[90:]  # the second row
        ticks.append(np.flatnonzero(found.any(0)).mean())
    assert (ticks[1] - ticks[0]) / 313 == pytest.approx(0.7, abs=0.02)


def one_step(*q):
    """A moment of a planner that does not search."""
    found = moment([1] * len(q), path=edges(0.25))
    best = int(np.argmax(q))
    return found._replace(thought=found.thought._replace(q=np.float32(q), action=best))


def words(monkeypatch, one, names):
    """All that is written into a picture, in order."""
    written = []

    def noting(brush, at, text, *args, **options):
        written.append(text)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noting)
    draw(one, names=names)
    return written


def test_a_search_speaks_of_visits(monkeypatch):
    found = words(monkeypatch, moment([1, 5, 2]), NAMES[:3])
    assert {"by the search", "search depth 3", "visits of 8 simulations", "visits"} <= {*found}


def test_without_a_search_there_is_no_word_of_it(monkeypatch):
    found = words(monkeypatch, one_step(0.5, 12345.0, -1.0), NAMES[:3])
    assert {"largest Q of an action", "one step ahead", "Q of each action", "12,345"} <= {*found}
    assert not [text for text in found if "search" in text or "visit" in text or "simul" in text]


def test_the_bar_of_q_is_its_place_between_the_smallest_and_the_largest():
    def bar(*q):
        found = cut(draw(one_step(*q), names=NAMES[: len(q)]), VISITS)[40:, 164:440]  # bars alone
        return [longest(found, colour) for colour in (CHOSEN, SEARCH)]

    (whole, half), (_, quarter) = bar(3.0, -1.0, 1.0), bar(3.0, -1.0, 0.0)
    assert half / whole == pytest.approx(0.5, abs=0.02)
    assert quarter / whole == pytest.approx(0.25, abs=0.02)
    draw(one_step(1.0, 1.0), one_step(math.nan, 1.0), one_step(math.inf, 1.0), names=NAMES[:2])


@pytest.mark.parametrize("num_actions", [1, 9, 10, 18, 19, 300])
@pytest.mark.parametrize("length", [1, 13, 40])
def test_any_number_of_actions_and_any_name_stay_in_their_place(num_actions, length):
    names = [f"{i:03d}{'w' * length}"[:length] for i in range(num_actions)]
    visits = np.arange(num_actions) % 7 + 1
    empty = draw(moment(None))
    found = draw(moment(visits), names=names)
    differs = (found != empty).any(-1)
    for left, top, right, bottom in (VISITS, PATH, drawing.VALUE):
        differs[top + 2 : bottom - 1, left + 2 : right - 1] = False
    assert not differs.any()  # nothing was drawn between the panels, or beyond them
    beyond_the_step = cut(found, (PATH[0] + 230, PATH[1] + 2, PATH[2] - 2, PATH[3] - 2))
    assert painted(beyond_the_step, drawing.PANEL).all()


def test_the_most_visited_are_shown_where_not_all_fit():
    visits = np.zeros(40, int)
    visits[[39, 3, 20]] = 5, 4, 9
    shown = shown_actions(visits)
    assert len(shown) == 18
    assert shown == sorted(shown)
    assert {39, 3, 20} <= set(shown)
    assert shown_actions(np.array([1, 0, 3])) == [0, 1, 2]


# ------------------------------------------------------------------ the best path


def test_prefixes_point_to_their_side():
    up, down = (cut(draw(moment(path=edges(p))), PATH) for p in (2.0, -2.0))
    assert painted(up, GAIN).any()
    assert painted(down, LOSS).any()
    assert not painted(up, LOSS).any()
    assert not painted(down, GAIN).any()
    right, left = (
        np.flatnonzero(painted(picture, colour).any(0)).mean()
        for picture, colour in ((up, GAIN), (down, LOSS))
    )
    assert right > left


def test_steps_of_one_sum_share_a_box():
    def boxes(horizon):
        found = cut(draw(moment(path=edges(*[0.0] * 6, horizon=horizon))), PATH)
        row = painted(found, drawing.INSET)[8]
        return int((row[1:] & ~row[:-1]).sum())  # above all text

    assert [boxes(horizon) for horizon in (1, 2, 3, 5, 10)] == [6, 3, 2, 2, 1]


def test_a_long_path_is_cut_and_an_empty_one_is_drawn():
    draw(moment(path=()))
    long, shorter = (cut(draw(moment(path=edges(*[1.0] * n))), PATH) for n in (50, 8))
    assert (long[:, 140:] == shorter[:, 140:]).all()
    assert (long != shorter).any()  # it says so


# ------------------------------------------------------------------ the curve


def heights(values, colour=SEARCH):
    """Mean height of the curve's columns, top to bottom, after these values."""
    found = painted(cut(draw(*(moment(value=value) for value in values)), CURVE), colour)
    return [np.flatnonzero(column).mean() for column in found.T if column.any()]


def test_the_curve_rises_with_the_value():
    rising = heights(np.linspace(-3, 5, 40))
    assert rising[0] > rising[len(rising) // 2] > rising[-1]
    level = heights([2.0] * 20)[5:-9]  # without the dot
    assert len(level) > 200
    assert max(level) - min(level) <= 1


def test_the_curve_is_whole_after_a_long_game():
    artist = Artist(Captions("seaquest", "a run", NAMES))
    artist.values = [math.sin(step / 500) for step in range(27_000)]
    artist.network_values = [0.0] * 27_000
    picture = np.array(artist.draw(moment(value=0.9)))
    columns = painted(cut(picture, CURVE), SEARCH).any(0)
    assert columns.mean() > 0.5
    assert columns[:9].any()
    assert columns[-9:].any()


def test_the_curve_has_gaps_where_there_is_no_value():
    values = np.array([0.0, 1.0, np.nan, 3.0, np.inf, np.nan, 6.0])
    assert unbroken(values, 1) == [[(0, 0.0), (1, 1.0)], [(3, 3.0)], [], [(6, 6.0)]]
    assert unbroken(values, 3) == [[(0, 0.0), (3, 3.0), (6, 6.0)]]
    assert unbroken(values[:0], 1) == [[]]


def test_rewards_are_below_the_curve():
    below = (CURVE[0] - 8, CURVE[3] + 1, CURVE[2] + 8, CURVE[3] + 8)
    picture = draw(moment(), moment(env_step=1, reward=2.0), moment(env_step=2, reward=-1.0))
    gain, loss = (painted(cut(picture, below), colour) for colour in (GAIN, LOSS))
    assert gain.any(0).argmax() < loss.any(0).argmax()
    wide_at_the_bottom, wide_at_the_top = gain.sum(1), loss.sum(1)
    assert wide_at_the_bottom[:2].sum() < wide_at_the_bottom[-3:].sum()
    assert wide_at_the_top[:3].sum() > wide_at_the_top[-2:].sum()
    assert not painted(cut(draw(moment()), below), GAIN).any()


def test_the_range_of_the_curve():
    assert value_range(np.array([])) == (-0.1, 0.1)
    assert value_range(np.array([np.nan, np.inf])) == (-0.1, 0.1)
    assert value_range(np.array([1.0, np.nan, 3.0])) == (1.0, 3.0)
    low, high = value_range(np.array([5.0, 5.01]))
    assert (low, high) == (pytest.approx(4.905), pytest.approx(5.105))


# ------------------------------------------------------------------ the game


@pytest.mark.parametrize(
    ("shape", "scale"),
    [((1, 10, 5), 38), ((3, 96, 96), 4), ((1, 48, 48), 8), ((1, 24, 24), 16), ((3, 210, 160), 1)],
)
def test_a_small_frame_is_enlarged_by_whole_pixels(shape, scale):
    frame = np.random.default_rng(0).integers(100, 256, shape, dtype=np.uint8)
    game = cut(draw(moment(frame=frame)), GAME)
    height, width = scale * shape[1], scale * shape[2]
    top, left = (384 - height) // 2, (384 - width) // 2
    shown = game[top : top + height, left : left + width]
    expected = to_rgb(frame).repeat(scale, 0).repeat(scale, 1)
    np.testing.assert_array_equal(shown, expected)


def test_the_expected_frame_is_beside_the_picture():
    frames = np.random.default_rng(0).integers(100, 256, (2, 1, 24, 24), dtype=np.uint8)
    seen = moment(frame=frames[0])
    artist = Artist(Captions("seaquest", "a run", NAMES, decodes=True))
    first, whole = (artist.draw(m) for m in (seen, seen._replace(expected=frames[1])))
    assert first.size == whole.size == (SIZE[0] + COLUMN, SIZE[1])
    picture = np.array(whole)
    np.testing.assert_array_equal(picture[:, COLUMN:], draw(seen, seen))
    np.testing.assert_array_equal(cut(picture, GAME), to_rgb(frames[1]).repeat(16, 0).repeat(16, 1))


def test_a_large_frame_is_shrunk_into_its_box():
    game = draw(moment(frame=np.full((3, 1000, 500), 255, np.uint8)))
    white = painted(game, "#ffffff")
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    assert (rows.min(), rows.max() + 1) == (GAME[1], GAME[3])
    assert columns.max() + 1 - columns.min() == 192


def test_colours_of_a_frame():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(to_rgb(rgb), rgb.transpose(1, 2, 0))
    np.testing.assert_array_equal(to_rgb(rgb[:1])[..., 2], rgb[0])
    planes = np.zeros((8, 1, 8), np.uint8)
    planes[np.arange(8), 0, np.arange(8)] = 255
    found = to_rgb(planes)[0]
    assert found.shape == (8, 3)
    assert len({tuple(colour) for colour in found[:6].tolist()}) == 6
    assert to_rgb(np.zeros((2, 3, 3), np.uint8)).max() == 0


# ------------------------------------------------------------------ words and numbers


def test_nothing_that_is_not_a_number_breaks_a_picture():
    draw(not_a_number([1, 2, 3]), moment([1, 2, 3]), not_a_number([1, 2, 3]), moment(None))
    infinite = moment([1, 2], value=-math.inf, path=edges(math.inf), score=math.nan)
    draw(infinite, moment([0, 0], value=1e30))


@pytest.mark.parametrize("ending", ["over", "cut", "stopped"])
def test_the_end_says_how_it_came(ending):
    last = moment(None, env_step=1234)._replace(ending=ending)
    text = drawing.ending_text(last)
    assert ("over" in text) == (ending == "over")
    assert ("1,234" in text) == (ending != "over")
    assert not painted(cut(draw(moment(), last), VISITS), CHOSEN).any()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (-0.001, "0.00"),
        (-0.25, "-0.25"),
        (12.345, "12.35"),
        (-100.0, "-100"),
        (123456.7, "123,457"),
        (-1e9, "-1.0e+09"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text
    assert len(number(value)) <= 9
    plus = value > 0 and text != "0.00"
    assert signed(value) == (f"+{text}" if plus else text)


def test_scores():
    assert [points(x) for x in (0.0, -21.0, 1234.0, 0.5, 1e9, math.nan)] == [
        *("0", "-21", "1,234", "0.50", "1.0e+09", "nan")
    ]


def test_texts_are_cut_in_the_middle():
    assert fitted("short", 13, 200) == "short"
    long = "a_very_long_name_of_an_action_number_7"
    found = fitted(long, 13, 100)
    assert font(13).getlength(found) <= 100 < font(13).getlength(long)
    assert found.startswith("a_v")
    assert found.endswith("r_7")
    assert fitted("wide", 13, 1)  # something is always left
