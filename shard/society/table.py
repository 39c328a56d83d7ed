"""The table of phases: model -> vectors -> eval-vectors -> tune -> simulate, as far as the model needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...jobs.society.backend.shapes import model_shape
from ...jobs.society.conditions import conditions
from ...jobs.society.evaluation import DOSES, RANDOM_DIRECTIONS
from ...jobs.society.judge import STEMS
from ...jobs.society.traits import TRAITS
from ...jobs.society.tuning import searched_blocks
from ..errors import Exit, QuintetError
from ..phases import Dataset, Phase, Resources
from ..trials import SearchSpec, choice, integer, uniform
from .rows import datasets

if TYPE_CHECKING:
    from ...jobs.society.config import RunConfig

Site = tuple[Literal["none", "soft", "gram_schmidt"], int]
"""How vectors are orthogonalised, and a block at which they are added."""

PRIOR_UNIT = len(TRAITS)
"""The unit of vectors that is the calibrated prior; the units before it are the traits."""

ENGINE_KEYS = (
    "model_name",
    "inference.dtype",
    "optimization.use_quantization",
    "optimization.max_gpu_memory_gb",
    "optimization.max_cpu_memory_gb",
    "optimization.devices",
    "engine.invariance",
    "engine.threads",
)
"""What changes the bits of a forward pass."""

SIMULATE_KEYS = (
    "seed",
    "population",
    "steps",
    "max_events_per_tick",
    "env",
    "difficulty",
    "steering",
    "personas",
    "safety",
    *(
        f"inference.{key}"
        for key in (
            "temperature",
            "top_p",
            "max_new_tokens",
            "do_sample",
            "repetition_penalty",
            "adaptive_tokens",
            "persona_prompt",
        )
    ),
    "optimization.reflect_every_n_ticks",
    "reflection",
    "world",
    "policy",
    "memory",
    "objectives",
    "meta_orchestrator",
    "probes",
    "logging.prompts",
    "logging.token_ids",
    *(
        f"study.{key}"
        for key in (
            "arms",
            "strengths",
            "profiles",
            "single_traits",
            "doses",
            "overrides",
            "seed0",
            "lanes",
            "replicates",
        )
    ),
)
TUNED_WITH = ("orthogonalize", "layer_scale", "strength", "vector_norm")
"""What makes doses of the blocks and gains of a trial, as it does in simulate."""

MOST_REPLICAS_MB = 46e-3
"""Megabytes of keys and values a token of one row."""

MODEL_MB = 1500
SECONDS_PER_DECISION = {"mock": 150e-6, "tiny-random": 4e-3}
REAL_SECONDS_PER_DECISION = 0.5
PROBE_SHARE = 0.35
"""Cost of one probe of a resident in decisions."""


def lanes_of(config: RunConfig) -> int:
    """Return how many units make a block."""
    return config.study.lanes or (1 if config.model_name == "mock" else 2)


def steered_sites(config: RunConfig, layers: list[int] | None = None) -> list[Site]:
    """Return where simulate adds vectors, over all conditions; `layers` are the blocks that tune chose for them."""
    overrides = {one.override: one for one in conditions(config)} if config.study.overrides else {}
    sections = [config.steering, *(one.config(config, 0).steering for one in overrides.values())]
    return list(dict.fromkeys((one.orthogonalize, layer) for one in sections for layer in layers or one.layers))


def eval_sites(config: RunConfig) -> list[Site]:
    """Return what eval-vectors scores of each trait: `study.eval_layers`, and all that the config steers."""
    swept = [(config.steering.orthogonalize, layer) for layer in config.study.eval_layers or ()]
    return list(dict.fromkeys([*swept, *steered_sites(config)]))


def phases(config: RunConfig) -> tuple[Phase, ...]:
    """Return the table of phases."""
    if config.model_name == "mock":
        return (simulate_phase(config, ()),)
    table: tuple[Phase, ...] = ()
    if config.model_name != "tiny-random":
        table += (model_phase(config),)
    own_vectors = "vectors" not in config.inputs
    if own_vectors:
        table += (vectors_phase(config, names(table)),)
    table += (eval_phase(config, names(table)),)
    before = tuple(name for name in names(table) if name != "eval-vectors")
    if config.study.tune.trials:
        table += (tune_phase(config, before),)
        before += ("tune",)
    return (*table, simulate_phase(config, before))


def names(table: tuple[Phase, ...]) -> tuple[str, ...]:
    """Return the names of phases."""
    return tuple(phase.name for phase in table)


def model_inputs(config: RunConfig) -> tuple[str, ...]:
    """Return the keys under `inputs:` that the model's own files have."""
    return tuple(key for key in config.inputs if key.startswith("model"))


def vector_inputs(config: RunConfig) -> tuple[str, ...]:
    """Return the keys under `inputs:` that given vectors have."""
    return tuple(key for key in config.inputs if key.startswith("vectors"))


def places(config: RunConfig) -> list[str]:
    """Return the devices of an element, one for each replica of the model; `auto` is one that is not decided."""
    devices = config.optimization.devices
    return ["auto"] if devices == "auto" else list(devices)


def resources(config: RunConfig, seconds: float, **more: float) -> Resources:
    """Return what an element with the model asks for."""
    gpus = sum(place.startswith("cuda") for place in places(config))
    rows = MOST_REPLICAS_MB * 300 * config.inference.batch_size
    memory = 400 if config.model_name in ("mock", "tiny-random") else MODEL_MB + rows
    cpus = 1 if config.model_name == "mock" else config.engine.threads * len(places(config))
    return Resources(cpus=cpus, mem_mb=int(memory), gpus=gpus, seconds_per_unit=seconds, **more)  # type: ignore[arg-type]


