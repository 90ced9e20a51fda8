"""The judges of a board beside each other, as people read it and as records for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from judges.reading import printable
from leaderboard.boards.board import Board
from leaderboard.display.panel_report import JudgeFigures, PanelReport
from leaderboard.display.table import Format, Records, caption, emit, tex
from leaderboard.statistics.dawid_skene import DawidSkene
from leaderboard.statistics.estimates import Undefined
from leaderboard.statistics.uncertainty import Interval
from leaderboard.statistics.winrate import WinRate

Cells = tuple[str, list[str], list[list[str]]]
"""A table: its title, its headers and its body, as people read them."""
WIDE = 6
"""More judges than these stand one below another."""


def panel_tables(report: PanelReport, models: Sequence[str] = ()) -> list[Cells]:
    """Win rates by judge (of `models`, if any are named), the judges, and how they agree.

    Where the judges are many, or one of them judges an item, a line holds one judge's figure.
    """
    names = [judge.name for judge in report.judges]
    shown = [model for model in report.panel if not models or model in models]
    is_long = report.is_drawn or len(names) > WIDE
    if is_long:
        headers = ["model", "judge", "win rate", "instructions"]
        rates = [line for model in shown for line in _long_rates(report, model)]
    else:
        headers = ["model", "panel", *names]
        rates = [
            [model, _rate(report.panel[model]), *(_rate(j.rates.get(model)) for j in report.judges)]
            for model in shown
        ]
    tables = [
        ("win rates (%) by judge", headers, rates),
        (
            "judges",
            ["judge", "flips", "flips %", "ties apart", "first shown %"]
            + ["tau without it", "largest move"] * (len(names) > 1),
            [_judge_cells(judge) for judge in report.judges],
        ),
    ]
    if report.agreement is not None:
        tables.append(_long_agreement(report) if is_long else _agreement_cells(report, names))
    if isinstance(report.learnt, DawidSkene):
        tables.append(_learnt_weights(report.learnt, names))
    return tables


def _learnt_weights(found: DawidSkene, names: Sequence[str]) -> Cells:
    """The path of the weights, from what the mean of the votes says of the judges to the end."""
    steps = sorted({0, len(found.path) // 4, len(found.path) // 2, len(found.path) - 1})
    headers = ["judge", *(f"step {step + 1}" for step in steps)]
    body = [
        [name, *(f"{100 * found.path[step][at]:.1f}" for step in steps)]
        for at, name in enumerate(names)
    ]
    return "weights (%) that Dawid and Skene's model would give; they are not used", headers, body


def _long_rates(report: PanelReport, model: str) -> list[list[str]]:
    """The panel's line, and one for each judge that judged the model."""
    of = {"(panel)": report.panel[model]}
    of |= {judge.name: judge.rates[model] for judge in report.judges if model in judge.rates}
    return [[model, name, _rate(rate), str(rate.n_instructions)] for name, rate in of.items()]


def _long_agreement(report: PanelReport) -> Cells:
    """The pairs of judges that judged something both."""
    body = []
    for (a, b), found in report.pairs.items():
        if found is not None:
            correlation = "" if found.correlation is None else f"{found.correlation.value:.2f}"
            body.append([a, b, f"{100 * found.raw.value:.0f}", correlation, str(found.n)])
    headers = ["judge", "and", "agreement %", "correlation", "comparisons"]
    return "how two judges agree", headers, body


def _rate(rate: WinRate | None) -> str:
    if rate is None or not rate.n_instructions:
        return ""
    return f"{100 * rate.value:.1f} ± {50 * (rate.high - rate.low):.1f}"


def _judge_cells(judge: JudgeFigures) -> list[str]:
    found, without = judge.flips, judge.without
    cells = [judge.name, "", "", "", ""]
    if found is not None:
        cells[1] = f"{found.n_flipped} of {found.n_decided}"
        cells[2:] = [_percent(found.rate), str(found.n_tied), _percent(found.first_shown)]
    if without is not None:
        cells += ["" if np.isnan(without.tau) else f"{without.tau:.2f}", str(without.largest)]
    return cells


def _agreement_cells(report: PanelReport, names: Sequence[str]) -> Cells:
    """Raw agreement above the diagonal, the correlation below it."""
    cells = {(name, name): "" for name in names}
    for (a, b), found in report.pairs.items():
        cells[a, b] = "" if found is None else f"{100 * found.raw.value:.0f}"
        correlation = None if found is None else found.correlation
        cells[b, a] = "" if correlation is None else f"{correlation.value:.2f}"
    keys = [str(n) for n in range(1, len(names) + 1)]
    body = [
        [f"{key} {name}", *(cells[name, other] for other in names)]
        for key, name in zip(keys, names, strict=True)
    ]
    return "agreement (%) above the diagonal, correlation below it", ["judge", *keys], body


