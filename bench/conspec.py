"""Speed of the conspec study against its targets: worlds, rollout, contrastive step, whole trials, checkpoint.

    python bench/conspec.py [--quick | --memory]

CPU time of one thread, kernels cached. `--quick` measures worlds, rollout, contrastive step and the first 400
episodes of `single`, about half a minute; without it the whole trials follow; `--memory` measures the peak memory of
processes of their own instead: five default trials one after the other, and the largest model. The plain loop that
ratios are taken against stands in this file: one lane, plain Python, one frame at a time through a convolution and an
LSTM cell, and an optimiser step for every time step of a finished episode, which is how the public
`mandanasmi/MemorySchema` (commit 5189410) is built. That code needed 104-120 us per step of the world and 4.54 ms per
step of training on an AMD EPYC.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.random import PCG64, Generator
from quintet.jobs.conspec import image, make_env, train
from quintet.jobs.conspec.contrast_kernel import contrast
from quintet.jobs.conspec.network import Sizes, aligned, initial_weights
from quintet.jobs.conspec.reference import SingleEnv
from quintet.jobs.conspec.sampler import Sampler
from quintet.jobs.conspec.trial import Trial

LANES = 20
PEAKS = """
import json, sys
from quintet.jobs.conspec import train
from quintet.jobs.conspec.trial import peak_rss_mb
peaks = []
for params, words, episodes in json.loads(sys.argv[1]):
    train(params, words, world="single", episodes=episodes)
    peaks.append(peak_rss_mb())
print(json.dumps(peaks))
"""
SHORT = {"hidden_dim": 64, "lstm_hidden_size": 64, "gamma": 0.99}
SMALLEST = {"hidden_dim": 64, "lstm_hidden_size": 64, "num_prototypes": 3, "memory_size": 1000}
LARGEST = {
    "hidden_dim": 256, "lstm_hidden_size": 256, "num_prototypes": 10, "memory_size": 10000, "batch_size": 256,
}  # fmt: skip


def cpu(function: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def line(name: str, value: str, hard: str, stretch: str) -> None:
    """Print one row of the table."""
    print(f"{name:58} {value:>22} {hard:>12} {stretch:>12}", flush=True)


def steps_per_second(world: str, family: str, n_steps: int = 20_000) -> float:
    """Steps of a vectorised world with 20 lanes, uniform actions."""
    env = make_env(world, family=family, num_envs=LANES)
    actions = np.random.default_rng(0).integers(0, env.n_actions, (n_steps, LANES))

    def play() -> None:
        for t in range(n_steps):
            if t % env.max_steps == 0:
                env.reset()
            env.step(actions[t])

    play()
    return n_steps * LANES / min(cpu(play) for _ in range(3))


def plain_steps_per_second(world: str, n_steps: int = 3000) -> float:
    """Steps of the plain twin with its image, uniform actions."""
    env = SingleEnv(world)
    actions = np.random.default_rng(0).integers(0, 7, n_steps).tolist()

    def play() -> None:
        for t, action in enumerate(actions):
            if t % 400 == 0:
                env.reset()
            image(env.step(action)[0])

    play()
    return n_steps / min(cpu(play) for _ in range(2))


class PlainLearner:
    """The structure of the public code's loop, with sizes 128: what a trial costs without any of what is done here."""

    def __init__(self, world: str) -> None:
        self._env = SingleEnv(world)
        self._convolution = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(16, 32, 2),
            torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 128),
        )  # fmt: skip
        self._cell, self._head = torch.nn.LSTMCell(128, 128), torch.nn.Linear(128, 7)
        modules = (self._convolution, self._cell, self._head)
        self._optimiser = torch.optim.Adam([p for module in modules for p in module.parameters()])

    def _logits(self, codes: Any) -> torch.Tensor:
        frame = torch.from_numpy(image(codes)).float().permute(2, 0, 1)[None] / 10
        return self._head(self._cell(self._convolution(frame))[0])

    def episode(self, generator: Generator, eps: float) -> int:
        """Play and learn from one episode; return its steps."""
        codes, frames, actions, rewards = self._env.reset(), [], [], []
        ended = False
        while not ended:
            with torch.no_grad():
                likeliest = int(self._logits(codes).argmax())
            action = int(generator.integers(7)) if generator.random() < eps else likeliest
            frames.append(codes)
            codes, reward, terminated, truncated = self._env.step(action)
            actions.append(action)
            rewards.append(reward)
            ended = terminated or truncated
        for frame, action, reward in zip(frames, actions, rewards, strict=True):
            loss = -torch.log_softmax(self._logits(frame), -1)[0, action] * reward
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        return len(frames)


def plain_trial_seconds(world: str, episodes: int = 20) -> float:
    """CPU seconds of 5000 episodes of the plain loop, extrapolated."""
    learner, generator = PlainLearner(world), np.random.default_rng(0)
    seconds = cpu(lambda: [learner.episode(generator, 0.5) for _ in range(episodes)])
    return seconds / episodes * 5000


def rollout_steps_per_second() -> float:
    """Steps per second of a fresh default policy, 20 lanes x 400."""
    env = make_env("single", num_envs=LANES)
    sizes = Sizes(49, 17, 128, 128, 7, 5)
    theta = initial_weights(sizes, torch.Generator().manual_seed(0))[0]
    sampler, streams = Sampler(env, sizes, 32), (Generator(PCG64(0)), Generator(PCG64(1)))
    sampler.play(theta, np.ones(LANES), *streams)
    seconds = min(cpu(lambda: sampler.play(theta, np.ones(LANES), *streams)) for _ in range(5))
    return LANES * 400 / seconds


