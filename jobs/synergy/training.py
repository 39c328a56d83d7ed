"""Training of a group of units as one long task: advance, keep the state, go on from it to the same bits."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .config import Config
from .data import Dataset, Doubles, Floats, Integers, Split, Unit, check_classes, contiguous
from .member import Member
from .metrics import Judge, Partition
from .objective import Objective
from .parameters import Layout, epoch_order, initial_vector
from .result import UnitResult

BACKENDS = ("auto", "cpu", "torch", "torch-stacked")


class Engine(Protocol):
    """Models in training on one backend; every method takes all members in the group's order."""

    chunk: int

    def begin_epoch(self) -> None: ...  # noqa: D102

    def steps(  # noqa: D102
        self, data: Split, orders: Sequence[Integers], first: int, last: int, before: int, active: Sequence[bool]
    ) -> list[int]: ...

    def evaluate(  # noqa: D102
        self, split: Split, objective: Objective, active: Sequence[bool]
    ) -> list[tuple[Doubles, Integers] | None]: ...

    def sums(self) -> list[tuple[Doubles, Doubles]]: ...  # noqa: D102

    def parameters(self, index: int) -> Floats: ...  # noqa: D102

    def state(self) -> dict[str, np.ndarray]: ...  # noqa: D102

    def restore(self, state: dict[str, np.ndarray]) -> None: ...  # noqa: D102


