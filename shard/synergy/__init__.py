"""Phases of the study synergy: visual -> encode -> train; with `inputs.dataset` only train.

Units of train are the trainings of the sweep, dims slowest, runs fastest; a block is `run.group` of them.
"""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...jobs.synergy.config import Config
from ...jobs.synergy.labels import Labels
from ...jobs.synergy.plugin import plugin
from ...jobs.synergy.visual import PCA_IMAGES, Weights
from ..errors import Exit, QuintetError
from ..partial import opened
from ..phases import Dataset, Once, Phase, Resources, Task
from .dataset_file import GENERATOR_KEYS, IMAGE_KEYS, check_dataset, read_dataset
from .rows import datasets_of, names_of, stats_of

if TYPE_CHECKING:
    from ...jobs.synergy.data import Dataset as Data
    from ..context import Context

TOOLS = {
    "": "quintet.shard.synergy.sweep",
    "sweep": "quintet.shard.synergy.sweep",
    "prepare": "quintet.shard.synergy.prepare",
    "verify-data": "quintet.shard.synergy.verify_data",
    "extract": "quintet.merge.synergy.extract",
    "summary": "quintet.merge.synergy.summary",
}
OUTPUTS = {
    "aggregated_results.json": "tables/aggregated_results.json",
    "sweep_state.pkl": "tables/sweep_state.pkl",
    "individual_results": "tables/individual_results",
    "comparisons.csv": "tables/comparisons.csv",
    "synergy_prior.csv": "tables/synergy_prior.csv",
    "summary.csv": "tables/summary.csv",
    "plots": "figures",
    "report.md": "report/report.md",
    "aggregated.h5": "merged/train.h5",
    "dataset.h5": "merged/encode.h5",
}
VISUAL_SECONDS = {"vae_mlp": 1.7e-4, "vae_conv": 1.4e-3, "pca": 0.0}
"""CPU seconds per image and epoch."""

IMAGE_SECONDS = 1.4e-4
STEP_SECONDS = 4.4e-5
PARAMETER_SECONDS = 2.9e-9
"""CPU seconds per step, and per step and parameter at 32 samples; fitted to 40,000 and 278,000 parameters."""

SCIENCE_OF_RUN = ("backend", "device", "group", "save_models")


def resolved(config: Config) -> Config:
    """Freeze the backend and the data set, and refuse what cannot be run: exit 2 before anything is written."""
    from ...jobs.synergy.training import resolved_backend

    config = with_data_folder(config)
    check_visual(config)
    check_figures(config)
    rule = config.training.early_stopping
    known = names_of(config).curves
    if rule.enabled and rule.metric not in known:
        raise QuintetError(
            Exit.USAGE,
            f"training.early_stopping.metric: found {rule.metric!r}; allowed is a metric of every epoch, such as "
            f"{', '.join(name for name in known if name.startswith(('val_loss', 'predictability/synergy')))}",
        )
    if config.inputs.dataset is not None:
        check_dataset(Path(config.inputs.dataset), config)
    backend = resolved_backend(config.run.backend, config.run.device)
    return config.model_copy(update={"run": config.run.model_copy(update={"backend": backend})})


def with_data_folder(config: Config) -> Config:
    """Return the config with the `data.dir` of old read: a folder with a data set is `inputs.dataset`."""
    if config.data.dir is None:
        return config
    path = Path(config.data.dir) / "dataset.h5"
    update: dict[str, Any] = {"data": config.data.model_copy(update={"dir": None})}
    if config.inputs.dataset is None and path.is_file():
        update["inputs"] = config.inputs.model_copy(update={"dataset": str(path.resolve())})
    elif config.inputs.dataset is None:
        warnings.warn(f"data.dir: {config.data.dir} has no dataset.h5; the run makes its own data", stacklevel=2)
    return config.model_copy(update=update)


def check_visual(config: Config) -> None:
    """Refuse a visual domain that the images do not allow."""
    visual, data = config.visual, config.data
    if visual.kind == "vae_conv" and data.img_size != 32:
        raise QuintetError(Exit.USAGE, f"visual.kind: found 'vae_conv' with data.img_size {data.img_size}; allowed: 32")
    most = min(data.n_train, PCA_IMAGES, 3 * data.img_size**2) - 1
    if visual.kind == "pca" and visual.latent_dim > most:
        raise QuintetError(Exit.USAGE, f"visual.latent_dim: found {visual.latent_dim}; allowed for pca is 1 to {most}")


def check_figures(config: Config) -> None:
    """Refuse figures that could not be drawn: a metric that no unit has, a plugin that cannot be imported."""
    measured, name = names_of(config).metrics, config.report.plot_plugin
    for metric in config.report.plot_metrics:
        if metric not in measured:
            raise QuintetError(
                Exit.USAGE, f"report.plot_metrics: found {metric!r}; allowed is one of {', '.join(measured)}"
            )
    if name is not None:
        try:
            plugin(name)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise QuintetError(
                Exit.USAGE, f"report.plot_plugin: found {name!r}, which cannot be imported ({reason})"
            ) from error


def group_size(config: Config) -> int:
    """Return how many units a block of train has."""
    sweep, group = config.sweep, config.run.group
    of_dim = len(sweep.synergy_scales) * sweep.runs_per_condition
    return {"all": of_dim * len(sweep.dims), "dim": of_dim}[group] if isinstance(group, str) else group


def phases(config: Config) -> tuple[Phase, ...]:
    """Return the table of phases."""
    if config.inputs.dataset is not None:
        return (train_phase(config),)
    return (visual_phase(config), encode_phase(config), train_phase(config))


