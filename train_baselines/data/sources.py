"""Reads what people train on: demonstrations, pairs, prompts and scored candidates.

A source is a file (json, jsonl, parquet) or ORG/NAME[:SPLIT] on the Hugging Face Hub, of which no
script is run. A prompt is a column `messages` (a conversation), `instruction` with Alpaca's `input`
below it, `prompt`, `query` or `question`. Every complaint names the file and the line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judges.errors import MissingExtraError, UserError
from judges.reading import printable
from judges.records import read_records, validated
from judges.schema import Message

PROMPT_COLUMNS = ("messages", "instruction", "prompt", "query", "question")
Turns = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation that ends with the user, and how it is to be answered."""

    messages: Turns
    completion: str
    where: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a conversation, the one that is more likely the better first."""

    messages: Turns
    chosen: str
    rejected: str
    probability: float
    """That `chosen` is the better: from 0.5, a tie, to 1."""
    where: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends with the user."""

    messages: Turns
    where: str
    row: Mapping[str, Any]
    """All columns of its row."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Answers to a conversation, each with its score; more is better."""

    messages: Turns
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    where: str


def read_demonstrations(source: str) -> list[Demonstration]:
    """`messages` that end with the assistant; or a prompt with `completion` or Alpaca's `output`.

    Only the last turn of the assistant is trained on. Raises UserError.
    """
    found = []
    for where, row in rows_of(source):
        if row.get("completion") is not None or row.get("output") is not None:
            column = "completion" if row.get("completion") is not None else "output"
            found.append(Demonstration(_prompt(row, where), _answer(row, column, where), where))
            continue
        turns = _turns(row.get("messages"), where) if row.get("messages") is not None else ()
        if not turns or turns[-1].role != "assistant":
            raise UserError(
                f"{where}: no answer to train on; give `messages` that end with the assistant, or "
                "a prompt with `completion` or `output`"
            )
        found.append(Demonstration(_asked(turns[:-1], where), turns[-1].content, where))
    return found


def read_prompts(source: str) -> list[Prompt]:
    """The prompts of any of these formats; an answer behind them is left aside."""
    return [Prompt(_prompt(row, where), where, row) for where, row in rows_of(source)]


def read_pairs(source: str) -> list[Pair]:
    """`prompt` with `chosen` and `rejected`; or `output_1`, `output_2` and `preference`.

    Beside `instruction` a preference is AlpacaFarm's: 1 for the first answer, 2 for the second, 1.5
    or 0 for a tie, and numbers between 1 and 2 for a probability. Beside `messages` it is that of
    prefs.jsonl: the probability, from 0 to 1, that the second is better. Raises UserError for equal
    answers of which one is said to be better.
    """
    return [_pair(row, where) for where, row in rows_of(source)]


def read_candidates(source: str) -> list[Candidates]:
    """A prompt (`query`) with `responses` and as many `scores`. Raises UserError."""
    found = []
    for where, row in rows_of(source):
        responses, scores = row.get("responses"), row.get("scores")
        if not isinstance(responses, list) or not all(isinstance(r, str) for r in responses):
            raise UserError(f"{where}: responses must be a list of texts")
        if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
            raise UserError(f"{where}: scores must be a list of numbers")
        if len(responses) != len(scores) or not responses:
            raise UserError(f"{where}: {len(responses)} responses and {len(scores)} scores")
        prompt = _prompt(row, where)
        found.append(Candidates(prompt, tuple(responses), tuple(map(float, scores)), where))
    return found


# ------------------------------------------------------------------------------------------- rows
def _pair(row: Mapping[str, Any], where: str) -> Pair:
    if row.get("chosen") is not None or row.get("rejected") is not None:
        prompt, chosen = _answered(row, "chosen", where)
        other, rejected = _answered(row, "rejected", where)
        if prompt != other:
            raise UserError(f"{where}: chosen and rejected answer two different conversations")
        second = 0.0
    else:
        prompt = _prompt(row, where)
        chosen, rejected = (_answer(row, name, where) for name in ("output_1", "output_2"))
        second = _preference(row, where)
    if second > 0.5:
        chosen, rejected, second = rejected, chosen, 1 - second
    if chosen == rejected and second != 0.5:
        raise UserError(f"{where}: the two answers are equal, and yet one is to be the better")
    return Pair(prompt, chosen, rejected, 1 - second, where)


