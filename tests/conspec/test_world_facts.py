"""Exact facts of the worlds: enumeration, dynamic programming, rules at their edges, lanes against twins."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from quintet.jobs.conspec import grid_kernel as gk
from quintet.jobs.conspec import image, make_env
from quintet.jobs.conspec.environment import GridVectorEnv
from quintet.jobs.conspec.image import ENCODING
from quintet.jobs.conspec.reference import SingleEnv
from quintet.jobs.conspec.worlds import episode_length, maximal_return

from .golden_files import golden

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
FACTS = golden("env_facts")
STATE = [gk.X, gk.Y, gk.DIR, gk.CARRYING, gk.DOOR, gk.DOOR + 1, gk.KEY, gk.KEY + 1, gk.KEY + 2, gk.MILESTONES]


def after(env: GridVectorEnv, ruleset: str, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Successors [7, S, columns], rewards [7, S] and ends [7, S] of lanes in given states."""
    rewards, ends, found = [], [], []
    big = make_env(env.world, ruleset=ruleset, num_envs=len(lanes), max_steps=2)
    assert isinstance(big, GridVectorEnv)
    for action in range(7):
        big.reset()
        big.lanes[:] = lanes
        _, reward, terminated, _ = big.step(np.full(len(lanes), action))
        found.append(big.lanes.copy())
        rewards.append(reward)
        ends.append(terminated)
    return np.stack(found), np.stack(rewards), np.stack(ends)


def keys_of(lanes: np.ndarray) -> np.ndarray:
    """One number per state."""
    key = np.zeros(lanes.shape[:-1], np.int64)
    for column in STATE:
        key = key * (401 if column >= gk.KEY and column < gk.KEY + 3 else 256 if column == gk.MILESTONES else 21) + (
            lanes[..., column] + 1
        )
    return key


