"""Speed of the synergy study's training against a loop of the reference's kind, measured side by side.

    python bench/synergy.py [--quick]

The reference-equivalent loop is contained here: a map-style data set of dictionaries, a collate function, a DataLoader,
four nn.Sequential nets, eleven loss components pulled out by .item() each step, torch.optim.Adam with its defaults,
one PyTorch thread. Rounds of all variants are interleaved; figures are CPU time of the process and its children, the
best round of each. Targets: 6x the loop without workers, 8.5x with four, 600 model-steps per CPU second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quintet.jobs.synergy import Config, Dataset, Split, Unit, make_labels, render
from quintet.jobs.synergy.presets import PRESETS, merged
from quintet.jobs.synergy.training import Training
from torch import nn
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

N_BINS = 8
WARM_STEPS = 20
START = """
import time, numpy as np
from quintet.jobs.synergy import Config, Dataset, Split, Unit
from quintet.jobs.synergy.training import Training
g = np.random.default_rng(0)
def split(n):
    return Split(g.random((n, 11), np.float32), g.random((n, 13), np.float32), g.integers(0, 8, n).astype(np.uint8))
training = Training(Dataset(split(32), split(32)), [Unit(12, 1.0)], Config(training={"epochs": 1}))
training.advance()
print(time.process_time())
"""


MERGE = """
import time
from pathlib import Path
from quintet.merge.phase import Request, make_result
from quintet.merge.synergy.exports import write_tables
from quintet.merge.synergy.sweep import Sweep
from quintet.shard.context import Context, inputs_digest
from quintet.shard.run import Run
context = Context.of(Run(Path("{run}")), "train")
start = time.process_time()
make_result(context, inputs_digest(context.run, context.plan), Request(), str)
write_tables(Path("{tables}"), Sweep.of(context), "")
print(time.process_time() - start)
"""
TINY = {
    "study": "synergy",
    "data": {"n_train": 64, "n_val": 64, "n_test": 16, "img_size": 16},
    "visual": {"kind": "pca", "max_val_mse": None},
    "model": {"hidden_dim": 4, "n_layers": 0},
    "run": {"save_models": "none"},
    "phases": {"train": {"shards": 1}},
}
"""Trainings that cost next to nothing, for what comes after them."""


def cpu_seconds() -> float:
    """CPU time of this process and its ended children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def synthetic(rows: int, seed: int) -> Split:
    """Rows of the study's shapes and ranges."""
    generator = np.random.default_rng(seed)
    attr = generator.random((rows, 11), np.float32)
    v = generator.standard_normal((rows, 13), np.float32)
    return Split(attr, v, generator.integers(0, N_BINS, rows).astype(np.uint8))


class Samples(TorchDataset):  # type: ignore[type-arg]
    """One dictionary per sample, cached."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._cache: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self._cache:
            attr, v = torch.from_numpy(self._split.attr[index]), torch.from_numpy(self._split.v[index])
            target = torch.tensor([float(self._split.xor_bin[index]) / (N_BINS - 1)])
            self._cache[index] = {
                "inputs": {"attr": attr, "v": v},
                "targets": {"attr": torch.cat([attr, target]), "v": v},
                "metadata": {"index": index},
            }
        return self._cache[index]


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Append per domain, then default_collate."""
    batch: dict[str, Any] = {}
    for part in ("inputs", "targets"):
        lists: dict[str, list[torch.Tensor]] = {}
        for sample in samples:
            for domain, value in sample[part].items():
                lists.setdefault(domain, []).append(value)
        batch[part] = {domain: default_collate(values) for domain, values in lists.items()}
    batch["metadata"] = default_collate([sample["metadata"] for sample in samples])
    return batch


