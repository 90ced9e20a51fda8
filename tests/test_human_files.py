"""Human labels come in as they are, whatever kind of file holds them, and bad ones are refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from judges.errors import UserError
from judges.schema import Annotation
from leaderboard.validity.human_files import read_humans
from leaderboard.validity.humans import Humans

OURS = {"instruction": "Name a colour.", "output_1": "Red.", "output_2": "A dog.", "annotator": "a"}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(rows)), encoding="utf-8")
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


def labelled(humans: Humans) -> dict[tuple[str, str], float | None]:
    """Pair's first answer and annotator → preference."""
    first = {pair.id: pair.output_1 for pair in humans.comparisons}
    return {(first[a.comparison_id], a.annotator): a.preference for a in humans.labels}


def of(annotations: tuple[Annotation, ...], annotator: str, order: str) -> list[float | None]:
    return [a.preference for a in annotations if (a.annotator, a.order) == (annotator, order)]


# --------------------------------------------------------------------- what others have published
@pytest.fixture(scope="module")
def human(shared_data: Path) -> Path:
    return shared_data / "human"


def test_fair_eval(human):
    humans = read_humans(human / "fair_eval.jsonl")
    assert Counter(a.preference for a in humans.labels) == {0.0: 41, 1.0: 25, 0.5: 14}
    assert {(p.generator_1, p.generator_2) for p in humans.comparisons} == {("gpt35", "vicuna-13b")}
    assert not humans.recorded


def test_pandalm(human):
    humans = read_humans(human / "pandalm.jsonl")
    assert len(humans.comparisons) == 999
    assert Counter(a.annotator for a in humans.labels) == dict.fromkeys(
        ("annotator_1", "annotator_2", "annotator_3"), 999
    )
    missing = [a for a in humans.recorded if a.preference is None]
    assert Counter((a.annotator, a.error) for a in missing) == {("gpt_3_5_turbo", "unparsed"): 25}
    assert Counter(a.annotator for a in humans.recorded) == {
        "gpt_3_5_turbo": 999,
        "pandalm_7b": 999,
    }
    assert {a.order for a in humans.recorded} == {"none"}
    assert humans.comparisons[0].generator_1 == "bloom-7b"
    # An answer "True" that became a truth value on its way is a text again.
    assert humans.comparisons[157].output_1 == "True"


def test_auto_j(human):
    humans = read_humans(human / "auto_j.jsonl")
    people = of(humans.labels, "human", "none")
    original, swapped = (of(humans.recorded, "auto_j", o) for o in ("original", "swapped"))
    n = len(people)
    assert n == 1392
    both = list(zip(people, original, swapped, strict=True))
    assert round(100 * sum(p == o == s for p, o, s in both) / n, 2) == 54.96
    assert round(100 * sum(o == s for _, o, s in both) / n, 2) == 83.41
    assert len({pair.instruction.category for pair in humans.comparisons}) == 8


def test_llmbar_with_the_verdicts_beside_it(human):
    humans = read_humans(human / "llmbar.parquet")
    assert len(humans.comparisons) == len(humans.labels) == 629
    assert len(humans.recorded) == 48_610
    assert sum(a.preference is None for a in humans.recorded) == 139
    natural = [p for p in humans.comparisons if p.instruction.category == "natural"]
    gold = {a.comparison_id: a.preference for a in humans.labels}
    said = {
        a.comparison_id: a.preference
        for a in humans.recorded
        if (a.annotator, a.order) == ("GPT-4 Vanilla_NoRules", "original")
    }
    official = pd.read_csv(human / "llmbar_official.csv").query(
        "subset == 'natural' and judge == 'GPT-4' and strategy == 'Vanilla_NoRules'"
    )
    right = sum(said[p.id] == gold[p.id] for p in natural) / len(natural)
    assert 100 * right == pytest.approx(official["accuracy_original"].item())


def test_every_label_and_verdict_is_bound_to_the_texts_it_is_about(human):
    humans = read_humans(human / "auto_j.jsonl")
    digests = {pair.id: pair.digest for pair in humans.comparisons}
    for annotation in (*humans.labels, *humans.recorded):
        assert annotation.digest == digests[annotation.comparison_id]


# ------------------------------------------------------------------------ one reader a kind of file
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "one"}]
TURNS_B = [TURNS[0], {"role": "assistant", "content": "two"}]
SECOND = [{"role": "user", "content": "More"}, {"role": "assistant", "content": "three"}]
ARENA = {"model_a": "m", "model_b": "n", "judge": "j", "conversation_a": TURNS,
         "conversation_b": TURNS_B}  # fmt: skip