def reachable(world: str, ruleset: str = "standard") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All states that are not ended, and per action the index of the next one, the reward, and whether it ended."""
    env = make_env(world, ruleset=ruleset)
    assert isinstance(env, GridVectorEnv)
    env.reset()
    found, level = [env.lanes.copy()], env.lanes.copy()
    known = keys_of(level)
    parts: list[Any] = []
    while len(level):
        successors, rewards, ends = after(env, ruleset, level)
        successors[..., gk.STEPS] = 0
        parts.append((keys_of(successors), rewards, ends))
        fresh = successors[~ends]
        keys, first = np.unique(keys_of(fresh), return_index=True)
        new = ~np.isin(keys, known)
        level = fresh[first[new]].copy()
        level[:, gk.EVENT] = 0
        known = np.concatenate([known, keys[new]])
        found.append(level)
    order = np.argsort(known)
    nexts = np.concatenate([part[0] for part in parts], axis=1)
    place = order[np.minimum(np.searchsorted(known[order], nexts), len(known) - 1)]
    rewards, ends = (np.concatenate([part[k] for part in parts], axis=1) for k in (1, 2))
    return np.concatenate(found), place, rewards, ends


@pytest.mark.parametrize("ruleset", ["standard", "reference"])
def test_uniform_policy_of_single_has_its_exact_values(ruleset: str) -> None:
    states, nexts, rewards, ends = reachable("single", ruleset)
    exact = FACTS["uniform_random_policy_exact"][f"single/{ruleset}"]
    assert len(states) == exact["states"] == 28644
    share = np.zeros(len(states))
    share[0] = 1.0
    total = success = length = 0.0
    for t in range(400):
        length += share.sum()
        total += float((share * rewards).sum()) / 7
        moved = np.zeros(len(states))
        for action in range(7):
            np.add.at(moved, nexts[action][~ends[action]], share[~ends[action]] / 7)
        success += share.sum() - moved.sum()
        share = moved
        if t + 1 in (100, 200):
            assert success == pytest.approx(exact[f"p_success_{t + 1}"], abs=1e-9)
    assert success == pytest.approx(exact["p_success_400"], abs=1e-9)
    assert total == pytest.approx(exact["expected_return"], abs=1e-9)
    assert length == pytest.approx(exact["expected_length"], abs=1e-9)


@pytest.mark.slow
def test_double_has_its_exact_number_of_states() -> None:
    assert len(reachable("double")[0]) == 5533160


@pytest.mark.parametrize("episodes", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FACTS["uniform_random_policy_monte_carlo"])
def test_uniform_policy_does_as_often_as_measured(name: str, episodes: int) -> None:
    world, ruleset = name.split("/")
    measured = FACTS["uniform_random_policy_monte_carlo"][name]
    env = make_env(world, ruleset=ruleset, num_envs=1000)
    assert isinstance(env, GridVectorEnv)
    generator = np.random.default_rng(episodes)
    paid, lengths, milestones = [], [], []
    for _ in range(episodes // 1000):
        env.reset()
        paid.append(sum(env.step(generator.integers(0, 7, 1000))[1] for _ in range(400)))
        lengths.append(env.lanes[:, gk.STEPS].copy())
        milestones.append(env.lanes[:, gk.MILESTONES].copy())
    total, length, bits = (np.concatenate(parts) for parts in (paid, lengths, milestones))
    both = 1 / episodes + 1 / measured["episodes"]
    assert abs(total.mean() - measured["mean_return"]) < 4 * measured["std_return"] * np.sqrt(both)
    assert abs(length.mean() - measured["mean_length"]) < 4 * max(length.std(), 0.05) * np.sqrt(both)
    shares = {gk.GOAL_BIT: measured["p_success"], gk.GREEN_BIT: measured["p_green_goal"]}
    for place, colour in enumerate(("green", "blue", "purple")):
        shares |= {place: measured["p_key"][colour], place + 3: measured["p_door"][colour]}
    for bit, p in shares.items():
        assert abs((bits >> bit & 1).mean() - p) <= 4 * np.sqrt(max(p, 1 / measured["episodes"]) * (1 - p) * both), bit


@pytest.mark.parametrize("name", FACTS["shortest"])
def test_shortest_solutions_pay_what_they_should(name: str) -> None:
    world, ruleset = name.split("/")
    for solution in FACTS["shortest"][name]["solutions"]:
        env = make_env(world, ruleset=ruleset)
        env.reset()
        total = 0.0
        for t, action in enumerate(solution["actions"]):
            _, reward, terminated, _ = env.step([action])
            total += reward[0]
            assert terminated[0] == (t + 1 == solution["steps"])
        assert total == pytest.approx(solution["ret"], abs=1e-12)
    if ruleset == "standard":
        assert total == pytest.approx(maximal_return(world)) == FACTS["max_return_standard"][world]


@pytest.mark.parametrize("world", ["single", "double", "triple"])
def test_maps_are_those_of_the_facts(world: str) -> None:
    env = make_env(world)
    assert isinstance(env, GridVectorEnv)
    env.reset()
    marks = {"#": (gk.WALL,), "*": (gk.GREEN_GOAL, gk.FINAL_GOAL), "$": (gk.FINAL_GOAL,)}
    for y, row in enumerate(FACTS["maps"][world]):
        for x, mark in enumerate(row):
            cell, kind = 10 * y + x, env.tables.kinds[10 * y + x]
            key = {"g": 1, "b": 2, "p": 3}.get(mark)
            assert (key is not None) == (cell in env.lanes[0, gk.KEY : gk.KEY + 3])
            if mark in marks:
                assert kind in marks[mark]
            elif mark in "GBP":
                colours = env.tables.facts[gk.DOOR_COLOUR : gk.DOOR_COLOUR + 2]
                assert colours[kind - gk.FIRST_DOOR] == "GBP".index(mark) + 1
            else:
                assert kind == gk.FLOOR


@pytest.mark.parametrize("rounds", [2, pytest.param(8, marks=pytest.mark.slow)])  # of 2,500 steps
@pytest.mark.parametrize("mode", ["shaped", "sparse", "delayed"])
@pytest.mark.parametrize("ruleset", ["standard", "reference"])
@pytest.mark.parametrize("world", ["single", "double", "triple"])
def test_lanes_equal_their_plain_twins(world: str, ruleset: str, mode: str, rounds: int) -> None:
    keywords: dict[str, Any] = {"ruleset": ruleset, "reward_mode": mode, "max_steps": 120}
    env, twins = make_env(world, num_envs=20, **keywords), [SingleEnv(world, **keywords) for _ in range(20)]
    generator = np.random.default_rng(5)
    for _ in range(rounds):
        codes = env.reset()
        for n, twin in enumerate(twins):
            assert (twin.reset() == codes[n]).all()
        for _ in range(125):
            biased = generator.random(20) < 0.5
            actions = np.where(biased, generator.choice([FORWARD, PICKUP, TOGGLE], 20), generator.integers(0, 7, 20))
            codes, reward, terminated, truncated = env.step(actions)
            for n, twin in enumerate(twins):
                step = twin.step(int(actions[n]))
                assert (step[0] == codes[n]).all()
                assert step[1:] == (reward[n], terminated[n], truncated[n])
                assert (twin.event, twin.success) == (env.event[n], env.success[n])


@pytest.mark.parametrize("world", ["single", "double", "triple", "quad"])
def test_delayed_lanes_equal_their_plain_twins(world: str) -> None:
    env = make_env(world, family="delayed", num_envs=5, seed=3)
    generator = np.random.default_rng(7)
    for _ in range(3):
        codes = env.reset()
        layouts = [
            {
                "keys": {2 * p: divmod(int(cell), 5) for p, cell in enumerate(cells[: (len(env.phases)) // 2])},
                "apples": {2 * p + 1: cells[4 + 6 * p : 10 + 6 * p].tolist() for p in range(len(env.phases) // 2)},
            }
            for cells in env.placements
        ]
        twins = [SingleEnv(world, family="delayed") for _ in range(5)]
        for n, twin in enumerate(twins):
            assert (twin.reset(layouts[n]) == codes[n]).all()
        for _ in range(episode_length(world) + 2):
            actions = generator.integers(0, 4, 5)
            codes, reward, _, truncated = env.step(actions)
            for n, twin in enumerate(twins):
                step = twin.step(int(actions[n]))
                assert (step[0] == codes[n]).all() and step[1] == reward[n] and step[3] == truncated[n]
                assert (twin.phase, twin.success) == (env.phase[n], env.success[n])


def test_twin_of_one_lane_draws_the_same_placements() -> None:
    env, twin = make_env("triple", family="delayed", seed=11), SingleEnv("triple", family="delayed", seed=11)
    for _ in range(3):
        assert (env.reset()[0] == twin.reset()).all()
        for _ in range(60):
            assert (env.step([3])[0][0] == twin.step(3)[0]).all()


@pytest.mark.parametrize("size", [8, 12, 20])
@pytest.mark.parametrize("world", ["single", "double"])
def test_other_sizes_follow_the_same_formulas(world: str, size: int) -> None:
    env, twin = make_env(world, size=size, max_steps=2000), SingleEnv(world, size=size, max_steps=2000)
    assert (env.reset()[0] == twin.reset()).all()
    generator = np.random.default_rng(size)
    for _ in range(1500):
        action = int(generator.choice([0, 1, 2, 2, 2, 3, 4, 5]))
        assert (env.step([action])[0][0] == twin.step(action)[0]).all()
        assert (env.x[0], env.y[0]) == (twin.x, twin.y)


def test_images_show_every_code() -> None:
    assert image(np.zeros(49, np.uint8)).tolist() == np.zeros((7, 7, 3)).tolist()
    codes = np.arange(49) % 17
    assert (image(codes).reshape(49, 3) == ENCODING[codes]).all()
    assert len({tuple(entry) for entry in ENCODING.tolist()}) == 17
    assert image(np.ones((2, 3, 49), np.uint8)).shape == (2, 3, 7, 7, 3)
    with pytest.raises(ValueError, match="49"):
        image(np.zeros((49, 2), np.uint8))


def test_repeated_pickups_and_doors_pay_once_under_standard() -> None:
    for ruleset, again in (("standard", 0.0), ("reference", 0.5)):
        env = make_env("single", ruleset=ruleset)
        env.reset()
        for action in [LEFT, FORWARD, FORWARD, FORWARD, RIGHT]:
            env.step([action])
        assert env.step([PICKUP])[1][0] == 0.5
        env.step([DROP])
        assert env.step([PICKUP])[1][0] == again and env.event[0] == 1
        for action in [FORWARD] * 3:
            env.step([action])
        assert env.step([TOGGLE])[1][0] == 0.5
        assert env.step([TOGGLE])[1][0] == 0.0 and env.event[0] == 0
        assert env.step([TOGGLE])[1][0] == again and env.event[0] == 2


def test_goal_of_double_is_inert_before_both_doors() -> None:
    actions = FACTS["shortest"]["double/reference"]["solutions"][0]["actions"]
    env = make_env("double")
    env.reset()
    for action in actions:
        _, reward, terminated, _ = env.step([action])
    assert (env.x[0], env.y[0]) == (8, 8)
    assert reward[0] == 0.0 and not terminated[0] and env.event[0] == 0 and not env.success[0]


def test_reward_modes_pay_the_same_in_the_end() -> None:
    solution = FACTS["shortest"]["triple/standard"]["solutions"][-1]
    for mode in ("shaped", "sparse", "delayed"):
        env = make_env("triple", reward_mode=mode)
        env.reset()
        paid = [float(env.step([action])[1][0]) for action in solution["actions"]]
        assert sum(paid) == pytest.approx(1.0 if mode == "sparse" else 4.2, abs=1e-12)
        assert (sum(map(bool, paid)) == 1) == (mode != "shaped") and paid[-1] > 0
        assert env.success[0]


def test_ended_lanes_stay_as_they_are() -> None:
    env = make_env("single", num_envs=2, max_steps=30)
    env.reset()
    for action in FACTS["shortest"]["single/standard"]["solutions"][0]["actions"]:
        codes, _, terminated, truncated = env.step([action, DONE])
    assert terminated.tolist() == [True, False]
    for _ in range(20):
        again, reward, terminated, truncated = env.step([LEFT, LEFT])
        assert (again[0] == codes[0]).all() and reward[0] == 0.0 and env.event[0] == 4
    assert terminated.tolist() == [True, False] and truncated.tolist() == [False, True]


@pytest.mark.parametrize(("family", "steps"), [("grid", 30), ("delayed", 65)])
def test_ended_lanes_ignore_whatever_they_are_told(family: str, steps: int) -> None:
    env, twin = (
        make(family=family, max_steps=steps) for make in (partial(make_env, "single"), partial(SingleEnv, "single"))
    )
    env.reset()
    twin.reset()
    for _ in range(steps):
        with pytest.raises(ValueError, match="allowed 0 to"):
            env.step([-1])
        with pytest.raises(ValueError, match="allowed 0 to"):
            twin.step(99)
        codes, _, terminated, truncated = env.step([0])
        twin.step(0)
    assert truncated[0] and not terminated[0]
    for action in (-1, 99):
        again, reward, terminated, truncated = env.step([action])
        assert (again == codes).all() and reward[0] == 0.0 and truncated[0] and not terminated[0]
        assert (twin.step(action)[0] == env.step([action])[0][0]).all() and twin.step(action)[1:] == (0.0, False, True)


def test_rewards_can_be_configured() -> None:
    env = make_env("single", rewards={"key": np.float32(2.0), "goal": np.int64(7)})
    env.reset()
    actions = FACTS["shortest"]["single/standard"]["solutions"][0]["actions"]
    assert sum(float(env.step([action])[1][0]) for action in actions) == 9.5


def test_placements_are_uniform() -> None:
    from scipy.stats import chisquare

    env = make_env("quad", family="delayed", num_envs=4000, seed=1)
    env.reset()
    for column in (1, 2):
        counts = np.unique(env.placements[:, column], return_counts=True)[1]
        assert len(counts) == 3 and chisquare(counts).pvalue > 1e-4
    counts = np.bincount(env.placements[:, 4:].ravel(), minlength=25)
    assert counts[18] == 0 and chisquare(np.delete(counts, 18)).pvalue > 1e-4


@pytest.mark.parametrize(("world", "keys"), [("single", 1), ("double", 2), ("triple", 3), ("quad", 4)])
def test_random_policy_succeeds_as_often_as_measured(world: str, keys: int) -> None:
    n = 20_000
    env = make_env(world, family="delayed", num_envs=n, seed=keys)
    env.reset()
    generator = np.random.default_rng(keys)
    for _ in range(episode_length(world)):
        env.step(generator.integers(0, 4, n))
    p = FACTS["delayed"]["random_success_monte_carlo_200k"][str(keys)]
    assert abs(env.success.mean() - p) < 4 * np.sqrt(p * (1 - p) * (1 / n + 1 / 200_000))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"world": "quad"}, "exists only in family delayed"),
        ({"world": "quadruple"}, "single, double, triple"),
        ({"world": "single", "size": 9}, "size 9"),
        ({"world": "single", "size": 22}, "size 22"),
        ({"world": "triple", "size": 12}, "triple needs size 10"),
        ({"world": "single", "ruleset": "easy"}, "standard, reference"),
        ({"world": "single", "reward_mode": "dense"}, "shaped, sparse, delayed"),
        ({"world": "single", "family": "maze"}, "grid, delayed"),
        ({"world": "single", "family": "delayed", "reward_mode": "sparse"}, "no meaning in family delayed"),
        ({"world": "single", "rewards": {"coin": 1.0}}, "rewards.coin"),
        ({"world": "single", "rewards": {"key": -1.0}}, "rewards.key"),
        ({"world": "single", "size": "ten"}, "size 'ten'"),
        ({"world": "single", "num_envs": 0}, "num_envs: 0; allowed whole numbers from 1"),
        ({"world": "single", "num_envs": None}, "num_envs: None"),
        ({"world": "single", "max_steps": 0}, "max_steps: 0"),
        ({"world": "single", "max_steps": 2.5}, r"max_steps: 2\.5"),
    ],
)
def test_bad_worlds_are_refused_by_name(keywords: dict[str, Any], message: str) -> None:
    for make in (make_env, SingleEnv) if "num_envs" not in keywords else (make_env,):
        with pytest.raises(ValueError, match=message):
            make(**keywords)


def test_bad_steps_and_layouts_are_refused() -> None:
    env = make_env("single", num_envs=2)
    with pytest.raises(RuntimeError, match="reset"):
        env.step([0, 0])
    env.reset()
    for actions, message in (([7, 0], "action 7 of lane 0"), ([0], "shape"), ([0.5, 1.0], "whole numbers")):
        with pytest.raises(ValueError, match=message):
            env.step(actions)
    with pytest.raises(ValueError, match="nothing in family grid"):
        env.reset(layout=[{}, {}])
    game = make_env("double", family="delayed")
    apples = {1: [0, 1, 2, 3, 4, 5], 3: [0, 1, 2, 3, 4, 18]}
    with pytest.raises(ValueError, match=r"apples\.3"):
        game.reset(layout=[{"keys": {2: (0, 0)}, "apples": apples}])
    with pytest.raises(ValueError, match=r"keys\.2"):
        game.reset(layout=[{"keys": {}, "apples": apples}])
