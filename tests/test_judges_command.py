"""`leaderboard judges`: what there is, what it needs and whether that is there, what it costs."""

from __future__ import annotations

import json

import pytest
from conftest import make_board, refused

from judges.calling.prices import Prices
from judges.registry import KINDS, make_judge, packaged_panels
from leaderboard.display.judge_table import TYPICAL, judge_line, panel_lines, together

KEY = "sk-sentinel-must-never-be-seen"


@pytest.fixture(autouse=True)
def without_keys(monkeypatch, tmp_path):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "HERDBOOK_PRICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def judges(leaderboard):
    def run(*args):
        done = leaderboard("judges", *args)
        assert done.code == 0, done.err
        return done.out

    return run


def records(text):
    return {record.get("judge", record.get("name")): record for record in json.loads(text)}


def test_the_overview_lists_every_kind_and_every_panel(judges):
    shown = judges()
    listed = records(judges("--format", "json"))
    assert set(listed) >= {*KINDS, *packaged_panels()}
    for name in (*KINDS, *packaged_panels()):
        assert name in shown
    assert listed["openai"]["missing"] == "OPENAI_API_KEY"
    assert listed["two-providers"]["missing"] == "OPENAI_API_KEY, ANTHROPIC_API_KEY"
    assert listed["offline"]["missing"] == ""
    assert listed["farm"]["missing"] == "a model"


def test_a_key_is_looked_for_by_name_and_never_shown(judges, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for form in ("table", "markdown", "csv", "json", "latex"):
        for args in ((), ("--panel", "openai")):
            assert KEY not in judges(*args, "--format", form)
    assert records(judges("--format", "json"))["openai"]["missing"] == ""
    assert records(judges("--panel", "openai", "--format", "json"))["gpt-5.4"]["missing"] == ""


def test_the_judges_of_a_panel_with_what_is_known_of_their_models(judges):
    found = records(judges("--panel", "two-providers", "--format", "json"))
    claude = found["claude-sonnet-5.5"]
    assert claude["kind"] == "pairwise"
    assert claude["model"] == "anthropic/claude-sonnet-5-5"
    assert "ANTHROPIC_API_KEY" in claude["needs"]
    assert claude["missing"] == "ANTHROPIC_API_KEY"
    assert claude["usd_per_1000"] > 0
    assert (claude["logprobs"], claude["is_alias"], claude["context"]) == (False, False, 1_000_000)
    assert claude["agreement"] is None
    shown = judges("--panel", "two-providers")
    assert "not measured" in shown
    assert "the panel costs about $" in shown


def test_models_that_are_left_open_are_told_and_can_be_filled_in_one_by_one(judges):
    shown = judges("--panel", "farm", "--judge-model", "strong=openai/gpt-4o")
    assert "--judge-model medium=MODEL" in shown
    assert "--judge-model strong=MODEL" not in shown
    assert "openai/gpt-4o (floating)" in shown
    assert "2027-01-14" in shown, "the day on which the provider ends it"
    assert "the panel is not known" in shown
    filled = judges("--panel", "farm", "--judge-model", "fake/judge")
    assert "{" not in filled
    assert "the panel costs about $0.00" in filled


def test_an_unknown_price_stays_unknown(judges):
    model = "openai-api/own@http://127.0.0.1:9/v1"
    found = records(judges("--panel", "local", "--judge-model", model, "--format", "json"))
    for record in found.values():
        assert record["usd_per_1000"] is None
        assert "a server at http://127.0.0.1:9/v1" in record["needs"]
        assert record["missing"] == ""
    assert "unknown" in judges("--panel", "local", "--judge-model", model)


def test_a_folder_that_is_not_there_is_missing(judges, tmp_path):
    model = str(tmp_path / "llama")
    found = records(judges("--panel", "local", "--judge-model", model, "--format", "json"))
    assert f"the folder {model}" in found["pairwise/" + "/".join(model.split("/")[-2:])]["missing"]


def test_the_judges_of_a_board_are_priced_by_its_own_texts_and_orders(judges, tmp_path):
    panel = {
        "judges": [
            {"kind": "checklist", "name": "checks"},
            {"kind": "pairwise", "name": "asked", "model": "openai/gpt-5.4-2026-03-05"},
            {"kind": "pointwise", "name": "alone", "model": "openai/gpt-5.4-2026-03-05"},
        ]
    }
    make_board(tmp_path / "results" / "toy", panel=panel)
    where = ("--board", "toy", "--results", tmp_path / "results", "--format", "json")
    found = records(judges(*where))
    assert found["checks"]["usd_per_1000"] == 0
    typical = {line.judge: line for line in _typical(panel)}
    # The toy board's texts are a few words long.
    assert 0 < found["asked"]["usd_per_1000"] < typical["asked"].usd_per_1000
    assert found["alone"]["usd_per_1000"] > 0


def _typical(panel):
    prices = Prices.load()
    return [
        judge_line(
            make_judge(table, packaged_panels()["offline"].parent), [TYPICAL], "both", prices
        )
        for table in panel["judges"]
    ]


def test_both_orders_cost_twice_one():
    judge = make_judge(
        {"kind": "pairwise", "model": "openai/gpt-5.4-2026-03-05"}, packaged_panels()["farm"].parent
    )
    both, one = (
        judge_line(judge, [TYPICAL], orders, Prices.load()).usd_per_1000
        for orders in ("both", "random")
    )
    assert both == pytest.approx(2 * one)


def test_the_price_of_a_panel_of_which_one_judges_is_the_mean():
    lines = panel_lines(packaged_panels()["two-providers"])
    prices = [line.usd_per_1000 for line in lines]
    assert together(lines, "all") == pytest.approx(sum(prices))
    assert together(lines, "one") == pytest.approx(sum(prices) / 2)


def test_a_panel_of_ones_own_is_named_by_its_file(judges, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'aggregate = "weighted"\n[[judges]]\nkind = "heuristic"\nrule = "longest"\nweight = 2\n'
    )
    assert "heuristic/longest" in judges("--panel", file)


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("--panel", "openai", "--board", "toy"), "give --panel or --board, not both"),
        (("--judge-model", "fake/judge"), "--judge-model goes with --panel"),
        (("--panel", "nobody"), "no panel 'nobody'; packaged: farm"),
        (("--panel", "openai", "--judge-model", "fake/judge"), "leaves no model open"),
        (("--panel", "farm", "--judge-model", "x=fake/judge"), "no model 'x'; it has strong"),
        (("--board", "nowhere"), "there is no board 'nowhere'"),
        (("--format", "pdf"), "--format"),
    ],
)
def test_wrong_flags_are_told(leaderboard, tmp_path, args, parts):
    refused(leaderboard("judges", *args, "--results", tmp_path / "results"), parts)


def test_a_provider_reached_elsewhere_has_no_price_and_a_reason(judges, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    shown = judges("--panel", "openai")
    assert "price of gpt-5.4 not known: served at 127.0.0.1, not at the provider" in shown
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert "not known: served at" not in judges("--panel", "openai")


def test_what_comes_on_top_of_a_row_is_told(judges, tmp_path):
    make_board(tmp_path / "results" / "toy")
    shown = judges("--board", "toy", "--results", tmp_path / "results")
    assert "controls that are left come on top, once (" in shown
    assert max(map(len, judges("--panel", "two-providers").splitlines()[:4])) < 150
