"""The tables of a report: content, exclusions and notes."""

import numpy as np
import pytest

from ezcli.config.resolve import with_changes
from ezcli.envs.atari_suite import ATARI, ATARI_100K
from ezcli.reports.choice import Choice
from ezcli.reports.compare import scale_of
from ezcli.reports.comparison_tables import DO_NOT_OVERLAP
from ezcli.reports.formats import cell_text, key_of
from ezcli.reports.groups import Point, of_games
from ezcli.reports.published import DEFAULT_AGAINST, agents_named, published_agents
from ezcli.reports.report import build, not_beside, usual_agents
from ezcli.reports.statistics import Estimate, estimates
from ezcli.reports.tables import EQUAL_RUNS, Interval, Number, Probability, raw_digits
from tests.failing import fails
from tests.reports.helpers import make_group, noisy

SEVEN = ("alien", "amidar", "assault", "asterix", "bank_heist", "battle_zone", "boxing")
DROPS = ("value-prefix", "consistency")
ATARI_AGENTS = [
    name for name, agent in published_agents().items() if agent.benchmark is ATARI.benchmark
]


def made(*groups, said=(), against=DEFAULT_AGAINST, **choice):
    return build(groups, said, agents_named(against), Choice(resamples=100, **choice))


def tables(report):
    """The tables of a report's only section by key; several of one key in a list."""
    (section,) = report.sections
    found = {}
    for table in section.tables:
        found.setdefault(table.key, []).append(table)
    return found


def keys(report):
    (section,) = report.sections
    return [table.key for table in section.tables]


def cells(table):
    return {key_of(row[0]): [cell_text(cell) for cell in row[1:]] for row in table.rows}


# ------------------------------------------------------------------ sections and tables


def test_one_agent_on_some_games():
    report = made(make_group(noisy({}), drops=(), vary=(), games=SEVEN))
    assert keys(report) == ["aggregates", "scores", "beside", "sources"]
    found = tables(report)
    assert found["aggregates"][0].title == "Human-normalised over 7 of 26 games, 3 runs each"
    assert found["scores"][0].title == "full: 7 of 26 games"
    assert [row[0] for row in found["scores"][0].rows] == list(SEVEN)
    assert found["scores"][0].columns == ("game", "runs", "score", "human-normalised")


def test_a_study_on_several_games():
    report = made(make_group(noisy({}), drops=DROPS, factorial=True, games=("pong", "qbert")))
    assert keys(report) == [
        "aggregates",
        "differences",
        "improvement",
        "factorial",
        *["scores"] * 4,
        "differences_by_game",
        "beside",
        "sources",
    ]


def test_a_study_on_one_game_has_one_table_of_scores():
    report = made(make_group(noisy({}), vary=("search.num_simulations=50,8",)), against=())
    assert keys(report) == ["differences", "improvement", "ranking", "curve", "curve", "scores"]
    assert tables(report)["scores"][0].title == "pong: scores"
    assert len(cells(tables(report)["scores"][0])) == 4


def test_a_game_without_a_human_score_stands_alone():
    group = make_group(noisy({}), env="catch", preset_name="catch")
    report = made(group)
    assert keys(report) == ["differences", "improvement", "scores"]
    found = tables(report)
    assert found["scores"][0].columns == ("arm", "runs", "score")
    assert found["differences"][0].title == "Minus the full agent: raw score, catch"


def test_games_that_cannot_be_averaged_have_scores_only():
    report = made(make_group(noisy({}), games=("tetris", "et")))
    assert keys(report) == ["scores", "scores"]
    assert tables(report)["scores"][0].title == "full: 2 games"


def test_a_study_without_any_run():
    report = made(make_group(noisy({}), skip=lambda *_: True))
    (section,) = report.sections
    assert keys(report) == ["scores", "missing"]
    assert {row[1:] for row in section.tables[0].rows} == {("0", None)}
    assert section.notes == ("No run has a score yet.",)


def test_groups_keep_their_order_and_what_was_left_out_is_said():
    one = make_group(noisy({}), name="b")
    other = make_group(noisy({}), name="a")._replace(kind="agent")
    report = made(one, other, said=["x is left out: it is killed."])
    assert [section.title for section in report.sections] == ["Study b", "Agent a"]
    assert report.notes == ("x is left out: it is killed.",)


