"""Draws a moment of a game: the frame, values, visits and the best path.

The layout is fixed, so that only changes move between pictures. Colours are those of Okabe and Ito,
which people with any colour vision can distinguish. No information is only in a colour: the chosen
action also has a mark, and rewards point up or down.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from ezcli.runs.watch import Moment, Thought

Box = tuple[int, int, int, int]  # left, top, right, bottom; pixels

SIZE = (960, 540)  # even, as required by H.264
GAME: Box = (16, 52, 400, 436)  # 384 pixels: 4 x 96, 8 x 48, 12 x 32
VALUE: Box = (416, 52, 944, 188)
VISITS: Box = (416, 196, 944, 436)
PATH: Box = (16, 446, 944, 530)
CURVE: Box = (614, 68, 930, 172)
COLUMN = GAME[2]  # pixels for the predicted frame on the left

BACKGROUND, PANEL, INSET = "#0e1116", "#181c22", "#262c35"
TEXT, DIM, FAINT = "#f2f4f7", "#9aa3af", "#4a525e"
SEARCH, CHOSEN, NETWORK = "#56b4e9", "#e69f00", "#cc79a7"
GAIN, LOSS = "#009e73", "#d55e00"
PLANES = np.array(
    [(86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0)],
    np.float32,
)

ROWS = 9  # actions in a column
SHOWN_ACTIONS = 2 * ROWS
SHOWN_EDGES = 8
LEAST_STEPS = 10  # initial width of the curve in env_steps
LEAST_RANGE = 0.2  # least height of the curve, so that small changes look small


class Captions(NamedTuple):
    """The constant texts of a film."""

    title: str  # the game
    subtitle: str  # the agent
    action_names: Sequence[str]
    decodes: bool = False  # whether a column on the left shows the frame predicted by the model


class Artist:
    """Draws moments one after the other, and stores the values for their curve."""

    def __init__(self, captions: Captions) -> None:
        self.captions = captions
        self.values: list[float] = []
        self.network_values: list[float] = []
        self.rewards: list[tuple[int, float]] = []  # env_step and reward, if it is not 0

    def draw(self, moment: "Moment") -> Image.Image:
        """Draws the picture of a moment."""
        thought = moment.thought
        if thought is not None:
            self.values.append(thought.value)
            self.network_values.append(thought.network_value)
        if moment.reward:
            self.rewards.append((moment.env_step, moment.reward))
        image = Image.new("RGB", SIZE, BACKGROUND)
        brush = ImageDraw.Draw(image)
        draw_header(brush, self.captions, moment)
        draw_game(image, moment.frame)
        for box in (VALUE, VISITS, PATH):
            brush.rounded_rectangle(box, 6, fill=PANEL)
        draw_value(brush, thought)
        draw_curve(image, (self.values, self.network_values), self.rewards)
        if thought is None:
            centre = ((VISITS[0] + VISITS[2]) // 2, (VISITS[1] + VISITS[3]) // 2)
            brush.text(centre, ending_text(moment), TEXT, font(22), anchor="mm")
        else:
            draw_visits(brush, thought, self.captions.action_names)
            draw_path(brush, thought, self.captions.action_names)
        return beside_expected(image, moment) if self.captions.decodes else image


def draw_header(brush: ImageDraw.ImageDraw, captions: Captions, moment: "Moment") -> None:
    """Draws game and agent on the left, and the progress on the right."""
    left, right, line = GAME[0], VALUE[2], 34
    title = fitted(captions.title, 20, 300)
    brush.text((left, line), title, TEXT, font(20), anchor="ls")
    left += round(font(20).getlength(title)) + 14
    brush.text((left, line), fitted(captions.subtitle, 13, 600 - left), DIM, font(13), anchor="ls")
    brush.text((right, line), points(moment.score), TEXT, font(20), anchor="rs")
    brush.text((right - 110, line), "score", DIM, font(13), anchor="rs")
    brush.text((right - 190, line), f"{moment.env_step:,}", TEXT, font(20), anchor="rs")
    brush.text((right - 262, line), "env_step", DIM, font(13), anchor="rs")


def beside_expected(image: Image.Image, moment: "Moment") -> Image.Image:
    """Adds a column on the left with the frame predicted by the model."""
    whole = Image.new("RGB", (COLUMN + SIZE[0], SIZE[1]), BACKGROUND)
    whole.paste(image, (COLUMN, 0))
    brush = ImageDraw.Draw(whole)
    left, top, right, bottom = GAME
    brush.text((left, 34), "expected frame", TEXT, font(20), anchor="ls")
    about = "decoded from the state before and its action"
    brush.text((left, bottom + 22), about, DIM, font(13), anchor="ls")
    if moment.expected is None:
        brush.rectangle((left, top, right - 1, bottom - 1), fill=PANEL)
        centre = ((left + right) // 2, (top + bottom) // 2)
        brush.text(centre, "no action yet", DIM, font(13), anchor="mm")
    else:
        draw_game(whole, moment.expected)
    return whole


def draw_game(image: Image.Image, frame: np.ndarray) -> None:
    """Draws the frame [C, H, W], as large as the box allows without blurring."""
    left, top, right, bottom = GAME
    pixels = to_rgb(frame)
    height, width = pixels.shape[:2]
    scale = min((right - left) / width, (bottom - top) / height)
    enlarged = math.floor(scale) if scale >= 1 else scale  # whole pixels remain square
    size = max(1, round(width * enlarged)), max(1, round(height * enlarged))
    resample = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    at = (left + right - size[0]) // 2, (top + bottom - size[1]) // 2
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=PANEL)
    image.paste(Image.fromarray(pixels).resize(size, resample), at)


def to_rgb(frame: np.ndarray) -> np.ndarray:
    """Converts a frame [C, H, W] to [H, W, 3] uint8: grey, RGB, or a colour for each plane.

    Each number of a vector is a shade from black (at most -1) to white (at least 1).
    """
    if frame.dtype != np.uint8:
        frame = ((frame.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    channels = len(frame)
    if channels == 3:
        return np.ascontiguousarray(frame.transpose(1, 2, 0))
    if channels == 1:
        return np.repeat(frame[0][:, :, None], 3, axis=2)
    colours = PLANES[np.arange(channels) % len(PLANES)]
    painted = (frame[..., None] / np.float32(255) * colours[:, None, None]).max(0)
    rgb: np.ndarray = painted.astype(np.uint8)
    return rgb


def draw_value(brush: ImageDraw.ImageDraw, thought: "Thought | None") -> None:
    """Draws the numbers beside the curve."""
    left, top = VALUE[0] + 14, VALUE[1]
    brush.text((left, top + 26), "value", DIM, font(13), anchor="ls")
    if thought is None:
        return
    brush.text((left, top + 60), number(thought.value), SEARCH, font(30), anchor="ls")
    searches = thought.q is None
    whose = "by the search" if searches else "largest Q of an action"
    brush.text((left, top + 80), whose, SEARCH, font(12), anchor="ls")
    alone = f"{number(thought.network_value)} by the network"
    brush.text((left, top + 100), alone, NETWORK, font(12), anchor="ls")
    depth = f"search depth {thought.depth}" if searches else "one step ahead"
    brush.text((left, top + 120), depth, DIM, font(12), anchor="ls")


def draw_curve(
    image: Image.Image,
    curves: tuple[Sequence[float], Sequence[float]],
    rewards: Sequence[tuple[int, float]],
) -> None:
    """Draws the values of plans and network since the start, with rewards below them."""
    of_search, of_network = (np.array(values, np.float64) for values in curves)
    low, high = value_range(np.concatenate([of_search, of_network]))
    span = max(len(of_search) - 1, LEAST_STEPS)
    # Drawn at twice the size and shrunk, which makes the lines smooth.
    margin, fine = 8, 2
    width, height = CURVE[2] - CURVE[0], CURVE[3] - CURVE[1]
    canvas = Image.new("RGB", (fine * (width + 2 * margin), fine * (height + 2 * margin)), PANEL)
    brush = ImageDraw.Draw(canvas)

    def at(step: float, value: float) -> tuple[float, float]:
        right = margin + width * step / span
        down = margin + height * (high - value) / (high - low)
        return fine * right, fine * down

    brush.line((at(0, low), at(0, high)), FAINT, fine)
    if low <= 0 <= high:
        brush.line((at(0, 0), at(span, 0)), FAINT, fine)
    for step, reward in rewards:
        x, _ = at(step, low)
        base, tip = (15, 10) if reward > 0 else (10, 15)
        base, tip = (fine * (height + y) for y in (base, tip))
        corners = ((x - 3 * fine, base), (x + 3 * fine, base), (x, tip))
        brush.polygon(corners, GAIN if reward > 0 else LOSS)
    stride = 1 + span // width
    for values, colour, thickness in ((of_network, NETWORK, 1.0), (of_search, SEARCH, 1.5)):
        for points in unbroken(values, stride):
            if len(points) > 1:
                line = [at(*point) for point in points]
                brush.line(line, colour, round(fine * thickness), joint="curve")
    if len(of_search) and math.isfinite(of_search[-1]):
        x, y = at(len(of_search) - 1, of_search[-1])
        brush.ellipse((x - 7, y - 7, x + 7, y + 7), SEARCH)
    image.paste(canvas.reduce(fine), (CURVE[0] - margin, CURVE[1] - margin))
    for value, y in ((high, CURVE[1]), (low, CURVE[3])):
        ImageDraw.Draw(image).text((CURVE[0] - 6, y), number(value), DIM, font(11), anchor="rm")


def value_range(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest of the finite values, with a minimum distance."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    missing = max(0.0, LEAST_RANGE - (high - low)) / 2
    return low - missing, high + missing


def unbroken(values: np.ndarray, stride: int) -> list[list[tuple[int, float]]]:
    """Every `stride`-th value with its env_step, split at values that are not finite."""
    pieces: list[list[tuple[int, float]]] = [[]]
    for step in range(0, len(values), stride):
        if math.isfinite(values[step]):
            pieces[-1].append((step, float(values[step])))
        else:
            pieces.append([])
    return pieces


def draw_visits(brush: ImageDraw.ImageDraw, thought: "Thought", names: Sequence[str]) -> None:
    """Draws a bar for each action, its share of all visits, with the network's policy as a tick.

    Without a search bars show Q, from the smallest to the largest.
    """
    left, top, right, bottom = VISITS[0] + 14, VISITS[1] + 34, VISITS[2] - 14, VISITS[3] - 8
    if thought.q is None:
        total, best, amounts = max(1, int(thought.visits.sum())), "most visited", thought.visits
        title, shares, room = f"visits of {total} simulations", thought.visits / total, 38
    else:
        best, amounts = "best", thought.q
        title, shares, room = "Q of each action", within(thought.q), 72
    shown = shown_actions(amounts)
    title += f", the {len(shown)} {best} of {len(names)}" if len(shown) < len(names) else ""
    brush.text((left, VISITS[1] + 23), title, DIM, font(13), anchor="ls")
    legend = "policy of the network"
    brush.text((right, VISITS[1] + 23), legend, NETWORK, font(12), anchor="rs")
    tick = right - font(12).getlength(legend) - 8
    brush.line((tick, VISITS[1] + 12, tick, VISITS[1] + 24), NETWORK, 2)

    columns = 1 if len(shown) <= ROWS else 2
    rows = -(-len(shown) // columns)
    height = min(50, (bottom - top) // rows)
    half = min(12, height // 3)  # relative to a bar's thickness
    width = (right - left - 24 * (columns - 1)) // columns
    name_width = 150 if columns == 1 else 104
    for place, action in enumerate(shown):
        x = left + (width + 24) * (place // rows)
        middle = top + height * (place % rows) + height // 2
        is_chosen = action == thought.action
        if is_chosen:
            brush.polygon(((x, middle - 5), (x + 8, middle), (x, middle + 5)), CHOSEN)
        colour = CHOSEN if is_chosen else TEXT
        name = fitted(names[action], 13, name_width - 16)
        brush.text((x + 14, middle), name, colour, font(13), anchor="lm")
        brush.text((x + width, middle), amount(amounts[action]), colour, font(13), anchor="rm")
        bar, end = x + name_width, x + width - room
        brush.rectangle((bar, middle - half, end, middle + half), fill=INSET)
        if shares[action] > 0:
            tip = bar + round((end - bar) * float(shares[action]))
            brush.rectangle(
                (bar, middle - half, tip, middle + half), CHOSEN if is_chosen else SEARCH
            )
        share = float(thought.policy[action])
        if math.isfinite(share):
            at = bar + round((end - bar) * share)
            brush.line((at, middle - half - 2, at, middle + half + 2), NETWORK, 2)


def within(values: np.ndarray) -> np.ndarray:
    """Values as shares of their range; 1 if all are equal, 0 for values that are not finite."""
    low, high = values.min(), values.max()
    if not (math.isfinite(low) and math.isfinite(high)):
        return np.zeros_like(values)
    shares: np.ndarray = (values - low) / (high - low) if high > low else np.ones_like(values)
    return shares


def amount(value: np.number) -> str:
    """Formats a count of visits or a Q value."""
    return f"{value:,}" if isinstance(value, np.integer) else number(float(value))


def shown_actions(amounts: np.ndarray) -> list[int]:
    """The actions with the largest amounts that fit, in their original order."""
    largest = np.argsort(-amounts, kind="stable")[:SHOWN_ACTIONS]
    return sorted(largest.tolist())


def draw_path(brush: ImageDraw.ImageDraw, thought: "Thought", names: Sequence[str]) -> None:
    """Draws the best path as a table. Steps with a common sum of rewards share a box."""
    left, top, right, bottom = PATH
    path = thought.best_path
    lines = {"value prefix": top + 34, "reward": top + 52}
    if thought.q is None:
        lines["visits"] = top + 69
    shown = path[:SHOWN_EDGES]
    more = f" ({len(shown)} of {len(path)})" if len(shown) < len(path) else ""
    brush.text((left + 12, top + 15), f"best path{more}", TEXT, font(13), anchor="lm")
    for name, line in lines.items():
        brush.text((left + 12, line), name, DIM, font(12), anchor="lm")
    first, width = left + 128, (right - left - 132) // SHOWN_EDGES
    scale = max([1.0, *(abs(e.value_prefix) for e in path if math.isfinite(e.value_prefix))])
    starts = [place for place, edge in enumerate(shown) if edge.restarts]
    for start, end in pairwise([*starts, len(shown)]):
        box = (first + width * start + 2, top + 4, first + width * end - 2, bottom - 4)
        brush.rounded_rectangle(box, 5, fill=INSET)
    for place, edge in enumerate(shown):
        x, end = first + width * place + 10, first + width * (place + 1) - 10
        colour = TEXT if place else CHOSEN
        name = fitted(names[edge.action], 12, end - x)
        brush.text((x, top + 15), name, colour, font(12), anchor="lm")
        line = lines["value prefix"]
        brush.text((x, line), number(edge.value_prefix), TEXT, font(12), anchor="lm")
        draw_signed(brush, (x + 42, line - 5, end, line + 5), edge.value_prefix / scale)
        brush.text((x, lines["reward"]), signed(edge.reward), DIM, font(12), anchor="lm")
        if "visits" in lines:
            brush.text((x, lines["visits"]), f"{edge.visits:,}", DIM, font(12), anchor="lm")


def draw_signed(brush: ImageDraw.ImageDraw, box: Box, share: float) -> None:
    """Draws a bar from the middle of the box: to its right end for 1, to its left end for -1."""
    left, top, right, bottom = box
    middle = (left + right) // 2
    if math.isfinite(share):
        tip = middle + round((right - middle) * share)
        ends = (min(middle, tip), top, max(middle, tip), bottom)
        brush.rectangle(ends, fill=GAIN if share > 0 else LOSS)
    brush.line((middle, top - 2, middle, bottom + 2), FAINT)


def ending_text(moment: "Moment") -> str:
    """The end of the game in words."""
    if moment.ending == "over":
        return "The game is over."
    how = "Cut" if moment.ending == "cut" else "Stopped"
    return f"{how} after {moment.env_step:,} env_steps."


def number(value: float) -> str:
    """Formats a number in at most 9 characters."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1e7:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def points(score: float) -> str:
    """Formats a score, without decimals if it is an integer."""
    is_whole = math.isfinite(score) and abs(score) < 1e7 and score == int(score)
    return f"{int(score):,}" if is_whole else number(score)


def signed(value: float) -> str:
    """Formats a score with a plus sign if it is positive."""
    text = number(value)
    return f"+{text}" if value > 0 and text != "0.00" else text


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font in Pillow, which has little more than ASCII."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow without FreeType"
    return found


@cache
def fitted(text: str, size: int, width: int) -> str:
    """The text, shortened in the middle if it is too long."""
    kept, shortened = len(text), text
    while kept > 2 and font(size).getlength(shortened) > width:
        kept -= 1
        shortened = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return shortened
