"""Figures, tables and report: equal bytes for equal numbers, no trace of time or machine, none lost."""

from __future__ import annotations

import csv
import html.parser
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from quintet.jobs.complementarity import Params
from quintet.jobs.complementarity.aggregate import Aggregate
from quintet.jobs.complementarity.config_view import config_view
from quintet.jobs.complementarity.search_analysis import importance, trials_frame
from quintet.merge.complementarity import figures, visualiser
from quintet.merge.complementarity.findings import SearchFindings
from quintet.merge.complementarity.rendering import search_drawings, study_drawings
from quintet.merge.complementarity.report import study_report
from quintet.merge.complementarity.search_section import search_section
from quintet.merge.complementarity.tables import trajectory_arrays, write_tables
from quintet.merge.drawing import draw_all
from quintet.merge.page import PageFigure, Report, Section, markdown_table, report_html, report_markdown, write_report
from quintet.merge.style import SavedFigure, figure, save

from .study_sample import MAX_SESSIONS, N_BINS, WINDOW_SIZE, aggregate, configs, rows_of
from .test_statistics import SPACE, trials

SIDECAR = {"run": "sample", "config_sha256": "ab" * 32}


def small(text: str = "x") -> Figure:
    """A figure that draws quickly."""
    drawn = figure(3, 2)
    axes = drawn.subplots()
    axes.plot([0, 1], [1, 0], label=text)
    axes.legend()
    return drawn


def emptied() -> Aggregate:
    """The sample with no unit at all."""
    rows = {name: array[:0] for name, array in rows_of(60, 60).items()}
    return Aggregate.from_rows(rows, configs(), N_BINS, WINDOW_SIZE)


def test_equal_figures_are_equal_files_without_time_or_versions(tmp_path: Path) -> None:
    one = save(small(), tmp_path / "a", "plot", 90, SIDECAR)
    other = save(small(), tmp_path / "b", "plot", 90, SIDECAR)
    for path, again in ((one.png, other.png), (one.pdf, other.pdf), (one.sidecar, other.sidecar)):
        assert path.read_bytes() == again.read_bytes()
    assert one.screen == other.screen
    for word in (b"atplotlib", b"CreationDate", b"Software"):
        assert word not in one.png.read_bytes()
        assert word not in one.pdf.read_bytes()
    assert json.loads(one.sidecar.read_text()) == {"figure": "plot", **SIDECAR, "stamp": None}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["plot.json", "plot.pdf", "plot.png"]


def test_a_stamp_changes_the_picture_and_stands_in_the_sidecar(tmp_path: Path) -> None:
    plain = save(small(), tmp_path, "plain", 90, SIDECAR)
    stamped = save(small(), tmp_path, "stamped", 90, SIDECAR, "INCOMPLETE 3 of 40 blocks")
    assert plain.screen != stamped.screen
    assert json.loads(stamped.sidecar.read_text())["stamp"] == "INCOMPLETE 3 of 40 blocks"


@pytest.mark.parametrize("name", study_drawings(aggregate(), "session", "normalized"))
def test_every_figure_of_the_study_is_drawn_with_and_without_data(name: str) -> None:
    for result in (aggregate(), emptied()):
        for axis in ("session", "normalized"):
            other = "normalized" if axis == "session" else "session"
            drawings = study_drawings(result, axis, other)  # type: ignore[arg-type]
            if name in drawings:
                drawings[name]().draw_without_rendering()


def test_the_main_figure_is_the_one_that_was_asked_for() -> None:
    drawn = figures.draw_main(aggregate(), "session")
    top, bottom = drawn.axes
    assert tuple(drawn.get_size_inches()) == (14, 12)
    totals = aggregate().totals
    labels = [line.get_label() for line in top.lines]
    assert labels[:3] == [
        f"V2 Advantage (n={totals[0]:,})",
        f"Baseline Advantage (n={totals[1]:,})",
        f"Remaining (n={totals[2] + totals[3]:,})",
    ]
    assert [(line.get_color(), line.get_linewidth(), line.get_alpha()) for line in top.lines[:3]] == [
        ("#00AA00", 3, 1),
        ("#CC0000", 3, 1),
        ("#333333", 2, 0.8),
    ]
    assert top.get_ylim() == (-0.2, 4.2)
    assert top.get_title() == "Aggregated Octant Distance Over Time (4 configs, 150 seeds/config)"
    cells = {place: cell.get_text().get_text() for place, cell in bottom.tables[0].get_celld().items()}
    assert [cells[0, k] for k in range(5)] == [
        "V2 Advantage",
        "Baseline Advantage",
        "Both Success",
        "Both Fail",
        "Total",
    ]
    assert cells[1, 4] == "600 (100.0%)"
    assert cells[1, 0] == f"{totals[0]} ({100 * totals[0] / 600:.1f}%)"
    normalized = figures.draw_main(aggregate(), "normalized").axes[0]
    assert normalized.get_xlabel() == "% of Therapy Completed"
    assert normalized.get_xlim() == (0, 100)