# ------------------------------------------------------------------ numbers


def test_aggregates_are_of_the_games_that_all_arms_have():
    group = make_group(
        noisy({}),
        games=("pong", "qbert", "alien"),
        skip=lambda arm, game, _: game == "alien" and arm != "full",
    )
    table = tables(made(group))["aggregates"][0]
    assert table.title == "Human-normalised over 2 of 26 games, 3 runs each"
    full = next(arm for arm in group.arms if arm.name == "full")
    scores = [
        np.array([run.normalised(run.score) for run in full.runs[game].values()])
        for game in scale_of(group).games
    ]
    expected = estimates(scores, np.random.default_rng(0), resamples=100)
    assert table.rows[0][1:] == tuple(Interval(estimate, 3) for estimate in expected.values())
    values = [published_agents()["efficientzero"].normalised[game] for game in ("pong", "qbert")]
    name, mean, median, *rest = table.rows[2]
    assert name == "EfficientZero †"
    assert (mean.value, median.value) == pytest.approx((np.mean(values), np.median(values)))
    assert rest == [None, None]  # over runs, of which nothing is published


def test_the_title_of_aggregates_says_the_runs_of_every_arm():
    group = make_group(
        noisy({}), seeds=range(5), skip=lambda arm, game, seed: arm == "full" and seed > 1
    )
    (table,) = tables(made(group))["aggregates"]
    assert table.title == "Human-normalised over 1 of 26 games, 2 to 5 runs each"


def test_a_game_without_a_human_score_has_raw_scores_beside_others():
    found = tables(made(make_group(lambda *_: 1.0, games=("pong", "tetris"))))
    full = cells(found["scores"][0])
    assert full["tetris"] == ["3", "1.00", "–"]
    assert full["pong"][2] == "1.000"
    assert found["scores"][0].notes == (EQUAL_RUNS,)
    assert cells(found["beside"][0])["tetris"][0] == "–"


def test_a_game_without_published_scores_is_named():
    group = make_group(noisy({}), games=("pong", "zaxxon"))
    (table,) = tables(made(group))["aggregates"]
    assert list(cells(table)) == ["full", "value-prefix"]
    assert table.notes[-1] == "Not compared with published scores: there are none for zaxxon."
    assert "published scores" not in " ".join(
        tables(made(group, against=()))["aggregates"][0].notes
    )
    (table,) = tables(made(group, games=("pong",)))["aggregates"]
    assert len(table.rows) == 4
    assert "zaxxon" not in " ".join(table.notes)


def test_an_arm_without_runs_is_a_row_without_numbers():
    group = make_group(noisy({}), drops=DROPS, skip=lambda arm, *_: arm == "consistency")
    found = tables(made(group))
    assert cells(found["aggregates"][0])["consistency"] == ["–"] * 4
    assert cells(found["scores"][0])["consistency"] == ["0", "–", "–"]
    assert "consistency" not in cells(found["differences"][0])


def test_missing_cells_are_shown():
    group = make_group(
        noisy({}),
        games=("pong", "qbert"),
        skip=lambda arm, game, seed: game == "qbert" and seed != 1,
    )
    found = tables(made(group))
    assert found["scores"][0].title == "full: 2 of 26 games"
    assert cells(found["scores"][0])["qbert"][0] == "1"
    table = found["missing"][0]
    assert table.title == "Missing: 4 runs"
    assert table.rows == (
        ("full", "qbert", "0, 2", "it has not started"),
        ("− value prefix", "qbert", "0, 2", "it has not started"),
    )
    assert table.notes == ("Continue with: ez ablate --study mine",)


def test_a_game_without_a_score_is_a_row():
    group = make_group(
        noisy({}), drops=(), games=("pong", "qbert"), skip=lambda a, game, s: game == "qbert"
    )
    table = tables(made(group))["scores"][0]
    assert table.title == "full: 1 of 26 games"
    assert cells(table)["qbert"] == ["0", "–", "–"]
    assert cells(tables(made(group))["beside"][0])["qbert"][0] == "–"