def resolved_backend(backend: str, device: str = "cpu") -> str:
    """Return the backend that `auto` stands for: the stack on a GPU, else the compiled kernel.

    Raises:
        ValueError: there is none of that name.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: {backend!r}; it must be one of {', '.join(BACKENDS)}")
    if backend != "auto":
        return backend
    return "torch-stacked" if device == "cuda" else "cpu"


class Training:
    """Units of one data set, config and experiment type, trained side by side.

    On backend `cpu` and `torch` a unit's bits do not depend on the others; on `torch-stacked` the group is one stack.
    A unit that fails or stops early stays where it is; the others go on unchanged.
    """

    def __init__(
        self,
        dataset: Dataset,
        units: Sequence[Unit],
        config: Config,
        experiment_type: str = "fusion_only",
        backend: str = "auto",
    ) -> None:
        """Make every unit's initial model.

        Raises:
            ValueError: no units, an unknown experiment type or backend, or data that do not fit.
        """
        if not units:
            raise ValueError("units: at least one is needed")
        training = config.training
        self._epochs = config.epochs(experiment_type)
        self._objective = config.objective(experiment_type)
        self._optimiser = config.optimiser()
        self._every = training.eval_every
        self._train = contiguous(dataset.train).first(training.max_train_samples)
        self._val = contiguous(dataset.val).first(training.max_val_samples)
        self._test = None if dataset.test is None else contiguous(dataset.test)
        checked_bins(dataset)
        n_v = self._train.v.shape[1]
        layouts = [config.layout(int(unit.workspace_dim), dataset.n_bins, n_v) for unit in units]
        initial = [initial_vector(unit.resolved_seed, layout) for unit, layout in zip(units, layouts, strict=True)]
        self.backend = resolved_backend(backend, config.run.device)
        scales = [checked_scale(unit) for unit in units]
        self._engine = make_engine(self.backend, config, layouts, initial, scales, self._objective, self._optimiser)
        latents = min(n_v, config.visual.latent_dim)
        chosen: tuple[Any, Any] = (config.synergy.unique_indices, config.synergy.redundant_indices)
        partition = Partition.of(*chosen, latents, n_v)
        self._judges = {
            name: Judge(split, partition, dataset.n_bins, self._objective.synergy)
            for name, split in (("val", self._val), ("test", self._test))
            if split is not None
        }
        self._members = [
            Member(unit, layout, experiment_type, self._objective, dataset.n_bins, training.early_stopping)
            for unit, layout in zip(units, layouts, strict=True)
        ]
        self._epoch, self._step = 0, 0
        self._steps_per_epoch = -(-len(self._train) // self._optimiser.batch_size)
        self._orders: tuple[int, list[Integers]] | None = None
        self._cpu_seconds, self._wall_seconds = 0.0, 0.0

    @property
    def done(self) -> bool:
        """Whether every unit has ended."""
        return not any(member.running for member in self._members)

    def advance(self) -> bool:
        """Take some steps (at most about ten seconds); return True while there is more to do."""
        if self.done:
            return False
        cpu, wall = time.process_time(), time.monotonic()
        if self._step == 0:
            self._engine.begin_epoch()
        last = min(self._step + self._engine.chunk, self._steps_per_epoch)
        self._take_steps(last)
        self._step = last
        if last == self._steps_per_epoch and not self.done:
            self._end_epoch()
        self._cpu_seconds += time.process_time() - cpu
        self._wall_seconds += time.monotonic() - wall
        return not self.done

    def run(self) -> list[UnitResult]:
        """Advance to the end and return the results."""
        while self.advance():
            pass
        return self.result()

    def result(self) -> list[UnitResult]:
        """Return the units' results; of units that have not ended, what is known, with status `interrupted`."""
        return [
            member.result(self._engine.parameters(index), self._cost(member))
            for index, member in enumerate(self._members)
        ]

    def state(self) -> dict[str, Any]:
        """Return arrays and JSON values from which `restore` goes on to the same bits."""
        state: dict[str, Any] = {
            "epoch": self._epoch,
            "step": self._step,
            "cpu_seconds": self._cpu_seconds,
            "wall_seconds": self._wall_seconds,
            "members": [member.values() for member in self._members],
        }
        for index, member in enumerate(self._members):
            state |= {f"{name}_of_{index}": array for name, array in member.arrays().items()}
        return state | self._engine.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of an equal training."""
        self._epoch, self._step = int(state["epoch"]), int(state["step"])
        self._cpu_seconds, self._wall_seconds = float(state["cpu_seconds"]), float(state["wall_seconds"])
        for index, (member, values) in enumerate(zip(self._members, state["members"], strict=True)):
            suffix = f"_of_{index}"
            arrays = {name.removesuffix(suffix): value for name, value in state.items() if name.endswith(suffix)}
            member.restore(values, arrays)
        self._engine.restore(dict(state))

    def _active(self) -> list[bool]:
        return [member.running for member in self._members]

    def _epoch_orders(self) -> list[Integers]:
        if self._orders is None or self._orders[0] != self._epoch:
            rows = len(self._train)
            seeds = {member.unit.resolved_seed for member in self._members}
            by_seed = {seed: epoch_order(seed, self._epoch, rows) for seed in seeds}
            self._orders = (self._epoch, [by_seed[member.unit.resolved_seed] for member in self._members])
        return self._orders[1]

    def _take_steps(self, last: int) -> None:
        before = self._epoch * self._steps_per_epoch
        failed = self._engine.steps(self._train, self._epoch_orders(), self._step, last, before, self._active())
        for member, step in zip(self._members, failed, strict=True):
            if step >= 0:
                member.fail(f"loss or gradient norm is not finite at step {before + step + 1}", before + step)
            elif member.running:
                member.steps = before + last

    def _end_epoch(self) -> None:
        rows = len(self._train)
        for member, (sums, norms) in zip(self._members, self._engine.sums(), strict=True):
            if member.running:
                member.record_training(sums, norms, rows)
        self._epoch, self._step = self._epoch + 1, 0
        ended = self._epoch == self._epochs
        due = ended or self._epoch % self._every == 0
        found = self._engine.evaluate(self._val, self._objective.with_fusion, self._active()) if due else None
        stopping = []
        for index, member in enumerate(self._members):
            if not member.running:
                continue
            if found is None:
                member.skip_validation()
                continue
            sums, _ = found[index]  # type: ignore[misc]
            if member.record_validation(sums, self._judges["val"]):
                member.best = self._engine.parameters(index).copy()
            if member.running and (ended or member.out_of_patience):
                stopping.append(index)
        if stopping:
            self._finish(stopping)

    def _finish(self, stopping: Sequence[int]) -> None:
        on = [index in stopping for index in range(len(self._members))]
        everything = self._objective.with_everything
        val = self._engine.evaluate(self._val, everything, on)
        test = None if self._test is None else self._engine.evaluate(self._test, everything, on)
        for index in stopping:
            member = self._members[index]
            member.finish(val[index], self._judges["val"])  # type: ignore[arg-type]
            if test is not None:
                member.record_test(test[index], self._judges["test"])  # type: ignore[arg-type]

    def _cost(self, member: Member) -> dict[str, float | None]:
        cpu, wall = (seconds / len(self._members) for seconds in (self._cpu_seconds, self._wall_seconds))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        torch = sys.modules.get("torch") if self.backend.startswith("torch") else None
        cuda = torch.cuda.max_memory_allocated() / 2**20 if torch is not None and torch.cuda.is_available() else None
        return {
            "cpu_seconds": cpu,
            "wall_seconds": wall,
            "peak_rss_mb": peak,
            "cuda_peak_mb": cuda,
            "n_params": member.layout.n_params,
            "steps": member.steps,
            "model_steps_per_cpu_s": member.steps / cpu if cpu > 0.0 else None,
        }


def checked_scale(unit: Unit) -> float:
    """Return a unit's synergy scale.

    Raises:
        ValueError: it is negative or not finite.
    """
    scale = float(unit.synergy_scale)
    if not (math.isfinite(scale) and scale >= 0.0):
        raise ValueError(f"synergy_scale: {unit.synergy_scale}; it must be finite and at least 0")
    return scale


def checked_bins(dataset: Dataset) -> None:
    """Check that targets are classes and splits have the same columns.

    Raises:
        ValueError: they are not.
    """
    if not 2 <= dataset.n_bins <= 64:
        raise ValueError(f"n_bins: {dataset.n_bins}; it must be from 2 to 64")
    for name in ("train", "val", "test"):
        split = getattr(dataset, name)
        if split is None:
            continue
        if split.v.shape[1] != dataset.train.v.shape[1]:
            raise ValueError(f"{name}: v has {split.v.shape[1]} columns, that of train {dataset.train.v.shape[1]}")
        check_classes(split.xor_bin, dataset.n_bins, f"{name}: xor_bin")


def make_engine(
    backend: str,
    config: Config,
    layouts: Sequence[Layout],
    initial: Sequence[Floats],
    scales: Sequence[float],
    objective: Objective,
    optimiser: Any,
) -> Engine:
    """Return the models of a group on a backend; PyTorch is loaded only where it computes."""
    if backend == "cpu":
        from .native import NativeEngine

        return NativeEngine(layouts, initial, scales, objective, optimiser)
    from .stacked import TorchEngine

    run = config.run
    stacked = backend == "torch-stacked"
    return TorchEngine(layouts, initial, scales, objective, optimiser, stacked, run.device, run.gpu_memory_percent)


def train_units(
    dataset: Dataset,
    units: Sequence[Unit],
    config: Config | None = None,
    *,
    experiment_type: str = "fusion_only",
    backend: str = "auto",
) -> list[UnitResult]:
    """Train units and return their results in order; with `torch-stacked` they are one stack.

    Sizes are the data set's; workspace size, scale and seed the unit's; the rest is the config's.
    """
    settings = Config() if config is None else config
    if resolved_backend(backend, settings.run.device) == "torch-stacked":
        return Training(dataset, units, settings, experiment_type, backend).run() if units else []
    return [Training(dataset, [unit], settings, experiment_type, backend).run()[0] for unit in units]


def train_unit(
    dataset: Dataset,
    unit: Unit,
    config: Config | None = None,
    *,
    experiment_type: str = "fusion_only",
    backend: str = "auto",
) -> UnitResult:
    """Train one unit and return its result."""
    return train_units(dataset, [unit], config, experiment_type=experiment_type, backend=backend)[0]
