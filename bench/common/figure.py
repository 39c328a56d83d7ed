"""Draw how many times better the suite is than each peer, from the tables of docs/benchmarks.md.

python bench/common/figure.py [PAGE] [PICTURE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure
from quintet.merge.style import MUTED, figure, screen_png
from table import HEAD

DOCS = Path(__file__).parent.parent.parent / "docs"
COLOR, WORSE = "#2B6CB0", "#C05621"


def factors(page: str) -> dict[str, list[tuple[str, float]]]:
    """Return by section the rows that have a peer, with how many times better ours is."""
    found: dict[str, list[tuple[str, float]]] = {}
    section = ""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif len(cells) == len(HEAD) and cells[3] and cells != list(HEAD) and not cells[3].startswith("--"):
            more_is_better = cells[0].startswith("trials/s")
            ratio = float(cells[3])
            found.setdefault(section, []).append((cells[0], ratio if more_is_better else 1 / ratio))
    return found


def draw(found: dict[str, list[tuple[str, float]]]) -> Figure:
    """Return bars on a logarithmic axis, section by section."""
    rows = sum(len(entries) + 1.5 for entries in found.values())
    drawn = figure(10, 0.26 * rows + 1)
    axes = drawn.subplots()
    position, ticks, labels = 0.0, [], []
    for section, entries in found.items():
        axes.text(0, -position, section, transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold")
        for what, factor in entries:
            position += 1
            axes.barh(-position, factor - 1, left=1, color=COLOR if factor >= 1 else WORSE, height=0.7)
            text = f"{factor:.0f} x" if factor >= 10 else f"{factor:.2g} x"
            axes.text(max(factor, 1) * 1.06, -position, text, va="center", color=MUTED, fontsize=9)
            ticks.append(-position)
            labels.append(what)
        position += 1.5
    axes.set(xscale="log", xlim=(0.3, 200), ylim=(-position, 0.8), xlabel="Times better than the peer (1: equal)")
    axes.set_xticks((1, 10, 100), ("1", "10", "100"))
    axes.set_yticks(ticks, labels, fontsize=9)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    return drawn


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "benchmarks.md"
    picture = Path(sys.argv[2]) if len(sys.argv) > 2 else DOCS / "benchmarks.png"
    picture.write_bytes(screen_png(draw(factors(page.read_text())), 110))
