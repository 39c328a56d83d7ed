"""Tokenizers with a chat template: Hugging Face's files, or bytes for the small random model."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol


class ChatTokenizer(Protocol):
    """Text to tokens and back."""

    eos_ids: tuple[int, ...]
    size: int

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens in it count as such, none is added."""

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, without special tokens."""

    def render(self, system: str, user: str) -> str:
        """Return a chat of two messages as text, up to the end of the assistant's header."""


class ByteTokenizer:
    """One token a byte, 256 to 258 are unknown, beginning and end; chats are lines of `role: text`."""

    eos_ids = (258,)
    size = 259

    def encode(self, text: str) -> list[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        """Return the text of bytes; what is no UTF-8 is replaced."""
        return bytes(token for token in ids if token < 256).decode(errors="replace")

    def render(self, system: str, user: str) -> str:
        """Return a chat as lines."""
        return f"system: {system}\nuser: {user}\nassistant:\n"


class FastTokenizer:
    """The tokenizer of a model folder, read with the library tokenizers.

    Raises:
        FileNotFoundError: the folder has no tokenizer.json.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: no tokenizer.json")
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        settings = _json(folder / "tokenizer_config.json")
        self.size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.eos_ids = self._ends(folder, settings)
        self._special = {name: _token_text(settings.get(name)) for name in ("bos_token", "eos_token", "unk_token")}
        self._template = _template(folder, settings)
        self.encode_cached = lru_cache(maxsize=4096)(self._encode)

    def _ends(self, folder: Path, settings: dict[str, Any]) -> tuple[int, ...]:
        ends: set[int] = set()
        for values in (_json(folder / "generation_config.json"), _json(folder / "config.json")):
            found = values.get("eos_token_id")
            ends.update(found if isinstance(found, list) else [] if found is None else [found])
        named = self._tokenizer.token_to_id(_token_text(settings.get("eos_token")) or "")
        if named is not None:
            ends.add(named)
        return tuple(sorted(ends))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return list(self.encode_cached(text))

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def render(self, system: str, user: str) -> str:
        """Return a chat as the model's template writes it."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return str(self._template.render(messages=messages, add_generation_prompt=True, **self._special))


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _token_text(value: Any) -> str | None:
    return value.get("content") if isinstance(value, dict) else value


_PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)


def _template(folder: Path, settings: dict[str, Any]) -> Any:
    """Return the compiled chat template; lines of `role: text` where the model has none."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    path = folder / "chat_template.jinja"
    text = path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template") or _PLAIN_TEMPLATE
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(text)


def _refuse(message: str) -> None:
    raise ValueError(f"chat template: {message}")
