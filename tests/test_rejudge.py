"""A board judged anew by another panel, or by its own as it is today, and the two side by side."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Behaviour
from api_wire import Asked, Reply
from conftest import (
    LONGEST,
    TOY,
    Finished,
    files_of,
    make_board,
    mixed_answers,
    read_lines,
    refused,
    toy_instructions,
    write_answers,
    write_rows,
)

from judges.panel_files import panel_toml
from leaderboard.boards.board import load_board
from leaderboard.evaluation import evaluate
from leaderboard.rejudging import crosswalk
from leaderboard.rows.results import ModelInfo, Row
from leaderboard.rows.standings import standings

N = 12


def fond_of(*words: str, flips: float = 0.0, salt: str = "") -> Behaviour:
    """A judge that prefers the answer with more of the words, and the first where both have as
    many; of some prompts it says the other."""

    def behave(asked: Asked) -> Reply:
        frame = rf"\[begin .*? {asked.nonce}\]\n(.*?)\[end"
        texts = re.findall(frame, asked.prompt, re.DOTALL)[-2:]
        counts = [sum(text.count(word) for word in words) for text in texts]
        is_second = counts[1] > counts[0]
        is_second ^= random.Random(salt + asked.prompt).random() < flips
        return Reply(text=f"VERDICT {asked.nonce}: {'second' if is_second else 'first'}")

    return behave


@pytest.fixture
def server(serve) -> ApiServer:
    return serve()


def table(server: ApiServer, **keys: Any) -> dict[str, Any]:
    return {
        "kind": "pairwise", "model": "openai-api/m", "base_url": f"{server.url}/v1",
        "name": "judge", "form": "text", "reasoning": False, **keys,
    }  # fmt: skip


def panel_file(path: Path, *judges: dict[str, Any]) -> Path:
    path.write_text(panel_toml({"judges": list(judges)}), encoding="utf-8")
    return path


@pytest.fixture
def old(tmp_path, leaderboard) -> Path:
    """The board toy, judged by the checklist, with rows r0, r3, r6 and r12 of so many good answers."""
    board = tmp_path / "results" / "toy"
    make_board(board, N, settings=replace(TOY, control_items=4))
    for good in (0, 3, 6, 12):
        file = write_answers(tmp_path / f"r{good}.jsonl", mixed_answers(good))
        run = leaderboard("eval", file, "--board", "toy", "--results", board.parent)
        assert run.code == 0, run.err
    return board


@pytest.fixture
def rejudge(old, server, tmp_path, leaderboard) -> Callable[..., Finished]:
    panel = panel_file(tmp_path / "new.toml", table(server))

    def run(*flags: str | Path, board: str = "toy", panel: Path | None = panel) -> Finished:
        who = () if panel is None else ("--panel", panel)
        return leaderboard("rejudge", board, *who, "--results", old.parent, *flags)

    return run


# ------------------------------------------------------------------------------------ the new board
def test_a_new_board_holds_the_same_answers_under_the_new_panel(rejudge, old):
    before = files_of(old)
    run = rejudge()
    assert run.code == 0, run.err
    assert files_of(old) == before
    was, board = load_board("toy", old.parent), load_board("toy-rejudged", old.parent)
    assert board.settings.parent == "toy"
    assert board.panel.names == ["judge"]
    for part in ("evalset", "references"):
        assert board.hashes[part] == was.hashes[part]
    for name in ("r0", "r3", "r6", "r12"):
        for file in ("outputs.jsonl", "manifest.json", "model.toml"):
            assert (board.path / name / file).read_bytes() == (old / name / file).read_bytes()
        verdicts = read_lines(board.path / name / "annotations.jsonl")
        assert {a["annotator"] for a in verdicts} == {"judge"}
        assert len(verdicts) == 2 * N


def test_the_crosswalk_shows_old_and_new(rejudge, old, server):
    server.behaviour = fond_of("I believe", flips=0.2)
    run = rejudge()
    assert "old: toy, judged by checklist" in run.out
    assert "new: toy-rejudged, judged by judge" in run.out
    assert "rank correlation (Spearman)" in run.out
    assert "over 5 models" in run.out
    assert re.search(r"base \(reference\) +│? *\d → \d .*50\.0 .*50\.0 .*by definition", run.out)
    found = crosswalk(load_board("toy", old.parent), load_board("toy-rejudged", old.parent))
    assert found is not None
    assert found.correlation is not None
    tables = [
        standings(load_board(n, old.parent)).frame.set_index("model")
        for n in ("toy", "toy-rejudged")
    ]
    for row in found.frame.to_dict("records"):
        values = [float(of.loc[row["model"], "win_rate"]) for of in tables]
        assert [row["old"], row["new"]] == pytest.approx(values)
        assert row["change"] == pytest.approx(values[1] - values[0])
        assert row["low"] <= row["change"] <= row["high"]
        assert row["n"] == N
        ranks = [int(of.loc[row["model"], "rank"]) for of in tables]
        assert [row["old_rank"], row["new_rank"]] == ranks, "as the boards' own tables have them"
    assert set(found.frame["model"]) == {"base", "r0", "r3", "r6", "r12"}
    assert list(found.frame["new_rank"]) == sorted(found.frame["new_rank"])


def test_one_row_has_a_crosswalk_without_a_rank_correlation(rejudge, old):
    for name in ("r0", "r3", "r6"):
        shutil.rmtree(old / name)
    run = rejudge()
    assert run.code == 0, run.err
    assert "rank correlation: none" in run.out


def test_a_private_board_stays_private(rejudge, old, tmp_path):
    asked = tuple(replace(i, visibility="private") for i in toy_instructions(N))
    shutil.rmtree(old)
    make_board(old, asked, LONGEST, TOY)
    evaluate(str(tmp_path / "r3.jsonl"), board="toy", results=old.parent)
    assert rejudge().code == 0
    new = load_board("toy-rejudged", old.parent)
    assert {i.visibility for i in new.instructions} == {"private"}


def test_a_calibration_is_not_carried_over(rejudge, old, leaderboard, tmp_path):
    settings = old / "board.toml"
    for good in (1, 2, 4, 5, 7, 8):
        longer = ["- and so on\n" * (k % good) for k in range(N)]
        texts = [f"{text} {more}" for text, more in zip(mixed_answers(good), longer, strict=True)]
        file = write_answers(tmp_path / f"r{good}.jsonl", texts)
        leaderboard("eval", file, "--board", "toy", "--results", old.parent)
    run = leaderboard(
        "board", "calibrate", "toy", "--headline", "lc_joint", "--results", old.parent
    )
    assert run.code == 0, run.err
    assert 'headline = "lc_joint"' in settings.read_text("utf-8")
    run = rejudge()
    assert run.code == 0, run.err
    assert "toy-rejudged ranks by win rate until: leaderboard board calibrate" in run.err
    new = load_board("toy-rejudged", old.parent)
    assert (new.settings.headline, new.calibration) == ("win_rate", None)


# -------------------------------------------------------------------------------- on and off again
def test_a_second_run_asks_nothing(rejudge, server):
    first = rejudge()
    calls = server.calls
    again = rejudge()
    assert (again.code, again.out) == (0, first.out)
    assert server.calls == calls


def test_a_run_that_was_stopped_goes_on(rejudge, old, server, tmp_path, monkeypatch):
    prices = tmp_path / "prices.toml"
    prices.write_text('[[models]]\nmodel = "openai-api/*"\ninput = 1.0\noutput = 1.0\n')
    monkeypatch.setenv("HERDBOOK_PRICES", str(prices))
    whole = rejudge("--name", "whole")
    cost = float(whole.err.split("calls to models, $")[1].split()[0].rstrip(".;"))
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    calls = server.calls
    run = rejudge("--max-cost", f"{cost / 2:.6f}")
    assert run.code == 4, run.err
    assert "not judged yet" in run.out
    assert "stopped at the budget" in run.err
    done = server.calls - calls
    assert 0 < done < calls
    run = rejudge()
    assert run.code == 0, run.err
    # A question to try the judge with, and the first day's comparisons once more.
    assert server.calls - calls <= calls + 1 + 2 * N
    assert run.out.splitlines()[2:] == whole.out.splitlines()[2:]
    for name in ("r0", "r12"):
        one, other = (
            old.parent / b / name / "annotations.jsonl" for b in ("whole", "toy-rejudged")
        )
        assert one.read_bytes() == other.read_bytes()


def test_answers_that_changed_in_between_are_judged_anew(
    rejudge, old, server, leaderboard, tmp_path
):
    rejudge()
    file = write_answers(tmp_path / "r3.jsonl", [f"other {k}" for k in range(N)])
    run = leaderboard("eval", file, "--board", "toy", "--results", old.parent, "--overwrite")
    assert run.code == 0, run.err
    calls = server.calls
    assert rejudge().code == 0
    assert server.calls - calls == 2 * N + 2 * N  # the row, and whether the judge has changed
    new = old.parent / "toy-rejudged" / "r3"
    assert (new / "outputs.jsonl").read_bytes() == (old / "r3/outputs.jsonl").read_bytes()


# ------------------------------------------------------------------------- the same panel, as it is now
def test_the_same_judges_are_asked_again_without_the_cache(
    tmp_path, server, leaderboard, old, rejudge
):
    server.behaviour = fond_of("word")
    rejudge()
    server.behaviour = fond_of("am not sure")
    calls = server.calls
    run = rejudge("--name", "today", board="toy-rejudged", panel=None)
    assert run.code == 0, run.err
    assert "the panel is that of toy-rejudged: it is asked again, without the cache" in run.err
    assert server.calls - calls >= 4 * 2 * N
    then, now = (
        standings(load_board(b, old.parent)).frame.set_index("model")["win_rate"]
        for b in ("toy-rejudged", "today")
    )
    assert now["r0"] > then["r0"]
    calls = server.calls
    assert rejudge("--name", "today", board="toy-rejudged", panel=None).code == 0
    assert server.calls == calls
    # The cache has kept the old replies, and is used again by everyone else.
    run = rejudge("--name", "cached")
    assert run.code == 0, run.err
    assert server.calls == calls


def test_equal_requests_of_a_rejudge_are_made_once(tmp_path, server, old, rejudge):
    """A pointwise judge scores the reference's answer in every row."""

    def score(asked: Asked) -> Reply:
        return Reply(text=f"VERDICT {asked.nonce}: {random.Random(asked.prompt).randint(1, 9)}")

    server.behaviour = score
    panel = panel_file(
        tmp_path / "points.toml", {**table(server, temperature=1.0), "kind": "pointwise"}
    )
    assert rejudge("--name", "points", panel=panel).code == 0
    settings = old.parent / "points" / "board.toml"
    settings.write_text(re.sub("drift = .*", "drift = 0", settings.read_text("utf-8")), "utf-8")
    n_asked = len(server.log)
    assert rejudge("--name", "again", board="points", panel=None).code == 0
    assert len(server.log) > n_asked + 4 * N
    assert max(Counter(asked.raw for asked in server.log[n_asked:]).values()) == 1


