"""Terminal output: plain in a pipe, short enough for a terminal, and without markup."""

import errno
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from ezcli import console
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.errors import EzError, OutputError
from ezcli.words import duration
from tests.failing import fails

CONFIG = resolve(read_toml(preset_path("atari100k")))
METRICS = {
    "score": -123456.7,
    "loss": 12.345,
    "value": 1.5,
    "policy": 1.79,
    "search_depth": 12.34,
    "search_entropy": 1.234,
    "game_env_steps": None,
}


def event(metrics=None, env_steps=100_000, train_steps=120_000):
    return SimpleNamespace(env_steps=env_steps, train_steps=train_steps, metrics=metrics)


def rates(left=359_000.0):
    return SimpleNamespace(
        env_steps_per_second=123.4, train_steps_per_second=123.4, seconds_left=left
    )


@pytest.fixture
def terminal(monkeypatch):
    """A terminal 80 columns wide, as text."""
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(console, "out", screen)
    return stream


def test_progress_fits_80_columns_at_its_longest():
    lines = console.progress_lines(event(), CONFIG, rates(), METRICS)
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines), lines


def test_progress():
    assert console.progress_lines(event(None, 2_500, 1_000), CONFIG, rates(75.0), METRICS) == (
        "1%  1 min 15 s left",
        "env_steps 2,500/100,000 (123.4/s)  train_steps 1,000/120,000 (123.4/s)",
        "score -123456.7  loss 12.35  value 1.50  policy 1.79  depth 12.3  entropy 1.23",
    )
    assert console.progress_lines(event(None, 8, 0), CONFIG, rates(None), {}) == (
        "0%",
        "env_steps 8/100,000 (123.4/s)  train_steps 0/120,000 (123.4/s)",
        "first metrics soon",
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3_599.6, "1 h 00 min"),
        (3_900, "1 h 05 min"),
        (86_400, "1 d 00 h"),
        (86_340, "23 h 59 min"),
        (360_000, "4 d 04 h"),
        (172_799, "2 d 00 h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_plain_progress_comes_now_and_then(capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    reporter = console.TerminalReporter()
    with reporter.running():
        for _ in range(120):
            reporter.progress(event(METRICS), CONFIG, rates())
            clock[0] += 1.0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # at 0, 30, 60 and 90 seconds
    assert all(line.startswith("100%  4 d 04 h left | env_steps 100,000/1") for line in lines)
    assert all("score -123456.7" in line for line in lines)


def test_the_last_known_number_stays(capsys):
    reporter = console.TerminalReporter()
    reporter.progress(event(METRICS), CONFIG, rates())
    reporter.said_at = -1e9
    reporter.progress(event({"score": None, "loss": 1.0}), CONFIG, rates())
    last = capsys.readouterr().out.splitlines()[-1]
    assert "score -123456.7  loss 1.00" in last


def test_a_terminal_has_a_bar_with_share_time_and_rates(terminal):
    reporter = console.TerminalReporter()
    clock = [0.0]
    reporter.bar.get_time = lambda: clock[0]

    def drawn():
        screen = Console(file=io.StringIO(), width=80)
        screen.print(reporter.live.get_renderable())
        return screen.file.getvalue()

    with reporter.running():
        clock[0] = 65.0
        reporter.progress(event(METRICS, 50_000, 60_000), CONFIG, rates(7_500))
        first, second, third = drawn().splitlines()
        assert " 50% 1 min 05 s elapsed 2 h 05 min left" in first
        assert "━━━" in first
        assert second.startswith("env_steps 50,000/100,000 (123.4/s)  train_steps 60,000/120,000")
        assert third.startswith("score -123456.7")
        reporter.say("a line that stays")
        reporter.progress(event(METRICS), CONFIG, rates(None))
        with reporter.quiet_while("Evaluating"):
            assert "Evaluating ..." in drawn()
            clock[0] = 75.0  # the time goes on during an evaluation, also the last
            assert "100% 1 min 15 s elapsed" in drawn()
        with reporter.quiet_while("Evaluating: 32 episodes", is_announced=False) as tell:
            tell(0, 32, 1)
            tell(12, 32, 12_345)  # it moves
            run, what, games = drawn().splitlines()
            assert "100%" in run
            assert what == "Evaluating: 32 episodes ..."
            assert "━━━" in games
            assert "12/32 episodes over, env_step 12,345" in games
    assert reporter.live is None
    assert "a line that stays" in terminal.getvalue()


def test_quiet_prints_nothing(terminal, capsys):
    reporter = console.QuietReporter()
    with reporter.running(), reporter.quiet_while("Loading"):
        reporter.say("x")
        reporter.progress(event(METRICS), CONFIG, rates())
    assert terminal.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_what_takes_long_is_said(capsys, monkeypatch):
    clock = iter([0.0, 4.0, 10.0, 10.5])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    reporter = console.TerminalReporter()
    with reporter.quiet_while("Compiling"):
        assert capsys.readouterr().out == "Compiling ...\n"
    assert capsys.readouterr().out == "... 4 s\n"
    with reporter.quiet_while("Compiling"):
        pass
    assert capsys.readouterr().out == "Compiling ...\n"


def test_a_log_says_now_and_then_how_far_an_evaluation_is(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    reporter = console.TerminalReporter()
    with reporter.quiet_while("Evaluating: 32 episodes", is_announced=False) as tell:
        for second in range(100):
            clock[0] = float(second)
            tell(second // 10, 32, 10 * second)
    assert capsys.readouterr().out.splitlines() == [
        "Evaluating: 3 of 32 episodes over, env_step 300",
        "Evaluating: 6 of 32 episodes over, env_step 600",
        "Evaluating: 9 of 32 episodes over, env_step 900",
    ]
    with console.QuietReporter().quiet_while("Evaluating: 32 episodes") as tell:
        tell(1, 32, 10)
    with console.evaluating("Evaluating pong") as tell:
        clock[0] = 200.0
        tell(1, 32, 10)
    assert capsys.readouterr() == ("", "Evaluating pong: 1 of 32 episodes over, env_step 10\n")


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "a [red] b", "x" * 200, "[/]", ":smile:"])
def test_text_is_not_markup(text, capsys):
    console.show(text)
    console.TerminalReporter().say(text)
    console.write(f"{text}\n")
    assert capsys.readouterr().out == f"{text}\n" * 3


def test_an_error_goes_to_standard_error(capsys):
    console.show_error(EzError("EZ-PATH-NO-FILE", "No [file] here.", "Make [one]."))
    console.show_error(EzError("EZ-PATH-NO-FILE", "No hint."))
    assert capsys.readouterr() == ("", "error: No [file] here.\nMake [one].\nerror: No hint.\n")


def test_a_table(capsys):
    rows = [("a", "x [y]", "1,000"), ("bb", "z", "-5%")]
    console.show_table(("name", "what", "steps"), rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["name", "what", "steps"],
        ["a", "x", "[y]", "1,000"],
        ["bb", "z", "-5%"],
    ]
    assert len({len(line.rstrip()) for line in lines}) == 1  # numbers stand to the right


def test_names_break_at_their_parts_where_a_table_is_too_wide(capsys, monkeypatch):
    monkeypatch.setattr(console.out, "width", 80)
    name = "search.num_simulations=2,value.td_steps=3"
    console.show_table(("arm", "differs in"), [(name, "it differs " * 6), ("full", "nothing")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == [
        "arm",
        "search.num_simulations=2,",
        "value.td_steps=3",
        "full",
    ]


SCORE = (
    "final score at env_step 100,000: 21.00 ± 0.12, human-normalised 1.178 "
    "(median 21.00, 20.00 to 21.00; 32 episodes, 2 distinct)"
)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("say", [console.show, console.tell, console.TerminalReporter().say])
def test_a_line_breaks_between_words(terminal, monkeypatch, say, width):
    monkeypatch.setattr(console.out, "width", width)
    say(SCORE)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(map(str.strip, lines)) == SCORE
    if width == 80:
        assert lines[1].strip() == SCORE[SCORE.index("(") :]


def test_a_command_gets_a_line_of_its_own(terminal, monkeypatch):
    monkeypatch.setattr(console.out, "width", 40)
    command = f"ez report {'long-name-' * 8}"
    console.show(f"All tables and plots of this study: {command}")
    lines = terminal.getvalue().splitlines()
    assert lines == ["All tables and plots of this study:", f"  {command}"]


def test_a_name_stays_whole(terminal):
    console.show(f"Run {'long-name-' * 9} (identity 123).")
    assert f"{'long-name-' * 9}\n" in terminal.getvalue()


def test_nothing_is_broken_where_no_terminal_is(capsys):
    console.show(SCORE)
    assert capsys.readouterr().out == f"{SCORE}\n"


def test_a_check(capsys):
    console.show_check("Disk", True, "1 GiB", "")
    console.show_check("Memory", False, "[few]", "Buy some.")
    assert capsys.readouterr().out == ("ok   Disk: 1 GiB\nnot  Memory: [few]\n     Buy some.\n")


# ------------------------------------------------------------------ standard output


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def redirected(redirection, *arguments):
    """A command in a shell of its own, its standard output elsewhere."""
    line = f"{shlex.join([sys.executable, '-m', 'ezcli', *arguments])} {redirection}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)


@needs_full
@pytest.mark.parametrize(
    "arguments",
    [["presets"], ["presets", "--json"], ["report", "--runs-dir", "gone", "--format", "csv"]],
)
def test_a_full_disk_behind_standard_output_is_a_sentence(arguments):
    done = redirected("> /dev/full", *arguments)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [["presets"], ["presets", "--json"]])
def test_nobody_listens(arguments):
    done = redirected(">&-", *arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_ends_the_command_in_silence():
    done = redirected("| head -c 5", "report", "--runs-dir", "gone", "--format", "json")
    assert len(done.stdout) == 5
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_live_line_goes_to_standard_output(monkeypatch):
    """Rich puts itself before standard output while it shows one."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", stream)
    screen = Console(file=console.Output(), force_terminal=True, width=80)
    monkeypatch.setattr(console, "out", screen)
    reporter = console.TerminalReporter()
    with reporter.running():
        reporter.progress(event(None, 2_500, 1_000), CONFIG, rates(75.0))
        reporter.say("a line that stays")
        print("a line of another")
    assert "1 min 15 s left" in stream.getvalue()
    assert stream.getvalue().count("a line that stays") == 1
    assert stream.getvalue().count("a line of another") == 1


def test_the_terminal_is_that_of_standard_output(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    console.write("one\n")
    console.show("two")
    assert stream.getvalue() == "one\ntwo\n"
    assert not console.Output().isatty()
    assert console.Output().encoding == stream.encoding


def ascii_output(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_letters_that_the_output_lacks_are_spelt_out(monkeypatch):
    stream = ascii_output(monkeypatch)
    console.show("größe")
    console.TerminalReporter().say("±1")
    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfe\n\\xb11\n"


def test_text_for_programs_is_refused_rather_than_spelt(monkeypatch):
    stream = ascii_output(monkeypatch)
    with fails("EZ-OUTPUT-ENCODING", "ascii", r"'\xf6'", "PYTHONIOENCODING"):
        console.write("größe\n")
    assert stream.buffer.getvalue() == b""


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_a_reporter_that_nobody_hears_says_so_and_raises_nothing(error, monkeypatch):
    class Lost(io.StringIO):
        def write(self, text):
            raise error

    monkeypatch.setattr(sys, "stdout", Lost())
    reporter = console.TerminalReporter()
    assert reporter.lost_output is None
    with reporter.quiet_while("Loading"):
        reporter.say("one")
    assert isinstance(reporter.lost_output, BrokenPipeError | OutputError)


def test_reserved_output_holds_what_is_written_to_it_alone(capfd):
    def by_all(text):
        print(text)
        os.write(1, f"{text} by number\n".encode())
        subprocess.run(["echo", text, "by a child"], check=True)

    with console.output.reserve():
        console.write("one\n")
        by_all("theirs")
        console.show("two")
    by_all("ours")
    out, err = capfd.readouterr()
    assert out == "one\ntwo\nours\nours by number\nours by a child\n"
    assert sorted(err.splitlines()) == ["theirs", "theirs by a child", "theirs by number"]


def test_reserved_output_that_was_closed_is_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with console.output.reserve():
        console.write("one\n")
    assert sys.stdout is None
