"""Contrast items: pairs of answers that a high and a low scorer of a trait would give."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .templates import PACKAGED
from .traits import TRAITS


@dataclass(frozen=True)
class ContrastItem:
    """A situation with two answers; items of the split `eval` are never used for extraction."""

    id: str
    split: str
    stem: str
    high: str
    low: str


def _normalised(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def load_contrast_items(path: str | Path | None = None) -> dict[str, list[ContrastItem]]:
    """Return the contrast items of each trait, in the order of the file.

    Args:
        path: a JSON file of the packaged one's form; None reads the packaged one (5 x 24 items, CC0).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a trait is unknown, an item lacks one of its two answers, or train and eval items overlap.
    """
    path = Path(path) if path is not None else PACKAGED / "contrast_items.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        traits = content["traits"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of contrast items: {error}") from None
    items: dict[str, list[ContrastItem]] = {}
    for trait, entry in traits.items():
        if trait not in TRAITS:
            raise ValueError(f"{path}: found trait {trait!r}; allowed are {', '.join(TRAITS)}")
        items[trait] = [_item(path, trait, fields) for fields in entry["items"]]
        _check_disjoint(path, trait, items[trait])
    return items


def _item(path: Path, trait: str, fields: dict[str, str]) -> ContrastItem:
    name = fields.get("id", "?")
    for key in ("id", "split", "stem", "high", "low"):
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            raise ValueError(f"{path}: {trait}: item {name}: {key} is missing; an item has two answers, high and low")
    if fields["split"] not in ("train", "eval"):
        raise ValueError(f"{path}: {trait}: item {name}: split: found {fields['split']!r}; allowed are train, eval")
    return ContrastItem(fields["id"], fields["split"], fields["stem"], fields["high"], fields["low"])


def _check_disjoint(path: Path, trait: str, items: list[ContrastItem]) -> None:
    train = [item for item in items if item.split == "train"]
    held_out = [item for item in items if item.split == "eval"]
    ids = {item.id for item in train}
    texts = {_normalised(text) for item in train for text in (item.stem, item.high, item.low)}
    for item in held_out:
        if item.id in ids:
            raise ValueError(f"{path}: {trait}: item {item.id} is a train and an eval item")
        for text in (item.stem, item.high, item.low):
            if _normalised(text) in texts:
                raise ValueError(f"{path}: {trait}: eval item {item.id} repeats a train item: {text!r}")


@cache
def eval_items() -> dict[str, list[ContrastItem]]:
    """Return the packaged items that are held out from extraction."""
    return {trait: [item for item in items if item.split == "eval"] for trait, items in load_contrast_items().items()}