@pytest.mark.parametrize("is_same", [False, True])
def test_a_dry_run_counts_what_comes_and_leaves_nothing_behind(
    is_same, old, server, rejudge, leaderboard, tmp_path
):
    def planned(out: str) -> int:
        return sum(int(n) for n in re.findall(r"(?:judging by|drift:) \S+\s+([\d,]+) ", out))

    # Rows without a common answer: of those that have one, a question is counted in each.
    for good in (0, 3, 6, 12):
        shutil.rmtree(old / f"r{good}")
    for name in ("one", "two", "three"):
        file = write_answers(tmp_path / f"{name}.jsonl", [f"{name} {k}" for k in range(N)])
        assert leaderboard("eval", file, "--board", "toy", "--results", old.parent).code == 0
    flags = {}
    if is_same:
        assert rejudge().code == 0
        flags = {"board": "toy-rejudged", "panel": None}
    before, calls = files_of(old.parent), server.calls
    plan = rejudge("--dry-run", **flags)
    assert plan.code == 0, plan.err
    assert server.calls == calls
    assert files_of(old.parent) == before
    assert rejudge(**flags).code == 0
    assert server.calls - calls == planned(plan.out) > 3 * 2 * N
    assert rejudge("--dry-run", **flags).out.startswith("nothing is to be asked")


