"""Takes a key out of what a server says: servers like to repeat what they were sent."""

from __future__ import annotations

import base64
import re
from functools import cache

_PART = 6
"""Characters of a key that give it away."""
_ENCODED_PART = 8
"""The same of a key in base64, or spelt with other characters between its own."""


def redacted(said: str, key: str) -> str:
    """The text with its words that hold a part of the key, in whatever case or in base64, as
    `[key]`; that alone where a part is spelt out over several words."""
    plain, encoded, spelt = _traces(key)

    def holds(word: str) -> bool:
        folded = word.casefold()
        if "***" in word or any(part in folded for part in plain):
            return True
        standard = folded.replace("-", "+").replace("_", "/")
        return any(part in standard for part in encoded)

    line = " ".join("[key]" if holds(word) else word for word in said.split())
    letters = _letters(line)
    return "[key]" if any(part in letters for part in spelt) else line


@cache
def _traces(key: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Parts of the key as it is, in base64 wherever it begins in what was encoded, and of its
    letters and digits alone."""
    encoded: set[str] = set()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + key.encode() + b"\0" * 3).decode()
        inner = whole[4 if shift else 0 : (shift + len(key)) * 8 // 6]  # of the key's bytes alone
        encoded |= _parts(inner, _ENCODED_PART)
    return _parts(key, _PART), frozenset(encoded), _parts(_letters(key), _ENCODED_PART)


def _parts(text: str, length: int) -> frozenset[str]:
    folded = text.casefold()
    return frozenset(folded[n : n + length] for n in range(len(folded) - length + 1))


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).casefold()
