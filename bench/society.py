"""Speed and memory of the town: batched generation against one-by-one generation, decisions, the heuristic dynamics.

    python bench/society.py [dynamics] [files] [generate] [decide] [quantize] [load] [--rows 32]

Without names all parts run. CPU time of one thread, all ratios taken within this run. `generate` compares with
transformers' `generate` under forward hooks, one prompt at a time, on a few of the same prompts, and holds the tokens
equal; `decide` also with that baseline on long prompts, as a program without prefixes and without a verb choice sends
them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common.process import cost_of
from quintet.jobs.society import Row, RunConfig, Simulation, Steering, load_backend, load_contrast_items, steer
from quintet.jobs.society.backend.runtime import torch_with
from quintet.shard.society.rows import TIMING

BIN = Path(__file__).parent.parent / "bin"
FAST = Path(__file__).parent.parent / "configs" / "society" / "run.fast.yaml"
LAYER = 16
PARTS = ("dynamics", "files", "generate", "decide", "quantize", "load")
BASELINE_ROWS = 3
STEPS = 20


def cpu(work: Any) -> tuple[float, Any]:
    """CPU seconds and result of a call."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


class Use:
    """Wall seconds and rows per forward pass of what an engine did since."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._before = engine, (time.monotonic(), engine.rows, engine.forwards)

    def __str__(self) -> str:
        start, rows, forwards = self._before
        per_pass = (self._engine.rows - rows) / max(self._engine.forwards - forwards, 1)
        return f"{time.monotonic() - start:.1f} s wall, {per_pass:.1f} rows a forward pass"


def peak_gb() -> float:
    """Peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def prompts(backend: Any, rows: int, room: int) -> list[Row]:
    """Prompts of about 212 tokens of which 72 are shared, each with its own coefficients."""
    rng = np.random.Generator(np.random.PCG64(0))
    items = [item for entries in load_contrast_items().values() for item in entries]
    system = "You live in a small town with three places: the town square, the community center and the library. " * 3
    result = []
    for _ in range(rows):
        picked = rng.permutation(len(items))[:13]
        story = " ".join(items[index].stem for index in picked)
        ids = backend.prompt(f"{story} What do you do?", system)
        coefficients = {trait: float(rng.uniform(-1, 1)) for trait in "EACON"}
        result.append(Row(ids, coefficients, 1, room))
    return result


def one_by_one(backend: Any, rows: list[Row], steering: Steering) -> list[list[int]]:
    """Greedy continuations by transformers, a prompt at a time, doses added by hooks."""
    torch = torch_with()
    module = backend.module
    texts = []
    for row in rows:
        dose = steering.dose([row.coefficients])
        ids = torch.tensor([list(row.ids)])
        with torch.inference_mode(), steer(backend.blocks, dose, last=1):
            out = module.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=row.max_new_tokens,
                do_sample=False,
                repetition_penalty=1.0,
                pad_token_id=backend.tokenizer.eos_ids[0],
            )
        tokens = out[0, len(row.ids) :].tolist()
        ends = [place for place, token in enumerate(tokens) if token in backend.tokenizer.eos_ids]
        texts.append(tokens[: ends[0]] if ends else tokens)
    return texts


def dynamics() -> None:
    """The heuristic dynamics and the mock model, without files."""
    for kind in ("heuristic", "model"):
        steps = 200 if kind == "heuristic" else 30
        config = RunConfig(
            run_id="bench",
            model_name="mock",
            steps=steps,
            max_events_per_tick=12,
            optimization={"reflect_every_n_ticks": 5},
            policy={"kind": kind},
        )
        simulation = Simulation(config)
        seconds, _ = cpu(lambda simulation=simulation: [None for _ in iter(lambda: _tick(simulation), False)])
        actions = simulation.log.rows("actions")
        saving, _ = cpu(simulation.checkpoint)
        print(
            f"mock, policy {kind:9}: {seconds / actions * 1e6:6.1f} us/action, {actions} actions, "
            f"checkpoint {saving * 1e3:.1f} ms"
        )