# -------------------------------------------------------------------------------------- what is left
def test_rows_that_cannot_be_compared_are_named(rejudge, old, leaderboard, tmp_path):
    file = write_answers(tmp_path / "part.jsonl", mixed_answers(5))
    leaderboard("eval", file, "--board", "toy", "--results", old.parent, "--limit", "4")
    (old / "r6" / "outputs.jsonl").unlink()
    run = rejudge()
    assert run.code == 0, run.err
    assert "not compared: part: partial: 4 of 12 instructions" in run.out
    assert "not compared: r6: the answers of 'r6' are not stored" in run.out
    assert "over 4 models" in run.out
    assert not (old.parent / "toy-rejudged" / "part").exists()


def test_a_row_of_the_judges_family_is_left_out_and_the_others_are_judged(rejudge, old, server):
    shutil.rmtree(old)
    make_board(old, N, LONGEST, replace(TOY, self_judging="exclude", control_items=4))
    for good in (0, 3, 6):
        evaluate(str(old.parent.parent / f"r{good}.jsonl"), board="toy", results=old.parent)
    Row(old / "r6").write_info(ModelInfo(name="r6", base_model="org/m"))
    run = rejudge()
    assert run.code == 0, run.err
    assert "not compared: r6: no judge of board toy-rejudged is left for r6" in run.out
    assert not (old.parent / "toy-rejudged" / "r6").exists()
    assert (old.parent / "toy-rejudged" / "r3/summary.json").exists()


