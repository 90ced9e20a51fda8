"""`leaderboard correlate` on published figures: what must come out, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Finished, read_json, refused, write_rows
from test_documented_files import documented

from leaderboard.validity.correlate import Swap
from leaderboard.validity.correlation_figures import surest

README = {
    "lc_alpaca_eval_2": (37, 0.9746, 0.8692, 0.9297),
    "alpaca_eval_2": (37, 0.9305, 0.8150, 0.8794),
    "alpaca_eval_1": (21, 0.7381, 0.5837, 0.8709),
    "mt_bench": (33, 0.9331, 0.7882, 0.9504),
    "wild_bench": (16, 0.9676, 0.8833, 0.9393),
    "mmlu_5_shot": (42, 0.8640, 0.7012, 0.9046),
    "output_length": (37, 0.2985, 0.2092, 0.3565),
}
FARM = ("farm.csv:simulated_win_rate:simulated_se", ":human_win_rate:human_se")


@pytest.fixture
def rankings(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the published figures, where the test stands."""
    folder = tmp_path / "rankings"
    folder.mkdir()
    shutil.copy(shared_data / "rankings" / "alpaca_farm_methods.csv", folder / "farm.csv")
    shutil.copy(shared_data / "rankings" / "benchmarks.csv", folder / "benchmarks.csv")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a CSV file of rows (model, a, b) where the test stands: `table([...])`."""
    monkeypatch.chdir(tmp_path)

    def write(rows, columns=("model", "a", "b"), name="t.csv"):
        return write_rows(tmp_path / name, [dict(zip(columns, row, strict=True)) for row in rows])

    return write


def only(run: Finished) -> dict:
    assert run.code == 0, run.err
    (one,) = json.loads(run.out)["correlations"]
    return one


# ------------------------------------------------------------------------------ what must come out
@pytest.mark.parametrize("column", README)
def test_the_table_of_the_readme(leaderboard, rankings, column):
    run = leaderboard(
        "correlate", f"benchmarks.csv:{column}", ":arena_elo_2024_02_02", "--format", "json"
    )
    found = only(run)["whole"]
    of = found["coefficients"]
    rounded = (found["n_models"], *(round(of[k], 4) for k in ("spearman", "kendall", "pearson")))
    assert rounded == README[column]


def test_the_published_098_leans_on_its_extremes(leaderboard, rankings):
    found = only(leaderboard("correlate", *FARM, "--format", "json"))
    whole, rest = found["whole"], found["rest"]
    assert whole["n_models"] == 10
    assert round(whole["coefficients"]["spearman"], 4) == 0.9758
    assert round(whole["coefficients"]["r_squared"], 4) == 0.8706
    assert sorted(found["removed"]) == ["chat_gpt", "davinci_001", "gpt_4", "llama_7b"]
    assert rest["n_models"] == 6
    assert round(rest["coefficients"]["spearman"], 3) == 0.943
    assert whole["intervals"]["standard errors"] == pytest.approx([0.88, 0.99], abs=0.011)
    assert rest["intervals"]["standard errors"] == pytest.approx([0.54, 1.00], abs=0.011)
    assert found["leans_on_extremes"]
    assert rest["verdict"] == "withheld"
    swaps = {(s["better_by_a"], s["better_by_b"]): s["separated_by"] for s in found["swaps"]}
    assert swaps == {("sft_52k_alpaca_7b", "sft_10k"): "neither", ("chat_gpt", "ppo"): "A"}
    # Alone the two would be told apart with p = 0.13, among 45 pairs not at all.
    assert found["swaps"][0]["p_b"] == pytest.approx(0.671, abs=0.001)
    assert found["left_out"] == dict.fromkeys(
        ("quark", "binary_reward_conditioning"), "no human_win_rate"
    )
    said = leaderboard("correlate", *FARM).out
    assert "0.976 leans on its extremes: without gpt_4, chat_gpt, davinci_001, llama_7b" in said
    assert "over 6 models (too few for a verdict)" in said
    assert "ranks models broadly as human_win_rate does" in said
    assert "Of 45 pairs of models 2 swap" in said
    assert "covers less than 95 %" in said


def test_a_verdict_without_the_extremes_is_withheld(leaderboard, rankings):
    run = leaderboard("correlate", *FARM, "--without-extremes")
    assert "Verdict: nothing is concluded from fewer than 10 models. Spearman 0.943" in run.out
    assert "With them it is 0.976" in run.out
    named = leaderboard("correlate", *FARM, "--format", "json", "--without", "llama_7b", "gpt_4")
    found = only(named)
    assert found["removed"] == ["llama_7b", "gpt_4"]
    assert (found["removed_because"], found["is_about_rest"]) == ("named", True)
    assert found["verdict"] == "withheld"
    assert not found["leans_on_extremes"]


# --------------------------------------------------------------------------------------- files
def test_the_report(leaderboard, rankings):
    pytest.importorskip("matplotlib")
    run = leaderboard("correlate", *FARM, "--out", "report")
    assert run.code == 0, run.err
    folder = rankings / "report"
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.json", "report.md", "scatter.png", "scatter.svg",
    ]  # fmt: skip
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "leans on its extremes" in text
    assert "![Scatter plot" in text
    assert "| quark" not in text
    report = read_json(folder / "report.json")
    assert report["schema_version"] == 1
    assert (folder / "scatter.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "scatter.svg").read_bytes()
    again = leaderboard("correlate", *FARM, "--out", "report", "--format", "json")
    assert json.loads(again.out) == report
    assert (folder / "scatter.svg").read_bytes() == svg
    refused(leaderboard("correlate", *FARM, "--out", "farm.csv"), "is a file")


def test_the_documented_keys_are_the_keys(leaderboard, rankings):
    found = only(leaderboard("correlate", *FARM, "--format", "json"))
    keys = []
    for key, value in found.items():
        if key == "whole":
            keys += [f"whole.{inner}" for inner in value]
        elif key in ("models", "swaps"):
            keys += [f"{key}.{inner}" for inner in value[0]]
        else:
            keys.append(key)
    assert documented("report.json of correlate") == keys


def test_many_swaps_and_a_name_that_looks_like_a_formula(leaderboard, table, tmp_path):
    pytest.importorskip("matplotlib")
    table([[f"m$_{n}$\x1b[31m", n, (n * 7) % 20] for n in range(20)])
    n_swaps = sum((i * 7) % 20 > (j * 7) % 20 for j in range(20) for i in range(j))
    run = leaderboard("correlate", "t.csv:a", ":b", "--out", "r")
    assert run.code == 0, run.err
    assert "\x1b" not in run.out
    assert f"and {n_swaps - 10} more; --out writes all" in run.out
    assert "whether they can be told apart is not known" in run.out
    assert (tmp_path / "r" / "report.md").read_text(encoding="utf-8").count("not known") >= 50
    report = read_json(tmp_path / "r" / "report.json")["correlations"][0]
    assert len(report["swaps"]) == n_swaps


# ------------------------------------------------------------------------------------- columns
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_files_of_every_kind_and_the_column_of_names(leaderboard, table, name):
    rows = [[float(n), f"m{n}", n % 4, 1.0] for n in range(12)]
    table(rows, ("a:b", "who", "c", "e"), name)
    found = only(leaderboard("correlate", f"{name}:a:b:e", ":c", "--format", "json"))
    assert (found["a"], found["b"]) == ("a:b", "c")
    assert [m["a_standard_error"] for m in found["models"]] == [1.0] * 12
    assert found["models"][0]["model"] == "m11"
    named = leaderboard("correlate", f"{name}:a:b", ":c", "--models", "who", "--format", "json")
    assert only(named)["whole"]["coefficients"] == found["whole"]["coefficients"]


def test_a_column_of_one_name_in_two_files(leaderboard, table):
    table([[f"m{n}", n, n] for n in range(5)])
    table([[f"m{n}", -n, n] for n in range(1, 6)], name="u.csv")
    found = only(leaderboard("correlate", "t.csv:a", "u.csv:a", "--format", "json"))
    assert (found["a"], found["b"]) == ("t.csv:a", "u.csv:a")
    assert found["whole"]["coefficients"]["spearman"] == -1
    assert found["left_out"] == {"m0": "not in u.csv:a", "m5": "not in t.csv:a"}


def test_a_ranking_turned_around(leaderboard, table):
    table([[f"m{n}", n, -n] for n in range(12)])
    said = leaderboard("correlate", "t.csv:a", ":b").out
    assert "is a lower figure better in one of them?" in said


# ------------------------------------------------------------------------------------ bad input
GOOD = [["m1", 1, 1], ["m2", 2, 2], ["m3", 3, 3]]


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([*GOOD[:2], ["m3", "x", 3]], ("line 4, 'a': 'x' is not a number",)),
        ([*GOOD[:2], ["m3", "nan", 3]], ("line 4", "nan is no figure; leave the cell empty")),
        ([*GOOD[:2], ["m3", "inf", 3]], ("line 4", "inf is no figure")),
        ([*GOOD, ["m1", 4, 4]], ("line 5", "'m1' stands there already", "line 2")),
        (GOOD[:2], ("2 models in common", "takes at least 3", "m1, m2")),
        ([["m1", 1, 1], ["m2", 1, 2], ["m3", 1, 3]], ("a is 1 for all 3 models",)),
        ([["m1", 1, 5], ["m2", 2, 5], ["m3", 4, 5]], ("b is 5 for all 3 models",)),
    ],
    ids=["text", "nan", "inf", "twice", "two models", "constant", "constant reference"],
)
def test_what_cannot_be_correlated(leaderboard, table, rows, parts):
    table(rows)
    refused(leaderboard("correlate", "t.csv:a", ":b"), *parts)


def test_no_model_in_common(leaderboard, table):
    table(GOOD)
    table([["x1", 1, 1], ["x2", 2, 2], ["x3", 3, 3], ["x4", 1, 1], ["x5", 1, 1]], name="u.csv")
    run = leaderboard("correlate", "t.csv:a", "u.csv:b")
    refused(run, "no models in common", "a has m1, m2, m3", "b has x1, x2, x3, x4, …")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("t.csv:a", ":z"), ("no column 'z'", "model, a, b")),
        (("t.csv:a:z", ":b"), ("no column 'z'", "model, a, b")),
        (("t.csv:a", ":b", "--models", "who"), ("no column 'who'",)),
        (("t.csv", ":b"), ("which column?", "model, a, b")),
        (("no.csv:a", ":b"), ("no.csv: no such file",)),
        (("board", ":b"), (":b: which file?",)),
        (("t.csv:a",), ("name two boards or columns",)),
        (("nowhere", "t.csv:a"), ("nowhere",)),
        (("t.csv:a", ":b", "--without", "m9"), ("no model 'm9' in both", "m3, m2, m1")),
        (("t.csv:a", ":b", "--without", "m1"), ("leaves 2 models",)),
        (("t.csv:a", ":b", "--without", "m1", "--without-extremes"), ("--without-extremes",)),
        (("t.csv:a:b", ":b", "--judges"), ("--judges takes one board",)),
    ],
)
def test_what_is_not_there(leaderboard, table, args, parts):
    table(GOOD)
    refused(leaderboard("correlate", *args), *parts)


def test_a_standard_error_below_zero_and_a_file_without_names(leaderboard, table):
    table([["m1", 1, -1], ["m2", 2, 1], ["m3", 3, 1]])
    refused(leaderboard("correlate", "t.csv:a:b", ":a"), "a standard error is not negative")
    table([[1, 2, 3], [2, 3, 4], [4, 4, 4]], ("x", "y", "z"), "n.csv")
    refused(leaderboard("correlate", "n.csv:x", ":y"), "which column names the models?")


def test_rows_without_a_name_or_a_figure_are_left_out(leaderboard, table):
    table([*GOOD, ["m4", 4, 2.5], ["", 7, 7], ["m6", "", 6]])
    found = only(leaderboard("correlate", "t.csv:a", ":b", "--format", "json"))
    assert found["whole"]["n_models"] == 4
    assert found["left_out"]["m6"] == "no a"


def test_many_models_make_a_report_of_bounded_size(leaderboard, table, tmp_path):
    pytest.importorskip("matplotlib")
    table([[f"m{n}", n, (n * 7919) % 300] for n in range(300)])
    assert leaderboard("correlate", "t.csv:a", ":b", "--out", "r").code == 0
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\| not known +\|", text)) == 50
    assert "more; report.json has 10,000" in text
    report = read_json(tmp_path / "r" / "report.json")["correlations"][0]
    assert report["whole"]["pairwise_accuracy"]["n_swapped"] > len(report["swaps"]) == 10_000
    assert (tmp_path / "r" / "scatter.svg").stat().st_size < 500_000


def test_of_many_swaps_the_most_surely_separated_are_kept():
    kinds = ["neither", "both", "A", "not known", "both"]
    swaps = [Swap(f"m{n}", "x", None, None, kind) for n, kind in enumerate(kinds)]  # type: ignore[arg-type]
    assert [swap.better_by_a for swap in surest(swaps, 3)] == ["m1", "m4", "m2"]
    assert surest(swaps, 5) is swaps
