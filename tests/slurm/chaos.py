"""What goes wrong on a cluster, drawn from a seed and done to real runs, with a diary of what was done to whom."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from quintet.shard.errors import Exit
from quintet.slurm.journal import read_map

from .cluster import Cluster
from .guest import Guest

ONCE = ("lose node", "fill disk", "delete database")
OFTEN = ("kill", "kill", "cancel", "requeue", "truncate", "flip", "two merges")
KINDS = tuple(dict.fromkeys((*ONCE, *OFTEN)))
MORE = 14  # actions besides one of each kind
SHARD = "quintet.shard.array_element"
# A trial that is lost three times counts as failed, and a shard killed five times in a row waits for a person.
MOST_BLOWS = {"map": 3, "pull": 2}
NODE_SECONDS = 8.0
FULL_SECONDS = 120.0
SMALL_DISK = "256m"


@dataclass(frozen=True)
class Action:
    """One thing to be done `at` seconds: `draw`, in [0, 1), chooses among what there is then, unless it is named."""

    at: float
    kind: str
    draw: float
    target: str = ""


def schedule(seed: int, seconds: float) -> tuple[Action, ...]:
    """Return what is to be done within some seconds, a function of the seed: each kind once, and some kinds again."""
    dice = random.Random(seed)
    # What must happen comes early, while there is something left that it can happen to.
    begun = [(kind, dice.uniform(0.0, seconds / 3)) for kind in KINDS]
    begun += [(dice.choice(OFTEN), dice.uniform(0.0, seconds)) for _ in range(MORE)]
    return tuple(Action(round(at, 2), kind, dice.random()) for kind, at in sorted(begun, key=lambda item: item[1]))


def recorded(diary: Path) -> tuple[Action, ...]:
    """Return what a diary says was done: the same things at the same seconds to the same targets."""
    lines = [json.loads(line) for line in diary.read_text().splitlines()]
    return tuple(Action(line["t"], line["kind"], line["draw"], line["target"]) for line in lines if "draw" in line)


class Diary:
    """A file of JSON lines: seconds since the start, what was done, to whom, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.happened: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """Start the clock."""
        self._begun = time.monotonic()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def write(self, kind: str, target: str, what: str, **more: Any) -> None:
        """Append a line."""
        record = {"t": round(self.now, 2), "kind": kind, "target": target, "what": what, **more}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


@dataclass(frozen=True, order=True)
class Element:
    """An array element that Slurm has queued or running; ordered by run, phase and shard."""

    guest: str
    phase: str
    shard: int
    id: str
    state: str
    node: str

    @property
    def name(self) -> str:
        return f"{self.guest}/{self.phase}/{self.shard}"


@dataclass
class Later:
    """What is still to be ended: undone as soon as `over` says so, at the latest at `end`."""

    end: float
    over: Callable[[], bool]
    undo: Callable[[], None]


