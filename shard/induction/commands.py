"""The drop-in command `bin/induction`: its flags are config keys, in the reference implementation's spellings too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...jobs.induction.config import THEORY
from ..dropin import DropIn
from ..errors import Exit, QuintetError

if TYPE_CHECKING:
    from ..run import Run

PACKAGED_INPUTS = {"world": "worlds"}
NEURAL_KEYS = (
    "seeds",
    "beam",
    "passes",
    "later_share",
    "batch",
    "learning_rate",
    "robot_weight",
    "validates",
    "validate_limit",
    "root_limit",
    "check_rows",
    "check_rollouts",
    "check_goals",
)
AGENTS = {"--human-agents/--human-idx": "human_agents", "--robot-agents/--robot-idx": "robot_agents"}
WORLD_FLAGS = {"--allow-unknown-keys": "allow_unknown_keys", "--coverage-check": "coverage_check"}
MEMORY_KEYS = (
    "spill",
    "spill_dir",
    "allow_tmpfs",
    "compression",
    "min_free_memory_fraction",
    "memory_pause_duration",
    "memory_check_interval",
    "on_low_memory",
    "max_states",
    "quiet",
)


def flag(name: str) -> str:
    """Return the flag of a config key: its last name."""
    return "--" + name.rpartition(".")[2].replace("_", "-")


COMMANDS = {
    "": DropIn(
        sections=(),
        flags={
            "--world": "inputs.world",
            "--steps/--max-steps/-s": "max_steps",
            **{flag(name): name for name in THEORY},
            **AGENTS,
            **WORLD_FLAGS,
            **{
                flag(name): name
                for name in (
                    "storage_dtype",
                    "keep_policies",
                    "row_chunk",
                    *MEMORY_KEYS,
                    "rollouts",
                    "rollout_seed",
                    "fps",
                    "others_marginal",
                    "human_always_toggles",
                    "slab.rows",
                    "slab.head_levels",
                    *(f"neural.{name}" for name in NEURAL_KEYS if name != "validates"),
                )
            },
            "--training-steps": "neural.steps",
            "--validate": "neural.validates",
            "--exact-run": "inputs.exact_run",
        },
        switches={"--slab": ("mode", "slab"), "--neural": ("mode", "neural")},
    ),
    "sweep": DropIn(
        sections=("sweep",),
        flags={
            "--world": "inputs.world",
            **AGENTS,
            **WORLD_FLAGS,
            **{flag(name): name for name in ("optimistic", "human_aggregate", "goal_weights", "nu", "pi0")},
            **{flag(name): name for name in ("power_floor", "terminal_Vr", *MEMORY_KEYS)},
        },
        defaults={"mode": "sweep"},
    ),
}
TOOLS = {"growth": "quintet.merge.induction.growth"}
OUTPUTS = {
    "errors.csv": "tables/errors.csv",
    "results.csv": "tables/results.csv",
    "summary.json": "tables/summary.json",
    "report.md": "report/report.md",
    "movies": "figures/rollouts",
}
LISTS: dict[str, type] = {"human_agents": int, "robot_agents": int, "goal_weights": float, "pi0": float}


def from_flags(settings: dict[str, Any]) -> dict[str, Any]:
    """Read lists written with commas; `--rows` and `--seeds` with `--neural` are the trainings'."""
    if settings.get("mode") == "neural" and "slab" in settings:
        settings["neural"] = {**settings.pop("slab"), **settings.get("neural", {})}
    neural = settings.get("neural", {})
    if isinstance(neural.get("seeds"), str):
        neural["seeds"] = seeds_of(neural["seeds"])
    for name, kind in LISTS.items():
        text = settings.get(name)
        if isinstance(text, str) and text not in ("uniform", "unit"):
            try:
                settings[name] = [kind(part) for part in text.split(",")]
            except ValueError:
                raise QuintetError(
                    Exit.USAGE, f"{flag(name)}: found {text!r}; allowed are numbers with commas between them"
                ) from None
    return settings


def seeds_of(text: str) -> int | list[int]:
    """Return a number of seeds, or the seeds of a list with commas."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise QuintetError(
            Exit.USAGE, f"--seeds: found {text!r}; allowed are a number, or seeds with commas between them"
        )
    return [int(part) for part in parts] if len(parts) > 1 else int(text)


def outcome(run: Run) -> tuple[list[str], int]:
    """Name the failure rows of a complete run; 2 where a problem has none but that, for its input cannot be solved."""
    from ..partial import opened
    from .index import text_of

    last = run.phases()[-1]
    if last not in ("solve", "sweep", "check"):
        return [], 0
    with opened(run.merged(last)) as file:
        failed = [unit for unit, status in enumerate(file["rows/status"][()].tolist()) if status]
        lines = [f"unit {unit} of {last}: {text_of(file, 'rows/error', unit)}" for unit in failed[:20]]
        units = len(file["rows/status"])
    if last == "solve":
        return lines, int(Exit.USAGE) if failed else 0
    return lines, int(Exit.CHECK) if len(failed) == units else 0
