"""Config of a run: what the town is, who lives in it, how they are steered and what is measured."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .templates import merged_over
from .traits import TRAITS, full_map
from .vocabulary import KIND_NAMES, PRESETS

Arm = Literal["targeted", "placebo", "random", "disabled", "prompt", "hybrid"]
Quantization = Literal["none", "auto", "nf4", "int8", "int8dyn"]
"""How weights are stored; `auto` is nf4 where a GPU is present, else none."""


class Section(BaseModel):
    """A section of the config: unknown keys are refused with the nearest valid key, `null` means the defaults."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        validate_default=False,
        protected_namespaces=(),
        revalidate_instances="always",  # a copy of a section that is passed, so that resolving never changes it
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if data is None:
            return {}
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), list(cls.model_fields), n=1, cutoff=0.0)
                    raise ValueError(f"unknown key {key!r}; the nearest key is {near[0]!r}")
        return data


def _trait_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in TRAITS]
        if unknown:
            raise ValueError(f"found trait {unknown[0]!r}; allowed are {', '.join(TRAITS)}")
    return value


def _within_one(value: dict[str, float]) -> dict[str, float]:
    for trait, number in value.items():
        if not -1.0 <= number <= 1.0:
            raise ValueError(f"{trait}: found {number}; allowed is a number from -1 to 1")
    return full_map(value)


def _positive_gains(value: dict[str, float]) -> dict[str, float]:
    for trait, number in value.items():
        if not (number > 0.0 and math.isfinite(number)):
            raise ValueError(f"{trait}: found {number}; allowed is a number above 0")
    return full_map(value, 1.0)


Coefficients = Annotated[dict[str, float], BeforeValidator(_trait_keys), AfterValidator(_within_one)]
Gains = Annotated[dict[str, float], BeforeValidator(_trait_keys), AfterValidator(_positive_gains)]


class MetadataFiles(Section):
    """YAML files that fill the keys of `personas` and `steering` that the config leaves out."""

    personas: str | None = None
    vectors: str | None = None


class SteeringSection(Section):
    """Activation steering: base coefficients, where and how strongly vectors are added, and the arm."""

    enabled: bool = True
    strength: float = Field(1.0, ge=0.0, le=8.0)
    coefficients: Coefficients = Field(default_factory=lambda: {"E": 0.8, "A": 0.5, "C": 0.6, "O": 0.0, "N": 0.0})
    vector_norm: Gains = Field(default_factory=lambda: dict.fromkeys(TRAITS, 1.0))
    layers: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [16], min_length=1)
    layer_scale: Literal["mean", "none"] = "mean"
    mode: Arm = "targeted"
    positions: Literal["continuation", "all"] = "continuation"
    orthogonalize: Literal["none", "soft", "gram_schmidt"] = "none"
    metadata_files: MetadataFiles = Field(default_factory=MetadataFiles)

    @model_validator(mode="after")
    def _layers_once(self) -> Self:
        if len(set(self.layers)) != len(self.layers):
            raise ValueError(f"layers: found {self.layers}; each block may be named once")
        return self

    @property
    def arm(self) -> Arm:
        """The arm that is in force."""
        return self.mode if self.enabled else "disabled"


class PersonasSection(Section):
    """How personas scatter around the base coefficients."""

    jitter: float = Field(0.2, ge=0.0)
    distribution: Literal["uniform", "normal", "lhs"] = "uniform"
    mean: Coefficients = Field(default_factory=lambda: {"E": 0.2, "A": 0.4, "C": 0.5, "O": 0.3, "N": -0.1})
    std: Gains = Field(default_factory=lambda: {"E": 0.5, "A": 0.4, "C": 0.35, "O": 0.45, "N": 0.4})
    fixed: Coefficients | None = None
    fixed_traits: list[Literal["E", "A", "C", "O", "N"]] = Field(default_factory=list)


class SafetySection(Section):
    """The safety governor."""

    alpha_clip: float = Field(1.0, gt=0.0)
    governor_backoff: float = Field(0.2, ge=0.0, le=1.0)
    toxicity_threshold: float = Field(0.3, ge=0.0, le=1.0)


