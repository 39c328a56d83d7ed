"""Backends `torch` and `torch-stacked`: models as one stack of tensors, gradients by automatic differentiation.

A stack holds M models; every linear map is one batched product. Models with smaller workspaces are padded with zeros
in the last layer of the encoders and the first of the decoders. That is exact: a padded z is tanh(0) = 0, every padded
gradient is 0, and Adam keeps 0. Backend `torch` is a stack of one model each. A member whose loss or gradient norm
leaves the range of float32 is frozen where it stands; the others go on unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from . import sums as at
from .data import Doubles, Floats, Integers, Split
from .objective import BETA_1, BETA_2, EPSILON, Objective, Optimiser
from .parameters import Layout

EVALUATION_ROWS = 1024
CPU_CHUNK_FLOPS = 3e10
CUDA_CHUNK_STEPS = 256


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: sums do not depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Stack:
    """Parameters of M models as leaves that share flat storage, with the model's forward pass and losses."""

    def __init__(self, layouts: Sequence[Layout], parameters: Sequence[Floats], device: str) -> None:
        """Pad every model to the largest workspace and copy it to the device."""
        self.layouts = tuple(layouts)
        self.count = len(layouts)
        first = layouts[0]
        widest = max(layout.workspace_dim for layout in layouts)
        self.padded = Layout(
            widest, first.hidden_dim, first.decoder_hidden_dim, first.n_layers, first.n_bins, first.n_v
        )
        self.depth = first.n_layers + 2
        self.device = torch.device(device)
        size = (self.count, self.padded.n_params)
        self.flat = torch.zeros(size, dtype=torch.float32, device=self.device)
        self.gradient = torch.zeros_like(self.flat)
        self.leaves: dict[str, torch.Tensor] = {}
        self._slots: list[torch.Tensor] = []
        for name, shape in self.padded.shapes.items():
            place = self.padded.places[name]
            part = slice(place, place + int(np.prod(shape)))
            self.leaves[name] = self.flat[:, part].view(self.count, *shape).detach().requires_grad_()
            self._slots.append(self.gradient[:, part].view(self.count, *shape))
        for index, vector in enumerate(parameters):
            self.write(self.flat, index, vector)

    def add_gradient(self, loss: torch.Tensor) -> None:
        """Add the gradient of the members' losses [M] to the flat gradient."""
        found = torch.autograd.grad(loss.sum(), list(self.leaves.values()), allow_unused=True)
        for slot, part in zip(self._slots, found, strict=True):
            if part is not None:
                slot += part

    def write(self, flat: torch.Tensor, index: int, vector: Floats) -> None:
        """Copy a model's vector into its padded row."""
        layout, row = self.layouts[index], flat[index].detach()
        for name, shape in layout.shapes.items():
            start, wide = layout.places[name], self.padded.shapes[name]
            part = torch.from_numpy(vector[start : start + int(np.prod(shape))].reshape(shape).copy())
            place = self.padded.places[name]
            target = row[place : place + int(np.prod(wide))].view(*wide)
            target[tuple(slice(0, length) for length in shape)] = part.to(self.device)

    def read(self, flat: torch.Tensor, index: int) -> Floats:
        """Return a model's vector without the padding."""
        layout = self.layouts[index]
        row = flat[index].detach().cpu().numpy()
        parts = []
        for name, shape in layout.shapes.items():
            place, wide = self.padded.places[name], self.padded.shapes[name]
            full = row[place : place + int(np.prod(wide))].reshape(wide)
            parts.append(full[tuple(slice(0, length) for length in shape)].ravel())
        return np.concatenate(parts)

    def apply(self, net: str, x: torch.Tensor) -> torch.Tensor:
        """Run a net on x [M, n, in]."""
        for layer in range(self.depth):
            weight, bias = self.leaves[f"{net}.{layer}.W"], self.leaves[f"{net}.{layer}.b"]
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
            if layer < self.depth - 1:
                x = torch.relu(x)
        return x

    def sums(
        self, attr: torch.Tensor, v: torch.Tensor, bins: torch.Tensor, objective: Objective, wide: bool
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Return sums of squared errors [M, columns] and cross entropies [M] of a batch, and the fused logits.

        With `wide` sums are taken in double precision.
        """
        weights, (w_attr, w_v) = objective.weights, objective.fusion_weights
        x = {"attr": attr, "v": v}
        width = {"attr": at.N_ATTR, "v": v.shape[-1]}
        encoded = {domain: self.apply(f"enc_{domain}", x[domain]) for domain in x}
        found: dict[str, torch.Tensor] = {}

        def squares(output: torch.Tensor, domain: str) -> torch.Tensor:
            error = output[..., : width[domain]] - x[domain]
            return (error.double() if wide else error).square().sum(dim=1)

        logits = None
        if weights.fusion:
            z = torch.tanh(w_attr * encoded["attr"] + w_v * encoded["v"])
            decoded = self.apply("dec_attr", z)
            logits = decoded[..., at.N_ATTR :]
            found["fused_attr"] = squares(decoded, "attr")
            found["fused_v"] = squares(self.apply("dec_v", z), "v")
            chance = torch.log_softmax(logits.double() if wide else logits, dim=-1)
            found["ce"] = -chance.gather(2, bins.unsqueeze(-1)).squeeze(-1).sum(dim=1)
        if weights.demi_cycle or weights.cycle or weights.translation:
            for domain, other in (("attr", "v"), ("v", "attr")):
                z = torch.tanh(encoded[domain])
                if weights.demi_cycle:
                    own = self.apply(f"dec_{domain}", z)
                    found[f"demi_{domain}"] = squares(own, domain)
                    if domain == "attr":
                        found["attr_logits"] = own[..., at.N_ATTR :]
                if weights.translation or weights.cycle:
                    across = self.apply(f"dec_{other}", z)
                    found[f"to_{other}"] = squares(across, other)
                    if other == "attr":
                        found["v_logits"] = across[..., at.N_ATTR :]
                    if weights.cycle:
                        again = torch.tanh(self.apply(f"enc_{other}", across[..., : width[other]]))
                        found[f"cycle_{domain}"] = squares(self.apply(f"dec_{domain}", again), domain)
        return found, logits

    def loss(
        self, found: dict[str, torch.Tensor], objective: Objective, scales: torch.Tensor, samples: int, n_v: int
    ) -> torch.Tensor:
        """Return the total loss [M] of a batch."""
        weights = objective.weights
        total = torch.zeros_like(scales)

        def pair(name: str) -> torch.Tensor:
            return (found[f"{name}_attr"].sum(1) / at.N_ATTR + found[f"{name}_v"].sum(1) / n_v) / (2 * samples)

        if weights.fusion:
            total = total + weights.fusion * pair("fused")
            if objective.synergy:
                total = total + (0.5 * weights.fusion) * (scales * (found["ce"] / samples))
        for name, weight in (("demi", weights.demi_cycle), ("cycle", weights.cycle), ("to", weights.translation)):
            if weight:
                total = total + weight * pair(name)
        return total


PLACES = {
    "demi_attr": at.DEMI_ATTR,
    "demi_v": at.DEMI_V,
    "to_attr": at.TO_ATTR,
    "to_v": at.TO_V,
    "cycle_attr": at.CYCLE_ATTR,
    "cycle_v": at.CYCLE_V,
}


def collected(found: dict[str, torch.Tensor], count: int, n_v: int, device: torch.device) -> torch.Tensor:
    """Return the sums of a batch as rows of the common vector, f8[M, length]."""
    totals = torch.zeros((count, at.length(n_v)), dtype=torch.float64, device=device)
    if "ce" in found:
        totals[:, at.CE] = found["ce"].detach()
        totals[:, at.FUSED : at.FUSED + at.N_ATTR] = found["fused_attr"].detach()
        totals[:, at.FUSED + at.N_ATTR :] = found["fused_v"].detach()
    for name, place in PLACES.items():
        if name in found:
            totals[:, place] = found[name].detach().double().sum(dim=1)
    return totals


class Rows:
    """A split on the device."""

    def __init__(self, split: Split, device: torch.device) -> None:
        """Copy it."""
        self.attr = torch.from_numpy(split.attr).to(device)
        self.v = torch.from_numpy(split.v).to(device)
        self.bins = torch.from_numpy(split.xor_bin.astype(np.int64)).to(device)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the rows index [M, n]."""
        return self.attr[index], self.v[index], self.bins[index]


class StackTraining:
    """One stack in training."""

    def __init__(
        self,
        layouts: Sequence[Layout],
        initial: Sequence[Floats],
        scales: Sequence[float],
        objective: Objective,
        optimiser: Optimiser,
        device: str,
    ) -> None:
        """Put the models on the device with fresh moments."""
        self.stack = Stack(layouts, initial, device)
        device_ = self.stack.device
        self._scales = torch.tensor(list(scales), dtype=torch.float32, device=device_)
        self._objective = objective
        self._rule = optimiser
        count, n_v = self.stack.count, layouts[0].n_v
        self.m = torch.zeros_like(self.stack.flat)
        self.v = torch.zeros_like(self.stack.flat)
        self.sums = torch.zeros((count, at.length(n_v)), dtype=torch.float64, device=device_)
        self.norms = torch.full((count, 2), torch.nan, dtype=torch.float64, device=device_)
        self._rows: dict[int, tuple[Split, Rows]] = {}

    def rows(self, split: Split) -> Rows:
        """Return the split on the device, copied once."""
        kept = self._rows.get(id(split))
        if kept is None:
            kept = self._rows[id(split)] = (split, Rows(split, self.stack.device))
        return kept[1]

    def batch_gradient(self, data: Rows, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave the gradient of a batch [M, n] in the stack; return its losses [M] and sums."""
        stack, samples = self.stack, index.shape[1]
        n_v = data.v.shape[1]
        micro = -(-samples // self._rule.grad_accumulation)
        stack.gradient.zero_()
        losses = torch.zeros_like(self._scales)
        sums = torch.zeros_like(self.sums)
        for start in range(0, samples, micro):
            attr, v, bins = data.batch(index[:, start : start + micro])
            found, _ = stack.sums(attr, v, bins, self._objective, wide=False)
            loss = stack.loss(found, self._objective, self._scales, samples, n_v)
            stack.add_gradient(loss)
            losses += loss.detach()
            sums += collected(found, stack.count, n_v, stack.device)
        return losses, sums

    def steps(
        self, data: Split, orders: Sequence[Integers], first: int, last: int, before: int, active: Sequence[bool]
    ) -> list[int]:
        """Take steps first .. last-1 of an epoch; return the steps at which active members failed (-1: none)."""
        rows, rule, stack = self.rows(data), self._rule, self.stack
        order = torch.from_numpy(np.stack(orders)).to(stack.device)
        alive = torch.tensor(list(active), device=stack.device)
        failed = torch.full((stack.count,), -1, dtype=torch.int64, device=stack.device)
        for step in range(first, last):
            index = order[:, step * rule.batch_size : (step + 1) * rule.batch_size]
            losses, sums = self.batch_gradient(rows, index)
            gradient = stack.gradient
            norms = torch.linalg.vector_norm(gradient, dim=1, dtype=torch.float64)
            finite = torch.isfinite(losses) & torch.isfinite(norms.float())
            failed = torch.where(alive & ~finite, step, failed)
            alive = alive & finite
            self.sums += torch.where(alive[:, None], sums, 0.0)
            for column in (0, 1) if step == 0 else (1,):
                self.norms[:, column] = torch.where(alive, norms, self.norms[:, column])
            factor = torch.ones_like(norms)
            if rule.grad_clip:
                factor = torch.clamp(rule.grad_clip / (norms + 1e-6), max=1.0)
            self._adam(factor.float()[:, None], alive[:, None], before + step + 1)
        return [int(step) for step in failed.cpu()]

    def _adam(self, factor: torch.Tensor, alive: torch.Tensor, step: int) -> None:
        rule, flat = self._rule, self.stack.flat
        g = self.stack.gradient.mul_(factor)
        if rule.weight_decay:
            g.add_(flat, alpha=rule.weight_decay)
        # a member that has left keeps its parameters: no gradient, and a rate of zero
        g.masked_fill_(~alive, 0.0)
        self.m.lerp_(g, 1.0 - BETA_1)
        self.v.mul_(BETA_2).addcmul_(g, g, value=1.0 - BETA_2)
        rates = alive * (rule.learning_rate / (1.0 - BETA_1**step))
        root = self.v.sqrt().mul_((1.0 - BETA_2**step) ** -0.5).add_(EPSILON)
        flat.sub_(torch.div(self.m, root, out=root).mul_(rates))

    @torch.no_grad()
    def evaluate(
        self, split: Split, objective: Objective, active: Sequence[bool]
    ) -> list[tuple[Doubles, Integers] | None]:
        """Return sums and confusion of every active member on a split."""
        data, stack = self.rows(split), self.stack
        count, n_bins, n_v = stack.count, self.stack.padded.n_bins, self.stack.padded.n_v
        totals = torch.zeros((count, at.length(n_v)), dtype=torch.float64, device=stack.device)
        confusion = torch.zeros((count, n_bins * n_bins), dtype=torch.int64, device=stack.device)
        rows = torch.arange(len(split), device=stack.device)
        for part in rows.split(EVALUATION_ROWS):
            attr, v, bins = data.batch(part.expand(count, -1))
            found, logits = stack.sums(attr, v, bins, objective, wide=True)
            totals += collected(found, count, n_v, stack.device)
            for name, place in (("attr_logits", at.CORRECT_ATTR), ("v_logits", at.CORRECT_V)):
                if name in found:
                    totals[:, place] += (first_largest(found[name]) == bins).sum(dim=1)
            assert logits is not None
            guess = first_largest(logits)
            totals[:, at.CORRECT] += (guess == bins).sum(dim=1)
            confusion.scatter_add_(1, bins * n_bins + guess, torch.ones_like(guess))
        all_sums, tables = totals.cpu().numpy(), confusion.cpu().numpy().reshape(count, n_bins, n_bins)
        return [(all_sums[i], tables[i]) if on else None for i, on in enumerate(active)]


def first_largest(logits: torch.Tensor) -> torch.Tensor:
    """Return the class of the largest logit, the lowest of equal ones."""
    largest = logits == logits.amax(dim=-1, keepdim=True)
    return largest.to(torch.uint8).argmax(dim=-1)


class TorchEngine:
    """Members as one stack, or as a stack of one each."""

    def __init__(
        self,
        layouts: Sequence[Layout],
        initial: Sequence[Floats],
        scales: Sequence[float],
        objective: Objective,
        optimiser: Optimiser,
        stacked: bool,
        device: str = "cpu",
        memory_percent: float = 100.0,
    ) -> None:
        """Group the members into stacks; `memory_percent` caps this process's share of a GPU's memory.

        Raises:
            RuntimeError: a GPU was asked for and there is none.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("run.device: cuda was asked for, and this machine shows no GPU")
        if device == "cuda":
            torch.cuda.set_per_process_memory_fraction(memory_percent / 100.0)
        members = range(len(layouts))
        self._groups = [list(members)] if stacked else [[index] for index in members]
        self._stacks = [
            StackTraining(
                [layouts[i] for i in group],
                [initial[i] for i in group],
                [scales[i] for i in group],
                objective,
                optimiser,
                device,
            )
            for group in self._groups
        ]
        work = sum(layout.step_flops for layout in layouts) * optimiser.batch_size * objective.relative_cost
        self.chunk = CUDA_CHUNK_STEPS if device == "cuda" else max(1, int(CPU_CHUNK_FLOPS / work))

    def begin_epoch(self) -> None:
        """Forget the sums of the epoch before."""
        for training in self._stacks:
            training.sums.zero_()
            training.norms.fill_(torch.nan)

    def steps(
        self, data: Split, orders: Sequence[Integers], first: int, last: int, before: int, active: Sequence[bool]
    ) -> list[int]:
        """Take steps first .. last-1 with every active member; return the steps that failed (-1: none)."""
        failed = [-1] * len(active)
        with one_thread():
            for group, training in zip(self._groups, self._stacks, strict=True):
                on = [active[i] for i in group]
                if any(on):
                    found = training.steps(data, [orders[i] for i in group], first, last, before, on)
                    for index, step in zip(group, found, strict=True):
                        failed[index] = step
        return failed

    def evaluate(
        self, split: Split, objective: Objective, active: Sequence[bool]
    ) -> list[tuple[Doubles, Integers] | None]:
        """Return sums and confusion of every active member."""
        results: list[tuple[Doubles, Integers] | None] = [None] * len(active)
        with one_thread():
            for group, training in zip(self._groups, self._stacks, strict=True):
                on = [active[i] for i in group]
                if any(on):
                    for index, found in zip(group, training.evaluate(split, objective, on), strict=True):
                        results[index] = found
        return results

    def sums(self) -> list[tuple[Doubles, Doubles]]:
        """Return every member's sums of the running epoch and its first and latest gradient norm."""
        rows: list[tuple[Doubles, Doubles]] = []
        for training in self._stacks:
            rows.extend(zip(training.sums.cpu().numpy(), training.norms.cpu().numpy(), strict=True))
        return rows

    def parameters(self, index: int) -> Floats:
        """Return a member's flat parameters."""
        for group, training in zip(self._groups, self._stacks, strict=True):
            if index in group:
                return training.stack.read(training.stack.flat, group.index(index))
        raise IndexError(index)

    def state(self) -> dict[str, np.ndarray]:
        """Return what a resumed training needs of every stack, copied."""
        arrays: dict[str, np.ndarray] = {}
        for number, training in enumerate(self._stacks):
            held = {"parameters": training.stack.flat, "m": training.m, "v": training.v}
            held |= {"sums": training.sums, "norms": training.norms}
            arrays |= {f"{name}_{number}": tensor.detach().cpu().numpy().copy() for name, tensor in held.items()}
        return arrays

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from such a state."""
        for number, training in enumerate(self._stacks):
            held = {"parameters": training.stack.flat, "m": training.m, "v": training.v}
            held |= {"sums": training.sums, "norms": training.norms}
            for name, tensor in held.items():
                tensor.detach().copy_(torch.from_numpy(np.array(state[f"{name}_{number}"])))


def torch_gradient(layout: Layout, parameters: Floats, split: Split, objective: Objective, scale: float) -> Floats:
    """Return the gradient of the mean total loss of a split, flat f4[n_params]."""
    with one_thread():
        training = StackTraining([layout], [parameters], [scale], objective, Optimiser(), "cpu")
        data = training.rows(split)
        if any(objective.weights):
            training.batch_gradient(data, torch.arange(len(split)).expand(1, -1))
        return training.stack.read(training.stack.gradient, 0)
