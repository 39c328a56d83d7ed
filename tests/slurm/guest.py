"""A run that is to come home: planned from a demo, and submitted until it is done."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quintet.shard.errors import Exit
from quintet.shard.run import Run

from ..house import PROJECT


@dataclass
class Guest:
    """A run that is to come home: its folder, and the `bin/submit --until-done` that is to bring it there."""

    path: Path
    logs: Path
    environment: Mapping[str, str]
    codes: list[int] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def run(self) -> Run:
        return Run(self.path)

    @property
    def said(self) -> Path:
        """What its submissions printed."""
        return self.logs / f"{self.name}.submit.log"

    def verb(self, verb: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a verb of `bin/` on it to its end."""
        planning = [PROJECT / "configs" / self.name / "demo.yaml", "--run"] if verb == "plan" else []
        return subprocess.run(
            [PROJECT / "bin" / verb, *planning, self.path, *map(str, arguments)],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def start(self, verb: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a verb in the background."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [PROJECT / "bin" / verb, self.path, *arguments],
                cwd=PROJECT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    def set_out(self) -> None:
        """Start to bring it home."""
        self._process = self.start("submit", "--until-done", "--poll", "10", log=self.said)

    def arrived(self) -> int | None:
        """Return the exit code of a submission that has just ended."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            self._process = None
            self.codes.append(code)
        return code

    @property
    def is_home(self) -> bool:
        return self._process is None and self.codes[-1:] == [0]

    @property
    def waits_for_room(self) -> bool:
        return self._process is None and self.codes[-1:] == [int(Exit.CANNOT_WRITE)]

    def give_up(self) -> None:
        """End its submission."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