def test_the_way_on_can_be_pasted():
    group = make_group(noisy({}), skip=lambda *_: True, name="my study; rm -r x")
    (note,) = tables(made(group))["missing"][0].notes
    assert note == "Continue with: ez ablate --study 'my study; rm -r x'"
    assert tables(made(group._replace(go_on="")))["missing"][0].notes == ()


def test_one_seed_has_no_interval():
    found = tables(made(make_group(noisy({}), games=("pong", "qbert"), seeds=(3,))))
    assert "P(better)" not in found["improvement"][0].columns
    for key in ("aggregates", "differences", "improvement", "scores", "differences_by_game"):
        for table in found[key]:
            intervals = [c for row in table.rows for c in row if isinstance(c, Interval)]
            assert intervals
            assert {(c.estimate.low, c.estimate.high) for c in intervals} == {(None, None)}
            assert "[" not in "".join(cell_text(c) for row in table.rows for c in row)
    assert cells(found["differences"][0])["value-prefix"][2:] == ["–", "one pair: no interval"]
    assert found["differences"][0].notes == (
        "A single pair has no interval and no p.",
        "Paired by seed within each game.",
    )


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("games", [("pong",), ("pong", "qbert")])
@pytest.mark.parametrize("factorial", [False, True])
def test_notes_explain_what_is_shown_and_nothing_else(seeds, spread, games, factorial):
    group = make_group(
        noisy({"consistency": -0.3}, spread),
        drops=DROPS,
        vary=() if factorial else ("search.num_simulations=8,50",),
        factorial=factorial,
        games=games,
        seeds=seeds,
    )
    for table in made(group).sections[0].tables:
        shown = [cell for row in table.rows for cell in row]
        found = [cell.estimate for cell in shown if isinstance(cell, Interval)]
        notes = " ".join(table.notes)
        assert ("Brackets" in notes) == any(e.low is not None for e in found), table.key
        assert ("ingle" in notes) == any(e.runs == 1 for e in found), table.key
        assert ("without brackets" in notes) == any(e.does_not_vary for e in found), table.key
        assert ("p: " in notes) == any(isinstance(cell, Probability) for cell in shown), table.key
        assert ("P(better): " in notes) == ("P(better)" in table.columns), table.key


def test_one_pair_on_one_game_has_no_table_of_probabilities():
    group = make_group(noisy({}), env="catch", preset_name="catch", seeds=(0,))
    assert keys(made(group)) == ["differences", "scores"]


def test_runs_that_do_not_overlap_are_no_certainty():
    group = make_group(noisy({"value-prefix": -9.0}), env="catch", preset_name="catch")
    (table,) = tables(made(group))["improvement"]
    assert cells(table) == {"value-prefix": ["0.000"]}
    assert table.notes[0] == DO_NOT_OVERLAP


@pytest.mark.parametrize(
    ("played", "why"),
    [
        ({"env": "catch", "preset_name": "catch"}, "catch is not of Atari 100k"),
        ({"games": ("tetris",)}, "its scores are raw, not human-normalised"),
        ({"games": ("pong",)}, None),
        ({"games": ("pong", "tetris")}, None),
    ],
)
def test_what_does_not_stand_beside_the_scores_is_said(played, why):
    report = made(make_group(noisy({}), **played))
    expected = f"Study mine is not compared with EfficientZero and EfficientZero, re-run: {why}."
    found = not_beside(report, agents_named(("efficientzero", "efficientzero-rerun")))
    assert found == ([] if why is None else [expected])


@pytest.mark.parametrize(
    ("of_study", "of_runs"), [("spr-control", "studies/mine/preset.toml"), ("", "spr-control")]
)
def test_the_preset_of_a_study_or_of_its_runs_decides_which_agents_are_shown(of_study, of_runs):
    group = make_group(noisy({}), games=("pong",))
    runs = {
        game: {seed: run._replace(preset=of_runs) for seed, run in seeds.items()}
        for game, seeds in group.arms[0].runs.items()
    }
    arms = [group.arms[0]._replace(runs=runs)]
    agents = usual_agents([group._replace(preset=of_study, arms=arms)])
    assert [agent.name for agent in agents] == [*DEFAULT_AGAINST, "spr"]


