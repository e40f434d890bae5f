"""Arms against the full agent: pairs, conclusions, and known effects."""

import numpy as np
import pytest
from scipy import stats

from ezcli.envs.atari_suite import ATARI
from ezcli.experiments.ablations import load_ablation
from ezcli.reports.collect import of_study
from ezcli.reports.compare import (
    Scale,
    baseline,
    compare,
    curves,
    factorial,
    in_order,
    scale_of,
    verdict,
)
from ezcli.reports.statistics import Difference, Estimate, holm
from tests.experiments.helpers import without_seals
from tests.reports.helpers import make_group, noisy, raw, write_study

THREE = ("value-prefix", "consistency", "off-policy-correction")
NOISE = {0: 0.01, 1: -0.02, 2: 0.03, 3: 0.0, 4: -0.01}


def compared(group, resamples=200):
    return {c.arm: c for c in compare(group, scale_of(group), resamples)}


def effects(group):
    return {"+".join(e.factors): e for e in factorial(group, scale_of(group))}


# ------------------------------------------------------------------ pairs


def test_differences_are_those_of_pairs():
    """Noise that both arms share under a seed cancels out."""
    table = {"full": (0.1, 0.5, 0.9), "value-prefix": (0.0, 0.45, 0.75)}
    found = compared(make_group(lambda arm, game, seed: table[arm][seed]))["value-prefix"]
    expected = stats.ttest_rel(table["value-prefix"], table["full"])
    assert found.mean.estimate.value == pytest.approx(-0.1)
    assert found.mean.estimate[1:3] == pytest.approx(expected.confidence_interval(0.95))
    assert found.mean.p == found.adjusted_p == pytest.approx(expected.pvalue)
    assert (found.pairs, found.games, found.against) == (3, ("pong",), "full")
    assert found.improvement.value == pytest.approx(3 / 9)  # of all pairs, not those of one seed
    assert (found.median, found.iqm) == (None, None)  # of one game they are the same again


def test_differences_by_game_are_of_raw_scores():
    found = compared(
        make_group(
            lambda arm, game, seed: (
                NOISE[seed] + (arm == "full") * {"pong": 0.2, "qbert": 0.1}[game]
            ),
            games=("pong", "qbert"),
        )
    )["value-prefix"]
    assert {game: d.estimate.value for game, d in found.by_game.items()} == pytest.approx(
        {"pong": -0.2 * 35.3, "qbert": -0.1 * (13455.0 - 163.9)}
    )
    assert found.mean.estimate.value == pytest.approx(-0.15)


def test_every_game_weighs_the_same():
    """One game has five pairs, the other two."""
    effect = {"pong": -0.3, "qbert": 0.1}
    found = compared(
        make_group(
            lambda arm, game, seed: NOISE[seed] * (arm == "full") + (arm != "full") * effect[game],
            games=("pong", "qbert"),
            seeds=range(5),
            skip=lambda arm, game, seed: game == "qbert" and seed > 1,
        )
    )["value-prefix"]
    pong = -0.3 - np.mean(list(NOISE.values()))
    qbert = 0.1 - np.mean([NOISE[0], NOISE[1]])
    assert found.mean.estimate.value == pytest.approx((pong + qbert) / 2)
    assert found.pairs == 2


def test_only_seeds_of_both_arms_count():
    """Seed 0 is of the full agent alone, seed 4 of the other: far off, and in no pair."""
    group = make_group(
        lambda arm, game, seed: 50 if seed in (0, 4) else NOISE[seed] - 0.1 * (arm != "full"),
        seeds=range(5),
        skip=lambda arm, game, seed: seed == (4 if arm == "full" else 0),
    )
    found = compared(group)["value-prefix"]
    assert found.mean.estimate.value == pytest.approx(-0.1)
    assert found.pairs == 3
    assert found.improvement.value < 0.5


def test_games_without_a_pair_are_left_out():
    group = make_group(
        lambda arm, game, seed: NOISE[seed] - 0.1 * (arm != "full"),
        games=("pong", "qbert"),
        skip=lambda arm, game, seed: game == "qbert" and (seed == 0) == (arm == "full"),
    )
    found = compared(group)["value-prefix"]
    assert scale_of(group).games == ("pong", "qbert")
    assert found.games == ("pong",)
    assert found.mean.estimate.value == pytest.approx(-0.1)


