"""One worker of a pull phase: claims trials until none is left, publishing each before it is told."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from .checkpoints import Checkpoints
from .element import Element, Stopped, run_task
from .errors import Exit
from .partial import build, read_arrays
from .payload import Payload, empty_unit
from .publish import publish, retried, set_aside
from .scan import Found, examine, scan_trials
from .trials import Claim, FinishedTrial, LeaseLost, Owner, Renewal, SearchSpec, TrialStore

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .lock import LockKind
    from .phases import Phase, Work
    from .run import Plan, Run

WAIT_S = (0.2, 1.0)
RENEWALS_PER_LEASE = 4


def published_trials(run: Run, plan: Plan, inputs: str) -> Iterator[FinishedTrial]:
    """Yield every trial whose partial can be believed, in order of the numbers."""
    for found in scan_trials(run, plan, inputs, "fast"):
        trial = trial_in(found)
        if trial is not None:
            yield trial


def trial_in(found: Found) -> FinishedTrial | None:
    """Return the trial that a trial's file holds; None for a file that cannot be believed."""
    if found.reason is not None or found.card is None:
        return None
    return believed(found.path, found.number, found.card.pd)


def believed(path: Path, number: int, digest: str) -> FinishedTrial | None:
    """Return the trial `number` that a partial with a right card holds; None where its content is no such trial."""
    try:
        trial = trial_of(retried(lambda: read_arrays(path)), path.name, digest)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError):
        return None
    return trial if trial.number == number and (trial.value is None or math.isfinite(trial.value)) else None


def trial_of(arrays: Mapping[str, Any], name: str, digest: str) -> FinishedTrial:
    """Return the trial that a partial's arrays describe."""
    failed = bool(arrays["rows/failed"][0])
    attributes = json.loads(arrays["rows/attributes"].tobytes())
    return FinishedTrial(
        number=int(arrays["rows/number"][0]),
        state="FAIL" if failed else "COMPLETE",
        value=None if failed else float(arrays["rows/value"][0]),
        parameters=json.loads(arrays["rows/parameters"].tobytes()),
        user_attrs={**attributes, "partial": name, "digest": digest},
    )


def open_store(context: Context, inputs: str, work: Work, stopping: Any = None) -> TrialStore:
    """Return the trial store of a pull phase."""
    phase, plan = context.phase, context.plan
    spec = replace(
        search_of(phase),
        n_trials=plan.units or 0,
        lock_kind=cast("LockKind", plan.lock_kind),
        origin=f"config {plan.config_sha256[:16]}, inputs {inputs}",
    )
    return TrialStore(
        context.run.store(phase.name),
        spec,
        published=lambda: published_trials(context.run, plan, inputs),
        propose=work.propose,
        stopping=stopping,
    )


def search_of(phase: Phase) -> SearchSpec:
    """Return what a pull phase searches."""
    if phase.search is None:
        raise ValueError(f"phase {phase.name} is a pull phase without a search")
    return phase.search


def json_bytes(value: Any) -> Any:
    """Return canonical JSON as an array of bytes."""
    import numpy as np

    return np.frombuffer(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), dtype="u1")


