"""Markdown, CSV, JSON and LaTeX: the same numbers in each, and names that are escaped."""

import csv
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ezcli.reports.choice import Choice
from ezcli.reports.formats import (
    FORMATS,
    cell_text,
    key_of,
    latex,
    latex_text,
    markdown_text,
    number_text,
    one_line,
    safe_in_csv,
)
from ezcli.reports.published import agents_named
from ezcli.reports.report import Report, Section, build
from ezcli.reports.statistics import Estimate
from ezcli.reports.tables import Interval, Number, Probability, Table
from ezcli.words import broken
from tests.reports.helpers import make_group, noisy

HOSTILE = (
    "<script>alert(1)</script>",
    "../x",
    "two\nlines\r\nor three",
    "a|b",
    "$x^2$",
    "back\\slash\\|",
    "=cmd()",
    "@SUM(A1)",
    "+1+1",
    "-2+3",
    "**bold** _soft_ ~~gone~~ `code`",
    "[link](http://x)",
    "![picture](x)",
    "# heading",
    "- item",
    "1. item",
    "&lt;b&gt;",
    "%comment",
    "{\\input{x}}",
    "#1 & ~2 ^3",
    "[x]",
    "*",
    'quo"te, and comma',
    "\x1b[31mred\x07",
    "\u202ereversed",
    "\udcff\ud800",
    "",
    " ",
)


def report(*cells, columns=("name", "number"), title="Title", section="Section", notes=()):
    """A report of one table."""
    table = Table("key", title, tuple(columns), tuple(cells), tuple(notes))
    return Report((Section(section, None, None, (table,), (), (), (), tuple(notes)),), (), notes)


def everywhere(text):
    """A report with a text in every place that can hold one."""
    row = (text, text, Number(1.0, 1))
    return report(row, row, columns=(text, text, "x"), title=text, section=text, notes=(text,))


@pytest.fixture(scope="module")
def study():
    group = make_group(
        noisy({"value-prefix": -0.3}),
        drops=("value-prefix", "consistency"),
        games=("pong", "qbert"),
        skip=lambda arm, game, seed: game == "qbert" and seed > 0 and arm == "consistency",
    )
    return build([group], ["x is left out."], agents_named(["bbf"]), Choice(resamples=200))


def numbers(made):
    """Every number of a report: (table, row, column, value)."""
    return [
        (table.title, row[0], column, cell)
        for section in made.sections
        for table in section.tables
        for row in table.rows
        for column, cell in zip(table.columns[1:], row[1:], strict=True)
        if isinstance(cell, Interval | Number | Probability)
    ]


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        ("text", "text"),
        (Number(1234.5678, 2), "1234.57"),
        (Number(0.5, 3, signed=True), "+0.500"),
        (Number(-0.5, 3, signed=True), "-0.500"),
        (Number(-0.0004, 3), "0.000"),
        (Number(-0.0004, 3, signed=True), "+0.000"),
        (Number(-0.4, 0), "0"),
        (Number(-0.0, 0, signed=True), "+0"),
        (Number(-10.0, 0), "-10"),
        (Probability(0.04321), "0.043"),
        (Probability(0.001), "0.001"),
        (Probability(0.00099), "<0.001"),
        (Probability(0.0), "<0.001"),
        (Probability(1.0), "1.000"),
        (Interval(Estimate(1.0, 0.5, 1.5, 5), 2), "1.00 [0.50, 1.50]"),
        (Interval(Estimate(-0.1, -0.2, -0.001, 5), 1, signed=True), "-0.1 [-0.2, +0.0]"),
        (Interval(Estimate(1.0, None, None, 1), 2), "1.00"),
    ],
)
def test_cells_as_text(cell, text):
    assert cell_text(cell) == text


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.integers(0, 3), st.booleans())
def test_a_number_is_that_number_and_zero_has_no_minus(value, digits, signed):
    text = number_text(value, digits, signed)
    assert float(text) == pytest.approx(value, abs=0.5001 * 10**-digits)
    assert not (text.startswith("-") and float(text) == 0)
    assert len(text.partition(".")[2]) == digits
    assert signed == text.startswith("+") or value < 0


