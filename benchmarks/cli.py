"""Start-up, and 805 recorded verdicts to a finished row: `leaderboard` beside `alpaca_eval`.

    python benchmarks/cli.py [--data ../shared/data] [--runs 9]

alpaca_eval 0.6.6 gets an environment of its own under build/peers. Both tools get the same answers
and the same verdicts, alpaca_eval as a warm cache (so it calls no judge), and both report win rate
and standard error; its length-controlled figure would need a download, so it is left out. Each run
is a whole process and starts without results of the last one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from paired import Command, compare, peer

MODEL = "OpenHermes-2.5-Mistral-7B"
REFERENCE = "gpt4_1106_preview"
ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
PEER = ["alpaca_eval==0.6.6", "setuptools<80", "pandas<3", "datasets<5"]


def prepare(data: Path, work: Path) -> None:
    """The same answers and verdicts in the forms that the two tools read."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    instructions = pd.read_json(data / "instructions.jsonl", lines=True)
    outputs = pd.read_parquet(data / "model_outputs.parquet")
    verdicts = pd.read_parquet(data / "annotations.parquet")
    outputs = outputs[outputs["model"] == MODEL].set_index("instruction_index")["output"]
    verdicts = verdicts[verdicts["model"] == MODEL].set_index("instruction_index")["preference"]
    texts = instructions.set_index("instruction_index")
    assert len(outputs) == len(verdicts) == len(texts) == 805
    answers = [
        {"instruction": texts.loc[i, "instruction"], "output": outputs[i], "generator": MODEL}
        for i in texts.index
    ]
    reference = [
        {
            "instruction": texts.loc[i, "instruction"],
            "output": texts.loc[i, "reference_output"],
            "generator": REFERENCE,
        }
        for i in texts.index
    ]
    cache = [
        {
            "instruction": texts.loc[i, "instruction"],
            "output_1": texts.loc[i, "reference_output"],
            "output_2": outputs[i],
            "annotator": ANNOTATOR,
            "preference": verdicts[i],
        }
        for i in texts.index
    ]
    recorded = [
        {
            "instruction_id": f"{i:03d}",
            "generator_1": REFERENCE,
            "generator_2": MODEL,
            "preference": verdicts[i] - 1,
        }
        for i in texts.index
    ]
    prompts = [{"id": f"{i:03d}", "instruction": texts.loc[i, "instruction"]} for i in texts.index]
    for name, rows in {"answers": answers, "reference": reference, "cache": cache}.items():
        (work / f"{name}.json").write_text(json.dumps(rows))
    for name, rows in {"verdicts": recorded, "prompts": prompts}.items():
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    """Run both comparisons and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    data = args.data / "alpaca_eval_2"
    if not data.is_dir():
        sys.exit(f"{data} is not there: this benchmark needs real answers and verdicts")
    ours = str(Path(sys.executable).parent / "leaderboard")
    theirs = str(peer("alpaca_eval", PEER) / "alpaca_eval")
    compare(
        "`--help`",
        Command("leaderboard --help", [ours, "--help"]),
        Command("alpaca_eval -- --help", [theirs, "--", "--help"]),
        args.runs,
    )

    work = Path("build") / "benchmark-cli"
    prepare(data, work)
    where = ["--results", str(work / "results")]
    board = ["board", "new", "recorded", "--prompts", str(work / "prompts.jsonl")]
    board += ["--reference", str(work / "reference.json")]
    board += ["--judge", f"recorded/{work / 'verdicts.jsonl'}"]
    subprocess.run([ours, *board, *where], check=True)
    row, out = work / "results" / "recorded" / MODEL, work / "out"

    def forget_row() -> None:
        shutil.rmtree(row, ignore_errors=True)

    def forget_out() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    answers = str(work / "answers.json")
    flags = {
        "model_outputs": answers,
        "reference_outputs": str(work / "reference.json"),
        "annotators_config": ANNOTATOR,
        "caching_path": str(work / "cache.json"),
        "fn_metric": "get_winrate",
        "sort_by": "win_rate",
        "precomputed_leaderboard": "None",
        "is_cache_leaderboard": "False",
        "output_path": str(out),
    }
    evaluate = [theirs, "evaluate", *(f"--{key}={value}" for key, value in flags.items())]
    offline = {"OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    compare(
        "805 recorded verdicts to a finished row",
        Command(
            "leaderboard eval", [ours, "eval", answers, "--board", "recorded", *where], forget_row
        ),
        Command("alpaca_eval evaluate, warm cache", evaluate, forget_out, offline),
        args.runs,
    )
    summary = json.loads((row / "summary.json").read_text())["win_rate"]
    written = next(out.rglob("leaderboard.csv"))
    table = pd.read_csv(written, index_col=0).loc[MODEL]
    print(f"\nwin rate: {100 * summary['value']:.6f} and {table['win_rate']:.6f}, ", end="")
    print(f"SE: {100 * summary['standard_error']:.6f} and {table['standard_error']:.6f}")


if __name__ == "__main__":
    main()