def test_absent_agents_of_several_benchmarks_have_a_reason_each():
    report = made(make_group(noisy({}), games=("tetris",)))
    found = not_beside(report, agents_named(("minatar-dqn", "efficientzero")))
    assert [line.partition("compared with ")[2] for line in found] == [
        "DQN at 5M frames: tetris is not of MinAtar.",
        "EfficientZero: its scores are raw, not human-normalised.",
    ]


def test_differences_say_pairs_p_and_verdict():
    group = make_group(noisy({"value-prefix": -1.0}, 0.05), seeds=range(5))
    row = tables(made(group))["differences"][0].rows[0]
    assert row[:2] == ("− value prefix", "5")
    assert row[2].estimate.value == pytest.approx(-1, abs=0.1)
    assert row[2].signed
    assert isinstance(row[3], Probability)
    assert row[4] == "worse"


def test_a_comparison_of_fewer_games_says_which():
    """Of Q*bert the full agent and an arm have seed 0, the other arm has the other seeds."""

    def skip(arm, game, seed):
        return game == "qbert" and (arm == "consistency") == (seed == 0)

    group = make_group(
        noisy({}),
        drops=DROPS,
        games=("pong", "qbert"),
        skip=lambda arm, game, seed: (
            skip(arm, game, seed) or (game == "qbert" and arm == "full" and seed != 0)
        ),
    )
    table = tables(made(group))["differences"][0]
    assert table.title.endswith("mean over 2 of 26 games")
    assert table.notes[2:] == ("− consistency: only pong have a seed in both arms.",)


def test_published_effects_stand_beside_ours():
    found = tables(made(make_group(noisy({}), drops=DROPS)))["improvement"][0]
    assert found.columns == ("arm", "P(better)", "published mean", "published median")
    assert cells(found)["value-prefix"][1:] == ["-0.461", "-0.538"]
    assert cells(found)["consistency"][1:] == ["–", "–"]
    without = tables(made(make_group(noisy({}), drops=("consistency",))))["improvement"][0]
    assert without.columns == ("arm", "P(better)")
    assert "and published effects" in found.title
    assert "published" not in without.title


def test_factorial_effects_are_in_a_table():
    group = make_group(noisy({}), drops=DROPS, factorial=True)
    table = tables(made(group))["factorial"][0]
    assert [row[0] for row in table.rows] == [
        "− consistency",
        "− value prefix",
        "− consistency x − value prefix",
    ]
    assert table.title.endswith("human-normalised, mean over 1 of 26 games")
    assert {row[2].digits for row in table.rows} == {3}


def test_the_title_of_factorial_effects_counts_games_with_a_seed_of_every_arm():
    """Of Q*bert half of the arms have seed 0, the others the other seeds."""
    group = make_group(
        noisy({}),
        drops=DROPS,
        factorial=True,
        games=("pong", "qbert"),
        skip=lambda arm, game, seed: game == "qbert" and ("value" in arm) == (seed == 0),
    )
    found = tables(made(group))
    assert found["aggregates"][0].title.startswith("Human-normalised over 2 of 26 games")
    assert found["factorial"][0].title.endswith("human-normalised, mean over 1 of 26 games")


def test_a_drop_in_a_sweep_is_named_with_what_it_is_compared_with():
    group = make_group(noisy({}), vary=("search.num_simulations=50,8",))
    found = tables(made(group))
    assert list(cells(found["differences"][0])) == [
        "search.num_simulations=8",
        "value-prefix",
        "value-prefix,search.num_simulations=8 - search.num_simulations=8",
    ]
    full, drop = found["curve"]
    assert full.columns == ("search.num_simulations", "runs", "score")
    assert drop.columns == (*full.columns, "minus without drop")
    assert list(cells(drop)) == ["8", "50"]


def test_raw_scores_have_the_digits_they_deserve():
    def digits(*values):
        return raw_digits([Estimate(value, None, None, 1) for value in values])

    assert [digits(9.99), digits(-10), digits(999.9), digits(1000), digits(2, -4000)] == [
        2,
        1,
        1,
        0,
        0,
    ]
    assert raw_digits([Estimate(5, -2000, 2010, 2)]) == 0
    assert raw_digits([]) == 2


