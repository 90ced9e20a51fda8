"""Prompt files, and how they are filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import UserError
from judges.prompting.quoting import BEGIN, END, pieces, seen
from judges.prompting.templates import Template, conversation, packaged_prompts, read_template
from judges.schema import Instruction, Message

KNOWN = {
    "conversation",
    "first",
    "second",
    "form",
    "gold",
    "criteria",
    "persona",
    "nonce",
    "answer",
}
TEMPLATE = Template(
    "here",
    user="{conversation}\n\n{gold}\n\n{first}\n\nJudge {thing}.\n\n{form}",
    system="{persona}",
)


def content(data: dict[str, str], own: dict[str, str] | None = None) -> str:
    messages, _ = TEMPLATE.fill(data, own)
    return messages[-1].content


def test_names_are_filled_and_other_braces_stay():
    messages, nonce = TEMPLATE.fill(
        {"conversation": "Q {first} {nonce}", "first": "A"},
        {"persona": "You teach.", "form": "Code {nonce}, {first}.", "gold": ""},
    )
    assert messages == (
        Message("system", "You teach."),
        Message(
            "user",
            f"[begin conversation {nonce}]\n{BEGIN}Q {{first}} {{nonce}}{END}\n[end conversation {nonce}]"
            f"\n\n[begin first answer {nonce}]\n{BEGIN}A{END}\n[end first answer {nonce}]"
            f"\n\nJudge {{thing}}.\n\nCode {nonce}, {{first}}.",
        ),
    )


def test_what_is_not_shown_leaves_no_trace():
    own = {"gold": "", "persona": "", "form": "F"}
    messages, _ = TEMPLATE.fill({"conversation": "Q", "first": "A"}, own)
    assert [m.role for m in messages] == ["user"]
    assert "\n\n\n" not in messages[0].content
    assert "gold" not in messages[0].content
    inline, _ = Template("here", user="a {gold}b\n\n  {gold}  \n\n\nc\n{gold}").fill(
        {}, {"gold": ""}
    )
    assert inline[0].content == "a b\n\nc"


def test_empty_texts_of_others_are_framed():
    assert content({"conversation": "", "first": "", "gold": ""}).count(f"{BEGIN}{END}") == 3


@given(st.text(), st.text())
def test_texts_of_others_change_nothing_of_ours_but_the_nonce(question, answer):
    def ours(data: dict[str, str]) -> list[str]:
        messages, nonce = TEMPLATE.fill(data, {"form": "Write {nonce}."})
        texts = [text for text, is_data in pieces(messages[-1].content) if not is_data]
        return "".join(texts).replace(nonce, "NONCE")

    assert ours({"conversation": question, "first": answer}) == ours(
        {"conversation": "Q", "first": "A"}
    )


@given(st.text())
def test_texts_of_others_stand_as_they_are_seen(text):
    found = pieces(content({"conversation": text}))
    data = "".join(part for part, is_data in found if is_data)
    assert data.replace(" ", "") == seen(text).replace(" ", "")


def test_the_nonce_follows_from_prompt_and_data():
    data = {"conversation": "Q", "first": "A"}
    nonces = {
        TEMPLATE.fill(data)[1],
        TEMPLATE.fill({"conversation": "Q", "first": "B"})[1],
        TEMPLATE.fill({"conversation": "A", "first": "Q"})[1],
        Template("here", user=TEMPLATE.user + "!").fill(data)[1],
    }
    assert len(nonces) == 4
    assert TEMPLATE.fill(data, {"form": "other"})[1] == TEMPLATE.fill(data)[1]


@pytest.mark.parametrize("name", packaged_prompts())
def test_a_packaged_prompt(name):
    template = read_template(name, Path("/nowhere"), KNOWN)
    assert {"conversation", "form", "persona", "nonce"} <= template.names
    assert template.names <= KNOWN | {"rubric", "lowest", "highest"}
    user = template.user
    # The last word on what to do is ours, and comes after all that others wrote.
    assert user.rstrip().endswith("{form}")
    of_others = [
        user.index(f"{{{name}}}")
        for name in ("first", "second", "answer")
        if name in template.names
    ]
    assert of_others
    assert max(of_others) < user.rindex("{form}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("user = ", "not valid TOML"),
        ("system = 'x'", "`user` must be a text"),
        ("user = ' '", "`user` must be a text"),
        ("user = 3", "`user` must be a text"),
        ("user = '{first}'\nsystem = 3", "`system`"),
        ("user = '{first}'\nUser = 'x'", "unknown key 'User'"),
        ("user = 'no names'", "none of the names"),
        ("user = '{first} \ufdd0'", "U\\+FDD0"),
    ],
)
def test_a_broken_prompt_file(tmp_path, text, complaint):
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=complaint):
        read_template("mine.toml", tmp_path, {"first"})


def test_a_prompt_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no such file in .*; packaged: .*pairwise"):
        read_template("mine.toml", tmp_path, {"first"})
    with pytest.raises(UserError, match="packaged"):
        read_template("../pairwise", tmp_path, {"first"})


def test_a_prompt_file_of_ones_own(tmp_path):
    (tmp_path / "mine.toml").write_text("user = 'Q {conversation}'", encoding="utf-8")
    template = read_template("mine.toml", tmp_path, {"conversation"})
    (tmp_path / "mine.toml").write_text("user = 'Q: {conversation}'", encoding="utf-8")
    assert read_template("mine.toml", tmp_path, {"conversation"}).digest != template.digest


def test_a_conversation_is_read_as_its_turns():
    single = Instruction(id="1", messages=(Message("user", "Hi"),))
    assert conversation(single) == "Hi"
    turns = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Yes?"))
    several = Instruction(id="2", messages=(*turns, Message("user", "Bye")))
    assert (
        conversation(several) == "System:\nBe kind.\n\nUser:\nHi\n\nAssistant:\nYes?\n\nUser:\nBye"
    )
