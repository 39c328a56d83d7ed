"""Config of the study: data, visual domain, model, target, training, sweep and what is drawn."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from .data import BASE_SEED
from .objective import EXPERIMENT_TYPES, Objective, Optimiser, Weights
from .parameters import Layout
from .sums import N_ATTR

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Domain = Literal["attr", "v"]
IGNORED = {
    "data": ("num_workers", "image_dir"),
    "training": ("reset_model_per_experiment",),
    "experiment": ("output_dir", "wandb_project", "wandb_entity", "log_to_wandb"),
}
"""Keys of the reference's configuration that mean nothing here."""

STACK = 256
"""Units of one stack where the config does not say."""

UNSUPPORTED = ("noise", "schedule", "syn", "demi_cycle")
"""Switches of later versions of the reference that change the model."""


class Section(BaseModel):
    """A section of the config; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def without_ignored(section: str, values: Any) -> Any:
    """Return the values of a section less the keys that mean nothing here, with one warning that names them."""
    if not isinstance(values, dict):
        return values
    found = [key for key in IGNORED[section] if key in values]
    if found:
        warnings.warn(f"config: {', '.join(f'{section}.{key}' for key in found)}: no effect here", stacklevel=2)
    return {key: value for key, value in values.items() if key not in found}


class Inputs(Section):
    """Files from outside: a finished data set."""

    dataset: str | None = None


class Data(Section):
    """What the data set is made of, and how it is batched."""

    dir: str | None = None
    batch_size: Count = 32
    n_train: Count = 50_000
    n_val: Count = 5_000
    n_test: Count = 5_000
    data_seed: Seed = 0
    u_seed: Seed = 42
    min_scale: int = Field(7, ge=1)
    max_scale: int = Field(14, ge=2)
    min_lightness: int = Field(46, ge=0, le=255)
    max_lightness: int = Field(256, ge=1, le=256)
    img_size: int = Field(32, ge=4, le=1024)
    n_bins: int = Field(8, ge=2, le=64)
    size_range: Literal["fixed", "split"] = "fixed"
    append_size: bool = True
    keep_images: bool = False

    @model_validator(mode="before")
    @classmethod
    def _ignore(cls, values: Any) -> Any:
        return without_ignored("data", values)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.min_scale >= self.max_scale:
            raise ValueError(f"min_scale {self.min_scale} must be below max_scale {self.max_scale}")
        if self.max_scale > self.img_size:
            raise ValueError(f"max_scale {self.max_scale} must be at most img_size {self.img_size}")
        if self.img_size - 2 * (self.max_scale // 2) < 2:
            raise ValueError(f"max_scale {self.max_scale} leaves no room for positions in img_size {self.img_size}")
        if self.min_lightness >= self.max_lightness:
            raise ValueError(f"min_lightness {self.min_lightness} must be below max_lightness {self.max_lightness}")
        for key in ("n_train", "n_val", "n_test"):
            if getattr(self, key) < self.n_bins:
                raise ValueError(f"{key} {getattr(self, key)} must be at least n_bins {self.n_bins}")
        if self.batch_size > self.n_train:
            raise ValueError(f"batch_size {self.batch_size} must be at most n_train {self.n_train}")
        return self

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each split."""
        return {"train": self.n_train, "val": self.n_val, "test": self.n_test}


class Visual(Section):
    """The visual domain: how images become latents."""

    kind: Literal["vae_mlp", "vae_conv", "pca"] = "vae_mlp"
    latent_dim: int = Field(12, ge=1, le=1024)
    ae_dim: int = Field(64, ge=8, multiple_of=8)
    beta: float = Field(0.1, ge=0.0)
    epochs: Count = 8
    lr: float = Field(None, gt=0.0, validate_default=True, description="2e-3, and 5e-3 for vae_conv")
    seed: Seed = 0
    max_val_mse: float | None = Field(0.010, gt=0.0)

    @field_validator("lr", mode="before")
    @classmethod
    def _usual_rate(cls, value: Any, info: ValidationInfo) -> Any:
        usual = 5e-3 if info.data.get("kind") == "vae_conv" else 2e-3
        return usual if value is None else value


class DomainEntry(Section):
    """One modality, as the reference's configuration lists it; its checkpoint has no use here."""

    name: Domain
    domain_type: Literal["attr", "v", "v_latents"] | None = None
    checkpoint_path: str | None = None

    @field_validator("checkpoint_path")
    @classmethod
    def _no_checkpoint(cls, value: str | None) -> None:
        if value is not None:
            warnings.warn("config: model.domains.checkpoint_path: no effect here", stacklevel=2)


class FusionWeights(Section):
    """Weights of the two domains in the fused state."""

    attr: float = Field(0.5, ge=0.0)
    v: float = Field(0.5, ge=0.0)


