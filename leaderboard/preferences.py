"""Preferences to train on: pairs of answers, judged by a panel, with AlpacaFarm's label noise.

A simulated annotator is a panel that draws one judge for each instruction, and flips labels at a
rate p. As in AlpacaFarm (arXiv:2305.14387) a flip costs nothing: with probability 2p the label is
that of a fair coin, which is a flip with probability p, and nobody is asked. Both draws hang on
what is judged and on the seed, not on the run or the machine: they are the same every time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judges.base import Orders, annotate, presentations, stable_fraction
from judges.calling import Caller, Task
from judges.errors import UserError
from judges.panel import Panel, panel_preferences
from judges.records import to_line, write_atomic
from judges.schema import Annotation, Comparison, Instruction, Message
from leaderboard.results import annotation_frame
from leaderboard.user_files import read_rows
from leaderboard.watch import SILENT, Watch

COIN = "coin"
"""The annotator of a label that a coin gave."""
_PAIR_COLUMNS = ("output_1", "output_2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One line of prefs.jsonl: a prompt, two answers, and the probability that 2 is better."""

    id: str
    messages: tuple[Message, ...]
    output_1: str
    output_2: str
    preference: float
    annotators: Mapping[str, float]
    """Every vote by the judge's name, or the coin's."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What came of annotating pairs; a pair without a preference is left out and counted."""

    preferences: tuple[Preference, ...]
    n_pairs: int
    errors: Mapping[str, int]
    """Why votes are missing → how many."""

    @property
    def coverage(self) -> float:
        return len(self.preferences) / self.n_pairs


# ------------------------------------------------------------------------------------------ pairs
def read_pairs(path: Path, *, multi: bool = False, seed: int = 0) -> list[Comparison]:
    """The pairs of a file (json, jsonl, csv, parquet), each once.

    A row has a prompt (`instruction`, with AlpacaFarm's `input` below it; `prompt`; or `messages`)
    and `output_1`, `output_2`. With `multi` it has one or several samples under `output`, and the
    samples of an instruction are shuffled by a stable hash and paired up, each used once; two
    equal samples make no pair. Raises UserError with the line for what is missing.
    """
    pairs: dict[str, Comparison] = {}
    for messages, one, two in _samples(path, seed) if multi else _pairs(path):
        instruction = Instruction(id="", messages=messages)
        pair = Comparison(
            id="",
            instruction=instruction,
            output_1=one,
            output_2=two,
            generator_1="1",
            generator_2="2",
        )
        pairs.setdefault(pair.digest, pair)
    if not pairs:
        raise UserError(f"{path}: there are no two different samples of one instruction")
    return [
        Comparison(
            id=digest,
            instruction=Instruction(id=digest, messages=pair.instruction.messages),
            output_1=pair.output_1,
            output_2=pair.output_2,
            generator_1="1",
            generator_2="2",
        )
        for digest, pair in pairs.items()
    ]


def _pairs(path: Path) -> Iterable[tuple[tuple[Message, ...], str, str]]:
    for where, row in read_rows(path):
        texts = [row.get(column) for column in _PAIR_COLUMNS]
        if not all(isinstance(text, str) for text in texts):
            hint = "; samples of one instruction are paired up with --multi" if _has(row) else ""
            raise UserError(f"{where}: output_1 and output_2 must be texts{hint}")
        yield _prompt(row, where), str(texts[0]), str(texts[1])


def _has(row: Mapping[str, Any]) -> bool:
    return row.get("output") is not None


def _samples(path: Path, seed: int) -> Iterable[tuple[tuple[Message, ...], str, str]]:
    samples: dict[tuple[Message, ...], dict[str, None]] = {}
    for where, row in read_rows(path):
        given = row.get("output")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where}: output must be a text or a list of texts")
        samples.setdefault(_prompt(row, where), {}).update(dict.fromkeys(texts))
    for messages, texts in samples.items():
        prompt = to_line(list(messages))
        shuffled = sorted(texts, key=lambda text: stable_fraction(seed, "pair", prompt, text))
        yield from (
            (messages, one, two) for one, two in zip(shuffled[::2], shuffled[1::2], strict=False)
        )


