"""A report as Markdown, CSV, JSON and LaTeX, and its cells as text."""

import csv
import io
import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

from ezcli.envs.suites import normalisation_of
from ezcli.reports.groups import Run
from ezcli.reports.report import Report
from ezcli.reports.tables import MISSING, Cell, Interval, Number, Probability, Shown, Table
from ezcli.words import STEERING, broken, json_text

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "|": r"\textbar{}",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "–": "--",
}
LATEX_ACCENTED = frozenset(map(chr, range(0xC0, 0x100))) - set("ÐÞðþ")  # in every encoding
LINE_WIDTH = 74  # line width of an article, in characters of `small`
PROSE = r"p{0.3\linewidth}"


def cell_text(cell: Cell) -> str:
    """A cell as plain text."""
    if cell is None:
        return MISSING
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Number):
        return number_text(cell.value, cell.digits, cell.signed)
    if isinstance(cell, Probability):
        return f"{cell.value:.3f}" if cell.value >= 0.001 else "<0.001"
    estimate = cell.estimate
    text = number_text(estimate.value, cell.digits, cell.signed)
    if estimate.low is None or estimate.high is None:
        return text
    if cell.is_everything:
        return f"{text} [{MISSING}]"
    low, high = (number_text(x, cell.digits, cell.signed) for x in (estimate.low, estimate.high))
    return f"{text} [{low}, {high}]"


def number_text(value: float, digits: int, signed: bool) -> str:
    """A number with a fixed number of digits, and no minus sign before zero."""
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return re.sub(r"^-(?=0(\.0*)?$)", "+" if signed else "", text)


def one_line(text: str) -> str:
    """The text as valid UTF-8 without line breaks and other control characters."""
    text = re.sub(r"[\ud800-\udfff]", "\ufffd", text)  # in names that are not UTF-8
    return re.sub(f"[{STEERING}]+", " ", text)


def is_numeric(table: Table, column: int) -> bool:
    """Whether a column contains only numbers."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and all(
        not isinstance(cell, str) or re.fullmatch(r"[\d,.-]*", cell) for cell in cells
    )


def markdown(report: Report) -> str:
    """GitHub's flavour: headings, pipe tables, notes in lists."""
    lines: list[str] = []
    for section in report.sections:
        lines += [f"# {markdown_text(section.title)}", ""]
        for table in section.tables:
            lines += [f"## {markdown_text(table.title)}", "", *markdown_table(table), ""]
            lines += [markdown_text(note) + "\n" for note in table.notes]
        lines += [f"- {markdown_text(note)}" for note in section.notes] + [""]
    lines += [f"- {markdown_text(note)}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(table: Table) -> list[str]:
    """The lines of a pipe table."""
    rules = ["---:" if is_numeric(table, i) else "---" for i in range(len(table.columns))]
    head = map(markdown_text, table.columns)
    rows = [
        [markdown_text(cell) if isinstance(cell, str) else cell_text(cell) for cell in row]
        for row in table.rows
    ]
    return [f"| {' | '.join(row)} |" for row in (head, rules, *rows)]


def markdown_text(text: str) -> str:
    """Escapes text that could end a cell or start HTML, a link, emphasis, a formula or a list."""
    text = re.sub(r"([\\`*|<>\[\]$~]|\b_|_\b|&(?=#?\w+;)|^[#+-])", r"\\\1", one_line(text))
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)