def model_phase(config: RunConfig) -> Phase:
    """Return the phase that converts the model: one unit, whose result is the sha256."""
    return Phase(
        name="model",
        kind="map",
        units=1,
        reads=("model_name",),
        inputs=model_inputs(config),
        datasets=(Dataset("rows/sha256", "u1", (32,)),),
        resources=Resources(mem_mb=2500, seconds_per_unit=27.0, bytes_per_unit=4000.0),
    )


def vectors_phase(config: RunConfig, after: tuple[str, ...]) -> Phase:
    """Return the phase of the vectors: a unit is a trait over all blocks; the last is the calibrated prior."""
    real = config.model_name != "tiny-random"
    return Phase(
        name="vectors",
        kind="map",
        units=PRIOR_UNIT + 1,
        after=after,
        reads=ENGINE_KEYS,
        datasets=(
            Dataset("rows/directions", "f4", ragged=True),
            Dataset("rows/norms", "f8", ragged=True),
            Dataset("rows/agreement", "f8", ragged=True),
            Dataset("rows/d_prime", "f8", ragged=True),
            Dataset("rows/split_half", "f8", ragged=True),
            Dataset("rows/prior", "f8", ragged=True),
        ),
        resources=resources(config, 8.0 if real else 0.2, bytes_per_unit=75_000.0, target_minutes=5.0),
    )


def eval_phase(config: RunConfig, after: tuple[str, ...]) -> Phase:
    """Return the phase that scores held-out answers: a unit is a trait at a site, sites within traits."""
    from ...jobs.society.contrast import eval_items

    items = len(eval_items()[TRAITS[0]])
    real = config.model_name != "tiny-random"
    return Phase(
        name="eval-vectors",
        kind="map",
        units=len(TRAITS) * len(eval_sites(config)),
        after=after,
        reads=(
            *ENGINE_KEYS,
            "study.eval_layers",
            "study.overrides",
            "steering.layers",
            "steering.orthogonalize",
        ),
        inputs=vector_inputs(config),
        datasets=(
            Dataset("rows/gaps", "f8", (len(DOSES), items)),
            Dataset("rows/bleed", "f8", (len(TRAITS),)),
            Dataset("rows/random", "f8", (RANDOM_DIRECTIONS,)),
            Dataset("rows/loss", "f8", (2,)),
            Dataset("rows/judge", "f8", (2, STEMS)),
            Dataset("rows/hook_error", "f8"),
        ),
        resources=resources(config, 55.0 if real else 0.5, bytes_per_unit=1500.0, target_minutes=5.0),
    )


def decoder_blocks(config: RunConfig) -> int:
    """Return how many decoder blocks the model has: as `plan` froze it, else as its files say; exit 2 for no model."""
    if config.study.tune.blocks is not None:
        return config.study.tune.blocks
    shape = model_shape(config.model_name)
    if shape is None:
        raise QuintetError(Exit.USAGE, f"model_name: found {config.model_name!r}; there is no such model to tune")
    return shape.blocks


def tune_phase(config: RunConfig, after: tuple[str, ...]) -> Phase:
    """Return the search for blocks and gains."""
    first, last = searched_blocks(decoder_blocks(config))
    gains = tuple((f"gain_{trait}", uniform(0.25, 4.0, log=True)) for trait in TRAITS)
    space = (("blocks", integer(1, 3)), ("first", integer(first, last)), ("stride", choice([2, 4])), *gains)
    trials = config.study.tune.trials
    return Phase(
        name="tune",
        kind="pull",
        units=trials,
        after=after,
        reads=(*ENGINE_KEYS, "seed", *(f"steering.{key}" for key in TUNED_WITH)),
        inputs=vector_inputs(config),
        grows="study.tune.trials",
        search=SearchSpec(
            study_name="tune", n_trials=trials, direction="maximize", space=space, max_failures=trials, adaptive=True
        ),
        resources=resources(config, 60.0 if config.model_name != "tiny-random" else 1.0),
    )


def unit_seconds(config: RunConfig) -> float:
    """Return about how many CPU seconds a unit takes."""
    decisions = config.steps * min(config.population, 2.4 * config.max_events_per_tick)
    each = SECONDS_PER_DECISION.get(config.model_name, REAL_SECONDS_PER_DECISION)
    if config.model_name != "mock" and config.probes.enabled:
        decisions *= 1 + PROBE_SHARE / config.probes.cadence * len(TRAITS) / 5
    return decisions * each


def simulate_phase(config: RunConfig, after: tuple[str, ...]) -> Phase:
    """Return the phase of the simulations: a unit is a condition with a replicate, conditions within replicates."""
    known, lanes = len(conditions(config)), lanes_of(config)
    seconds = unit_seconds(config)
    actions = config.steps * min(config.population, 2.4 * config.max_events_per_tick)
    return Phase(
        name="simulate",
        kind="map",
        units=known * config.study.replicates,
        block_size=lanes,
        after=after,
        reads=(*ENGINE_KEYS, *SIMULATE_KEYS),
        inputs=() if "vectors" in after else vector_inputs(config),
        # a block that growth would fill up cannot stay as it is
        grows="study.replicates" if known % lanes == 0 else None,
        datasets=datasets(config),
        resources=resources(
            config,
            seconds,
            bytes_per_unit=200.0 * actions + 1400.0 * config.steps + 20_000,
            checkpoint_s=120.0,
            time_s=max(3600, int(3 * seconds * lanes)),
        ),
    )