def files() -> None:
    """Whole elements of the fast town with its HDF5 logs: 200 ticks, the same with a checkpoint a tick, and 1 tick."""
    often = ("checkpoint_every_ticks=1", "phases.simulate.checkpoint_s=0")
    with tempfile.TemporaryDirectory() as folder:
        whole, partial = _element(Path(folder) / "whole", "policy.kind=heuristic")
        kept, saved = _element(Path(folder) / "kept", "policy.kind=heuristic", *often)
        start, _ = _element(Path(folder) / "start", "policy.kind=heuristic", "steps=1")
        model, _ = _element(Path(folder) / "model")
        size = partial.stat().st_size
        with h5py.File(partial) as file:
            actions = len(file["rows/actions/tick"])
        with h5py.File(saved) as file:
            checkpoints = file["meta/timing"][:, TIMING.index("checkpoints")].sum()
    print(
        f"mock, an element with logs: heuristic {whole / actions * 1e6:.0f} us/action, start included (hard 150), "
        f"{(whole - start) / actions * 1e6:.0f} without it; policy model {model / actions * 1e6:.0f}; "
        f"logs {size / 1e6:.2f} MB (hard 6); {(kept - whole) / checkpoints * 1e3:.1f} CPU-ms a checkpoint, "
        f"{checkpoints:.0f} of them (hard 10)"
    )


def _element(run: Path, *wishes: str) -> tuple[float, Path]:
    """CPU seconds and partial of one element of the fast town with the mock model."""
    plan = [str(BIN / "plan"), str(FAST), "--run", str(run), "--no-probe"]
    cost_of([*plan, *(word for wish in ("model_name=mock", *wishes) for word in ("--set", wish))])
    seconds = cost_of([str(BIN / "shard"), str(run), "simulate", "--index", "0"]).cpu_s
    return seconds, next(run.glob("partials/simulate/*/*.h5"))


def _tick(simulation: Simulation) -> bool:
    for _ in simulation.voice.answered(simulation.tick_steps()):
        pass
    return not simulation.done


