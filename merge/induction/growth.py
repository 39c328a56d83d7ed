"""The growth curve: what a world costs by horizon and method, each point measured in a process of its own.

    bin/induction growth --world asymmetric_freeing_11x6 --horizons 5,8,10,15,20 --output-dir growth

A method stops where its next point would probably take more seconds or memory than allowed.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError

METHODS = {
    "in RAM": ("float64", False),
    "spilled": ("float64", True),
    "float32": ("float32", False),
    "float16": ("float16", False),
}
HEADER = ("method", "horizon", "states", "configurations", "build_s", "solve_s", "user_s", "peak_mb", "disk_mb")


def measured(world_name: str, horizon: int, method: str, folder: Path) -> dict[str, Any]:
    """Build and solve one problem in this process; return what it took.

    Returns:
        The columns of `HEADER`, and `level_sizes` and `predicted` bytes by structure.
    """
    from ...jobs.induction import Params, build, solve
    from ...jobs.induction.memory import predicted_bytes
    from ...shard.induction.build_phase import user_seconds
    from ...shard.induction.spill import LevelStore
    from ...shard.induction.worlds import read_world

    warnings.simplefilter("ignore", UserWarning)
    dtype, spills = METHODS[method]
    world = read_world(world_name)
    solve(build(world, 2), Params(), storage_dtype=dtype)  # type: ignore[arg-type]
    store = None
    if spills:
        store = LevelStore(lambda: folder)
        store.to_disk()
    started = user_seconds()
    graph = build(world, horizon, spill=store)
    built = user_seconds()
    solve(graph, Params(), storage_dtype=dtype, spill=store)  # type: ignore[arg-type]
    ended = user_seconds()
    if store is not None:
        store.flush()
    return {
        "method": method,
        "horizon": horizon,
        "states": graph.n_states,
        "configurations": graph.n_configs,
        "build_s": round(built - started, 3),
        "solve_s": round(ended - built, 3),
        "user_s": round(ended - started, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "disk_mb": round(sum(path.stat().st_size for path in folder.rglob("*.h5")) / 1e6, 1),
        "level_sizes": graph.level_sizes,
        "predicted": predicted_bytes(world, graph.level_sizes, storage_dtype=dtype, spills=spills),
    }


def point(world: str, horizon: int, method: str, scratch: Path | None) -> dict[str, Any] | None:
    """Measure one point in a process of its own; None where that process did not live to its end."""
    with tempfile.TemporaryDirectory(prefix="quintet-growth-", dir=scratch) as folder:
        code = "import sys, json; from quintet.merge.induction.growth import measured; from pathlib import Path; "
        code += "print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))))"
        command = [sys.executable, "-c", code, world, str(horizon), method, folder]
        done = subprocess.run(command, capture_output=True, text=True)
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(exist_ok=True)
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None


def expected(points: Sequence[dict[str, Any]], key: str, horizon: int) -> float:
    """Return what the next point will probably take, by the growth of the last two."""
    if len(points) < 2:
        return 0.0
    one, last = points[-2:]
    base = 160.0 if key == "peak_mb" else 0.0
    ratio = max((last[key] - base) / max(one[key] - base, 1e-3), 1.0)
    steps = (horizon - last["horizon"]) / max(last["horizon"] - one["horizon"], 1)
    return float(base + max(last[key] - base, 0.0) * ratio**steps)


def curve(
    world: str,
    horizons: Sequence[int],
    methods: Sequence[str],
    most_seconds: float,
    most_mb: float,
    scratch: Path | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure all points, and say where each method stopped and why."""
    points, stops = [], []
    for method in methods:
        own: list[dict[str, Any]] = []
        for horizon in horizons:
            seconds, mb = expected(own, "user_s", horizon), expected(own, "peak_mb", horizon)
            if seconds > most_seconds or mb > most_mb:
                stops.append(
                    f"{method}: stopped before horizon {horizon}, which would take about {seconds:.0f} CPU seconds and "
                    f"{mb:.0f} MB (allowed: {most_seconds:.0f} s, {most_mb:.0f} MB)"
                )
                break
            found = point(world, horizon, method, scratch)
            if found is None:
                stops.append(f"{method}: the process for horizon {horizon} did not live to its end")
                break
            click.echo(f"{method}, T={horizon}: {found['states']:,} states, {found['user_s']} s, {found['peak_mb']} MB")
            own.append(found)
        else:
            stops.append(f"{method}: all horizons up to {horizons[-1]} measured")
        points += own
    return points, stops


