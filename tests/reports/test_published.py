"""The table of published scores gives again what its sources print."""

import csv
import tomllib
from importlib.resources import files

import numpy as np
import pytest

from ezcli.envs.atari_suite import ATARI_100K
from ezcli.reports.published import DEFAULT_AGAINST, agents_named, published_agents
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


@pytest.mark.parametrize("name", published_agents())
def test_every_column_gives_its_printed_numbers(name):
    assert mean_and_median(name) == pytest.approx(published_agents()[name].about.printed, abs=6e-4)


@pytest.mark.parametrize("name", IN_PAPERS)
def test_the_numbers_of_the_papers(name):
    assert published_agents()[name].about.printed == IN_PAPERS[name]
    assert mean_and_median(name) == pytest.approx(IN_PAPERS[name], abs=6e-4)


def test_every_agent_has_the_26_games_and_a_source():
    for agent in published_agents().values():
        assert tuple(agent.raw) == tuple(agent.normalised) == ATARI_100K
        assert all(np.isfinite(list(agent.raw.values())))
        assert agent.about.title
        assert agent.about.source
        assert agent.about.protocol


def test_scores_and_sources_are_of_the_same_agents():
    folder = files("ezcli.reports")
    columns = next(csv.reader((folder / "published.csv").read_text().splitlines()))
    assert columns == ["game", *tomllib.loads((folder / "published.toml").read_text())]
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
    ("name", "near"), [("eficientzero", "efficientzero"), ("bfb", "bbf"), ("dimond", "diamond")]
)
def test_an_unknown_agent_is_named_with_the_nearest(name, near):
    with fails("EZ-UNKNOWN-PUBLISHED-AGENT", repr(name), repr(near)):
        agents_named(["spr", name])