class InferenceSection(Section):
    """Text generation."""

    temperature: float = Field(0.7, ge=0.0)
    top_p: float = Field(0.9, gt=0.0, le=1.0)
    max_new_tokens: int = Field(48, ge=1, le=1024)
    do_sample: bool = True
    repetition_penalty: float | None = Field(None, ge=1.0, le=2.0)
    adaptive_tokens: bool | dict[str, int | float] = True
    batch_size: int = Field(32, ge=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    persona_prompt: Literal["none", "labels", "description"] = "none"

    @model_validator(mode="after")
    def _known_actions(self) -> Self:
        if isinstance(self.adaptive_tokens, dict):
            for name, limit in self.adaptive_tokens.items():
                if name not in KIND_NAMES:
                    raise ValueError(f"adaptive_tokens: found action {name!r}; allowed are {', '.join(KIND_NAMES)}")
                if limit < 0:
                    raise ValueError(f"adaptive_tokens.{name}: found {limit}; allowed is a number of at least 0")
        return self

    @property
    def sampling_temperature(self) -> float:
        """Temperature of token sampling; 0 is greedy."""
        return self.temperature if self.do_sample else 0.0

    def limit(self, kind: str, fraction: float) -> int:
        """Return the token limit of a kind of action; `fraction` is its default share of `max_new_tokens`."""
        if self.adaptive_tokens is False:
            return self.max_new_tokens
        share: int | float = fraction
        if isinstance(self.adaptive_tokens, dict):
            share = self.adaptive_tokens.get(kind, fraction)
            if isinstance(share, int):
                return min(share, self.max_new_tokens)
        return min(self.max_new_tokens, math.ceil(round(share * self.max_new_tokens, 9)))


def _quantization(value: Any) -> Any:
    if value is True:
        return "nf4"
    return "none" if value is False or value is None else value


def _memory_cap(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError("allowed is a number of gigabytes above 0, or null")
    return float(value)


class OptimizationSection(Section):
    """Cost: lazy reflection, quantization, memory caps, devices, caches."""

    reflect_every_n_ticks: int = Field(1, ge=1)
    use_quantization: Annotated[Quantization, BeforeValidator(_quantization)] = "none"
    max_gpu_memory_gb: Annotated[float | None, BeforeValidator(_memory_cap)] = None
    max_cpu_memory_gb: Annotated[float | None, BeforeValidator(_memory_cap)] = None
    offload_folder: str | None = None
    devices: Literal["auto"] | list[str] = "auto"
    embedding_cache: bool = True
    retrieval_cache: bool = True
    batch_size: int | None = Field(None, ge=1)


class ReflectionSection(Section):
    """When a resident plans anew."""

    rule: Literal["lazy", "reference"] | None = None


class WorldSection(Section):
    """Rules of the world."""

    enforce_capacity: bool = False


class PolicySection(Section):
    """How actions are chosen."""

    kind: Literal["model", "heuristic"] = "model"
    planner_weight: float = Field(1.0, ge=0.0)
    gain: float = Field(1.0, ge=0.0)
    temperature: float = Field(1.0, gt=0.0)


class MemorySection(Section):
    """What residents remember."""

    scoring: Literal["embedding", "keyword"] = "embedding"
    top_k: int = Field(10, ge=1, le=50)
    capacity: int = Field(2000, ge=10)


class ObjectiveTemplate(Section):
    """An objective: its type steers the planner, its requirements count successful actions."""

    type: str
    description: str = ""
    requirements: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    reward: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_actions(self) -> Self:
        for name in self.requirements:
            if name not in KIND_NAMES:
                raise ValueError(f"requirements: found action {name!r}; allowed are {', '.join(KIND_NAMES)}")
        for name in self.reward:
            if name != "satisfaction":
                raise ValueError(f"reward: found {name!r}; allowed is satisfaction")
        return self


class ObjectivesSection(Section):
    """Objectives of residents: a mapping of templates, a list of preset names, or the scenario's own."""

    enabled: bool = True
    templates: dict[str, ObjectiveTemplate] | list[str] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _known_presets(self) -> Self:
        if isinstance(self.templates, list):
            for name in self.templates:
                if name not in PRESETS:
                    raise ValueError(f"templates: found preset {name!r}; allowed are {', '.join(PRESETS)}")
        return self


class RoleEntry(Section):
    """What a playbook says of a role; a role without a duty has its name for one."""

    duty: str | None = None
    description: str = ""
    hints: list[str] = Field(default_factory=list)
    reminders: list[str] = Field(default_factory=list)


class Playbook(Section):
    """What each role is for, and reminders for everybody."""

    roles: dict[str, RoleEntry]
    reminders: list[str] = Field(default_factory=list)


class MetaSection(Section):
    """The orchestrator that breaks silence and reminds residents of goals; `playbook` is what its file holds."""

    enabled: bool = True
    playbook_file: str | None = None
    playbook: Playbook | None = None
    global_goals: list[str] = Field(default_factory=list)
    recurring_reminders: list[str] = Field(default_factory=list)
    silence_ticks: int = Field(3, ge=0)


class ProbesSection(Section):
    """Questions put to residents while the run goes on."""

    enabled: bool = True
    cadence: int = Field(5, ge=1)
    mode: Literal["logit", "text", "both"] = "logit"
    fluency: bool = True


class LoggingSection(Section):
    """What is written where."""

    dir: str | None = None
    prompts: bool = False
    token_ids: bool = False
    export: list[Literal["parquet", "csv", "sqlite"]] = Field(default_factory=list)


class EngineSection(Section):
    """The batched engine."""

    threads: int = Field(1, ge=1)
    invariance: Literal["auto", "bitwise", "tolerance"] = "auto"
    prefix_reuse: bool = True


class TuneSection(Section):
    """The search for blocks and gains; how many blocks the model has is filled in by `plan`."""

    trials: int = Field(0, ge=0)
    blocks: int | None = Field(None, ge=1)


class StudySection(Section):
    """Conditions and replicates of a job array."""

    name: Literal["society"] = "society"
    arms: list[Arm] | None = None
    strengths: list[Annotated[float, Field(ge=0.0, le=8.0)]] | None = None
    profiles: dict[str, Coefficients] | None = None
    single_traits: list[Literal["E", "A", "C", "O", "N"]] = Field(default_factory=list)
    doses: list[float] = Field(default_factory=lambda: [-2.0, -1.0, 0.0, 1.0, 2.0])
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    replicates: int = Field(1, ge=1)
    seed0: int | None = Field(None, ge=0, lt=2**63)
    lanes: int | None = Field(None, ge=1)
    eval_layers: list[Annotated[int, Field(ge=0)]] | None = None
    tune: TuneSection = Field(default_factory=TuneSection)


class RunConfig(Section):
    """One run of the study."""

    run_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    model_name: str = Field("smollm2-135m", min_length=1)
    population: int = Field(32, ge=1, le=10_000)
    steps: int = Field(200, ge=1)
    seed: int = Field(7, ge=0, lt=2**63)
    max_events_per_tick: int = Field(16, ge=1)
    env: Literal["research", "policy", "nav"] = "research"
    difficulty: int = Field(3, ge=1)
    steering: SteeringSection = Field(default_factory=SteeringSection)
    personas: PersonasSection = Field(default_factory=PersonasSection)
    safety: SafetySection = Field(default_factory=SafetySection)
    inference: InferenceSection = Field(default_factory=InferenceSection)
    optimization: OptimizationSection = Field(default_factory=OptimizationSection)
    reflection: ReflectionSection = Field(default_factory=ReflectionSection)
    world: WorldSection = Field(default_factory=WorldSection)
    policy: PolicySection = Field(default_factory=PolicySection)
    memory: MemorySection = Field(default_factory=MemorySection)
    objectives: ObjectivesSection = Field(default_factory=ObjectivesSection)
    meta_orchestrator: MetaSection = Field(default_factory=MetaSection)
    probes: ProbesSection = Field(default_factory=ProbesSection)
    logging: LoggingSection = Field(default_factory=LoggingSection)
    engine: EngineSection = Field(default_factory=EngineSection)
    study: StudySection = Field(default_factory=StudySection)
    inputs: dict[str, str] = Field(default_factory=dict)
    checkpoint_every_ticks: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _top_level_layers(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "layers" in data:
            steering = data.get("steering")
            inner = steering.model_dump(exclude_unset=True) if isinstance(steering, BaseModel) else steering or {}
            rest = {key: value for key, value in data.items() if key != "layers"}
            return rest if data["layers"] is None else {**rest, "steering": {**inner, "layers": data["layers"]}}
        return data

    @model_validator(mode="after")
    def _resolved(self) -> Self:
        if self.optimization.batch_size is not None:
            self.inference.batch_size = self.optimization.batch_size
            self.optimization.batch_size = None
        if self.inference.repetition_penalty is None:
            self._leave_open("inference", "inference", "repetition_penalty")
            self.inference.repetition_penalty = 1.15 if self.inference.sampling_temperature > 0 else 1.0
        if self.reflection.rule is None:
            self._leave_open("policy", "reflection", "rule")
            self.reflection.rule = "reference" if self.policy.kind == "heuristic" else "lazy"
        if self.checkpoint_every_ticks is None:
            self.checkpoint_every_ticks = 25 if self.model_name == "mock" else 1
        self._check_arms()
        return self

    def _leave_open(self, source: str, section: str, key: str) -> None:
        """Let overrides that change what a default follows from ask for that default again, with a null."""
        overrides = self.study.overrides
        for name, changes in overrides.items():
            if source in changes:
                overrides[name] = merged_over({section: {key: None}}, changes)

    def _check_arms(self) -> None:
        if self.model_name == "tiny-random" and self.inference.dtype not in ("auto", "float32"):
            raise ValueError(
                f"inference.dtype: found {self.inference.dtype!r} with model_name 'tiny-random'; "
                "allowed are auto, float32"
            )
        if self.model_name == "mock" and self.optimization.use_quantization == "auto":
            self.optimization.use_quantization = "none"
        if self.model_name == "mock" and self.optimization.use_quantization != "none":
            raise ValueError(
                f"optimization.use_quantization: found {self.optimization.use_quantization!r} with model_name 'mock'; "
                "allowed is none, since there is nothing to quantize"
            )
        for arm in self.study.arms or (self.steering.arm,):
            if arm in ("prompt", "hybrid") and self.inference.persona_prompt == "none":
                raise ValueError(
                    f"inference.persona_prompt: found 'none' with the arm {arm!r}; allowed are labels, description"
                )

    @property
    def arm(self) -> Arm:
        """The arm that is in force."""
        return self.steering.arm

    @property
    def layers(self) -> list[int]:
        """Injection blocks; the key `layers` at top level is another spelling of `steering.layers`."""
        return self.steering.layers