def test_numbers_of_games_and_runs_in_words():
    assert of_games(SEVEN, ATARI.benchmark) == "7 of 26 games"
    assert of_games(ATARI_100K, ATARI.benchmark) == "26 of 26 games"
    assert of_games(("catch",), None) == "1 game"
    assert of_games(("tetris", "et"), ATARI.benchmark, 3) == "2 of 3 games"


def test_notes_say_protocol_code_and_machines():
    (section,) = made(make_group(noisy({}), seeds=(0,))).sections
    assert section.notes == (
        "2 runs; each score is the mean over 32 episodes of at most 27,000 env_steps, played with "
        "the last weights without exploration.",
        "Preset atari100k; seed 0.",
        "An arm with a drop is the agent without that part. See ez ablations show NAME.",
        "Code: ezcli 0.1.0 (0123456).",
        "Trained on: a processor (2 runs).",
        "With PyTorch 2.6.0, NumPy 2.0.0.",
        "Training took 2 min 00 s in total, 1 min 00 s per run (median).",
        "Distinct scores among the episodes of a run: 1 of 32 in every run.",
        "1 of the 26 games of Atari 100k: "
        "how well these predict the score over all games is not known.",
    )
    (section,) = made(make_group(noisy({}), drops=(), seeds=(0,))).sections
    assert not any(note.startswith("An arm with") for note in section.notes)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ((3,), "seed 3"),
        ((0, 1), "seeds 0, 1"),
        ((0, 1, 2), "seeds 0 to 2"),
        ((0, 2, 7), "seeds 0, 2, 7"),
    ],
)
def test_notes_say_which_seeds(seeds, text):
    (section,) = made(make_group(noisy({}), seeds=seeds)).sections
    assert section.notes[1] == f"Preset atari100k; {text}."


def test_several_versions_are_pointed_out():
    group = make_group(noisy({}), seeds=(0,))
    full, arm = group.arms
    run = arm.runs["pong"][0]
    session = {"git": {"commit": "f" * 40, "dirty": True}, "ezcli": "0.2.0"}
    changed = run._replace(sessions=(session,), seconds=None)
    (section,) = made(
        group._replace(arms=(full, arm._replace(runs={"pong": {0: changed}})))
    ).sections
    assert section.notes[3:7] == (
        "Code: ezcli 0.1.0 (0123456) (1 run), ezcli 0.2.0 (fffffff, changed) (1 run).",
        "The runs were trained with several versions of ezcli. "
        "CHANGELOG.md lists their differences.",
        "Trained on: a processor (1 run), unknown (1 run).",
        "With PyTorch 2.6.0, NumPy 2.0.0 (1 run); or unknown packages (1 run).",
    )