KINDS = {
    "arena": [
        ARENA | {"winner": "model_a"},
        ARENA | {"winner": "model_b", "judge": "k"},
        ARENA | {"winner": "tie", "judge": "l"},
        ARENA | {"winner": "tie (bothbad)", "judge": "m"},
    ],
    "arena, prompt": [
        {"model_a": "m", "model_b": "n", "prompt": "Hi", "response_a": "one", "response_b": "two",
         "winner": winner, "annotator": name}
        for winner, name in zip(("model_a", "model_b", "tie", "tie (bothbad)"), "jklm", strict=True)
    ],
    "alpaca_eval": [
        {"instruction": "Hi", "output_1": "one", "output_2": "two", "preference": given,
         "annotator": name, "generator_1": "m", "generator_2": "n"}
        for given, name in zip((1, 2, 1.5, 0), "jklm", strict=True)
    ],
    "pandalm": [
        {"idx": 0, "motivation_app": "Wikipedia", "cmp_key": "m_n", "instruction": "Hi",
         "input": float("nan"), "response1": "one", "response2": "two", "annotator1": 1,
         "annotator2": 2, "annotator3": 0, "gpt_result": "garbage"}
    ],
    "auto_j": [
        {"scenario": "chat", "prompt": "Hi", "response 1": "one", "response 2": "two", "label": 1}
    ],
    "llmbar": [{"input": "Hi", "output_1": "one", "output_2": "two", "label": 2}],
    "ours, words": [
        {"instruction": "Hi", "output_1": "one", "output_2": "two", "label": given,
         "annotator": name}
        for given, name in zip(("output_1", "output_2", "tie", 1, 2), "jklmn", strict=True)
    ],
    "ours, numbers": [
        {"instruction": "Hi", "output_1": "one", "output_2": "two", "preference": given,
         "annotator": name}
        for given, name in zip((0, 1, 0.5), "jkl", strict=True)
    ],
}  # fmt: skip
WANTED = {
    "arena": {"j": 0, "k": 1, "l": 0.5, "m": 0.5},
    "arena, prompt": {"j": 0, "k": 1, "l": 0.5, "m": 0.5},
    "alpaca_eval": {"j": 0, "k": 1, "l": 0.5, "m": 0.5},
    "pandalm": {"annotator1": 0, "annotator2": 1, "annotator3": 0.5},
    "auto_j": {"human": 1},
    "llmbar": {"gold": 1},
    "ours, words": {"j": 0, "k": 1, "l": 0.5, "m": 0, "n": 1},
    "ours, numbers": {"j": 0, "k": 1, "l": 0.5},
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_format(kind, suffix, tmp_path):
    rows = KINDS[kind]
    if suffix == ".parquet" and kind == "ours, words":
        rows = [row | {"label": str(row["label"])} for row in rows]  # a column has one type
    if suffix == ".csv":
        rows = [
            {k: json.dumps(v) if isinstance(v, list) else v for k, v in r.items()} for r in rows
        ]
    humans = read_humans(write(tmp_path / f"labels{suffix}", *rows))
    assert {name: said for (_, name), said in labelled(humans).items()} == WANTED[kind]
    (pair,) = humans.comparisons
    assert (pair.instruction.text, pair.output_1, pair.output_2) == ("Hi", "one", "two")
    if kind in ("arena", "arena, prompt", "alpaca_eval", "pandalm"):
        assert (pair.generator_1, pair.generator_2) == ("m", "n")
    assert all(a.preference is None and a.error == "unparsed" for a in humans.recorded)


def test_the_conversation_up_to_the_turn_that_was_judged(tmp_path):
    long = ARENA | {"conversation_a": TURNS + SECOND, "conversation_b": TURNS_B + SECOND}
    rows = [
        long | {"winner": "model_a", "turn": 1},
        long | {"winner": "model_b", "turn": 2},
        ARENA | {"conversation_a": TURNS + SECOND, "conversation_b": TURNS + SECOND[:1] + TURNS_B[1:],
                 "winner": "tie", "turn": 2},
    ]  # fmt: skip
    humans = read_humans(write(tmp_path / "arena.json", *rows))
    assert labelled(humans) == {("one", "j"): 0.0, ("three", "j"): 0.5}
    assert [len(pair.instruction.messages) for pair in humans.comparisons] == [1, 3]
    assert humans.notes[0].startswith("1 of 3 labels are left out")


def test_a_conversation_an_input_and_all_that_a_line_can_say(tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    line = {"id": 7, "messages": messages, "output_1": "one", "output_2": "", "label": "tie",
            "annotator": 3, "generator_1": "m", "generator_2": "n", "category": "talk",
            "instruction_id": "talk-1", "sampled": "random", "what": "ever"}  # fmt: skip
    humans = read_humans(write(tmp_path / "labels.jsonl", line))
    (pair,) = humans.comparisons
    assert (pair.id, pair.instruction.id, pair.instruction.category) == ("7", "talk-1", "talk")
    assert [turn.role for turn in pair.instruction.messages] == ["system", "user"]
    assert (pair.generator_1, pair.output_2, humans.labels[0].annotator) == ("m", "", "3")
    assert humans.sampled == "random"
    below = write(tmp_path / "b.jsonl", OURS | {"input": "Of the sky.", "label": "tie"})
    assert read_humans(below).comparisons[0].instruction.text == "Name a colour.\n\nOf the sky."


# ------------------------------------------------------------------------------------- bad input
A = OURS | {"label": "output_1"}
ALPACA = KINDS["alpaca_eval"][1]
REFUSED = {
    "two labels of one annotator": ([A, A], "line 2: annotator 'a' has labelled"),
    "an unknown class": ([A | {"label": "first"}], "line 1: label is 'first'; known: output_1"),
    "a 0": ([A | {"label": 0}], "line 1: label is 0; known"),
    "NaN": ([A, A | {"annotator": "b", "label": float("nan")}], "line 2: label is NaN"),
    "NaN as a preference": ([OURS | {"preference": float("nan")}], "line 1: preference is NaN"),
    "an empty label": ([A | {"label": None}], "line 1: label is empty"),
    "a preference that is not in our classes": ([OURS | {"preference": 0.3}], "preference is 0.3"),
    "one that is not in AlpacaEval's": (
        [ALPACA, ALPACA | {"preference": 1.7, "annotator": "b"}],
        "line 2: preference is 1.7; known: 1, 2, 1.5, 0",
    ),
    "preferences that mean one thing here and another there": (
        [OURS | {"preference": 1}],
        "1 is output 2 to Herdbook and output 1 to AlpacaEval",
    ),
    "a preference that is no number": ([OURS | {"preference": "x"}], "must be a number"),
    "ids of mixed types": (
        [A | {"id": 1}, A | {"id": "1", "annotator": "b"}],
        "line 2: id '1' is a text, and a number in",
    ),
    "annotators of mixed types": (
        [A | {"annotator": 1}, A | {"annotator": "1"}],
        "line 2: annotator '1' is a text, and a number in",
    ),
    "an id that is missing": ([A | {"id": 1}, A], "line 2: id is missing, and a number in"),
    "an id that is a fraction": ([A | {"id": 1.5}], "id must be a text or a whole number"),
    "an id for two texts": (
        [A | {"id": 1}, A | {"id": 1, "output_1": "Blue.", "annotator": "b"}],
        "line 2: id '1' stands for other texts",
    ),
    "no text": ([A | {"output_1": None}], "line 1: output_1 must be a text"),
    "an empty instruction": ([A | {"instruction": " "}], "line 1: the prompt is empty"),
    "no prompt": ([A | {"instruction": None}], "line 1: no prompt"),
    "no known kind": ([{"question": "?", "answer": "!"}], "no known kind; its columns are answer"),
    "two kinds": ([A | ARENA | {"winner": "tie"}], "fits Herdbook's own and model_a/model_b"),
    "how it was drawn, said in two ways": (
        [A | {"sampled": "random"}, A | {"annotator": "b"}],
        "line 2: sampled is None, and 'random' before",
    ),
    "an unknown winner": ([ARENA | {"winner": "m"}], "line 1: winner is 'm'; known: model_a"),
    "turns out of turn": (
        [ARENA | {"winner": "tie", "conversation_a": TURNS[::-1]}],
        "turn 1 of conversation_a must have the role user",
    ),
    "only conversations that differ": (
        [ARENA | {"winner": "tie", "conversation_a": TURNS + SECOND,
                  "conversation_b": TURNS_B + SECOND}],
        "nothing can be used",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_line_and_field(case, tmp_path):
    rows, complaint = REFUSED[case]
    with pytest.raises(UserError) as refused:
        read_humans(write(tmp_path / "labels.jsonl", *rows))
    assert complaint in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2


def test_a_file_that_is_unknown_is_told_the_known_kinds(tmp_path):
    with pytest.raises(UserError) as refused:
        read_humans(write(tmp_path / "labels.csv", {"a": 1}))
    for part in (
        "PandaLM",
        "model_a, model_b, winner",
        "gold or label",
        "scenario",
        "label or pref",
    ):
        assert part in str(refused.value)


def test_verdicts_on_unknown_items(tmp_path):
    row = {"subset": "natural", "example_id": 1, "input": "Hi", "output_1": "a", "output_2": "b"}
    write(tmp_path / "llmbar.parquet", row | {"gold": 1})
    said = {"subset": "natural", "example_id": 2, "judge": "j", "strategy": "s", "verdict": 1}
    write(tmp_path / "llmbar_verdicts.parquet", said | {"order": "original"})
    with pytest.raises(UserError, match="row 1: a verdict on 'natural-2'"):
        read_humans(tmp_path / "llmbar.parquet")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_an_empty_file(name, tmp_path):
    (tmp_path / name).write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="the file is empty"):
        read_humans(tmp_path / name)


@pytest.mark.parametrize("label", ["tie", "output_1"])
def test_one_annotator_who_always_says_the_same_is_legal(label, tmp_path):
    rows = [A | {"instruction": f"Question {n}", "label": label} for n in range(3)]
    humans = read_humans(write(tmp_path / "labels.jsonl", *rows))
    assert len(humans.labels) == len(humans.comparisons) == 3
    assert len({a.preference for a in humans.labels}) == 1