def test_missing_verdicts_are_not_compared(rejudge, server):
    first, more = fond_of("word"), Reply(text="I would rather not say.")
    server.behaviour = lambda asked: (
        more if "6" in asked.prompt.split("Say word")[1][:2] else first(asked)
    )
    run = rejudge()
    assert run.code == 3, run.err
    assert "too many verdicts missing" in run.out


def test_rows_without_texts_are_refused(rejudge, old, server):
    for name in ("r0", "r3", "r6", "r12"):
        lines = read_lines(old / name / "outputs.jsonl")
        rows = [{**line, "length": len(line["text"]), "text": ""} for line in lines]
        write_rows(old / name / "outputs.jsonl", rows)
    refused(rejudge(), "no row can be judged anew", "stored without their texts", "and 2 more")
    assert server.calls == 0
    assert not (old.parent / "toy-rejudged").exists()


def test_a_board_without_rows_is_refused(rejudge, old):
    for name in ("r0", "r3", "r6", "r12"):
        shutil.rmtree(old / name)
    refused(rejudge(), "no row can be judged anew (it has none)")


# ----------------------------------------------------------------------------------- what goes wrong
def test_another_panel_cannot_go_on_with_the_board(rejudge, server, tmp_path):
    rejudge()
    other = panel_file(tmp_path / "other.toml", table(server, persona="You are strict."))
    refused(rejudge(panel=other), "judged by another panel", "--name")
    assert rejudge("--name", "strict", panel=other).code == 0
    # Where a judge is served does not matter.
    moved = panel_file(tmp_path / "moved.toml", table(server, base_url="http://127.0.0.1:9/v1"))
    assert rejudge(panel=moved).code == 0


def test_another_board_of_the_name_is_left_alone(rejudge, old):
    refused(rejudge("--name", "toy"), "is not toy judged anew")
    refused(rejudge("--name", "../x"), "the board's name")


def test_a_missing_key_leaves_no_board_behind(rejudge, old, leaderboard, tmp_path):
    panel = panel_file(
        tmp_path / "paid.toml",
        {"kind": "pairwise", "model": "openai/gpt-4.1-2025-04-14", "name": "gpt"},
    )
    refused(rejudge(panel=panel), "OPENAI_API_KEY")
    assert not (old.parent / "toy-rejudged").exists()
    assert rejudge().code == 0


@pytest.mark.parametrize(
    ("flags", "part"),
    [(("--panel", "nowhere"), "no panel 'nowhere'"), (("--judge", "nobody"), "unknown judge"),
     (("--max-cost", "-1"), "--max-cost -1.0"), (("--judge", "heuristic/shortest", "--panel", "offline"), "not both")],
)  # fmt: skip
def test_bad_flags(rejudge, flags, part):
    refused(rejudge(*flags, panel=None), part)


def test_recorded_verdicts_cannot_be_asked_again(old, leaderboard, tmp_path):
    lines = [
        {
            "instruction_id": f"toy-{k:02d}",
            "generator_1": "base",
            "generator_2": "r3",
            "preference": 1.0,
        }
        for k in range(N)
    ]
    people = write_rows(tmp_path / "people.jsonl", lines)
    leaderboard(
        "board",
        "new",
        "people",
        "--from",
        "toy",
        "--judge",
        f"recorded/{people}",
        "--results",
        old.parent,
    )
    leaderboard("eval", tmp_path / "r3.jsonl", "--board", "people", "--results", old.parent)
    refused(
        leaderboard("rejudge", "people", "--results", old.parent), "recorded verdicts", "--panel"
    )
    run = leaderboard("rejudge", "people", "--judge", "heuristic/shortest", "--results", old.parent)
    assert run.code == 0, run.err