class Flattened:
    """Yields attr, v and their targets under flat names."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self._loader:
            yield {
                **batch["inputs"],
                **{f"_target_{domain}": value for domain, value in batch["targets"].items()},
            }


def perceptron(n_in: int, hidden: int, n_out: int, n_layers: int) -> nn.Sequential:
    """Linear, ReLU, n_layers x (Linear, ReLU), Linear."""
    layers: list[nn.Module] = [nn.Linear(n_in, hidden), nn.ReLU()]
    for _ in range(n_layers):
        layers += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, n_out))


class ReferenceLoop:
    """A loop of the reference's kind; `steps` goes on where the last call ended."""

    def __init__(self, split: Split, dim: int, hidden: int, n_layers: int, workers: int) -> None:
        torch.manual_seed(0)
        self._nets = nn.ModuleDict(
            {
                "enc_attr": perceptron(11, hidden, dim, n_layers),
                "enc_v": perceptron(13, hidden, dim, n_layers),
                "dec_attr": perceptron(dim, hidden, 11 + N_BINS, n_layers),
                "dec_v": perceptron(dim, hidden, 13, n_layers),
            }
        )
        self._optimiser = torch.optim.Adam(self._nets.parameters())
        loader = DataLoader(Samples(split), 32, shuffle=True, num_workers=workers, collate_fn=collate)
        self._batches = Flattened(loader)
        self.totals: dict[str, float] = {}

    def steps(self, count: int) -> None:
        """Take `count` steps, epoch after epoch."""
        done = 0
        while done < count:
            for batch in self._batches:
                self._step(batch)
                done += 1
                if done == count:
                    return

    def _step(self, batch: dict[str, torch.Tensor]) -> None:
        nets, mse = self._nets, nn.functional.mse_loss
        attr, v, target = batch["attr"], batch["v"], batch["_target_attr"]
        z = torch.tanh(0.5 * nets["enc_attr"](attr) + 0.5 * nets["enc_v"](v))
        decoded, decoded_v = nets["dec_attr"](z), nets["dec_v"](z)
        classes = torch.clamp(torch.round(target[:, -1] * (N_BINS - 1)), 0, N_BINS - 1).long()
        base, logits = decoded[:, :11], decoded[:, 11:]
        parts = {"non_synergy": mse(base, target[:, :11])}
        parts["features"] = mse(base[:, :10], target[:, :10])
        parts["source"] = mse(base[:, 10], target[:, 10])
        parts["synergy"] = nn.functional.cross_entropy(logits, classes)
        parts["synergy_scaled"] = 1.0 * parts["synergy"]
        parts["attr"] = parts["non_synergy"] + parts["synergy_scaled"]
        parts["v"] = mse(decoded_v, batch["_target_v"])
        parts["v_non_synergy"] = parts["v"]
        parts["fusion"] = (parts["attr"] + parts["v"]) / 2
        parts["total"] = 1.0 * parts["fusion"]
        parts["accuracy"] = (logits.argmax(dim=1) == classes).float().mean()
        self._optimiser.zero_grad()
        parts["total"].backward()
        self._optimiser.step()
        for name, value in parts.items():
            self.totals[name] = self.totals.get(name, 0.0) + value.item()


class OurLoop:
    """The study's training on one backend, without evaluations."""

    def __init__(self, split: Split, dim: int, hidden: int, n_layers: int, backend: str, members: int = 1) -> None:
        model = {"hidden_dim": hidden, "decoder_hidden_dim": hidden, "n_layers": n_layers}
        config = Config(model=model, training={"epochs": 1_000_000})
        units = [Unit(dim, 1.0, run) for run in range(members)]
        self._training = Training(Dataset(split, synthetic(32, 1)), units, config, backend=backend)

    def steps(self, count: int) -> None:
        """Take `count` steps of every member."""
        training = self._training
        done = 0
        while done < count:
            room = training._steps_per_epoch - training._step
            training._engine.chunk = min(count - done, room)
            done += training._engine.chunk
            training.advance()


def best_of(variants: dict[str, tuple[Callable[[int], None], int, int]], rounds: int) -> dict[str, float]:
    """CPU seconds per model-step of each variant (steps, count, members), the best of interleaved rounds."""
    for steps, _, _ in variants.values():
        steps(WARM_STEPS)
    best = dict.fromkeys(variants, np.inf)
    for _ in range(rounds):
        for name, (steps, count, members) in variants.items():
            start = cpu_seconds()
            steps(count)
            best[name] = min(best[name], (cpu_seconds() - start) / (count * members))
    return best


def calibration() -> float:
    """Best-of-5 mean seconds of 1000 float32 products 32x128 by 128x128."""
    a, b = np.ones((32, 128), np.float32), np.ones((128, 128), np.float32)
    out = np.empty((32, 128), np.float32)
    times = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(1000):
            np.dot(a, b, out=out)
        times.append((time.process_time() - start) / 1000)
    return min(times)