def test_arms_without_a_pair_are_not_compared():
    nothing = make_group(lambda *_: 0.5, skip=lambda arm, game, seed: arm != "full")
    assert compared(nothing) == {}
    apart = make_group(lambda *_: 0.5, skip=lambda arm, game, seed: (seed == 0) == (arm == "full"))
    assert compared(apart) == {}


def test_other_aggregates_are_differences_of_aggregates():
    """Not aggregates of differences: the median game of each arm is another one."""
    level = {"pong": 0.0, "qbert": 1.0, "alien": 2.0}
    change = {"pong": 1.5, "qbert": 0.0, "alien": -1.8}
    group = make_group(
        lambda arm, game, seed: NOISE[seed] + level[game] + change[game] * (arm != "full"),
        games=tuple(level),
    )
    found = compared(group)["value-prefix"]
    assert found.median.value == pytest.approx(1.0 - 1.0)
    assert found.mean.estimate.value == pytest.approx(-0.1)
    runs = {
        arm: [NOISE[s] + level[g] + change[g] * (arm != "full") for g in level for s in (0, 1, 2)]
        for arm in ("full", "− value prefix")
    }
    full, other = (stats.trim_mean(values, 0.25) for values in runs.values())
    assert found.iqm.value == pytest.approx(other - full)
    assert found.iqm.low <= found.iqm.value <= found.iqm.high


def test_a_table_does_not_change_from_call_to_call():
    group = make_group(noisy({}), games=("pong", "qbert"))
    assert compared(group) == compared(group)


# ------------------------------------------------------------------ what is said


def test_holm_is_over_the_arms():
    group = make_group(noisy({"value-prefix": -0.1}), drops=THREE, seeds=range(5))
    found = compared(group).values()
    assert len(found) == 3
    assert [c.adjusted_p for c in found] == pytest.approx(holm([c.mean.p for c in found]))
    assert max(c.adjusted_p for c in found) > max(c.mean.p for c in found)


def test_holm_is_over_those_that_can_be_tested():
    group = make_group(
        noisy({}),
        drops=THREE,
        seeds=range(3),
        skip=lambda arm, game, seed: arm == "consistency" and seed > 0,
    )
    found = compared(group)
    assert (found["consistency"].adjusted_p, found["consistency"].mean.p) == (None, None)
    others = [found[arm] for arm in THREE if arm != "consistency"]
    assert [c.adjusted_p for c in others] == pytest.approx(holm([c.mean.p for c in others]))


def test_a_clear_loss_and_a_clear_gain():
    effects = {"value-prefix": -1.0, "consistency": 1.0}
    group = make_group(noisy(effects, 0.05), drops=THREE, seeds=range(5))
    verdicts = {arm: c.verdict for arm, c in compared(group).items()}
    assert verdicts == {
        "value-prefix": "worse",
        "consistency": "better",
        "off-policy-correction": "not distinguishable at n = 5",
    }


@pytest.mark.parametrize("loss", [0.25, 0.0])
def test_pairs_without_any_spread_have_no_verdict(loss):
    group = make_group(
        lambda arm, game, seed: 1 - loss * dropped(arm, "value-prefix"),
        drops=("value-prefix", "consistency"),
        factorial=True,
        games=("tetris",),
        seeds=(0, 1),
    )
    for found in (compared(group), effects(group)):
        for effect in found.values():
            assert (effect.adjusted_p, effect.verdict) == (None, "equal differences: no interval")
    assert compared(group)["value-prefix"].improvement.low is None


def test_equal_differences_stay_in_the_family_of_the_correction():
    """Else a table with a tie would call more of its other arms better or worse."""
    noise = {0: 0.0, 1: 0.01, 2: -0.01}

    def score(arm, game, seed):
        varies = dropped(arm, "consistency")
        return 0.5 - 0.2 * dropped(arm, "value-prefix") - varies * (0.3 + noise[seed])

    group = make_group(
        score, drops=("value-prefix", "consistency"), games=("tetris",), seeds=(0, 1, 2)
    )
    found = compared(group)
    assert found["value-prefix"].adjusted_p is None
    assert found["consistency"].adjusted_p == pytest.approx(2 * found["consistency"].mean.p)


