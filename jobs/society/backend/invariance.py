"""The start-up self-test: does a row come out with the same bits whatever stands beside it in its batch?"""

from __future__ import annotations

from typing import Any

ROWS, PROMPT, STEPS = 5, 21, 1
CROWD = 40
"""Rows of the large batch: libraries of matrix products take other ways for few rows than for many."""


def self_test(engine: Any) -> str:
    """Return `"bitwise"` if rows alone, in company, in a crowd, reordered, and behind a shared prefix agree bit by bit.

    Otherwise `"tolerance"`: then batches must be composed within one run, so that its results stay the same however
    runs are shared out.
    """
    if not engine.shares_prefixes:
        return "tolerance"
    torch = engine.torch
    vocabulary = engine.architecture.vocabulary
    rows = [[(7 * place + 13 * row * place + 5) % vocabulary for place in range(PROMPT + row)] for row in range(ROWS)]
    for row in rows[1:]:
        row[:16] = rows[0][:16]
    with torch.inference_mode():
        together = _logits(engine, rows, [None] * ROWS)
        backwards = _logits(engine, rows[::-1], [None] * ROWS)
        alone = _logits(engine, [rows[3]], [None])[0]
        batch = engine.open([None], 16)
        engine.forward(batch, [rows[0][:16]], [0])
        prefix = engine.prefix_of(batch, 0, rows[0][:16])
        crowd = [rows[place % ROWS] for place in range(CROWD)]
        behind = _logits(engine, crowd, [prefix] * CROWD)
    same = (
        all(torch.equal(a, b) for a, b in zip(together, backwards[::-1], strict=True))
        and torch.equal(alone, together[3])
        and all(torch.equal(a, b) for a, b in zip(together * (CROWD // ROWS), behind, strict=True))
    )
    return "bitwise" if same else "tolerance"


def _logits(engine: Any, rows: list[list[int]], prefixes: list[Any]) -> list[Any]:
    """Return, for each row, its logits after the prompt and after some further tokens, stacked."""
    batch = engine.open(prefixes, max(len(row) for row in rows) + STEPS + 1)
    new = [row[len(prefix.ids) if prefix else 0 :] for row, prefix in zip(rows, prefixes, strict=True)]
    parts = [engine.logits(engine.forward(batch, new, [0] * len(rows)))]
    for step in range(STEPS):
        parts.append(engine.logits(engine.forward(batch, [[step + 3]] * len(rows), [0] * len(rows))))
    return list(engine.torch.stack(parts, dim=1))
