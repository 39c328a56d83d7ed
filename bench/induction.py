"""CPU seconds and peak memory of the exact solver on the freeing world of 11 x 6 cells.

    python bench/induction.py                       the table
    python bench/induction.py CASE [HORIZON]        one case: float64, float32, float16, file, sweep

Each case runs in a process of its own, one thread, kernels compiled and cached; CPU time is user and system, the
best of three passes, and includes no import. Both phases are one kernel; the share of phase 1 is measured with an
entry that does nothing else. The reference implementation needs 313 CPU seconds for horizon 8 (measured) and about
5,400 for horizon 15 (its states measured, its phases extrapolated) on the same machine.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WORLDS = Path(__file__).parent.parent / "configs" / "induction" / "worlds"
PASSES = 3
CASES = ((8, "float64"), (15, "float64"), (15, "float32"), (15, "float16"), (15, "file"), (20, "file"), (14, "sweep"))
TARGETS = {
    "float64-8": "build + phases <= 0.31 (hard), 0.03 (stretch) CPU-s",
    "float64-15": "<= 2.0, 0.45 CPU-s; process <= 4, 1.5 CPU-s; <= 300, 180 MB",
    "file-15": "<= 260 MB",
    "file-20": "<= 12, 3 CPU-s; <= 450, 250 MB",
    "sweep-14": ">= 4, 30 samples/s",
}


class FileStore:
    """The simplest store: one raw file per array."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forms: dict[str, tuple[Any, tuple[int, ...]]] = {}

    def append(self, name: str, rows: Any) -> None:
        self.forms[name] = (rows.dtype, rows.shape[1:])
        with (self.folder / name.replace("/", "-")).open("ab") as file:
            np.ascontiguousarray(rows).tofile(file)

    def read(self, name: str, start: int, stop: int) -> Any:
        dtype, shape = self.forms[name]
        count = int(np.prod(shape, dtype=int))
        path = self.folder / name.replace("/", "-")
        return np.fromfile(path, dtype, (stop - start) * count, offset=start * count * dtype.itemsize).reshape(
            -1, *shape
        )

    def length(self, name: str) -> int:
        return len(self.read(name, 0, 1 << 40)) if name in self.forms else 0

    def drop(self, name: str) -> None:
        self.forms.pop(name, None)
        (self.folder / name.replace("/", "-")).unlink(missing_ok=True)


def peak_mb() -> int:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def phase_one_seconds(graph: Any, solution: Any) -> float:
    """CPU seconds of phase 1 alone, on the tables of a solution."""
    import numba
    from quintet.jobs.induction import levels
    from quintet.jobs.induction.kernel.backward import human_phase

    @numba.njit(error_model="numpy", nogil=True)
    def run(model: Any, rows: Any, Wm: Any, cells: Any, attained: Any, Vm: Any) -> None:
        width = Wm.shape[1]
        q, pi = np.empty((model.n_actions, width)), np.empty((model.n_actions, width))
        mixed, extreme, peak, total = np.empty(width), np.empty(width), np.empty(width), np.empty(width)
        is_attained = np.empty((model.n_humans, model.n_goals), np.bool_)
        for row in range(rows.succ.shape[0]):
            for h in range(model.n_humans):
                is_attained[h] = attained[cells[row, h]]
            human_phase(model, rows, row, Wm, is_attained, q, pi, mixed, extreme, peak, total, Vm[row])

    model = levels.model_of(graph.world, solution.params)
    total = 0.0
    for t in range(graph.max_steps - 1, -1, -1):
        n, following_n = graph.level_sizes[t], graph.level_sizes[t + 1]
        cells = graph.human_cell[:following_n]
        if t + 1 == graph.max_steps:
            following = levels.terminal_tables(cells, graph.attained, solution.params)
        else:
            values = [getattr(solution, name)[t + 1] for name in ("Vm", "Ve", "Vr")]
            following = levels.entering_tables(*values, cells, graph.attained, solution.params)
        Vm = np.empty((n, following.Wm.shape[1]))
        pieces = list(graph.transitions.pieces(0, n, 65536))
        run(model, pieces[0][1], following.Wm, cells, graph.attained, Vm)
        start = time.process_time()
        for first, rows in pieces:
            run(model, rows, following.Wm, cells[first : first + len(rows.succ)], graph.attained, Vm[first:])
        total += time.process_time() - start
    return total


def measure(case: str, horizon: int) -> dict[str, Any]:
    """Run one case in this process."""
    from quintet.jobs.induction import Params, World, build, freed_first, solve, sweep, sweep_parameters

    if case == "sweep":
        world = World.from_yaml(WORLDS / "asymmetric_freeing_simple.yaml")
        sweep(world, sweep_parameters([1000]))
        start = time.process_time()
        sweep(world, sweep_parameters(range(1000, 1030)))
        return {"samples_per_s": 30 / (time.process_time() - start), "peak_mb": peak_mb()}
    world = World.from_yaml(WORLDS / "asymmetric_freeing_11x6.yaml")
    settings: dict[str, Any] = {} if case == "file" else {"storage_dtype": case}
    small = build(world, 2)
    freed_first(small, solve(small, Params(), **settings))
    loaded_mb = peak_mb()
    best: dict[str, Any] = {}
    for _ in range(PASSES):
        graph = solution = None
        with tempfile.TemporaryDirectory() as folder:
            store = FileStore(Path(folder)) if case == "file" else None
            start = time.process_time()
            graph = build(world, horizon, spill=store)
            built = time.process_time()
            solution = solve(graph, Params(), spill=store, **settings)
            solved = time.process_time()
            found = {"build": built - start, "phases": solved - built, "states": graph.n_states}
        if not best or found["build"] + found["phases"] < best["build"] + best["phases"]:
            best = found
    best |= {"peak_mb": peak_mb(), "loaded_mb": loaded_mb}
    if case == "float64":
        share = phase_one_seconds(graph, solution)
        best |= {"phase_1": share, "phase_2": best["phases"] - share}
    return best


def main() -> None:
    """Measure and print a table, or one case as JSON."""
    if len(sys.argv) > 1:
        case, horizon = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15
        print(json.dumps(measure(case, horizon)))
        return
    for horizon, case in CASES:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, __file__, case, str(horizon)], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads(done.stdout.splitlines()[-1])
        whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        figures = ", ".join(
            f"{name} {value:.3f}" if value < 100 else f"{name} {value:.0f}" for name, value in found.items()
        )
        target = TARGETS.get(f"{case}-{horizon}", "")
        print(f"T={horizon:2} {case:8} {figures}; this process {whole:.1f} CPU-s  [{target}]")


if __name__ == "__main__":
    main()
