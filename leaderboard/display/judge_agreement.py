"""What reports of `leaderboard agree` say of judges, for the list of judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leaderboard.display.judge_table import JudgeLine


def with_agreement(lines: Sequence[JudgeLine], results: Path) -> list[JudgeLine]:
    """The same with what the reports of `agree` in results/agreement/ say of these very judges: of
    another one of the same name they say nothing. Passed over are reports that are not whole, and
    those on one label a pair, which cannot say how far people themselves agree."""
    known: dict[str, tuple[int, float]] = {}
    for file in sorted(results.glob("agreement/*/report.json")):
        for judge, n, value in _measured(file):
            known[judge] = max(known.get(judge, (0, 0.0)), (n, value))
    return [
        replace(line, agreement=known[line.digest][1]) if line.digest in known else line
        for line in lines
    ]


def _measured(file: Path) -> list[tuple[str, int, float]]:
    """Digest of each judge, pairs and agreement, of a report; nothing of what is no report."""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        return [
            (judge["judge"], int(of["n"]), float(of["value"]))
            for judge in report["judges"]
            if report["complete"] is True and report["people"]["agreement"]["value"] is not None
            if judge["judge"] is not None
            if (of := judge["against"]["judge"])["value"] is not None
        ]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []
