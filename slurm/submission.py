"""Submitting a run: each phase's arrays, the merge behind them, and the next phase behind that merge."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..shard.container import container_of
from ..shard.context import inputs_digest
from ..shard.errors import Exit, QuintetError
from ..shard.lock import study_lock
from ..shard.missing import is_merged, missing_of
from ..shard.publish import make_folder, replace_file
from ..shard.run import Plan, Run
from ..shard.scan import Depth
from ..shard.site import Site, read_site
from .cap import hold_to_cap
from .journal import Entry, Journal
from .queue import ArrayTooLargeError, Desk, QueueFullError, Rehearsal, of_run
from .retry import Verdict, attempts_of, killed_jobs, verdicts
from .sbatch import Job, array_script, merge_script

MEMORY_CAP = 4.0


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for."""

    phase: str | None = None
    missing_only: bool = False
    throttle: int | None = None
    rounds: int = 0
    container: str | None = None
    drift: bool = False
    max_cpu_hours: float | None = None


@dataclass
class Outcome:
    """What a submission came to.

    `jobs` were handed in; `refused` counts elements and merges that a limit kept out; `held` are shards that need a
    person, phase -> shard -> verdict; `missing` counts the shards that have no partial yet and `unmerged` the phases
    without a result.
    """

    jobs: list[str] = field(default_factory=list)
    refused: int = 0
    held: dict[str, dict[int, Verdict]] = field(default_factory=dict)
    missing: int = 0
    unmerged: int = 0

    @property
    def code(self) -> int:
        """The exit code: what needs a person first, then what needs a repetition."""
        codes = [verdict.held for found in self.held.values() for verdict in found.values() if verdict.held]
        if codes:
            return Exit.CANNOT_WRITE if Exit.CANNOT_WRITE in codes else min(min(codes), 255)
        return Exit.UNAVAILABLE if self.refused else Exit.OK


def unfinished(run: Run, plan: Plan, inputs: str | None) -> tuple[int, ...]:
    """Return the shards of a phase that have no valid partial, or the workers of a pull phase that can find a trial.

    Args:
        run: the run.
        plan: the phase's plan.
        inputs: digest of its inputs, None while an earlier phase is not merged: then nothing can be told from the
            partials, and an element that finds its shard published ends at once.
    """
    if plan.units is None or inputs is None:
        return tuple(shard for shard, (lo, hi) in enumerate(plan.shards) if lo < hi or plan.units is None)
    return missing_of(run, plan).numbers


def lineage(plans: Mapping[str, Plan], phase: str) -> set[str]:
    """Return every phase that a phase comes after, directly or not."""
    earlier = set(plans[phase].after)
    return earlier.union(*(lineage(plans, name) for name in earlier)) if earlier else set()


class Chain:
    """One submission of a run: walks the phases in their order and hands in what each of them lacks."""

    def __init__(self, run: Run, site: Site, desk: Desk, wishes: Wishes, say: Callable[[str], None]) -> None:
        """Look at the plans and the queue; nothing is handed in yet."""
        self._run, self._site, self._desk, self._wishes, self._say = run, site, desk, wishes, say
        self._root = run.path.resolve()
        self._quoted = shlex.quote(str(run.path))
        self._paper = isinstance(desk, Rehearsal)
        image = wishes.container or site.container
        self._container = None if image is None else container_of(run, image, more=site.container_binds)
        self._journal = Journal(run)
        queued = desk.queued()
        self._queued = {name: job.state for name, job in of_run(run, queued).items()}
        self._taken = len(queued)  # of what the user may have queued, also by other runs
        self._largest: int | None = None
        self._plans = {name: run.plan(name) for name in run.phases()}
        self._gates: dict[str, str] = {}  # phase -> merge job that its followers wait for
        self._open: set[str] = set()  # phases that are neither merged nor on their way to be
        self._renewed: set[str] = set()  # phases with new arrays or merges: what waits behind them is void
        self._handed: list[Entry] = []
        self._numbers: dict[str, int] = {}
        self.outcome = Outcome()

    def submit(self) -> Outcome:
        """Hand in what is lacking, phase by phase."""
        wanted = self._wishes.phase
        if wanted is not None and wanted not in self._plans:
            raise QuintetError(Exit.USAGE, f"--phase: found {wanted!r}; allowed are {', '.join(self._plans)}")
        for name, plan in self._plans.items():
            chosen = wanted is None or name == wanted
            self._phase(plan, chosen)
            if name == wanted and name in self._open and not self.outcome.jobs and not self.outcome.held:
                blocking = sorted(set(plan.after) & self._open)
                if blocking:
                    raise QuintetError(
                        Exit.INPUT, f"phase {name} reads {blocking[0]}, which is not merged and not submitted"
                    )
        return self.outcome

    def _phase(self, plan: Plan, chosen: bool) -> None:
        name = plan.phase
        before = [self._gates[earlier] for earlier in plan.after if earlier in self._gates]
        blocked = bool(set(plan.after) & self._open)
        arrays = self._journal.elements(name, self._queued)
        merges = self._journal.merges(name, self._queued)
        if lineage(self._plans, name) & self._renewed:
            arrays, merges = self._withdrawn(plan, arrays, merges)
        running = {shard for shards in arrays.values() for shard in shards}

        inputs = None if before or blocked else inputs_digest(self._run, plan)
        depth: Depth = "fast" if self._wishes.missing_only else "card"
        merged = inputs is not None and is_merged(self._run, plan, inputs, depth)
        # The last phase's merge renders the report from all results: it must come behind those that are made again.
        reports = bool(self._renewed) and name == list(self._plans)[-1]
        if merged and not reports:
            self._say(f"{name}: complete")
            return
        self.outcome.unmerged += not merged
        missing = () if merged else unfinished(self._run, plan, inputs)
        self.outcome.missing += len(missing)
        if blocked or not chosen:
            self._leave(plan, merges, blocked)
            return
        lacking = [shard for shard in missing if shard not in running]
        lacking, memory, held = self._judged(plan, lacking, inputs)
        if not lacking and merges and not reports:
            self._gates[name] = list(merges)[-1]
            self._say(f"{name}: {len(running)} shards queued or running, merge job {self._gates[name]} behind them")
            return
        if held and not lacking and not running:
            self._open.add(name)
            return
        # A merge that waits would run without the arrays that come now.
        self._cancel(name, [job for job, state in merges.items() if state == "PENDING"])
        self._renewed.add(name)
        fresh, refused = self._arrays(plan, lacking, memory, before)
        if refused:
            self._remainder(plan, refused)
            return
        self._merge(plan, [*arrays, *fresh], len(lacking), len(running))
        if held:  # this merge will be incomplete: it tells so, and nothing waits for it
            self._gates.pop(name, None)
            self._open.add(name)

    def _withdrawn(
        self, plan: Plan, arrays: dict[str, dict[int, str]], merges: dict[str, str]
    ) -> tuple[dict[str, dict[int, str]], dict[str, str]]:
        """Withdraw what waits for a merge that is out of date; return what runs all the same."""
        void = [job for job, shards in arrays.items() if "PENDING" in shards.values()]
        void += [job for job, state in merges.items() if state == "PENDING"]
        self._cancel(plan.phase, void)
        going = {
            job: {shard: state for shard, state in shards.items() if state != "PENDING"}
            for job, shards in arrays.items()
        }
        return {job: shards for job, shards in going.items() if shards}, {
            job: state for job, state in merges.items() if state != "PENDING"
        }

    def _leave(self, plan: Plan, merges: Mapping[str, str], blocked: bool) -> None:
        """Pass over a phase that was not asked for, or cannot follow what stands before it."""
        if merges and not blocked:
            self._gates[plan.phase] = list(merges)[-1]
            return
        self._open.add(plan.phase)
        if blocked:
            self._say(
                f"{plan.phase}: not submitted, {', '.join(sorted(set(plan.after) & self._open))} must be merged first"
            )

    def _judged(
        self, plan: Plan, shards: Sequence[int], inputs: str | None
    ) -> tuple[list[int], dict[int, float], dict[int, Verdict]]:
        """Return the shards to hand in, how much more memory some need, and those that need a person."""
        tried = {shard: attempts_of(self._run, plan.phase, shard) for shard in shards}
        found = verdicts(self._run, plan.phase, tried, self._desk.endings(killed_jobs(tried)), inputs)
        memory = {shard: verdict.memory for shard, verdict in found.items() if verdict.memory > 1}
        if not self._wishes.missing_only:
            return list(shards), memory, {}
        held = {shard: verdict for shard, verdict in found.items() if verdict.held is not None}
        for code in sorted({verdict.held for verdict in held.values() if verdict.held is not None}):
            numbers = [shard for shard, verdict in held.items() if verdict.held == code]
            self._say(
                f"{plan.phase}: NOT RETRIED: {len(numbers)} shards ended with {code}: {held[numbers[0]].reason}; "
                f"shards {listed(numbers)}. When mended: bin/submit {self._quoted} --phase {plan.phase}"
            )
        if held:
            self.outcome.held[plan.phase] = held
        return [shard for shard in shards if shard not in held], memory, held

    def _arrays(
        self, plan: Plan, shards: Sequence[int], memory: Mapping[int, float], before: Sequence[str]
    ) -> tuple[list[str], list[int]]:
        """Hand in arrays over the shards, one map for each amount of memory; return their jobs and what was refused."""
        jobs: list[str] = []
        refused: list[int] = []
        for factor in sorted({memory.get(shard, 1.0) for shard in shards}):
            group = [shard for shard in shards if memory.get(shard, 1.0) == factor]
            if refused:
                refused += group
                continue
            handed, left = self._group(plan, group, factor, before)
            jobs += handed
            refused += left
        return jobs, refused

    def _group(
        self, plan: Plan, shards: Sequence[int], factor: float, before: Sequence[str]
    ) -> tuple[list[str], list[int]]:
        base = int(plan.resources["mem_mb"])
        mem_mb = max(base, min(round(base * factor), self._site.max_mem_mb or round(base * MEMORY_CAP)))
        script = self._fresh_script(plan.phase)
        map_file = script.with_suffix(".map")
        text = array_script(self._site, self._job(plan), map_file, mem_mb)
        if self._room() < 1:
            return [], list(shards)
        self._write(map_file, "".join(f"{shard}\n" for shard in shards))
        self._write(script, text)
        if self._largest is None:
            self._largest = self._desk.largest_array()
        jobs: list[str] = []
        offset, size = 0, self._largest
        while offset < len(shards):
            count = min(size, len(shards) - offset, self._room())
            if count < 1:
                break
            arguments = self._array_arguments(script, offset, count, before)
            try:
                job = self._desk.submit(arguments)
            except (QueueFullError, ArrayTooLargeError) as error:
                # The limit itself is not told: halve until something fits.
                size = count // 2
                if size < 1 and isinstance(error, ArrayTooLargeError):
                    raise QuintetError(Exit.USAGE, f"sbatch: {error}") from None
                if size < 1:
                    break
                continue
            self._handed_in(
                Entry(plan.phase, "array", job, ["sbatch", *arguments], self._below(map_file), offset, count)
            )
            jobs.append(job)
            offset += count
        if not jobs:
            self._discard(map_file, script)
        return jobs, list(shards[offset:])

    def _array_arguments(self, script: Path, offset: int, count: int, before: Sequence[str]) -> list[str]:
        throttle = "" if self._wishes.throttle is None else f"%{self._wishes.throttle}"
        gate = [f"--dependency=afterok:{':'.join(before)}", "--kill-on-invalid-dep=yes"] if before else []
        return ["--parsable", f"--array=0-{count - 1}{throttle}", *gate, str(script), str(offset)]

    def _room(self) -> int:
        """Return how many more elements the site lets the user queue."""
        if self._site.max_submit is None:
            return sys.maxsize
        handed = sum(entry.count for entry in self._handed)
        return self._site.max_submit - self._taken - handed

    def _remainder(self, plan: Plan, refused: Sequence[int]) -> None:
        """Write down what a limit kept out; nothing follows it before it is in."""
        self.outcome.refused += len(refused)
        self._open.add(plan.phase)
        self._pending(Entry(plan.phase, "pending", count=len(refused), reason=f"queue full; shards {listed(refused)}"))
        self._say(
            f"{plan.phase}: the queue is full, {len(refused)} shards are pending; "
            f"repeat bin/submit {self._quoted} when some have ended"
        )

    def _merge(self, plan: Plan, arrays: Sequence[str], fresh: int, running: int) -> None:
        """Hand in the phase's merge behind its arrays; the last phase's also behind the other merges."""
        behind = list(arrays)
        if plan.phase == list(self._plans)[-1]:
            behind += [job for job in self._gates.values() if job not in behind]
        gate = any(plan.phase in other.after for other in self._plans.values())
        script = self._fresh_script(f"{plan.phase}.merge")
        wishes = self._wishes
        text = merge_script(
            self._site,
            self._job(plan),
            wishes.rounds,
            gate,
            only=wishes.phase is not None,
            throttle=wishes.throttle,
            max_cpu_hours=wishes.max_cpu_hours,
        )
        dependency = [f"--dependency=afterany:{':'.join(behind)}"] if behind else []
        arguments = ["--parsable", *dependency, str(script)]
        try:
            if self._room() < 1:
                raise QueueFullError(f"max_submit {self._site.max_submit}")
            self._write(script, text)
            job = self._desk.submit(arguments)
        except QueueFullError as error:
            self._discard(script)
            self.outcome.refused += 1
            self._open.add(plan.phase)
            self._pending(Entry(plan.phase, "pending", count=1, reason=f"merge: {error}"))
            self._say(f"{plan.phase}: the queue is full, its merge is pending; repeat bin/submit {self._quoted}")
            return
        self._handed_in(Entry(plan.phase, "merge", job, ["sbatch", *arguments], count=1))
        self._gates[plan.phase] = job
        if not self._paper:
            also = f", {running} queued or running before" if running else ""
            self._say(f"{plan.phase}: {fresh} shards in array {', '.join(arrays) or '-'}{also}; merge job {job}")

    def _job(self, plan: Plan) -> Job:
        seconds = plan.block_size * float(plan.estimates.get("seconds_per_unit") or 0.0)
        python = os.environ.get("QUINTET_PYTHON") or sys.executable
        return Job(
            self._root, plan.study, plan.phase, python, plan.resources, seconds, self._container, self._wishes.drift
        )

    def _fresh_script(self, stem: str) -> Path:
        """Return the name of the next script of a phase: numbers only go up, so that no queued array loses its map."""
        folder = self._root / "slurm"
        if stem not in self._numbers:
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            found = [re.fullmatch(rf"{re.escape(stem)}-(\d+)\.(?:map|sbatch)", name) for name in names]
            self._numbers[stem] = max((int(match[1]) for match in found if match is not None), default=0)
        self._numbers[stem] += 1
        return folder / f"{stem}-{self._numbers[stem]}.sbatch"

    def _write(self, path: Path, text: str) -> None:
        if not self._paper:
            make_folder(path.parent)
            replace_file(path, text.encode())

    def _discard(self, *paths: Path) -> None:
        """Remove the files of a job that was refused."""
        for path in () if self._paper else paths:
            path.unlink(missing_ok=True)

    def _below(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _handed_in(self, entry: Entry) -> None:
        try:
            self._record(entry)
        except OSError:
            self._desk.cancel([entry.job])  # what the journal does not know would be handed in twice
            raise
        self.outcome.jobs.append(entry.job)
        self._handed.append(entry)

    def _pending(self, entry: Entry) -> None:
        """Write down what was refused, once for as long as it stays the same."""
        last = next((found for found in reversed(self._journal.entries) if found.phase == entry.phase), None)
        if last is None or replace(last, argv=(), time="") != entry:
            self._record(entry)

    def _record(self, entry: Entry) -> None:
        if not self._paper:
            self._journal.append(entry)

    def _cancel(self, phase: str, jobs: Sequence[str]) -> None:
        if jobs:
            self._desk.cancel(jobs)
            for job in jobs:
                self._record(Entry(phase, "cancelled", job, reason="an earlier phase is computed again"))


def listed(numbers: Sequence[int]) -> str:
    """Return the first few numbers as text."""
    shown = ", ".join(str(number) for number in numbers[:8])
    return f"{shown}, … ({len(numbers)})" if len(numbers) > 8 else shown


def site_of(run: Run) -> Site:
    """Return the site that a run was planned for."""
    return read_site(run.plan_folder / "site.yaml")


def submit(run: Run, desk: Desk, wishes: Wishes, say: Callable[[str], None] = print) -> Outcome:
    """Hand in what a run lacks: arrays, merges behind them, later phases behind those.  Repeating it doubles nothing.

    Args:
        run: a planned run.
        desk: Slurm, or `Rehearsal`, which prints the lines and writes nothing.
        wishes: what the command line asks for.
        say: takes one line at a time for the person.

    Raises:
        QuintetError: 2 where the plan or site holds a value that may not stand in a batch script or Slurm refuses the
            job, 65 where `wishes.phase` follows a phase without a result, 69 where Slurm does not answer, 1 where the
            run has used the CPU hours that it may.
    """
    site = site_of(run)
    hold_to_cap(run, desk, wishes.max_cpu_hours or site.max_cpu_hours)
    if isinstance(desk, Rehearsal):
        return Chain(run, site, desk, wishes, say).submit()
    with study_lock(run.path / "submissions.lock", site.lock_kind):
        return Chain(run, site, desk, wishes, say).submit()
