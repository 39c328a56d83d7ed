"""Phases of the study society: model -> vectors -> eval-vectors -> tune -> simulate.

`mock` has simulate alone and `tiny-random` no model; given vectors replace vectors, and tune is there with trials only.
Units of simulate are numbered replicate by replicate, conditions within; a block is as many of them as there are lanes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...jobs.society.config import RunConfig as Config
from ..phases import Once, Task
from .freezing import completed, resolved
from .table import phases

if TYPE_CHECKING:
    from ..context import Context
    from ..run import Run
    from ..trials import FinishedTrial
    from .voices import Voices

__all__ = ["OUTPUTS", "TOOLS", "Config", "completed", "outcome", "phases", "resolved", "start"]

TOOLS = {
    "": "quintet.shard.society.run_command",
    "run": "quintet.shard.society.run_command",
    "doctor": "quintet.shard.society.doctor",
    "bench-configs": "quintet.shard.society.bench_configs",
    "view": "quintet.shard.society.view",
    "verify-steering": "quintet.merge.society.verify_command",
    "analyze": "quintet.merge.society.analyze",
    "analyze-run": "quintet.merge.society.analyze_run",
    "export": "quintet.merge.society.export",
}
OUTPUTS = {
    "summary.csv": "tables/summary.csv",
    "contrasts.csv": "tables/contrasts.csv",
    "dose_response.csv": "tables/dose_response.csv",
    "report.md": "report/report.md",
    "plots": "figures",
}
LIVE = "QUINTET_LIVE"
"""Environment variable: number of the unit whose ticks a shard shows, with the options of the view as JSON."""


def outcome(run: Run) -> tuple[list[str], int]:
    """Name the failure rows of a complete run; 1 where every unit is one."""
    from ..partial import opened

    with opened(run.merged("simulate")) as file:
        status = file["rows/units/status"][()]
        offsets, text = file["rows/units/reason_offsets"][()], file["rows/units/reason"][()]
        failed = [unit for unit, code in enumerate(status.tolist()) if code]
        reasons = {unit: text[offsets[unit] : offsets[unit + 1]].tobytes().decode() for unit in failed[:20]}
    lines = [f"unit {unit} of simulate failed: {reason}" for unit, reason in reasons.items()]
    return lines, int(bool(failed) and len(failed) == len(status))


class SocietyWork:
    """The work of one phase in one process."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: Config = context.config

    @cached_property
    def _voices(self) -> Voices:
        from .voices import Voices

        return Voices(self._context)

    def block(self, units: range) -> Task:
        """Return the task of some units."""
        name = self._context.phase.name
        if name == "simulate":
            return self._simulation(units)
        from .model_phases import converted_model, evaluation_rows, vector_rows

        if name == "model":
            return Once(converted_model, self._context)
        if name == "vectors":
            return Once(vector_rows, self._voices, units)
        return Once(evaluation_rows, self._voices, self._config, units)

    def _simulation(self, units: range) -> Task:
        from .simulate_phase import SimulateBlock

        shown = os.environ.get(LIVE)
        view = None
        if shown is not None:
            from .live import LiveView

            view = LiveView.of_settings(shown, units)
        tuned = self._voices.tuned if "tune" in self._context.phase.after else None
        pause = float(self._context.plan.resources["checkpoint_s"])
        return SimulateBlock(self._config, units, self._voices.arguments(), tuned, pause, view)

    def trial(self, number: int, parameters: Mapping[str, Any]) -> Task:
        """Return the task of a trial of tune."""
        from .model_phases import tuning_trial

        return Once(tuning_trial, self._voices, self._config, dict(parameters))

    def propose(self, number: int, earlier: Sequence[FinishedTrial]) -> dict[str, Any]:
        """Return the parameters of a trial of tune."""
        return dict(self._proposal(number, earlier))

    @cached_property
    def _proposal(self) -> Any:
        from ..samplers import propose_tpe

        search = self._context.phase.search
        assert search is not None
        return propose_tpe(search.space, self._config.seed, 8, "maximize")


def start(context: Context) -> SocietyWork:
    """Return the work of `context.phase` in this process."""
    return SocietyWork(context)
