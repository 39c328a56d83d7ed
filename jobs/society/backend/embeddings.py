"""Embeddings of texts from a model's input table, computed once per text."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .tokenizer import ChatTokenizer

KEPT = 100_000


class Embeddings:
    """The mean input embedding of a text's tokens less that of all tokens, of unit length, f4[hidden].

    Attributes:
        lookups, hits: how often an embedding was asked for, and found.
    """

    def __init__(self, engine: Any, tokenizer: ChatTokenizer) -> None:
        self._engine, self._tokenizer = engine, tokenizer
        self._known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._mean_row: NDArray[np.float64] | None = None
        self.lookups = self.hits = 0

    def __call__(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, from the cache where it is known."""
        self.lookups += 1
        key = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.compute(text)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        else:
            self.hits += 1
            self._known.move_to_end(key)
        return found

    def compute(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, computed; zeros for a text without tokens."""
        table = self._engine.embedding_table()
        if self._mean_row is None:
            self._mean_row = table.double().mean(dim=0).cpu().numpy()
        ids = self._tokenizer.encode(text)
        if not ids:
            return np.zeros(len(self._mean_row), np.float32)
        rows = table[self._engine.torch.tensor(ids, device=table.device)]
        vector = rows.double().mean(dim=0).cpu().numpy() - self._mean_row
        length = float(np.sqrt((vector * vector).sum()))
        unit: NDArray[np.float32] = (vector / length if length > 0 else vector).astype(np.float32)
        return unit
