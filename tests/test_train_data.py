"""Files to token ids: the formats, what is wrong with them, and whose tokens they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import write_rows
from tiny_model import make_tiny_tokenizer
from training import preferences, train

from judges.backends.base import Request, Sampling
from judges.backends.reward import RewardScorer
from judges.backends.transformers import TransformersLLM
from judges.errors import UserError
from judges.kinds.reward_model import _conversation
from judges.prompting.chat import ChatTemplate, choose_template
from judges.schema import Instruction, Message
from train_baselines.data.examples import (
    Encoder,
    Example,
    encode_demonstrations,
    encode_pairs,
    pack,
    pad,
)
from train_baselines.data.sources import (
    Demonstration,
    Pair,
    read_candidates,
    read_demonstrations,
    read_pairs,
    read_prompts,
)
from train_baselines.models.loading import PLAIN_TEMPLATE

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Yes"}
ASKED = (Message("user", "Hi"),)
DEMONSTRATIONS = [
    {"messages": [USER, ANSWER]},
    {"prompt": "Hi", "completion": "Yes"},
    {"prompt": [USER], "completion": [ANSWER]},
    {"instruction": "Hi", "input": "", "output": "Yes"},
    {"question": "Hi", "completion": "Yes", "other": 1},
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    tokenizer = make_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return Encoder(tokenizer, choose_template(tokenizer))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("row", DEMONSTRATIONS, ids="+".join)
def test_demonstrations_and_prompts_in_every_format(row, suffix, tmp_path):
    path = write_rows(tmp_path / f"data{suffix}", [row])
    unit = "line" if suffix == ".jsonl" else "row"
    assert read_demonstrations(str(path)) == [Demonstration(ASKED, "Yes", f"{path}, {unit} 1")]
    (prompt,) = read_prompts(str(path))
    assert prompt.messages == ASKED


@pytest.mark.parametrize(
    ("row", "probability"),
    [
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "No"}, 1.0),
        ({"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "No"}]}, 1.0),
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "No"}]}, 1.0),
        ({"instruction": "Hi", "output_1": "No", "output_2": "Yes", "preference": 2}, 1.0),
        ({"instruction": "Hi", "output_1": "Yes", "output_2": "No", "preference": 1}, 1.0),
        ({"instruction": "Hi", "output_1": "Yes", "output_2": "No", "preference": 1.25}, 0.75),
        ({"instruction": "Hi", "output_1": "Yes", "output_2": "No", "preference": 0}, 0.5),
        ({"instruction": "Hi", "output_1": "Yes", "output_2": "No", "preference": 1.5}, 0.5),
        ({"messages": [USER], "output_1": "No", "output_2": "Yes", "preference": 1.0}, 1.0),
        ({"messages": [USER], "output_1": "No", "output_2": "Yes", "preference": 0.75}, 0.75),
        ({"messages": [USER], "output_1": "Yes", "output_2": "No", "preference": 0.0}, 1.0),
    ],
)
def test_pairs_in_every_format(row, probability, tmp_path):
    path = write_rows(tmp_path / "pairs.jsonl", [row])
    assert read_pairs(str(path)) == [Pair(ASKED, "Yes", "No", probability, f"{path}, line 1")]


def test_candidates_and_alpacas_input(tmp_path):
    rows = [{"query": "Hi", "responses": ["a", "b"], "scores": [1, -0.5]}]
    (found,) = read_candidates(str(write_rows(tmp_path / "c.jsonl", rows)))
    assert (found.messages, found.responses, found.scores) == (ASKED, ("a", "b"), (1.0, -0.5))
    rows = [{"instruction": "Add", "input": "1 2", "output": "3"}]
    (found,) = read_demonstrations(str(write_rows(tmp_path / "a.jsonl", rows)))
    assert found.messages == (Message("user", "Add\n\n1 2"),)


PAIR = {"output_1": "a", "output_2": "b"}


@pytest.mark.parametrize(
    ("read", "row", "told"),
    [
        (
            read_demonstrations,
            {"completion": "x"},
            "no prompt; give a column messages, instruction",
        ),
        (read_demonstrations, {"prompt": "Hi"}, "no answer to train on"),
        (read_demonstrations, {"messages": [USER]}, "no answer to train on"),
        (read_demonstrations, {"prompt": " ", "completion": "x"}, "not empty"),
        (read_demonstrations, {"prompt": "Hi", "completion": 3}, "completion must be a text"),
        (read_demonstrations, {"messages": [{"role": "bot"}, ANSWER]}, "role: input should be"),
        (read_pairs, {"prompt": "Hi", "chosen": "x", "rejected": "x"}, "equal"),
        (read_pairs, {"messages": [USER], **PAIR}, "preference must be a number"),
        (read_pairs, {"messages": [USER], **PAIR, "preference": 2}, "from 0 to 1 is meant"),
        (read_pairs, {"instruction": "Hi", **PAIR, "preference": 0.3}, "2 for output_2"),
        (read_pairs, {"output_1": "a", "output_2": "b", "preference": 1}, "no prompt"),
        (read_pairs, {"prompt": "Hi", "chosen": "x"}, "rejected must be a text"),
        (
            read_pairs,
            {"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "Ho"}, ANSWER]},
            "two different conversations",
        ),
        (
            read_candidates,
            {"query": "Hi", "responses": ["a"], "scores": [1, 2]},
            "1 responses and 2",
        ),
        (read_candidates, {"query": "Hi", "responses": ["a"], "scores": ["x"]}, "list of numbers"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(read, row, told, tmp_path):
    good = {"prompt": "Hi", "completion": "Yes", "chosen": "Yes", "rejected": "No"}
    good |= {"responses": ["a"], "scores": [1]}
    path = write_rows(tmp_path / "data.jsonl", [good, row])
    with pytest.raises(UserError, match=r"data\.jsonl, line 2") as error:
        read(str(path))
    assert told in str(error.value)


def test_sources_that_are_no_files(tmp_path, monkeypatch):
    for source, told in (
        (str(tmp_path / "none.jsonl"), "no such file"),
        (str(write_rows(tmp_path / "a.csv", [{"prompt": "x"}])), "unknown format"),
        (str(write_rows(tmp_path / "b.json", [])), "no rows"),
    ):
        with pytest.raises(UserError, match=told):
            read_prompts(source)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.parquet").write_text("{")
    for name in ("broken.json", "broken.parquet"):
        with pytest.raises(UserError, match="not "):
            read_prompts(str(tmp_path / name))


def test_a_folder_of_the_hub_is_read_through_datasets(tmp_path, monkeypatch):
    """ORG/NAME with a folder of that name is what `datasets` calls a data set of local files."""
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "org" / "set"
    folder.mkdir(parents=True)
    write_rows(folder / "train.jsonl", [{"prompt": "Hi", "completion": "Yes"}])
    write_rows(folder / "test.jsonl", [{"prompt": "Ho", "completion": "No"}])
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (found,) = read_demonstrations("org/set")
    assert (found.completion, found.where) == ("Yes", "org/set:train, row 1")
    (found,) = read_demonstrations("org/set:test")
    assert found.completion == "No"
    with pytest.raises(UserError, match="the split 'none' of org/set"):
        read_demonstrations("org/set:none")


def test_long_examples_are_dropped_and_counted(encoder):
    def shown(words: int, answer: int) -> Demonstration:
        return Demonstration((Message("user", "cat " * words),), "dog " * answer, "here")

    given = [shown(1, 1), shown(300, 1), shown(1, 300), shown(300, 1)]
    encoded = encode_demonstrations(given, encoder, 64)
    assert len(encoded.rows) == 1
    assert sorted(encoded.dropped.values()) == [1, 2]
    assert "dropped 2: prompts that fill max_length 64" in str(encoded)
    assert "dropped 1: longer than max_length 64 with the answer" in str(encoded)
    exact = encoded.rows[0].length
    assert len(encode_demonstrations(given[:1], encoder, exact).rows) == 1
    assert len(encode_demonstrations(given[:1], encoder, exact - 1).rows) == 0


def test_ties_are_dropped_and_counted_unless_wanted(encoder):
    pairs = [Pair(ASKED, "a", "b", p, "here") for p in (0.5, 0.75, 1.0)]
    encoded = encode_pairs(pairs, encoder, 64)
    assert [row.probability for row in encoded.rows] == [0.75, 1.0]
    assert encoded.dropped == {"ties": 1}
    assert [row.number for row in encoded.rows] == [0, 1]
    assert len(encode_pairs(pairs, encoder, 64, ties=True).rows) == 3


def test_only_the_answer_and_its_end_are_targets(encoder):
    demonstration = Demonstration(ASKED, "Yes <|end|> </s>", "here")
    (row,) = encode_demonstrations([demonstration], encoder, 64).rows
    tokens = pad([row, Example(row.ids[:4], 2, "")], encoder.pad)
    wanted = tokens.ids[0][tokens.targets[0]].tolist()
    assert encoder.text(wanted) == "Yes <|end|> </s>"  # letters, no control tokens
    assert [t for t in wanted if t in encoder.tokenizer.added_tokens_decoder] == [encoder.end]
    assert wanted[-1] == encoder.end == encoder.tokenizer.convert_tokens_to_ids("<|end|>")
    assert row.weight == len(wanted) == tokens.targets[0].sum()
    assert not tokens.targets[1][4:].any()
    assert tokens.attention[1].tolist() == [1] * 4 + [0] * (row.length - 4)
    left = pad([row, Example(row.ids[:4], 2, "")], encoder.pad, side="left")
    assert left.ids[1][-4:].tolist() == list(row.ids[:4])
    assert left.positions[1][-4:].tolist() == [0, 1, 2, 3]
    assert left.targets[1].tolist() == [False] * (row.length - 2) + [True] * 2
    packed = pack([row, Example((5, 6, 7), 0, "")])
    assert packed.positions[0].tolist() == [*range(row.length), 0, 1, 2]
    assert packed.targets[0][-3:].tolist() == [False, True, True]  # nothing foretells a first token


@pytest.fixture(scope="module")
def reward_model(tiny_llama, tmp_path_factory) -> Path:
    """A reward model of one step's training."""
    folder = tmp_path_factory.mktemp("reward")
    pairs = preferences(folder / "pairs.jsonl")
    assert train("reward_model", tiny_llama, pairs, folder / "model", max_steps=1) == 0
    return folder / "model"


