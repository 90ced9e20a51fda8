"""What `correlate` found, in words, tables and JSON, and the folder of files that holds it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from judges.reading import printable
from leaderboard.display.markdown import escaped, paragraph
from leaderboard.display.table import grid
from leaderboard.validity.correlate import (
    ALIKE,
    BROADLY,
    ENOUGH,
    Correlation,
    Figures,
    Separated,
    Source,
    Verdict,
    n_separated,
)
from leaderboard.validity.correlation_figures import draw, surest
from leaderboard.validity.report_folder import make_folder, write_texts
from leaderboard.validity.scores import Side

Form = Literal["table", "markdown"]
SCHEMA_VERSION = 1

_SAID: dict[Verdict, str] = {
    "alike": "{a} ranks models nearly as {b} does",
    "broadly alike": "{a} ranks models broadly as {b} does, but not close ones",
    "related": "the rankings of {a} and {b} have to do with each other, but neither can stand for "
    "the other",
    "not shown": "it is not shown that the rankings of {a} and {b} have to do with each other",
    "against": "{a} ranks models against {b} (is a lower figure better in one of them?)",
    "withheld": f"nothing is concluded from fewer than {ENOUGH} models",
}
_VARIES: dict[Source, str] = {
    "models and instructions": "with other models and instructions",
    "models and standard errors": "with other models and standard errors",
    "models": "with other models",
    "instructions": "with other instructions",
    "standard errors": "from standard errors alone†",
}
_APART: dict[Separated, str] = {
    "both": "both tell them apart, the one against the other",
    "A": "only A tells them apart",
    "B": "only B tells them apart",
    "neither": "neither tells them apart",
    "not known": "whether they can be told apart is not known",
}
_BY: dict[Separated, str] = {
    "both": "by both",
    "A": "by A only",
    "B": "by B only",
    "neither": "by neither",
    "not known": "not known",
}
_SHOWN, _IN_REPORT, _IN_RECORD = 10, 50, 10_000
"""So many swaps are printed, stand in report.md, and in report.json."""
_NAMED = 10  # models in a sentence


# ----------------------------------------------------------------------------------------- words
def words(found: Correlation) -> list[str]:
    """The verdict, what it leans on, and which pairs swap: a sentence or two each."""
    a, b = found.pair.a.label, found.pair.b.label
    own = found.figures
    said = _SAID[own.verdict].format(a=a, b=b)
    about = f"over {_n(len(own.models), 'model')}"
    if found.is_about_rest:
        about += f", without {_names(found.removed)}"
    return [
        f"Verdict: {said}. Spearman {_spearman(own)}, {about}.",
        *_leaning(found),
        _swapping(found),
    ]


def _n(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _leaning(found: Correlation) -> list[str]:
    if found.rest is None:
        return ["No model lies far apart from the others."]
    if found.is_about_rest:
        return [f"With them it is {_spearman(found.whole)}: {_SHORT[found.whole.verdict]}."]
    names, whole = _names(found.removed), found.whole.coefficients
    n = len(found.rest.models)
    assert whole is not None
    begin = f"{whole.spearman:.3f} leans on its extremes" if found.leans else "It holds"
    lie = "lies" if len(found.removed) == 1 else "lie"
    between = ": without" if found.leans else " without"
    return [
        f"{begin}{between} {names}, which {lie} far apart from the others"
        f"{', it is' if found.leans else ':'} {_spearman(found.rest)} over {_n(n, 'model')}"
        f" ({_SHORT[found.rest.verdict]})."
    ]


_SHORT: dict[Verdict, str] = {
    "alike": "alike",
    "broadly alike": "broadly alike",
    "related": "related",
    "not shown": "no relation shown",
    "against": "against each other",
    "withheld": "too few for a verdict",
}


def _swapping(found: Correlation) -> str:
    pairs = found.whole.accuracy.n_pairs
    if not found.swaps:
        return f"Of {_n(pairs, 'pair')} of models none swaps."
    kinds = "; ".join(f"{n}: {_APART[kind]}" for kind, n in n_separated(found.swaps).items())
    swap = "swaps" if len(found.swaps) == 1 else "swap"
    return f"Of {_n(pairs, 'pair')} of models {len(found.swaps)} {swap} ({kinds})."


def _names(models: Sequence[str]) -> str:
    more = len(models) - _NAMED
    return ", ".join(models[:_NAMED]) + (f" and {_n(more, 'other')}" if more > 0 else "")


def _spearman(figures: Figures) -> str:
    """With its interval that counts."""
    if figures.coefficients is None:
        return "not there"
    return f"{figures.coefficients.spearman:.3f} {_ends(figures.intervals[figures.source])}"


def _ends(ends: tuple[float, float]) -> str:
    return f"[{ends[0]:.2f}, {ends[1]:.2f}]"


# ---------------------------------------------------------------------------------------- tables
def text(found: Correlation, form: Form = "table", *, whole: bool = False) -> str:
    """Words and tables for people; `whole` has every model and more swaps."""
    a, b = found.pair.a, found.pair.b
    title = f"{a.label} (A) and {b.label} (B, the reference), {_n(len(b.models), 'model')} of both"
    between = "\n\n" if form == "markdown" else "\n"
    write = paragraph if form == "markdown" else printable
    blocks = [f"## {escaped(title)}" if form == "markdown" else title]
    blocks.append(write(between.join(words(found))))
    blocks.append(_figures_table(found, form))
    swaps = surest(found.swaps, _IN_REPORT) if whole else found.swaps[:_SHOWN]
    if swaps:
        body = [
            [s.better_by_a, s.better_by_b, *_two(found, s.better_by_a, s.better_by_b),
             _BY[s.separated_by]]
            for s in swaps
        ]  # fmt: skip
        heads = ["better by A", "better by B", f"A: {a.label}", f"B: {b.label}", "told apart?"]
        blocks.append(_titled("Pairs that swap", grid(heads, body, form), form))
        if len(swaps) < len(found.swaps):
            of = "all" if len(found.swaps) <= _IN_RECORD else f"{_IN_RECORD:,}"
            where = f"{'report.json has' if whole else '--out writes'} {of}"
            blocks.append(f"… and {len(found.swaps) - len(swaps)} more; {where}")
    if whole:
        blocks.append(_titled("Each model, and the rest without it", _models(found, form), form))
    else:
        blocks.append(write(_one_less(found)))
    return printable("\n\n".join([*blocks, *map(write, _notes(found))]))


def _titled(title: str, table: str, form: Form) -> str:
    return f"### {title}\n\n{table}" if form == "markdown" else f"{title}:\n{table}"


def _figures_table(found: Correlation, form: Form) -> str:
    columns = [found.whole, *([found.rest] if found.rest is not None else [])]
    heads = ["", f"all {len(found.whole.models)} models"]
    if found.rest is not None:
        which = "those named" if found.is_named else "those far apart"
        heads.append(f"{len(found.rest.models)} without {which}")
    body = [["Spearman", *(_coefficient(one, "spearman") for one in columns)]]
    for source, name in _VARIES.items():
        if source in found.whole.intervals:
            ends = [_ends(o.intervals[source]) if source in o.intervals else "" for o in columns]
            body.append([f"95 % interval {name}", *ends])
    for key, name in {"kendall": "Kendall tau-b", "pearson": "Pearson", "r_squared": "R²"}.items():
        body.append([name, *(_coefficient(one, key) for one in columns)])
    of = [one.accuracy for one in columns]
    body.append(["pairs ranked alike", *(f"{o.n_alike} of {o.n_pairs}" for o in of)])
    body.append(["pairwise accuracy", *(_percent(o.share) for o in of)])
    if any(o.weighted is not None for o in of):
        body.append(["… weighted by separability", *(_percent(o.weighted) for o in of)])
    body.append(["verdict", *(_SHORT[one.verdict] for one in columns)])
    return grid(heads, body, form)


def _coefficient(figures: Figures, key: str) -> str:
    return "" if figures.coefficients is None else f"{getattr(figures.coefficients, key):.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _models(found: Correlation, form: Form) -> str:
    heads = ["model", f"A: {found.pair.a.label}", f"B: {found.pair.b.label}", "Spearman without it"]
    body = [
        [model + " °" * (model in found.removed), *_two(found, model, None),
         "" if math.isnan(without) else f"{without:.3f}"]
        for model, without in found.leave_one_out.items()
    ]  # fmt: skip
    said = "named to be left out" if found.is_named else "far apart from the others"
    return grid(heads, body, form) + (f"\n\n° {said}" if found.removed else "")


def _two(found: Correlation, one: str, other: str | None) -> list[str]:
    """The scores of one or two models by A and by B."""
    names = [one] if other is None else [one, other]
    return [
        " and ".join(score(side, name) for name in names) for side in (found.pair.a, found.pair.b)
    ]


def score(side: Side, model: str) -> str:
    """A model's score with its standard error; win rates in percent."""
    n, scale = side.models.index(model), 1 if side.preferences is None else 100
    form = ".5g" if side.preferences is None else ".1f"
    error = "" if side.errors is None else f" ± {scale * side.errors[n]:{form}}"
    return f"{scale * side.values[n]:{form}}{error}"


