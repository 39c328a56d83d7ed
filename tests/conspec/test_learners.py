"""The compiled learners against their plain twins, memories, activation and the first update's ratio."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import PCG64, Generator
from quintet.jobs.conspec import intrinsic_reward, make_env
from quintet.jobs.conspec.conspec import ConSpec
from quintet.jobs.conspec.contrast_kernel import contrast, intrinsic, score
from quintet.jobs.conspec.matrix_kernel import adam, add_product, add_transposed_product
from quintet.jobs.conspec.memory import Memory, Observations
from quintet.jobs.conspec.network import Sizes, aligned, initial_weights
from quintet.jobs.conspec.policy import Chunks, cut, minibatches, scratch_size
from quintet.jobs.conspec.policy_kernel import N_SUMS, Batch, minibatch
from quintet.jobs.conspec.reference_learner import contrastive_losses, policy_losses
from quintet.jobs.conspec.sampler import Sampler
from quintet.jobs.conspec.settings import settings_of

SIZES = Sizes(25, 9, 24, 20, 4, 3)
PRECISIONS = [(np.float64, 1e-9, 1e-9), (np.float32, 1e-5, 1e-4)]


def weights(sizes: Sizes, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    policy, conspec = initial_weights(sizes, torch.Generator().manual_seed(1))
    policy = policy + 0.1 * np.random.default_rng(2).normal(size=len(policy))
    return policy.astype(dtype), conspec.astype(dtype)


def random_batch(generator: Generator, dtype: Any, n_times: int = 40, lanes: int = 3) -> Batch:
    shape, width = (n_times, lanes), SIZES.lstm_hidden_size
    return Batch(
        generator.integers(0, 30, shape).astype(np.int32),
        generator.integers(0, 4, shape).astype(np.uint8),
        generator.normal(-1.4, 0.3, shape).astype(dtype),
        generator.normal(size=shape).astype(dtype),
        generator.normal(size=shape).astype(dtype),
        np.array([0.3, 0.1, 0.5], dtype),
        generator.integers(0, 9, (30, 25)).astype(np.uint8),
        generator.normal(size=(3, lanes, width)).astype(dtype),
        generator.normal(size=(3, lanes, width)).astype(dtype),
    )


def compiled_gradient(theta: np.ndarray, batch: Batch, chunks: Chunks) -> tuple[np.ndarray, np.ndarray, int]:
    grad, sums = np.full_like(theta, np.nan), np.zeros(N_SUMS)
    scratch = np.full(scratch_size(SIZES, int(chunks.lengths.sum()), 30, 3), np.nan, theta.dtype)
    coefs = np.array([0.2, 0.5, 0.03], theta.dtype)
    n_steps = minibatch(theta, grad, SIZES.policy, batch, scratch, *chunks, 16, coefs, sums)
    return grad, sums, n_steps


@pytest.mark.parametrize(("dtype", "loss_error", "gradient_error"), PRECISIONS)
def test_packed_update_equals_autograd(dtype: Any, loss_error: float, gradient_error: float) -> None:
    theta, _ = weights(SIZES, dtype)
    batch = random_batch(np.random.default_rng(3), dtype)
    chunks = Chunks(np.array([0, 2, 1, 0, 1]), np.array([0, 1, 0, 1, 1]), np.array([16, 13, 9, 5, 1]))
    grad, sums, n_steps = compiled_gradient(theta, batch, chunks)
    plain = torch.tensor(theta, requires_grad=True)
    losses = policy_losses(plain, SIZES, batch, chunks, 16, (0.2, 0.5, 0.03))
    losses.total.backward()
    assert plain.grad is not None
    assert n_steps == chunks.lengths.sum()
    for found, expected in zip(sums / n_steps, (losses.policy, losses.value, losses.entropy), strict=False):
        assert found == pytest.approx(expected.item(), abs=loss_error)
    largest = plain.grad.abs().max().item()
    np.testing.assert_allclose(grad, plain.grad, atol=gradient_error * largest, rtol=0)


def test_back_propagation_stops_at_chunk_borders() -> None:
    theta, _ = weights(SIZES, np.float64)
    batch = random_batch(np.random.default_rng(4), np.float64)
    one = Chunks(np.array([0]), np.array([1]), np.array([16]))
    before = compiled_gradient(theta, batch, one)[0]
    batch.slots[:16] = 0
    assert (compiled_gradient(theta, batch, one)[0] == before).all()
    batch.h0[1, 0] += 0.1
    assert (compiled_gradient(theta, batch, one)[0] != before).any()


@pytest.mark.parametrize("with_diversity", [True, False])
@pytest.mark.parametrize(("dtype", "loss_error", "gradient_error"), PRECISIONS)
def test_contrastive_step_equals_autograd(
    dtype: Any, loss_error: float, gradient_error: float, with_diversity: bool
) -> None:
    _, theta = weights(SIZES, dtype)
    generator = np.random.default_rng(5)
    lengths = [5, 9, 7, 6, 8, 4, 3, 9, 6]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes, seen = generator.integers(0, 9, (20, 25)).astype(np.uint8), generator.integers(0, 20, offsets[-1])
    batches, batch_of = np.array([[0, 3, 2], [5, 2, 2]]), np.array([0, 1, 0])
    grad, out = np.full_like(theta, np.nan), np.zeros((3, 3))
    scratch, coefs = np.full(200_000, np.nan, dtype), np.array([100.0, 0.2], dtype)
    arguments = (SIZES.conspec, codes, seen, offsets, batches, batch_of, with_diversity, coefs, scratch, out)
    loss, orth = contrast(theta, grad, *arguments)
    plain = torch.tensor(theta, requires_grad=True)
    episodes = [codes[seen[low:high]] for low, high in pairwise(offsets)]
    live = contrastive_losses(plain, SIZES, episodes[:5], 3)
    frozen = contrastive_losses(plain, SIZES, episodes[5:], 2)
    total = live.cos[0] + frozen.cos[1] + live.cos[2]
    if with_diversity:
        total = total + 0.2 * 16 / 3 * live.diversity
        assert orth == pytest.approx(live.diversity.item(), abs=10 * loss_error)
    total.backward()
    assert plain.grad is not None
    assert loss == pytest.approx(total.item(), abs=10 * loss_error)
    np.testing.assert_allclose(out[1, 1:], [frozen.success_score[1].item(), frozen.failure_score[1].item()], atol=1e-6)
    largest = plain.grad.abs().max().item()
    np.testing.assert_allclose(grad, plain.grad, atol=gradient_error * largest, rtol=0)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_compiled_intrinsic_reward_equals_the_public_one(mode: int) -> None:
    generator = np.random.default_rng(6)
    scores, slots = generator.random((40, 3)), generator.integers(0, 40, (30, 4)).astype(np.int32)
    lengths, active = np.array([30, 12, 1, 25]), np.array([True, False, True])
    events = (generator.random((30, 4)) < 0.1).astype(np.uint8) * generator.integers(1, 6, (30, 4)).astype(np.uint8)
    out, peaks = np.zeros((30, 4)), np.zeros((4, 3, 6), np.int64)
    intrinsic(scores, slots, lengths, active, np.array([mode, 0.4, 0.6, 3, 0.9]), events, out, peaks)
    valid = torch.arange(30)[:, None] < torch.tensor(lengths)
    name = ("once", "peaks", "potential")[mode]
    shown = torch.tensor(scores[slots])
    public = intrinsic_reward(shown, torch.tensor(active), scale=0.4, mode=name, gamma=0.9, valid=valid)
    np.testing.assert_allclose(out, public, atol=1e-12)
    if mode == 0:
        assert (peaks.sum(2) >= 1)[:, active].sum() == (peaks.sum(2) > 0).sum()
    if mode == 2:
        assert not peaks.any()


def test_peaks_are_counted_for_events_within_one_step() -> None:
    slots, lengths = np.arange(12, dtype=np.int32)[:, None], np.array([12])
    for distance, near in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        scores, events = np.zeros((12, 1)), np.zeros((12, 1), np.uint8)
        scores[5], events[5 + distance] = 0.9, 3
        out, peaks = np.zeros((12, 1)), np.zeros((1, 1, 6), np.int64)
        intrinsic(scores, slots, lengths, np.array([True]), np.array([0, 1.0, 0.6, 3, 0.9]), events, out, peaks)
        assert peaks[0, 0].tolist() == ([0, 0, 1, 0, 0, 0] if near else [0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_and_adam(dtype: Any) -> None:
    generator = np.random.default_rng(7)
    for m, k, n in ((1, 1, 1), (7, 70, 33), (4, 129, 600), (23, 5, 16)):
        a, b = generator.normal(size=(m, k)).astype(dtype), generator.normal(size=(k, n)).astype(dtype)
        c, d = np.ones((m, n), dtype), np.ones((m, n), dtype)
        add_product(a, b, c)
        add_transposed_product(np.ascontiguousarray(a.T), b, d)
        for found in (c, d):
            np.testing.assert_allclose(found, 1 + a @ b, atol=2e-4 if dtype == np.float32 else 1e-11)
    theta = generator.normal(size=100).astype(dtype)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    optimiser = torch.optim.Adam([parameter], lr=1e-2, eps=1e-5)
    m, v = np.zeros(100, dtype), np.zeros(100, dtype)
    for step in range(1, 6):
        grad = generator.normal(size=100).astype(dtype)
        parameter.grad = torch.tensor(grad)
        norm = torch.nn.utils.clip_grad_norm_([parameter], 0.5)
        optimiser.step()
        assert adam(theta, grad, m, v, step, 1e-2, 1e-5, 0.5) == pytest.approx(norm.item(), rel=1e-5)
        np.testing.assert_allclose(theta, parameter.detach(), atol=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("family", ["grid", "delayed"])
def test_update_starts_at_ratio_one(family: str) -> None:
    env = make_env("double", family=family, num_envs=6, max_steps=70)
    sizes = Sizes(env.n_cells, env.n_codes, 16, 12, env.n_actions, 3)
    theta = initial_weights(sizes, torch.Generator().manual_seed(3))[0]
    theta += np.random.default_rng(0).normal(size=len(theta)).astype(np.float32) * 0.2
    eps = np.linspace(0.0, 0.9, 6)
    played = Sampler(env, sizes, 32).play(theta, eps, Generator(PCG64(1)), Generator(PCG64(2)))
    record = played.record
    chunks = cut(record.lengths, 32)
    assert chunks.lengths.sum() == record.lengths.sum()
    ones = np.ones_like(record.log_mix)
    batch = Batch(
        record.slots, record.actions, record.log_mix, ones, ones, eps.astype(np.float32), played.codes,
        record.h0, record.c0,
    )  # fmt: skip
    log_mix = policy_losses(torch.tensor(theta), sizes, batch, chunks, 32, (0.2, 0.5, 0.03)).log_mix
    recorded = [
        record.log_mix[piece * 32 + t, lane] for lane, piece, length in zip(*chunks, strict=True) for t in range(length)
    ]
    np.testing.assert_allclose(log_mix, recorded, atol=1e-4)


def test_rollout_is_that_of_the_environment() -> None:
    env = make_env("triple", num_envs=4, max_steps=90)
    sizes = Sizes(49, 17, 8, 8, 7, 3)
    theta = initial_weights(sizes, torch.Generator().manual_seed(3))[0]
    played = Sampler(env, sizes, 32).play(theta, np.full(4, 0.5), Generator(PCG64(1)), Generator(PCG64(2)))
    codes = env.reset()
    for t in range(90):
        assert (played.codes[played.record.slots[t]] == codes).all()
        codes, reward, _, _ = env.step(played.record.actions[t])
        assert (reward == played.record.rewards[t]).all()
        kind = np.where(env.event == 0, 0, played.record.events[t])
        assert (kind == played.record.events[t]).all() and ((kind > 0) == (env.event > 0)).all()
    assert (played.returns == played.record.rewards.sum(0)).all()


def test_mixture_explores_as_much_as_epsilon_says() -> None:
    env = make_env("single", num_envs=50, max_steps=400)
    sizes = Sizes(49, 17, 8, 8, 7, 3)
    theta = np.zeros(sizes.n_policy, np.float32)
    theta[-8:-1] = [2.0, 0.0, -1.0, 0.0, 0.5, 0.0, 1.0]  # fixed logits: only the head's bias is not zero
    pi = np.exp(theta[-8:-1]) / np.exp(theta[-8:-1]).sum()
    played = Sampler(env, sizes, 32).play(theta, np.full(50, 0.3), Generator(PCG64(1)), Generator(PCG64(2)))
    counts = np.bincount(played.record.actions.ravel(), minlength=7)
    mu = 0.7 * pi + 0.3 / 7
    n = counts.sum()
    assert (np.abs(counts / n - mu) < 4 * np.sqrt(mu * (1 - mu) / n)).all()


def test_memory_keeps_frames_not_episodes() -> None:
    for capacity, kept in ((1000, 2), (5000, 12), (10000, 25)):
        memory = Memory(49, capacity)
        for _ in range(40):
            memory.insert(np.zeros(400, np.int64), success=False)
        assert len(memory.failures) == kept and memory.failures[-1] == 39
    memory = Memory(49, 100)
    memory.insert(np.zeros(400, np.int64), success=True)
    assert memory.successes == [0]


def test_memory_forgets_only_what_no_list_holds() -> None:
    memory = Memory(3, 20)
    generator = np.random.default_rng(0)
    seen = {}
    for number in range(30):
        codes = generator.integers(0, 3, (8, 3)).astype(np.uint8)
        memory.insert(memory.observations.numbers(codes), success=number % 2 == 0)
        seen[number] = codes
        if number == 11:
            memory.freeze(2)
        memory.forget()
        for held in (*memory.successes, *memory.failures):
            assert (memory.observations.rows[memory.episodes[held]] == seen[held]).all()
    assert memory.frozen[2] == ([8, 10], [9, 11])
    assert set(memory.episodes) == {8, 9, 10, 11, 26, 27, 28, 29}
    other = Memory(3, 20)
    other.restore(memory.state())
    assert other.frozen == memory.frozen and other.successes == memory.successes
    for number, frames in memory.episodes.items():
        assert (other.observations.rows[other.episodes[number]] == seen[number]).all()
        assert (other.episodes[number] == frames).all()


def test_observations_are_told_apart_by_their_codes_at_any_number() -> None:
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 2, (6000, 11)).astype(np.uint8)
    table = Observations(11, capacity=3)
    numbers = np.concatenate([table.numbers(part) for part in np.array_split(codes, 9)])
    expected = np.unique(codes, axis=0)
    assert int(table.count[0]) == len(expected)
    assert (table.rows[numbers] == codes).all()


def test_prototypes_activate_after_26_hits_in_a_row_and_freeze_their_lists() -> None:
    learner = ConSpec(
        SIZES, settings_of({"num_prototypes": 3, "hidden_dim": 24}, None, "delayed"), aligned(SIZES.n_conspec)
    )
    learner.memory.insert(learner.memory.observations.numbers(np.zeros((2, 25), np.uint8)), success=True)
    hit, miss = [0.3, 0.95, 0.2], [0.3, 0.7, 0.2]
    for step in range(40):
        learner._activate(np.array([hit, hit if step != 20 else miss, miss]), 100 + step)
        assert learner.active.tolist() == [step >= 25, False, False]
    assert learner.activated_episode.tolist() == [125, -1, -1]
    for step in range(7):
        learner._activate(np.array([miss, hit, miss]), 200 + step)
    assert learner.active.tolist() == [True, True, False]
    frozen = {number: [list(part) for part in pair] for number, pair in learner.memory.frozen.items()}
    learner.memory.insert(learner.memory.observations.numbers(np.ones((2, 25), np.uint8)), success=True)
    assert {number: [list(part) for part in pair] for number, pair in learner.memory.frozen.items()} == frozen


def test_no_contrastive_step_before_two_of_each() -> None:
    _, theta = weights(SIZES, np.float32)
    learner = ConSpec(SIZES, settings_of({"num_prototypes": 3, "hidden_dim": 24}, None, "delayed"), theta.copy())
    generator = np.random.default_rng(0)
    for number, success in enumerate((True, False, False, True)):
        report = learner.learn(generator, number)
        assert np.isnan(report["conspec_loss"]) and (learner.theta == theta).all()
        frames = learner.memory.observations.numbers(generator.integers(0, 9, (12, 25)).astype(np.uint8))
        learner.memory.insert(frames, success)
    report = learner.learn(generator, 4)
    assert np.isfinite(report["conspec_loss"]) and learner.steps == 4 and (learner.theta != theta).any()


def test_batches_draw_without_replacement_and_never_what_was_evicted() -> None:
    settings = settings_of({"num_prototypes": 3, "hidden_dim": 24, "batch_size": 8, "memory_size": 60}, None, "delayed")
    learner = ConSpec(SIZES, settings, aligned(SIZES.n_conspec))
    for number in range(40):
        learner.memory.insert(np.zeros(10, np.int64), success=number % 2 == 0)
    lists = (learner.memory.successes, learner.memory.failures)
    assert min(map(min, lists)) == 28
    for seed in range(20):
        drawn, n_success, n_failure = learner.draw(lists, np.random.default_rng(seed))
        assert (n_success, n_failure) == (4, 4) and len(set(drawn)) == 8 and min(drawn) >= 28
        assert all(number % 2 == 0 for number in drawn[:4]) and all(number % 2 for number in drawn[4:])


@pytest.mark.parametrize(("batch_size", "half"), [(32, 16), (64, 32), (128, 64), (256, 128)])
def test_half_a_contrastive_batch_is_of_each_kind_as_far_as_there_are_so_many(batch_size: int, half: int) -> None:
    settings = settings_of({"num_prototypes": 3, "hidden_dim": 24, "batch_size": batch_size}, None, "delayed")
    learner = ConSpec(SIZES, settings, aligned(SIZES.n_conspec))
    drawn, n_success, n_failure = learner.draw((range(200), range(1000, 1020)), np.random.default_rng(0))
    assert (n_success, n_failure) == (half, min(half, 20)) and len(set(drawn)) == n_success + n_failure


def test_minibatches_are_nearly_equal_parts_of_a_permutation() -> None:
    for batch_size, parts in ((32, 8), (64, 4), (128, 2), (256, 1)):
        split = minibatches(250, batch_size, np.random.default_rng(0))
        assert len(split) == parts
        assert sorted(np.concatenate(split)) == list(range(250))
        assert max(map(len, split)) - min(map(len, split)) <= 1


def test_scores_of_compiled_and_public_arithmetic_agree() -> None:
    _, theta = weights(SIZES, np.float64)
    codes = np.random.default_rng(8).integers(0, 9, (12, 25)).astype(np.uint8)
    out = np.zeros((12, 3))
    score(theta, SIZES.conspec, codes, np.array([True, False, True]), np.full(5000, np.nan), out)
    best = contrastive_losses(torch.tensor(theta), SIZES, [codes[:1], codes[1:2]], 1)
    np.testing.assert_allclose(np.abs(out[0, [0, 2]]), best.success_score[[0, 2]], atol=1e-12)
    assert (out[:, 1] == 0).all()