def _percent(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def panel_notes(report: PanelReport) -> list[str]:
    """What the judges come to together, in a line each."""
    lines = []
    if (mean := report.agreement) is not None:
        lines.append(
            f"two judges agree on {100 * mean.value:.1f} % of the comparisons in the mean "
            f"(95 % interval {100 * mean.low:.1f} to {100 * mean.high:.1f}); ties count half"
        )
    if (found := report.effective) is not None:
        if found.votes is None:
            why = "they never vary, or cancel" if found.n else "no comparison has those of all"
            lines.append(f"effective votes: not known, as {why}")
        else:
            lines.append(
                f"effective votes: {found.votes.value:.1f} of {found.n_judges} (95 % interval "
                f"{found.votes.low:.1f} to {found.votes.high:.1f}), from {found.n} comparisons: so "
                "many independent judges would vary as little"
            )
        for k in found.constant:
            name = report.judges[k].name
            lines.append(f"{name}'s vote is the same everywhere: it adds nothing")
    lines += _of_learnt(report)
    moves = [_moves(report, judge) for judge in report.judges if judge.without is not None]
    lines += [line for line in moves if line]
    if moves and not any(moves):
        lines.append("no rank changes without any one judge")
    if any("*" in line for line in moves):
        lines.append("* outside of the rank interval of the whole panel")
    return lines


def _of_learnt(report: PanelReport) -> list[str]:
    """What weights learnt from the votes alone would come to, and whether one judge has taken over."""
    found, names = report.learnt, [judge.name for judge in report.judges]
    if found is None:
        return []
    if isinstance(found, Undefined):
        return [f"weights by Dawid and Skene's model: none, as {found.reason}"]
    lines = [
        f"weights by Dawid and Skene's model would leave {found.effective_votes:.1f} of "
        f"{len(names)} votes; judges who err alike confirm each other in it, so that to use them "
        'is to make a new panel: aggregate = "weighted" and a `weight` for each judge'
    ]
    if found.dominant is not None:
        lines.append(
            f"{names[found.dominant]} would have {100 * found.weights[found.dominant]:.0f} % of the "
            "weight: it would be the panel, which is no reason to believe it"
        )
    return lines


def _moves(report: PanelReport, judge: JudgeFigures) -> str:
    """The rows that move without a judge; empty where none does."""
    assert judge.without is not None
    moved = []
    for n, shift in enumerate(judge.without.shifts):
        if shift:
            low, high = (
                report.rank_intervals[n] if report.rank_intervals else (0, len(report.ranked))
            )
            star = "" if low <= judge.ranks_without[n] <= high else "*"
            moved.append(f"{report.ranked[n]} {report.ranks[n]} → {judge.ranks_without[n]}{star}")
    return f"without {judge.name}: {', '.join(moved)}" if moved else ""


def panel_text(board: Board, report: PanelReport, form: Format, models: Sequence[str]) -> str:
    """The tables and notes of a board's judges; LaTeX is the tables alone."""
    parts = []
    for title, headers, body in panel_tables(report, models):
        block = emit(headers, body, form, f"{caption(board)} Shown: {tex(title)}.")
        parts.append(block if form == "latex" else f"{title}\n\n{block}")
    if form != "latex":
        parts.append(printable("\n".join(panel_notes(report))))
    return "\n\n".join(filter(None, parts))


# -------------------------------------------------------------------------------------- for programs
def panel_records(report: PanelReport, models: Sequence[str] = ()) -> Records:
    """One record a figure: figure, judge, other, model, value, low, high, count, n; docs/files.md
    says what stands where."""
    records: Records = []

    def add(figure: str, of: Interval | WinRate | None = None, **cells: Any) -> None:
        ends = {} if of is None else {"value": of.value, "low": of.low, "high": of.high}
        empty = dict.fromkeys(("judge", "other", "model", "value", "low", "high", "count", "n"))
        records.append({"figure": figure, **empty, **ends, **cells})

    for judge, rates in (("", report.panel), *((j.name, j.rates) for j in report.judges)):
        for model, rate in rates.items():
            if not models or model in models:
                add("win_rate", rate, judge=judge, model=model, n=rate.n_instructions)
    for j in report.judges:
        if (found := j.flips) is not None:
            n_both = found.n_decided + found.n_tied
            add("flips", found.rate, judge=j.name, count=found.n_flipped, n=found.n_decided)
            add("ties", judge=j.name, count=found.n_tied, n=n_both)
            add("first_shown", found.first_shown, judge=j.name, n=n_both)
    for (a, b), pair in report.pairs.items():
        if pair is not None:
            add("agreement", pair.raw, judge=a, other=b, n=pair.n)
            add("correlation", pair.correlation, judge=a, other=b, n=pair.n)
    if report.agreement is not None:
        add("mean_agreement", report.agreement, n=report.agreement.n)
    if report.effective is not None:
        of = report.effective
        add("effective_votes", of.votes, count=of.n_judges, n=of.n)
    if isinstance(report.learnt, DawidSkene):
        for j, weight in zip(report.judges, report.learnt.weights.tolist(), strict=True):
            add("learnt_weight", judge=j.name, value=weight, n=report.learnt.n)
        add("learnt_votes", value=report.learnt.effective_votes, n=report.learnt.n)
    n_ranked = len(report.ranked)
    for model, rank in zip(report.ranked, report.ranks, strict=True):
        add("rank", judge="", model=model, value=rank, n=n_ranked)
    for j in report.judges:
        if j.without is not None:
            add("tau_without", judge=j.name, value=j.without.tau, n=n_ranked)
            for model, rank in zip(report.ranked, j.ranks_without, strict=True):
                add("rank_without", judge=j.name, model=model, value=rank, n=n_ranked)
    return records
