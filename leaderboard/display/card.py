"""What `eval` says at its end: one row in plain words, with how far it can be believed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from judges.asking.llm_judge import LLMJudge
from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards.board import Board
from leaderboard.comparing.comparison import compare_in
from leaderboard.comparing.planning import board_resolution
from leaderboard.judging.controls import ControlResult, describe_controls
from leaderboard.judging.estimate import dollars
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import told
from leaderboard.rows.standings import Standings

FEW_JUDGES = 3
"""With more judges, their flips are one line."""
FLOOR = 0.1
"""A win rate below this, or above 1 less this, is out of a board's range."""


def card(
    board: Board,
    summary: dict[str, Any],
    table: Standings,
    controls: Sequence[ControlResult],
    *,
    with_note: bool = True,
) -> str:
    """The card of one row; percent and points with one decimal. `with_note` stands for what is the
    board's own: its note, and its controls in full.

    Where the board ranks by another column, every figure that is about the win rate says so.
    """
    is_plain = board.settings.headline == "win_rate"
    rate, answers = summary["win_rate"], summary["answers"]
    name = summary["model"]
    lines = [
        f"{name} on {board.name} ({len(board.instructions)} instructions, judged by {board.panel.called})"
    ]
    lines.append(_win_rate(board, summary))
    lines += _length_controlled(summary)
    if summary["is_partial"]:
        lines.append(
            f"  partial: {answers['n']} of {len(board.instructions)} instructions; not ranked. "
            "The full run takes up what is here."
        )
    elif not summary["is_publishable"]:
        lines.append("  not publishable and not ranked: more than 5 % of the verdicts are missing")
    else:
        lines += _neighbours(board, table, name)
    lines += _out_of_range(board, name, rate["value"], table)
    lines.append(_judged(summary, "" if is_plain else "the win rate "))
    if summary["verdicts"]["n_missing"]:
        lines += _ask_again(board, name)
    lines += _flips(board, summary)
    if kin := summary.get("self_judging"):
        reasons = "; ".join(f"{judge}: {why}" for judge, why in kin.items())
        lines.append(_folded(f"judges of its own: {reasons}; {told(board.settings.self_judging)}"))
    length = answers["mean_characters"]
    lines.append(
        f"  answers: {answers['n']}, of them {answers['n_empty']} empty and "
        f"{answers['n_length_stopped']} stopped at the length limit"
        + (f"; {length:.0f} characters on average" if length is not None else "")
    )
    unfinished = answers["n_empty"] + answers["n_length_stopped"]
    if unfinished > 0.05 * answers["n"]:
        lines.append(
            "    many are empty or cut off: is the chat template right, max_tokens enough?"
        )
    told_controls = describe_controls(board, controls).splitlines()
    lines += [f"  {line}" for line in told_controls[: None if with_note else 1]]
    usd = summary["cost_usd"]
    lines.append(f"  cost: {'not known' if usd is None else dollars(usd)}")
    if len(table.models) > 1:
        smallest = board_resolution(table)
        lines.append(
            f"  the smallest difference {'' if is_plain else 'of win rates '}that this board can "
            "show: "
            + (
                "these verdicts vary too little to say"
                if smallest is None
                else f"{100 * smallest:.1f} points\n"
                "    (two models on the same instructions, 80 % power)"
            )
        )
    if board.settings.note and with_note:
        lines.append(_folded(f"note: {board.settings.note}"))
    return printable("\n".join(lines))


def _folded(text: str) -> str:
    """One entry of the card, on as many lines as it needs."""
    return textwrap.fill(
        text, 88, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _win_rate(board: Board, summary: dict[str, Any]) -> str:
    rate, verdicts = summary["win_rate"], summary["verdicts"]
    if verdicts["n"] == verdicts["n_missing"]:
        return "  win rate: none, no verdict is there"
    if rate["value"] is None:
        needed = board.settings.min_votes
        what = "the votes of all judges" if needed == "all" else f"{needed} votes"
        votes = ", ".join(
            f"{judge} {of['n_judged']} of {of['n_items']}"
            for judge, of in summary["judges"].items()
        )
        return _folded(
            f"win rate: none, no instruction has {what} (min_votes = {needed}); votes: {votes}"
        )
    half = (rate["high"] - rate["low"]) / 2
    return (
        f"  win rate: {100 * rate['value']:.1f} ± {100 * half:.1f} % against "
        f"{' and '.join(board.settings.references)} "
        f"({100 * rate['level']:.0f} % interval {100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
    )


def _length_controlled(summary: dict[str, Any]) -> list[str]:
    """A line for each length-controlled column that the board has."""
    lines = []
    for column, figure in summary["columns"].items():
        if figure["value"] is None:
            lines.append(f"  {column}: none ({figure['absent']})")
            continue
        half = 50 * (figure["high"] - figure["low"])
        line = f"  {column}: {100 * figure['value']:.1f} ± {half:.1f} %, length controlled"
        guarded = ", but not above the win rate: the answers are nearly all the same text"
        lines.append(line + guarded * bool(figure.get("is_constant_guarded")))
    return lines


def _neighbours(board: Board, table: Standings, name: str) -> list[str]:
    frame = table.frame[table.frame["model"] == name].iloc[0]
    rank = rank_range(frame["rank_low"], frame["rank_high"])
    is_sure = frame["rank_low"] == frame["rank_high"]
    headline = board.settings.headline
    by, of = ("", "") if headline == "win_rate" else (f" by {headline}", " by win rate")
    lines = [
        f"  rank: {rank} of {len(table.models)}{by}"
        + ("" if is_sure else ", as far as the data can tell")
    ]
    pairs = [compare_in(table, name, other) for other in table.models if other != name]
    tied = sorted((p for p in pairs if not p.is_separable), key=lambda p: abs(p.difference))
    if pairs and not tied:
        lines.append(f"  it can be told from every other row{of}")
    for pair in tied[:3]:
        # One interval can leave zero out that all the pairs' tests together do not.
        too_many = f"; too little among {len(table.models)} rows" * (pair.low * pair.high > 0)
        lines.append(
            f"  cannot be told from {pair.b}{of}: {100 * pair.difference:+.1f} points (95 % interval "
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}{too_many})"
        )
    if len(tied) > 3:
        lines.append(f"  nor from {len(tied) - 3} more")
    return lines