def _preference(row: Mapping[str, Any], where: str) -> float:
    """The probability that output 2 is better."""
    given = row.get("preference")
    if given is None or not _is_number(given):
        raise UserError(f"{where}: preference must be a number, not {given!r}")
    if row.get("messages") is not None:
        if not 0 <= given <= 1:
            raise UserError(f"{where}: preference {given}: beside `messages`, from 0 to 1 is meant")
        return float(given)
    if given == 0:
        return 0.5
    if not 1 <= given <= 2:
        raise UserError(
            f"{where}: preference {given}: beside `instruction`, 1 is meant for output_1 and 2 for "
            "output_2, as in AlpacaFarm"
        )
    return float(given) - 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _answered(row: Mapping[str, Any], column: str, where: str) -> tuple[Turns, str]:
    """Prompt and answer where the column holds a text, or a conversation with the answer."""
    if not isinstance(row.get(column), list):
        return _prompt(row, where), _answer(row, column, where)
    turns = _turns(row[column], where)
    if turns[-1].role != "assistant":
        raise UserError(f"{where}: {column} must end with the assistant")
    if len(turns) == 1:
        return _prompt(row, where), turns[0].content
    return _asked(turns[:-1], where), turns[-1].content


def _answer(row: Mapping[str, Any], column: str, where: str) -> str:
    given = row.get(column)
    if isinstance(given, list) and len(given) == 1:  # TRL's conversational form
        given = _turns(given, where)[0].content
    if not isinstance(given, str):
        raise UserError(f"{where}: {column} must be a text")
    return given


def _prompt(row: Mapping[str, Any], where: str) -> Turns:
    column = next((name for name in PROMPT_COLUMNS if row.get(name) is not None), None)
    if column is None:
        raise UserError(f"{where}: no prompt; give a column {', '.join(PROMPT_COLUMNS)}")
    given = row[column]
    if isinstance(given, str):
        if column == "instruction" and row.get("input"):
            given = f"{given}\n\n{row['input']}"
        return _asked((Message("user", given),), where)
    turns = _turns(given, where)
    return _asked(turns[:-1] if turns[-1].role == "assistant" else turns, where)


def _turns(given: object, where: str) -> Turns:
    if not isinstance(given, list) or not given:
        raise UserError(
            f'{where}: a conversation is a list of turns like {{"role": "user", "content": …}}'
        )
    plain = [
        {k: v for k, v in t.items() if v is not None} if isinstance(t, dict) else t for t in given
    ]
    return tuple(validated(Message, turn, where) for turn in plain)


def _asked(turns: Turns, where: str) -> Turns:
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise UserError(f"{where}: the prompt must end with a turn of the user that is not empty")
    return turns


# ------------------------------------------------------------------------------------------ files
def rows_of(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row with the place to name in a complaint; raises UserError."""
    path = Path(source)
    if not path.is_file():
        yield from _from_hub(source)
        return
    readers = {".jsonl": read_records, ".json": _json, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown format; known: {', '.join(readers)}")
    unit = "line" if path.suffix.lower() == ".jsonl" else "row"
    number = 0
    for number, row in readers[path.suffix.lower()](path):
        yield f"{path}, {unit} {number}", row
    if not number:
        raise UserError(f"{path}: there are no rows in this file")


def _json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: a JSON list of objects was expected")
    yield from enumerate(rows, 1)


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    yield from enumerate(table.to_pylist(), 1)


def _from_hub(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = re.fullmatch(
        r"(?:hf/)?([\w-][\w.-]*/[\w.-]+)(?:@([\w.-]+))?(?::([\w.\[\]%:-]+))?", source
    )
    if found is None or Path(source).suffix.lower() in (".json", ".jsonl", ".parquet", ".csv"):
        raise UserError(f"{source}: no such file")
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "train") from None
    name, revision, split = found[1], found[2], found[3] or "train"
    try:
        table = datasets.load_dataset(name, revision=revision, split=split)
    except Exception as error:  # noqa: BLE001 - the network fails in the ways of many libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{source}: no such file here, and the split {split!r} of {name} could not be fetched "
            f"from the Hugging Face Hub ({printable(reason)})"
        ) from None
    for number, row in enumerate(table, 1):
        yield f"{name}:{split}, row {number}", dict(row)
