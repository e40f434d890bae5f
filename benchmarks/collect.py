"""Puts the tables of `ez report` into the pages of results, between two marks that name their file.

    python benchmarks/collect.py          # after benchmarks/laptop.sh, or any `ez report -o`

A mark is `<!-- benchmarks/results/NAME.md -->`, and `<!-- end -->` closes it. Headings go down
three levels. `tests/test_docs.py` fails when the two differ: no table is edited by hand.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "RESULTS.md",
    *(ROOT / "docs" / "results" / f"{name}.md" for name in ("norms", "reports")),
)
MARKED = re.compile(r"(<!-- (benchmarks/results/\S+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)


def collected(page: str) -> str:
    """The page with what its files hold now."""

    def replaced(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        content = (ROOT / name).read_text(encoding="utf-8").strip()
        return f"{begin}\n{re.sub('^#', '####', content, flags=re.MULTILINE)}\n\n{end}"

    return MARKED.sub(replaced, page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(collected(path.read_text(encoding="utf-8")), encoding="utf-8")