def generate(backend: Any, steering: Steering, count: int) -> None:
    """Batched against one by one: same prompts, same tokens."""
    rows = prompts(backend, count, 48)
    lengths = [len(row.ids) for row in rows]
    print(f"generate: {count} prompts of {min(lengths)}-{max(lengths)} tokens, 48 new, greedy")
    backend.generate(rows[:2], steering, temperature=0)
    backend.prefixes.clear()
    use = Use(backend.engine)
    batched, texts = cpu(lambda: backend.generate(rows, steering, temperature=0))
    used, peak = str(use), peak_gb()
    one_by_one(backend, [Row(rows[0].ids[:20], {}, 1, 2)], steering)
    picked = list(range(0, count, max(1, count // BASELINE_ROWS)))[:BASELINE_ROWS]
    single, plain = cpu(lambda: one_by_one(backend, [rows[index] for index in picked], steering))
    equal = sum(texts[index].token_ids == tokens for index, tokens in zip(picked, plain, strict=True))
    tokens = sum(len(text.token_ids) for text in texts)
    each, alone = batched / count, single / len(picked)
    print(
        f"  one by one {alone:.3f} CPU-s/message ({len(picked)} measured), batched {each:.3f}: x{alone / each:.2f} "
        f"(hard 3); {tokens / batched:.1f} tokens/CPU-s; {used}; equal tokens {equal}/{len(picked)}; "
        f"peak {peak:.2f} GB (hard 1.5)"
    )


def decide(backend: Any, ticks: int = 2) -> None:
    """Whole decisions of the model policy in waves, against long prompts one by one."""
    config = RunConfig(
        run_id="bench", population=72, steps=ticks, max_events_per_tick=36, probes={"enabled": False, "fluency": False}
    )
    simulation = Simulation(config, backend)
    _ = simulation.voice.prior, simulation.voice.steering
    use = Use(backend.engine)
    seconds, history = cpu(lambda: simulation.run(ticks))
    used = str(use)
    count = len(history.actions)
    waves = history.columns["encounters/size"]
    columns = history.columns
    print(
        f"decide: {count} decisions, waves of {int((waves > 0).sum()) // ticks}: {seconds / count:.3f} CPU-s each, "
        f"{count / seconds:.2f} per CPU-s (hard 1.3); {columns['actions/tokens_in'].mean():.0f} tokens in, "
        f"{columns['actions/tokens_out'].mean():.1f} out; {used}; peak {peak_gb():.2f} GB (hard 1.5)"
    )
    filler = backend.prompt("Tell me about the town. " * 130)[:800]
    steering = simulation.voice.steering
    for dtype, hard in (("float32", 8), ("float16", 30)):
        if dtype == "float16":
            backend.module.half()
        single, _ = cpu(lambda: one_by_one(backend, [Row(filler, {"E": 1.0}, 1, 48)], steering))
        print(
            f"  one by one, 800 tokens in, 48 out, {dtype}: {single:.2f} CPU-s/message, "
            f"x{single / (seconds / count):.1f} (hard {hard})"
        )


def quantize(count: int) -> None:
    """Footprint and step time of quantized weights."""
    print(f"quantize: {count} rows of about 212 tokens")
    for kind in ("none", "int8dyn", "nf4", "int8"):
        backend = load_backend(quantization=kind, batch_size=count)
        if kind in ("none", "int8dyn"):
            from quintet.jobs.society.backend.quantized import footprint

            size = footprint(backend.engine)
        else:
            size = backend.engine.module.get_memory_footprint()
        rows = prompts(backend, count, 1 + STEPS)
        short = [Row(row.ids, {}, 1, 1) for row in rows]
        costs = []
        for asked in (short[:2], short, rows):
            # a prefix that is known from the measurement before would be left out of this one
            backend.prefixes.clear()
            costs.append(cpu(lambda asked=asked, backend=backend: backend.generate(asked, temperature=0))[0])
        _, prefill, seconds = costs
        print(
            f"  {kind:8} {size / 1e6:6.0f} MB, {1e3 * (seconds - prefill) / STEPS:7.1f} CPU-ms/step of {count} rows, "
            f"{1e3 * prefill / sum(len(row.ids) for row in rows):.2f} CPU-ms/prompt token"
        )


def load() -> None:
    """From the start of the interpreter to the first tick's batch."""
    code = (
        "import time, resource\n"
        "from quintet.jobs.society import RunConfig, Simulation, load_backend\n"
        "from quintet.jobs.society.library import known_vectors\n"
        "b = load_backend()\n"
        "b.invariance\n"
        "s = Simulation(RunConfig(run_id='bench'), b, vectors=known_vectors(b), prior=[0.0] * 13)\n"
        "s.voice.steering\n"
        "print(f'{time.process_time():.2f} CPU-s to the first tick of a self-tested model with known vectors; '\n"
        "      f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    print(f"load: {done.stdout.strip()} (hard 6)")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=32)
    chosen = parser.parse_args()
    if "dynamics" in chosen.parts:
        dynamics()
    if "files" in chosen.parts:
        files()
    if "load" in chosen.parts:
        load()
    if {"generate", "decide"} & set(chosen.parts):
        from quintet.jobs.society.library import known_vectors

        backend = load_backend(batch_size=chosen.rows)
        steering = Steering(known_vectors(backend), (LAYER,))
        if "generate" in chosen.parts:
            generate(backend, steering, chosen.rows)
        if "decide" in chosen.parts:
            decide(backend)
    if "quantize" in chosen.parts:
        for count in (1, 8, 32):
            quantize(count)


if __name__ == "__main__":
    main()
