"""Files that users bring, in the formats they have: JSON, JSONL, CSV, Parquet; and safe names."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from judges.errors import UserError
from judges.records import read_records

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
RESERVED = {
    "board.toml", "calibration", "calibration.json", "controls", "drift.json", "evalset.jsonl",
    "evaluators", "examples", "head_to_head", "lc_alpaca_eval.json", "leaderboard.csv",
    "panel.toml", "prompts", "published.csv", "references", "report.html", "templates", "verdicts",
}  # fmt: skip
"""Files and folders of a board's own; no row can be called like one, whatever the case."""
_SURROGATE = re.compile("[\\ud800-\\udfff]")
_LONG = 120
"""Characters of a name or a cell that a complaint repeats."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@=-]{0,95}")


def check_name(name: str, what: str) -> str:
    """The name, if it is fit to be a folder's; else UserError."""
    if not _SAFE_NAME.fullmatch(name) or name.endswith("."):
        raise UserError(
            f"{what} {quoted(name)} is not usable: letters, digits and . _ + @ = - only, at most 96 of "
            "them, the first a letter or digit (no path separators, spaces or control characters)"
        )
    if name.lower() in RESERVED:
        raise UserError(f"{what} {name!r} is reserved; choose another")
    return name


def safe_name(text: str) -> str:
    """A usable name nearest to a free text: a slash becomes two underscores, as in every row's
    name, and what else a name cannot hold a hyphen."""
    return re.sub(r"[^A-Za-z0-9._+@=-]+", "-", text.replace("/", "__")).strip("-._")[:96]


def check_file(path: Path) -> None:
    """Raises UserError where there is no such file, or a folder."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    if not path.is_file():
        raise UserError(f"{path}: no such file")


def quoted(value: object) -> str:
    """What a file holds, as it stands in a complaint: in quotes, and cut where it is long."""
    said = repr(value)
    return said if len(said) <= _LONG else f"{said[:_LONG]}…"


def read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every row of a file with the place to name in a complaint ("FILE, line 3").

    Cells that a CSV or Parquet file leaves empty are None. Raises UserError for a missing or empty
    file, an unknown format, and what cannot be parsed.
    """
    check_file(path)
    readers = {".json": _json, ".jsonl": read_records, ".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown format; known: {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")
    unit = "line" if path.suffix.lower() in (".jsonl", ".csv") else "row"
    rows = [(f"{path}, {unit} {n}", row) for n, row in readers[path.suffix.lower()](path)]
    if not rows:
        raise UserError(f"{path}: there are no rows in this file")
    for where, row in rows:
        if not _is_text(row):
            raise UserError(f"{where}: half of a surrogate pair (\\ud800 to \\udfff) is no text")
    return rows


def _is_text(value: Any) -> bool:
    """Whether all texts in a value can be written as UTF-8; JSON can hold such as cannot."""
    if isinstance(value, str):
        return value.isascii() or not _SURROGATE.search(value)
    if isinstance(value, Mapping):
        return all(_is_text(entry) for entry in value.values())
    return not isinstance(value, list) or all(_is_text(entry) for entry in value)


def _json(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: a JSON list of objects was expected")
    return enumerate(rows, 1)


def _csv(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(sys.maxsize)  # an answer can be longer than a cell usually is
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if len(set(reader.fieldnames or ())) < len(reader.fieldnames or ()):
                raise UserError(f"{path}: two columns have one name")
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(reader.fieldnames or ())} cells "
                        "were expected, as in the header"
                    )
                # A quoted cell can span lines: the row is named by the line it ends on.
                yield reader.line_num, {key: cell or None for key, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}, near line {reader.line_num}: {error}") from None


def _parquet(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        return enumerate(parquet.read_table(path).to_pylist(), 1)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