def test_one_pair_has_no_verdict():
    found = compared(make_group(lambda arm, *_: arm != "full", seeds=(3,)))["value-prefix"]
    assert found.verdict == "one pair: no interval"
    assert found.mean == (Estimate(1.0, None, None, 1), None)
    assert found.improvement is None


@pytest.mark.parametrize(
    ("low", "high", "adjusted", "said"),
    [
        (0.1, 0.3, 0.049, "better"),
        (-0.3, -0.1, 0.001, "worse"),
        (0.1, 0.3, 0.05, "not distinguishable at n = 5 after Holm"),
        (-0.3, -0.1, 0.9, "not distinguishable at n = 5 after Holm"),
        (-0.1, 0.3, 0.3, "not distinguishable at n = 5"),
    ],
)
def test_verdicts(low, high, adjusted, said):
    difference = Difference(Estimate((low + high) / 2, low, high, 5), 0.01)
    assert verdict(difference, adjusted, 5) == said


# ------------------------------------------------------------------ published effects


@pytest.mark.parametrize(
    ("drop", "mean", "median"),
    [
        ("value-prefix", 1.482 - 1.943, 0.552 - 1.090),
        ("off-policy-correction", 1.475 - 1.943, 0.836 - 1.090),
        ("consistency-authors", 0.881 - 1.943, 0.340 - 1.090),
        ("consistency+augmentation", 0.881 - 1.943, 0.340 - 1.090),
        ("consistency+value-prefix+off-policy-correction", 0.562 - 1.943, 0.227 - 1.090),
        ("consistency", None, None),
        ("value-prefix+consistency", None, None),
    ],
)
def test_published_effects(drop, mean, median):
    """By what is changed, whatever it is called; none of what was not measured."""
    (found,) = compared(make_group(noisy({}), drops=(drop,))).values()
    if mean is None:
        assert found.published is None
    else:
        assert found.published == pytest.approx((mean, median))


def test_no_published_effect_of_an_arm_that_changes_more():
    group = make_group(noisy({}), vary=("search.num_simulations=50,8",))
    found = {arm: c.published for arm, c in compared(group).items()}
    assert found.pop("value-prefix") is not None
    assert set(found.values()) == {None}