def _out_of_range(board: Board, name: str, rate: float | None, table: Standings) -> list[str]:
    """A warning where the reference is too weak or too strong for the model, and a nearer one."""
    if rate is None or FLOOR <= rate <= 1 - FLOOR:
        return []
    lines = [
        _folded(
            f"out of range: the reference {'loses' if rate > 0.5 else 'wins'} nearly always, so "
            "that models like this one can hardly be told apart here"
        )
    ]
    nearer = _nearer_reference(board, name, rate, table)
    if nearer is None:
        return [
            *lines,
            "    a better reference, a model nearer to this one, is not on the board yet",
        ]
    value = table.frame.set_index("model")["win_rate"].to_dict()[nearer]
    of = "" if board.settings.headline == "win_rate" else "win rate "
    judges = " --judge JUDGE" if board.is_recorded else ""
    folder = board.path.parent
    where = "" if folder == Path("results") else f" --results {folder}"
    return [
        *lines,
        f"    a better reference is {nearer} ({of}{100 * value:.1f} %):",
        f"    leaderboard board new NAME --from {board.name} "
        f"--reference {board.path / nearer / 'outputs.jsonl'}{judges}{where}",
    ]


def _nearer_reference(board: Board, name: str, rate: float, table: Standings) -> str | None:
    """The ranked row whose win rate is nearest to `rate` and nearer than the reference's, and whose
    answers are there; None where there is none."""
    frame = table.frame[table.frame["model"].isin(table.models) & (table.frame["model"] != name)]
    distance = (frame.set_index("model")["win_rate"] - rate).abs().sort_values(kind="stable")
    near = distance[distance < abs(0.5 - rate)]
    return next((str(model) for model in near.index if _has_texts(board, str(model))), None)


def _has_texts(board: Board, model: str) -> bool:
    try:
        outputs = Row(board.path / model).outputs(allow_torn=True)
    except (UserError, OSError):
        return False
    return any(output.text for output in outputs.values())


def _flips(board: Board, summary: dict[str, Any]) -> list[str]:
    """A line for each judge that was shown both orders, or one for many."""
    found = summary.get("flips", {})
    lines = []
    for judge, of in found.items():
        if not (of["n_decided"] or of["n_tied"]):
            continue
        whose = f" ({judge})" if len(board.panel.judges) > 1 else ""
        line = f"  flips{whose}: {of['n_flipped']} of {of['n_decided']} decided pairs"
        if of["n_decided"]:
            line += f" ({100 * of['n_flipped'] / of['n_decided']:.1f} %)"
        lines.append(f"{line}, {of['n_tied']} ties apart" if of["n_tied"] else line)
    shares = [100 * of["n_flipped"] / of["n_decided"] for of in found.values() if of["n_decided"]]
    if len(lines) <= FEW_JUDGES or not shares:
        return lines[:FEW_JUDGES]
    return [
        f"  flips: {min(shares):.1f} to {max(shares):.1f} % of the decided pairs, by judge; "
        f"leaderboard show {board.name} --judges"
    ]


def _judged(summary: dict[str, Any], of: str) -> str:
    rate, verdicts = summary["win_rate"], summary["verdicts"]
    line = f"  judged: {rate['n_judged']}/{rate['n_items']}"
    if verdicts["n_missing"]:
        why = "; ".join(f"{error}: {count}" for error, count in verdicts["errors"].items())
        line += (
            f"; missing verdicts: {verdicts['n_missing']} ({why})\n"
            f"    {of}had they all been losses or all wins: "
            f"{100 * rate['bound_low']:.1f} to {100 * rate['bound_high']:.1f} %"
        )
    return line


def _ask_again(board: Board, name: str) -> list[str]:
    """How verdicts of language models that are missing can still come."""
    asked = {judge.name for judge in board.panel.judges if isinstance(judge, LLMJudge)}
    missing = [
        annotation
        for annotation in Row(board.path / name).annotations()
        if annotation.preference is None and annotation.annotator in asked
    ]
    again = f"leaderboard eval {name} --board {board.name} --only judge"
    lines = []
    if any(annotation.n_calls == 0 for annotation in missing):
        lines.append(f"    ask for what did not come with: {again}")
    if any(annotation.n_calls for annotation in missing):
        lines.append(f"    what could not be read is stored; ask anew with: {again} --overwrite")
    return lines


def rank_range(low: float, high: float) -> str:
    """A rank interval as it is shown: 2, or 2–4; empty for an unranked row."""
    if pd.isna(low):
        return ""
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"
