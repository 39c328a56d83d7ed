"""One step of a configuration under a joint action, compiled; the rules are told in `plain_steps.py`.

The working arrays hold the configuration twice: as the vector of `packing`, and as `occupied`, which says for each cell
of the framed grid who stands there: i + 1 for agent i, -(slot + 1) for a mobile, 0 for nobody.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compilation import compiled

LAVA, UNSTEADY, KILL_BUTTON, PAUSE_SWITCH, DISABLE_KILL, DISABLE_PAUSE = 2, 3, 4, 5, 6, 7
LEFT, RIGHT, FORWARD, TOGGLE = 1, 2, 3, 6
CELL, DIRECTION, TERMINATED, PAUSED, FIELDS = 0, 1, 2, 3, 4


class Workspace(NamedTuple):
    """Scratch arrays of one thread."""

    base: NDArray[np.int32]
    current: NDArray[np.int32]
    occupied: NDArray[np.int32]
    start: NDArray[np.uint8]
    actions: NDArray[np.int32]
    active: NDArray[np.uint8]
    prone: NDArray[np.int32]
    resource: NDArray[np.int32]
    groups: NDArray[np.int32]
    group_size: NDArray[np.int32]
    draws: NDArray[np.int32]
    choices: NDArray[np.int32]
    order: NDArray[np.int32]
    moves: NDArray[np.uint8]
    contested: NDArray[np.int32]
    outcomes: NDArray[np.int32]
    probability: NDArray[np.float64]
    key: NDArray[np.uint64]
    base_key: NDArray[np.uint64]
    change: NDArray[np.uint64]
    is_joint: NDArray[np.uint8]
    conflicts: NDArray[np.int64]
    front: NDArray[np.int32]
    manner: NDArray[np.uint8]


def workspace(tables: Any) -> Workspace:
    """Return scratch arrays for one thread."""
    n, cells = tables.n_agents, len(tables.ground)
    ints = [np.zeros(n, np.int32) for _ in range(4)]
    return Workspace(
        base=np.zeros(tables.n_fields, np.int32),
        current=np.zeros(tables.n_fields, np.int32),
        occupied=np.zeros(cells, np.int32),
        start=np.zeros(cells, np.uint8),
        actions=ints[0],
        active=np.zeros(n, np.uint8),
        prone=ints[1],
        resource=ints[2],
        groups=np.zeros((n + 1, n), np.int32),
        group_size=ints[3],
        draws=np.zeros(2 * n + 1, np.int32),
        choices=np.zeros(2 * n + 1, np.int32),
        order=np.zeros(n, np.int32),
        moves=np.zeros(n, np.uint8),
        contested=np.zeros(n, np.int32),
        outcomes=np.zeros((tables.most_outcomes + 1, tables.n_fields), np.int32),
        probability=np.zeros(tables.most_outcomes + 1),
        key=np.zeros(tables.n_words, np.uint64),
        base_key=np.zeros(tables.n_words, np.uint64),
        change=np.zeros((n, tables.n_actions, tables.n_words), np.uint64),
        is_joint=np.zeros((n, tables.n_actions), np.uint8),
        conflicts=np.zeros(n, np.int64),
        front=np.zeros(n, np.int32),
        manner=np.zeros(n, np.uint8),
    )


@compiled
def place(tables: Any, work: Any) -> None:
    """Put `work.base` into `current`, `occupied` and `start`; both cell arrays must be empty."""
    for i in range(tables.n_agents):
        cell = work.base[FIELDS * i]
        work.occupied[cell] = i + 1
        work.start[cell] = work.base[FIELDS * i + TERMINATED] == 0
    for slot in range(tables.n_mobiles):
        work.occupied[work.base[FIELDS * tables.n_agents + slot]] = -(slot + 1)
    for field in range(tables.n_fields):
        work.current[field] = work.base[field]


@compiled
def remove(tables: Any, work: Any) -> None:
    """Empty the cell arrays after `place`."""
    for i in range(tables.n_agents):
        work.occupied[work.base[FIELDS * i]] = 0
        work.start[work.base[FIELDS * i]] = 0
    for slot in range(tables.n_mobiles):
        work.occupied[work.base[FIELDS * tables.n_agents + slot]] = 0


@compiled
def rewind(tables: Any, work: Any) -> None:
    """Bring `current` and `occupied` back to `base`."""
    for i in range(tables.n_agents):
        work.occupied[work.current[FIELDS * i]] = 0
    for slot in range(tables.n_mobiles):
        work.occupied[work.current[FIELDS * tables.n_agents + slot]] = 0
    for i in range(tables.n_agents):
        work.occupied[work.base[FIELDS * i]] = i + 1
    for slot in range(tables.n_mobiles):
        work.occupied[work.base[FIELDS * tables.n_agents + slot]] = -(slot + 1)
    for field in range(tables.n_fields):
        work.current[field] = work.base[field]


@compiled
def push_end(tables: Any, work: Any, i: int, cell: int, step: int) -> int:
    """Where the chain of mobiles that begins at `cell` would end if agent i pushed it; -1 if it cannot."""
    end = cell
    while work.occupied[end] < 0:
        if -work.occupied[end] - 1 >= tables.n_blocks and tables.pushes[i] == 0:
            return -1
        end += step
    if tables.enterable[end] == 0 or work.occupied[end] > 0 or work.start[end] != 0:
        return -1
    return end


@compiled
def forward(tables: Any, work: Any, i: int) -> None:
    """Agent i walks or pushes, if it can."""
    here = work.current[FIELDS * i]
    step = tables.steps[work.current[FIELDS * i + DIRECTION]]
    target = here + step
    if tables.enterable[target] == 0 or work.start[target] != 0 or work.occupied[target] > 0:
        return
    if work.occupied[target] < 0:
        cell = push_end(tables, work, i, target, step)
        if cell < 0:
            return
        while cell != target:
            pushed = work.occupied[cell - step]
            work.occupied[cell] = pushed
            work.current[FIELDS * tables.n_agents - pushed - 1] = cell
            cell -= step
    work.occupied[here] = 0
    work.occupied[target] = i + 1
    work.current[FIELDS * i] = target
    if tables.ground[target] == LAVA:
        work.current[FIELDS * i + TERMINATED] = 1


@compiled
def toggle(tables: Any, work: Any, i: int) -> None:
    """Agent i toggles what stands in front of it."""
    current = work.current
    cell = current[FIELDS * i] + tables.steps[current[FIELDS * i + DIRECTION]]
    kind = tables.ground[cell]
    enabled = tables.enabled_field[cell]
    if kind == KILL_BUTTON and tables.human[i] != 0 and current[enabled] != 0:
        for j in range(tables.n_agents):
            if tables.robot[j] != 0:
                current[FIELDS * j + TERMINATED] = 1
    elif kind == PAUSE_SWITCH and tables.human[i] != 0 and current[enabled] != 0:
        current[enabled - 1] ^= 1
        for j in range(tables.n_agents):
            if tables.robot[j] != 0:
                current[FIELDS * j + PAUSED] = current[enabled - 1]
    elif kind == DISABLE_KILL and tables.robot[i] != 0:
        for field in tables.kill_enabled:
            current[field] ^= 1
    elif kind == DISABLE_PAUSE and tables.robot[i] != 0:
        for field in tables.pause_enabled:
            current[field] ^= 1
            if current[field] == 0 and current[field - 1] != 0:
                for j in range(tables.n_agents):
                    if tables.robot[j] != 0:
                        current[FIELDS * j + PAUSED] = 0


@compiled
def is_out(work: Any, i: int) -> bool:
    """Whether agent i is terminated or paused at this moment."""
    return (work.current[FIELDS * i + TERMINATED] | work.current[FIELDS * i + PAUSED]) != 0


@compiled
def form_groups(tables: Any, work: Any) -> int:
    """Group active agents that are not prone by what they contest, in order of appearance; return how many groups."""
    n_groups = 0
    for i in range(tables.n_agents):
        if work.active[i] != 1:
            continue
        resource = np.int32(-1)
        if work.actions[i] == FORWARD:
            step = tables.steps[work.current[FIELDS * i + DIRECTION]]
            resource = np.int32(work.current[FIELDS * i] + step)
            if work.occupied[resource] < 0:
                resource = np.int32(push_end(tables, work, i, resource, step))
        group = n_groups
        if resource >= 0:
            for g in range(n_groups):
                if work.resource[g] == resource:
                    group = g
                    break
        if group == n_groups:
            work.resource[group] = resource
            work.group_size[group] = 0
            n_groups += 1
        work.groups[group, work.group_size[group]] = i
        work.group_size[group] += 1
    return n_groups


@compiled
def group_of(work: Any, n_groups: int, i: int) -> int:
    """The group in which agent i is."""
    for g in range(n_groups):
        for k in range(work.group_size[g]):
            if work.groups[g, k] == i:
                return g
    return -1


@compiled
def merge_for_switches(tables: Any, work: Any, n_groups: int) -> int:
    """Merge the group of each human at an enabled button with those of all active robots; return how many are left."""
    for i in range(tables.n_agents):
        if work.active[i] != 1 or tables.human[i] == 0 or work.actions[i] != TOGGLE:
            continue
        cell = work.current[FIELDS * i] + tables.steps[work.current[FIELDS * i + DIRECTION]]
        kind = tables.ground[cell]
        if (kind != KILL_BUTTON and kind != PAUSE_SWITCH) or work.current[tables.enabled_field[cell]] == 0:
            continue
        for j in range(tables.n_agents):
            if work.active[j] != 1 or tables.robot[j] == 0:
                continue
            first, second = group_of(work, n_groups, i), group_of(work, n_groups, j)
            if first == second:
                continue
            if first > second:
                first, second = second, first
            for k in range(work.group_size[second]):
                work.groups[first, work.group_size[first]] = work.groups[second, k]
                work.group_size[first] += 1
            for g in range(second, n_groups - 1):
                work.group_size[g] = work.group_size[g + 1]
                for k in range(work.group_size[g]):
                    work.groups[g, k] = work.groups[g + 1, k]
            n_groups -= 1
    return n_groups


@compiled
def stumble(tables: Any, work: Any, n_prone: int, first_draw: int) -> None:
    """Agents on unsteady ground turn as drawn and then walk at the same time."""
    for k in range(n_prone):
        i = work.prone[k]
        work.moves[k] = not is_out(work, i)
        if work.moves[k] == 0:
            continue
        drawn = work.draws[first_draw + k]
        direction = work.current[FIELDS * i + DIRECTION]
        if drawn == 1:
            direction = (direction + 3) & 3
        elif drawn == 2:
            direction = (direction + 1) & 3
        work.current[FIELDS * i + DIRECTION] = direction
        step = tables.steps[direction]
        cell = work.current[FIELDS * i] + step
        work.contested[k] = cell
        if work.occupied[cell] < 0:
            end = push_end(tables, work, i, cell, step)
            if end >= 0:
                work.contested[k] = end
    for k in range(n_prone):
        if work.moves[k] == 0:
            continue
        cell = work.contested[k]
        is_own = cell == work.current[FIELDS * work.prone[k]]
        if work.occupied[cell] > 0 or (work.start[cell] != 0 and not is_own):
            work.moves[k] = 2
        for other in range(n_prone):
            if other != k and work.moves[other] != 0 and work.contested[other] == cell:
                work.moves[k] = 2
    for k in range(n_prone):
        if work.moves[k] == 1:
            forward(tables, work, work.prone[k])


@compiled
def emit(tables: Any, work: Any, n_outcomes: int, probability: float) -> int:
    """Add the current configuration, canonical, to the outcomes; return how many different ones there are now."""
    out = work.outcomes[n_outcomes]
    for field in range(tables.n_fields):
        out[field] = work.current[field]
    first = FIELDS * tables.n_agents
    for slot in range(1, tables.n_mobiles):
        lowest = 0 if slot < tables.n_blocks else tables.n_blocks
        cell = out[first + slot]
        k = slot
        while k > lowest and out[first + k - 1] > cell:
            out[first + k] = out[first + k - 1]
            k -= 1
        out[first + k] = cell
    for other in range(n_outcomes):
        is_same = True
        for field in range(tables.n_fields):
            if work.outcomes[other, field] != out[field]:
                is_same = False
                break
        if is_same:
            work.probability[other] += probability
            return n_outcomes
    work.probability[n_outcomes] = probability
    return n_outcomes + 1


@compiled
def sort_outcomes(tables: Any, work: Any, n_outcomes: int) -> None:
    """Sort outcomes by decreasing probability, equal ones in the order in which they were generated."""
    for k in range(1, n_outcomes):
        at = k
        while at > 0 and work.probability[at - 1] < work.probability[at]:
            swapped = work.probability[at]
            work.probability[at] = work.probability[at - 1]
            work.probability[at - 1] = swapped
            for field in range(tables.n_fields):
                value = work.outcomes[at, field]
                work.outcomes[at, field] = work.outcomes[at - 1, field]
                work.outcomes[at - 1, field] = value
            at -= 1


@compiled
def step_outcomes(tables: Any, work: Any) -> int:
    """Write the outcomes of `work.actions` in the placed configuration; return how many there are."""
    n = tables.n_agents
    n_active, n_moving, n_prone = 0, 0, 0
    for i in range(n):
        action = work.actions[i]
        work.active[i] = 0
        if action == 0 or is_out(work, i):
            continue
        n_active += 1
        n_moving += action != LEFT and action != RIGHT
        if action == FORWARD and tables.ground[work.current[FIELDS * i]] == UNSTEADY:
            work.active[i] = 2
            work.prone[n_prone] = i
            n_prone += 1
        else:
            work.active[i] = 1
    n_groups = 0
    is_plain = True
    if n_prone > 0 or (n_active > 1 and n_moving > 1):
        n_groups = form_groups(tables, work)
        if tables.n_actions > TOGGLE:
            n_groups = merge_for_switches(tables, work, n_groups)
        is_plain = n_prone == 0
        for g in range(n_groups):
            is_plain = is_plain and work.group_size[g] == 1
    n_draws = 0
    if not is_plain:
        n_draws = n_groups + n_prone
        for g in range(n_groups):
            work.choices[g] = work.group_size[g]
        for k in range(n_groups, n_draws):
            work.choices[k] = 3 if tables.stumble > 0.0 else 1
        for k in range(n_draws):
            work.draws[k] = 0
    n_outcomes = 0
    while True:
        n_movers = 0
        probability = 1.0
        if is_plain:
            n_movers = n
            for i in range(n):
                work.order[i] = i
        else:
            for g in range(n_groups):
                work.order[n_movers] = work.groups[g, work.draws[g]]
                n_movers += 1
                probability *= 1.0 / work.choices[g]
            for k in range(n_groups, n_draws):
                probability *= 1.0 - tables.stumble if work.draws[k] == 0 else tables.stumble / 2.0
            for i in range(n):
                is_first = work.active[i] != 1
                for g in range(n_groups):
                    is_first = is_first or work.order[g] == i
                if not is_first:
                    work.order[n_movers] = i
                    n_movers += 1
        if probability > 0.0:
            for k in range(n_movers):
                i = work.order[k]
                action = work.actions[i]
                if action == 0 or is_out(work, i):
                    continue
                if action == FORWARD:
                    forward(tables, work, i)
                elif action == LEFT:
                    work.current[FIELDS * i + DIRECTION] = (work.current[FIELDS * i + DIRECTION] + 3) & 3
                elif action == RIGHT:
                    work.current[FIELDS * i + DIRECTION] = (work.current[FIELDS * i + DIRECTION] + 1) & 3
                elif action == TOGGLE:
                    toggle(tables, work, i)
            if n_prone > 0:
                stumble(tables, work, n_prone, n_groups)
            n_outcomes = emit(tables, work, n_outcomes, probability)
            rewind(tables, work)
        k = n_draws - 1
        while k >= 0:
            work.draws[k] += 1
            if work.draws[k] < work.choices[k]:
                break
            work.draws[k] = 0
            k -= 1
        if k < 0:
            break
    if n_outcomes > 1:
        sort_outcomes(tables, work, n_outcomes)
    return n_outcomes