class Model(Section):
    """Sizes of the four nets and how the workspace is fused."""

    domains: tuple[DomainEntry, ...] = (DomainEntry(name="attr"), DomainEntry(name="v"))
    workspace_dim: int = Field(12, ge=1, le=1024)
    hidden_dim: int = Field(128, ge=1, le=4096)
    decoder_hidden_dim: int = Field(
        None, ge=1, le=4096, validate_default=True, description="hidden_dim where it is not given"
    )
    n_layers: int = Field(4, ge=0, le=32)
    fusion_weights: FusionWeights = FusionWeights()

    @model_validator(mode="after")
    def _both_domains(self) -> Self:
        names = sorted(entry.name for entry in self.domains)
        if names != ["attr", "v"]:
            raise ValueError(f"domains {names}: they must be exactly attr and v")
        return self

    @field_validator("decoder_hidden_dim", mode="before")
    @classmethod
    def _as_encoders(cls, value: Any, info: ValidationInfo) -> Any:
        return info.data.get("hidden_dim", 128) if value is None else value


class Synergy(Section):
    """The synergy target, its weight, and which columns count as unique and redundant."""

    domains: tuple[Domain, ...] = ("attr", "v")
    feature_indices: dict[Domain, tuple[str, ...]] = {"attr": ("xor_target_normalized",)}
    loss_scale: float = Field(1.0, ge=0.0)
    unique_indices: dict[Domain, tuple[int, ...]] | None = None
    redundant_indices: dict[Domain, tuple[int, ...]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for key in UNSUPPORTED:
            if key in values and effective(values[key]):
                raise ValueError(f"not supported: synergy.{key}")
        return {key: value for key, value in values.items() if key not in UNSUPPORTED}

    @field_validator("feature_indices")
    @classmethod
    def _one_target(cls, value: dict[Domain, tuple[str, ...]]) -> dict[Domain, tuple[str, ...]]:
        kept = {domain: names for domain, names in value.items() if names}
        if kept not in ({}, {"attr": ("xor_target_normalized",)}):
            raise ValueError(f'feature_indices {value}: it must be {{"attr": ["xor_target_normalized"]}} or {{}}')
        return kept

    @property
    def target(self) -> bool:
        """Whether the synergy target is trained."""
        return bool(self.feature_indices)


def effective(value: Any) -> bool:
    """Say whether a switch of the reference, or any switch below it, is on."""
    if isinstance(value, dict):
        return any(effective(item) for item in value.values())
    return value not in (None, False, 0, 0.0, "", "none", "constant", [], ())


class OptimizerSection(Section):
    """Adam."""

    type: Literal["Adam"] = "Adam"
    lr: float = Field(1e-3, gt=0.0)
    weight_decay: float = Field(0.0, ge=0.0)


class LossWeights(Section):
    """Weights of the four terms of an experiment type."""

    fusion: float = Field(0.0, ge=0.0)
    demi_cycle: float = Field(0.0, ge=0.0)
    cycle: float = Field(0.0, ge=0.0)
    translation: float = Field(0.0, ge=0.0)


class LossConfig(Section):
    """An experiment type: a name, weights, and epochs of its own."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    weights: LossWeights
    epochs: int | None = Field(None, ge=1)


PREDEFINED = tuple(
    LossConfig(name=name, weights=LossWeights(**weights._asdict())) for name, weights in EXPERIMENT_TYPES.items()
)
"""Experiment types that every config has unless it defines them itself."""


class EarlyStopping(Section):
    """Stop after `patience` evaluations that did not improve by more than `min_delta`."""

    enabled: bool = False
    patience: Count = 10
    min_delta: float = Field(0.0, ge=0.0)
    metric: str = "val_loss"


class Training(Section):
    """How a unit is trained and judged."""

    epochs: Count = 50
    optimizer: OptimizerSection = OptimizerSection()
    grad_clip: float | None = Field(1.0, gt=0.0)
    loss_configs: tuple[LossConfig, ...] = PREDEFINED
    early_stopping: EarlyStopping = EarlyStopping()
    grad_accumulation: Count = 1
    eval_every: Count = 1
    max_train_samples: int | None = Field(None, ge=1)
    max_val_samples: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _ignore(cls, values: Any) -> Any:
        return without_ignored("training", values)

    @field_validator("loss_configs")
    @classmethod
    def _names(cls, entries: tuple[LossConfig, ...]) -> tuple[LossConfig, ...]:
        names = [entry.name for entry in entries]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"loss_configs: {name!r} is defined twice")
        for entry in entries:
            if not any(entry.weights.model_dump().values()):
                raise ValueError(f"loss_configs: {entry.name!r} has no weight above 0; it must have one")
        return (*entries, *(entry for entry in PREDEFINED if entry.name not in names))


class Experiment(Section):
    """A section of the reference's configuration that means nothing here."""

    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _ignore(cls, values: Any) -> Any:
        return without_ignored("experiment", values)


class Sweep(Section):
    """The grid of conditions."""

    dims: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((8, 12, 16, 24, 32), min_length=1)
    synergy_scales: tuple[Annotated[float, Field(ge=0.0)], ...] = Field((0.1, 0.5, 1.0, 2.0, 5.0, 10.0), min_length=1)
    runs_per_condition: Count = 5
    base_seed: Seed = BASE_SEED
    experiment_type: str = "fusion_only"

    @field_validator("dims", "synergy_scales")
    @classmethod
    def _ascending(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            warnings.warn(f"config: sweep: {list(values)} names a level twice; it is taken once", stacklevel=2)
        return tuple(sorted(set(values)))


class Run(Section):
    """Backend, device and grouping."""

    backend: Literal["auto", "cpu", "torch", "torch-stacked"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    gpu_memory_percent: float = Field(75, ge=1, le=100)
    group: Literal["all", "dim"] | Count = Field(
        None, validate_default=True, description="units of one block: 1, and 256 with torch-stacked"
    )
    save_models: Literal["none", "best", "final"] = "best"
    checkpoint_seconds: int = Field(120, ge=0)

    @field_validator("group", mode="before")
    @classmethod
    def _usual_group(cls, value: Any, info: ValidationInfo) -> Any:
        chosen = (info.data.get("backend"), info.data.get("device"))
        stacked = chosen[0] == "torch-stacked" or chosen == ("auto", "cuda")
        return (STACK if stacked else 1) if value is None else value


class Report(Section):
    """What is drawn and exported; changes no number."""

    plot_metrics: tuple[str, ...] = ()
    plot_plugin: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    format: Literal["png", "pdf", "svg"] = "png"
    log_dims: bool = False
    with_history: bool = False
    export_models: bool = False


class Config(Section):
    """One run of the study."""

    inputs: Inputs = Inputs()
    data: Data = Data()
    visual: Visual = Visual()
    model: Model = Model()
    synergy: Synergy = Synergy()
    training: Training = Training()
    experiment: Experiment = Experiment()
    sweep: Sweep = Sweep()
    run: Run = Run()
    report: Report = Report()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = [entry.name for entry in self.training.loss_configs]
        if self.sweep.experiment_type not in known:
            raise ValueError(
                f"sweep.experiment_type: {self.sweep.experiment_type!r}; it must be one of {', '.join(known)}"
            )
        named = {entry.name for entry in self.model.domains}
        if not set(self.synergy.domains) <= named:
            raise ValueError(f"synergy.domains: {list(self.synergy.domains)}; model.domains are {sorted(named)}")
        columns = {"attr": N_ATTR, "v": self.n_v}
        for key in ("unique_indices", "redundant_indices"):
            for domain, indices in (getattr(self.synergy, key) or {}).items():
                for index in indices:
                    if not 0 <= index < columns[domain]:
                        raise ValueError(f"synergy.{key}.{domain}: {index}; it must be from 0 to {columns[domain] - 1}")
        return self

    @property
    def n_v(self) -> int:
        """Columns of the visual input."""
        return self.visual.latent_dim + self.data.append_size

    @property
    def train_rows(self) -> int:
        """Rows that are trained on."""
        return min(self.data.n_train, self.training.max_train_samples or self.data.n_train)

    @property
    def val_rows(self) -> int:
        """Rows of the validation split that are measured on."""
        return min(self.data.n_val, self.training.max_val_samples or self.data.n_val)

    def layout(self, workspace_dim: int, n_bins: int, n_v: int) -> Layout:
        """Return the sizes of the nets for a workspace, a number of classes and of columns of v."""
        model = self.model
        return Layout(workspace_dim, model.hidden_dim, model.decoder_hidden_dim, model.n_layers, n_bins, n_v)

    def loss_config(self, experiment_type: str) -> LossConfig:
        """Return an experiment type's definition.

        Raises:
            ValueError: there is none of that name.
        """
        for entry in self.training.loss_configs:
            if entry.name == experiment_type:
                return entry
        known = ", ".join(entry.name for entry in self.training.loss_configs)
        raise ValueError(f"experiment_type: {experiment_type!r}; it must be one of {known}")

    def epochs(self, experiment_type: str) -> int:
        """Return how many epochs a unit of an experiment type has."""
        return self.loss_config(experiment_type).epochs or self.training.epochs

    def objective(self, experiment_type: str) -> Objective:
        """Return what a unit of an experiment type minimises."""
        weights = Weights(**self.loss_config(experiment_type).weights.model_dump())
        fusion = self.model.fusion_weights
        return Objective(weights, (fusion.attr, fusion.v), self.synergy.target)

    def optimiser(self) -> Optimiser:
        """Return Adam's settings."""
        adam = self.training.optimizer
        return Optimiser(
            adam.lr, adam.weight_decay, self.training.grad_clip, self.data.batch_size, self.training.grad_accumulation
        )
