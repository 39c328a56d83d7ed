"""Backend `cpu`: one model at a time in the compiled kernel, on one core."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from . import sums as sums_of
from .data import Doubles, Floats, Integers, Split
from .kernel import PADDING, Data, Nets, Rule, Terms, Work, evaluate, gradient, train_steps
from .objective import Objective, Optimiser
from .parameters import Layout
from .sums import N_ATTR

EVALUATION_ROWS = 256
GRADIENT_ROWS = 1024


class Model:
    """The kernel's view of one layout: net tables and buffers."""

    def __init__(self, layout: Layout, columns: int, n_bins: int, cycles: bool) -> None:
        """Make buffers for batches of at most `columns` samples; those of the cycle only where it is computed."""
        self.nets = nets_of(layout)
        self.n_bins = n_bins
        self.n_v = layout.n_v
        self.columns = columns
        n = -(-columns // PADDING) * PADDING
        largest = max(max(sizes) for sizes in layout.sizes)
        widest = max(sizes[0] for sizes in layout.sizes)
        padded = -(-largest // PADDING) * PADDING
        once = n if cycles else 0

        def buffer(size: int) -> Floats:
            return np.zeros(max(size, 1), np.float32)

        self.work = Work(
            first=tuple(buffer(sum(sizes) * (n if net < 2 else 3 * n)) for net, sizes in enumerate(layout.sizes)),
            second=tuple(buffer(sum(sizes) * once) for sizes in layout.sizes),
            encoded=(buffer(largest * n), buffer(largest * n)),
            given=(buffer(largest * 3 * n), buffer(largest * 3 * n), buffer(largest * n)),
            other=buffer(largest * 3 * n),
            below=(buffer(widest * 3 * n), buffer(widest * 3 * n)),
            cycled=(buffer(largest * once), buffer(largest * once)),
            transposed=buffer(padded * 3 * n),
            scratch=buffer(largest * padded),
            targets=np.zeros(n, np.uint8),
            part=np.zeros(max(N_ATTR, layout.n_v)),
            confusion=np.zeros((n_bins, n_bins), np.int64),
        )

    def evaluate(self, parameters: Floats, split: Split, terms: Terms) -> tuple[Doubles, Integers]:
        """Return the sums of a split and its confusion matrix."""
        totals = np.zeros(sums_of.length(self.n_v))
        self.work.confusion[:] = 0
        evaluate(self.nets, parameters, data_of(split), self.columns, terms, self.n_bins, totals, self.work)
        return totals, self.work.confusion.copy()


def nets_of(layout: Layout) -> Nets:
    """Return the kernel's tables of a layout."""
    places = layout.places
    layers = range(layout.n_layers + 2)
    names = ("enc_attr", "enc_v", "dec_attr", "dec_v")
    return Nets(
        np.array(layout.sizes, np.int64),
        np.array([[places[f"{name}.{layer}.W"] for layer in layers] for name in names], np.int64),
        np.array([[places[f"{name}.{layer}.b"] for layer in layers] for name in names], np.int64),
    )


def data_of(split: Split) -> Data:
    """Return the kernel's view of a split."""
    return Data(split.attr, split.v, split.xor_bin)


def terms_of(objective: Objective, scale: float) -> Terms:
    """Return the kernel's weights of the losses."""
    fusion, demi, cycle, translation = (float(weight) for weight in objective.weights)
    w_attr, w_v = (np.float32(weight) for weight in objective.fusion_weights)
    return Terms(fusion, demi, cycle, translation, float(scale) if objective.synergy else 0.0, w_attr, w_v)


class NativeMember:
    """One model in training."""

    def __init__(
        self, layout: Layout, initial: Floats, scale: float, objective: Objective, optimiser: Optimiser
    ) -> None:
        self.layout = layout
        self._terms = terms_of(objective, scale)
        self._objective = objective
        self._scale = scale
        self._rule = Rule(
            float(optimiser.learning_rate),
            float(optimiser.weight_decay),
            float(optimiser.grad_clip or 0.0),
            int(optimiser.batch_size),
            int(optimiser.grad_accumulation),
        )
        self._cycles = objective.weights.cycle != 0.0
        self._trained = Model(layout, optimiser.micro_batch, layout.n_bins, self._cycles)
        self.parameters = initial.copy()
        self._gradients = np.zeros_like(initial)
        self.m = np.zeros_like(initial)
        self.v = np.zeros_like(initial)
        self.sums = np.zeros(sums_of.length(layout.n_v))
        self.norms = np.zeros(2)
        self._step_sums = np.zeros_like(self.sums)

    @cached_property
    def _judged(self) -> Model:
        return Model(self.layout, EVALUATION_ROWS, self.layout.n_bins, self._cycles)

    @cached_property
    def _fully_judged(self) -> Model:
        return self._judged if self._cycles else Model(self.layout, EVALUATION_ROWS, self.layout.n_bins, True)

    def begin_epoch(self) -> None:
        """Forget the sums of the epoch before."""
        self.sums[:] = 0.0
        self.norms[:] = np.nan

    def steps(self, data: Split, order: Integers, first: int, last: int, before: int) -> int:
        """Take steps first .. last-1 of an epoch; return the step that failed, or -1."""
        return int(
            train_steps(
                self._trained.nets,
                self.parameters,
                self._gradients,
                self.m,
                self.v,
                data_of(data),
                order,
                first,
                last,
                before,
                self._terms,
                self._rule,
                self.layout.n_bins,
                self.sums,
                self._step_sums,
                self.norms,
                self._trained.work,
            )
        )

    def evaluate(self, split: Split, objective: Objective) -> tuple[Doubles, Integers]:
        """Return sums and confusion of a split for the losses that have a weight in `objective`."""
        model = self._fully_judged if objective.weights.cycle != 0.0 else self._judged
        return model.evaluate(self.parameters, split, terms_of(objective, self._scale))


class NativeEngine:
    """Members that are trained one after the other, so that one model's weights stay in the cache."""

    def __init__(
        self,
        layouts: Sequence[Layout],
        initial: Sequence[Floats],
        scales: Sequence[float],
        objective: Objective,
        optimiser: Optimiser,
    ) -> None:
        self.members = [
            NativeMember(layout, start, scale, objective, optimiser)
            for layout, start, scale in zip(layouts, initial, scales, strict=True)
        ]
        work = sum(layout.step_flops for layout in layouts) * optimiser.batch_size * objective.relative_cost
        self.chunk = max(1, int(1.5e11 / work))

    def begin_epoch(self) -> None:
        """Forget the sums of the epoch before."""
        for member in self.members:
            member.begin_epoch()

    def steps(
        self, data: Split, orders: Sequence[Integers], first: int, last: int, before: int, active: Sequence[bool]
    ) -> list[int]:
        """Take steps first .. last-1 with every active member; return the steps that failed (-1: none)."""
        return [
            member.steps(data, order, first, last, before) if on else -1
            for member, order, on in zip(self.members, orders, active, strict=True)
        ]

    def evaluate(
        self, split: Split, objective: Objective, active: Sequence[bool]
    ) -> list[tuple[Doubles, Integers] | None]:
        """Return sums and confusion of every active member."""
        return [
            member.evaluate(split, objective) if on else None for member, on in zip(self.members, active, strict=True)
        ]

    def sums(self) -> list[tuple[Doubles, Doubles]]:
        """Return every member's sums of the running epoch and its first and latest gradient norm."""
        return [(member.sums, member.norms) for member in self.members]

    def parameters(self, index: int) -> Floats:
        """Return a member's flat parameters."""
        return self.members[index].parameters

    def state(self) -> dict[str, np.ndarray]:
        """Return what a resumed training needs of every member, copied."""
        return {
            f"{name}_{index}": getattr(member, name).copy()
            for index, member in enumerate(self.members)
            for name in ("parameters", "m", "v", "sums", "norms")
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from such a state."""
        for index, member in enumerate(self.members):
            for name in ("parameters", "m", "v", "sums", "norms"):
                getattr(member, name)[:] = state[f"{name}_{index}"]


def native_gradient(layout: Layout, parameters: Floats, split: Split, objective: Objective, scale: float) -> Floats:
    """Return the gradient of the mean total loss of a split, flat f4[n_params]."""
    rows = min(len(split), GRADIENT_ROWS)
    model = Model(layout, rows, layout.n_bins, objective.weights.cycle != 0.0)
    result = np.zeros_like(parameters)
    order = np.arange(len(split))
    terms = terms_of(objective, scale)
    totals = np.zeros(sums_of.length(layout.n_v))
    gradient(model.nets, parameters, result, data_of(split), order, rows, terms, layout.n_bins, totals, model.work)
    return result
