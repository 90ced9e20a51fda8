"""Pairs of answers and what people said of them: what judges are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from judges.schema import Annotation, Comparison


@dataclass(frozen=True)
class Humans:
    """Labelled pairs, from whatever file they came.

    A label is an `Annotation` with order `none` and preference 0, 0.5 (a tie) or 1; one annotator
    has at most one label on a pair. `recorded` are the verdicts of judges that came with the file,
    in the orders they were made in (`none` where the file does not say), missing ones included.
    """

    source: str
    """What to call the data in a report."""
    comparisons: tuple[Comparison, ...]
    labels: tuple[Annotation, ...]
    recorded: tuple[Annotation, ...] = ()
    sampled: str | None = None
    """How the labelled pairs were drawn, if the file says so; `random` allows inference beyond them."""
    notes: Sequence[str] = field(default=())
    """What the reader of a report has to know of the data, a sentence each."""
