"""The packaged pairs: right by construction, and nothing but that tells the better answer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from judges.criteria.share import score
from judges.reading import list_items
from judges.schema import Comparison
from leaderboard.validity.human_files import packaged_humans

HUMANS = packaged_humans()
LABEL = {label.comparison_id: label.preference for label in HUMANS.labels}
DECIDED = [pair for pair in HUMANS.comparisons if LABEL[pair.id] != 0.5]
TIES = [pair for pair in HUMANS.comparisons if LABEL[pair.id] == 0.5]
MARKDOWN = re.compile(r"\*\*|^#|^```|^\|", re.MULTILINE)


def ordered(pair: Comparison) -> tuple[str, str]:
    """The better answer and the worse one."""
    answers = pair.output_1, pair.output_2
    return answers if LABEL[pair.id] == 0 else answers[::-1]


BETTER, WORSE = zip(*map(ordered, DECIDED), strict=True)


def test_what_is_promised_of_the_set():
    assert len(DECIDED) >= 100
    assert len(TIES) >= 10
    assert {label.annotator for label in HUMANS.labels} == {"construction"}
    assert len({pair.digest for pair in HUMANS.comparisons}) == len(HUMANS.comparisons)
    sizes = Counter(pair.instruction.category for pair in HUMANS.comparisons)
    assert len(sizes) >= 6
    assert min(sizes.values()) >= 8
    assert not HUMANS.recorded
    assert HUMANS.sampled is None
    assert "by construction" in HUMANS.notes[0]


@pytest.mark.parametrize("pair", DECIDED, ids=lambda pair: pair.id)
def test_the_better_answer_meets_all_criteria_and_the_worse_does_not(pair):
    better, worse = ordered(pair)
    assert score(better, pair.instruction.checks) == 1
    assert score(worse, pair.instruction.checks) < 1


@pytest.mark.parametrize("pair", TIES, ids=lambda pair: pair.id)
def test_both_answers_of_a_tie_meet_all_criteria(pair):
    assert pair.output_1 != pair.output_2
    assert score(pair.output_1, pair.instruction.checks) == 1
    assert score(pair.output_2, pair.instruction.checks) == 1


def test_neither_length_nor_place_tells_the_better_answer():
    half = len(DECIDED) / 2
    excess = [len(better) - len(worse) for better, worse in zip(BETTER, WORSE, strict=True)]
    is_first = [LABEL[pair.id] == 0 for pair in DECIDED]
    assert 0 not in excess
    assert sum(e > 0 for e in excess) == half
    assert sum(is_first) == half
    assert sum(e > 0 for e, first in zip(excess, is_first, strict=True) if first) == half / 2
    assert abs(sum(excess)) / len(excess) < 10  # characters, of about 65 an answer
    longer_first = Counter(
        (len(pair.output_1) > len(pair.output_2)) - (len(pair.output_1) < len(pair.output_2))
        for pair in TIES
    )
    assert longer_first[1] == longer_first[-1]


def test_neither_lists_nor_markdown_tell_the_better_answer():
    lists = [sum(bool(list_items(text)) for text in side) for side in (BETTER, WORSE)]
    assert lists[0] == lists[1] >= 10
    marked = [sum(bool(MARKDOWN.search(text)) for text in side) for side in (BETTER, WORSE)]
    assert marked[0] == marked[1] >= 10


def test_length_alone_tells_nothing_within_the_categories_either():
    longer: dict[str, list[bool]] = {}
    for pair, better, worse in zip(DECIDED, BETTER, WORSE, strict=True):
        longer.setdefault(pair.instruction.category, []).append(len(better) > len(worse))
    for category, found in longer.items():
        assert sum(found) == len(found) / 2, category


def test_they_are_found_from_anywhere(tmp_path):
    code = (
        "from leaderboard.validity.human_files import packaged_humans as p; print(len(p().labels))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert int(done.stdout) == len(HUMANS.labels)
