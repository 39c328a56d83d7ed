"""`bin/index`: one offline page that shows every run below a folder, whatever state it is in."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from quintet.merge.index import WIDEST_PIXELS, write_index
from quintet.merge.page import PageFigure, Report, Section, write_report
from quintet.merge.style import figure, save
from quintet.shard.errors import Exit, QuintetError
from quintet.shard.run import Run

from .synthetic import Config, planned, whole


def rendered(folder: Path) -> Run:
    """Return a merged run with a report of three sections and two figures."""
    run = whole(folder, 3)
    figures = []
    for name in ("first", "second"):
        drawn = figure(9, 4)
        drawn.subplots().plot([1, 2, 4])
        figures.append(PageFigure(save(drawn, run.path / "figures", name, 300, {}, None), f"The {name} caption."))
    sections = (
        Section("The question", "Does <b>it</b> grow?"),
        Section("The answer in brief", "It *does*.", tuple(figures)),
        Section("Details", "Much more."),
    )
    write_report(Report("Growth", sections), run.path / "report")
    return run


def test_the_page_shows_question_answer_figure_origin_and_cost(tmp_path: Path) -> None:
    rendered(tmp_path / "run one")
    planned(tmp_path / "unfinished", 3, Config())
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert "Growth" in text
    assert "Does &lt;b&gt;it&lt;/b&gt; grow?" in text
    assert "<em>does</em>" in text
    assert "Much more" not in text, "the rest stands in the report"
    assert 'href="run%20one/report/report.html"' in text
    assert "The first caption." in text
    assert "The second caption." not in text
    assert "CPU h" in text
    assert "bin/local" in text, "what heals the unfinished run"
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(picture))) as shown:
        assert shown.width == WIDEST_PIXELS
    assert not re.search(r'(src|href)="(https?:|//|/)', text), "the page asks for nothing elsewhere"


def test_a_run_that_cannot_be_read_is_told_beside_the_others(tmp_path: Path) -> None:
    rendered(tmp_path / "good")
    bad = planned(tmp_path / "bad", 3, Config())
    path = bad.plan_folder / "measure.json"
    path.write_bytes(path.read_bytes() + b"x")
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert "The first caption." in text
    assert "measure.json: damaged" in text


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(QuintetError, match="no planned run below it") as caught:
        write_index(tmp_path)
    assert caught.value.code is Exit.USAGE
