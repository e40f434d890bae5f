r"""Equations as SVG, drawn by Matplotlib, so that a page needs no script and no network.

Pages write them as GitHub shows them: `$`x_t`$` within a sentence, a fence of the language `math`
for an equation of its own, one equation a line. Matplotlib knows a subset of LaTeX; an equation
that it does not know ends the build.
"""

import html
import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser

INLINE = re.compile(r"\$`([^`\n]+)`\$")
BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = 12.0  # points of the font that is drawn; a page scales it by `em`
STYLE = {"mathtext.fontset": "cm", "svg.fonttype": "path", "svg.hashsalt": "ezcli"}


def measured(formula: str) -> tuple[float, float, float]:
    """Width, height and depth below the baseline of a formula, in points.

    Raises:
      ValueError: Matplotlib cannot draw it.
    """
    with rc_context(STYLE):
        font = FontProperties(size=SIZE)
        width, height, depth, *_ = MathTextParser("path").parse(text_of(formula), 72, font)
    return width + 1, height + 1, depth + 0.5  # with room for what overhangs


def text_of(formula: str) -> str:
    """A formula as Matplotlib takes it."""
    return f"${formula.strip()}$"


def formulas(markdown: str) -> list[str]:
    """Every equation of a page."""
    blocks = (line for block in BLOCK.findall(markdown) for line in block.splitlines())
    return [*INLINE.findall(markdown), *filter(str.strip, blocks)]


def svg(formula: str) -> str:
    """An inline `<svg>` in the colour of the text around it, its baseline on that of the text.

    Raises:
      ValueError: Matplotlib cannot draw the formula.
    """
    width, height, depth = measured(formula)
    with rc_context(STYLE):
        font = FontProperties(size=SIZE)
        figure = Figure(figsize=(width / 72, height / 72))
        place = 0.5 / width, depth / height
        figure.text(*place, text_of(formula), fontproperties=font, color="#010203")
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace("#010203", "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    size = f"width:{width / SIZE:.3f}em;height:{height / SIZE:.3f}em;max-width:none"
    below = f"vertical-align:-{depth / SIZE:.3f}em"
    label = html.escape(formula.strip(), quote=True)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawn, count=1)
    attributes = f'role="img" aria-label="{label}" style="{size};{below}"'
    return drawn.replace("<svg", f"<svg {attributes}", 1).strip()


def take_out(markdown: str) -> tuple[str, dict[str, str]]:
    """A page with a mark for each equation, and what goes in the place of each mark."""
    found: dict[str, str] = {}

    def keep(drawn: str) -> str:
        mark = f"equation{len(found):04d}equation"
        found[mark] = drawn
        return mark

    def block(match: re.Match[str]) -> str:
        text = match[1].replace(r"\frac", r"\dfrac")
        lines = [line for line in text.splitlines() if line.strip()]
        rows = "".join(f'<div style="margin:.6em 0 .6em 2em">{svg(line)}</div>' for line in lines)
        return f"\n{keep(rows)}\n"

    markdown = BLOCK.sub(block, markdown)
    return INLINE.sub(lambda match: keep(svg(match[1])), markdown), found