def visual_phase(config: Config) -> Phase:
    """Return the phase of the visual domain: one long unit."""
    data, visual = config.data, config.visual
    images = min(data.n_train, PCA_IMAGES) if visual.kind == "pca" else data.n_train
    image_bytes = 3 * data.img_size**2
    seconds = (images + data.n_val) * IMAGE_SECONDS + images * visual.epochs * VISUAL_SECONDS[visual.kind]
    return Phase(
        name="visual",
        kind="map",
        units=1,
        # the gate is the merge's, so that a run can pass it with what it has
        reads=(
            *(f"data.{key}" for key in IMAGE_KEYS),
            *(f"visual.{key}" for key in type(visual).model_fields if key != "max_val_mse"),
        ),
        datasets=(
            Dataset("rows/table", "u1", ragged=True),
            Dataset("rows/weights", "u1", ragged=True),
            Dataset("rows/val_mse", "f8"),
        ),
        resources=Resources(
            mem_mb=900 + int(1.2 * (images + data.n_val) * image_bytes / 1e6),
            seconds_per_unit=seconds + (16.0 if visual.kind == "pca" else 0.0),
            bytes_per_unit=8e6,
            time_s=max(3600, int(8 * seconds)),
            checkpoint_s=float(config.run.checkpoint_seconds),
        ),
    )


def encode_phase(config: Config) -> Phase:
    """Return the phase that makes the data set: a unit is 10,000 rows of one split."""
    from .data_phases import ROWS_PER_UNIT, pieces_of

    data, visual = config.data, config.visual
    size = data.img_size
    images = (Dataset("rows/images", "u1", (size, size, 3), True, "index"),) if data.keep_images else ()
    rows = sum(data.counts.values())
    return Phase(
        name="encode",
        kind="map",
        units=len(pieces_of(config)),
        after=("visual",),
        reads=(*(f"data.{key}" for key in (*GENERATOR_KEYS, "keep_images")), "visual.kind"),
        datasets=(Dataset("rows/latents", "f4", (2, visual.latent_dim), True, "index"), *images),
        resources=Resources(
            mem_mb=1200 + int(rows * (400 + 3 * size * size * data.keep_images) / 1e6),
            seconds_per_unit=ROWS_PER_UNIT * (IMAGE_SECONDS + VISUAL_SECONDS[visual.kind] / 3 + 5e-5),
            bytes_per_unit=ROWS_PER_UNIT * (8.0 * visual.latent_dim + data.keep_images * 600.0),
            target_minutes=2.0,
        ),
    )


def train_phase(config: Config) -> Phase:
    """Return the phase of the trainings."""
    sweep, run, data = config.sweep, config.run, config.data
    layouts = [config.layout(dim, data.n_bins, config.n_v) for dim in sweep.dims]
    parameters = sum(layout.n_params for layout in layouts) / len(layouts)
    rows = config.train_rows
    epochs = config.epochs(sweep.experiment_type)
    per_step = STEP_SECONDS + PARAMETER_SECONDS * parameters * (0.2 + 0.8 * data.batch_size / 32)
    per_step *= config.objective(sweep.experiment_type).relative_cost
    names, group = names_of(config), group_size(config)
    columns = 8 * (len(names.metrics) + 0.7 * len(names.curves) * epochs) + 2000
    own_data = config.inputs.dataset is None
    return Phase(
        name="train",
        kind="map",
        units=len(sweep.dims) * len(sweep.synergy_scales) * sweep.runs_per_condition,
        block_size=group,
        after=("encode",) if own_data else (),
        inputs=() if own_data else ("dataset",),
        reads=(
            *(f"data.{key}" for key in (*GENERATOR_KEYS, "batch_size")),
            "visual.latent_dim",
            "model",
            "synergy",
            "training",
            "sweep",
            *(f"run.{key}" for key in SCIENCE_OF_RUN),
        ),
        datasets=datasets_of(config),
        stats=stats_of(config),
        resources=Resources(
            mem_mb=400 + int((rows + data.n_val + data.n_test) * 250 / 1e6 + group * parameters * 40 / 1e6),
            gpus=int(run.device == "cuda"),
            time_s=14_400,
            seconds_per_unit=epochs * math.ceil(rows / data.batch_size) * per_step,
            bytes_per_unit=columns + (0.0 if run.save_models == "none" else 3.8 * parameters),
            checkpoint_s=float(run.checkpoint_seconds),
        ),
    )


class SynergyWork:
    """The work of one phase in one process."""

    def __init__(self, context: Context) -> None:
        """Keep the context."""
        self._context = context
        self._config: Config = context.config

    def block(self, units: range) -> Task:
        """Return the task of some units."""
        name = self._context.phase.name
        if name == "visual":
            from .data_phases import VisualDomain

            return VisualDomain(self._config)
        if name == "encode":
            return Once(self._encode, units)
        from .training_phase import TrainingBlock

        return TrainingBlock(self._dataset, self._config, units)

    def _encode(self, units: range) -> dict[str, Any]:
        from .data_phases import encoded

        return encoded(self._config, self._weights, self._labels, units)

    @cached_property
    def _weights(self) -> Weights:
        from .data_phases import unpacked_weights

        with self._context.result("visual") as file:
            return unpacked_weights(file["rows/table"][()], file["rows/weights"][()])

    @cached_property
    def _labels(self) -> dict[str, Labels]:
        from ...jobs.synergy.generation import labels_of

        return labels_of(self._config.data)

    @cached_property
    def _dataset(self) -> Data:
        from .training_phase import check_device

        check_device(self._config)
        n_bins = self._config.data.n_bins
        if self._config.inputs.dataset is None:
            with self._context.result("encode") as file:
                return read_dataset(file, n_bins)
        with opened(self._context.inputs["dataset"]) as file:
            return read_dataset(file, n_bins)


def start(context: Context) -> SynergyWork:
    """Return the work of `context.phase` in this process."""
    return SynergyWork(context)
