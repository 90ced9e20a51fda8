"""What `agree` found, as text for a terminal, and as a folder with report.md, report.json, figures."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from judges.reading import printable
from leaderboard.display.markdown import escaped, paragraph
from leaderboard.display.table import grid
from leaderboard.statistics.estimates import Estimate, Undefined
from leaderboard.validity import agreement_tables, behaviour_tables
from leaderboard.validity.agree import Agreement
from leaderboard.validity.agreement_figures import draw_all
from leaderboard.validity.agreement_table import Table, judges_of
from leaderboard.validity.agreement_words import (
    RULES,
    conclude,
    judge_words,
    overview_words,
    weakest,
)
from leaderboard.validity.report_folder import make_folder, write_texts

Form = Literal["table", "markdown"]
SCHEMA_VERSION = 1
SHOWN = 15
"""Judges in the tables of the terminal, the best."""
IN_SENTENCES = 3
"""Judges of whom the terminal tells in sentences; more stand in a table."""


def tables(found: Agreement) -> list[Table]:
    """All tables of the report that have anything in them."""
    made = [
        agreement_tables.verdicts(found),
        agreement_tables.agreement(found),
        agreement_tables.among_people(found),
        agreement_tables.with_each(found),
        agreement_tables.kappas(found),
        agreement_tables.classes(found),
        agreement_tables.confusion(found),
        agreement_tables.orders(found),
        behaviour_tables.bias_variance(found),
        behaviour_tables.as_alpaca_eval(found),
        *behaviour_tables.preferences(found),
        behaviour_tables.repeats(found),
        *behaviour_tables.calibrations(found),
        *behaviour_tables.categories(found),
        behaviour_tables.prices(found),
        behaviour_tables.replacing(found),
    ]
    return [table for table in made if table.has_figures]


# ------------------------------------------------------------------------------------------ text
def text(found: Agreement, form: Form, incomplete: str = "") -> str:
    """For a terminal: the verdicts, agreement side by side, and the notes on the data."""
    judges = judges_of(found)
    write = paragraph if form == "markdown" else printable
    blocks = [f"## {escaped(found.source)}" if form == "markdown" else f"{found.source}:"]
    blocks += [incomplete] if incomplete else []
    blocks.append(write("\n".join(overview_words(found))))
    if len(judges) <= IN_SENTENCES:
        blocks += [write("\n".join(judge_words(found, one))) for one in judges]
    else:
        blocks.append(_in_form(agreement_tables.verdicts(found, SHOWN), form))
    blocks.append(_in_form(agreement_tables.side_by_side(found, SHOWN), form))
    if len(judges) > SHOWN:
        blocks.append(f"… and {len(judges) - SHOWN} more judges; --out writes all")
    if any(one.usd_per_1000 or one.seconds_per_1000 for one in judges):
        blocks.append(_in_form(behaviour_tables.prices(found), form))
    return printable("\n\n".join([*blocks, *found.notes]))


def markdown(found: Agreement, figures: list[str], incomplete: str = "") -> str:
    """The content of report.md; `figures` are Markdown too."""
    parts = [f"# Agreement with people: {escaped(found.source)}"]
    parts += [f"**{incomplete}**"] if incomplete else []
    parts += map(paragraph, overview_words(found))
    judges = judges_of(found)
    if len(judges) <= IN_SENTENCES:
        parts += [paragraph("\n".join(judge_words(found, one))) for one in judges]
    parts += [*found.notes, *figures]
    parts += [_in_form(table, "markdown") for table in tables(found)]
    return printable("\n\n".join([*parts, _RULES]))


def _in_form(table: Table, form: Form) -> str:
    heads, cells = table.columns
    body = grid(heads, cells, form)
    is_lacking = any("–" in row for row in cells)
    below = "".join(f"\n–: {reason}." for reason in table.reasons if is_lacking)
    if form == "table":
        return f"{table.title}\n{table.about}\n\n{body}" + (f"\n{below}" if below else "")
    parts = (f"## {escaped(table.title)}", paragraph(table.about), body, paragraph(below.strip()))
    return "\n\n".join(part for part in parts if part)


# ------------------------------------------------------------------------------------------ JSON
def record(found: Agreement, incomplete: str = "") -> dict[str, Any]:
    """The content of report.json, in fractions; keys: docs/files.md."""
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": not incomplete,
        "words": overview_words(found),
        **{key: value for key, value in _plain(found).items() if key != "judges"},
        "judges": [
            {
                "verdict": conclude(found, one).verdict if not one.is_floor else None,
                "reason": conclude(found, one).reason if not one.is_floor else "",
                "words": judge_words(found, one) if not one.is_floor else [],
                "weakest": None if one.is_floor or not (w := weakest(found, one)) else w.words,
                **_plain(one),
            }
            for one in (*judges_of(found), *(one for one in found.judges if one.is_floor))
        ],
    }


def _plain(value: Any) -> Any:
    """Dataclasses as JSON holds them: an undefined figure is a value of null with its reason."""
    if isinstance(value, Estimate):
        return asdict(value)
    if isinstance(value, Undefined):
        return {"value": None, "reason": value.reason, "n": value.n}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


# ----------------------------------------------------------------------------------------- files
def write_report(found: Agreement, folder: Path, incomplete: str = "") -> list[Path]:
    """Writes report.md, report.json and the figures, and returns the files. Raises UserError where
    the folder is a file."""
    make_folder(folder)
    drawn = draw_all(found, folder)
    shown = [one.markdown for one in drawn]
    texts = write_texts(folder, markdown(found, shown, incomplete), record(found, incomplete))
    return [*texts, *(file for one in drawn for file in one.files)]


_RULES = f"""## The rules

{RULES}

The weakest figure is the one that is off by the largest multiple of what is nothing to name. \
Intervals are 95 % intervals, the pair being the unit, however many verdicts there are on it."""
