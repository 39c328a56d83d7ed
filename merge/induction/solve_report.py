"""The report of a solve or slab run, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...jobs.induction.derived import compare_phases, power_in_bits
from ...jobs.induction.memory import reference_bytes
from ..drawing import shown
from ..page import Report, Section, markdown_table
from ..style import SavedFigure
from .cost_figures import CLAIMED_STATES, REFERENCE_WORLD
from .freed_figures import outcome_labels, possible, proxy
from .policy_map import ACTION_NAMES, policy_rows

if TYPE_CHECKING:
    from .solved import Solved

TITLE = "Exact human-power planning: what the robot does, and who gets which power"
MOST_PROBLEMS = 12
"""So many problems get a section of their own; the rest stand in the table."""


def number(value: float) -> str:
    """Return a value with four significant digits."""
    return f"{value:.4g}"


def solve_report(
    problems: Sequence[Solved],
    figures: Mapping[str, SavedFigure],
    films: Mapping[int, Path],
    facts: Mapping[str, Any],
    stamp: str | None,
) -> Report:
    """Put the numbers and figures of a run into words."""
    good = [solved for solved in problems if not solved.error]
    sections = [_question(), _answer(problems)]
    if len(good) > 1:
        sections.append(_overview(good))
    for solved in good[:MOST_PROBLEMS]:
        sections.append(_problem(solved, figures, films.get(solved.case.number)))
    sections += [_cost(problems, figures), _limits(), _run(facts)]
    return Report(TITLE, tuple(sections), stamp)


def _question() -> Section:
    return Section(
        "The question",
        """