class Chaos:
    """Does the actions to the guests of a cluster while their submissions try to bring them home."""

    def __init__(self, slurm: Cluster, guests: Sequence[Guest], small: str, diary: Diary) -> None:
        """Take the guests; `small` names the one whose disk is small."""
        self._slurm, self._guests, self._small, self.diary = (
            slurm,
            {guest.name: guest for guest in guests},
            small,
            diary,
        )
        self._blows: Counter[str] = Counter()
        self._damaged: set[str] = set()
        self._later: list[Later] = []
        self._full = False
        self.codes_of_merges: set[int] = set()
        self._find: dict[str, Callable[[], dict[str, Any]]] = {
            "kill": self._processes,
            "cancel": lambda: self._elements("RUNNING", "PENDING"),
            "requeue": lambda: self._elements("RUNNING"),
            "lose node": self._nodes,
            "fill disk": self._fillable,
            "truncate": self._partials,
            "flip": self._partials,
            "delete database": self._databases,
            "two merges": self._mergeable,
        }
        self._do: dict[str, Callable[[str, Any, random.Random], str]] = {
            "kill": self._kill,
            "cancel": self._cancel,
            "requeue": self._requeue,
            "lose node": self._lose_node,
            "fill disk": self._fill,
            "truncate": self._truncate,
            "flip": self._flip,
            "delete database": self._delete,
            "two merges": self._merge_twice,
        }

    def bring_home(self, actions: Sequence[Action], seconds: float) -> None:
        """Submit every run, do the actions, and stay until all is home.

        Raises:
            TimeoutError: something is not home after so many seconds.
            AssertionError: a submission ended otherwise than with 0, or 73 while its disk was full.
        """
        open_actions = list(actions)
        self.diary.begin()
        for guest in self._guests.values():
            guest.set_out()
        while open_actions or self._later or not all(guest.is_home for guest in self._guests.values()):
            if self.diary.now > seconds:
                away = [guest.name for guest in self._guests.values() if not guest.is_home]
                raise TimeoutError(f"after {seconds:.0f} s not home: {away}; left to do: {open_actions}")
            for guest in self._guests.values():
                self._look_after(guest)
            for later in list(self._later):
                if later.over() or self.diary.now > later.end:
                    self._later.remove(later)
                    later.undo()
            due = [action for action in open_actions if action.at <= self.diary.now]
            for action in due:
                if self._try(action):
                    open_actions.remove(action)
            if due == open_actions and all(guest.is_home for guest in self._guests.values()) and not self._later:
                for action in due:
                    self.diary.write(action.kind, action.target, "never came: nothing to do it to")
                return
            time.sleep(0.2)

    def end(self) -> None:
        """Undo what is still to be undone, and end what was started."""
        for guest in self._guests.values():
            guest.give_up()
        for later in self._later:
            later.undo()
        self._later.clear()

    def _look_after(self, guest: Guest) -> None:
        """Say how a submission ended; one that the full disk ended is repeated, as by a person who has made room."""
        code = guest.arrived()
        if code is not None:
            self.diary.write("submission ended", guest.name, f"rc {code}")
            told = guest.said.read_text()[-2000:]
            assert code == 0 or (guest.name == self._small and code == Exit.CANNOT_WRITE), f"{guest.name}: {told}"
        if guest.waits_for_room and not self._full:
            guest.set_out()

    def _try(self, action: Action) -> bool:
        """Do an action if there is something to do it to; its target follows from what there is, in a fixed order."""
        found = self._find[action.kind]()
        if action.target:
            found = {name: found[name] for name in found if name == action.target}
        if not found:
            return False
        name = list(found)[int(action.draw * len(found))]
        what = self._do[action.kind](name, found[name], random.Random(action.draw))
        self.diary.write(action.kind, name, what, draw=action.draw, planned=action.at, among=len(found))
        if action.kind != "fill disk":
            self.diary.happened[action.kind] += 1
        return True

    def _queue(self) -> Iterator[Element]:
        lines = self._slurm.command("squeue", "-h", "-r", "-o", "%F|%K|%T|%N|%o", check=False).splitlines()
        for line in lines:
            job, task, state, node, command = line.split("|", 4)
            script, _, offset = command.partition(" ")
            path = Path(script)
            guest = path.parent.parent.name
            if path.suffix == ".sbatch" and task.isdecimal() and guest in self._guests:
                shards = read_map(path.with_suffix(".map"))
                line_of_map = int(offset or 0) + int(task)
                if line_of_map < len(shards):
                    phase = path.stem.rpartition("-")[0]
                    yield Element(guest, phase, shards[line_of_map], f"{job}_{task}", state, node)

    def _may_be_hit(self, name: str) -> bool:
        """Whether a shard, or the search that it works for, can take one more blow without needing a person."""
        return self._blows[self._bearer(name)] < MOST_BLOWS[self._kind(name)]

    def _bearer(self, name: str) -> str:
        return name if self._kind(name) == "map" else name.rpartition("/")[0]

    def _kind(self, name: str) -> str:
        guest, phase, _ = name.split("/")
        return self._guests[guest].run.plan(phase).kind

    def _elements(self, *states: str) -> dict[str, Element]:
        return {
            element.name: element
            for element in sorted(self._queue())
            if element.state in states and self._may_be_hit(element.name)
        }

    def _processes(self) -> dict[str, psutil.Process]:
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, ValueError, KeyError, IndexError):
                words = process.cmdline()
                run, phase, map_file, offset = words[words.index(SHARD) + 1 :][:4]
                guest = Path(run).name
                if guest in self._guests and Path(words[0]).name.startswith("python"):
                    shard = read_map(Path(map_file))[int(offset) + int(process.environ()["SLURM_ARRAY_TASK_ID"])]
                    found[f"{guest}/{phase}/{shard}"] = process
        return {name: found[name] for name in sorted(found) if self._may_be_hit(name)}

    def _nodes(self) -> dict[str, list[Element]]:
        there: dict[str, list[Element]] = {}
        for element in sorted(self._queue()):
            if element.state == "RUNNING":
                there.setdefault(element.node, []).append(element)
        return {
            node: there[node]
            for node in sorted(there)
            if all(self._may_be_hit(element.name) for element in there[node])
        }

    def _fillable(self) -> dict[str, Guest]:
        running = any(element.guest == self._small and element.state == "RUNNING" for element in self._queue())
        return {self._small: self._guests[self._small]} if running else {}

    def _partials(self) -> dict[str, Path]:
        """Every published partial that was not damaged before."""
        found = {}
        for guest in sorted(self._guests):
            folder = self._guests[guest].path / "partials"
            for path in sorted(folder.glob("*/*/*.h5")):
                name = f"{guest}/{path.relative_to(folder)}"
                if path.stem[1:].isdecimal() and name not in self._damaged:
                    found[name] = path
        return found

    def _databases(self) -> dict[str, Path]:
        runs = [self._guests[name].path for name in sorted(self._guests)]
        stores = [path for run in runs for path in sorted((run / "store").glob("*.sqlite3"))]
        return {f"{path.parent.parent.name}/{path.name}": path for path in stores}

    def _mergeable(self) -> dict[str, Guest]:
        return {
            name: self._guests[name] for name in sorted(self._guests) if (self._guests[name].path / "merged").is_dir()
        }

    def _kill(self, name: str, process: psutil.Process, dice: random.Random) -> str:
        self._blows[self._bearer(name)] += 1
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
        return f"pid {process.pid} got KILL"

    def _cancel(self, name: str, element: Element, dice: random.Random) -> str:
        self._blows[self._bearer(name)] += element.state == "RUNNING"
        self._slurm.command("scancel", element.id, check=False)
        return f"{element.id} was {element.state}"

    def _requeue(self, name: str, element: Element, dice: random.Random) -> str:
        self._blows[self._bearer(name)] += 1
        self._slurm.command("scontrol", "requeue", element.id, check=False)
        return f"{element.id} was {element.state} on {element.node}"

    def _lose_node(self, node: str, elements: list[Element], dice: random.Random) -> str:
        for element in elements:
            self._blows[self._bearer(element.name)] += 1
        self._slurm.kill_node(node)

        def revive() -> None:
            self._slurm.revive_node(node)
            self.diary.write("node is back", node, str(self._slurm.node_states().get(node)))

        self._later.append(Later(self.diary.now + NODE_SECONDS, lambda: False, revive))
        return f"down, with {', '.join(element.name for element in elements)} on it"

    def _fill(self, name: str, guest: Guest, dice: random.Random) -> str:
        """Leave no room, or hardly any, until something of the run has ended with 73."""
        left = dice.randrange(3) * 4096
        before = self._ended_for_the_disk(guest)
        make_room = fill(guest.path, left)
        self._full = True

        def hit() -> int:
            return self._ended_for_the_disk(guest) - before + guest.waits_for_room

        def end() -> None:
            count = hit()
            make_room()
            self._full = False
            self.diary.happened["fill disk"] += count > 0
            self.diary.write("disk has room", name, f"{count} jobs or submissions ended with 73")

        self._later.append(Later(self.diary.now + FULL_SECONDS, lambda: hit() > 0, end))
        return f"{left} bytes left"

    def _ended_for_the_disk(self, guest: Guest) -> int:
        lines = self._slurm.command("scontrol", "-o", "show", "job", check=False).splitlines()
        return sum(f" Command={guest.path}/slurm/" in line and "ExitCode=73:0" in line for line in lines)

    def _truncate(self, name: str, path: Path, dice: random.Random) -> str:
        self._damaged.add(name)
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            os.truncate(path, dice.randrange(size) if size else 0)
            return f"cut from {size} to {path.stat().st_size} bytes"
        return "gone"

    def _flip(self, name: str, path: Path, dice: random.Random) -> str:
        self._damaged.add(name)
        with suppress(FileNotFoundError, ValueError), path.open("r+b") as file:
            position, bit = dice.randrange(path.stat().st_size), dice.randrange(8)
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ (1 << bit)]))
            return f"bit {bit} of byte {position} flipped"
        return "gone or empty"

    def _delete(self, name: str, path: Path, dice: random.Random) -> str:
        path.unlink()
        return "deleted"

    def _merge_twice(self, name: str, guest: Guest, dice: random.Random) -> str:
        both = [guest.start("merge", log=guest.logs / f"{name}.merges.log") for _ in range(2)]

        def end() -> None:
            codes = [process.wait(60) for process in both]
            self.codes_of_merges.update(codes)
            self.diary.write("merges ended", name, f"rc {codes}")

        self._later.append(Later(self.diary.now + 300, lambda: all(item.poll() is not None for item in both), end))
        return f"pids {both[0].pid} and {both[1].pid}"


def fill(run: Path, left: int) -> Callable[[], None]:
    """Take the room away from a run until the returned function is called.

    A file system of its own is filled up to `left` bytes; else no process of the run may write a file of more.
    """
    if os.path.ismount(run.parent):
        ballast = run.parent / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            free = os.statvfs(run.parent)
            file.write(bytes(max(free.f_bavail * free.f_frsize - left, 0)))
        return lambda: ballast.unlink(missing_ok=True)
    limited = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(run) in word for word in process.cmdline()) and SHARD in process.cmdline():
                limited.append((process, process.rlimit(psutil.RLIMIT_FSIZE)))
                process.rlimit(psutil.RLIMIT_FSIZE, (left, limited[-1][1][1]))

    def lift() -> None:
        for process, limit in limited:
            with suppress(psutil.Error):
                process.rlimit(psutil.RLIMIT_FSIZE, limit)

    return lift


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Give a folder a small file system of its own where this user may mount one."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=755", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield place
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)
