"""The live view of one unit: its ticks on the terminal while they are computed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ...jobs.society.log import decoded
from ...jobs.society.residents import resident_id
from ...jobs.society.traits import TRAITS
from ...jobs.society.vocabulary import CITE, DOCUMENTS, GIFT, KIND_NAMES, MOVE, PLACES, RESEARCH, SUBMIT_REPORT

if TYPE_CHECKING:
    from ...jobs.society.lanes import Lanes
    from ...jobs.society.simulation import Simulation

WIDTH = 80
MESSAGE_LENGTH = 120
MESSAGE_LINES = 3
SHOWN_COEFFICIENT = 0.1
DUPLICATES_WARNED = 0.4

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[90m"
BRIGHT_CYAN, BRIGHT_GREEN, BRIGHT_RED = "\x1b[96m", "\x1b[92m", "\x1b[91m"
MAGENTA, YELLOW = "\x1b[35m", "\x1b[33m"
ACTION_COLORS = {"move": "\x1b[34m", "talk": "\x1b[32m", "work": "\x1b[36m", "gift": YELLOW}


@dataclass(frozen=True)
class ViewOptions:
    """Which unit is shown, and how."""

    unit: int
    color: bool = False
    full_messages: bool = False

    def to_text(self) -> str:
        """Return the options as JSON."""
        return json.dumps({"unit": self.unit, "color": self.color, "full_messages": self.full_messages})


def wants_color(stream: IO[str], refused: bool) -> bool:
    """Whether colours are written: to a terminal, unless `--no-color` or `NO_COLOR` says otherwise."""
    return stream.isatty() and not refused and not os.environ.get("NO_COLOR")


class LiveView:
    """Prints each finished tick of one lane, flushed; a closed pipe ends the view and not the run."""

    def __init__(self, options: ViewOptions, stream: IO[str] | None = None, errors: IO[str] | None = None) -> None:
        """Keep where to write."""
        self._options = options
        self._stream = stream or sys.stdout
        self._errors = errors or sys.stderr
        self._marks: dict[str, int] = {}
        self._shown = 0
        self._started = self._tick_started = time.monotonic()

    @classmethod
    def of_settings(cls, text: str, units: range) -> LiveView | None:
        """Return the view that an environment variable asks for; None where its unit is not among these."""
        options = ViewOptions(**json.loads(text))
        return cls(options) if options.unit in units else None

    def follow(self, units: range, lanes: Lanes) -> None:
        """Choose the lane that is shown."""
        self._lane = units.index(self._options.unit)
        self.resume(lanes)

    def resume(self, lanes: Lanes) -> None:
        """Show a lane from its next tick on."""
        self._lanes = lanes
        simulation = self._simulation
        self._marks, self._shown = simulation.log.marks(), simulation.tick
        self._started = self._tick_started = time.monotonic()
        if simulation.tick:
            self._say(f"INFO: continues at tick {simulation.tick}", self._errors)

    @property
    def _simulation(self) -> Simulation:
        return self._lanes.simulations[self._lane]

    def show(self) -> None:
        """Print the ticks that were finished since the last call."""
        simulation = self._simulation
        if simulation.tick == self._shown:
            return
        columns = simulation.log.since(self._marks)
        self._marks = simulation.log.marks()
        now = time.monotonic()
        seconds = (now - self._tick_started) / (simulation.tick - self._shown)
        self._tick_started = now
        for tick in range(self._shown, simulation.tick):
            self._say("\n".join(self.tick_lines(simulation, columns, tick, seconds)))
        self._shown = simulation.tick
        if simulation.done:
            self._say("\n".join(self.end_lines(simulation, now - self._started)))

    def _paint(self, text: str, *codes: str) -> str:
        return f"{''.join(codes)}{text}{RESET}" if self._options.color and text else text

    def _say(self, text: str, stream: IO[str] | None = None) -> None:
        target = stream or self._stream
        try:
            print(text, file=target, flush=True)
        except (BrokenPipeError, ValueError):
            # nobody looks any more; what is still buffered would fail again at the end of the process
            if stream is None:
                self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
                sys.stdout = self._stream

    def _rule(self) -> str:
        width = min(WIDTH, shutil.get_terminal_size().columns) if self._stream.isatty() else WIDTH
        return self._paint("=" * width, BRIGHT_CYAN)

    def tick_lines(self, simulation: Simulation, columns: Any, tick: int, seconds: float) -> list[str]:
        """Return the lines of one tick.

        Args:
            simulation: whose tick it is.
            columns: the log, at least of this tick.
            tick: which.
            seconds: that it took.
        """
        texts = decoded(columns["messages/bytes"], columns["messages/length"])
        rows = [row for row, own in enumerate(columns["actions/tick"].tolist()) if own == tick]
        events = int((columns["encounters/tick"] == tick).sum())
        lines = [self._rule(), f"TICK {tick} | {events} events scheduled", self._rule()]
        for row in rows:
            lines += self._action_lines(columns, row, texts[row])
        if tick == 0 and simulation.tick == 1:
            self._warn_of_duplicates(simulation.commonest_prompt)
        return [*lines, "", f"  ⏱  Tick completed in {self._paint(f'{seconds:.2f}s', YELLOW)}", ""]

    def _action_lines(self, columns: Any, row: int, text: str) -> list[str]:
        kind, place = (int(columns[f"actions/{name}"][row]) for name in ("action", "place_after"))
        before = int(columns["actions/place"][row])
        success = int(columns["actions/outcome"][row]) == 0
        if kind == MOVE and success and before == place:
            return []
        who = resident_id(int(columns["actions/resident"][row]))
        mark = self._paint("✓", BRIGHT_GREEN) if success else self._paint("✗", BRIGHT_RED)
        name = KIND_NAMES[kind]
        action = self._paint(name.upper(), ACTION_COLORS.get(name, DIM))
        detail = self._detail(columns, row, kind, before)
        lines = [f"  {mark} {self._paint(who, BOLD)} {action}{' ' + detail if detail else ''}"]
        if not text:
            return lines
        lines.append(f"    💬 {self._paint(who, BOLD)} @ {self._paint(PLACES[place], MAGENTA)}")
        lines += [f"       {line}" for line in self._message(text)]
        tokens = f"[{int(columns['actions/tokens_in'][row])}→{int(columns['actions/tokens_out'][row])} tokens]"
        steering = steering_text(columns["messages/coef"][row].tolist())
        lines.append(f"       {self._paint(f'{tokens} {steering}'.rstrip(), DIM)}")
        return lines

    def _detail(self, columns: Any, row: int, kind: int, before: int) -> str:
        a = int(columns["actions/a"][row])
        if kind == MOVE:
            target = self._paint(PLACES[int(columns["actions/dest"][row])], MAGENTA)
            start = f"{PLACES[before]} " if self._options.full_messages else ""
            return f"{start}→ {target}"
        if kind in (RESEARCH, CITE):
            return f"doc:{DOCUMENTS[a]}"
        if kind == SUBMIT_REPORT:
            return f"facts:{a}"
        if kind == GIFT:
            return f"item:credit qty:1 → {resident_id(int(columns['actions/argument'][row]))}"
        return ""

    def _message(self, text: str) -> list[str]:
        if self._options.full_messages:
            return text.splitlines()
        lines = [
            line if len(line) <= MESSAGE_LENGTH else f"{line[: MESSAGE_LENGTH - 3]}..." for line in text.splitlines()
        ]
        return lines if len(lines) <= MESSAGE_LINES else [*lines[:MESSAGE_LINES], "..."]

    def _warn_of_duplicates(self, share: float) -> None:
        if share > DUPLICATES_WARNED:
            self._say(f"WARNING: one prompt text makes up {100 * share:.0f} % of the prompts at tick 0", self._errors)

    def end_lines(self, simulation: Simulation, seconds: float) -> list[str]:
        """Return the closing block."""
        ticks = simulation.config.steps
        return [
            self._rule(),
            "SIMULATION COMPLETE",
            f"  Run ID: {self._paint(simulation.config.run_id, BRIGHT_CYAN)}",
            f"  Ticks: {ticks}",
            f"  Agents: {simulation.config.population}",
            f"  Total time: {self._paint(f'{seconds:.2f}s', YELLOW)}",
            f"  Avg time/tick: {self._paint(f'{seconds / ticks:.2f}s', YELLOW)}",
            self._rule(),
        ]


def steering_text(coefficients: Sequence[float]) -> str:
    """Return the traits with |coefficient| above 0.1, by letter, such as `[C:+0.9, E:+0.5]`; empty for none."""
    pairs = sorted(zip(TRAITS, coefficients, strict=True))
    shown = [f"{trait}:{value:+0.1f}" for trait, value in pairs if abs(value) > SHOWN_COEFFICIENT]
    return f"[{', '.join(shown)}]" if shown else ""
