"""What the pages say of links, figures, exit codes, config keys and versions is what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from quintet.shard.configs import RESOURCE_KEYS
from quintet.shard.errors import Exit
from quintet.shard.provenance import SUITE_VERSION

from ..house import PROJECT
from .blocks import FENCE, blocks, documents, page

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MOST_READER_LINES = 10


def linking() -> list[Path]:
    """Return every Markdown file that people are sent to."""
    return [*documents(), *sorted((PROJECT / "docs" / "results").rglob("*.md")), PROJECT / "CHANGELOG.md"]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", linking(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    wrong = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    assert not wrong


def test_every_page_is_linked_from_the_readme() -> None:
    text = (PROJECT / "README.md").read_text()
    assert not [path.name for path in (PROJECT / "docs").glob("*.md") if f"(docs/{path.name})" not in text]


def test_the_first_screen_says_what_it_is_and_how_to_try_it() -> None:
    first = "\n".join((PROJECT / "README.md").read_text().splitlines()[:20])
    assert "![" in first
    assert "$ make demo" in first
    assert "$ make test" in first


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    text = page("running-on-a-cluster.md").read_text().partition("## Exit codes")[2]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)] == [int(code) for code in Exit]


def test_every_key_of_a_phase_and_of_the_site_is_explained() -> None:
    from quintet.shard.site import Site

    text = page("running-on-a-cluster.md").read_text()
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (.*?) \|", text, re.M))))
    assert not {*RESOURCE_KEYS, "partition"} - named - {"target_minutes"}
    assert "`target_minutes`" in text
    assert not set(Site.model_fields) - named


def pattern_of(name: str) -> re.Pattern[str]:
    """Return what fits a figure's name in the table, in which `<metric>` and the like stand for anything."""
    return re.compile(re.sub(r"<\w+>", ".+", name))


def explained(study: str) -> set[str]:
    """Return the figures that the page on figures names in a study's part."""
    part = page("figures.md").read_text().partition(f"\n## {study}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (.*?) \|", part, re.M)
    return {name for cell in cells for name in re.findall(r"`([\w<>]+)`", cell)}


@pytest.mark.parametrize("study", ["complementarity", "synergy", "society", "induction", "conspec"])
def test_every_published_figure_is_explained_and_every_explained_one_exists(study: str) -> None:
    names = explained(study)
    published = {path.stem for path in (PROJECT / "docs" / "results" / study).rglob("*.png")}
    assert not [name for name in published if not any(pattern_of(item).fullmatch(name) for item in names)]
    code = "\n".join(path.read_text() for path in (PROJECT / "merge" / study).glob("*.py"))
    fixed = [re.split(r"<\w+>", name) for name in names]
    assert not [parts for parts in fixed if not all(part in code for part in parts)]


def test_the_reader_has_ten_lines_and_needs_nothing_of_the_suite() -> None:
    (reader,) = [block for block in blocks(page("file-formats.md")) if block.file == "read_partial.py"]
    assert len([line for line in reader.text.splitlines() if line.strip()]) <= MOST_READER_LINES
    assert "quintet" not in reader.text


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == SUITE_VERSION
    assert citation["license"] == "MIT"
    top = re.search(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    assert top is not None
    assert top[1] == SUITE_VERSION


def test_no_page_speaks_of_the_machine_it_was_written_on() -> None:
    for path in [*documents(), PROJECT / "CITATION.cff"]:
        assert not re.search(r"/work/|/tmp/[a-z]+/|/home/", path.read_text()), path