def write_curve(folder: Path, world: str, points: Sequence[dict[str, Any]], stops: Sequence[str]) -> None:
    """Write `growth.csv`, `growth.md` and the two figures."""
    from ..drawing import Drawing, draw_all
    from ..exports import write_csv, write_file
    from ..page import markdown_table
    from .cost_figures import REFERENCE_WORLD, Cost, draw_memory_time, draw_state_growth

    write_csv(folder / "growth.csv", HEADER, ([row[name] for name in HEADER] for row in points))
    longest = max(points, key=lambda row: len(row["level_sizes"]))["level_sizes"]
    costs = [Cost(**{name: row[name] for name in Cost.__annotations__}) for row in points]
    last = {row["method"]: row for row in points}
    bars = {f"{method}\nT={row['horizon']}": row["predicted"] for method, row in last.items()}
    drawings: dict[str, Drawing] = {
        "state_growth": partial(draw_state_growth, {world: longest}),
        "memory_time": partial(draw_memory_time, costs, bars, world == REFERENCE_WORLD),
    }
    drawn = draw_all(drawings, folder, {"world": world}, None)
    if drawn.failures:
        raise QuintetError(Exit.RENDER, "; ".join(f"{name}: {error}" for name, error in drawn.failures.items()))
    text = [
        f"# States, CPU time and memory by horizon: {world}",
        "Each point in a process of its own, one thread, kernels compiled before; user CPU seconds without imports, "
        "peak resident memory of the whole process.",
        markdown_table(HEADER, [[row[name] for name in HEADER] for row in points]),
        "\n".join(f"* {stop}" for stop in stops),
        "![state_growth](state_growth.png)",
        "![memory_time](memory_time.png)",
    ]
    write_file(folder / "growth.md", ("\n\n".join(text) + "\n").encode())


@click.command("growth")
@click.option("--world", default="asymmetric_freeing_11x6", show_default=True, help="World file or packaged name.")
@click.option("--horizons", default="5,6,8,10,12,15", show_default=True, help="Horizons, ascending.")
@click.option("--methods", default="all", show_default=True, help="All, or names with commas between them.")
@click.option("--max-seconds", type=click.FloatRange(min=0), default=300.0, show_default=True, help="Per point.")
@click.option("--max-mb", type=click.FloatRange(min=0), default=4000.0, show_default=True, help="Per point.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Where spilled levels lie.")
@click.option("--output-dir", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
def command(
    world: str,
    horizons: str,
    methods: str,
    max_seconds: float,
    max_mb: float,
    scratch: Path | None,
    output_dir: Path,
) -> None:
    """Measure states, CPU time and memory of a world by horizon and method."""
    chosen = list(METHODS) if methods == "all" else methods.split(",")
    unknown = [name for name in chosen if name not in METHODS]
    if unknown:
        raise QuintetError(Exit.USAGE, f"--methods: found {unknown[0]!r}; allowed are {', '.join(METHODS)}")
    parts = horizons.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise QuintetError(Exit.USAGE, f"--horizons: found {horizons!r}; allowed are numbers from 1 with commas")
    points, stops = curve(world, sorted(map(int, parts)), chosen, max_seconds, max_mb, scratch)
    for stop in stops:
        click.echo(stop)
    if not points:
        raise QuintetError(Exit.INPUT, "no point could be measured")
    write_curve(output_dir, Path(world).stem, points, stops)


if __name__ == "__main__":
    run_command(command, name="bin/induction growth")
