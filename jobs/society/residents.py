"""Residents: who lives in the town, drawn from the config's seed.

The draws use Python's Mersenne Twister in a fixed order, so that every arm of a study has the same people:

1. roles: the roster shuffled once, then chosen with replacement (at most five residents: the roster in order);
2. for each resident: its five coefficients, its place, two goals.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from .config import RunConfig
from .tables import playbook
from .traits import TRAITS, clipped
from .vocabulary import GOALS, PLACES, ROLES


@dataclass(frozen=True)
class Resident:
    """One simulated person as initialised.

    `goals` holds the duty of the role first, then the two goals drawn. `persona` maps each trait to its coefficient.
    """

    id: str
    place: str
    role: str
    goals: list[str]
    persona: dict[str, float]
    name: str = ""


def resident_id(index: int) -> str:
    """Return the id of a resident in every log and on screen."""
    return f"agent-{index:03d}"


_NAMES = (
    "Ada",
    "Ben",
    "Carla",
    "Dan",
    "Eva",
    "Finn",
    "Gina",
    "Hugo",
    "Iris",
    "Jack",
    "Kate",
    "Leo",
    "Mia",
    "Nick",
    "Olga",
    "Paul",
    "Rose",
    "Sam",
    "Tina",
    "Will",
    "Zoe",
    "Amy",
    "Beth",
    "Carl",
    "Dora",
    "Emma",
    "Fred",
    "Grace",
    "Hans",
    "Ida",
    "John",
    "Kurt",
    "Lena",
    "Mark",
    "Nora",
    "Otto",
    "Petra",
    "Ralph",
    "Sara",
    "Tom",
    "Vera",
    "Walt",
)


@cache
def given_name(index: int) -> str:
    """Return the short name that prompts use; every name is a token or two, an id would be five."""
    generation, place = divmod(index, len(_NAMES))
    return _NAMES[place] if generation == 0 else f"{_NAMES[place]} {generation + 1}"


def draw_roles(config: RunConfig, generator: random.Random) -> list[str]:
    """Return the role of each resident."""
    roster = ROLES[config.env]
    if config.population <= len(roster):
        return list(roster[: config.population])
    roles = list(roster)
    generator.shuffle(roles)
    while len(roles) < config.population:
        roles.append(generator.choice(roster))
    return roles


def sample_residents(config: RunConfig) -> list[Resident]:
    """Return the residents of a run, in index order."""
    generator = random.Random(config.seed)
    roles = draw_roles(config, generator)
    n = config.population
    personas = config.personas
    strata: dict[str, list[int]] = {}
    if personas.distribution == "lhs":
        strata = {trait: generator.sample(range(n), n) for trait in TRAITS}
    duties = playbook(config.meta_orchestrator)["roles"]
    normal = NormalDist()

    def coefficient(trait: str, index: int) -> float:
        if personas.distribution == "normal":
            return clipped(generator.gauss(personas.mean[trait], personas.std[trait]), -1.0, 1.0)
        if personas.distribution == "lhs":
            share = (strata[trait][index] + generator.random()) / n
            quantile = normal.inv_cdf(share) if 0.0 < share < 1.0 else -8.0
            return clipped(personas.mean[trait] + personas.std[trait] * quantile, -1.0, 1.0)
        base = config.steering.coefficients[trait]
        if personas.jitter == 0:
            return clipped(base, -1.0, 1.0)
        return clipped(base + generator.uniform(-personas.jitter, personas.jitter), -1.0, 1.0)

    residents = []
    for index in range(n):
        persona = {trait: coefficient(trait, index) for trait in TRAITS}
        for trait in personas.fixed_traits:
            persona[trait] = (personas.fixed or {}).get(trait, 0.0)
        place = generator.choice(PLACES)
        goals = generator.sample(GOALS, 2)
        duty = duties.get(roles[index], {}).get("duty", roles[index].lower())
        residents.append(Resident(resident_id(index), place, roles[index], [duty, *goals], persona, given_name(index)))
    return residents