def test_a_group_without_clients_has_no_line() -> None:
    rows = rows_of(60, 60)
    for part in ("count", "sum", "sumsq"):
        rows[f"rows/session/distance_enacted/{part}"][:, 0] = 0
    rows["rows/summary/categories"][:, 0] = 0
    result = Aggregate.from_rows(rows, configs(), N_BINS, WINDOW_SIZE)
    lines = figures.draw_main(result, "session").axes[0].lines
    assert not any(str(line.get_label()).startswith("V2") for line in lines)


def test_a_failing_figure_takes_no_other_with_it(tmp_path: Path) -> None:
    def broken() -> Figure:
        raise ArithmeticError("no numbers\nat all")

    done = draw_all({"first": broken, "second": small}, tmp_path, SIDECAR, None)
    assert done.failures == {"first": "ArithmeticError: no numbers"}
    assert list(done.saved) == ["second"]


def test_search_figures_are_drawn_with_few_and_many_trials() -> None:
    for frame in (trials(60), trials(3), trials_frame([])):
        shares = importance(frame, SPACE)
        for draw in search_drawings(frame, shares).values():
            draw().draw_without_rendering()


def test_views_of_single_configs_are_drawn() -> None:
    params = Params(**configs()[0]["params"], max_sessions=30)
    views = [
        config_view(params, range(4), mechanism=mechanism, therapist_version=version)
        for mechanism in ("bond_only", "frequency_amplifier")
        for version in ("v1", "v2")
    ]
    for chosen in (views, views[:1]):
        for quantity in visualiser.QUANTITIES:
            visualiser.draw_tracker(chosen, quantity).draw_without_rendering()
        visualiser.draw_combined(chosen).draw_without_rendering()
        visualiser.draw_outcomes(chosen).draw_without_rendering()