def test_no_published_effect_of_a_users_file(tmp_path, monkeypatch):
    """Even one of the same name, if it changes something else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "value-prefix.toml").write_text(
        'title = "Mine"\nwhy = "Mine."\n[components]\nconsistency = false\n'
    )
    (found,) = compared(make_group(noisy({}), drops=("value-prefix.toml",))).values()
    assert found.arm == "value-prefix"
    assert found.published is None


def test_no_published_effect_of_a_value_that_is_swept():
    """`--vary` of the same setting is no ablation by its name."""
    group = make_group(noisy({}), drops=(), vary=("components.value_prefix=true,false",))
    (found,) = compared(group).values()
    assert load_ablation("value-prefix").changes == group.arms[1].changes
    assert found.published is None


@pytest.mark.parametrize("name", ["x" * 300, "gone.toml", "a\0b"])
def test_a_drop_that_is_nowhere_has_no_published_effect(name):
    group = make_group(noisy({}))
    full, arm = group.arms
    arm = arm._replace(drops=(name,))
    (found,) = compared(group._replace(arms=(full, arm))).values()
    assert found.published is None


# ------------------------------------------------------------------ scales


def test_games_that_every_arm_has_are_averaged():
    group = make_group(
        noisy({}),
        games=("pong", "qbert", "alien"),
        skip=lambda arm, game, seed: game == "alien" and arm != "full",
    )
    assert scale_of(group) == Scale("normalised", ("pong", "qbert"), ATARI.benchmark)
    assert compared(group)["value-prefix"].games == ("pong", "qbert")


def test_an_arm_without_any_run_takes_no_game_away():
    group = make_group(
        noisy({}), drops=THREE, games=("pong", "qbert"), skip=lambda arm, *_: arm == "consistency"
    )
    assert scale_of(group).games == ("pong", "qbert")
    assert set(compared(group)) == {"value-prefix", "off-policy-correction"}


def test_a_game_without_a_human_score_is_compared_by_raw_scores():
    group = make_group(
        lambda arm, game, seed: NOISE[seed] - (arm != "full"), env="catch", preset_name="catch"
    )
    assert scale_of(group) == Scale("raw", ("catch",))
    assert compared(group)["value-prefix"].mean.estimate.value == pytest.approx(-1)


def test_games_without_human_scores_are_not_averaged():
    """Of 57 games the human score is known; of Tetris it is not."""
    group = make_group(noisy({}), games=("pong", "tetris", "et"))
    assert scale_of(group) == Scale("normalised", ("pong",), ATARI.benchmark)
    group = make_group(noisy({}), games=("tetris", "et"))
    assert scale_of(group) is None
    group = make_group(noisy({}), games=("tetris",))
    assert scale_of(group) == Scale("raw", ("tetris",))


def test_nothing_has_no_scale():
    assert scale_of(make_group(noisy({}), skip=lambda *_: True)) is None


# ------------------------------------------------------------------ factorial


def dropped(arm, name):
    return name in arm.split("+")


def test_main_effects_and_interactions_by_hand():
    """Cells of two drops: keep both 10, drop A 7, drop B 8, drop both 1.

    A: ((7 + 1) - (10 + 8)) / 2 = -5. B: ((8 + 1) - (10 + 7)) / 2 = -4. A costs 3 with B and 7
    without: half the difference is -2.
    """
    cells = {(False, False): 10, (True, False): 7, (False, True): 8, (True, True): 1}
    signs = {True: 1, False: -1}
    assert sum(signs[a] * x for (a, b), x in cells.items()) / 2 == -5
    assert sum(signs[b] * x for (a, b), x in cells.items()) / 2 == -4
    assert sum(signs[a] * signs[b] * x for (a, b), x in cells.items()) / 2 == -2


def test_a_known_interaction():
    cells = {"full": 10, "consistency": 7, "value-prefix": 8, "consistency+value-prefix": 1}
    found = effects(
        make_group(
            lambda arm, game, seed: cells[arm] * (1 + 0.01 * (seed - 1)) + 100 * seed,
            drops=("value-prefix", "consistency"),
            factorial=True,
        )
    )
    values = {name: e.difference.estimate.value for name, e in found.items()}
    assert values == pytest.approx(
        {"consistency": -5, "value-prefix": -4, "consistency+value-prefix": -2}
    )
    assert {e.blocks for e in found.values()} == {3}
    assert {name: e.verdict for name, e in found.items()} == {
        "consistency": "worse",
        "value-prefix": "worse",
        "consistency+value-prefix": "negative",
    }


def test_an_interaction_makes_no_agent_better():
    """Dropping both costs no more than dropping one: a positive interaction of two losses."""
    found = effects(
        make_group(
            lambda arm, game, seed: (arm == "full") + NOISE[seed] * (arm == "consistency"),
            drops=("value-prefix", "consistency"),
            factorial=True,
            seeds=range(5),
        )
    )
    assert {name: e.verdict for name, e in found.items()} == {
        "consistency": "worse",
        "value-prefix": "worse",
        "consistency+value-prefix": "positive",
    }


def test_an_additive_model_has_main_effects_only():
    """Eight arms in two games, with noise that a block shares and a little that it does not."""
    truth = {"value-prefix": -0.4, "consistency": -0.2, "off-policy-correction": 0.1}
    rng = np.random.default_rng(0)
    own = {}

    def score(arm, game, seed):
        noise = own.setdefault((arm, game, seed), rng.normal(0, 0.02))
        return 5 * seed + sum(truth[name] for name in truth if dropped(arm, name)) + noise

    found = effects(
        make_group(score, drops=THREE, factorial=True, games=("pong", "qbert"), seeds=range(5))
    )
    assert len(found) == 7
    for name, effect in found.items():
        estimate = effect.difference.estimate
        assert estimate.value == pytest.approx(truth.get(name, 0), abs=0.03)
        assert estimate.high - estimate.low < 0.1
        assert (effect.verdict in ("better", "worse")) == (name in truth)
    ps = [e.difference.p for e in found.values()]
    assert [e.adjusted_p for e in found.values()] == pytest.approx(holm(ps))


def test_main_effects_are_means_over_arms():
    """Against the definition: the mean of the arms that drop minus that of the arms that keep."""
    group = make_group(noisy({}), drops=THREE, factorial=True)
    runs = {
        arm.name: [arm.runs["pong"][s].normalised(arm.runs["pong"][s].score) for s in (0, 1, 2)]
        for arm in group.arms
    }
    for name in THREE:
        drop = np.mean([x for arm, values in runs.items() if dropped(arm, name) for x in values])
        keep = np.mean(
            [x for arm, values in runs.items() if not dropped(arm, name) for x in values]
        )
        assert effects(group)[name].difference.estimate.value == pytest.approx(drop - keep)


def test_incomplete_blocks_are_left_out():
    """Seed 2 of Pong has three arms only; Q*bert has no block at all."""
    cells = {"full": 10, "consistency": 7, "value-prefix": 8, "consistency+value-prefix": 1}
    found = effects(
        make_group(
            lambda arm, game, seed: cells[arm] + seed + 50 * (seed == 2 or game == "qbert"),
            drops=("value-prefix", "consistency"),
            factorial=True,
            games=("pong", "qbert"),
            skip=lambda arm, game, seed: (
                (arm, game, seed) == ("consistency", "pong", 2)
                or (game == "qbert" and (arm == "full") == (seed == 0))
            ),
        )
    )
    assert {name: e.difference.estimate.value for name, e in found.items()} == pytest.approx(
        {"consistency": -5, "value-prefix": -4, "consistency+value-prefix": -2}
    )
    assert {(e.blocks, e.games) for e in found.values()} == {(2, ("pong",))}


def test_one_block_has_no_interval():
    found = effects(
        make_group(noisy({}), drops=("value-prefix", "consistency"), factorial=True, seeds=(0,))
    )
    assert {(e.adjusted_p, e.verdict) for e in found.values()} == {(None, "one pair: no interval")}


def test_a_study_without_every_subset_has_no_effects():
    group = make_group(noisy({}), drops=("value-prefix", "consistency"))
    assert effects(group) == {}
    assert effects(make_group(noisy({}), factorial=True)) == {}
    swept = make_group(
        noisy({}),
        drops=("value-prefix", "consistency"),
        factorial=True,
        vary=("search.num_simulations=50,8",),
        seeds=(0,),
    )
    assert effects(swept) == {}


# ------------------------------------------------------------------ sweeps

SWEPT = ("search.num_simulations=100,8,50",)


def test_a_drop_is_compared_at_the_same_value():
    group = make_group(noisy({}), vary=SWEPT)
    against = {arm.name: baseline(group, arm) for arm in group.arms}
    assert against == {
        "full": "full",
        "search.num_simulations=8": "full",
        "search.num_simulations=100": "full",
        "value-prefix": "full",
        "value-prefix,search.num_simulations=8": "search.num_simulations=8",
        "value-prefix,search.num_simulations=100": "search.num_simulations=100",
    }
    assert {c.arm: c.against for c in compare(group, scale_of(group), 100)} == {
        arm: other for arm, other in against.items() if arm != "full"
    }


def test_curves_are_in_the_order_of_values():
    """8, 50, 100: by size, not as text and not as given; the full agent's own value is one."""

    def score(arm, game, seed):
        simulations = int(arm.rpartition("=")[2]) if "=" in arm else 50
        return simulations / 100 + NOISE[seed] - 0.2 * arm.startswith("value-prefix")

    full, drop = curves(group := make_group(score, vary=SWEPT), scale_of(group))
    assert (full.key, full.label, drop.label) == (
        "search.num_simulations",
        "full",
        "− value prefix",
    )
    for curve, less in ((full, 0), (drop, 0.2)):
        assert [point.value for point in curve.points] == [8, 50, 100]
        values = [point.score.value for point in curve.points]
        noise = np.mean([NOISE[seed] for seed in (0, 1, 2)])
        assert values == pytest.approx([x + noise - less for x in (0.08, 0.5, 1.0)])
    assert [point.difference for point in full.points] == [None] * 3
    assert [p.difference.estimate.value for p in drop.points] == pytest.approx([-0.2] * 3)
    assert [point.arm for point in drop.points] == [
        "value-prefix,search.num_simulations=8",
        "value-prefix",
        "value-prefix,search.num_simulations=100",
    ]