# ------------------------------------------------------------------ markdown


def rendered(text):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def test_markdown_is_tables_with_numbers_to_the_right(study):
    text = FORMATS["markdown"](study)
    assert "| agent | mean | median | IQM | optimality gap |" in text
    assert "| --- | ---: | ---: | ---: | ---: |" in text
    html = rendered(text)
    assert html.count("<table>") == len(study.sections[0].tables)
    for _, _, _, cell in numbers(study):
        assert cell_text(cell).replace("<", "&lt;") in html
    assert text.endswith("- x is left out.\n")
    assert "\n\n\n" not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_name_and_nothing_else(name):
    html = rendered(FORMATS["markdown"](everywhere(name)))
    kinds = set(re.findall(r"</?([a-z0-9]+)", html))
    assert kinds <= {"h1", "h2", "table", "thead", "tbody", "tr", "th", "td", "p", "ul", "li"}
    assert [html.count(tag) for tag in ("<h1>", "<h2>", "<li>", "<tr>")] == [1, 1, 2, 3]
    assert html.count("<td") == 6
    shown = re.search(r"<tbody>\n<tr>\n<td.*?>(.*?)</td>", html)[1]
    plain = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    assert " ".join(plain.replace("&amp;", "&").split()) == " ".join(one_line(name).split())


def test_markdown_leaves_ordinary_names_as_they_are():
    for name in ("up_n_down", "search.num_simulations=8", "value-prefix+consistency", "R&D", "−1"):
        assert markdown_text(name) == name


# ------------------------------------------------------------------ CSV


def read_csv(made):
    return list(csv.DictReader(io.StringIO(FORMATS["csv"](made))))


