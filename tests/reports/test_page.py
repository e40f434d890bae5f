"""The HTML page: its content and its behaviour in a real browser."""

import os
import re
import shutil
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ezcli import __version__
from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect
from ezcli.reports.page import html, link
from ezcli.reports.published import DEFAULT_AGAINST, agents_named
from ezcli.reports.report import Report, Section, build
from ezcli.reports.tables import Number, Table
from tests.reports.helpers import noisy, write_study

HOSTILE = '<script>alert("x")</script>\n"\'&{{ 7 * 7 }}$x$'
BROWSER_MILLISECONDS = 300_000
DAY = date(2026, 11, 29)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def page_of(runs_dir, **choice):
    groups, said = collect([], runs_dir)
    agents = agents_named(DEFAULT_AGAINST)
    return html(build(groups, said, agents, Choice(resamples=200, **choice)), runs_dir.parent, DAY)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A study of three games with two drops and curves, as a page on disk."""
    folder = tmp_path_factory.mktemp("page")
    score = noisy({"consistency": -0.3})
    write_study(
        folder / "runs",
        score,
        drops=("consistency", "value-prefix"),
        games=("pong", "breakout", "qbert"),
        curve=lambda arm, game, seed: [(1000, 0.0), (2000, 0.1)],
        skip=lambda arm, game, seed: (arm, game, seed) == ("consistency", "qbert", 2),
    )
    path = folder / "report.html"
    path.write_text(page_of(folder / "runs"), encoding="utf-8")
    return path


class Elements(HTMLParser):
    """Every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.inside = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data):
        if not {"script", "style"} & set(self.inside):
            self.text += data


def test_it_needs_nothing_else(page):
    found = Elements(page.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in found.tags if tag in ("link", "iframe", "img", "object")]
    for tag, attributes in found.tags:
        assert "src" not in attributes
        if tag == "a":
            assert not attributes["href"].startswith(("http", "//"))
    assert not re.search(r"url\((?!#)", page.read_text(encoding="utf-8"))


def test_it_says_when_it_was_made_and_counts_its_runs(page, tmp_path):
    found = Elements(page.read_text(encoding="utf-8"))
    assert f"Made by ezcli {__version__} on 2026-11-29." in found.text
    assert "26 runs" in found.text
    write_study(tmp_path, noisy({}), drops=(), vary=("search.num_simulations=50",), seeds=(0,))
    text = Elements(page_of(tmp_path)).text
    assert "1 run" in text
    assert "1 runs" not in text


def test_links_lead_to_run_folders(page):
    found = Elements(page.read_text(encoding="utf-8"))
    links = [a["href"] for tag, a in found.tags if tag == "a" and not a["href"].startswith("#")]
    assert len(links) == 26
    assert all((page.parent / address / "config.toml").is_file() for address in links)


def test_a_link_to_an_odd_name_is_quoted(tmp_path):
    assert link(tmp_path / 'a b#"?', tmp_path) == "a%20b%23%22%3F/"
    assert link(tmp_path / "runs" / "x", tmp_path / "pages") == "../runs/x/"


def test_names_are_text_wherever_they_stand():
    table = Table(HOSTILE, HOSTILE, (HOSTILE, "b"), ((HOSTILE, Number(1.0, 1)),), (HOSTILE,))
    section = Section(HOSTILE, None, None, (table,), (), (), (), (HOSTILE,))
    text = html(Report((section, section), (), (HOSTILE,)), Path(), DAY)
    found = Elements(text)
    assert [tag for tag, _ in found.tags].count("script") == 1  # the page's own
    assert 'alert("x")' in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "\n<script>alert" not in text


def test_names_in_plots_are_text(tmp_path):
    """An arm's name comes into figures too; a dollar there is no formula."""
    write_study(tmp_path / "runs", noisy({}))
    groups, said = collect([], tmp_path / "runs")
    odd = tuple(
        arm if arm.name == "full" else arm._replace(name="<b>$\\frac$</b>")
        for arm in groups[0].arms
    )
    report = build([groups[0]._replace(arms=odd)], said, [], Choice(resamples=200))
    found = Elements(html(report, tmp_path, DAY))
    assert "b" not in [tag for tag, _ in found.tags]
    assert "− <b>$\\frac$</b> vs. full" in found.text


@pytest.fixture
def browser():
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI needs chromium"
        pytest.skip("no chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=options, timeout=BROWSER_MILLISECONDS
        )
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_works_in_a_browser(browser, page, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    tab = context.new_page()
    tab.set_default_timeout(BROWSER_MILLISECONDS)
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    assert said == []
    assert asked == [page.as_uri()]
    # nothing is wider than the screen but what scrolls by itself
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    plots = tab.locator("figure svg")
    assert plots.count() == 6
    for number in range(6):
        box = plots.nth(number).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert (sum(tab.evaluate(brightness)) < 380) == (scheme == "dark")
    ink = tab.evaluate("getComputedStyle(document.querySelector('figure text')).fill")
    assert ink == tab.evaluate("getComputedStyle(document.body).color")
    context.close()


@pytest.mark.slow
def test_tables_sort_by_number_and_missing_stays_below(browser, page):
    tab = browser.new_page()
    tab.set_default_timeout(BROWSER_MILLISECONDS)
    tab.goto(page.as_uri())
    table = tab.locator("h3:has-text('Human-normalised over') + div table")
    means = "table => [...table.tBodies[0].rows].map(row => row.cells[1].dataset.value)"
    gaps = "table => [...table.tBodies[0].rows].map(row => row.cells[4].dataset.value)"
    button = table.locator("th button", has_text="mean").first
    button.click()
    values = list(map(float, table.evaluate(means)))
    assert values == sorted(values)
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
    button.press("Enter")  # by keyboard too
    values = list(map(float, table.evaluate(means)))
    assert values == sorted(values, reverse=True)
    for _ in range(2):
        table.locator("th button", has_text="optimality gap").click()
        assert table.evaluate(gaps)[-2:] == ["", ""]