def as_csv(report: Report) -> str:
    """One line per number: section, table, row, column, value, low, high, runs, not rounded.

    At the end there is a line for each sentence on excluded runs.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("section", "table", "title", "row", "column", "value", "low", "high", "runs"))
    for section in report.sections:
        for table in section.tables:
            for row in table.rows:
                name = cell_text(row[0])
                for column, cell in zip(table.columns[1:], row[1:], strict=True):
                    place = map(safe_in_csv, (section.title, table.key, table.title, name, column))
                    writer.writerow((*place, *csv_values(cell)))
    for number, note in enumerate(report.notes, start=1):
        head = ("", "left_out", "Left out", str(number), "why")
        writer.writerow((*head, safe_in_csv(note), "", "", ""))
    return stream.getvalue()


def csv_values(cell: Cell) -> tuple[object, ...]:
    """Value, interval and runs of a cell; empty if missing."""
    if isinstance(cell, Interval):
        return tuple("" if part is None else part for part in cell.estimate)
    if isinstance(cell, Number | Probability):
        return cell.value, "", "", ""
    return ("" if cell is None else safe_in_csv(cell)), "", "", ""


def safe_in_csv(text: str) -> str:
    """Escapes text that a spreadsheet would treat as a formula."""
    text = one_line(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not is_number(text) else text


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    return re.fullmatch(r"[+-]?\d[\d,.]*", text) is not None


def as_json(report: Report) -> str:
    """The whole report, not rounded; missing values are null.

    `missing` of a section lists the runs of a study without a score. `notes` lists other
    exclusions.
    """
    sections = [
        {
            "title": section.title,
            "scale": {
                "kind": section.scale.kind,
                "name": section.scale.name,
                "games": section.scale.games,
            }
            if section.scale
            else None,
            "tables": [json_table(table) for table in section.tables],
            "notes": section.notes,
            "runs": [
                {
                    "arm": arm.name,
                    "game": game,
                    "seed": seed,
                    "run": run.name,
                    "identity": run.config.identity,
                    "score": run.score,
                    **normalised(run),
                    "episodes": run.episodes,
                    "sessions": run.sessions,
                }
                for arm in (section.group.arms if section.group else ())
                for game, seeds in sorted(arm.runs.items())
                for seed, run in sorted(seeds.items())
            ],
            "missing": [missing._asdict() for missing in section.group.missing]
            if section.group
            else [],
        }
        for section in report.sections
    ]
    published = [
        {
            "name": a.name,
            **a.about.model_dump(),
            "raw": a.raw,
            a.benchmark.normalisation.key: a.normalised,
        }
        for a in report.agents
    ]
    whole = {"sections": sections, "published": published, "notes": report.notes}
    return json_text(whole)


def normalised(run: Run) -> dict[str, float | None]:
    """The run's score on the scale of its suite, if there is one."""
    scale = normalisation_of(run.config.env)
    if scale is None:
        return {}
    return {scale.key: run.normalised(run.score) if run.can_be_normalised else None}


def json_table(table: Table) -> dict[str, Any]:
    """A table with a record for each row."""
    keys: list[str] = []
    for column in map(key_of, table.columns):
        keys.append(column if column not in keys else f"{column} ({len(keys) + 1})")
    rows = [dict(zip(keys, map(json_cell, row), strict=True)) for row in table.rows]
    return {"key": table.key, "title": table.title, "rows": rows, "notes": table.notes}


def key_of(text: str) -> str:
    """The key of a displayed text for programs, if it has one."""
    return text.key if isinstance(text, Shown) else text


def json_cell(cell: Cell) -> Any:
    """A cell as a JSON value."""
    if isinstance(cell, str):
        return key_of(cell)
    if isinstance(cell, Interval):
        return cell.estimate._asdict()
    return cell.value if isinstance(cell, Number | Probability) else cell


