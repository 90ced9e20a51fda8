"""The agreement report: published figures come out of report.json, and the files are whole."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import read_json
from labelled_pairs import humans_of, judge_of, measured, noisy, people, truth
from real_labels import AUTO_J_GROUPS
from test_documented_files import documented, fields_of

from judges.errors import UserError
from leaderboard.statistics.agreement import AgainstHumans
from leaderboard.validity.agree import Agreement
from leaderboard.validity.agreement_report import record, tables, text, write_report
from leaderboard.validity.human_files import read_humans
from leaderboard.validity.judge_figures import OfJudge


def of_file(shared_data: Path, name: str, **settings: Any) -> dict[str, Any]:
    """The report of a file of labels, as it comes back from disk."""
    found = measured(read_humans(shared_data / "human" / name), **settings)
    report: dict[str, Any] = json.loads(json.dumps(record(found), allow_nan=False))
    return report


def judge(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in report["judges"] if one["name"] == name)


@pytest.fixture(scope="module")
def made() -> Agreement:
    """Two judges, one of them in both orders with probabilities, three people, a category, a price."""
    found = measured(
        humans_of(
            120,
            people(3),
            {
                "plain": {"none": noisy("plain", 0.1)},
                "sure": {
                    "original": lambda n: 0.1 + 0.8 * truth(n),
                    "swapped": lambda n: 0.2 + 0.6 * truth(n + n % 2),
                },
            },
        )
    )
    priced = [
        dataclasses.replace(one, usd_per_1000=0.5 if one.name == "sure" else one.usd_per_1000)
        for one in found.judges
    ]
    return dataclasses.replace(found, judges=tuple(priced))


# ---------------------------------------------------------------------------- what is published
def test_pandalm(shared_data):
    report = of_file(shared_data, "pandalm.jsonl", unparsed="tie")
    kappas = [round(of["value"], 4) for of in report["people"]["pairwise_kappa"].values()]
    assert kappas == [0.8520, 0.8789, 0.8617]
    for name, published in {
        "gpt_3_5_turbo": [0.7107, 0.5879, 0.5736, 0.5755],
        "pandalm_7b": [0.6677, 0.5738, 0.5750, 0.5743],
    }.items():
        of = judge(report, name)
        figures = [of["classes"][key]["value"] for key in ("accuracy", "precision", "recall", "f1")]
        assert [round(figure, 4) for figure in figures] == published
        assert (of["verdict"], of["against"]["k"]) == ("falls short", 2)
        assert of["against"]["humans"]["value"] > 0.9
        assert of["weakest"].startswith("in Wolfram alpha it agrees in ")
    assert judge(report, "gpt_3_5_turbo")["n_missing"] == 25
    assert judge(report, "pandalm_7b")["replaces"]["passes"] is False


def test_auto_j(shared_data):
    of = judge(of_file(shared_data, "auto_j.jsonl"), "auto_j")
    found = {name: (one["n"], one["orders"]) for name, one in of["categories"].items()}
    assert set(found) == set(AUTO_J_GROUPS)
    for name, (n, both, same) in {**AUTO_J_GROUPS, "all": (1392, 54.96, 83.41)}.items():
        size, orders = found.get(name, (of["n_pairs"], of["orders"]))
        rounded = [round(100 * orders[key]["value"], 2) for key in ("both", "same")]
        assert (size, *rounded) == (n, both, same)


def test_fair_eval(shared_data):
    report = of_file(shared_data, "fair_eval.jsonl")
    counts = {name: round(80 * share) for name, share in report["shares"].items()}
    assert counts == {"output_1": 41, "output_2": 25, "tie": 14}
    assert all(one["is_floor"] for one in report["judges"])


def test_llmbar(shared_data):
    report = of_file(shared_data, "llmbar.parquet", unparsed="wrong")
    by_name = {one["name"]: one for one in report["judges"]}
    official = pd.read_csv(shared_data / "human" / "llmbar_official.csv")
    figures = {
        "original": "accuracy_original", "swapped": "accuracy_swapped",
        "average": "accuracy_average", "both": "accuracy_both", "same": "positional_agreement",
    }  # fmt: skip
    assert len(official) == 263
    for cell in official.to_dict("records"):
        orders = by_name[f"{cell['judge']} {cell['strategy']}"]["categories"][cell["subset"]]
        for key, published in figures.items():
            assert 100 * orders["orders"][key]["value"] == pytest.approx(cell[published], abs=1e-9)


# ------------------------------------------------------------------------------------ the files
def test_the_folder_holds_words_figures_and_pictures(made, tmp_path):
    files = write_report(made, tmp_path / "a" / "report")
    names = {file.name for file in files}
    pictures = ("agreement", "bias-variance", "price", "calibration")
    assert names == {"report.md", "report.json"} | {
        f"{name}.{kind}" for name in pictures for kind in ("png", "svg")
    }
    assert all(file.stat().st_size > 1000 for file in files)
    shown = (tmp_path / "a" / "report" / "report.md").read_text(encoding="utf-8")
    for name in pictures:
        assert f"]({name}.svg)" in shown
    assert "No figure by category: the pairs have no categories." in shown
    for title in (
        "Agreement", "People among themselves", "With each person", "Kappa", "As a classifier",
        "Confusion matrix", "Order by order", "Bias and variance",
        "Bias and variance, as AlpacaEval counts", "Preference for the longer answer",
        "Preference for the answer shown first", "Repeatability", "Calibration",
        "Calibration of sure", "Price and time", "The alternative annotator test", "The rules",
    ):  # fmt: skip
        assert f"\n## {title}\n" in shown
    assert "By category" not in shown
    assert read_json(tmp_path / "a" / "report" / "report.json") == json.loads(
        json.dumps(record(made))
    )


def test_what_cannot_be_drawn_is_a_sentence(tmp_path):
    found = measured(humans_of(40, people(1), {"judge": {"none": truth}}))
    names = {file.name for file in write_report(found, tmp_path)}
    assert names == {"report.md", "report.json", "agreement.png", "agreement.svg"}
    shown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert shown.count("\nNo figure ") == 4


def test_the_same_figures_make_the_same_files(made, tmp_path):
    for name in ("a", "b"):
        write_report(made, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_every_table_says_what_it_is_about_and_on_how_many(made):
    found = {table.title: table for table in tables(made)}
    for title, table in found.items():
        assert len(table.about) > 20, title
        assert {len(row) for row in table.body} == {len(table.heads)}, title
    for title in ("Agreement", "Kappa", "Bias and variance", "Repeatability", "Order by order"):
        assert found[title].heads[-1] == "n"
    best_first = [row[0] for row in found["Can they stand in for people?"].body]
    rates = [judge_of(made, name).against.judge.value for name in best_first]
    assert rates == sorted(rates, reverse=True)


def test_many_judges_stay_readable(tmp_path):
    judges = {f"judge {n:02d}": {"none": noisy(f"judge {n}", n / 100)} for n in range(45)}
    found = measured(humans_of(60, people(3), judges))
    told = text(found, "table")
    assert "… and 30 more judges; --out writes all" in told
    assert len(told.splitlines()) < 70
    assert len(record(found)["judges"]) == 47
    write_report(found, tmp_path)
    assert (tmp_path / "agreement.png").is_file()


def test_strange_names_are_text_in_every_file(tmp_path):
    name = "$x_{1}$ <b>|\x1b[31m"
    found = measured(humans_of(40, people(3), {name: {"original": truth, "swapped": truth}}))
    write_report(found, tmp_path)
    shown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "\x1b" not in shown
    assert r"\$x\_{1}\$ \<b>\|" in shown


def test_an_unfinished_report_says_so(made, tmp_path):
    write_report(made, tmp_path, "Incomplete: stopped.")
    assert read_json(tmp_path / "report.json")["complete"] is False
    assert "**Incomplete: stopped.**" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert record(made)["complete"] is True


def test_a_file_in_the_place_of_the_folder_is_told(made, tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(UserError, match="is a file; name a folder"):
        write_report(made, tmp_path / "report")


def test_the_keys_are_the_documented_ones(made):
    report = record(made)
    heading = "report.json of agree"
    assert set(report) == set(documented(heading))
    assert set(report["judges"][0]) == set(documented(heading, 1))
    assert fields_of(OfJudge) < set(report["judges"][0])
    assert set(report["judges"][0]["against"]) == fields_of(AgainstHumans)
    figure = report["judges"][0]["against"]["judge"]
    lacking = judge_of(made, "heuristic/longest").over_floor
    assert {*figure, "reason"} == set(documented(heading, 2))
    assert set(record(made)["judges"][-1]["over_floor"]) == {"value", "reason", "n"}
    assert re.search("floor", lacking.reason)