def test_tables_hold_the_numbers_behind_the_figure_and_are_equal_byte_for_byte(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_tables(
            tmp_path / folder,
            aggregate(),
            "session",
            u_matrix=None,
            timestamp="2026-03-01T00:00:00Z",
            resources={"cpu_seconds": 1.5},
            missing_units=0,
            provenance=SIDECAR,
        )
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["aggregated_trajectories.npz", "config_info.json", "per_config.csv", "summary.json"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with np.load(tmp_path / "a" / "aggregated_trajectories.npz") as arrays:
        for group in ("v2_adv", "baseline_adv", "remaining"):
            band = aggregate().band("session", group)
            np.testing.assert_array_equal(arrays[f"{group}_mean"], band.mean)
            np.testing.assert_array_equal(arrays[f"{group}_std"], band.std)
            np.testing.assert_array_equal(arrays[f"session_{group}_count"], band.count)
            assert f"normalized_{group}_sem" in arrays
        np.testing.assert_array_equal(arrays["config_counts"], aggregate().categories)
    numbers = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert numbers["breakdown"]["v2_advantage"] == aggregate().totals[0]
    info = json.loads((tmp_path / "a" / "config_info.json").read_text())
    assert info["u_matrix_name"] == "random_sampled"
    assert info["configs"][2] == {"idx": 2, "trial": 14, "advantage": 0.05}
    with (tmp_path / "a" / "per_config.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_tables_and_report_of_a_run_without_any_result_are_written(tmp_path: Path) -> None:
    nothing = emptied()
    write_tables(
        tmp_path,
        nothing,
        "normalized",
        u_matrix="average",
        timestamp="",
        resources={},
        missing_units=4,
        provenance={},
    )
    numbers = json.loads((tmp_path / "summary.json").read_text())
    assert numbers["v2_advantage_final_mean_distance"] is None
    assert numbers["missing_units"] == 4
    assert len(trajectory_arrays(nothing, "session")["v2_adv_mean"]) == 0
    report = study_report(nothing, "session", {}, {}, stamp="INCOMPLETE 0 of 4 blocks")
    assert "INCOMPLETE 0 of 4 blocks" in report_html(report)


@pytest.mark.parametrize(("seed_offset", "is_told"), [(0, True), (49, True), (50, False)])
def test_the_report_warns_of_clients_seen_before_only_where_seeds_overlap(seed_offset: int, is_told: bool) -> None:
    search = SearchFindings(trials(60), {}, 50)
    report = study_report(aggregate(), "session", {}, {}, search, seed_offset=seed_offset)
    (limits,) = [section for section in report.sections if section.heading == "What to keep in mind"]
    assert ("Clients that the search has seen" in limits.text) == is_told


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (MAX_SESSIONS, "Both are of therapies of the same limits (60 to 120 sessions)"),
        ((100, 2000, 700, 60), "as each trial said (60 to 2,000 sessions), here the limit is 60 to 120 sessions"),
        ((None,) * 4, "is not known"),
    ],
)
def test_the_report_tells_a_shorter_therapy_from_the_winner_s_curse(own: tuple[int | None, ...], said: str) -> None:
    params = [{"max_sessions": sessions} if sessions else {} for sessions in own]
    chosen = tuple({**config, "params": each} for config, each in zip(configs(), params, strict=True))
    report = study_report(replace(aggregate(), configs=chosen), "session", {}, {})
    texts = {section.heading: section.text for section in report.sections}
    assert said in texts["Config by config"]
    assert "These ends are no outcome" in texts["The answer in brief"]


def test_the_report_on_a_search_names_inert_parameters_and_doubts_the_stored_rates(tmp_path: Path) -> None:
    saved = draw_all({"search_power": small}, tmp_path, SIDECAR, None).saved
    section = search_section(SearchFindings(trials(60), {}, 50), saved)
    assert "| `quick_seed_actions_threshold` (inert in V2) |" in section.text
    assert "| `bond_alpha` |" in section.text
    assert "luckiest of many" in section.figures[0].caption


class Tags(html.parser.HTMLParser):
    """Collect tags and the places that a page asks something of."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "link", "img", "br", "hr"):
            self.open.append(tag)
        self.asked += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(tmp_path: Path) -> tuple[Report, dict[str, SavedFigure]]:
    """The sample's report with one figure."""
    frame = trials(60)
    saved = draw_all(
        {"aggregated_complementarity": small, "search_history": small}, tmp_path / "figures", SIDECAR, None
    )
    search = SearchFindings(frame, importance(frame, SPACE), 50)
    return study_report(aggregate(), "session", saved.saved, SIDECAR, search), saved.saved


def test_the_page_is_one_file_that_asks_for_nothing_and_names_no_path(tmp_path: Path) -> None:
    report, _ = page_of(tmp_path)
    markdown, page = write_report(report, tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert {"table", "figure", "img", "h2", "li", "strong"} <= tags.seen
    assert "script" not in tags.seen
    assert all(place.startswith("data:") for place in tags.asked)
    assert text.count("<img") == 2
    for content in (text, markdown.read_text(encoding="utf-8")):
        assert str(tmp_path) not in content
    assert "](../figures/aggregated_complementarity.png)" in markdown.read_text(encoding="utf-8")
    assert report_html(report) == text


def test_markup_in_the_text_is_shown_and_not_run(tmp_path: Path) -> None:
    saved = save(small(), tmp_path, "plot", 60, {})
    evil = '<script>alert("x")</script>'
    section = Section(f"A {evil}", f"B {evil}\n\n[link](javascript:alert(1))", (PageFigure(saved, f"C {evil}"),))
    page = report_html(Report(f"T {evil}", (section,), f"S {evil}"))
    assert "<script" not in page
    assert 'href="javascript' not in page
    assert page.count("&lt;script&gt;") == 6
    assert report_markdown(Report("T", (section,)), tmp_path).startswith("# T\n")


def test_a_bar_in_a_cell_does_not_break_a_table() -> None:
    table = markdown_table(("a", "b"), [("1|2", "3\n4")])
    page = report_html(Report("T", (Section("S", table),)))
    assert "<td>1|2</td>" in page
    assert "<td>3 4</td>" in page
