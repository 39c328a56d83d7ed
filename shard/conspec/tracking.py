"""Trackers: what a person watches while trials learn.  No result rests on them, and none of them stops a trial.

Each trial has the folder `tracking/<world>/trial_<number>/`.  A resumed trial first cuts its history back to its
checkpoint.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import Exit, QuintetError
from ..publish import replace_file

if TYPE_CHECKING:
    from ...jobs.conspec.config import Config

Row = Mapping[str, float]
NEEDED = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Package that a tracker needs; the suite's extra has the same name."""


class Tracker(Protocol):
    """Takes a row of numbers every so many episodes, and the final metrics."""

    def rewind(self, episode: int) -> None:
        """Forget what was logged after `episode`."""
        ...

    def log(self, row: Row) -> None:
        """Take the next row; its `episode` rises."""
        ...

    def finish(self, summary: Row) -> None:
        """Take the final metrics."""
        ...


class NoTracker:
    """Keeps nothing."""

    def rewind(self, episode: int) -> None:
        """Do nothing."""

    def log(self, row: Row) -> None:
        """Do nothing."""

    def finish(self, summary: Row) -> None:
        """Do nothing."""


class JsonLines:
    """`history.jsonl`, `config.json` and `summary.json` in the trial's folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Write the trial's parameters."""
        self._history, self._summary = folder / "history.jsonl", folder / "summary.json"
        replace_file(folder / "config.json", (json.dumps(dict(config), indent=1) + "\n").encode())

    def rewind(self, episode: int) -> None:
        """Cut the history back to `episode`; a line that a kill has cut goes, too."""
        lines = self._history.read_text(encoding="utf-8").splitlines() if self._history.exists() else []
        kept = [line for line in lines if _episode_of(line) <= episode]
        replace_file(self._history, "".join(f"{line}\n" for line in kept).encode())

    def log(self, row: Row) -> None:
        """Append a line."""
        with self._history.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(row)) + "\n")

    def finish(self, summary: Row) -> None:
        """Write the final metrics."""
        replace_file(self._summary, (json.dumps(dict(summary), indent=1) + "\n").encode())


def _episode_of(line: str) -> float:
    try:
        return float(json.loads(line)["episode"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class TensorBoard:
    """Event files in the trial's folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Open nothing before the first row, since a resumed trial names the step to purge from."""
        self._folder, self._config = folder, dict(config)
        self._writer: Any = None
        self._purge: int | None = None

    def rewind(self, episode: int) -> None:
        """Hide what was logged after `episode`."""
        self._purge = episode + 1

    def log(self, row: Row) -> None:
        """Write the scalars of a row."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge)
            self._writer.add_text("config", json.dumps(self._config))
        for name, value in row.items():
            if name != "episode":
                self._writer.add_scalar(name, value, int(row["episode"]))
        self._writer.flush()

    def finish(self, summary: Row) -> None:
        """Write the final metrics and close the file."""
        if self._writer is not None:
            for name, value in summary.items():
                self._writer.add_scalar(name, value)
            self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, offline unless the user has set WANDB_MODE."""

    def __init__(self, folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Start the run."""
        import wandb

        os.environ.setdefault("WANDB_MODE", "offline")
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(dir=str(folder), config=dict(config), reinit="finish_previous", **facts)
        self._seen = 0

    def rewind(self, episode: int) -> None:
        """Leave out rows up to `episode`: an offline run cannot be cut, so the resumed one goes on behind them."""
        self._seen = episode

    def log(self, row: Row) -> None:
        """Log a row at its episode."""
        if row["episode"] > self._seen:
            self._run.log(dict(row), step=int(row["episode"]))

    def finish(self, summary: Row) -> None:
        """Set the summary and end the run."""
        self._run.summary.update(dict(summary))
        self._run.finish()


def check_tracker(config: Config) -> None:
    """Refuse a tracker whose package is not there: exit 2, naming the extra."""
    package = NEEDED.get(config.logging.tracker)
    if package is not None and find_spec(package) is None:
        raise QuintetError(
            Exit.USAGE,
            f"logging.tracker: {config.logging.tracker!r} needs the package {package}; "
            f"install the extra quintet[{package}], or take none or jsonl",
        )


def facts_of(config: Config, world: str, number: int) -> dict[str, Any]:
    """Return project, entity, name and tags of a trial's tracked run."""
    return {
        "project": config.logging.wandb_project,
        "entity": config.logging.wandb_entity,
        "name": f"{world}_trial_{number}",
        "tags": [world, "hyperparam_search"],
    }


def folder_of(run: Path, world: str, number: int) -> Path:
    """Return where a trial's trackers write."""
    return run / "tracking" / world / f"trial_{number:05d}"


def summary_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return what a tracker takes at the end of a trial."""
    return {f"final_{name}": float(metrics[name]) for name in ("mean_reward", "success_rate", "max_reward")}


class Careful:
    """A tracker whose failures are told once and stop nothing."""

    def __init__(self, make: Callable[[], Tracker]) -> None:
        """Open the tracker."""
        self._tracker: Tracker = NoTracker()
        self._attempt(lambda: setattr(self, "_tracker", make()))

    def rewind(self, episode: int) -> None:
        """Pass on."""
        self._attempt(lambda: self._tracker.rewind(episode))

    def log(self, row: Row) -> None:
        """Pass on."""
        self._attempt(lambda: self._tracker.log(row))

    def finish(self, summary: Row) -> None:
        """Pass on."""
        self._attempt(lambda: self._tracker.finish(summary))

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            print(f"tracker: {type(error).__name__}: {error}; this trial is tracked no further", file=sys.stderr)
            self._tracker = NoTracker()


def tracker_of(config: Config, run: Path, world: str, number: int, parameters: Mapping[str, Any]) -> Tracker:
    """Return the tracker of one trial as the config says."""
    folder = folder_of(run, world, number)
    kinds: dict[str, Callable[[], Tracker]] = {
        "none": NoTracker,
        "jsonl": lambda: JsonLines(folder, {**facts_of(config, world, number), "hyperparameters": dict(parameters)}),
        "tensorboard": lambda: TensorBoard(folder, parameters),
        "wandb": lambda: WeightsAndBiases(folder, parameters, facts_of(config, world, number)),
    }
    return Careful(kinds[config.logging.tracker])
