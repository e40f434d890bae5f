"""The tables of published scores reproduce the aggregates in their sources."""

import csv
import tomllib
from importlib.resources import files

import numpy as np
import pytest

from ezcli.envs.atari_suite import ATARI_100K
from ezcli.envs.minatar_suite import REFERENCES
from ezcli.envs.suites import SUITES
from ezcli.reports.published import (
    DEFAULT_AGAINST,
    Score,
    agents_beside,
    agents_named,
    published_agents,
)
from tests.failing import fails

# Mean and median as printed in the papers, written down apart from the table.
IN_PAPERS = {
    "efficientzero": (1.943, 1.090),
    "muzero": (0.562, 0.227),
    "bbf": (2.247, 0.917),
    "spr": (0.616, 0.396),
    "diamond": (1.459, 0.373),
}


def mean_and_median(name):
    values = list(published_agents()[name].normalised.values())
    return np.mean(values), np.median(values)


def agents_on(title):
    """Published agents of one benchmark, by name."""
    return {
        name: agent for name, agent in published_agents().items() if agent.benchmark.title == title
    }


@pytest.mark.parametrize("name", agents_on("Atari 100k"))
def test_every_column_gives_its_printed_numbers(name):
    about = published_agents()[name].about
    assert mean_and_median(name) == pytest.approx(about.recomputed or about.printed, abs=6e-4)


def test_only_one_table_does_not_give_what_its_source_prints():
    agents = published_agents().values()
    (odd,) = [agent for agent in agents if agent.about.recomputed]
    assert odd.name == "efficientzero-v2"
    assert odd.about.recomputed == (2.680, 1.235)
    assert all(f"{number:.3f}" in odd.about.source for number in odd.about.printed)


@pytest.mark.parametrize("name", IN_PAPERS)
def test_the_numbers_of_the_papers(name):
    assert published_agents()[name].about.printed == IN_PAPERS[name]
    assert mean_and_median(name) == pytest.approx(IN_PAPERS[name], abs=6e-4)


def test_every_agent_of_atari_100k_has_the_26_games():
    for agent in agents_on("Atari 100k").values():
        assert tuple(agent.raw) == tuple(agent.normalised) == ATARI_100K
        assert agent.by_budget == {}


def test_every_agent_has_scores_and_a_source():
    for agent in published_agents().values():
        assert all(np.isfinite(list(agent.raw.values())))
        assert agent.about.title
        assert agent.about.source
        assert agent.about.protocol


def test_one_on_the_scale_of_minatar_is_the_best_published_score_after_five_million_frames():
    agents = [a for name, a in agents_on("MinAtar").items() if name != "gymnax-ppo"]
    for game, reference in REFERENCES.items():
        assert reference.one == max(a.raw.get(game, 0.0) for a in agents)
        best = max(agents, key=lambda a: a.raw.get(game, 0.0))
        assert best.normalised[game] == 1


def test_published_scores_of_minatar_keep_their_provenance():
    agents = agents_on("MinAtar")
    assert agents["minatar-dqn"].by_budget[100_000]["minatar-breakout"] == Score(
        100_000, 4.57, None, 30, "digitised"
    )
    assert agents["minatar-dqn"].by_budget[100_000]["minatar-asterix"].reading == "by eye"
    ppo = agents["gymnax-ppo"].by_budget
    assert ppo[1_000_000]["minatar-breakout"] == Score(959_936, 16.63, None, 1, "raw")
    assert ppo[100_000] == {}  # its first score is of 319,936 frames
    assert agents["minatar-team-dqn"].raw.keys() == {"minatar-asterix", "minatar-breakout"}


def test_scores_and_sources_are_of_the_same_agents():
    folder = files("ezcli.reports")
    columns = next(csv.reader((folder / "published.csv").read_text().splitlines()))
    assert columns == ["game", *tomllib.loads((folder / "published.toml").read_text())]
    minatar = csv.DictReader((folder / "published_minatar.csv").read_text().splitlines())
    abouts = tomllib.loads((folder / "published_minatar.toml").read_text())
    assert list(dict.fromkeys(row["agent"] for row in minatar)) == list(abouts)
    titles = [agent.about.title for agent in published_agents().values()]
    assert len(set(titles)) == len(titles)


def test_a_score_is_normalised_by_hand():
    """Pong: random -20.7, human 14.6; EfficientZero 20.1."""
    agent = published_agents()["efficientzero"]
    assert agent.raw["pong"] == 20.1
    assert agent.normalised["pong"] == pytest.approx((20.1 + 20.7) / (14.6 + 20.7))


def test_agents_come_once_in_the_order_asked_for():
    found = agents_named(["bbf", "spr", "bbf"])
    assert [agent.name for agent in found] == ["bbf", "spr"]
    assert [agent.name for agent in agents_named(DEFAULT_AGAINST)] == list(DEFAULT_AGAINST)
    assert agents_named([]) == []


@pytest.mark.parametrize(
    ("preset", "agents"),
    [
        ("spr-control", ["spr"]),
        ("atari-cpu-v2", ["efficientzero-v2"]),
        ("efficientzero-v2", ["efficientzero-v2"]),
        ("atari100k", []),
        ("mine.toml", []),
    ],
)
def test_the_agent_that_a_preset_follows_stands_beside_its_runs(preset, agents):
    found = agents_beside([preset, preset])
    assert [agent.name for agent in found] == [*DEFAULT_AGAINST, *agents]


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_presets_that_follow_an_agent_are_of_their_suite(suite):
    followed = suite.benchmark.likenesses if suite.benchmark else {}
    assert set(followed) <= set(suite.presets)
    assert set(followed.values()) <= set(published_agents())


@pytest.mark.parametrize(
    ("name", "near"), [("eficientzero", "efficientzero"), ("bfb", "bbf"), ("dimond", "diamond")]
)
def test_an_unknown_agent_is_named_with_the_nearest(name, near):
    with fails("EZ-UNKNOWN-PUBLISHED-AGENT", repr(name), repr(near)):
        agents_named(["spr", name])