def whole_unit(network: str) -> tuple[float, float, float]:
    """CPU seconds of one unit, from two epochs of it, its epochs, and the peak memory of such a process in MB."""
    program = (
        "import sys, json, time, re, numpy as np\n"
        "from quintet.jobs.synergy import Config, Dataset, Split, Unit\n"
        "from quintet.jobs.synergy.training import Training\n"
        "from quintet.jobs.synergy.presets import NETWORKS, merged\n"
        f"values = merged(NETWORKS[{network!r}], {{'training': {{'epochs': 2}}}})\n"
        "config = Config(**values)\n"
        "g = np.random.default_rng(0)\n"
        "def split(n):\n"
        "    return Split(g.random((n, 11), np.float32), g.standard_normal((n, 13), np.float32),"
        " g.integers(0, 8, n).astype(np.uint8))\n"
        "d = config.data\n"
        "data = Dataset(split(d.n_train), split(d.n_val), split(d.n_test))\n"
        "Training(Dataset(split(9), split(9)), [Unit(12, 1.0)], config).run()\n"
        "task = Training(data, [Unit(12, 1.0)], config)\n"
        "start = time.process_time()\n"
        "task.run()\n"
        "print(json.dumps([time.process_time() - start,"
        " int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024, 'torch' in sys.modules]))\n"
    )
    seconds, memory, torch_loaded = json.loads(run_python(program))
    assert not torch_loaded
    epochs = Config(**({"training": {"epochs": 25}} if network == "small" else {})).training.epochs
    return seconds / 2 * epochs, epochs, memory


def merge_of_a_sweep(folder: Path) -> tuple[float, float, float]:
    """CPU seconds of merging 1,000 units of 50 epochs without and with figures, and KB of a unit without its model."""
    config, run = folder / "config.json", folder / "run"
    config.write_text(json.dumps(merged(PRESETS["comprehensive"], TINY)))
    verb("shard.commands.plan", config, "--run", run, "--no-probe")
    for phase in ("visual", "encode", "train"):
        verb("shard.commands.local", run, "--phase", phase, "--jobs", 1)
        if phase != "train":
            verb("merge", run, phase)
    kilobytes = sum(path.stat().st_size for path in (run / "partials" / "train").rglob("*.h5")) / 1e6
    with_figures = verb("merge", run, "train")
    for path in (run / "merged").glob("train.*"):
        path.unlink()
    return float(run_python(MERGE.format(run=run, tables=folder / "tables"))), with_figures, kilobytes


def verb(module: str, *arguments: object) -> float:
    """CPU seconds of a verb of the suite."""
    before = cpu_seconds()
    command = [sys.executable, "-m", f"quintet.{module}", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return cpu_seconds() - before


def run_python(program: str) -> str:
    """Output of a program in a fresh process with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    count, rounds = (300, 2) if quick else (1000, 3)
    split = synthetic(50_000, 0)
    print(f"32x128 by 128x128 float32 product: {calibration() * 1e6:.1f} us")
    for network, dim, hidden, n_layers in (("default", 12, 128, 4), ("small", 12, 64, 2)):
        loops = {
            "reference-equivalent, 0 workers": (ReferenceLoop(split, dim, hidden, n_layers, 0).steps, count, 1),
            "reference-equivalent, 4 workers": (ReferenceLoop(split, dim, hidden, n_layers, 4).steps, count, 1),
            "cpu": (OurLoop(split, dim, hidden, n_layers, "cpu").steps, 1500, 1),
            "torch": (OurLoop(split, dim, hidden, n_layers, "torch").steps, count // 2, 1),
            "torch-stacked, 8 models": (OurLoop(split, dim, hidden, n_layers, "torch-stacked", 8).steps, 60, 8),
        }
        best = best_of(loops, rounds)
        base = best["reference-equivalent, 0 workers"]
        workers = best["reference-equivalent, 4 workers"]
        print(f"\n{network} network, dim {dim}: CPU ms per model-step")
        for name, seconds in best.items():
            print(
                f"  {name:32} {seconds * 1e3:8.3f} ms {1 / seconds:8.0f} steps/s {base / seconds:6.1f}x"
                f" {workers / seconds:6.1f}x of 4 workers"
            )
        unit, epochs, memory = whole_unit(network)
        print(
            f"  one unit ({epochs} epochs): {unit:.1f} CPU s; 210 units: {unit * 210 / 3600:.2f} core-hours;"
            f" peak memory {memory:.0f} MB"
        )
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("QUINTET_KERNEL_CACHE", folder)
        run_python(START)
        print(f"\nstart to first step, warm cache: {run_python(START)} CPU s")
    with tempfile.TemporaryDirectory() as folder:
        plain, drawn, kilobytes = merge_of_a_sweep(Path(folder))
        print(
            f"merging 1,000 units of 50 epochs: {plain:.1f} CPU s, with figures {drawn:.1f}; {kilobytes:.0f} KB a unit"
        )
    labels = make_labels({"train": 2000})["train"].labels
    render(labels[:10])
    start = time.process_time()
    render(labels)
    print(f"rendering: {(time.process_time() - start) / len(labels) * 1e6:.0f} us CPU per image")


if __name__ == "__main__":
    main()
