"""What MkDocs calls while it builds (`mkdocs.yml`, `hooks`).

A page in `docs/` links as GitHub resolves it: to other pages, to files of the repository. Pages
that live at the root, such as RESULTS.md, and notebooks become pages of the site. Any other file
that is linked becomes a file of the site below `source/`. What exists nowhere stays, so that MkDocs
complains.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.site import equations, notebooks, reference

ROOT = Path(__file__).parents[2]
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RESULTS.md": "results.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
    "benchmarks/NOTES.md": "performance.md",
}  # of the repository, and where the site has them
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")

placed: dict[str, dict[str, str]] = {}  # the equations of each page, by their marks


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, those made from the code, and the files that any of them link."""
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    texts |= {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    texts |= notebooks.texts()
    made = reference.pages()
    for name, page in PAGES.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=rewritten(texts[name], name)))
    for name, text in notebooks.texts().items():
        download = f"\n[Download this notebook]({Path(name).name})\n"
        content = rewritten(text, name) + download
        files.append(File.generated(config, site_place(name), content=content))
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    for name, text in texts.items():
        for target in linked_files(text, name):
            if files.get_file_from_path(f"source/{target}") is None:
                content = (ROOT / target).read_bytes()
                files.append(File.generated(config, f"source/{target}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links into those of the site, and draws the equations."""
    if not page.file.generated_by:
        markdown = rewritten(markdown, f"docs/{page.file.src_uri}")
    markdown, placed[page.file.src_uri] = equations.take_out(markdown)
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the equations where their marks are."""
    for mark, drawn in placed[page.file.src_uri].items():
        html = html.replace(mark, drawn)
    return html


def place_of(target: str, source: str) -> str:
    """The path within the repository that a link of the file `source` means; empty if elsewhere."""
    if "://" in target or target.startswith(("#", "mailto:")):
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target.partition("#")[0]))
    return "" if path.startswith("..") else path


def site_place(path: str) -> str:
    """Where the site has a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/") and path.endswith(".ipynb"):
        return path.removeprefix("docs/").replace(".ipynb", ".md")
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}"


def linked_files(text: str, source: str) -> list[str]:
    """Files outside `docs/` that a text links and that are no page of the site."""
    places = (place_of(match[2], source) for match in LINK.finditer(text))
    return sorted({p for p in places if site_place(p) == f"source/{p}" and (ROOT / p).is_file()})


def rewritten(text: str, source: str) -> str:
    """A page of the repository with links as its place on the site needs them."""
    here = posixpath.dirname(site_place(source)) or "."

    def link(match: re.Match[str]) -> str:
        path = place_of(match[2], source)
        if not path or not (ROOT / path).exists():
            return match[0]
        if (ROOT / path).is_dir():
            return match[1].lstrip("!")[1:-2] if path != "docs" else f"{match[1]}index.md)"
        _, mark, anchor = match[2].partition("#")
        return f"{match[1]}{posixpath.relpath(site_place(path), here)}{mark}{anchor})"

    return LINK.sub(link, text)
