"""Seeded damage to bytes, and files whose digests fit the damage."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

from quintet.shard.partial import CARD_BYTES, read_card

TOKENS = (
    b"$(touch owned)", b"`id`", b"../../owned", b"/etc/passwd", b"\0", b"\n#SBATCH --uid=0\n", b"&a [*a]", b"*a",
    b"!!python/object/apply:os.system ['touch owned']", b"-1", b"0", b"1e999", b".nan", b"-.inf", b"9" * 400, b"null",
    b"true", b"[", b"]", b"{", b"}", b":", b"- ", b"  ", b"\t", b"'", b'"', b"\xff\xfe", b"\xf0\x9f\x92\xa9", b"<<: *a",
    b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\x80", b"\x01\0\0\0\0\0\0\x10", b"[" * 3000, b"1_0", b"0x7f",
)  # fmt: skip


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Return the content with one to six changes: of bits, bytes, pieces taken out, doubled or put in, an end lost"""
    found = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        place = dice.randrange(len(found) + 1)
        end = min(len(found), place + dice.choice((1, 2, 4, 8, 64)))
        change = dice.randrange(7)
        if change == 0 and place < len(found):
            found[place] ^= 1 << dice.randrange(8)
        elif change == 1 and place < len(found):
            found[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif change == 2:
            found[place:end] = b""
        elif change == 3:
            found[place:place] = found[place:end] * dice.choice((1, 2, 50))
        elif change == 4:
            found[place:place] = dice.choice(TOKENS)
        elif change == 5:
            token = dice.choice(TOKENS)
            found[place : place + len(token)] = token
        elif dice.random() < 0.2:
            del found[place:]
    return bytes(found)


def damaged(path: Path, dice: random.Random) -> None:
    """Change a file's bytes."""
    path.write_bytes(mutated(path.read_bytes(), dice))


def resealed(path: Path, dice: random.Random) -> None:
    """Change what is behind a file's card and make the card fit: what somebody does who may write into the run."""
    card, content = read_card(path), mutated(path.read_bytes()[CARD_BYTES:], dice)
    card = replace(card, b2=hashlib.blake2b(content, digest_size=16).hexdigest())
    if dice.random() < 0.3:
        name = dice.choice(("off", "n", "units", "hi", "lo", "shard"))
        card = replace(card, **{name: dice.choice((0, 1, 7, 10**6, 2**62, getattr(card, name) + 1))})
    try:
        path.write_bytes(card.pack() + content)
    except ValueError:  # a card that large cannot be written by anybody
        path.write_bytes(read_card(path).pack() + content)