def trial_columns(claim: Claim, result: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's result with the columns that every trial's partial has."""
    failure = result.pop("failure", None)
    value = result.pop("value", None)
    attributes = dict(result.pop("attributes", {}))
    if failure is None and (value is None or not math.isfinite(value)):
        failure = f"value is {value}"
    if failure is not None:
        attributes["reason"] = str(failure)
    parameters, attributes = json_bytes(dict(claim.parameters)), json_bytes(attributes)
    return {
        **result,
        "rows/number": [claim.number],
        "rows/failed": [int(failure is not None)],
        "rows/value": [float("nan") if failure is not None or value is None else float(value)],
        "rows/parameters": parameters,
        "rows/parameters_length": [len(parameters)],
        "rows/attributes": attributes,
        "rows/attributes_length": [len(attributes)],
    }


def run_trial(element: Element, context: Context, work: Work, store: TrialStore, claim: Claim) -> None:
    """Evaluate one claimed trial, publish its partial, and tell the store."""
    plan = element.plan
    path = element.run.trial_file(plan.phase, claim.number)
    checkpoints = Checkpoints(element.run, plan, element.inputs, claim.number, 1)
    standing = examine(path, claim.number, plan, element.inputs, "fast", (claim.number, claim.number + 1))
    published = trial_in(standing)
    if published is not None:
        # an earlier attempt published it and died before it was told
        store.tell(claim, published)
        checkpoints.drop()
        return
    if standing.reason is None:
        set_aside(path, element.quarantine)
    begun = time.monotonic()
    search = search_of(context.phase)
    beat_s = search.heartbeat_seconds or search.lease_seconds / RENEWALS_PER_LEASE
    with Renewal(store, claim, beat_s) as renewal:
        if claim.attempt > search.max_attempts:
            result = lost_too_often(context.phase, search.max_attempts)
        else:
            task = work.trial(claim.number, claim.parameters)
            result = dict(run_task(element, task, checkpoints, float(plan.resources["checkpoint_s"]), renewal.check))
        store.heartbeat(claim)
        payload = Payload(context.phase, claim.number)
        payload.add(trial_columns(claim, result), 1)
        arrays = payload.arrays()
        card = element.card(claim.number, claim.number, claim.number + 1, 1)
        content, card = build(card, arrays, element.facts(claim.number, claim.number + 1, 1))
        publish(path, content, card, element.quarantine)
        store.tell(claim, trial_of(arrays, path.name, card.pd))
    checkpoints.drop()
    told = getattr(work, "told", None)
    if told is not None:
        told(claim.number, store.finished())
    element.attempt.block_seconds.append(time.monotonic() - begun)
    element.attempt.blocks_done += 1
    element.attempt.units_done += 1


def lost_too_often(phase: Phase, attempts: int) -> dict[str, Any]:
    """Return the result of a trial that no attempt brought to its end, the same whoever publishes it."""
    reason = f"lost {attempts} times: its workers were killed or stopped renewing their leases"
    return {**empty_unit(phase.datasets), "failure": reason}


def forget_lost_trials(element: Element, store: TrialStore) -> bool:
    """Let a search forget the trials whose partials are lost or damaged; return whether there was one.

    The partials are the truth: the database is set aside, and made again from those that stand. A damaged one stays
    under its name, so that it is known to be lacking until its trial is published again.
    """
    run, plan, lost = element.run, element.plan, False
    for number in (trial.number for trial in store.finished()):
        path = run.trial_file(plan.phase, number)
        found = examine(path, number, plan, element.inputs, "fast", (number, number + 1))
        if found.reason is None:
            continue
        print(f"{path.name}: {found.reason} {found.detail}; the trial is computed again", file=sys.stderr)
        lost = True
    if lost:
        with suppress(FileNotFoundError):  # another worker was quicker
            store.set_aside()
    return lost


def run_worker(element: Element, context: Context, work: Work) -> Exit:
    """Claim trials until the search is done, or nobody's help is wanted any more, or a signal comes."""
    store = open_store(context, element.inputs, work, element.stop.requested)
    foreign = store.set_foreign_aside()
    if foreign is not None:
        print(f"{store.path.name}: of another config or other inputs; set aside as {foreign.name}", file=sys.stderr)
    owner = Owner.of(os.environ)
    waited_until = None
    wait_seconds = search_of(context.phase).wait_seconds
    while not element.stop.requested():
        claim = store.claim(owner)
        if claim == "done":
            if not forget_lost_trials(element, store):
                return Exit.OK
            continue
        if claim == "wait":
            waited_until = waited_until or time.monotonic() + wait_seconds
            if time.monotonic() >= waited_until:
                return Exit.OK
            time.sleep(random.uniform(*WAIT_S))
            continue
        waited_until = None
        try:
            run_trial(element, context, work, store, claim)
        except Stopped:
            with suppress(LeaseLost):  # another worker has it already
                store.give_back(claim)
            return Exit.STOPPED
        except LeaseLost:
            print(
                f"trial {claim.number}: taken over by another worker; nothing of this attempt is kept", file=sys.stderr
            )
    return Exit.STOPPED