def contrastive_milliseconds() -> float:
    """One contrastive step of 4,800 frames, 314 of them distinct, five prototypes of width 128."""
    sizes = Sizes(49, 17, 128, 128, 7, 5)
    theta = initial_weights(sizes, torch.Generator().manual_seed(0))[1]
    generator = np.random.default_rng(0)
    codes, seen = generator.integers(0, 17, (314, 49)).astype(np.uint8), generator.integers(0, 314, 4800)
    offsets, grad, out = np.arange(0, 4801, 75), aligned(len(theta)), np.zeros((5, 3))
    batches, batch_of = np.array([[0, 32, 32]]), np.zeros(5, np.int64)
    scratch, coefs = aligned(2_000_000), np.array([100.0, 0.2], np.float32)

    def step() -> None:
        contrast(theta, grad, sizes.conspec, codes, seen, offsets, batches, batch_of, True, coefs, scratch, out)

    step()
    return min(cpu(step) for _ in range(20)) * 1e3


def trial_seconds(params: dict[str, Any], world: str, episodes: int, **keywords: Any) -> tuple[float, str]:
    """CPU seconds of a trial, and what it learnt."""
    start = time.process_time()
    metrics = train(params, (101, 0, 0), world=world, episodes=episodes, **keywords).metrics
    seconds = time.process_time() - start
    return seconds, f"{seconds:.1f} s (success {metrics['success_rate']:.2f})"


def checkpoint() -> str:
    """Size and CPU time of the state of a default trial with full memories, as compressed arrays."""
    trial = Trial({}, (101, 0, 0), world="single", episodes=700)
    while trial.advance():
        pass
    start = time.process_time()
    state = trial.state()
    took = time.process_time() - start
    buffer = io.BytesIO()
    arrays = {key: value for key, value in state.items() if hasattr(value, "dtype")}
    np.savez(buffer, **arrays)
    return f"{took * 1e3:.1f} ms, {len(buffer.getvalue()) / 1e6:.1f} MB"


def peaks_of(*trials: tuple[dict[str, Any], tuple[int, int, int], int]) -> list[float]:
    """Peak resident memory in MB of a process after each of its trials (parameters, seed words, episodes)."""
    command = [sys.executable, "-c", PEAKS, json.dumps(trials)]
    return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def show_memory() -> None:
    """Print the rows about memory."""
    first, *others = peaks_of(*(({}, (101, 0, number), 5000) for number in range(5)))
    line("peak memory, default trial of 5000 episodes", f"{first:.0f} MB", "800 MB", "450 MB")
    line("growth over four more in the same process", f"{max(others) / first - 1:+.1%}", "5 %", "")
    (largest,) = peaks_of((LARGEST, (101, 0, 0), 1000))
    line("peak memory, largest model, first 1000 episodes", f"{largest:.0f} MB", "1200 MB", "700 MB")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave out the whole trials")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train({}, (0, 0, 0), world="single", episodes=20)
    line("", "measured", "hard", "stretch")
    if options.memory:
        show_memory()
        return
    for world in ("single", "double", "triple"):
        ours, plain = steps_per_second(world, "grid"), plain_steps_per_second(world)
        line(f"grid {world}, 20 lanes, steps/s", f"{ours / 1e6:.2f} M", "2.5 M", "8 M")
        line(f"grid {world}, ratio to the plain twin ({plain:,.0f}/s)", f"{ours / plain:.0f} x", "250 x", "900 x")
    line("delayed double, 20 lanes, steps/s", f"{steps_per_second('double', 'delayed') / 1e6:.2f} M", "5 M", "18 M")
    line("rollout, defaults, 20 x 400, steps/s", f"{rollout_steps_per_second():,.0f}", "100,000", "300,000")
    line("contrastive step, 314 distinct of 4,800 frames", f"{contrastive_milliseconds():.1f} ms", "20 ms", "4 ms")
    line("first 400 episodes of single", trial_seconds({}, "single", 400)[1], "20 s", "6 s")
    line("state of a trial", checkpoint(), "50 ms, 12 MB", "10 ms, 4 MB")
    if not options.quick:
        for world, hard, stretch in (("single", 80, 20), ("double", 120, 30), ("triple", 110, 25)):
            seconds, text = trial_seconds({}, world, 5000)
            line(f"5000 episodes, {world}", text, f"{hard} s", f"{stretch} s")
            if world == "double":
                plain = plain_trial_seconds("double")
                name = f"double, ratio to the plain loop ({plain:,.0f} s extrapolated)"
                line(name, f"{plain / seconds:.0f} x", "100 x", "400 x")
        line("5000 episodes, single, smallest model", trial_seconds(SMALLEST, "single", 5000)[1], "40 s", "9 s")
        keywords: dict[str, Any] = {"family": "delayed"}
        line("5000 episodes, delayed double", trial_seconds(SHORT, "double", 5000, **keywords)[1], "90 s", "20 s")
        keywords["agent"] = {"conspec": False}
        line("the same without ConSpec", trial_seconds(SHORT, "double", 5000, **keywords)[1], "32 s", "7 s")


if __name__ == "__main__":
    main()
