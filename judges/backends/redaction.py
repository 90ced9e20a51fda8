"""Takes a key out of what a server says: servers like to repeat what they were sent.

An error is for reading, and loses every word that could give the key away. A reply holds verdicts
and answers: of it only what spells out the key goes, and all else stays as it is.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from typing import Any

_PART = 6
"""Characters of a key that give it away."""
_ENCODED_PART = 8
"""The same of a key in base64, or spelt with other characters between its own."""
_STRETCH = 12
"""The same in a reply, where what is shorter may well be a word of the answer, and a whole key of
less ("ollama") is no secret."""
_STEP = _STRETCH - _ENCODED_PART + 1
_SIGNS = dict.fromkeys(n for n in range(128) if not chr(n).isalnum())


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


def parsed(content: bytes, key: str) -> Any:
    """The JSON that a server replied, None where it is none. Its texts have `[key]` for each stretch
    that spells out 12 letters and digits of the key or more, in whatever case, in base64, or with
    other characters between them."""
    try:
        return _without(json.loads(content), key)
    except (ValueError, RecursionError):
        return None


def _without(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return _unspelt(value, key) if len(value) >= _STRETCH else value
    if isinstance(value, list):
        return [_without(item, key) for item in value]
    if isinstance(value, dict):
        return {name: _without(item, key) for name, item in value.items()}
    return value


def _unspelt(said: str, key: str) -> str:
    parts, stretches = _stretches(key)
    letters = said.encode("ascii", "ignore").decode().translate(_SIGNS).lower()
    # Every stretch holds a part that begins at one of these places: nearly all replies end here.
    if parts.isdisjoint(letters[n : n + _ENCODED_PART] for n in range(0, len(letters), _STEP)):
        return said
    ends = range(_STRETCH, len(letters) + 1)
    at = [end for end in ends if letters[end - _STRETCH : end] in stretches]
    places = [n for n, c in enumerate(said) if c.isascii() and c.isalnum()]
    left, begin = [], 0
    for end in at:
        if places[end - _STRETCH] >= begin:
            left += [said[begin : places[end - _STRETCH]], "[key]"]
        begin = places[end - 1] + 1
    return "".join([*left, said[begin:]])


@cache
def _stretches(key: str) -> tuple[frozenset[str], frozenset[str]]:
    """Parts of what spells out the key, and stretches of it; none where it is short."""
    spelt = [_letters(one) for one in (key, *_in_base64(key))]
    if len(spelt[0]) < _STRETCH:
        return frozenset(), frozenset()
    parts, stretches = (
        frozenset().union(*(_parts(one, length) for one in spelt))
        for length in (_ENCODED_PART, _STRETCH)
    )
    return parts, stretches


@cache
def _traces(key: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Parts of the key as it is, in base64, and of its letters and digits alone."""
    encoded = frozenset().union(*(_parts(one, _ENCODED_PART) for one in _in_base64(key)))
    return _parts(key, _PART), encoded, _parts(_letters(key), _ENCODED_PART)


def _in_base64(key: str) -> list[str]:
    """The key wherever it begins in what was encoded, without what depends on its neighbours."""
    found = []
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + key.encode() + b"\0" * 3).decode()
        found.append(whole[4 if shift else 0 : (shift + len(key)) * 8 // 6])
    return found


def _parts(text: str, length: int) -> frozenset[str]:
    folded = text.casefold()
    return frozenset(folded[n : n + length] for n in range(len(folded) - length + 1))


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).casefold()