A robot shares a grid world with humans whose goals it does not know. It maximises no reward; it softly maximises the
humans' *power*, their ability to reach whatever goals they might have. This run computes, exactly and for every state
that can be reached, in a first phase what each human can expect for each goal when the others act at random and the
robot does its worst (V^m), and in a second phase the robot's policy, what each human really achieves with that robot
(V^e), and the power X_h that this gives each human (W_h = log2 X_h, in bits).
""",
    )


def settings_text(solved: Solved) -> str:
    """Return the theory of a problem in one line."""
    params = solved.case.params
    names = ("beta_h", "gamma_h", "beta_r", "gamma_r", "zeta", "xi", "eta")
    return ", ".join(f"{name} = {getattr(params, name):g}" for name in names)


def _answer(problems: Sequence[Solved]) -> Section:
    lines = []
    for solved in problems[:MOST_PROBLEMS]:
        label = f"**{solved.case.label}** ({settings_text(solved)})"
        if solved.error:
            lines.append(f"* {label}: no solution. {solved.error}.")
            continue
        first = solved.root["first"]
        names = [solved.human_name(h) for h in range(len(solved.case.world.humans))]
        text = f"* {label}: "
        if len(first):
            row = first[-1]
            told = zip(outcome_labels(names), possible(row, len(names)), strict=True)
            shares = [f"{name} {number(p)}" for name, p in told]
            text += f"probabilities {', '.join(shares)}. "
        powers = solved.root["Xh"][-1]
        shown_powers = [f"{name} {number(x)}" for name, x in zip(names, powers, strict=True)]
        text += f"Power X_h at the start: {', '.join(shown_powers)}."
        pi_r = solved.root["pi_r"][-1]
        if len(pi_r) == solved.case.world.n_actions:
            action = int(pi_r.argmax())
            text += f" The robot's first action is most likely *{ACTION_NAMES[action]}* ({number(pi_r[action])})."
        lines.append(text)
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"* and {len(problems) - MOST_PROBLEMS} more problems; `tables/results.csv` of the run lists all.")
    note = "\n\nThe numbers are exact up to the rounding of float64 arithmetic; there is no sampling error in them."
    return Section("The answer in brief", "\n".join(lines) + note)


def _overview(problems: Sequence[Solved]) -> Section:
    changing = [
        name
        for name in problems[0].settings
        if len({str(solved.settings.get(name)) for solved in problems}) > 1 and name != "max_steps"
    ]
    header = ("problem", "world", "T", *changing, "V_r", "X_h", "first freed")
    rows = []
    for solved in problems:
        first = solved.root["first"]
        rows.append(
            (
                solved.case.number,
                solved.case.world.name,
                solved.case.max_steps,
                *(solved.settings.get(name) for name in changing),
                number(float(solved.root["Vr"][-1])),
                " / ".join(number(x) for x in solved.root["Xh"][-1]),
                " / ".join(number(p) for p in possible(first[-1], len(solved.case.world.humans))) if len(first) else "",
            )
        )
    text = (
        "The last column gives the probability for each human, then for several at once (where there are several "
        "humans) and for nobody.\n\n"
    )
    return Section("All problems", text + markdown_table(header, rows))


def _problem(solved: Solved, figures: Mapping[str, SavedFigure], film: Path | None) -> Section:
    world, root = solved.case.world, {name: array[-1] for name, array in solved.root.items() if len(array)}
    humans = range(len(world.humans))
    names = [solved.human_name(h) for h in humans]
    bits = power_in_bits(root["Xh"])
    sizes = solved.level_sizes
    parts = [
        f"{world.name}: humans {len(world.humans)}, robots {len(world.robots)}, {world.n_actions} actions "
        f"({world.n_profiles} joint actions), {len(world.goals)} goals. Up to step {solved.case.max_steps} there are "
        f"{solved.n_states:,} states ({sum(sizes[:-1]):,} of them before the end) over {sizes[-1]:,} configurations.",
        f"Parameters: {settings_text(solved)}. V_r of the start is {number(float(root['Vr']))}.",
        markdown_table(
            ("human", "power X_h", "W_h (bits)", "largest V^e", "largest V^m"),
            [
                (
                    names[h],
                    number(root["Xh"][h]),
                    f"{bits[h]:.3f}",
                    number(root["Ve"][h].max()),
                    number(root["Vm"][h].max()),
                )
                for h in humans
            ],
        ),
    ]
    if len(root["pi_r"]) == world.n_actions:
        rows = [(ACTION_NAMES[a], number(root["pi_r"][a]), number(root["Qr"][a])) for a in range(world.n_actions)]
        parts.append(markdown_table(("robot's first action", "pi_r", "Q_r"), rows))
    first = solved.root["first"]
    if len(first):
        p_left = {"proxy p_left": proxy(solved)} if len(names) > 1 else {}
        by_horizon = [
            (
                k,
                *(number(p) for p in possible(first[k - 1], len(names))),
                *(number(p[k - 1]) if p[k - 1] == p[k - 1] else "" for p in p_left.values()),
            )
            for k in range(max(1, len(first) - 7), len(first) + 1)
        ]
        listed = f"`tables/freed_first{solved.name}.csv` of the run"
        parts.append(f"Who is freed first, by horizon (all horizons are in {listed}):")
        parts.append(markdown_table(("horizon", *outcome_labels(names), *p_left), by_horizon))
    if "disabled" in root:
        pause, kill = root["disabled"]
        parts.append(
            f"At the end the pause switch is disabled with probability {number(pause)}, "
            f"the kill button with {number(kill)}."
        )
    parts += [_compared(solved, h, names[h]) for h in humans]
    if film is not None:
        parts.append(f"Episodes played with these policies: `figures/rollouts/{film.name}` of the run.")
    name, level = solved.name, policy_rows(solved)[0]
    dashed = (
        " Dashed: the probability that the robot's first action is to turn right, which has been reported in its place "
        "and is something else."
    )
    boxes = " Boxes are goals of several cells." if (world.goals[:, :2] != world.goals[:, 2:]).any() else ""
    captions = {
        f"freed_first{name}": f"Exact probability of who is freed first, by horizon.{dashed if len(names) > 1 else ''}",
        **{
            f"value_map_{h}{name}": f"What each goal is worth to the {names[h]} at the start: expected cautiously, "
            f"achieved with this robot, and the difference.{boxes}"
            for h in humans
        },
        f"policy_map{name}": f"With {solved.case.max_steps - level} steps to go: the robot's most probable action from "
        "every cell that it can reach, in every direction (the sector's side), while everybody else is at the initial "
        f"place; faint is undecided. Level {level} is the first that holds them all.",
    }
    heading = solved.case.label if not name else f"Problem {solved.case.number}: {solved.case.label}"
    return Section(heading, "\n\n".join(parts), shown(figures, captions))


def _compared(solved: Solved, h: int, name: str) -> str:
    found: dict[str, Any] = compare_phases(solved.root["Vm"][-1][h : h + 1], solved.root["Ve"][-1][h : h + 1])
    goals = solved.case.world.goals.tolist()

    def listed(rows: Sequence[tuple[int, int, float, float]]) -> str:
        return "; ".join(f"goal {tuple(goals[g])}: {number(m)} to {number(e)}" for _, g, m, e in rows) or "none"

    return (
        f"Phase 2 against Phase 1, {name}: V^e - V^m is {number(found['mean'])} on average, from "
        f"{number(found['min'])} to {number(found['max'])}; {found['greater']} goals gain, {found['equal']} stay "
        f"(within 1e-6), {found['less']} lose. Largest gains: {listed(found['gains'])}. "
        f"Largest losses: {listed(found['losses'])}."
    )


def _cost(problems: Sequence[Solved], figures: Mapping[str, SavedFigure]) -> Section:
    largest = max(problems, key=lambda solved: solved.n_states)
    measured = largest.peak_bytes is not None
    rows = [
        (name, f"{predicted / 1e6:.1f}", "" if found is None else f"{found / 1e6:.1f}")
        for name, predicted, found in largest.memory
    ]
    reference = reference_bytes(largest.case.world, largest.n_states)
    text = [
        f"The largest problem is {largest.case.label} with {largest.n_states:,} states. Predicted and measured memory:",
        markdown_table(("structure", "predicted MB", "measured MB"), rows),
        f"By its own accounting the dictionary-based reference implementation would need "
        f"{reference['total'] / 1e9:.2f} GB for it, {reference['attainment cache'] / 1e9:.2f} GB of it for its "
        "attainment cache.",
    ]
    if measured and largest.user_s is not None:
        text.append(
            f"Building its graph and solving it took {largest.user_s:.2f} user CPU seconds, imports left out. "
            "The measured total is the peak of the whole process, the result's file included."
        )
    most = max((solved.case.max_steps for solved in problems if solved.case.world.name == REFERENCE_WORLD), default=0)
    growth, costs = "States against the horizon.", "Peak memory, CPU time, and predicted bytes."
    if most >= CLAIMED_STATES[0][0]:
        growth += " Crosses: what the world's authors give for it"
        growth += "; for horizons 6 and 8 a range that exact counting does not confirm." if most >= 8 else "."
    if most:
        costs += " Open circles: the reference implementation on the 11 x 6 world, on a machine of the same kind."
    captions = {"state_growth": growth, "memory_time": costs}
    return Section("What it costs", "\n\n".join(text), shown(figures, captions))


def _limits() -> Section:
    return Section(
        "What to keep in mind",
        """
* These are exact answers about a model: humans here choose softly by beta_h, believe that other humans act uniformly,
  and are cautious about the robot.
* A human counts as freed when it can reach more cells than at the start, by steps that walls, buttons, switches, rocks
  and blocks stop but agents do not.
* At one step to go all of the robot's actions are equal to it, so its policy there is uniform.
""",
    )


def _run(facts: Mapping[str, Any]) -> Section:
    return Section("About this run", markdown_table(("what", "value"), [(k, v) for k, v in facts.items()]))