def test_csv_holds_every_number_unrounded(study):
    rows = read_csv(study)
    found = {(r["title"], r["row"].lstrip("'"), r["column"]): r for r in rows}
    *rows, left_out = rows
    assert (left_out["table"], left_out["value"]) == ("left_out", "x is left out.")
    assert len(rows) == sum(len(t.rows) * (len(t.columns) - 1) for t in study.sections[0].tables)
    for title, row, column, cell in numbers(study):
        line = found[title, row, column]
        if isinstance(cell, Interval):
            value, low, high, runs = cell.estimate
            assert int(line["runs"]) == runs
            ends = [float(line[key]) if line[key] else None for key in ("low", "high")]
            assert ends == [low, high]
        else:
            value = cell.value
        assert float(line["value"]) == value
    missing = [line for line in rows if line["table"] == "missing"]
    assert {(line["row"], line["column"], line["value"]) for line in missing} == {
        ("− consistency", "game", "qbert"),
        ("− consistency", "seeds", "1, 2"),
        ("− consistency", "why", "it has not started"),
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_holds_a_name_in_one_line_and_no_formula(name):
    text = FORMATS["csv"](everywhere(name))
    assert len(text.splitlines()) == 1 + 2 * 2 + 1
    for row in csv.DictReader(io.StringIO(text)):
        for part in (row["section"], row["title"], row["row"], row["column"], row["value"]):
            assert part[:1] not in ("=", "+", "-", "@", "\t", "\r")
        named = row["value" if row["table"] == "left_out" else "section"]
        assert named in (one_line(name), f"'{one_line(name)}")


def test_csv_keeps_negative_numbers_numbers():
    assert [safe_in_csv(text) for text in ("-3", "+0.5", "-1,000", "-a", "-")] == [
        *("-3", "+0.5", "-1,000", "'-a", "'-")
    ]
    (row,) = read_csv(report(("a", Number(-0.5, 1))))
    assert row["value"] == "-0.5"


# ------------------------------------------------------------------ JSON


def strictly(text):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_json_says_all(study):
    whole = strictly(FORMATS["json"](study))
    assert set(whole) == {"sections", "published", "notes"}
    (section,) = whole["sections"]
    assert section["scale"] == {
        "kind": "normalised",
        "name": "human-normalised",
        "games": ["pong", "qbert"],
    }
    found = {
        (table["title"], row[next(iter(row))], column): value
        for table in section["tables"]
        for row in table["rows"]
        for column, value in row.items()
    }
    for title, row, column, cell in numbers(study):
        value = found[title, key_of(row), key_of(column)]
        if isinstance(cell, Interval):
            assert value == cell.estimate._asdict()
        else:
            assert value == cell.value
    assert len(section["runs"]) == 16
    run = section["runs"][0]
    assert (run["arm"], run["game"], run["seed"], run["episodes"]) == ("full", "pong", 0, 32)
    assert run["human_normalised"] == pytest.approx((run["score"] + 20.7) / 35.3)
    assert [agent["name"] for agent in whole["published"]] == ["bbf"]
    assert len(whole["published"][0]["raw"]) == 26
    assert whole["notes"] == ["x is left out."]
    for missing, seed in zip(section["missing"], (1, 2), strict=True):
        assert missing.pop("name").startswith("qbert-")
        place = {"arm": "consistency", "game": "qbert", "seed": seed}
        assert missing == place | {"why": "it has not started"}


def test_missing_is_null():
    made = report(("a", None), ("b", Interval(Estimate(1.0, None, None, 1), 2)))
    rows = strictly(FORMATS["json"](made))["sections"][0]["tables"][0]["rows"]
    assert rows[0] == {"name": "a", "number": None}
    assert rows[1]["number"] == {"value": 1.0, "low": None, "high": None, "runs": 1}


def test_json_has_no_normalised_score_of_a_game_without_a_human_one():
    groups = [make_group(lambda *_: 1.0, drops=(), games=("pong", "tetris"), seeds=(0,))]
    made = build(groups, (), [], Choice(resamples=100))
    runs = strictly(FORMATS["json"](made))["sections"][0]["runs"]
    assert [run["game"] for run in runs] == ["pong", "tetris"]
    assert [run["human_normalised"] for run in runs] == [pytest.approx(1.0), None]


def test_json_never_holds_what_is_no_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        FORMATS["json"](report(("a", Number(float("nan"), 1))))


@pytest.mark.parametrize("name", HOSTILE)
def test_json_holds_any_name(name):
    whole = strictly(FORMATS["json"](everywhere(name)).encode().decode())
    assert whole["sections"][0]["title"] == re.sub("[\ud800-\udfff]", "\ufffd", name)


def test_json_keeps_columns_of_the_same_name_apart():
    """An arm may be called `game`."""
    made = report(("pong", Number(1.0, 1)), columns=("game", "game"))
    (row,) = strictly(FORMATS["json"](made))["sections"][0]["tables"][0]["rows"]
    assert row == {"game": "pong", "game (2)": 1.0}


# ------------------------------------------------------------------ LaTeX


def test_latex_is_booktabs(study):
    text = latex(study)
    tables = len(study.sections[0].tables)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == tables
    for command in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(command) >= tables
    row = next(line for line in text.splitlines() if line.startswith("full & "))
    assert r" \\" in row


def test_latex_breaks_sentences_into_lines_of_a_paragraph():
    """Which need no smaller letters and no second block, however long they are."""
    text = latex(report(("a", "a sentence of words " * 9)))
    assert r"\begin{tabular}{lp{0.3\linewidth}}" in text
    assert r"\small" in text
    assert r"\scriptsize" not in text
    assert r"\begin{tabular}{ll}" in latex(report(("a", "a few words")))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50 %", r"50 \%"),
        ("up_n_down", r"up\_n\_down"),
        ("a & b # c", r"a \& b \# c"),
        ("$x^2$", r"\$x\textasciicircum{}2\$"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("<0.001", r"\textless{}0.001"),
        ("EfficientZero †", r"EfficientZero $^\dagger$"),
        ("-0.1 [-0.2, 0.0]", "$-$0.1 [$-$0.2, 0.0]"),
        ("value-prefix", "value-prefix"),
        ("two\nlines", "two lines"),
        ("–", "--"),
        ("ez ablate --study 'a b'", r"ez ablate -{}-study \textquotesingle{}a b\textquotesingle{}"),
        ("Student's t, a--b", "Student's t, a--b"),
    ],
)
def test_latex_escapes(text, escaped):
    assert latex_text(text) == escaped


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_a_command(name):
    """Every backslash starts one of ours; braces are balanced; comments are one line."""
    text = latex(everywhere(name))
    known = (
        "textbackslash|textless|textgreater|textbar|textasciicircum|textasciitilde|textquotesingle|dagger|ddagger|"
        "begin|end|centering|small|caption|label|toprule|midrule|bottomrule|linewidth|addlinespace|usepackage|input"
    )
    body = [line for line in text.splitlines() if not line.startswith("%")]
    for line in body:
        rest = re.sub(rf"\\(({known})(?![A-Za-z])|[{{}}$&#%_\\])", "", line)
        assert "\\" not in rest
        assert "%" not in rest
        assert not line.startswith(("*", "["))
    assert "script" not in text or r"\textless{}script" in text
    unescaped = re.sub(r"\\[{}\\]", "", "\n".join(body))
    assert unescaped.count("{") == unescaped.count("}")
    assert len(text.splitlines()) == len(latex(everywhere("plain")).splitlines())


