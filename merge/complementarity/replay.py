"""`replay RUN`: one pair again by the plain program, session by session, held against what is stored of it."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from ...jobs.complementarity.octants import COMPLEMENTARITY_DISTANCE
from ...jobs.complementarity.reference import Pair, simulate_pair
from ...jobs.complementarity.simulation import CATEGORIES
from ...shard.commands.base import run_command
from ...shard.errors import Exit, QuintetError
from ...shard.publish import replace_file
from .stored import StoredPair, StoredRun, differing, outcome_columns, packed_bytes
from .tables import csv_bytes

LISTED = 5


def session_table(pair: Pair, therapist: str) -> pd.DataFrame:
    """Sessions of one of a pair's runs.

    Args:
        pair: both runs.
        therapist: "v2" or "baseline".

    Returns:
        Per session the octants `client`, `enacted`, `perceived` (0..7), the `distance` of the enacted one from
        the complement (0..4), satisfaction `rs` and `bond` after the session, the strategic therapist's `phase`
        and target (`target_client`, `target_therapist`; empty where it has none), and `p0`..`p7`, the
        probabilities of the client's octants before the session.
    """
    run = pair.v2 if therapist == "v2" else pair.baseline
    records = [
        {
            "session": number,
            "client": session.client,
            "enacted": session.enacted,
            "perceived": session.perceived,
            "distance": int(COMPLEMENTARITY_DISTANCE[session.client, session.enacted]),
            "rs": session.rs,
            "bond": session.bond,
            "phase": session.phase if therapist == "v2" else "",
            "target_client": session.target[0] if session.target else None,
            "target_therapist": session.target[1] if session.target else None,
            **{f"p{octant}": p for octant, p in enumerate(session.probabilities)},
        }
        for number, session in enumerate(run.sessions, 1)
    ]
    table = pd.DataFrame(records)
    return table.astype({"target_client": "Int64", "target_therapist": "Int64"})


def disagreements(pair: Pair, stored: StoredPair) -> list[str]:
    """Where a replayed pair differs from the stored one, a line each; empty where every stored byte is equal."""
    replayed = outcome_columns(pair)
    columns = {name: np.atleast_1d(value) for name, value in stored.outcome.items()}
    lines = [
        f"{name}: stored {columns[name][0]}, replayed {replayed[name][0]}" for name, _ in differing(columns, replayed)
    ]
    for therapist, packed in stored.packed.items():
        again = packed_bytes(pair.v2 if therapist == "v2" else pair.baseline)
        shared = min(len(packed), len(again))
        places = np.flatnonzero(packed[:shared] != again[:shared])
        lines += [
            f"{therapist} session {place + 1}: stored byte {packed[place]}, replayed {again[place]}" for place in places
        ]
        if len(packed) != len(again):
            lines.append(f"{therapist}: {len(packed)} sessions stored, {len(again)} replayed")
    return lines


def shown(table: pd.DataFrame) -> str:
    """The table for a terminal."""
    probabilities = [name for name in table if name.startswith("p") and name[1:].isdigit()]
    digits = dict.fromkeys(("rs", "bond"), "{:.4f}".format) | dict.fromkeys(probabilities, "{:.2f}".format)
    narrow = table.rename(columns={"target_client": "target_c", "target_therapist": "target_t"})
    return str(narrow.to_string(index=False, formatters=digits, na_rep="-"))


@click.command("replay")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--config-idx", type=int, required=True, help="Number of the config, from 0.")
@click.option("--seed", type=int, required=True, help="Seed of the client.")
@click.option("--therapist", type=click.Choice(["v2", "baseline"]), default="v2", show_default=True)
@click.option("--csv", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write the sessions there.")
def command(run: Path, config_idx: int, seed: int, therapist: str, target: Path | None) -> None:
    """Show every session of one pair of RUN, simulated again by the plain program and compared with what is stored."""
    stored_run = StoredRun(run)
    stored = stored_run.pair(config_idx, seed)
    pair = simulate_pair(stored_run.params(config_idx), seed)
    table = session_table(pair, therapist)
    if target is None:
        click.echo(shown(table))
    else:
        replace_file(target, csv_bytes(table))
    success, dropout = (getattr(pair, f"{therapist}_{what}") for what in ("success", "dropout"))
    end = "success" if success else "dropout" if dropout else "no success"
    category = CATEGORIES[pair.category]
    click.echo(f"config {config_idx}, seed {seed}, {therapist}: {len(table)} sessions, {end}; pair: {category}")
    if lines := disagreements(pair, stored):
        more = f"; {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        raise QuintetError(Exit.CHECK, f"differs from what is stored: {'; '.join(lines[:LISTED])}{more}")
    click.echo(f"equal to what is stored (outcome; trajectories: {', '.join(stored_run.kept) or 'none kept'})")


if __name__ == "__main__":
    run_command(command, name="bin/complementarity replay")