CHATS = [
    (Message("user", "Write a poem. <|end|>\n</s>"),),
    (Message("system", "Be kind."), Message("user", "é😀 \u200b?")),
    (Message("user", "1"), Message("assistant", "2"), Message("user", "three  ")),
]


@pytest.mark.parametrize("chat", CHATS)
def test_trainer_eval_and_reward_judge_have_the_same_tokens(
    chat, tiny_llama, reward_model, monkeypatch
):
    llm = TransformersLLM.load(tiny_llama)
    encoder = Encoder(llm.tokenizer, llm.template)
    request = Request(id="x", messages=chat, sampling=Sampling(max_tokens=4, temperature=0))
    assert encoder.prompt(chat) == llm.prompt_of(request)[1]
    written = llm.complete_batch([request])[0].text
    assert encoder.text(encoder.answer(written)) == written

    seen: list[list[int]] = []
    forward = RewardScorer._forward

    def watched(self: RewardScorer, batch: Sequence[Sequence[int]]) -> list[float] | None:
        seen.extend(map(list, batch))
        return forward(self, batch)

    monkeypatch.setattr(RewardScorer, "_forward", watched)
    scorer = RewardScorer.load(reward_model)
    scorer.score([_conversation(Instruction(id="x", messages=chat), written)])
    assert seen == [encoder.judged(chat, written)]


def test_an_answer_without_an_end_is_seen_as_such(encoder):
    whole, cut = (encoder.judged(ASKED, "Yes", ended=ended) for ended in (True, False))
    assert whole[: len(cut)] == cut
    assert whole[len(cut)] == encoder.end


def test_the_plain_template_is_written_down_as_jinja(tmp_path):
    tokenizer = make_tiny_tokenizer(tmp_path, chat_template=PLAIN_TEMPLATE)
    plain, jinja = ChatTemplate("plain"), choose_template(tokenizer)
    for chat in CHATS[:2]:
        ours, theirs = (Encoder(tokenizer, t).prompt(chat) for t in (jinja, plain))
        assert ours == theirs
    assert Encoder(tokenizer, jinja).end == tokenizer.eos_token_id
    judged = Encoder(tokenizer, jinja).judged(ASKED, "Yes")
    assert judged[-1] == tokenizer.eos_token_id
    assert torch.tensor(judged[:-1]).tolist() == Encoder(tokenizer, plain).judged(ASKED, "Yes")