def latex(report: Report) -> str:
    r"""Tables to paste or `\input` into a paper. They need the package booktabs."""
    lines = [
        r"% \usepackage{booktabs} in the preamble, and \usepackage[T1]{fontenc} for < and >.",
        "% One table environment for each table; delete what you do not need.",
    ]
    taken: Counter[str] = Counter()
    for section in report.sections:
        for table in section.tables:
            label = re.sub(r"[^a-z0-9]+", "-", f"{section.title} {table.key}".lower()).strip("-")
            taken[label] += 1
            label += f"-{taken[label]}" if taken[label] > 1 else ""
            lines += ["", *latex_table(section.title, table, label)]
        lines += ["", *(f"% {one_line(note)}" for note in section.notes)]
    lines += [f"% {one_line(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def latex_table(section: str, table: Table, label: str) -> list[str]:
    r"""A table environment, for `\ref{tab:LABEL}`.

    A table that is too wide has intervals below their numbers. If that is not enough, it has
    smaller letters, and its columns are split into blocks below each other.
    """
    columns = list(range(len(table.columns)))
    rows = [table.columns, *([cell_text(cell) for cell in row] for row in table.rows)]
    cells = [[[one_line(text)] for text in row] for row in rows]
    spec = ["r" if is_numeric(table, i) else PROSE if is_prose(table, i) else "l" for i in columns]
    blocks, setting = [columns], r"\small"
    if sum(latex_widths(cells, spec)) > LINE_WIDTH:
        spec[0] = "l"
        head, *body = ([text for (text,) in row] for row in cells)
        cells = [[broken(name, 12) for name in head]]
        cells += [[broken(name, 26), *map(below, others)] for name, *others in body]
        if sum(latex_widths(cells, spec)) > LINE_WIDTH:
            blocks, setting = latex_blocks(cells, spec), r"\scriptsize\setlength{\tabcolsep}{3pt}"
    caption = latex_text(f"{section}. {table.title}. {' '.join(table.notes)}")
    tabulars = [latex_tabular(cells, spec, block) for block in blocks]
    return [
        r"\begin{table}[htbp]",
        rf"\centering{setting}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        *tabulars[0],
        *(line for tabular in tabulars[1:] for line in (r"\par\medskip", *tabular)),
        r"\end{table}",
    ]


def latex_widths(cells: list[list[list[str]]], spec: list[str]) -> list[float]:
    """Approximate width of each column with its gap, in characters of LaTeX's `small`."""
    widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(spec))]
    own = (LINE_WIDTH * 0.3 if kind == PROSE else w for kind, w in zip(spec, widths, strict=True))
    return [width + 2.5 for width in own]


def latex_blocks(cells: list[list[list[str]]], spec: list[str]) -> list[list[int]]:
    """The columns in blocks that fit the line in small letters; each begins with the first."""
    first, *others = latex_widths(cells, spec)
    blocks, width = [[0]], first
    for column, own in enumerate(others, start=1):
        if len(blocks[-1]) > 1 and width + own > 1.35 * LINE_WIDTH:
            blocks.append([0])
            width = first
        blocks[-1].append(column)
        width += own
    return blocks


def latex_tabular(cells: list[list[list[str]]], spec: list[str], columns: list[int]) -> list[str]:
    """A tabular of some of the columns."""
    parts = [spec[column] for column in columns]
    rows = [[row[column] for column in columns] for row in cells]
    head, *body = (latex_row(row, parts) for row in rows)
    return [
        rf"\begin{{tabular}}{{{''.join(parts)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def latex_row(cells: list[list[str]], spec: list[str]) -> str:
    """A line of a table.

    A star or bracket at its start is protected from the line end before it.
    """
    row = " & ".join(latex_cell(lines, kind) for lines, kind in zip(cells, spec, strict=True))
    guard = "{}" if row.lstrip().startswith(("*", "[")) else ""
    gap = r"\addlinespace[2pt]" if any(len(lines) > 1 for lines in cells) else ""
    return rf"{guard}{row} \\{gap}"


def latex_cell(lines: list[str], kind: str) -> str:
    """Stacks lines in a cell. A single line is returned unchanged."""
    if len(lines) == 1:
        return latex_text(lines[0])
    inner = r"\\{}".join(map(latex_text, lines))
    return rf"\begin{{tabular}}[t]{{@{{}}{kind}@{{}}}}{inner}\end{{tabular}}"


def below(text: str) -> list[str]:
    """Puts an interval below its number."""
    return text.replace(" [", "\n[").split("\n")


def is_prose(table: Table, column: int) -> bool:
    """Whether a column contains sentences."""
    return any(len(cell_text(row[column])) > 40 for row in table.rows)


def latex_text(text: str) -> str:
    """Escapes characters that LaTeX would interpret as commands or cannot print."""
    known = {c: c for c in LATEX_ACCENTED | set(string.printable)} | LATEX_SPECIAL
    escaped = "".join(known.get(c, f"U+{ord(c):04X}") for c in one_line(text))
    escaped = re.sub(r"(?<=\s)--(?=\w)", "-{}-", escaped)  # an option, not a dash
    escaped = re.sub(r"(?<!\w)'|'(?!\w)", r"\\textquotesingle{}", escaped)  # end of a command
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)  # a minus, not a hyphen


FORMATS: dict[str, Callable[[Report], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": latex,
}
