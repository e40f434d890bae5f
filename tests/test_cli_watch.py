"""`ez watch`, from its arguments to the film."""

import json
import os
import shutil
import signal
from pathlib import Path

import av
import pytest

from ezcli import console
from ezcli.commands import watch as module
from ezcli.envs.suites import suite_of
from ezcli.film import drawing
from ezcli.runs.folder import RunFolder
from ezcli.runs.names import run_path
from tests.failing import check
from tests.runs.helpers import atari, contents, run, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "mine", tiny()).path


@pytest.fixture
def mine(trained, tmp_path):
    """A run of catch in the runs folder; its games are 3 env_steps long."""
    return shutil.copytree(trained, tmp_path / "runs/mine")


def film(path):
    """Number of frames of a film, and frames a second."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return sum(1 for _ in container.decode(video=0)), round(float(rate))


def test_a_film_in_the_runs_folder(ez, mine):
    before = contents(mine)
    code, out, err = ez("watch", "mine")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    assert line.endswith("after 3 env_steps: runs/mine/watch-seed0.mp4")
    frames, fps = film("runs/mine/watch-seed0.mp4")
    assert (frames, fps) == (3 + 4, 4)  # the end stays for a second
    after = contents(mine)
    del after["watch-seed0.mp4"]
    assert after == before  # nothing else is left or changed


def test_the_score_is_that_of_an_evaluation_of_one_episode(ez, mine):
    _, out, _ = ez("evaluate", "mine", "--episodes", "1", "--json")
    (score,) = json.loads(out)["scores"]
    assert ez("watch", "mine")[1].startswith(f"Score {score:g} after ")


def test_options(ez, mine, tmp_path):
    identity = RunFolder(mine).config().identity
    code, out, _ = ez("watch", identity[:6], "-o", "a.mp4", "--seed", "5", "--fps", "9")
    assert (code, film("a.mp4")) == (0, (3 + 9, 9))
    code, out, _ = ez("watch", mine, "--output", "b.mp4", "--max-steps", "2", "--device", "cpu")
    assert (code, film("b.mp4")) == (0, (2 + 4, 4))
    assert out.splitlines()[1].startswith(
        "The film ends there, before the game does. --max-steps makes"
    )
    assert ez("watch", "mine", "--seed", "7")[0] == 0
    assert (mine / "watch-seed7.mp4").is_file()


@pytest.mark.slow
def test_a_gif_is_short_unless_asked(ez, mine, monkeypatch):
    monkeypatch.setattr(module, "GIF_STEPS", 2)
    code, out, _ = ez("watch", "mine", "-o", "a.gif")
    assert (code, film("a.gif")[0]) == (0, 2 + 4)
    assert "The film ends there, before the game does. --max-steps makes" in out
    code, out, _ = ez("watch", "mine", "-o", "a.gif", "--max-steps", "100")
    assert (code, film("a.gif")[0]) == (0, 3 + 4)
    assert "cuts" not in out
    assert ez("watch", "mine")[1].count("after 3 env_steps") == 1  # an mp4 is not cut


@pytest.mark.slow
def test_a_game_that_evaluations_cut_off_too_cannot_be_longer(ez, tmp_path):
    run(tmp_path / "runs/mine", tiny("catch", "env.evaluation_max_episode_steps=2"))
    code, out, _ = ez("watch", "mine", "--max-steps", "50")
    assert (code, film("runs/mine/watch-seed0.mp4")[0]) == (0, 2 + 4)
    assert (
        out.splitlines()[1]
        == "The film ends there, before the game does. An evaluation has the same limit."
    )


@pytest.mark.slow
def test_the_same_game_is_the_same_film(ez, mine):
    for name in ("a.mp4", "b.mp4"):
        ez("watch", "mine", "-o", name, "--seed", "2")
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_a_run_that_is_being_trained_can_be_watched(ez, mine):
    with RunFolder(mine).lock():
        assert ez("watch", "mine")[0] == 0


def test_progress_is_shown_on_a_terminal(ez, mine, monkeypatch):
    said = []
    monkeypatch.setattr(console.out, "_force_terminal", True)
    monkeypatch.setattr(console.Live, "update", lambda self, text: said.append(text.plain))
    assert ez("watch", "mine")[0] == 0
    assert [line.partition(", score")[0] for line in said] == [
        f"env_step {step} of at most 100" for step in range(4)
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_stop_keeps_what_was_played(number, code, ez, mine, monkeypatch):
    drawn, draw = [], drawing.Artist.draw

    def stopping(self, moment):
        drawn.append(moment)
        if len(drawn) == 2:
            signal.raise_signal(number)
        return draw(self, moment)

    monkeypatch.setattr(drawing.Artist, "draw", stopping)
    found, out, err = ez("watch", "mine")
    assert (found, err) == (code, "")
    assert f"Stopped by {number.name}; the film contains the game until then." in out
    assert film("runs/mine/watch-seed0.mp4")[0] == 2 + 4
    assert drawn[-1].ending == "stopped"


def test_a_second_ctrl_c_leaves_nothing(ez, mine, monkeypatch):
    def stopping(self, moment):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(drawing.Artist, "draw", stopping)
    assert ez("watch", "mine")[0] not in (0, None)
    assert not list(mine.glob("*watch*"))


@pytest.mark.parametrize(
    ("output", "code", "named"),
    [
        ("film.avi", "EZ-FILM-SUFFIX", "'film.avi'"),
        ("film", "EZ-FILM-SUFFIX", "'film'"),
        ("none/film.mp4", "EZ-PATH-NO-FOLDER", "'none'"),
        ("runs.gif", "EZ-PATH-NOT-A-FILE", "'runs.gif'"),
    ],
)
def test_a_wrong_target_is_refused_at_once(output, code, named, ez, mine, monkeypatch):
    monkeypatch.setattr("ezcli.runs.agent.load_agent", lambda *_: pytest.fail("too late"))
    Path("runs.gif").mkdir()
    before = set(Path().rglob("*"))
    assert ez("watch", "mine", "-o", output)[:2] == (2, "")
    check(ez.error, code, named)
    assert set(Path().rglob("*")) == before


def test_a_target_that_cannot_be_written(ez, mine, monkeypatch):
    access, folder = os.access, Path("runs/mine")
    monkeypatch.setattr(
        os, "access", lambda path, *mode: Path(path) != folder and access(path, *mode)
    )
    assert ez("watch", "mine")[0] == 1
    check(ez.error, "EZ-PATH-NOT-WRITABLE", "'runs/mine'")


def test_a_run_without_a_checkpoint_is_refused_as_in_evaluate(ez, tmp_path):
    folder = RunFolder(run_path(tmp_path / "runs", "new"))
    folder.create(tiny())
    code, _, err = ez("watch", "new")
    assert code == 1
    check(ez.error, "EZ-RUN-NO-CHECKPOINT", "'new'")
    assert ez("evaluate", "new")[2] == err
    assert not list(folder.path.glob("*watch*"))


def test_a_failure_on_the_way_leaves_nothing(ez, mine, monkeypatch):
    monkeypatch.setattr(drawing, "draw_path", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ez("watch", "mine")
    assert not list(mine.glob("*watch*"))


def test_atari_is_as_fast_as_on_the_console():
    configs = [atari("pong", f"env.frame_skip={skip}") for skip in (4, 3, 200)]
    speeds = [suite_of(config.env).fps(config.env) for config in (*configs, tiny())]
    assert speeds == [15, 20, 1, 4]


@pytest.mark.parametrize("where", ["ezcli.runs.trainer.Network", "ezcli.film.drawing.Artist.draw"])
def test_memory_that_runs_out_is_a_sentence(where, ez, mine, monkeypatch):
    def allocate(*_args):
        raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(where, allocate)
    assert ez("watch", "mine")[0] == 1
    check(ez.error, "EZ-RUN-MEMORY")
    assert not list(mine.glob("*.mp4"))
