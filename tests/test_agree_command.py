"""`leaderboard agree` from its flags to its files: free, recorded and paid judges, and bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_batches import Batches
from api_wire import Asked, Reply
from conftest import Finished, read_json, refused, write_rows
from labelled_pairs import humans_of, people, rows, truth

from judges.panel_files import panel_toml
from judges.records import digest
from leaderboard.validity.form import form_digest
from leaderboard.validity.human_files import packaged_humans, read_comparisons

N = 40


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of three people on pairs, as a file of ours."""
    return write_rows(tmp_path / "labels.jsonl", list(rows(humans_of(N, people(3)))))


@pytest.fixture
def agree(leaderboard: Callable[..., Finished]) -> Callable[..., Finished]:
    return lambda *flags: leaderboard("agree", *flags)


def opinion(asked: Asked) -> Reply:
    """The longer answer is better."""
    short, long = asked.prompt.index("Short "), asked.prompt.index("A much longer")
    return Reply(text=f"VERDICT {asked.nonce}: {'second' if short < long else 'first'}")


@pytest.fixture
def paid(serve, tmp_path, monkeypatch):
    """A server, a panel of one judge behind it, and its price: 1 dollar a million tokens."""
    server = serve(opinion)
    prices = tmp_path / "prices.toml"
    prices.write_text('[[models]]\nmodel = "openai-api/*"\ninput = 1.0\noutput = 1.0\n')
    monkeypatch.setenv("HERDBOOK_PRICES", str(prices))
    table = {
        "kind": "pairwise", "model": "openai-api/m", "base_url": f"{server.url}/v1",
        "name": "served", "form": "text",
    }  # fmt: skip
    file = tmp_path / "panel.toml"
    file.write_text(panel_toml({"judges": [table]}), encoding="utf-8")
    return server, file


def report_of(run: Finished) -> dict[str, Any]:
    assert run.out, run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


# --------------------------------------------------------------------------------------- free
def test_without_flags_it_says_something_in_the_first_minute(agree):
    run = agree()
    assert (run.code, run.err) == (0, "")
    assert "packaged pairs" in run.out
    assert "checklist: nothing is concluded, as there is one label a pair" in run.out
    assert "its agreement here says nothing" in run.out
    assert "the longest answer °" in run.out
    assert max(map(len, run.out[run.out.index("Agreement") :].splitlines()[:12])) < 120


def test_a_panel_is_measured_beside_its_judges(agree, labels, tmp_path):
    tables = [{"kind": "heuristic", "rule": rule, "name": rule} for rule in ("longest", "random")]
    panel = tmp_path / "panel.toml"
    panel.write_text(panel_toml({"judges": tables}), encoding="utf-8")
    report = report_of(agree("--humans", labels, "--panel", panel, "--format", "json"))
    names = [one["name"] for one in report["judges"]]
    assert sorted(names[:3]) == ["longest", "panel", "random"]
    assert names[3:] == ["heuristic/longest", "heuristic/shortest"]
    assert report["k"] == 2
    assert report["people"]["alpha"]["nominal"]["value"] > 0.4
    assert [one["judge"] is None for one in report["judges"][:3]] == [
        n == "panel" for n in names[:3]
    ]


def test_recorded_verdicts_are_measured_without_a_panel(agree, shared_data, tmp_path):
    file = shared_data / "human" / "auto_j.jsonl"
    run = agree("--humans", file, "--format", "markdown", "--out", tmp_path / "report")
    assert run.code == 0
    assert "## auto_j.jsonl" in run.out
    assert f"written: {tmp_path / 'report' / 'report.md'}" in run.out
    assert read_json(tmp_path / "report" / "report.json")["judges"][0]["name"] == "auto_j"


def test_labels_alone_are_measured_with_floors(agree, labels):
    run = agree("--humans", labels)
    assert run.code == 0
    assert "No judge has verdicts here: name one with --panel." in run.out
    assert "A person agrees with the majority of 2 people in " in run.out


def test_k_epsilon_and_unparsed_are_passed_on(agree, labels):
    flags = ("--k", "1", "--epsilon", "0.1", "--unparsed", "tie", "--format", "json")
    report = report_of(agree("--humans", labels, "--panel", "heuristic/random", *flags))
    settings = {"k": 1, "epsilon": 0.1, "unparsed": "tie", "level": 0.95}
    assert (report["k"], report["settings"]) == (1, settings)
    assert report["judges"][0]["replaces"]["epsilon"] == 0.1


def test_an_annotation_page_goes_out_and_comes_back(agree, tmp_path):
    page = tmp_path / "page.html"
    run = agree("--make-form", page)
    assert run.code == 0
    assert run.out.startswith(f"{page}: 124 pairs of the packaged pairs")
    assert page.stat().st_size > 10_000
    known = packaged_humans().comparisons
    back = {
        "schema_version": 1, "form": form_digest(known, 0), "seed": 0, "annotator": "Ada",
        "labels": {pair.digest: "tie" for pair in known[:50]},
    }  # fmt: skip
    (tmp_path / "back.json").write_text(json.dumps(back))
    run = agree("--humans", tmp_path / "back.json")
    assert run.code == 0
    assert "All labels are a tie" in run.out