def _prompt(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    turns = row.get("messages") or row.get("prompt") or row.get("instruction")
    if isinstance(turns, str) and turns.strip():
        context = row.get("input")
        text = f"{turns}\n\n{context}" if context and "instruction" in row else turns
        return (Message("user", text),)
    if isinstance(turns, list) and turns:
        try:
            messages = tuple(Message(turn["role"], turn["content"]) for turn in turns)
        except (TypeError, KeyError):
            raise UserError(f"{where}: each turn needs a role and a content") from None
        if messages[-1].role == "user" and all(isinstance(m.content, str) for m in messages):
            return messages
        raise UserError(f"{where}: a conversation must end with a user turn, and hold texts")
    raise UserError(f"{where}: no prompt; give the column instruction, prompt or messages")


# -------------------------------------------------------------------------------------- preferences
def annotate_pairs(
    pairs: Sequence[Comparison],
    panel: Panel,
    caller: Caller,
    *,
    flip: float = 0.0,
    orders: Orders = "random",
    seed: int = 0,
    watch: Watch = SILENT,
) -> Annotated:
    """Have a panel say which answer of each pair is better; `flip` is the rate p of label noise.

    Raises UserError for a rate outside 0..0.5, and for a judge that cannot judge the pairs.
    """
    if not 0 <= flip <= 0.5:
        raise UserError(f"--flip {flip}: a rate from 0 to 0.5 is needed")
    panel.check([pair.instruction for pair in pairs])
    coined = {pair.id: coin for pair in pairs if (coin := _coin(pair, flip, seed)) is not None}
    left = [pair for pair in pairs if pair.id not in coined]
    verdicts = _verdicts(left, panel, caller, orders, seed, watch)
    n_orders = [2 if judge.sees_order and orders == "both" else 1 for judge in panel.judges]
    items = panel_preferences(
        annotation_frame(verdicts),
        [pair.id for pair in left],
        panel.names,
        aggregate=panel.aggregate,
        weights=panel.weights,
        n_orders=n_orders,
        assigned=panel.assignment([pair.instruction for pair in left], seed),
    )
    place = {pair.id: n for n, pair in enumerate(left)}
    labels, votes_on = items["preference"].to_numpy(float), items[panel.names].to_numpy(float)
    made = []
    for pair in pairs:
        if pair.id in coined:
            label, votes = coined[pair.id], {COIN: coined[pair.id]}
        else:
            label = float(labels[place[pair.id]])
            each = zip(panel.names, votes_on[place[pair.id]], strict=True)
            votes = {name: float(vote) for name, vote in each if not math.isnan(vote)}
        if not math.isnan(label):
            made.append(
                Preference(
                    id=pair.id,
                    messages=pair.instruction.messages,
                    output_1=pair.output_1,
                    output_2=pair.output_2,
                    preference=label,
                    annotators=votes,
                )
            )
    errors: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.preference is None:
            reason = verdict.error or "no verdict"
            errors[reason] = errors.get(reason, 0) + 1
    return Annotated(tuple(made), len(pairs), errors)


def write_preferences(path: Path, preferences: Iterable[Preference]) -> None:
    """Write prefs.jsonl, in one step."""
    write_atomic(path, "".join(to_line(preference) + "\n" for preference in preferences))


def _coin(pair: Comparison, flip: float, seed: int) -> float | None:
    """The label of a fair coin with probability 2p, else None."""
    if stable_fraction(seed, "flip", pair.digest) >= 2 * flip:
        return None
    return float(stable_fraction(seed, "coin", pair.digest) < 0.5)


def _verdicts(
    pairs: Sequence[Comparison],
    panel: Panel,
    caller: Caller,
    orders: Orders,
    seed: int,
    watch: Watch,
) -> list[Annotation]:
    """Every judge's verdicts on the pairs that are its own to judge."""
    of: dict[str, list[Comparison]] = {name: [] for name in panel.names}
    for pair in pairs:
        for judge in panel.assigned(pair.instruction, seed):
            of[judge.name].append(pair)
    found: list[list[Annotation]] = []
    for judge in panel.judges:
        shown = presentations(judge, of[judge.name], orders, seed)
        judged = annotate(judge, shown, caller, Task(judge=judge.name, purpose="annotate"))
        kept = [a for a, _ in watch.track(judged, len(shown), f"judging ({judge.name})")]
        found.append(kept)
    return list(itertools.chain.from_iterable(found))
