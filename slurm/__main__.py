"""`python -m quintet.slurm`: the verb `submit` as a process."""

from __future__ import annotations

from ..shard.commands.base import run_command
from .commands import command

if __name__ == "__main__":
    run_command(command)