def test_a_page_of_pairs_of_ones_own(agree, labels, tmp_path):
    for flag in ("--pairs", "--humans"):
        run = agree("--make-form", tmp_path / f"page{flag}.html", flag, labels)
        assert f"{N} pairs of {labels}" in run.out
        assert f"--pairs {labels}" in run.out
    assert len(read_comparisons(labels)) == N


# --------------------------------------------------------------------------------------- paid
def test_a_served_judge_has_agreement_cost_and_seconds(agree, paid, labels, tmp_path, leaderboard):
    server, panel = paid
    out = tmp_path / "results" / "agreement" / "own"
    run = agree("--humans", labels, "--panel", panel, "--out", out)
    assert run.code == 0, run.err
    assert server.calls == 2 * N
    report = read_json(out / "report.json")
    one = report["judges"][0]
    assert (one["name"], one["n_pairs"], one["n_verdicts"], one["n_missing"]) == (
        "served", N, 2 * N, 0,
    )  # fmt: skip
    # The judge is the longest answer in disguise, and so no better than that floor.
    floor = next(o for o in report["judges"] if o["name"] == "heuristic/longest")
    assert one["against"]["judge"]["value"] == floor["against"]["judge"]["value"]
    assert one["verdict"] == "no better than a floor"
    assert one["over_floor"]["value"] <= 0
    assert one["prefers"]["length"]["judge"]["value"] == 1
    assert one["prefers"]["shown first"]["judge"]["value"] == 0.5
    assert one["orders"]["same"]["value"] == one["repeats"]["same"]["value"] == 1
    spent = float(run.err.split("$")[-1].split()[0].rstrip(".;"))
    assert one["usd_per_1000"] == pytest.approx(1000 * spent / N, rel=0.05)
    assert one["seconds_per_1000"] > 0
    assert (out / "price.png").is_file()
    # What it agrees is found by the list of judges, for this judge and no other of its name.
    listed = leaderboard(
        "judges", "--panel", panel, "--format", "json", "--results", out.parents[1]
    )
    assert json.loads(listed.out)[0]["agreement"] == one["against"]["judge"]["value"]
    # What is no report, or is not whole, says nothing.
    for n, text in enumerate(("{", '{"complete": true}', "[]")):
        (out.parent / f"other {n}").mkdir()
        (out.parent / f"other {n}" / "report.json").write_text(text)
    listed = leaderboard(
        "judges", "--panel", panel, "--format", "json", "--results", out.parents[1]
    )
    assert json.loads(listed.out)[0]["agreement"] is not None
    panel.write_text(panel.read_text().replace("openai-api/m", "openai-api/other"))
    listed = leaderboard(
        "judges", "--panel", panel, "--format", "json", "--results", out.parents[1]
    )
    assert json.loads(listed.out)[0]["agreement"] is None


def test_a_second_run_asks_nothing_and_says_the_same(agree, paid, labels):
    server, panel = paid
    flags = ("--humans", labels, "--panel", panel, "--format", "json")
    first = report_of(agree(*flags))
    calls = server.calls
    assert report_of(agree(*flags)) == first
    assert server.calls == calls


@pytest.mark.usefixtures("api_keys")
def test_batches_bring_the_same_figures_at_half_the_price(
    agree, serve, labels, tmp_path, monkeypatch
):
    server = serve(opinion, batches=Batches(polls=1))
    prices = '[[models]]\nmodel = "openai/gpt"\ninput = 1\noutput = 1\nbatch = 0.5\n'
    (tmp_path / "prices.toml").write_text(prices)
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "prices.toml"))
    table = {
        "kind": "pairwise", "model": "openai/gpt", "base_url": f"{server.url}/v1", "name": "served",
        "form": "text",
    }  # fmt: skip
    (tmp_path / "panel.toml").write_text(panel_toml({"judges": [table]}), encoding="utf-8")
    flags = ("--humans", labels, "--panel", tmp_path / "panel.toml", "--format", "json")
    batched = report_of(agree(*flags, "--batch"))["judges"][0]
    assert len(server.batches.made) == 1
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    singly = report_of(agree(*flags))["judges"][0]
    assert batched["against"] == singly["against"]
    assert batched["usd_per_1000"] == pytest.approx(singly["usd_per_1000"] / 2, rel=0.05)


def test_a_dry_run_asks_nothing(agree, paid, labels):
    server, panel = paid
    run = agree("--humans", labels, "--panel", panel, "--dry-run")
    assert (run.code, server.calls) == (0, 0)
    assert re.search(rf"judging by served +{2 * N} ", run.out)
    assert "Nothing has been asked yet." in run.out
    assert "costs nothing" in agree("--dry-run").out