def test_every_session_of_a_run_counts():
    """A run that was resumed elsewhere was not trained by its newest session alone."""
    group = make_group(noisy({}), drops=(), seeds=(0,))
    (full,) = group.arms
    run = full.runs["pong"][0]
    later = run.sessions[0] | {
        "git": {"commit": "f" * 40, "dirty": False},
        "device_name": "another",
        "precision": "bfloat16",
        "libraries": {"cpu_capability": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    }
    resumed = run._replace(sessions=(*run.sessions, later, run.sessions[0]))
    (section,) = made(group._replace(arms=(full._replace(runs={"pong": {0: resumed}}),))).sections
    assert section.notes[2:7] == (
        "Code: ezcli 0.1.0 (0123456) (1 run), ezcli 0.1.0 (fffffff) (1 run).",
        "The runs were trained with several versions of ezcli. "
        "CHANGELOG.md lists their differences.",
        "Trained on: a processor (1 run), another in bfloat16 (1 run).",
        "With PyTorch 2.6.0, NumPy 2.0.0.",
        "Environment variables that affect the bits of results: none (1 run); "
        "ONEDNN_MAX_CPU_ISA=AVX2 (1 run).",
    )


# ------------------------------------------------------------------ choices


def test_games_can_be_chosen():
    group = make_group(
        noisy({}), games=("pong", "qbert", "alien"), skip=lambda a, g, seed: seed == 0
    )
    found = tables(made(group, games=("alien", "pong")))
    assert found["aggregates"][0].title == "Human-normalised over 2 of 26 games, 2 runs each"
    assert list(cells(found["scores"][0])) == ["alien", "pong"]
    assert {row[1] for row in found["missing"][0].rows} == {"alien", "pong"}


def test_arms_can_be_chosen_and_the_full_agent_stays():
    group = make_group(noisy({}), drops=DROPS, factorial=True, skip=lambda a, g, seed: seed == 0)
    found = tables(made(group, arms=("consistency",)))
    assert list(cells(found["scores"][0])) == ["full", "consistency"]
    assert list(cells(found["differences"][0])) == ["consistency"]
    assert set(cells(found["missing"][0])) == {"full", "consistency"}
    assert "factorial" not in found


def test_what_a_chosen_arm_is_compared_with_stays():
    group = make_group(noisy({}), vary=("search.num_simulations=50,8",))
    drop = "value-prefix,search.num_simulations=8"
    everything, found = tables(made(group)), tables(made(group, arms=(drop,)))
    row = f"{drop} - search.num_simulations=8"
    assert list(cells(found["differences"][0])) == ["search.num_simulations=8", row]
    chosen = {key_of(r[0]): r[2] for r in found["differences"][0].rows}
    assert chosen[row] == {key_of(r[0]): r[2] for r in everything["differences"][0].rows}[row]


@pytest.mark.parametrize(
    ("choice", "code", "named"),
    [
        ({"games": ("pong", "qbrt")}, "EZ-UNKNOWN-GAME", ["'qbrt'", "'qbert'"]),
        ({"arms": ("value-prefx",)}, "EZ-UNKNOWN-ARM", ["'value-prefx'", "'value-prefix'"]),
        ({"arms": ("",)}, "EZ-UNKNOWN-ARM", ["''"]),
    ],
)
def test_unknown_games_and_arms_are_refused(choice, code, named):
    group = make_group(noisy({}), games=("pong", "qbert"))
    with fails(code, *named):
        made(group, **choice)


def test_a_game_of_the_benchmark_that_nobody_played_is_said():
    group = make_group(noisy({}), games=("pong", "qbert"))
    found = made(group, games=("pong", "alien"))
    assert found.notes == ("No run played alien.",)
    with fails("EZ-REPORT-NOT-PLAYED", "alien", "pong, qbert"):
        made(group, games=("alien",))


def test_a_study_without_the_chosen_games_is_left_out():
    one, other = (make_group(noisy({}), games=(game,), name=game) for game in ("pong", "qbert"))
    assert [s.title for s in made(one, other, games=("pong",)).sections] == ["Study pong"]


# ------------------------------------------------------------------ published alone


def test_without_runs_the_published_scores_are_compared():
    report = made(against=ATARI_AGENTS)
    assert keys(report) == ["published", "sources"]
    table = tables(report)["published"][0]
    assert table.title == "Published human-normalised scores over 26 of 26 games of Atari 100k"
    assert cells(table)["EfficientZero †"][:2] == ["1.943", "1.090"]
    assert len(table.rows) == len(ATARI_AGENTS)
    assert len(tables(report)["sources"][0].rows) == len(ATARI_AGENTS)


def test_published_scores_of_several_suites_stand_in_tables_of_their_own():
    atari, minatar = made(against=published_agents()).sections
    names = [tuple(section.table("published").title.split()[1:2]) for section in (atari, minatar)]
    assert names == [("human-normalised",), ("best-published-normalised",)]
    shown = {row[0] for row in minatar.table("published").rows}
    assert "DQN at 5M frames †" in shown
    assert not any("TEAM" in name for name in shown)  # it has scores of two games only
    assert minatar.table("budgets").columns[2:] == (
        "100k frames",
        "500k frames",
        "1M frames",
        "5M frames",
    )


def test_a_few_agents_are_compared_game_by_game():
    report = made(against=("efficientzero", "bbf"), games=("pong", "freeway"))
    assert keys(report) == ["published", "published_by_game", "sources"]
    table = tables(report)["published_by_game"][0]
    assert [row[0] for row in table.rows] == ["pong", "freeway"]
    expected = published_agents()["bbf"].normalised["pong"]
    assert table.rows[0][2] == Number(expected, 3)


@pytest.mark.parametrize(("number", "by_game"), [(6, True), (7, False)])
def test_as_many_agents_as_fit_are_compared_game_by_game(number, by_game):
    found = tables(made(against=tuple(published_agents())[:number]))
    assert ("published_by_game" in found) == by_game


def test_an_unknown_number_of_runs_behind_a_published_score_is_a_question_mark():
    (table,) = tables(made(against=ATARI.benchmark.against))["sources"]
    assert [row[1] for row in table.rows] == ["3", "?"]


def test_nothing_to_compare_is_refused():
    with fails("EZ-REPORT-NOT-PUBLISHED"):
        made(against=())
    with fails("EZ-UNKNOWN-GAME", "'pongg'"):
        made(games=("pongg",))


def test_measured_scores_never_enter_a_published_row():
    group = make_group(lambda *_: 100.0, drops=(), games=ATARI_100K, seeds=(0, 1))
    table = tables(made(group))["aggregates"][0]
    assert cells(table)["EfficientZero †"][:2] == ["1.943", "1.090"]
    assert cells(table)["full"][0] == "100.000"


def test_a_class_of_ones_own_is_none_of_the_26_games_whatever_its_name():
    group = make_group(noisy({}), env="pong.py:Pong", preset_name="catch")
    assert group.games == ("pong",)
    report = made(group)
    assert not {"aggregates", "beside"} & set(keys(report))
    for table in report.sections[0].tables:
        assert "26 games" not in table.title
        assert "human-normalised" not in (table.title, *table.columns)
    assert of_games(("pong",), group.benchmark, 1) == "1 game"


def test_notes_say_where_an_agent_repeats_its_scores():
    group = make_group(noisy({}), drops=(), seeds=(0, 1))
    (full,) = group.arms
    one, other = (full.runs["pong"][seed]._replace(distinct=7 - 6 * seed) for seed in (0, 1))
    (section,) = made(
        group._replace(arms=(full._replace(runs={"pong": {0: one, 1: other}}),))
    ).sections
    said = "1 of 32 in pong with seed 1, up to 7 elsewhere."
    assert f"Distinct scores among the episodes of a run: {said}" in section.notes


def test_a_subset_says_how_much_it_tells_where_that_is_known():
    five = ("assault", "boxing", "breakout", "hero", "ms_pacman")
    (section,) = made(make_group(lambda *_: 1.0, drops=(), games=five, seeds=(0,))).sections
    assert "leave-one-out R2 of 0.95, which is optimistic" in section.notes[-1]
    whole = make_group(lambda *_: 1.0, drops=(), games=ATARI_100K, seeds=(0,))
    assert not any("games of Atari 100k" in note for note in made(whole).sections[0].notes)


def test_57_games_and_other_rules_are_benchmarks_of_their_own():
    group = make_group(lambda *_: 1.0, drops=(), games=ATARI_100K, seeds=(0,))
    assert group.benchmark is ATARI.benchmark
    more = group._replace(games=ATARI.games.sets["atari57"])
    sticky = group._replace(base=with_changes(group.base, {"env.sticky": 0.25}))
    full_set = group._replace(base=with_changes(group.base, {"env.full_action_set": True}))
    for other in (more, sticky, full_set):
        assert other.benchmark.title == "57 Atari games"
        assert len(other.benchmark.games) == 57
        assert not other.benchmark.published


def test_scores_under_other_protocols_stand_in_a_table_of_their_own():
    group = make_group(lambda *_: 10.0, drops=(), seeds=(0, 1))
    assert made(group).sections[0].table("protocols") is None
    (full,) = group.arms
    runs = {
        seed: run._replace(otherwise={"env.sticky=0.25": 8.0 + seed}, curve=(Point(9, 10.0),))
        for seed, run in full.runs["pong"].items()
    }
    runs[1] = runs[1]._replace(score=99.0)  # it counts by another evaluation
    (section,) = made(group._replace(arms=(full._replace(runs={"pong": runs}),))).sections
    (row,) = section.table("protocols").rows
    assert row[1:4] == ("pong", "env.sticky=0.25", "2")
    assert [cell.estimate.value for cell in row[4:]] == [8.5, 10.0, -1.5]
