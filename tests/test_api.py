"""The Python interface gives what the commands give."""

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

import ezcli
from ezcli import api
from ezcli.commands.config_options import ConfigOptions, build_config
from ezcli.runs.folder import RunFolder
from tests.experiments.helpers import make_study, save
from tests.failing import fails
from tests.runs.helpers import EVENTS, outcome, run, tiny


@pytest.fixture(scope="module")
def loaded(finished):
    return ezcli.load(finished.path)


@pytest.fixture(scope="module")
def agent(loaded):
    return loaded.agent()


def test_importing_it_loads_nothing_else():
    program = (
        "import sys, ezcli\n"
        "assert 'train' in dir(ezcli)\n"
        "assert not {'pydantic', 'numpy', 'torch'} & set(sys.modules)\n"
        "ezcli.load, ezcli.configure\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    with pytest.raises(AttributeError, match="nothing"):
        _ = ezcli.nothing


def test_a_config_is_that_of_the_options():
    config = ezcli.configure("smoke", game="pong", seed=3, settings={"search.num_simulations": 5})
    overrides = ["search.num_simulations=5"]
    assert config == build_config(ConfigOptions("smoke", None, "pong", 3, None, overrides))
    assert ezcli.configure(env="catch", device="cpu").env.name == "catch"
    with fails("EZ-OPTION-CONFLICT", "seed"):
        ezcli.configure("smoke", seed=1, settings={"seed": 2})
    with fails("EZ-CONFIG-UNKNOWN-KEY", "search.simulations"):
        ezcli.configure("smoke", settings={"search.simulations": 2})


@pytest.mark.slow
def test_training_yields_what_the_files_hold(tmp_path, undisturbed):
    events = list(ezcli.train(tiny(), name="run", runs_dir=tmp_path))
    folder = RunFolder(tmp_path / "run")
    assert outcome(folder) == undisturbed
    assert len(events) == EVENTS
    metrics = [event.metrics for event in events if event.metrics is not None]
    assert metrics == folder.read("metrics.jsonl")
    evaluations = [line for event in events for line in event.evaluations]
    assert evaluations == folder.read("evaluations.jsonl")
    assert list(ezcli.train(tiny(), runs_dir=tmp_path)) == []  # the equal run is finished


@pytest.mark.slow
def test_closing_saves_and_the_same_call_goes_on(tmp_path, undisturbed):
    events = ezcli.train(tiny(), name="run", runs_dir=tmp_path)
    taken = [next(events) for _ in range(6)]
    folder = RunFolder(tmp_path / "run")
    assert folder.is_locked
    events.close()
    assert not folder.is_locked
    assert folder.status() == "interrupted"
    rest = list(ezcli.train(tiny(), runs_dir=tmp_path))
    assert len(taken) + len(rest) == EVENTS
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_ctrl_c_saves_first(tmp_path, undisturbed, monkeypatch):
    told = []

    def progress(*given):
        told.append(given)
        if len(told) == 6:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(api._Reporter, "progress", lambda self, *given: progress(*given))
    usual, between = signal.getsignal(signal.SIGINT), []
    events = ezcli.train(tiny(), name="run", runs_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        between.extend(signal.getsignal(signal.SIGINT) for _ in events)
    assert between == [usual] * 5
    assert RunFolder(tmp_path / "run").status() == "interrupted"
    list(ezcli.train(tiny(), runs_dir=tmp_path))
    assert outcome(RunFolder(tmp_path / "run")) == undisturbed


def test_a_run_is_what_its_files_hold(loaded, finished):
    assert (loaded.name, loaded.status) == (finished.name, "finished")
    assert loaded.config == tiny()
    assert loaded.settings["search.num_simulations"] == tiny().search.num_simulations
    lines = finished.read("metrics.jsonl")
    assert [row["loss"] for row in loaded.metrics] == [line["loss"] for line in lines]
    lines = finished.read("evaluations.jsonl")
    assert [row["mean"] for row in loaded.evaluations] == [line["mean"] for line in lines]
    scores = [score for line in lines for score in line["scores"]]
    assert [row["score"] for row in loaded.games] == scores
    with fails("EZ-RUN-MISSING", "'none'"):
        ezcli.load("none", finished.path)


def test_pandas_takes_the_tables(loaded):
    pandas = pytest.importorskip("pandas")
    for rows in (loaded.metrics, loaded.evaluations, loaded.games):
        frame = pandas.DataFrame(rows)
        assert frame.shape == (len(rows), len(rows[0]))
    assert pandas.DataFrame(loaded.metrics).loss.dtype == float


@pytest.mark.slow
def test_an_agent_acts_as_in_an_evaluation(tmp_path):
    """Seeds of the game and of the planner are one stream, as in `ez watch`; frames are stacked."""
    config = tiny("catch", "env.rows=6", "env.frame_stack=3")
    found = ezcli.load(run(tmp_path / "run", config).path)
    thoughts = [moment.thought for moment in found.agent().play(seed=4) if moment.thought]
    agent, actions, policies = found.agent(seed=4), [], []
    env = agent.make_env()
    frames, is_over = [env.reset(int(agent._rng.integers(2**31)))], False
    while not is_over:
        plan = agent.plan(frames)
        actions.append(plan.action)
        policies.append(plan.policy)
        step = env.step(actions[-1])
        frames.append(step.frame)
        is_over = step.is_game_over
    assert len(actions) > config.env.frame_stack
    assert actions == [thought.action for thought in thoughts]
    assert np.array_equal(policies, [thought.policy for thought in thoughts])
    assert len(np.unique(policies, axis=0)) == len(actions)  # what is seen decides
    assert agent.value(frames) == agent.value(frames[-3:])
    assert agent.value(frames[-1]) == agent.value([frames[-1]] * 3)


def test_a_plan_holds_the_tree_of_its_search(agent):
    frame = agent.make_env().reset(0)
    plan = agent.plan(frame)
    assert plan.visits.sum() == agent.config.search.num_simulations
    assert plan.tree.root_visits[0].tolist() == plan.visits.tolist()
    assert plan.network_value == pytest.approx(agent.value(frame), abs=1e-5)
    assert plan.action in range(len(agent.spec.action_names))
    assert agent.train_steps == agent.config.schedule.train_steps


def test_a_latent_is_what_the_network_makes_of_a_state(agent):
    first = agent.make_env().reset(0)
    other = np.roll(first, 1, axis=1)
    found = agent._agent.network.representation(agent._stacked(first) / 255)
    assert agent.latent(first) == pytest.approx(found[0].detach().numpy(), abs=1e-5)
    assert not np.allclose(agent.latent(first), agent.latent(other))


@pytest.mark.parametrize(
    "observation",
    [np.zeros((2, 4), np.uint8), np.zeros((0, 1, 4, 3), np.uint8), np.zeros((1, 4, 3), float)],
    ids=["shape", "none", "type"],
)
def test_an_observation_of_another_kind_is_refused(observation, agent):
    with fails("EZ-API-OBSERVATION", "uint8"):
        agent.act(observation)


def test_a_report_gives_its_tables(tmp_path, finished):
    study = save(tmp_path, make_study(seeds=(0,)))
    shutil.copytree(finished.path, tmp_path / study.runs[0].name)
    report = ezcli.report("mine", runs_dir=tmp_path)
    (section,) = report.sections
    records = section.table("scores").records()
    final = finished.read("evaluations.jsonl")[-1]["mean"]
    assert [record for record in records if final in record.values()]
    assert section.table("missing").records()[0]["arm"] == "value-prefix"


@pytest.mark.slow
def test_records_hold_intervals(tmp_path):
    for seed in range(2):
        run(tmp_path / f"seed{seed}", tiny("catch", f"seed={seed}"))
    (section,) = ezcli.report(runs_dir=tmp_path).sections
    (record,) = section.table("scores").records()
    means = [ezcli.load(path).evaluations[-1]["mean"] for path in tmp_path.iterdir()]
    column = next(name for name in record if name.endswith(" low")).removesuffix(" low")
    assert record[column] == pytest.approx(np.mean(means))
    assert record[f"{column} runs"] == 2