def test_at_the_budget_figures_are_not_shown_as_complete(agree, paid, labels, tmp_path):
    _, panel = paid
    run = agree(
        "--humans", labels, "--panel", panel, "--max-cost", "0.02", "--out", tmp_path / "report"
    )
    assert run.code == 4, run.err
    assert "stopped at the budget" in run.err
    assert "Incomplete: stopped at the budget" in run.out
    report = read_json(tmp_path / "report" / "report.json")
    assert report["complete"] is False
    one = report["judges"][0]
    assert 0 < one["n_missing"] < 2 * N
    assert one["verdict"] == "withheld"
    assert "**Incomplete" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    # With a higher budget the same command goes on.
    again = agree("--humans", labels, "--panel", panel, "--max-cost", "5", "--format", "json")
    assert again.code == 0
    assert report_of(again)["judges"][0]["n_missing"] == 0


def test_replies_that_cannot_be_read_are_missing_and_the_exit_code_says_so(
    agree, paid, labels, tmp_path
):
    server, panel = paid
    readable = [5]

    def mumbling(asked: Asked) -> Reply:
        readable[0] -= 1
        return opinion(asked) if readable[0] >= 0 else Reply(text="Both have something.")

    server.behaviour = mumbling
    run = agree("--humans", labels, "--panel", panel, "--format", "json")
    assert run.code == 3
    one = report_of(run)["judges"][0]
    assert one["n_missing"] > N
    assert one["verdict"] == "withheld"


# ---------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--k", "0"), "--k 0: at least one"),
        (("--epsilon", "1"), "--epsilon 1: a share"),
        (("--epsilon", "nan"), "--epsilon nan: a share"),
        (("--judge-model", "fake/judge"), "--judge-model goes with --panel"),
        (("--pairs", "pairs.jsonl"), "--pairs goes with --humans"),
        (("--humans", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--panel", "nobody"), "no panel 'nobody'"),
        (("--make-form", "page.txt"), ".html file"),
        (("--make-form", "nowhere/page.html"), "there is no folder"),
        (("--unparsed", "zero"), "--unparsed"),
    ],
)
def test_wrong_flags_are_told(agree, flags, parts):
    refused(agree(*flags), parts)


def test_a_file_in_the_place_of_the_report_is_told_before_anybody_is_paid(agree, paid, labels):
    server, panel = paid
    refused(agree("--humans", labels, "--panel", panel, "--out", labels), "name a folder")
    assert server.calls == 0


def test_panels_whose_judges_cannot_be_compared_are_refused(agree, shared_data, tmp_path):
    one, two = ({"kind": "heuristic", "rule": rule, "name": rule} for rule in ("longest", "random"))
    panel = tmp_path / "panel.toml"
    panel.write_text(panel_toml({"judges": [one, two], "assign": "one"}), encoding="utf-8")
    refused(agree("--panel", panel), "draws judges for each item")
    panel.write_text(panel_toml({"judges": [{**one, "name": "auto_j"}]}), encoding="utf-8")
    recorded = shared_data / "human" / "auto_j.jsonl"
    refused(agree("--humans", recorded, "--panel", panel), "'auto_j', as another one is")


LINE = {"instruction": "Say.", "output_1": "One.", "output_2": "Two.", "annotator": "a"}


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([{**LINE, "label": "tie"}, {**LINE, "label": "output_1"}], "'a' has labelled"),
        ([{**LINE, "label": "both"}], "label"),
        ([{**LINE, "preference": float("nan"), "messages": None}], "preference"),
        (
            [{**LINE, "id": 1, "label": "tie"}, {**LINE, "id": "1", "label": "tie"}],
            "write all in one way",
        ),
        ([{**LINE, "label": None}], "label"),
    ],
)
def test_labels_that_cannot_be_are_refused(agree, tmp_path, lines, parts):
    refused(agree("--humans", write_rows(tmp_path / "bad.jsonl", lines)), parts)


def test_labels_for_unknown_items_are_refused(agree, labels, tmp_path):
    alone = write_rows(
        tmp_path / "alone.jsonl", [{"id": "p77777", "annotator": "a", "label": "tie"}]
    )
    refused(agree("--humans", alone, "--pairs", labels), "'p77777' is not among the 40 pairs")
    refused(agree("--humans", alone), "name the file of their pairs as well")


def test_one_annotator_and_one_class_are_stated_limits(agree, tmp_path):
    one = write_rows(tmp_path / "one.jsonl", list(rows(humans_of(N, {"a": truth}))))
    run = agree("--humans", one, "--panel", "heuristic/random")
    assert run.code == 0
    assert "There is one label a pair" in run.out
    same = {name: lambda n: 0.5 for name in "abc"}
    ties = write_rows(tmp_path / "ties.jsonl", list(rows(humans_of(N, same))))
    run = agree("--humans", ties, "--panel", "heuristic/random", "--format", "json")
    report = report_of(run)
    assert report["judges"][0]["reason"] == "all labels are the same"
    assert report["people"]["alpha"]["nominal"]["value"] is None
    assert digest(report["words"])  # whole JSON, without NaN
