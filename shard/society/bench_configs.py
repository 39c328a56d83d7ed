"""`bench-configs`: how long 200 steps take with each preset, extrapolated from a few ticks."""

from __future__ import annotations

import time
from typing import Any

import click

from ...jobs.society.config import RunConfig
from ...jobs.society.simulation import Simulation
from ...jobs.society.templates import merged_over
from ..commands.base import run_command

STEPS = 200
CURRENT: dict[str, Any] = {"optimization": {"reflect_every_n_ticks": 1}, "inference": {"max_new_tokens": 128}}
FAST: dict[str, Any] = {
    "max_events_per_tick": 12,
    "optimization": {"reflect_every_n_ticks": 5},
    "inference": {"max_new_tokens": 48},
}
PRESETS: dict[str, dict[str, Any]] = {
    # one resident at a time, every message to its limit, as programs do that call a model for each
    "original": merged_over(
        CURRENT,
        {
            "inference": {"batch_size": 1, "adaptive_tokens": False},
            "engine": {"prefix_reuse": False, "invariance": "tolerance"},
        },
    ),
    "current": CURRENT,
    "fast": FAST,
    "quantized": merged_over(FAST, {"optimization": {"use_quantization": "int8dyn"}}),
}


def seconds_of(model: str, preset: dict[str, Any], population: int, ticks: int) -> tuple[float, int]:
    """Return CPU seconds of some ticks of a preset, and how many decisions they had."""
    base = {
        "run_id": "bench",
        "model_name": model,
        "population": population,
        "steps": ticks,
        "probes": {"enabled": False, "fluency": False},
    }
    changes = dict(preset)
    if model == "mock":
        changes = merged_over(changes, {"optimization": {"use_quantization": "none"}})
    if model == "tiny-random":
        base["steering"] = {"layers": [2]}
    simulation = Simulation(RunConfig(**merged_over(base, changes)))
    if model != "mock":
        _ = simulation.voice.prior, simulation.voice.steering
    begun = time.process_time()
    history = simulation.run(ticks)
    return time.process_time() - begun, len(history.actions)


@click.command("bench-configs")
@click.option("--model", default="smollm2-135m", show_default=True, help="Model name or path.")
@click.option("--ticks", type=click.IntRange(min=1), default=2, show_default=True, help="Ticks that are measured.")
@click.option("--population", type=click.IntRange(min=1), default=32, show_default=True, help="Residents.")
@click.option("--preset", "chosen", type=click.Choice(list(PRESETS)), multiple=True, help="Only these.")
def command(model: str, ticks: int, population: int, chosen: tuple[str, ...]) -> None:
    """Print CPU time per 200 steps and speed-up of the presets original, current, fast and quantized."""
    names = chosen or tuple(PRESETS)
    click.echo(f"{'preset':<12}{'CPU-s/tick':>12}{'CPU-s/decision':>16}{'h per 200 steps':>17}{'speed-up':>10}")
    first = None
    for name in names:
        seconds, decisions = seconds_of(model, PRESETS[name], population, ticks)
        each = seconds / ticks
        first = first or each
        click.echo(
            f"{name:<12}{each:>12.3f}{seconds / max(decisions, 1):>16.4f}"
            f"{each * STEPS / 3600:>17.3f}{first / each:>9.1f}x"
        )


if __name__ == "__main__":
    run_command(command, name="bin/society bench-configs")
