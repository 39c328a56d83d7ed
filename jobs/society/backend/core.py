"""The back end: prompts, generation, choices and scores over rows with their own doses, in batches.

Rows are sorted by length and cut into batches; rows of a batch share the keys and values of common prompt beginnings
(exact, since steering leaves those positions alone); finished rows are dropped from the batch as it goes on.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..prompts import INTERVIEW_SYSTEM
from ..steering import Steering
from .embeddings import Embeddings
from .engine import Batch, Prefix
from .prefixes import PREFIX_LEAST, Prefixes, common_prefix
from .rows import Choice, Generation, Row, check_rows
from .sampling import Sampling
from .tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import torch

Steerings = Steering | Sequence[Steering | None] | None
"""One steering for all rows, one for each, or none."""
LOGIT_ROWS = 128
"""Positions whose logits over the vocabulary stand in memory at a time."""


class Backend:
    """A language model with steering.

    Args:
        engine: forward passes (`LlamaEngine` or `HookEngine`).
        tokenizer: its tokenizer.
        name: as configured.
        sha256: digest of the model.
        dtype: name of the number type.
        batch_size: rows in one forward pass.

    Attributes:
        invariance: `"bitwise"` where results do not depend on a batch's composition, else `"tolerance"`.
    """

    def __init__(
        self,
        engine: Any,
        tokenizer: ChatTokenizer,
        *,
        name: str,
        sha256: str,
        dtype: str,
        batch_size: int = 32,
        prefix_reuse: bool = True,
        folder: Any = None,
        invariance: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: found {batch_size}; allowed is an integer of at least 1")
        self.engine, self.tokenizer = engine, tokenizer
        self.name, self.sha256, self.dtype = name, sha256, dtype
        self.batch_size, self.prefix_reuse, self.folder = batch_size, prefix_reuse, folder
        self.rows_served = 0
        self._invariance = invariance
        self.prefixes = Prefixes(engine)
        self.embeddings = Embeddings(engine, tokenizer)

    @property
    def n_blocks(self) -> int:
        """How many decoder blocks the model has."""
        return int(self.engine.architecture.blocks)

    @property
    def hidden(self) -> int:
        """The width of the residual stream."""
        return int(self.engine.architecture.hidden)

    @property
    def max_position(self) -> int:
        """The largest length of prompt and text together."""
        return int(self.engine.architecture.max_position)

    @property
    def invariance(self) -> str:
        """What the self-test of this machine found; it runs when it is first asked for."""
        if self._invariance is None:
            from .invariance import self_test

            self._invariance = self_test(self.engine)
        return self._invariance

    @property
    def blocks(self) -> dict[int, torch.nn.Module]:
        """The decoder blocks of the model as transformers modules, for hooks."""
        return dict(enumerate(self.module.model.layers))

    @property
    def module(self) -> Any:
        """The model as a transformers module, sharing the engine's weights where it can."""
        from .modules import shared_module

        if getattr(self.engine, "module", None) is None:
            self.engine.module = shared_module(self.engine, self.folder)
        return self.engine.module

    def prompt(self, user: str, system: str = INTERVIEW_SYSTEM) -> list[int]:
        """Return the ids of a chat up to the newline of the assistant's header."""
        return self.tokenizer.encode(self.tokenizer.render(system, user))

    def verb_ids(self, verbs: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each verb.

        Raises:
            ValueError: a verb has none.
        """
        ids = [self.tokenizer.encode(verb) for verb in verbs]
        for verb, tokens in zip(verbs, ids, strict=True):
            if not tokens:
                raise ValueError(f"verbs: {verb!r} has no token")
        return ids

    # rows

    def generate(
        self,
        rows: Sequence[Row],
        steering: Steering | None = None,
        *,
        temperature: float = 0.7,
        top_p: float = 0.9,
        repetition_penalty: float | None = None,
        seed: int = 0,
    ) -> list[Generation]:
        """Return a continuation of each row, in row order, ended by the end token or the row's limit.

        Args:
            rows: any number of prompts.
            steering: how coefficients become doses; None: nothing is added.
            temperature: 0 is greedy.
            top_p: nucleus.
            repetition_penalty: None is 1.15, and 1 when greedy.
            seed: of the random numbers, which also depend on the row's key and the token's place.

        Raises:
            ValueError: a prompt is empty or too long, a number is out of range, or a block has no vectors.
            FloatingPointError: the model gave NaN; row and dose are named.
        """
        _check_sampling(temperature, top_p, repetition_penalty)
        penalty = repetition_penalty or (1.15 if temperature > 0 else 1.0)
        texts: list[list[int]] = [[] for _ in rows]
        for picked in self.batches(rows):
            chosen = [rows[index] for index in picked]
            mine = _picked(steering, picked)
            batch, hidden = self.opened(chosen, mine, [row.max_new_tokens for row in chosen])
            settings = [
                Sampling(temperature, top_p, penalty, seed, *row.counter(), row.max_new_tokens) for row in chosen
            ]
            for _ in self.continued(batch, hidden, settings):
                pass
            for index, state in zip(picked, settings, strict=True):
                texts[index] = state.tokens
        return [Generation(tokens, self.tokenizer.decode(tokens)) for tokens in texts]

    def choose(
        self,
        rows: Sequence[Row],
        verbs: Sequence[str],
        steering: Steering | None = None,
        *,
        prior: Any = None,
        gain: float = 1.0,
        temperature: float = 1.0,
    ) -> Choice:
        """Return how likely each verb is as the next word of each row.

        A verb of several tokens counts with the sum over them.

        Raises:
            ValueError: no verbs, `temperature` not above 0, or `prior` of another length.
        """
        if not verbs:
            raise ValueError("verbs: found none; allowed is at least one")
        if not temperature > 0:
            raise ValueError(f"temperature: found {temperature}; allowed is a number above 0")
        base = np.zeros(len(verbs)) if prior is None else np.asarray(prior, np.float64)
        if base.shape != (len(verbs),):
            raise ValueError(f"prior: found shape {base.shape}; allowed is ({len(verbs)},)")
        ids = self.verb_ids(verbs)
        logprobs = np.zeros((len(rows), len(verbs)))
        for picked in self.batches(rows):
            chosen = [rows[index] for index in picked]
            batch, hidden = self.opened(chosen, steering, [max(len(tokens) for tokens in ids)] * len(chosen))
            logprobs[picked] = self.verb_logprobs(batch, hidden, ids)
        scores = gain * (logprobs - base) / temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True)) if len(rows) else scores
        return Choice(logprobs, weights / weights.sum(axis=1, keepdims=True))

    def answer_logprobs(
        self, rows: Sequence[Row], answers: Sequence[Sequence[int]], steering: Steering | None = None
    ) -> NDArray[np.float64]:
        """Return the mean log-probability per token of an answer to each row, f8[rows].

        Raises:
            FloatingPointError: the model gave NaN; row and dose are named.
        """
        result = np.zeros(len(rows))
        for _ in self.answer_steps(rows, answers, steering, result):
            pass
        return result

    def answer_steps(
        self,
        rows: Sequence[Row],
        answers: Sequence[Sequence[int]],
        steering: Steerings,
        result: NDArray[np.float64],
        cuts: Sequence[Sequence[int]] | None = None,
        places: Sequence[str] = (),
    ) -> Generator[None, None, None]:
        """Fill `result` with the mean log-probabilities of answers; yields after every batch.

        `places` says whose rows they are, for the error where the model gave NaN.
        """
        torch = self.engine.torch
        full = [
            Row([*row.ids, *answer[:-1]], row.coefficients, row.steered + len(answer) - 1, 1)
            for row, answer in zip(rows, answers, strict=True)
        ]
        for picked in self.batches(full):
            chosen = [full[index] for index in picked]
            wanted = [range(len(rows[i].ids) - 1, len(rows[i].ids) - 1 + len(answers[i])) for i in picked]
            lengths = [cuts[index] for index in picked] if cuts else None
            batch, hidden = self.opened(chosen, _picked(steering, picked), [0] * len(chosen), wanted, lengths)
            tokens = torch.tensor([token for index in picked for token in answers[index]], device=hidden.device)
            with torch.inference_mode():
                found = self.token_logprobs(hidden, tokens)
            own = found.split([len(answers[index]) for index in picked])
            for place, (index, mine) in enumerate(zip(picked, own, strict=True)):
                result[index] = float(mine.mean())
                if not np.isfinite(result[index]):
                    whose = f", {places[index]}" if places else ""
                    raise FloatingPointError(f"NaN in the logits of an answer: {_place(batch, place, index)}{whose}")
            yield

    def token_logprobs(self, hidden: Any, tokens: Any) -> Any:
        """Return the log-probability of each token after its hidden state, f8[tokens]."""
        torch, parts = self.engine.torch, []
        for states, wanted in zip(hidden.split(LOGIT_ROWS), tokens.split(LOGIT_ROWS), strict=True):
            logits = self.engine.logits(states).double()
            parts.append(logits.gather(1, wanted[:, None])[:, 0] - torch.logsumexp(logits, dim=-1))
        return torch.cat(parts)

    def batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return the numbers of the rows of each batch; rows of similar length stand together.

        Raises:
            ValueError: a prompt is empty, holds unknown ids, or is too long for its limit.
        """
        check_rows(rows, int(self.engine.architecture.vocabulary), self.max_position)
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index].ids), index))
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def opened(
        self,
        rows: Sequence[Row],
        steering: Steerings,
        room: Sequence[int],
        wanted: Sequence[Sequence[int]] | None = None,
        cuts: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Batch, Any]:
        """Run the prompts of one batch and return it with the hidden states at its last positions.

        Args:
            rows: the prompts.
            steering: doses.
            room: how many tokens each row may still grow.
            wanted: positions of the prompt whose hidden states are returned, by row; None: the last.
            cuts: for each row, lengths of beginnings that other batches share too.
        """
        with self.engine.torch.inference_mode():
            dose = self._dose(rows, steering)
            prefixes = self._shared(rows, cuts, wanted)
            longest = max(len(row.ids) + extra for row, extra in zip(rows, room, strict=True)) + 1
            batch = self.engine.open(prefixes, longest, dose)
            held = [len(prefix.ids) if prefix else 0 for prefix in prefixes]
            new = [list(row.ids[start:]) for row, start in zip(rows, held, strict=True)]
            steered = [row.steered if dose else 0 for row in rows]
            local = None
            if wanted is not None:
                local = [[at - start for at in positions] for positions, start in zip(wanted, held, strict=True)]
            hidden = self.engine.forward(batch, new, steered, local)
            self.rows_served += len(rows)
            return batch, hidden

    def _dose(self, rows: Sequence[Row], steering: Steerings) -> dict[int, Any]:
        """Return what is added at each block; rows without steering get zeros."""
        each = [steering] * len(rows) if steering is None or isinstance(steering, Steering) else list(steering)
        doses: dict[int, NDArray[np.float32]] = {}
        for one in dict.fromkeys(each):
            if one is None:
                continue
            self._check(one)
            mine = [index for index, other in enumerate(each) if other is one]
            for block, values in one.dose([rows[index].coefficients for index in mine]).items():
                doses.setdefault(block, np.zeros((len(rows), self.hidden), np.float32))[mine] = values
        return {block: self.engine.torch.from_numpy(values) for block, values in doses.items()}

    def _check(self, steering: Steering) -> None:
        if steering.vectors.hidden != self.hidden:
            raise ValueError(f"steering: vectors have width {steering.vectors.hidden}, the model {self.hidden}")
        if max(steering.layers) >= self.n_blocks:
            raise ValueError(f"layers: found {max(steering.layers)}; {self.name} has blocks 0 to {self.n_blocks - 1}")

    def _shared(
        self, rows: Sequence[Row], cuts: Sequence[Sequence[int]] | None, wanted: Sequence[Sequence[int]] | None
    ) -> list[Prefix | None]:
        """Return the longest shared beginning of each row, computed where it is not known yet."""
        if not self.prefix_reuse or not self.engine.shares_prefixes:
            return [None] * len(rows)
        limits = [
            min(len(row.ids) - max(row.steered, 1), min(positions) if wanted and len(positions) else len(row.ids))
            for row, positions in zip(rows, wanted or [()] * len(rows), strict=True)
        ]
        if cuts is None:
            length = common_prefix([row.ids for row in rows]) if len(rows) > 1 else 0
            cuts = [[length] for _ in rows]
        result: list[Prefix | None] = []
        for row, lengths, limit in zip(rows, cuts, limits, strict=True):
            found: Prefix | None = None
            for length in sorted(lengths):
                if PREFIX_LEAST <= length <= limit:
                    found = self.prefixes.get(tuple(row.ids[:length]), found)
            result.append(found)
        return result

    def verb_logprobs(
        self, batch: Batch, hidden: Any, verbs: Sequence[Sequence[int]], places: Sequence[str] = ()
    ) -> NDArray[np.float64]:
        """Return f8[rows, verbs] from the hidden states at the prompts' ends; the batch stays as it is.

        `places` says whose rows they are, for the error where the model gave NaN.
        """
        torch = self.engine.torch
        with torch.inference_mode():
            table = torch.log_softmax(self.engine.logits(hidden).double(), dim=-1)
            result = table[:, [tokens[0] for tokens in verbs]].cpu().numpy()
            for column, tokens in enumerate(verbs):
                for place in range(1, len(tokens)):
                    start = list(batch.lengths)
                    steered = [place if batch.dose else 0] * batch.rows
                    after = self.engine.forward(batch, [list(tokens[:place])] * batch.rows, steered)
                    self.engine.rewind(batch, start)
                    further = torch.log_softmax(self.engine.logits(after).double(), dim=-1)
                    result[:, column] += further[:, tokens[place]].cpu().numpy()
        bad = np.nonzero(~np.isfinite(result).all(axis=1))[0]
        if len(bad):
            whose = f", {places[batch.order[int(bad[0])]]}" if places else ""
            raise FloatingPointError(f"NaN in the logits of a choice: {_place(batch, int(bad[0]))}{whose}")
        return cast("NDArray[np.float64]", result)

    def continued(self, batch: Batch, hidden: Any, settings: Sequence[Sampling]) -> Generator[None, None, None]:
        """Generate until every row has ended; `settings[i].tokens` holds the text of the batch's row i.

        Yields after every step.
        """
        torch = self.engine.torch
        ends = frozenset(self.tokenizer.eos_ids)
        while batch.rows:
            with torch.inference_mode():
                logits = self.engine.logits(hidden).cpu().numpy()
            alive, new = [], []
            for row, values in enumerate(logits):
                state = settings[batch.order[row]]
                if np.isnan(values).any():
                    raise FloatingPointError(f"NaN in the logits: {_place(batch, row)}, {state.place}")
                token = state.next(values) if state.wants_more else None
                if token is None or token in ends:
                    continue
                state.tokens.append(token)
                if state.ended(self.tokenizer):
                    continue
                alive.append(row)
                new.append(token)
            if not alive:
                return
            if len(alive) < batch.rows:
                tokens_of = {batch.order[row]: token for row, token in zip(alive, new, strict=True)}
                self.engine.keep(batch, alive)
                new = [tokens_of[number] for number in batch.order]
            with torch.inference_mode():
                hidden = self.engine.forward(batch, [[token] for token in new], [1 if batch.dose else 0] * batch.rows)
            yield

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, from the cache where it is known."""
        return self.embeddings(text)

    def embed_anew(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, computed."""
        return self.embeddings.compute(text)

    def serve(self, request: Any, voices: Sequence[Any]) -> Generator[None, None, list[Any]]:
        """Answer a request of simulations; `voices` gives each item's run."""
        from .serving import served

        return (yield from served(self, request, voices))


def _place(batch: Batch, row: int, number: int | None = None) -> str:
    """Return which row it is (of the batch, unless its number is given), how it is steered, and what may help."""
    norms = ", ".join(f"{float(delta[row].float().norm()):.3g} at block {block}" for block, delta in batch.dose.items())
    number = batch.order[row] if number is None else number
    return f"row {number}, dose {norms or 'none'}; a lower steering.strength may help"


def _picked(steering: Steerings, rows: Sequence[int]) -> Steerings:
    """Return the steering of some of the rows."""
    if steering is None or isinstance(steering, Steering):
        return steering
    return [steering[row] for row in rows]


def _check_sampling(temperature: float, top_p: float, penalty: float | None) -> None:
    if not temperature >= 0:
        raise ValueError(f"temperature: found {temperature}; allowed is a number of at least 0")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: found {top_p}; allowed is a number above 0 and at most 1")
    if penalty is not None and not 1 <= penalty <= 2:
        raise ValueError(f"repetition_penalty: found {penalty}; allowed is a number from 1 to 2")


def coefficient_map(row: Sequence[float]) -> Mapping[str, float]:
    """Return five coefficients in trait order as a trait map."""
    from ..traits import TRAITS

    return dict(zip(TRAITS, row, strict=True))
