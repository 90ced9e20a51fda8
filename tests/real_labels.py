"""PandaLM's and Auto-J's human labels and judges' verdicts as arrays of preferences for output 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAN = float("nan")


def pandalm(shared_data: Path) -> tuple[Floats, dict[str, Floats]]:
    """The three annotators, shape (999, 3), and two judges, nan where unparsed."""
    code = {0: 0.5, 1: 0.0, 2: 1.0, None: NAN}
    rows = _rows(shared_data / "human" / "pandalm.jsonl")
    humans = np.array([[code[row[f"annotator_{k}"]] for k in (1, 2, 3)] for row in rows])
    judges = {
        name: np.array([code[row[name]] for row in rows])
        for name in ("gpt_3_5_turbo", "pandalm_7b")
    }
    return humans, judges


def auto_j(shared_data: Path) -> tuple[Floats, Floats, Floats, NDArray[np.str_]]:
    """The label, the verdicts in either order, and the group of each pair."""
    code = {0: 0.0, 1: 1.0, 2: 0.5}
    rows = _rows(shared_data / "human" / "auto_j.jsonl")
    label, one, two = (
        np.array([code[row[key]] for row in rows])
        for key in ("human_label", "auto_j", "auto_j_swapped")
    )
    return label, one, two, np.array([row["scenario_group"] for row in rows])


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


AUTO_J_GROUPS = {
    "Summarization": (72, 45.83, 73.61),
    "Exam Questions": (72, 38.89, 69.44),
    "Code": (120, 47.50, 75.83),
    "Rewriting": (120, 49.17, 74.17),
    "Creative Writing": (216, 59.72, 87.04),
    "Functional Writing": (240, 61.67, 81.67),
    "General Communication": (288, 55.21, 92.36),
    "NLP Tasks": (264, 57.58, 86.36),
}
"""Auto-J's published figures: pairs, agreement in both orders and consistency, in percent."""
