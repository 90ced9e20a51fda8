"""What follows from a row's verdicts and its board alone: the content of summary.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from judges.panel import panel_preferences
from judges.registry import spec_of
from judges.schema import Annotation, Instruction, Output
from leaderboard.boards.board import Board
from leaderboard.rows.columns import figures
from leaderboard.rows.results import SCHEMA_VERSION, Manifest, Row, annotation_frame
from leaderboard.rows.self_judging import excluded, self_judges
from leaderboard.statistics.winrate import WinRate, by_category, win_rate

MIN_COVERAGE = 0.95
"""Below this share of verdicts a row is not publishable."""

RATE_COLUMNS = ["instruction_id", "preference", "low", "high"]
"""What a win rate is made of, among the columns of `row_items`."""


def row_items(
    board: Board,
    annotations: Iterable[Annotation],
    instructions: Sequence[Instruction],
    references: Sequence[str] | None = None,
    *,
    judge: str | None = None,
    without: Collection[str] = (),
) -> pd.DataFrame:
    """One row a comparison: instruction_id, reference, category, preference, low, high, n_votes
    and every judge's vote. `references` are all of the board's unless named; `without` are judges
    whose votes do not count. With `judge` that one is the whole panel, and what it was not to judge
    is left out."""
    comparisons = board.comparison_ids(instructions, references)
    panel, settings = board.panel, board.settings
    judged = [board.by_id[i] for _, i, _ in comparisons]
    assigned = panel.assignment(judged, settings.seed, without)
    names, weights = panel.names, panel.weights
    if judge is not None:
        own = assigned[:, names.index(judge)]
        comparisons = [one for one, is_own in zip(comparisons, own, strict=True) if is_own]
        names, weights, assigned = [judge], weights[:1], np.ones((len(comparisons), 1), dtype=bool)
    items = panel_preferences(
        annotation_frame(one for one in annotations if not board.panel.is_anothers(one)),
        [comparison_id for comparison_id, _, _ in comparisons],
        names,
        aggregate=panel.aggregate,
        min_votes=settings.min_votes if judge is None else 1,
        n_orders=[
            2 if one.sees_order and settings.orders == "both" else 1
            for one in panel.judges
            if one.name in names
        ],
        weights=weights,
        assigned=assigned,
    )
    items["instruction_id"] = [instruction_id for _, instruction_id, _ in comparisons]
    items["reference"] = [reference for _, _, reference in comparisons]
    items["category"] = [board.by_id[i].category or "(none)" for i in items["instruction_id"]]
    return items


def summarise(
    board: Board,
    row: Row,
    instructions: Sequence[Instruction],
    outputs: Mapping[str, Output],
    references: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The content of summary.json: what depends on this row and the frozen board alone."""
    stored = [one for one in row.annotations() if not board.panel.is_anothers(one)]
    without = excluded(board, row)
    items = row_items(board, stored, instructions, references, without=without)
    overall = win_rate(items[RATE_COLUMNS])
    is_one = len(board.panel.names) == 1 and not without  # alone it is the panel
    alone = {
        judge: items
        if is_one
        else row_items(board, stored, instructions, references, judge=judge, without=without)
        for judge in board.panel.names
    }
    in_use = {(c, judge) for judge, its in alone.items() for c in its["comparison_id"]}
    verdicts = [a for a in stored if (a.comparison_id, a.annotator) in in_use]
    missing = [a.error or "no verdict" for a in verdicts if a.preference is None]
    answers = [outputs[i.id] for i in instructions if i.id in outputs]
    manifest = row.manifest()
    return {
        "schema_version": SCHEMA_VERSION,
        "board": {"name": board.name, "hashes": dict(board.hashes)},
        "model": row.name,
        "is_partial": len(instructions) < len(board.instructions),
        "is_publishable": is_publishable(overall),
        "win_rate": rate_json(overall),
        "categories": {
            name: rate_json(rate)
            for name, rate in by_category(items[[*RATE_COLUMNS, "category"]]).items()
        },
        "judges": {
            judge: rate_json(win_rate(its[RATE_COLUMNS]))
            for judge, its in alone.items()
            if not its.empty  # one that was drawn for nothing, or would judge itself
        },
        "flips": {judge: _flips(pairs) for judge, pairs in both_orders(verdicts).items()},
        "self_judging": self_judges(board, row),
        "columns": {name: of.json() for name, of in figures(board, items, outputs).items()},
        "verdicts": {
            "n": len(verdicts),
            "n_missing": len(missing),
            "errors": dict(sorted(Counter(missing).items())),
        },
        "answers": {
            "n": len(answers),
            "n_empty": sum(output.characters == 0 for output in answers),
            "n_length_stopped": sum(output.finish_reason == "length" for output in answers),
            "mean_characters": fmean(o.characters for o in answers) if answers else None,
        },
        "served": _served(verdicts),
        "cost_usd": _cost(board, verdicts, answers, manifest),
        "manifest": None if manifest is None else asdict(manifest),
    }