def test_a_point_without_runs_is_not_on_the_curve():
    group = make_group(
        noisy({}), vary=SWEPT, skip=lambda arm, *_: arm == "search.num_simulations=8"
    )
    full, drop = curves(group, scale_of(group))
    assert [point.value for point in full.points] == [50, 100]
    assert [point.difference is None for point in drop.points] == [True, False, False]


def test_a_point_has_no_difference_to_another_value():
    """Without the arm of the same value, the full agent is no stand-in."""
    group = make_group(noisy({}), vary=SWEPT)
    arms = tuple(arm for arm in group.arms if arm.name != "search.num_simulations=8")
    _, drop = curves(group._replace(arms=arms), scale_of(group))
    assert [point.difference is None for point in drop.points] == [True, False, False]


def test_one_point_is_no_curve():
    group = make_group(noisy({}), vary=SWEPT, skip=lambda arm, *_: arm != "value-prefix")
    assert curves(group, scale_of(group)) == []


def test_two_sweeps_are_a_curve_for_each_value_of_the_other():
    vary = ("search.num_simulations=50,8", "value.td_steps=5,3")
    group = make_group(noisy({}), drops=(), vary=vary, seeds=(0, 1))
    found = [
        (curve.key, curve.label, [p.value for p in curve.points])
        for curve in curves(group, scale_of(group))
    ]
    assert found == [
        ("search.num_simulations", "full, value.td_steps=5", [8, 50]),
        ("search.num_simulations", "full, value.td_steps=3", [8, 50]),
        ("value.td_steps", "full, search.num_simulations=50", [3, 5]),
        ("value.td_steps", "full, search.num_simulations=8", [3, 5]),
    ]