def test_every_table_in_latex_has_a_label_of_its_own():
    group = make_group(noisy({}), drops=("value-prefix",), games=("pong", "qbert"))
    text = latex(build([group, group], [], [], Choice(resamples=100)))
    labels = re.findall(r"\\label\{tab:([a-z0-9-]+)\}", text)
    assert len(set(labels)) == len(labels) == text.count(r"\begin{table}")
    assert labels[:2] == ["study-mine-aggregates", "study-mine-differences"]


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_ends_in_one_line_end_and_is_utf8(study, form):
    for made in (study, *map(everywhere, HOSTILE)):
        text = FORMATS[form](made)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        assert text.encode()


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_no_text_breaks_a_format(name):
    made = everywhere(name)
    assert rendered(FORMATS["markdown"](made)).count("<td") == 6
    assert len(FORMATS["csv"](made).split("\n")) == 1 + 2 * 2 + 1 + 1
    strictly(FORMATS["json"](made))
    assert len(latex(made).split("\n")) == len(latex(everywhere("plain")).split("\n"))


def test_every_format_says_what_an_arm_lacks_and_programs_get_its_key():
    group = make_group(noisy({}), drops=("consistency", "value-prefix"), factorial=True)
    report = build([group], (), (), Choice(resamples=100))
    label = {"latex": "$-$ value prefix"}
    for name, form in FORMATS.items():
        text = form(report)
        if name == "json":
            assert "−" not in text.replace('"title": "− ', "")
            assert '"arm": "value-prefix"' in text
            assert '"drop": "consistency x value-prefix"' in text
        else:
            assert label.get(name, "− value prefix") in text, name
            assert "value-prefix" not in text.replace("-value-prefix-seed", ""), name


def test_a_name_is_broken_between_its_parts_and_numbers_stay_whole():
    name = "optimiser.learning_rate=0.00125,search.num_simulations=1e-05,off-policy"
    assert broken(name, 12) == [
        "optimiser.",
        "learning_",
        "rate=",
        "0.00125,",
        "search.num_",
        "simulations=",
        "1e-05,off-",
        "policy",
    ]
