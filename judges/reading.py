"""Reads an answer as a person would: its words, sentences, list items, numbers and tables.

Text is compared without regard to case, typographic quotes are read as plain ones, and terms match
whole words only ("art" does not occur in "party").
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_LIST_ITEM = re.compile(r"^\s*(?:[-*•+]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+\S")
_NUMBER = re.compile(r"(?<![\w.,])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d|[.,]\d)")
_TITLE = re.compile(r"(?:(?i:\b(?:mr|mrs|ms|dr|prof|st|vs))|(?<![\w.])[A-Z])\.$")
_DOTTED = re.compile(r"\b(?:\w\.\w|etc)\.$")
_TABLE_RULE = re.compile(r"^\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?$")


def normalise(text: str) -> str:
    """The text in lower case, with plain quotes, single spaces and composed letters."""
    composed = unicodedata.normalize("NFC", text.translate(QUOTES).casefold())
    return " ".join(composed.split())


def printable(text: str) -> str:
    """A stranger's text without what could steer a terminal; line ends stay, tabs are spaces."""
    plain = text.replace("\r\n", "\n").expandtabs(4)
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in plain)


def words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, with apostrophes, hyphens and the points
    and commas of a number inside them."""
    return _word().findall(text.translate(QUOTES))


@cache
def _word() -> regex.Pattern[str]:
    import regex

    # Unlike `re`, it counts the vowel signs of Hindi or Thai, say, as part of a word.
    return regex.compile(r"[^\W_]+(?:['-][^\W_]+|(?<=\d)[.,]\d+)*")


def sentences(text: str) -> list[str]:
    """The sentences of a text: split behind . ! ? before a space, and at line ends.

    Not behind a title or an initial ("Mr.", "J."), nor behind a dotted abbreviation that a small
    letter follows ("at 2 p.m. on Friday").
    """
    found: list[str] = []
    for line in text.strip().splitlines():
        parts: list[str] = []
        for part in re.split(r"(?<=[.!?])[\"')\]]*\s+", line.strip()):
            end = parts[-1] if parts else ""
            goes_on = _TITLE.search(end) or (_DOTTED.search(end) and part[:1].islower())
            if parts and not goes_on:
                found.append(" ".join(parts))
                parts = []
            parts.append(part)
        found.append(" ".join(parts))
    return [sentence for sentence in found if words(sentence)]


def list_items(text: str) -> list[str]:
    """The items of the bulleted, numbered or lettered lists in a text, without their markers."""
    marker = re.compile(r"^\s*\S+\s+")
    return [marker.sub("", line) for line in text.splitlines() if _LIST_ITEM.match(line)]


def numbers(text: str) -> list[float]:
    """The numbers that stand alone in a text, thousands separators removed."""
    return [float(n.replace(",", "").replace("−", "-")) for n in _NUMBER.findall(text)]


def table_rows(text: str) -> tuple[list[str], list[list[str]]] | None:
    """Header and body cells of the first Markdown table in a text, or None."""
    lines = [line.strip() for line in text.splitlines()]
    for i in range(1, len(lines)):
        if "|" in lines[i - 1] and "-" in lines[i] and _TABLE_RULE.match(lines[i]):
            body = []
            for line in lines[i + 1 :]:
                if "|" not in line:
                    break
                body.append(_cells(line))
            return _cells(lines[i - 1]), body
    return None


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [normalise(cell).strip("*_`") for cell in inner.split("|")]


# A board's expressions are needed again for every model and control, and are slow to compile.
@lru_cache(maxsize=8192)
def compiled(pattern: str, ignore_case: bool) -> regex.Pattern[str]:
    """A criterion's expression; raises regex.error or RecursionError where it is none."""
    import regex

    return regex.compile(pattern, regex.MULTILINE | (regex.IGNORECASE if ignore_case else 0))


@lru_cache(maxsize=8192)
def term_pattern(term: str) -> regex.Pattern[str]:
    """Finds a term in a normalised text as whole words; "5" does not occur in "1.5" or "5,000".

    An end of the term that is no letter or digit stands anywhere: "!" occurs in "Hello!". Marks
    of emphasis part words: "no" occurs in "_no_".
    """
    import regex

    plain = normalise(term)
    before = r"(?<![^\W_]_{0,2})" if plain[:1].isalnum() or plain[:1] in "+-−" else ""
    after = r"(?!_{0,2}[^\W_])" if plain[-1:].isalnum() else ""
    if plain[:1].isdigit():
        before += r"(?<!\d[.,])"
    if plain[-1:].isdigit():
        after += r"(?![.,]\d)"
    return regex.compile(before + re.escape(plain) + after)


def occurs(text: str, term: str) -> bool:
    """Whether the term occurs in a normalised text (see `term_pattern`)."""
    return term_pattern(term).search(text) is not None