def _one_less(found: Correlation) -> str:
    known = {m: r for m, r in found.leave_one_out.items() if not math.isnan(r)}
    if not known:
        return "With a model less nothing is left to correlate."
    low, high = min(known, key=lambda m: known[m]), max(known, key=lambda m: known[m])
    return (
        f"With one model less Spearman is {known[low]:.3f} (without {low}) to {known[high]:.3f} "
        f"(without {high})."
    )


def _notes(found: Correlation) -> list[str]:
    said = (
        "† These models only, and noise added to scores that hold it already: as published, but it "
        "covers less than 95 %."
    )
    notes = [said] if "standard errors" in found.whole.intervals else []
    if found.pair.left_out:
        reasons = Counter(found.pair.left_out.values()).most_common()
        said = "; ".join(f"{n}: {why}" for why, n in reasons)
        notes.append(f"Not compared: {_n(len(found.pair.left_out), 'model')} ({said}).")
    return notes


# ----------------------------------------------------------------------------------------- files
def records(found: Sequence[Correlation]) -> dict[str, Any]:
    """The content of report.json; keys: docs/files.md."""
    return {"schema_version": SCHEMA_VERSION, "correlations": [_record(one) for one in found]}


def _record(found: Correlation) -> dict[str, Any]:
    pair = found.pair
    return {
        "a": pair.a.label,
        "b": pair.b.label,
        "verdict": found.figures.verdict,
        "words": words(found),
        "is_about_rest": found.is_about_rest,
        "leans_on_extremes": found.leans and not found.is_named,
        "whole": _figures_json(found.whole),
        "rest": None if found.rest is None else _figures_json(found.rest),
        "removed": list(found.removed),
        "removed_because": _because(found),
        "models": [
            {
                "model": model,
                **_scores_json(pair.a, n, "a"),
                **_scores_json(pair.b, n, "b"),
                "spearman_without": _known(found.leave_one_out[model]),
            }
            for n, model in enumerate(pair.models)
        ],
        "swaps": [asdict(swap) for swap in surest(found.swaps, _IN_RECORD)],
        "left_out": dict(pair.left_out),
    }


