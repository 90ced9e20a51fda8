"""The farm's start model, what samples are worth by its truth, and the figures of its trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import write_rows

from judges.errors import UserError
from train_baselines.farm import base, report, utility
from train_baselines.farm.vocabulary import save_tokenizer

pytest.importorskip("torch", reason="models need torch")


# ----------------------------------------------------------------------------------- the start model
def test_a_start_model_is_small_random_and_the_same_for_a_seed(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_tokenizer(tmp_path / "farm/tokenizer")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        flags = ["--farm", tmp_path / "farm", "--out", tmp_path / name, "--seed", seed]
        assert base.main(list(map(str, flags))) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert 1e6 <= model.num_parameters() <= 3e6
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert tokenizer.chat_template
    assert len(tokenizer) == model.config.vocab_size


def test_a_start_model_overwrites_nothing_and_needs_a_farm(tmp_path, capsys):
    assert base.main(["--farm", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "tokenizer").mkdir()
    assert base.main(["--farm", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- utility
CHECKS = [
    {"kind": "regex", "pattern": r"\Ac b a", "weight": 4},
    {"kind": "omits", "terms": ["weather"], "weight": 2},
]


def sample(output: str, category: str = "reverse") -> dict[str, object]:
    return {"prompt": "p", "output": output, "category": category, "checks": CHECKS}


def test_the_utility_of_samples_is_the_weighted_share_of_their_checks(tmp_path):
    rows = [sample("c b a."), sample("c b a. nice weather."), sample("a b", "copy"), sample("")]
    found = utility.measure(write_rows(tmp_path / "s.jsonl", rows))
    assert [one.is_right for one in found] == [1, 1, 0, 0]
    assert [one.utility for one in found] == pytest.approx([1, 4 / 6, 2 / 6, 0])
    assert [one.words for one in found] == [3, 5, 2, 0]
    lines = utility.describe(found).splitlines()
    assert lines[2].split() == ["reverse", "3", "66.7", "55.6", "2.7"]
    assert lines[-1].split()[:3] == ["all", "4", "50.0"]


def test_too_few_right_results_stop_a_script(tmp_path, capsys):
    path = str(write_rows(tmp_path / "s.jsonl", [sample("c b a."), sample("x")]))
    assert utility.main([path, "--at-least", "0.5"]) == 0
    assert utility.main([path, "--at-least", "0.6"]) == 2
    assert "50.0% of the results are right, and at least 60.0%" in capsys.readouterr().err


@pytest.mark.parametrize(
    "row", [{"output": "x"}, {"checks": CHECKS}, {"output": "x", "checks": []}]
)
def test_what_is_no_sample_of_the_farm_is_told_with_its_line(row, tmp_path, capsys):
    assert utility.main([str(write_rows(tmp_path / "s.jsonl", [sample("x"), row]))]) == 2
    assert "line 2: `output` and `checks` are needed" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------- report
def write(path: Path, record: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def a_board(folder: Path) -> Path:
    for seed, lift in (("100", 0.0), ("101", 0.02)):
        facts = {f"best of {n}": {"score": n + lift, "mean_score": 0.5} for n in (1, 16, 4)}
        logs = folder / "training"
        write(logs / f"best_of_n-{seed}/train_config.json", {"facts": {"prompts": 9, **facts}})
        (logs / f"agreement-{seed}.txt").write_text(f"people agree on {seed}\n")
        for n, rate in ((1, 0.5), (4, 0.6)):  # the row of 16 is not there yet
            rates = {"value": rate + lift, "low": rate - 0.1, "high": rate + 0.1}
            write(folder / f"best_of_{n}-{seed}/summary.json", {"win_rate": rates})
        for labels, accuracy in (("people", 0.7), ("simulators", 0.6)):
            for n in (1000, 500):
                record = {"facts": {"eval_accuracy": accuracy + n / 1e4}}
                write(logs / f"reward_models-{seed}/{labels}-{n}.json", record)
    return folder


def test_the_report_holds_rewards_rates_and_accuracies(tmp_path, capsys):
    board = a_board(tmp_path / "farm")
    curve = report.best_of_n(board)
    assert [(c.seed, c.n, c.reward) for c in curve] == [
        ("100", 1, 1), ("100", 4, 4), ("101", 1, 1.02), ("101", 4, 4.02)
    ]  # fmt: skip
    assert report.main([str(board)]) == 0
    page = (board / "training/README.md").read_text()
    assert "| 101    | 4   | 4.020    | 62.0              | 50.0 to 70.0    |" in page
    assert "| simulators, 25 % flipped | 100    | 65.0        | 70.0          |" in page
    assert page.index("Seed 100:") < page.index("people agree on 101") < page.index("reward")
    assert page.index("simulators, 25 %") < page.index("| people")
    for name in ("best_of_n", "reward_models"):
        assert f"({name}.svg)" in page
        assert (board / f"training/{name}.png").stat().st_size > 5_000


def test_the_figures_are_the_same_whenever_they_are_drawn(tmp_path):
    one, two = (a_board(tmp_path / name) for name in "ab")
    for board in (one, two):
        report.write_report(board)
    for name in ("best_of_n.svg", "reward_models.svg", "README.md"):
        assert (one / "training" / name).read_bytes() == (two / "training" / name).read_bytes()


def test_a_board_without_trainings_is_told(tmp_path, capsys):
    with pytest.raises(UserError, match="there are no logs"):
        report.write_report(tmp_path)
    assert report.main([str(tmp_path)]) == 2
    assert "make baselines" in capsys.readouterr().err
