"""The worlds replay recorded episodes exactly, in the compiled lanes and in the plain twin."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from quintet.jobs.conspec import image, make_env
from quintet.jobs.conspec.reference import SingleEnv

from .golden_files import DELAYED_WORLDS, golden, layout_of

COLUMNS = ("x", "y", "dir", "carrying", "event")


def digest(codes: Any) -> str:
    return hashlib.sha1(image(codes).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("world", ["single", "double", "triple"])
@pytest.mark.parametrize("ruleset", ["reference", "standard"])
def test_grid_worlds_replay_recorded_episodes(ruleset: str, world: str) -> None:
    episodes = golden(f"env_traces_{ruleset}")["envs"][world]
    env = make_env(world, ruleset=ruleset, num_envs=len(episodes))
    twins = [SingleEnv(world, ruleset=ruleset) for _ in episodes]
    codes, seen = env.reset(), [twin.reset() for twin in twins]
    for n, episode in enumerate(episodes):
        assert digest(codes[n]) == digest(seen[n]) == episode["obs0_sha1_12"]
        assert image(codes[n]).tolist() == episode["obs_full"]["reset"]
    for t in range(400):
        actions = [episode["actions"][t] if t < episode["steps"] else 2 for episode in episodes]
        codes, reward, terminated, truncated = env.step(np.array(actions))
        for n, episode in enumerate(episodes):
            step = twins[n].step(actions[n])
            assert (step[0] == codes[n]).all()
            assert step[1:] == (reward[n], terminated[n], truncated[n])
            if t >= episode["steps"]:
                assert reward[n] == 0.0
                continue
            for column in COLUMNS:
                assert getattr(env, column)[n] == getattr(twins[n], column) == episode[column][t], (column, n, t)
            assert reward[n] == pytest.approx(episode["reward"][t], abs=1e-12)
            assert (terminated[n], truncated[n]) == (episode["terminated"][t], episode["truncated"][t])
            assert digest(codes[n]) == episode["obs_sha1_12"][t]
            if str(t + 1) in episode["obs_full"]:
                assert image(codes[n]).tolist() == episode["obs_full"][str(t + 1)]


@pytest.mark.parametrize("task", DELAYED_WORLDS)
def test_delayed_worlds_replay_recorded_games(task: str) -> None:
    game = golden("delayed_traces")["tasks"][task]
    episodes, world = game["episodes"], DELAYED_WORLDS[task]
    layouts = [layout_of(episode) for episode in episodes]
    env = make_env(world, family="delayed", num_envs=len(episodes))
    twins = [SingleEnv(world, family="delayed") for _ in episodes]
    codes, seen = env.reset(layout=layouts), [twin.reset(layout) for twin, layout in zip(twins, layouts, strict=True)]
    for n, episode in enumerate(episodes):
        assert "".join(map(str, codes[n])) == "".join(map(str, seen[n])) == episode["obs"][0]
    for t in range(game["episode_length"]):
        codes, reward, terminated, truncated = env.step([episode["actions"][t] for episode in episodes])
        for n, episode in enumerate(episodes):
            step = twins[n].step(episode["actions"][t])
            assert "".join(map(str, codes[n])) == "".join(map(str, step[0])) == episode["obs"][t + 1]
            assert reward[n] == step[1] == episode["reward"][t]
            assert env.phase[n] == twins[n].phase == episode["phase"][t]
            assert not terminated[n] and truncated[n] == step[3] == (t + 1 == game["episode_length"])
    assert env.success.tolist() == [episode["return"] == 1.0 for episode in episodes]


def test_one_key_game_pays_once_for_key_and_door() -> None:
    env = make_env("single", family="delayed")
    env.reset(layout=[{"keys": {}, "apples": {1: [0, 1, 2, 3, 4, 5]}}])
    explore = [2, 0, 0, 3] + [0] * 6  # from (3, 2) by (3, 1), (2, 1), (1, 1) to the key at (1, 2)
    through_the_door = [1, 2] + [3, 2] * 4  # from (1, 2) by (2, 2) to the door at (2, 1), out and in again
    actions = explore + [1] * 45 + through_the_door
    paid = []
    for action in actions:
        _, reward, terminated, truncated = env.step([action])
        paid.append(float(reward[0]))
        assert not terminated[0]
    assert len(actions) == 65 and truncated[0]
    assert sum(paid) == 1.0 and paid[56] == 1.0
    assert env.success[0]