def _because(found: Correlation) -> str | None:
    if not found.removed:
        return None
    return "named" if found.is_named else "far apart"


def _figures_json(figures: Figures) -> dict[str, Any]:
    coefficients = None if figures.coefficients is None else asdict(figures.coefficients)
    return {
        "n_models": len(figures.models),
        "coefficients": coefficients,
        "intervals": {source: list(ends) for source, ends in figures.intervals.items()},
        "rests_on": figures.source,
        "pairwise_accuracy": asdict(figures.accuracy),
        "verdict": figures.verdict,
    }


def _scores_json(side: Side, n: int, key: str) -> dict[str, float | None]:
    error = None if side.errors is None else _known(float(side.errors[n]))
    return {key: float(side.values[n]), f"{key}_standard_error": error}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def write_report(found: Sequence[Correlation], folder: Path, title: str) -> list[Path]:
    """Writes report.md, report.json and scatter plots, and returns the files, as that of agree."""
    make_folder(folder)
    parts, files = [f"# {escaped(title)}"], []
    if len(found) > 1:
        parts.append(overview(found, "markdown"))
    for n, one in enumerate(found, 1):
        name = "scatter" if len(found) == 1 else f"scatter-{n}"
        files += [folder / f"{name}.png", folder / f"{name}.svg"]
        draw(one, files[-2:])
        said = f"![Scatter plot of the two scores, with swaps marked]({name}.svg)"
        parts += [text(one, "markdown", whole=True), said]
    parts.append(_RULES)
    return [*write_texts(folder, "\n\n".join(parts), records(found)), *files]


def overview(found: Sequence[Correlation], form: Form) -> str:
    """All pairs of judges in one table."""
    body = [
        [f"{c.pair.a.label}, {c.pair.b.label}", str(len(c.figures.models)), _spearman(c.figures),
         _coefficient(c.figures, "kendall"), str(len(c.swaps)), _SHORT[c.figures.verdict]]
        for c in found
    ]  # fmt: skip
    return grid(["judges", "models", "Spearman", "Kendall", "swaps", "verdict"], body, form)


_RULES = (
    "Rules: a verdict takes "
    f"{ENOUGH} models. The rankings are alike where the 95 % interval of Spearman's coefficient "
    f"begins at {ALIKE} or above, broadly alike from {BROADLY} on, related above 0. "
    "Far apart is more than two robust standard deviations (1.4826 times the median absolute "
    "deviation) from the median by either score. A pair is told apart at the 5 % level, "
    "Holm-adjusted over all pairs. In the weighted accuracy a pair counts by 1 - p, p being that "
    "of B's test of the two."
)
