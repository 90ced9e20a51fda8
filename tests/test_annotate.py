"""Pairs of answers in, preferences to train on out: by judges, by coins, the same every time."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_server import ApiServer, failing
from api_wire import Asked, Fault, Reply
from conftest import Finished, read_lines, refused, write_rows
from test_documented_files import documented, fields_of

from judges.panel import COIN
from judges.panel_files import panel_toml
from judges.records import to_line
from leaderboard.comparing.file_comparison import find_panel
from leaderboard.preferences import Preference, plan_annotation, read_pairs

N = 60


def opinion(asked: Asked) -> Reply:
    """A verdict that follows from the prompt alone; in the form that it asks for."""
    second = random.Random(asked.prompt).random() < 0.5
    return Reply(text=f"VERDICT {asked.nonce}: {'second' if second else 'first'}")


@pytest.fixture
def server(serve) -> ApiServer:
    return serve(opinion)


def pairs(n: int = N, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"instruction": f"Tell me about {k}.", "output_1": f"One {k}.", "output_2": f"Two {k}."}
        for k in range(first, first + n)
    ]


def table(server: ApiServer, **keys: Any) -> dict[str, Any]:
    return {
        "kind": "pairwise", "model": "openai-api/m", "base_url": f"{server.url}/v1",
        "name": "judge", "form": "text", **keys,
    }  # fmt: skip


def panel_file(path: Path, *judges: dict[str, Any], **keys: Any) -> Path:
    path.write_text(panel_toml({**keys, "judges": list(judges)}), encoding="utf-8")
    return path


@pytest.fixture
def annotate(server, tmp_path, leaderboard) -> Callable[..., Finished]:
    """Annotates rows, or a file, by one judge at the server unless there is another --panel."""
    panel = panel_file(tmp_path / "panel.toml", table(server))

    def run(
        rows: Sequence[dict[str, Any]] | Path, *flags: str | Path, out: str = "prefs"
    ) -> Finished:
        file = rows if isinstance(rows, Path) else write_rows(tmp_path / "pairs.jsonl", rows)
        who = () if "--panel" in flags else ("--panel", panel)
        return leaderboard("annotate", file, *who, "--out", tmp_path / f"{out}.jsonl", *flags)

    return run


def made(tmp_path: Path, out: str = "prefs") -> list[dict[str, Any]]:
    return read_lines(tmp_path / f"{out}.jsonl")


def labels(tmp_path: Path, out: str = "prefs") -> dict[str, float]:
    return {line["id"]: line["preference"] for line in made(tmp_path, out)}


def coins(lines: Sequence[dict[str, Any]]) -> set[str]:
    return {line["id"] for line in lines if COIN in line["annotators"]}


# ------------------------------------------------------------------------------- what is written
def test_every_pair_has_a_line(annotate, server, tmp_path):
    run = annotate(pairs())
    assert run.code == 0, run.err
    assert f"{N} of {N} pairs judged, 0 ties, 0 by a coin" in run.out
    assert server.calls == N
    lines = made(tmp_path)
    for line, pair in zip(lines, pairs(), strict=True):
        assert line["messages"] == [{"role": "user", "content": pair["instruction"]}]
        assert [line["output_1"], line["output_2"]] == [pair["output_1"], pair["output_2"]]
        assert line["annotators"] == {"judge": line["preference"]}
        assert line["preference"] in (0, 1)
    assert {line["preference"] for line in lines} == {0, 1}


def test_a_preference_is_for_the_second_answer_whatever_was_shown_first(annotate, server, tmp_path):
    def longest(asked: Asked) -> Reply:
        shown = [asked.prompt.index(word) for word in ("short", "quite a long answer")]
        return Reply(text=f"VERDICT {asked.nonce}: {'second' if shown[0] < shown[1] else 'first'}")

    server.behaviour = longest
    rows = [
        {"prompt": f"Say {k}.", "output_1": "short", "output_2": "quite a long answer"}
        for k in range(20)
    ]
    annotate(rows)
    assert set(labels(tmp_path).values()) == {1}
    first = [asked.prompt.index("short") < asked.prompt.index("quite") for asked in server.log]
    assert 2 <= sum(first) <= 18
    annotate(rows, "--orders", "fixed", out="fixed")
    assert all(a.prompt.index("short") < a.prompt.index("quite") for a in server.log[20:])
    annotate(rows, "--orders", "both", out="both")
    assert server.calls == 40  # the two runs before have shown every pair in one order or the other


def test_the_lines_are_what_is_documented(annotate, tmp_path):
    assert set(documented("Lines of prefs.jsonl")) == fields_of(Preference)
    annotate(pairs(2), "--flip", "0.25")
    for line in made(tmp_path):
        assert set(line) == fields_of(Preference)
    one = Preference(id="a", messages=(), output_1="", output_2="", preference=0, annotators={})
    assert set(json.loads(to_line(one))) == fields_of(Preference)


# ---------------------------------------------------------------------------------------- the coin
def test_a_coin_decides_for_twice_the_flip_rate_and_asks_nobody(
    annotate, server, tmp_path, monkeypatch
):
    annotate(pairs(), out="clean")
    clean, calls = labels(tmp_path, "clean"), server.calls
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    run = annotate(pairs(), "--flip", "0.25")
    assert run.code == 0, run.err
    lines = made(tmp_path)
    by_coin = coins(lines)
    assert f"{len(by_coin)} by a coin" in run.out
    assert server.calls - calls == N - len(by_coin)
    # 60 draws at one half: 15 to 45 in all but one of 10,000 cases.
    assert 15 <= len(by_coin) <= 45
    for line in lines:
        if line["id"] in by_coin:
            assert line["annotators"] == {COIN: line["preference"]}
        else:
            assert line["preference"] == clean[line["id"]]


@pytest.mark.parametrize("flip", [0.1, 0.25, 0.4])
def test_the_share_of_coins_and_of_flips_is_binomial(tmp_path, flip):
    n = 4000
    file = write_rows(tmp_path / "pairs.jsonl", pairs(n))
    panel = find_panel("heuristic/longest")
    found = plan_annotation(read_pairs(file), panel, flip=flip, seed=3)
    limit = 4 * math.sqrt(2 * flip * (1 - 2 * flip) / n)
    assert len(found.known) / n == pytest.approx(2 * flip, abs=limit)
    given = np.array([label for label, _ in found.known.values()])
    assert set(given) == {0, 1}
    assert given.mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(given)))
    # Against any judge, a label is another one with probability p.
    judged = {pair.id: float(random.Random(pair.id).random() < 0.7) for pair in found.pairs}
    flipped = sum(label != judged[i] for i, (label, _) in found.known.items())
    assert flipped / n == pytest.approx(flip, abs=4 * math.sqrt(flip * (1 - flip) / n))
    mean = (sum(given) + sum(v for i, v in judged.items() if i not in found.known)) / n
    expected = (1 - 2 * flip) * 0.7 + 2 * flip * 0.5
    assert mean == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(n))


def test_half_is_all_coins_and_nobody_is_asked(annotate, server, tmp_path):
    run = annotate(pairs(), "--flip", "0.5")
    assert run.code == 0, run.err
    assert coins(made(tmp_path)) == set(labels(tmp_path))
    assert server.calls == 0


def test_a_larger_rate_adds_coins_and_keeps_those_there_are(tmp_path):
    file = write_rows(tmp_path / "pairs.jsonl", pairs(300))
    panel = find_panel("heuristic/longest")
    few, many = (plan_annotation(read_pairs(file), panel, flip=p).known for p in (0.1, 0.3))
    assert set(few) < set(many)
    assert all(many[i] == known for i, known in few.items())


def test_two_equal_answers_are_a_tie_without_a_coin_or_a_call(annotate, server, tmp_path):
    same = [{"prompt": f"Say {k}.", "output_1": "same", "output_2": "same"} for k in range(20)]
    run = annotate([*same, {"prompt": "Say.", "output_1": "", "output_2": "x"}], "--flip", "0.25")
    assert run.code == 0, run.err
    assert "20 ties" in run.out
    assert {(line["preference"], *line["annotators"]) for line in made(tmp_path)[:20]} == {(0.5,)}
    assert server.calls <= 1


# ------------------------------------------------------------------------------ the same every time
def whole(tmp_path: Path, server: ApiServer, hash_seed: str, *flags: str) -> bytes:
    """What a run in a process of its own writes."""
    out = tmp_path / f"prefs-{hash_seed}.jsonl"
    command = [
        sys.executable, "-c", "from leaderboard.cli import main; main()", "annotate", tmp_path / "pairs.jsonl", "--panel",
        tmp_path / "farm.toml", "--flip", "0.2", "--out", out, *flags,
    ]  # fmt: skip
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "HERDBOOK_CACHE": str(tmp_path / hash_seed)}
    subprocess.run([str(part) for part in command], check=True, env=env, capture_output=True)
    return out.read_bytes()


@pytest.fixture
def farm(server, tmp_path) -> Path:
    """A panel of five personas, one of whom judges each item."""
    tables = [table(server, name=f"j{k}", persona=f"You are number {k}.") for k in range(5)]
    write_rows(tmp_path / "pairs.jsonl", pairs())
    return panel_file(tmp_path / "farm.toml", *tables, assign="one")


def test_a_run_is_the_same_in_every_process(server, tmp_path, farm):
    assert whole(tmp_path, server, "1") == whole(tmp_path, server, "2")
    one = [asked.prompt for asked in server.log]
    assert sorted(one) == sorted(one[: len(one) // 2] * 2)
    assert whole(tmp_path, server, "3", "--seed", "1") != whole(
        tmp_path, server, "1", "--overwrite"
    )


def test_one_judge_judges_each_item(annotate, server, tmp_path, farm):
    annotate(pairs(), "--panel", farm)
    lines = made(tmp_path)
    assert server.calls == N
    assert {len(line["annotators"]) for line in lines} == {1}
    assert {name for line in lines for name in line["annotators"]} == {f"j{k}" for k in range(5)}
    for asked in server.log:
        assert sum(f"You are number {k}." in str(asked.body["messages"]) for k in range(5)) == 1


def test_more_rows_change_nothing_for_the_others(annotate, tmp_path, farm):
    annotate(pairs(), "--panel", farm, "--flip", "0.2", out="some")
    more = [*pairs(20, 200), *pairs(), *pairs(20, 300)]
    random.Random(0).shuffle(more)
    annotate(more, "--panel", farm, "--flip", "0.2", out="more")
    all_of_them = {line["id"]: line for line in made(tmp_path, "more")}
    assert len(all_of_them) == N + 40
    for line in made(tmp_path, "some"):
        assert all_of_them[line["id"]] == line


def test_another_seed_draws_other_coins_judges_and_orders(annotate, tmp_path, farm, server):
    found = []
    for seed in ("0", "1"):
        calls = server.calls
        annotate(pairs(), "--panel", farm, "--flip", "0.2", "--seed", seed, out=seed)
        orders = {
            asked.prompt.index(f"One {k}.") < asked.prompt.index(f"Two {k}."): k
            for asked in server.log[calls:]
            for k in range(N)
            if f"about {k}." in asked.prompt
        }
        found.append((made(tmp_path, seed), orders))
    (one, orders), (other, _) = found
    assert set(orders) == {True, False}
    assert coins(one) != coins(other)
    judges = [
        {n for n in line["annotators"] if n != COIN} for lines in (one, other) for line in lines
    ]
    both = [(a, b) for a, b in zip(judges[:N], judges[N:], strict=True) if a and b]
    assert 0 < sum(a == b for a, b in both) < len(both)


def test_a_rerun_is_free(annotate, server, tmp_path):
    annotate(pairs())
    before, calls = made(tmp_path), server.calls
    run = annotate(pairs(), "--overwrite")
    assert run.code == 0, run.err
    assert made(tmp_path) == before
    assert server.calls == calls


# ------------------------------------------------------------------------------------------- input
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_every_format_and_form_of_prompt_is_read(tmp_path, suffix):
    turns = [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "And now?"},
    ]  # fmt: skip
    answers = {"output_1": "a", "output_2": "ä\n„b“"}
    for row, expected in [
        ({"instruction": "Add.", "input": "1, 2"}, [["user", "Add.\n\n1, 2"]]),
        ({"instruction": "Add.", "input": ""}, [["user", "Add."]]),
        ({"prompt": "Why?"}, [["user", "Why?"]]),
        ({"prompt": turns}, [list(turn.values()) for turn in turns]),
        ({"messages": turns}, [list(turn.values()) for turn in turns]),
    ]:
        (pair,) = read_pairs(write_rows(tmp_path / f"pairs{suffix}", [{**row, **answers}]))
        assert pair.instruction.turns == expected
        assert [pair.output_1, pair.output_2] == ["a", "ä\n„b“"]
        assert pair.id == pair.digest


def test_an_empty_answer_is_an_answer(annotate, tmp_path):
    rows = [{"prompt": "Say.", "output_1": "", "output_2": "something"}]
    assert annotate(write_rows(tmp_path / "empty.csv", rows)).code == 0
    assert made(tmp_path)[0]["output_1"] == ""


def test_pairs_that_repeat_are_judged_once_and_told(annotate, server, tmp_path):
    run = annotate([*pairs(5), *pairs(3)])
    assert run.code == 0, run.err
    assert "3 of 8 pairs repeat others" in run.err
    assert (len(made(tmp_path)), server.calls) == (5, 5)


def samples() -> list[dict[str, Any]]:
    return [
        {"instruction": "Four.", "output": ["a", "b", "c", "d"]},
        {"instruction": "Five, one twice.", "output": ["a", "b", "c", "d", "a"]},
        {"instruction": "One.", "output": ["a"]},
        {"instruction": "All the same.", "output": ["a", "a"]},
        {"instruction": "Over rows.", "output": ["a"]},
        {"instruction": "Over rows.", "output": ["b", "c"]},
    ]


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_samples_are_paired_up(annotate, tmp_path, suffix):
    file = write_rows(tmp_path / f"samples{suffix}", samples())
    run = annotate(file, "--multi")
    assert run.code == 0, run.err
    assert "5 of 15 samples are in no pair" in run.err
    lines = made(tmp_path)
    used: dict[str, list[str]] = {}
    for line in lines:
        used.setdefault(line["messages"][0]["content"], []).extend(
            [line["output_1"], line["output_2"]]
        )
    assert {asked: sorted(texts) for asked, texts in used.items() if asked != "Over rows."} == {
        "Four.": list("abcd"), "Five, one twice.": list("abcd"),
    }  # fmt: skip
    assert len(set(used["Over rows."])) == 2


def test_the_pairing_follows_from_the_seed(tmp_path):
    rows = [{"prompt": f"p{k}", "output": [f"{k}{c}" for c in "abcd"]} for k in range(30)]
    file = write_rows(tmp_path / "samples.jsonl", rows)
    found = [
        [(pair.output_1, pair.output_2) for pair in read_pairs(file, multi=True, seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 60


def test_one_sample_that_is_a_list_stays_a_text(tmp_path):
    rows = [{"prompt": "A list.", "output": text} for text in ('["x", "y"]', "[1, 2]")]
    (pair,) = read_pairs(write_rows(tmp_path / "samples.jsonl", rows), multi=True)
    assert {pair.output_1, pair.output_2} == {'["x", "y"]', "[1, 2]"}
    file = tmp_path / "samples.csv"
    file.write_text('prompt,output\nA list.,"[""x"", ""y""]"\nA list.,[1\n', encoding="utf-8")
    (pair,) = read_pairs(file, multi=True)
    assert {pair.output_1, pair.output_2} <= {"x", "y", "[1"}


BAD = [
    ([{"output_1": "a", "output_2": "b"}], "line 1: no prompt; give a column messages"),
    ([{"prompt": "", "output_1": "a", "output_2": "b"}], "line 1: the prompt is empty"),
    ([{"prompt": 7, "output_1": "a", "output_2": "b"}], "line 1: prompt must be a text or a list"),
    ([{"messages": "hi", "output_1": "a", "output_2": "b"}], "line 1: messages must be a list"),
    ([{"messages": [{"role": "boss", "content": "x"}], "output_1": "a", "output_2": "b"}], "line 1: messages.0.role"),
    ([{"messages": [{"role": "assistant", "content": "x"}], "output_1": "a", "output_2": "b"}], "must end with a user turn"),
    ([{"prompt": "p", "output_1": "a"}], "line 1: output_1 and output_2 must be texts"),
    ([{"prompt": "p", "output_1": "a", "output_2": None}], "line 1: output_1 and output_2 must be texts"),
    ([{"prompt": "p", "output": ["a", "b"]}], "--multi"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "part"), BAD)
def test_bad_rows_are_named(annotate, server, tmp_path, rows, part):
    refused(annotate(rows), "pairs.jsonl", part)
    assert server.calls == 0
    assert not (tmp_path / "prefs.jsonl").exists()


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([{"prompt": "p", "output": 3}], "output must be a text or a list of texts"),
        ([{"prompt": "p", "output": ["a", None]}], "output must be a text or a list of texts"),
        ([{"prompt": "p", "output": ["a", "a"]}], "no two different samples"),
        ([{"prompt": "p", "output_1": "a", "output_2": "b"}], "output must be a text"),
    ],
)
def test_bad_samples_are_named(annotate, rows, part):
    refused(annotate(rows, "--multi"), part)


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--flip", "0.6"), "--flip 0.6: a rate from 0 to 0.5"), (("--flip", "nan"), "--flip nan"),
        (("--flip", "-0.1"), "--flip -0.1"), (("--panel", "nobody"), "no panel 'nobody'"),
        (("--panel", "farm"), "leaves its models open"), (("--max-cost", "-1"), "--max-cost -1.0"),
        (("--panel", "checklist"), "judge checklist cannot judge 60 of 60"),
    ],
)  # fmt: skip
def test_bad_flags(annotate, server, flags, part):
    refused(annotate(pairs(), *flags), part)
    assert server.calls == 0


def test_where_the_preferences_go(annotate, server, tmp_path, leaderboard):
    assert annotate(pairs(2)).code == 0
    refused(annotate(pairs(3)), "prefs.jsonl is there already", "--overwrite")
    assert len(made(tmp_path)) == 2
    assert annotate(pairs(3), "--overwrite").code == 0
    assert len(made(tmp_path)) == 3
    calls = server.calls
    file = write_rows(tmp_path / "more.jsonl", pairs(9))
    base = ("annotate", file, "--panel", "heuristic/longest", "--overwrite", "--out")
    refused(leaderboard(*base, file), "give another name")
    refused(leaderboard(*base, tmp_path / "prefs.csv"), "a .jsonl file")
    refused(leaderboard(*base, tmp_path / "nowhere" / "prefs.jsonl"), "there is no folder")
    refused(
        leaderboard("annotate", tmp_path / "no.jsonl", *base[2:], tmp_path / "x.jsonl"),
        "no such file",
    )
    assert server.calls == calls
    assert len(read_lines(file)) == 9


# -------------------------------------------------------------------------------- what goes wrong
def test_missing_verdicts_are_left_out_and_counted(annotate, server, tmp_path):
    server.behaviour = lambda asked: (
        Reply(text="Hm.") if ".5" in asked.prompt or "5." in asked.prompt else opinion(asked)
    )
    run = annotate(pairs())
    lost = sum("5." in f"{k}." for k in range(N))
    assert run.code == 3, run.out
    assert f"{N - lost} of {N} pairs judged" in run.out
    assert f"({lost})" in run.out
    assert len(made(tmp_path)) == N - lost
    server.behaviour = opinion
    run = annotate(pairs(), "--overwrite")
    assert run.code == 3  # what was replied is in the cache: it cannot be read any better
    assert server.calls == N


def test_few_missing_verdicts_are_no_fault(annotate, server, tmp_path):
    server.behaviour = lambda asked: (
        Reply(text="Hm.") if "about 7." in asked.prompt else opinion(asked)
    )
    run = annotate(pairs())
    assert run.code == 0, run.out
    assert f"{N - 1} of {N} pairs judged" in run.out


def test_a_server_that_stumbles_loses_nothing(annotate, server, tmp_path):
    server.behaviour = failing(0.2, 1, opinion)
    run = annotate(pairs())
    assert run.code == 0, run.err
    assert len(made(tmp_path)) == N


def test_nothing_is_written_where_nothing_was_judged(annotate, server, tmp_path):
    server.behaviour = lambda asked: Reply(text="Hm.", finish="refused")
    run = annotate(pairs(5))
    assert run.code == 3
    assert "is not written: 0 of 5 pairs judged" in run.out
    assert not (tmp_path / "prefs.jsonl").exists()


def test_the_budget_keeps_what_was_paid_for(annotate, server, tmp_path, monkeypatch):
    prices = tmp_path / "prices.toml"
    prices.write_text('[[models]]\nmodel = "openai-api/*"\ninput = 1.0\noutput = 1.0\n')
    monkeypatch.setenv("HERDBOOK_PRICES", str(prices))
    run = annotate(pairs(), out="whole")
    cost = float(run.err.split("calls to models, $")[1].split()[0].rstrip(".;"))
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    calls = server.calls
    run = annotate(pairs(), "--max-cost", f"{cost / 2:.6f}")
    assert run.code == 4, run.err
    done = server.calls - calls
    assert 0 < done < N
    assert len(made(tmp_path)) == done
    assert "the same command with a higher --max-cost and --overwrite" in run.out
    assert "same command" not in run.err
    run = annotate(pairs(), "--overwrite")
    assert run.code == 0, run.err
    assert server.calls - calls == N
    assert made(tmp_path) == made(tmp_path, "whole")


def test_a_stop_at_the_budget_keeps_the_share_of_coins(annotate, tmp_path, monkeypatch):
    prices = tmp_path / "prices.toml"
    prices.write_text('[[models]]\nmodel = "openai-api/*"\ninput = 1.0\noutput = 1.0\n')
    monkeypatch.setenv("HERDBOOK_PRICES", str(prices))
    n, half = 120, ("--flip", "0.25")
    run = annotate(pairs(n), *half, out="whole")
    cost = float(run.err.split("calls to models, $")[1].split()[0].rstrip(".;"))
    whole = made(tmp_path, "whole")
    share = len(coins(whole)) / n
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    run = annotate(pairs(n), *half, "--max-cost", f"{cost / 3:.6f}")
    assert run.code == 4, run.err
    lines = made(tmp_path)
    left_out = len(coins(whole)) - len(coins(lines))
    assert len(lines) < 0.8 * n
    assert len(coins(lines)) / len(lines) == pytest.approx(share, abs=1 / len(lines))
    assert f"{left_out} labels by a coin are left out" in run.out
    run = annotate(pairs(n), *half, "--overwrite")
    assert made(tmp_path) == whole


def test_a_price_that_is_not_known_makes_a_budget_refuse(annotate, server):
    refused(annotate(pairs(), "--max-cost", "1"), "judge judge", "price")
    assert server.calls == 0


def test_a_dry_run_asks_nobody(annotate, server, tmp_path):
    run = annotate(pairs(), "--dry-run", "--flip", "0.25")
    assert run.code == 0, run.err
    assert server.calls == 0
    assert not (tmp_path / "prefs.jsonl").exists()
    annotate(pairs(), "--flip", "0.25")
    told = next(line for line in run.out.splitlines() if line.startswith("judging by judge"))
    assert told.split()[3:5] == [str(server.calls), "0"]
    run = annotate(pairs(), "--dry-run", "--flip", "0.25")
    assert "this run costs nothing" in run.out


def test_a_missing_key_is_told_before_anybody_is_asked(annotate, server, tmp_path, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    tables = [table(server), table(server, name="paid", api_key_env="MY_KEY")]
    panel = panel_file(tmp_path / "two.toml", *tables)
    refused(annotate(pairs(), "--panel", panel), "judge paid", "MY_KEY")
    assert server.calls == 0


def test_a_refused_parameter_costs_one_call(annotate, server):
    server.behaviour = lambda asked: Fault(
        status=400, message="Unsupported parameter: 'temperature'", type="invalid_request_error",
        param="temperature", code="unsupported_parameter",
    )  # fmt: skip
    refused(annotate(pairs(), "--panel", f"pairwise/openai-api/m@{server.url}/v1"), "temperature")
    assert server.calls == 1


def test_a_form_that_is_not_obeyed_costs_one_call(annotate, server, tmp_path):
    panel = panel_file(tmp_path / "json.toml", table(server, form="json"))
    server.behaviour = lambda asked: Reply(text="The first one, I think.")
    refused(annotate(pairs(), "--panel", panel), "judge judge", "form")
    assert server.calls <= 2


# ------------------------------------------------------------------------------- AlpacaFarm's files
def test_alpaca_farms_files_are_read(shared_data, tmp_path, leaderboard):
    given = shared_data / "farm"
    for name, flags, n in (("outputs_pairs", (), 6), ("multisamples_sft", ("--multi",), 15)):
        out = tmp_path / f"{name}.jsonl"
        run = leaderboard(
            "annotate", given / f"{name}.jsonl", "--panel", "heuristic/longest", "--flip", "0.25",
            "--out", out, *flags,
        )  # fmt: skip
        assert run.code == 0, run.err
        lines = read_lines(out)
        assert len(lines) == n
        assert 0 < len(coins(lines)) < n
        for line in lines:
            if COIN not in line["annotators"]:
                is_longer = len(line["output_2"]) > len(line["output_1"])
                assert line["preference"] in (0.5, float(is_longer))
