"""Where a process may write files that nobody needs after it: on the node's own disk."""

from __future__ import annotations

import os


def scratch_base() -> str | None:
    """Return the first of $SLURM_TMPDIR and $TMPDIR that can be written; None leaves the choice to the system."""
    for name in ("SLURM_TMPDIR", "TMPDIR"):
        folder = os.environ.get(name)
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):  # noqa: PTH112
            return folder
    return None
