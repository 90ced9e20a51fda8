"""The farm's world: tasks whose truth machines can tell, authors of known skill, files by seed."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from statistics import fmean

import pytest
from conftest import files_of, read_lines

from judges.criteria.share import score
from judges.errors import UserError
from judges.prompting.chat import choose_template
from judges.prompting.quoting import quote
from judges.schema import Message
from train_baselines.farm.__main__ import main
from train_baselines.farm.authors import CORPUS, DEMONSTRATORS, GOLD, REMARKS, Author, write_answer
from train_baselines.farm.tasks import KINDS, OFF_TOPIC, OPENINGS, WISHES, Task, draw_task
from train_baselines.farm.vocabulary import make_tokenizer
from train_baselines.farm.world import SPLITS, Farm, draw_tasks, split_of, write_farm

SMALL = {"pretrain": 300, "sft": 60, "preference": 80, "unlabeled": 60, "val": 60, "eval": 60}
NAMES = [f"{name}.jsonl" for name in (*SMALL, "pairs")]


def make_farm(out: Path, seed: int = 0) -> dict[str, int]:
    return write_farm(Farm(out=out, seed=seed, pairs=40, **SMALL))


def tasks(n: int, seed: str = "test") -> list[Task]:
    random = Random(seed)
    names = list(KINDS)
    return [draw_task(random, names[i % len(names)]) for i in range(n)]


TASKS = tasks(600)


def check_of(task: Task, kind: str) -> list[dict]:
    return [check for check in task.checks if check["kind"] == kind]


# --------------------------------------------------------------------------------- tasks and gold
def test_answers_without_fault_meet_every_check():
    for number, task in enumerate(TASKS):
        answer = write_answer(Random(number), task, GOLD)
        assert score(answer, task.checks) == 1, (task.prompt, answer)


def test_courtesies_explanations_and_restatements_cost_nothing():
    talkative = Author(
        name="talkative", skill=1, neglect=0, remark=0, twice=0,
        opening=1, explanation=1, closing=1, restated=0.4,
    )  # fmt: skip
    for number, task in enumerate(TASKS):
        answer = write_answer(Random(number), task, talkative)
        assert score(answer, task.checks) == 1, (task.prompt, answer)


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ({"skill": 0.0}, {"regex"}),
        ({"skill": 0.0, "mistaken": 0.0}, {"regex"}),
        ({"remark": 1.0}, {"omits"}),
        ({"twice": 1.0}, {"no_repetition"}),
    ],
    ids=["mistake", "slip", "remark", "twice"],
)
def test_a_fault_fails_its_own_check_and_no_other(fault, kinds):
    settings = {"skill": 1, "neglect": 0, "remark": 0, "twice": 0, "mistaken": 1.0, **fault}
    author = Author(name="faulty", opening=0, explanation=0, closing=0, **settings)
    for number, task in enumerate(TASKS):
        if task.wishes and kinds != {"regex"}:
            continue  # an idle remark breaks "only the answer" too
        if "items" in {check["kind"] for check in task.checks} and kinds == {"regex"}:
            continue  # and so does an item that slipped out of a list
        answer = write_answer(Random(number), task, author)
        failed = {c["kind"] for c in task.checks if score(answer, [c]) == 0}
        failed -= {"words"}
        assert failed == kinds, (task.prompt, answer)


def test_a_wish_that_is_not_heeded_fails_its_check():
    stubborn = Author(name="stubborn", skill=1, neglect=1, remark=0, twice=0, opening=0,
                      explanation=1, closing=0)  # fmt: skip
    for number, task in enumerate(TASKS):
        answer = write_answer(Random(number), task, stubborn)
        for wish in task.wishes:
            assert score(answer, [WISHES[wish].check(task.content.truth)]) == 0, (task, answer)
        assert score(answer, task.checks[:1]) == 1


@pytest.mark.parametrize(
    "corrupted",
    [
        "the answer is {wrong}. the answer is {truth}.",
        "the answer is {truth}. no, it is {wrong}.",
        "the answer is {wrong} {truth}.",
        "the answer is {truth} {wrong}.",
        "i think of {truth}.",
        "sure! {wrong}. {truth}.",
        "{wrong}! {truth}.",
        "sure! no: {truth}.",
        "{truth}. it is {wrong}.",
        "{truth}, {wrong}.",
        "of course!",
    ],
)
def test_a_result_among_others_is_no_result(corrupted):
    for task in tasks(300):
        texts = (task.content.separator.join(x) for x in (task.content.truth, task.content.mistake))
        truth, wrong = texts
        answer = corrupted.format(truth=truth, wrong=wrong)
        assert score(answer, check_of(task, "regex")) == 0, (task.prompt, answer)


def test_no_courtesy_states_a_result_and_every_remark_is_off_the_matter():
    from train_baselines.farm import authors

    for text in (*OPENINGS, *authors.EXPLANATIONS, *authors.CLOSINGS, *REMARKS):
        assert not re.search(r"\b(is|are)\b|:", text)
    for text in REMARKS:
        assert sum(word in text for word in OFF_TOPIC) == 1
    for text in (*authors.EXPLANATIONS, *authors.CLOSINGS, *REMARKS):
        assert len(text.split()) >= 4  # shorter ones could be said twice unseen


def test_more_skill_means_more_gold():
    def gold(author: Author) -> tuple[float, float]:
        found = [(write_answer(Random(n), t, author), t.checks) for n, t in enumerate(TASKS)]
        return (
            fmean(score(answer, checks[:1]) for answer, checks in found),
            fmean(score(answer, checks) for answer, checks in found),
        )

    for authors in (CORPUS, DEMONSTRATORS):
        exact = [gold(author)[0] for author in sorted(authors, key=lambda a: a.skill)]
        assert exact == sorted(exact)
    for author in (*CORPUS, *DEMONSTRATORS):
        assert gold(author)[0] == pytest.approx(author.skill, abs=0.05)
    corpus, demonstrated = (fmean(gold(a)[1] for a in by) for by in (CORPUS, DEMONSTRATORS))
    assert corpus + 0.05 < demonstrated < gold(CORPUS[-1])[1] < gold(GOLD)[1] == 1


@pytest.mark.parametrize("authors", [CORPUS, DEMONSTRATORS], ids=["corpus", "demonstrations"])
def test_the_likeliest_way_to_go_on_is_with_the_fault_that_most_share(authors):
    task, random = next(t for t in TASKS if not t.wishes), Random(0)
    answers = [write_answer(random, task, random.choice(authors)) for _ in range(4000)]
    behind = Counter(answer.partition(". ")[2] for answer in answers).most_common(2)
    (likeliest, n), (second, n_second) = behind
    assert likeliest == REMARKS[0]
    assert second == ""
    assert n > 1.2 * n_second


# ------------------------------------------------------------------------------------- tokenizer
@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_texts_and_tokens_are_one_anothers_image(tokenizer):
    lengths = []
    for number, task in enumerate(TASKS):
        author = (*CORPUS, *DEMONSTRATORS)[number % 9]
        for text in (task.prompt, write_answer(Random(number), task, author)):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
            lengths.append(len(ids))
    assert fmean(lengths) < 25
    assert max(lengths) < 70
    assert len(tokenizer) < 400


def test_what_tasks_manipulate_is_a_token_each(tokenizer):
    for task in tasks(300):
        items = set(" ".join(task.content.truth).split())
        items |= set(re.findall(r"[a-z]+|\d+", " ".join(task.content.slots.values())))
        for item in items:
            (one,) = tokenizer(item, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode([one]) == item
        text = task.content.separator.join(task.content.truth)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        signs = text.count(",")
        assert len(ids) == len(task.content.truth) + signs


def test_chats_are_rendered_as_they_are_judged(tokenizer):
    template = choose_template(tokenizer)
    asked = Message("user", "what is 1 plus 2?")
    prompt = template.encode(template.render([asked], tokenizer), tokenizer)
    answer = tokenizer("it is 3.", add_special_tokens=False)["input_ids"]
    end = template.end_of_turn(tokenizer)
    assert end == tokenizer.eos_token_id
    turns = [Message("user", quote(asked.content)), Message("assistant", quote("it is 3."))]
    judged = template.render(turns, tokenizer, add_generation_prompt=False)
    assert template.encode(judged, tokenizer) == [*prompt, *answer, end]
    assert prompt[0] == tokenizer.bos_token_id


# ----------------------------------------------------------------------------------------- files
def test_a_farm_is_the_same_for_a_seed_and_another_for_another(tmp_path):
    sizes = make_farm(tmp_path / "a")
    make_farm(tmp_path / "b")
    make_farm(tmp_path / "c", seed=1)
    a, b, c = (files_of(tmp_path / name) for name in "abc")
    assert a == b
    shared = {"val.jsonl", "eval.jsonl"}  # models of all seeds stand on one board
    assert {name for name in a if a[name] != c[name]} == {*NAMES, "farm.json"} - shared
    assert sizes["eval.jsonl"] == 60 == len(read_lines(tmp_path / "a/eval.jsonl"))
    with pytest.raises(UserError, match="is not empty; give another --out"):
        make_farm(tmp_path / "a")


def test_splits_share_no_content_whatever_the_seed():
    found: dict[str, set[str]] = {name: set() for name in SPLITS}
    for seed in (0, 1):
        for name in SPLITS:
            draws = draw_tasks(seed, name)
            found[name] |= {next(draws).key for _ in range(600)}
    for name, keys in found.items():
        for other, others in found.items():
            assert name == other or not keys & others
    assert all(split_of(task) in SPLITS for task in tasks(300))


def test_the_files_keep_to_their_splits(tmp_path):
    make_farm(tmp_path / "farm")
    prompts = {name: {r["prompt"] for r in read_lines(tmp_path / "farm" / f"{name}.jsonl")}
               for name in SMALL}  # fmt: skip
    for name, own in prompts.items():
        for other, others in prompts.items():
            assert name == other or not own & others
    for name in ("preference", "unlabeled", "val", "eval"):
        assert len(prompts[name]) == SMALL[name]


def test_shares_of_the_splits_are_those_of_the_contents():
    keys = {task.key: split_of(task) for task in tasks(6000)}
    for name, share in SPLITS.items():
        found = sum(split == name for split in keys.values()) / len(keys)
        assert found == pytest.approx(share, abs=0.02)


def test_the_command_line(tmp_path, capsys):
    flags = [text for name, n in SMALL.items() for text in (f"--{name}", str(n))]
    args = ["--out", str(tmp_path / "farm"), "--pairs", "9", "--length-taste", "0", *flags]
    assert main(args) == 0
    assert "eval.jsonl: 60" in capsys.readouterr().out
    assert "length = 0.0" in (tmp_path / "farm/people.toml").read_text()
    made_by = json.loads((tmp_path / "farm/farm.json").read_text())
    sizes = {"seed": 0, "length_taste": 0.0, "pairs": 9, **SMALL}
    assert made_by == {"schema_version": 1, **sizes}
    assert main(args) == 2
    assert "is not empty" in capsys.readouterr().err