def _served(verdicts: Iterable[Annotation]) -> dict[str, dict[str, int]]:
    """Judge → the name that its server gave the model → how many verdicts are by it."""
    found: dict[str, Counter[str]] = {}
    for a in verdicts:
        if a.served is not None:
            found.setdefault(a.annotator, Counter())[a.served] += 1
    return {judge: dict(sorted(names.items())) for judge, names in found.items()}


def _cost(
    board: Board,
    verdicts: Iterable[Annotation],
    answers: Iterable[Output],
    manifest: Manifest | None,
) -> float | None:
    """What the answers and the verdicts on them cost when they were made; None where the price of
    a call is not known. A model in this process, a program and a file cost nothing."""
    paid = {
        judge.name
        for judge in board.panel.judges
        if (spec := spec_of(judge)) is not None and spec.is_remote
    }
    costs = [a.cost_usd for a in verdicts if a.annotator in paid and _was_asked(a)]
    if manifest is not None and "model" in manifest.parts:  # it is behind a server
        costs += [output.cost_usd for output in answers]
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def _was_asked(a: Annotation) -> bool:
    """Whether a call brought the verdict: two equal texts are a tie without one, and a call that
    failed is not paid for. Older lines do not
    count their calls."""
    if a.n_calls or a.served is not None or a.cost_usd is not None:
        return True
    return a.preference not in (None, 0.5)


def both_orders(verdicts: Iterable[Annotation]) -> dict[str, dict[str, tuple[float, float]]]:
    """Judge → comparison id → its preferences with output 1 and with output 2 shown first, NaN where
    one is missing; only of comparisons that stand in both orders."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for a in verdicts:
        if a.order != "none":
            preference = math.nan if a.preference is None else a.preference
            found.setdefault(a.annotator, {}).setdefault(a.comparison_id, {})[a.order] = preference
    pairs = {
        judge: {c: (of["original"], of["swapped"]) for c, of in shown.items() if len(of) == 2}
        for judge, shown in found.items()
    }
    return {judge: of for judge, of in pairs.items() if of}


def _flips(pairs: Mapping[str, tuple[float, float]]) -> dict[str, int]:
    from leaderboard.statistics.panels import flips

    found = flips([one for one, _ in pairs.values()], [two for _, two in pairs.values()])
    return {"n_flipped": found.n_flipped, "n_decided": found.n_decided, "n_tied": found.n_tied}


def judged_on(board: Board, summary: Mapping[str, Any]) -> bool:
    """Whether a summary's verdicts are those that the board would ask for now; its
    length-controlled figures may be of before a calibration."""
    hashes = dict(summary["board"]["hashes"])
    return {**hashes, "columns": ""} == {**board.hashes, "columns": ""}


def is_publishable(rate: WinRate) -> bool:
    """Whether enough of a row's comparisons have a preference to rank it."""
    return rate.coverage >= MIN_COVERAGE


def rate_json(rate: WinRate) -> dict[str, Any]:
    """A win rate with all it was made of, as it stands in summary.json (fractions, None for NaN)."""
    figures = asdict(rate) | {"coverage": rate.coverage}
    return {key: None if math.isnan(value) else value for key, value in figures.items()}
