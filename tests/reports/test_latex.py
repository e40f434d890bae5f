"""LaTeX tables through a real LaTeX."""

import os
import shutil
import subprocess

import pytest

from ezcli.reports.choice import Choice
from ezcli.reports.formats import latex
from ezcli.reports.published import agents_named, published_agents
from ezcli.reports.report import build
from tests.reports.helpers import make_group, noisy
from tests.reports.test_formats import HOSTILE, everywhere

pytestmark = pytest.mark.slow
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
\input{report}
\end{document}
"""


@pytest.fixture
def compiled(tmp_path):
    """Compiles a table; gives LaTeX's log."""
    program = shutil.which("pdflatex")
    if program is None:
        assert not os.environ.get("CI"), "CI needs pdflatex"
        pytest.skip("no pdflatex here")

    def run(text):
        (tmp_path / "paper.tex").write_text(DOCUMENT)
        (tmp_path / "report.tex").write_text(text, encoding="utf-8")
        command = [program, "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
        log = done.stdout.decode(errors="replace")
        assert done.returncode == 0, log[-2000:]
        return log

    return run


def test_a_study_compiles_and_fits_the_page(compiled):
    drops = ("value-prefix", "consistency", "off-policy-correction")
    games = ("pong", "up_n_down", "chopper_command")
    group = make_group(noisy({}), drops=drops, factorial=True, games=games)
    text = latex(build([group], ["x is left out."], agents_named(["bbf"]), Choice(resamples=100)))
    log = compiled(text)
    assert "Overfull" not in log
    assert "Missing character" not in log


def test_published_scores_compile(compiled):
    log = compiled(latex(build([], [], agents_named(published_agents()), Choice())))
    assert "Missing character" not in log


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_compiles(compiled, name):
    compiled(latex(everywhere(name)))


def test_accents_compile_and_other_letters_are_numbers(compiled):
    log = compiled(latex(everywhere("".join(map(chr, range(0xC0, 0x180))) + "λ 漢 🎮")))
    assert "Missing character" not in log
