"""Control characters and direction marks are always escaped in output."""

import json
import tomllib
import unicodedata
import warnings

import pytest

from ezcli import console
from ezcli.reports.formats import one_line
from ezcli.words import json_text, spelt_out
from tests.reports.helpers import make_group, noisy

STEERING = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]),
    "\u061c",
    "\u200e",
    "\u200f",
    "\u2028",
    "\u2029",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]
LETTERS = "Ünïcode 中 \N{GRINNING FACE} \\ \" 'x'"


def is_harmless(text):
    return not (set(text) & (set(STEERING) - {"\n"}))


def test_the_list_is_all_of_unicode():
    """Controls, separators, and every mark with a direction of its own."""
    directions = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    found = [
        c
        for c in map(chr, range(0x11_0000))
        if unicodedata.category(c) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(c) in directions
        or c in "\u061c\u200e\u200f"
    ]
    assert sorted(found) == sorted(STEERING)


@pytest.mark.parametrize("character", STEERING, ids=lambda c: f"U+{ord(c):04X}")
def test_every_output_spells_it_out(character):
    text = f"a{character}b"
    for made in (json_text([text]), spelt_out(f"x{character}".replace("\n", "")), one_line(text)):
        assert is_harmless(made)
    assert json.loads(json_text([text, {text: text}])) == [text, {text: text}]
    assert is_harmless(console.harmless(text).replace("\t", ""))


def test_other_letters_stay():
    assert json.loads(json_text(LETTERS)) == LETTERS
    assert "中" in json_text(LETTERS)
    assert one_line(LETTERS) == LETTERS
    assert json.loads(json_text("\ud800")) == "\ufffd"


def test_toml_still_reads():
    text = f'name = "a{chr(0x9B)}31m{chr(0x202E)}"\n'
    assert tomllib.loads(spelt_out(text)) == tomllib.loads(text)


def test_json_holds_no_number_that_is_not_finite():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text([float("nan")])


EVIL = "evil\x1b[31m\x9b2J\u202eabc\x7f"


@pytest.fixture
def evil_ablation(tmp_path):
    path = tmp_path / f"{EVIL}.toml"
    path.write_text('title = "T"\nwhy = "W"\n[search]\nnum_simulations = 2\n')
    return path


def test_a_config_with_such_names_is_shown_harmlessly(ez, tmp_path):
    for more in ([], ["--json"], ["--explain"]):
        code, out, err = ez(
            "config", "show", "--preset", "atari-cpu", "--set", f"env.game={EVIL}", *more
        )
        assert is_harmless(out + err)
        assert code == 2  # no such game
    from ezcli.config.files import preset_path

    preset = tmp_path / "mine.toml"
    text = preset_path("catch").read_text()
    preset.write_text(
        text.replace('name = "catch"', 'name = "custom"\ntarget = "g\\u202Eame.py:A"\ncode = {}', 1)
    )
    for more in ([], ["--json"], ["--explain"]):
        _, out, err = ez("config", "show", "--preset", str(preset), *more)
        assert is_harmless(out + err)


@pytest.mark.parametrize("more", [["--dry-run"], ["--dry-run", "--json"], ["--print-commands"]])
def test_an_arm_with_such_a_name_is_planned_harmlessly(more, ez, evil_ablation):
    drop = (
        "ablate",
        "--env",
        "catch",
        "--preset",
        "smoke",
        "--drop",
        str(evil_ablation),
        "--seeds",
        "1",
    )
    _, out, err = ez(*drop, *more)
    assert is_harmless(out + err)


@pytest.mark.slow
def test_plots_hand_no_such_name_to_matplotlib(tmp_path, capfd):
    from ezcli.reports import plots
    from ezcli.reports.choice import Choice
    from ezcli.reports.published import DEFAULT_AGAINST, agents_named
    from ezcli.reports.report import build

    group = make_group(noisy({}), games=("pong", "qbert"))
    arms = [arm if arm.name == "full" else arm._replace(name=EVIL) for arm in group.arms]
    report = build(
        [group._replace(arms=tuple(arms))], (), agents_named(DEFAULT_AGAINST), Choice(resamples=100)
    )
    (section,) = report.sections
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a glyph that the font lacks
        for number, plot in enumerate(plots.plots(section, list(report.agents))):
            plot.figure.savefig(tmp_path / f"{number}.png")
    assert is_harmless("".join(capfd.readouterr()))
