"""What the methods paragraph says of the judges: who they are, and what is known of their votes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from judges.base import Judge
from leaderboard.boards.board import Board
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import told as told_of
from leaderboard.rows.standings import Standings

Summaries = Mapping[str, Mapping[str, Any]]
"""Row → its summary.json."""


def judging_sentences(board: Board, table: Standings) -> list[str]:
    """The judges, how their votes become one, the orders, who served them, flips and kin."""
    judges, settings = board.panel.judges, board.settings
    described = "; ".join(f"{judge.name}, {_kind(judge.identity())}" for judge in judges)
    if len(judges) == 1:
        sentences = [f"The judge was {described}."]
    else:
        needed = len(judges) if settings.min_votes == "all" else settings.min_votes
        sentences = [
            f"The judges were a panel of {len(judges)}: {described}.",
            f"The panel's preference is the {board.panel.aggregate} of their votes, where at least "
            f"{needed} of the {len(judges)} votes {'is' if needed == 1 else 'are'} there.",
        ]
    for seen, text in _ORDERS.items():
        names = [judge.name for judge in judges if _order(judge, settings.orders) == seen]
        if names:
            who = "It" if len(judges) == 1 else ", ".join(names)
            sentences.append(f"{who} {text.format(seed=settings.seed)}.")
    rows = table.frame.loc[table.frame["status"] != "reference", "model"]
    summaries = {str(name): Row(board.path / name).summary() or {} for name in rows}
    return [*sentences, *_served(summaries), *_flips(summaries), *_kin(board, summaries)]


def _served(summaries: Summaries) -> list[str]:
    """Under which names the servers answered."""
    names: dict[str, set[str]] = {}
    for summary in summaries.values():
        for judge, served in summary.get("served", {}).items():
            names.setdefault(judge, set()).update(served)
    told = "; ".join(f"{judge}: {', '.join(sorted(of))}" for judge, of in names.items())
    return [f"The judges' servers named their models thus: {told}."] if told else []


def _flips(summaries: Summaries) -> list[str]:
    """How often the order decided, over all rows."""
    found: dict[str, list[int]] = {}
    for summary in summaries.values():
        for judge, of in summary.get("flips", {}).items():
            counts = found.setdefault(judge, [0, 0])
            counts[0] += of["n_flipped"]
            counts[1] += of["n_decided"]
    told = "; ".join(
        f"{judge} {n} of {of} ({100 * n / of:.1f} %)" for judge, (n, of) in found.items() if of
    )
    if not told:
        return []
    return [f"Pairs of answers whose preference changed with the order, of those decided: {told}."]


def _kin(board: Board, summaries: Summaries) -> list[str]:
    """The judges that are a candidate, or its kin."""
    told = "; ".join(
        f"{judge} of {name} ({why})"
        for name, summary in summaries.items()
        for judge, why in summary.get("self_judging", {}).items()
    )
    rule = board.settings.self_judging
    if rule == "allow":
        return ["Whether a judge is a candidate, or its kin, was not looked at."] * any(
            getattr(judge, "model", "") for judge in board.panel.judges
        )
    return [f"Judges that are kin of a candidate: {told}; {told_of(rule)}."] if told else []


_ORDERS = {
    "both": "judged each pair of answers in both orders of presentation, whose mean is the vote",
    "random": "judged each pair of answers in one order of presentation, drawn for each instruction "
    "by a hash (seed {seed}) and the same for every model",
    "fixed": "judged each pair of answers in one order of presentation, the reference's first",
    "unseen": "judged without an order of presentation",
    "unknown": "judged in orders of presentation that were not recorded",
}


def _order(judge: Judge, orders: str) -> str:
    if judge.sees_order:
        return orders
    return "unknown" if judge.identity().get("kind") == "recorded" else "unseen"


def _kind(identity: Mapping[str, Any]) -> str:
    """What a judge is, from what it says of itself; long texts, such as prompts, are left out."""
    kind, rule = identity.get("kind"), identity.get("rule")
    if kind == "checklist":
        what = "a program that prefers the answer which meets more of an instruction's criteria"
    elif kind == "heuristic":
        what = "a rule that prefers " + ("at random" if rule == "random" else f"the {rule} answer")
    elif kind == "recorded":
        what = "whose verdicts were recorded elsewhere"
    else:
        what = f"a judge of the kind {kind}"
    # What is set for its server, such as reasoning_effort, stands in tables of its own.
    shown = {**identity, **identity.get("extra", {}), **identity.get("args", {})}
    told = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in shown.items()
        if kind != "recorded"
        and key not in ("kind", "name", "rule")
        and isinstance(value, str | int | float)
        and len(str(value)) <= 60
    ]
    return f"{what} ({', '.join(told)})" if told else what
