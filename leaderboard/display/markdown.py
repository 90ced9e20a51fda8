"""A stranger's text in Markdown: it is read there as it stands, and is no markup."""

from __future__ import annotations

import re

from judges.reading import printable

_ACTIVE = re.compile(
    r"""[\\`*$~]                  # escapes, code, emphasis, formulas
    |(?<![^\W_])_|_(?![^\W_])     # an underscore inside a word is none
    |<(?=[A-Za-z/!?])             # a tag; a figure may be < 5
    |&(?=\#|\w+;)                 # an entity
    |!(?=\[)                      # an image
    |\[(?=[^\]]*\]\s*[(\[:])      # a link; an interval is none
    |(?<=\])[(\[:]                # its address""",
    re.VERBOSE,
)
_BLOCK = re.compile(r"^(\s*)([#>]|[-+=](?=\s|[-=]))", re.MULTILINE)
"""What begins a heading, a quotation or a list; in a cell it begins nothing."""


def escaped(text: str) -> str:
    """A text of users, models or papers as inline Markdown that shows it letter by letter."""
    return _ACTIVE.sub(r"\\\g<0>", printable(text))


def paragraph(text: str) -> str:
    """The same for a block of its own, whose beginning must begin nothing else."""
    return _BLOCK.sub(r"\1\\\2", escaped(text))


def cell(text: str) -> str:
    """The same for a table's cell, on one line."""
    return escaped(text).replace("\n", " ").replace("|", "\\|")
