"""The notebooks run from beginning to end, and are stored without outputs."""

import pytest

from docs.site import notebooks

NAMES = [path.stem for path in notebooks.paths()]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs(name):
    for cell in notebooks.read(notebooks.FOLDER / f"{name}.ipynb").cells:
        if cell.cell_type == "code":
            assert not cell.outputs, cell.id
            assert cell.execution_count is None, cell.id


def test_the_figures_are_those_of_the_notebooks():
    drawn = {
        notebooks.figure_path(path.stem, cell.id)
        for path in notebooks.paths()
        for cell in notebooks.read(path).cells
        if "plt.show()" in cell.source
    }
    assert drawn == set(notebooks.FIGURES.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")  # as importing envpool does, in the tests of Procgen
    done = notebooks.executed(notebooks.FOLDER / f"{name}.ipynb", tmp_path)
    drawn = [cell for cell, _ in notebooks.figures(done)]
    assert drawn == [cell.id for cell in done.cells if "plt.show()" in cell.source]
    printed = [
        (cell.id, output.text)
        for cell in done.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert printed == []  # no warnings
