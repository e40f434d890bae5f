"""The files in `ablations/`: each changes only what it names, and affects training."""

import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ezcli.commands import ablations as commands
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.run import RunConfig, differences
from ezcli.config.tables import flat_items
from ezcli.efficientzero.network import Network
from ezcli.experiments.ablations import (
    PUBLISHED_FULL,
    ablation_names,
    combine,
    load_ablation,
    load_sum,
    require_effect,
)
from ezcli.runs.compute import resolve_compute
from ezcli.runs.trainer import Trainer, make_network
from tests.failing import fails
from tests.runs.helpers import run, tiny

FOLDER = Path(__file__).parents[1] / "ablations"
V2_CHANGES: dict[str, dict[str, Any]] = {  # what EfficientZero V2 changed, as in atari100k
    "gumbel": {f"planning.{purpose}": "puct" for purpose in ("acting", "targets", "evaluation")},
    "gumbel-budget": {"search.num_simulations": 50},
    "mixed-value": {"value.target": "td"},
    "constant-td-steps": {"components.off_policy_correction": True},
    "full-reanalysis": {"reanalyse.ratio": 0.99},
    "priorities-v2": {
        "replay.priority_exponent": 0.6,
        "replay.importance_exponent": [0.4, 1.0],
        "replay.new_priority": "max",
        "replay.weight_floor": 0.0,
    },
    "action-embedding": {"network.action_embedding": 0},
    "elu": {"network.head_activation": "relu"},
    "narrow-predictor": {"network.projection_bottleneck": 512},
    "planned-start": {"acting.random_phase": True},
    "target-interval": {"schedule.target_update_interval": 200},
}
OF_SIZE = ("gumbel-budget", "narrow-predictor", "target-interval")  # not in atari-cpu-v2
V2_SCORES = {  # EfficientZero V2, table 6
    "mixed-value": {"asterix": 26023.1, "up_n_down": 13725.7, "qbert": 9463.3},
    "mixed-value-gae": {"asterix": 22816.7, "up_n_down": 16255.3, "qbert": 7807.3},
}
OF_V2: dict[str, dict[str, Any]] = {**V2_CHANGES, "mixed-value-gae": {"value.target": "gae"}}
OF_AUTHORS: dict[str, dict[str, Any]] = {  # what only the authors' code does
    "latent-gradient": {"loss.latent_gradient": "between-steps"},
    "replay-blocks": {"replay.block_env_steps": 0},
    "target-statistics": {"network.norm": "batch"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "augmentation": {"loss.augmentation": False},
    "consistency": {"components.consistency": False},
    "consistency-authors": {"components.consistency": False, "loss.augmentation": False},
    "muzero": {
        "components.consistency": False,
        "components.value_prefix": False,
        "components.off_policy_correction": False,
    },
    "norm": {"network.norm": "group"},
    "off-policy-correction": {"components.off_policy_correction": False},
    "planning": {
        "planning.acting": "one-step",
        "planning.evaluation": "one-step",
        "planning.targets": "one-step",
        "value.value_source": "search",
    },
    "planning-acting": {"planning.acting": "one-step", "planning.evaluation": "one-step"},
    "planning-targets": {"planning.targets": "one-step", "value.value_source": "search"},
    "prioritised-replay": {"replay.priority_exponent": 0.0},
    "reanalysis": {"reanalyse.ratio": 0.0},
    "root-noise": {"search.root_exploration_fraction": 0.0},
    "value-prefix": {"components.value_prefix": False},
}
PUBLISHED = {  # mean, median: EfficientZero's table 3; MuZero's column of table 1
    "consistency-authors": (0.881, 0.340),
    "muzero": (0.562, 0.227),
    "off-policy-correction": (1.475, 0.836),
    "value-prefix": (1.482, 0.552),
}
# What a run without it must show, in columns of metrics.jsonl.
SHOWS = {
    "augmentation": {"loss", "consistency"},
    "consistency": {"loss", "consistency"},
    "consistency-authors": {"loss", "consistency"},
    "muzero": {"consistency", "td_steps", "value_prefix"},
    "norm": {"loss", "consistency"},
    "off-policy-correction": {"td_steps", "value"},
    "planning": {"policy", "value", "search_entropy", "target_entropy", "reanalyse_asked"},
    "planning-acting": {"search_depth", "search_entropy"},
    "planning-targets": {"policy", "value", "target_entropy", "reanalyse_asked"},
    "prioritised-replay": {"td_steps", "loss"},
    "reanalysis": {"reanalyse_asked", "policy"},
    "root-noise": {"search_entropy", "target_entropy"},
    "value-prefix": {"value_prefix", "loss"},
}
OF_NO_EFFECT = {
    (preset, "augmentation") for preset in ("catch", "gym-vector", "keydoor", "minatar")
}
OF_NO_EFFECT |= {(p, "off-policy-correction") for p in ("efficientzero-v2", "atari-cpu-v2")}
OF_NO_EFFECT |= {
    ("spr-control", dropped)
    for dropped in (
        *("planning", "planning-acting", "planning-targets"),
        *("off-policy-correction", "reanalysis", "value-prefix"),
    )
}

every_ablation = pytest.mark.parametrize("name", CHANGES)
ALL = CHANGES | OF_V2 | OF_AUTHORS
all_ablations = pytest.mark.parametrize("name", ALL)
Write = Callable[[str], str]


def of_preset(preset: str) -> RunConfig:
    return resolve(read_toml(preset_path(preset)))


def without(base: RunConfig, *names: str) -> RunConfig:
    """The config without these ablations' parts."""
    changes = combine(load_ablation(name) for name in names)
    return resolve(base.model_dump(mode="json"), changes=changes)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an ablation file; returns its path."""

    def to_file(text: str) -> str:
        (tmp_path / "mine.toml").write_text(text)
        return str(tmp_path / "mine.toml")

    return to_file


def test_there_are_exactly_these() -> None:
    assert ablation_names() == sorted(ALL) == sorted(f.stem for f in FOLDER.glob("*"))


@all_ablations
def test_each_says_what_it_drops(name: str) -> None:
    ablation = load_ablation(name)
    assert ablation.name == name
    assert ablation.changes == ALL[name]
    assert ablation.paper == ("efficientzero-v2" if name in OF_V2 else "efficientzero")
    assert ablation.scores == V2_SCORES.get(name, {})
    assert ablation.title.startswith("No ")
    assert len(ablation.title) <= 30  # the table of `ez ablations` is 80 columns wide
    assert ablation.why.endswith(".")
    assert ". " not in ablation.why
    assert ablation.section
    published = ablation.published
    assert (published and (published.mean, published.median)) == PUBLISHED.get(name)


def test_the_full_agents_published_scores() -> None:
    assert (PUBLISHED_FULL.mean, PUBLISHED_FULL.median) == (1.943, 1.090)


@pytest.mark.parametrize("preset", preset_names())
@every_ablation
def test_differs_where_it_says_and_nowhere_else(name: str, preset: str) -> None:
    full = of_preset(preset)
    arm = without(full, name)
    own = dict(flat_items(full.model_dump(mode="json")))
    expected = {k: (own[k], v) for k, v in CHANGES[name].items() if own[k] != v}
    assert differences(full, arm) == expected
    assert bool(expected) == ((preset, name) not in OF_NO_EFFECT)
    assert (arm.identity != full.identity) == bool(expected)


@pytest.mark.parametrize("name", OF_V2)
def test_of_v2_each_changes_what_it_names_in_both_presets(name: str) -> None:
    for preset in ("efficientzero-v2", "atari-cpu-v2"):
        full = of_preset(preset)
        arm = without(full, name)
        own = dict(flat_items(full.model_dump(mode="json")))
        assert own["replay.weight_floor"] == 0  # the paper's: the code's would be a change too
        expected = {k: (own[k], v) for k, v in OF_V2[name].items() if own[k] != v}
        assert differences(full, arm) == expected
        assert expected or (preset, name) == ("atari-cpu-v2", "target-interval")


@pytest.mark.parametrize("name", OF_AUTHORS)
def test_what_only_the_authors_code_does_is_in_the_published_presets(name: str) -> None:
    for preset in preset_names():
        full = of_preset(preset)
        own = dict(flat_items(full.model_dump(mode="json")))
        ((key, value),) = OF_AUTHORS[name].items()
        found = differences(full, without(full, name))
        is_published = preset in ("atari100k", "efficientzero-v2")
        assert found == ({key: (own[key], value)} if is_published else {})


def test_without_all_that_v2_changed_it_is_the_first() -> None:
    whole, small = of_preset("efficientzero-v2"), of_preset("atari-cpu-v2")
    assert without(whole, *V2_CHANGES).identity == of_preset("atari100k").identity
    parts = [name for name in V2_CHANGES if name not in OF_SIZE]
    assert without(small, *parts).identity == of_preset("atari-cpu").identity
    for name in V2_CHANGES:
        others = [other for other in V2_CHANGES if other != name]
        assert without(whole, *others).identity != of_preset("atari100k").identity


@pytest.mark.parametrize("name", ["gumbel", "mixed-value", "action-embedding", "elu"])
def test_what_v2_changed_cannot_be_dropped_from_the_first(name: str) -> None:
    full = of_preset("atari100k")
    with fails("EZ-ABLATION-CHANGES-NOTHING", "It", next(iter(OF_V2[name]))):
        require_effect("It", full, without(full, name), OF_V2[name])


def test_what_has_no_effect_is_refused() -> None:
    full = of_preset("catch")
    with fails("EZ-ABLATION-CHANGES-NOTHING", "It", "loss.augmentation is False"):
        require_effect("It", full, without(full, "augmentation"), CHANGES["augmentation"])
    require_effect("It", full, without(full, "consistency"), CHANGES["consistency"])


def is_same(one: Network, other: Network) -> bool:
    """Whether all weights are equal, and all of h, g and f is there.

    Statistics are not looked at: they begin as zeros and ones, and the arm `norm` has none.
    """
    left, right = (dict(network.named_parameters()) for network in (one, other))
    assert {"representation", "dynamics", "prediction"} <= {key.split(".")[0] for key in left}
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.slow
def test_every_arm_and_every_sum_starts_with_the_same_weights() -> None:
    base = tiny("catch")
    full = make_network(base, (1, 4, 3), 3)
    sums = [*itertools.combinations(CHANGES, 1), *itertools.combinations(CHANGES, 2)]
    for names in (*sums, tuple(CHANGES)):
        assert is_same(make_network(without(base, *names), (1, 4, 3), 3), full), names
    assert not is_same(make_network(tiny("catch", "seed=1"), (1, 4, 3), 3), full)


def test_that_network_is_the_one_that_learns() -> None:
    base = tiny("catch")
    trainer = Trainer(without(base, *CHANGES), resolve_compute(base.compute))
    assert is_same(trainer.learner.network, make_network(base, (1, 4, 3), 3))


@cache
def metrics_without(path: Path, *names: str) -> list[dict[str, Any]]:
    """Lines of a tiny run of the preset `smoke`."""
    folder = run(path / ("+".join(names) or "full"), without(tiny("catch"), *names))
    return folder.read("metrics.jsonl")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arms")


@pytest.mark.slow
@every_ablation
def test_each_trains_and_shows(name: str, runs: Path) -> None:
    full, arm = metrics_without(runs), metrics_without(runs, name)
    assert len(arm) == len(full)
    differing = {key for a, b in zip(full, arm, strict=True) for key in a if a[key] != b[key]}
    assert differing >= SHOWS[name]


@pytest.mark.slow
def test_no_two_train_the_same(runs: Path) -> None:
    arms = [metrics_without(runs), *(metrics_without(runs, name) for name in CHANGES)]
    assert len({json.dumps(arm) for arm in arms}) == len(CHANGES) + 1


@pytest.mark.slow
@pytest.mark.parametrize("auxiliary", ["none", "spr", "reconstruction"])
def test_agents_without_an_auxiliary_loss_train_alike(auxiliary: str, runs: Path) -> None:
    is_kept = "true" if auxiliary == "none" else "false"
    overrides = f"loss.auxiliary={auxiliary}", f"components.consistency={is_kept}"
    folder = run(runs / auxiliary, tiny("catch", *overrides))
    assert folder.read("metrics.jsonl") == metrics_without(runs, "consistency")


@pytest.mark.slow
def test_what_is_dropped_is_not_there(runs: Path) -> None:
    def column(key: str, *names: str) -> list[Any]:
        return [line[key] for line in metrics_without(runs, *names)]

    for name in ("consistency", "consistency-authors", "muzero"):
        assert not any(column("consistency", name))
    for name in ("off-policy-correction", "muzero"):
        assert set(column("td_steps", name)) == {tiny("catch").value.td_steps}
    for name in ("planning", "planning-targets"):
        assert not any(column("policy", name))
        assert set(column("target_entropy", name)) == {None}
    assert set(column("search_entropy", "planning-acting")) == {None}
    assert set(column("search_depth", "planning-acting")) <= {None, 1.0}
    assert any(column("policy", "planning-acting"))
    assert not any(column("reanalyse_asked", "reanalysis"))
    assert any(column("reanalyse_evaluated", "reanalysis"))  # values are still seen anew


def test_dropping_planning_twice_is_dropping_it_whole() -> None:
    full = of_preset("atari100k")
    parts = without(full, "planning-acting", "planning-targets")
    assert parts.identity == without(full, "planning").identity


GOOD = 'title = "No thing"\nwhy = "Because."\n'
BAD = {
    "no title": (
        'why = "Because."\n[loss]\naugmentation = false',
        ["EZ-CONFIG-MISSING-KEY", "'title'"],
    ),
    "no why": ('title = "No"\n[loss]\naugmentation = false', ["EZ-CONFIG-MISSING-KEY", "'why'"]),
    "a title that is no text": (
        'title = 3\nwhy = "Because."\n[loss]\naugmentation = false',
        ["EZ-CONFIG-VALUE", "title", "string"],
    ),
    "an unknown header": (
        'titel = "No"\nwhy = "Because."\n[loss]\naugmentation = false',
        ["EZ-CONFIG-UNKNOWN-KEY", "'titel'", "'title'"],
    ),
    "an unknown header beside the others": (
        f'{GOOD}sektion = "4"\n[loss]\naugmentation = false',
        ["EZ-CONFIG-UNKNOWN-KEY", "'sektion'", "'section'"],
    ),
    "an unknown score": (
        f"{GOOD}[published]\nmean = 1.0\nmedain = 1.0\n[loss]\naugmentation = false",
        ["EZ-CONFIG-UNKNOWN-KEY", "'published.medain'", "'published.median'"],
    ),
    "half of the scores": (
        f"{GOOD}[published]\nmean = 1.0\n[loss]\naugmentation = false",
        ["EZ-CONFIG-MISSING-KEY", "'published.median'"],
    ),
    "a score that is not a number": (
        f'{GOOD}[published]\nmean = 1.0\nmedian = "1"\n[loss]\naugmentation = false',
        ["EZ-CONFIG-VALUE", "published.median", "number"],
    ),
    "an unknown setting": (
        f"{GOOD}[loss]\naugmentaton = false",
        ["EZ-CONFIG-UNKNOWN-KEY", "'loss.augmentaton'", "'loss.augmentation'"],
    ),
    "a section that is a value": (f"{GOOD}loss = false", ["EZ-CONFIG-UNKNOWN-KEY", "'loss'"]),
    "nothing changed": (GOOD, ["EZ-ABLATION-EMPTY"]),
    "nothing in a section": (f"{GOOD}[components]", ["EZ-ABLATION-EMPTY"]),
    "the seed": (f"{GOOD}seed = 1", ["EZ-ABLATION-TASK", "seed"]),
    "the environment": (f'{GOOD}[env]\nname = "catch"', ["EZ-ABLATION-TASK", "env.name"]),
    "the game": (f'{GOOD}[env]\ngame = "pong"', ["EZ-ABLATION-TASK", "env.game"]),
    "the device": (f'{GOOD}[compute]\ndevice = "cpu"', ["EZ-ABLATION-NO-RESULT", "compute.device"]),
    "the record": (
        f"{GOOD}[record]\nmetrics_interval = 1",
        ["EZ-ABLATION-NO-RESULT", "record.metrics_interval"],
    ),
    "no TOML": ("No consistency", ["EZ-CONFIG-NOT-TOML"]),
}


@pytest.mark.parametrize(("text", "error"), BAD.values(), ids=BAD)
def test_malformed_files_are_explained(text: str, error: list[str], write: Write) -> None:
    with fails(*error, "mine.toml") as caught:
        load_ablation(write(text))
    assert "pydantic" not in str(caught.value)


def test_a_users_own_file(write: Write) -> None:
    path = write(f"{GOOD}[search]\nnum_simulations = 2\n[acting]\ntemperatures = [1.0, 0.5, 0.5]")
    ablation = load_ablation(path)
    assert (ablation.name, ablation.section, ablation.published) == ("mine", "", None)
    assert ablation.changes == {
        "search.num_simulations": 2,
        "acting.temperatures": [1.0, 0.5, 0.5],
    }
    assert [a.name for a in load_sum(f"{path}+consistency")] == ["mine", "consistency"]


def test_a_users_file_may_have_a_plus_in_its_path(tmp_path: Path) -> None:
    (tmp_path / "c++").mkdir()
    path = tmp_path / "c++" / "mine.toml"
    path.write_text(f"{GOOD}[loss]\naugmentation = false")
    assert [a.name for a in load_sum(str(path))] == ["mine"]


def test_a_file_that_is_not_there() -> None:
    with fails("EZ-CONFIG-NO-FILE", "'nowhere.toml'"):
        load_ablation("nowhere.toml")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("consistancy", "consistency"),
        ("value_prefix", "value-prefix"),
        ("prioritized-replay", "prioritised-replay"),
        ("reanalyse", "reanalysis"),
        ("Augmentation", "augmentation"),
    ],
)
def test_typos_are_answered_with_the_nearest_name(typed: str, meant: str) -> None:
    with fails("EZ-UNKNOWN-ABLATION", repr(typed), repr(meant)):
        load_ablation(typed)


def test_two_that_contradict_each_other_cannot_be_summed(write: Write) -> None:
    path = write(f"{GOOD}[reanalyse]\nratio = 0.5")
    with fails("EZ-ABLATION-CONFLICT", "'reanalysis'", "'mine'", "reanalyse.ratio", "0.0", "0.5"):
        combine([load_ablation("reanalysis"), load_ablation(path)])


def test_the_list_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    commands.list_ablations(as_json=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["full", "Nothing", "dropped", "1.090", "1.943"]
    names = sorted(ALL)
    assert [line.split()[0] for line in lines[2 : 2 + len(names)]] == names
    assert "1.16" in "\n".join(lines)


def test_the_list_as_json_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    commands.list_ablations(as_json=True)
    listing = json.loads(capsys.readouterr().out)
    assert listing["full"]["published"] == {"mean": 1.943, "median": 1.090}
    assert {a["name"]: a["changes"] for a in listing["ablations"]} == ALL
    assert all(a["title"] and a["why"] and a["section"] for a in listing["ablations"])


def shown(capsys: pytest.CaptureFixture[str], name: str, preset: str = "atari100k") -> str:
    commands.show(name, preset, as_json=False)
    return capsys.readouterr().out


def test_show_prints_the_difference_and_the_published_effect(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "value-prefix")
    assert "median 0.552, mean 1.482; the full agent's 1.090 and 1.943" in text
    assert "In the preset atari100k this changes:\n  components.value_prefix: true -> false" in text
    assert "predict sums of rewards" in text
    assert "The effect is not published." in shown(capsys, "consistency")


def test_show_prints_the_published_scores_of_single_games(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "mixed-value", "efficientzero-v2")
    assert "Table 6 of EfficientZero V2, arXiv:2403.00564." in text
    assert "  asterix 26,023.1; the full agent's 61,810.0\n" in text
    assert "  qbert 9,463.3; the full agent's 16,058.3\n" in text
    assert "not published" not in text
    text = shown(capsys, "elu", "efficientzero-v2")
    assert "Code of EfficientZero V2" in text
    assert "The effect is not published." in text


def test_show_says_when_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "augmentation", "catch")
    assert "In the preset catch this changes nothing." in text
    assert "It already has loss.augmentation = false." in text
    part = shown(capsys, "consistency-authors", "catch")
    assert "components.consistency: true -> false" in part
    assert "It already has loss.augmentation = false." in part


def test_show_knows_sums(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "consistency+augmentation", "smoke")
    assert "the same as the ablation consistency-authors" in text
    assert "median 0.340, mean 0.881" in text
    other = shown(capsys, "root-noise+value-prefix", "smoke")
    assert "search.root_exploration_fraction: 0.25 -> 0.0" in other
    assert other.index("Together") < other.rindex("not published")


def test_show_as_json(capsys: pytest.CaptureFixture[str], write: Write) -> None:
    path = write(f"{GOOD}[search]\nnum_simulations = 2")
    commands.show(path, "smoke", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["ablations"][0]["why"] == "Because."
    assert found["differences"] == [
        {
            "setting": "search.num_simulations",
            "full": 4,
            "ablated": 2,
            "meaning": "network calls per root",
        }
    ]


def test_show_refuses_what_the_preset_does_not_have(write: Write) -> None:
    with fails("EZ-CONFIG-UNKNOWN-KEY", "'env.rows'"):
        commands.show(write(f"{GOOD}[env]\nrows = 5"), "smoke", as_json=False)
    with fails("EZ-UNKNOWN-PRESET", "'smok'", "'smoke'"):
        commands.show("consistency", "smok", as_json=False)