def test_a_sweep_without_the_full_agents_value():
    group = make_group(noisy({}), drops=(), vary=("search.num_simulations=8,25",))
    (curve,) = curves(group, scale_of(group))
    assert [point.value for point in curve.points] == [8, 25, 50]


def test_a_study_without_a_full_agent_has_curves(tmp_path):
    """`ez ablate` never makes one; somebody who deletes arms from study.json does."""
    folder = write_study(tmp_path, noisy({}), vary=SWEPT)

    def drop_full(record):
        for part, name in (("arms", "name"), ("cells", "arm")):
            record[part] = [entry for entry in record[part] if entry[name] != "full"]

    without_seals(folder, drop_full)
    group = of_study(folder)
    assert len(curves(group, scale_of(group))) == 2
    assert set(compared(group)) == {
        "value-prefix,search.num_simulations=8",
        "value-prefix,search.num_simulations=100",
    }


def test_values_that_are_no_numbers_come_after_numbers():
    values = ["sgd", 10, [1.0, 0.5], 2.5, True, "adam", 9]
    assert sorted(values, key=in_order) == [True, 2.5, 9, 10, "adam", "sgd", [1.0, 0.5]]


def test_no_sweep_no_curve():
    group = make_group(noisy({}), drops=THREE)
    assert curves(group, scale_of(group)) == []


@pytest.mark.parametrize("game", ["pong", "qbert", "tetris"])
def test_a_group_without_files_is_that_of_files(tmp_path, game):
    """What every test here starts from."""
    options = {"games": (game,), "skip": lambda arm, game, seed: seed == 1 and arm == "full"}
    read = of_study(write_study(tmp_path, noisy({}), **options))
    group = make_group(noisy({}), **options)
    for one, other in zip(read.arms, group.arms, strict=True):
        for seed, run in one.runs[game].items():
            same = other.runs[game][seed]
            assert run._replace(path=same.path, score=same.score, curve=same.curve) == same
            assert (
                run.score == pytest.approx(same.score) == raw(game, noisy({})(one.name, game, seed))
            )
    assert read._replace(arms=(), go_on="") == group._replace(arms=(), go_on="")
