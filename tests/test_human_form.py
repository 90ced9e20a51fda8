"""The annotation page, filled in by a real browser, and what comes back from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_documented_files import documented, fields_of

from judges.errors import UserError
from judges.schema import Comparison, Instruction, Message
from leaderboard.validity.form import Returned, form_digest, write_form
from leaderboard.validity.human_files import packaged_humans, read_humans

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    "<!--<script> \u2028 \u2029 ${alert(3)} {{ 7 * 7 }} \u202e"
)


def pair(number: int, one: str = "", two: str = "") -> Comparison:
    return Comparison(
        id=f"gpt-secret:{number}",
        instruction=Instruction(id=str(number), messages=(Message("user", f"Question {number}"),)),
        output_1=one or f"one {number}",
        output_2=two or f"two {number}",
        generator_1="gpt-secret",
        generator_2="llama-secret",
    )


PAIRS = [*(pair(n) for n in range(7)), pair(7, HOSTILE, f"{HOSTILE} two")]


def embedded(page: Path) -> dict[str, Any]:
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S
    )
    read: dict[str, Any] = json.loads(text)
    return read


# -------------------------------------------------------------------------------------- the file
def test_the_page_is_blind_and_asks_nobody(tmp_path):
    assert write_form(PAIRS, tmp_path / "form.html", title="Ours") == len(PAIRS)
    text = (tmp_path / "form.html").read_text(encoding="utf-8")
    assert "secret" not in text
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<link|<img|<iframe", text.split("</main>")[0]
    )
    assert "default-src 'none'" in text
    assert "innerHTML" not in text


def test_no_text_can_end_the_element_it_lies_in(tmp_path):
    write_form(PAIRS, tmp_path / "form.html", title=HOSTILE)
    text = (tmp_path / "form.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert not set(data) & set("<>&\u2028\u2029")
    shown = next(p for p in embedded(tmp_path / "form.html")["pairs"] if "alert" in p["answers"][0])
    assert sorted(shown["answers"]) == sorted([HOSTILE, f"{HOSTILE} two"])


def test_sides_and_places_are_shuffled_by_the_seed_alone(tmp_path):
    many = packaged_humans().comparisons
    pages = []
    for name, pairs, seed in (("a", many, 1), ("b", many[::-1], 1), ("c", many, 2)):
        write_form(pairs, tmp_path / name, title="Ours", seed=seed)
        pages.append(embedded(tmp_path / name))
    assert pages[0] == pages[1] != pages[2]
    assert pages[0]["form"] == form_digest(many, 1) != form_digest(many, 2)
    turned = [shown["turned"] for shown in pages[0]["pairs"]]
    assert 0.35 < sum(turned) / len(turned) < 0.65
    by_digest = {pair.digest: pair for pair in many}
    for shown in pages[0]["pairs"]:
        given = by_digest[shown["digest"]]
        answers = [given.output_1, given.output_2]
        assert shown["answers"] == (answers[::-1] if shown["turned"] else answers)
    assert [shown["digest"] for shown in pages[0]["pairs"]] != [pair.digest for pair in many]


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="there are no pairs"):
        write_form([], tmp_path / "form.html", title="Ours")


# ----------------------------------------------------------------------------------- the browser
@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of PAIRS, open in a browser; nothing in it may fail, ask or call out."""
    write_form(PAIRS, tmp_path / "form.html", title="Which is better?", seed=3)
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "blob:")) else wrong.append(r.url),
    )
    page.goto((tmp_path / "form.html").as_uri())
    yield page
    context.close()
    assert wrong == []


def begin(page: Any, name: str = "Ann B.") -> None:
    page.get_by_label("Your name or initials").fill(name)
    page.keyboard.press("Enter")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def returned(page: Any, tmp_path: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save labels").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_person_labels_the_pairs(opened, tmp_path):
    """By keyboard, with a tie, an undo, a second thought and a reload, to the labels read back."""
    shown = embedded(tmp_path / "form.html")["pairs"]
    opened.get_by_role("button", name="Begin").click()
    assert "name or initials" in opened.get_by_role("alert").text_content()
    begin(opened)
    assert opened.get_by_text("0 of 8 labelled").is_visible()
    press(opened, "1", "2", "t", "1", "u", "0")
    assert opened.get_by_text("4 of 8 labelled").is_visible()
    opened.reload()
    assert opened.get_by_text("4 of 8 labelled").is_visible()
    assert opened.get_by_role("heading", name="Pair 5 of 8").is_visible()
    press(opened, "2", "1", "ArrowLeft", "ArrowLeft", "k", "j", "1")  # the fifth, once more
    assert opened.get_by_role("heading", name="Pair 7 of 8").is_visible()
    press(opened, "2", "1")
    assert opened.get_by_text("8 of 8 labelled").is_visible()
    assert opened.get_by_text("All pairs are labelled. Save").is_visible()
    assert opened.get_by_role("progressbar").get_attribute("value") == "8"
    file = returned(opened, tmp_path)
    pressed = pressed_keys(["1", "2", "0", "0", "1", "1", "2", "1"], shown)
    assert sorted(json.loads(file.read_text("utf-8"))) == sorted(fields_of(Returned))
    assert set(documented("What the annotation page gives back")) >= fields_of(Returned)
    humans = read_humans(file, pairs=PAIRS)
    assert {a.annotator for a in humans.labels} == {"Ann B."}
    assert {a.digest: a.preference for a in humans.labels} == pressed
    assert {a.preference for a in humans.labels} == {0.0, 0.5, 1.0}
    assert len({side["turned"] for side in shown}) == 2, "both sides must have been turned"


def pressed_keys(keys: list[str], shown: list[dict[str, Any]]) -> dict[str, float]:
    """What keys on the pairs mean, told from the texts that were on either side."""
    by_digest = {pair.digest: pair for pair in PAIRS}
    wanted = {}
    for key, side in zip(keys, shown, strict=True):
        if key == "0":
            wanted[side["digest"]] = 0.5
        else:
            chosen = side["answers"][int(key) - 1]
            wanted[side["digest"]] = float(chosen == by_digest[side["digest"]].output_2)
    return wanted


def test_buttons_do_what_keys_do_and_a_part_can_be_saved(opened, tmp_path):
    shown = embedded(tmp_path / "form.html")["pairs"]
    begin(opened)
    for name in ("First is better", "Second is better", "Tie", "Undo", "Previous pair"):
        opened.get_by_role("button", name=name).click()
    assert opened.get_by_role("heading", name="second is better").is_visible()
    second = opened.get_by_role("button", name="Second is better")
    assert second.get_attribute("aria-pressed") == "true"
    opened.reload()
    press(opened, "u")  # what was done before the reload can be undone as well
    assert opened.get_by_role("status").text_content() == "Label taken back."
    humans = read_humans(returned(opened, tmp_path), pairs=PAIRS)
    assert {a.digest: a.preference for a in humans.labels} == pressed_keys(["1"], shown[:1])


def test_keys_held_down_or_meant_for_the_browser_label_nothing(opened):
    begin(opened)
    press(opened, "Control+1", "Alt+2", "x", "Shift")
    opened.keyboard.down("1")
    opened.keyboard.down("1")  # the second is a repeat
    assert opened.get_by_text("1 of 8 labelled").is_visible()


def test_each_person_has_labels_of_their_own(opened):
    begin(opened)
    press(opened, "1")
    opened.get_by_role("button", name="someone else?").click()
    begin(opened, "Zoë\u2028 \u200bZ.")
    assert opened.get_by_text("0 of 8 labelled").is_visible()
    assert opened.locator("#name").text_content() == "Zoë Z."
    opened.get_by_role("button", name="someone else?").click()
    begin(opened)
    assert opened.get_by_text("1 of 8 labelled").is_visible()


def test_hostile_texts_are_texts(opened, tmp_path):
    shown = embedded(tmp_path / "form.html")["pairs"]
    begin(opened)
    place = next(n for n, side in enumerate(shown) if "alert" in side["answers"][0])
    press(opened, *["j"] * place)
    assert opened.locator("#answer-1").text_content() == shown[place]["answers"][0]
    assert opened.locator("#answer-2").text_content() == shown[place]["answers"][1]
    assert opened.locator(".answers img, .answers script").count() == 0


# ---------------------------------------------------------------------------- what is read back
DIGEST = PAIRS[0].digest
RETURNED = {
    "schema_version": 1,
    "form": form_digest(PAIRS, 3),
    "seed": 3,
    "sampled": "random",
    "annotator": "a",
    "labels": {DIGEST: "tie"},
}


def write(path: Path, **changed: Any) -> Path:
    path.write_text(json.dumps(RETURNED | changed), encoding="utf-8")
    return path


def test_two_people_on_one_page(tmp_path):
    one = write(tmp_path / "a.json")
    two = write(tmp_path / "b.json", annotator="b", labels={DIGEST: "output_2"})
    humans = read_humans(one, two, pairs=PAIRS[::-1])
    assert {a.annotator: a.preference for a in humans.labels} == {"a": 0.5, "b": 1.0}
    assert [pair.generator_1 for pair in humans.comparisons] == ["gpt-secret"]
    assert humans.sampled == "random"
    with pytest.raises(UserError, match="annotator 'a' has labelled"):
        read_humans(one, one, pairs=PAIRS)


def test_a_page_of_the_packaged_pairs_needs_no_other_file(tmp_path):
    pairs = packaged_humans().comparisons
    labels = {pairs[5].digest: "output_1"}
    file = write(tmp_path / "a.json", form=form_digest(pairs, 0), seed=0, labels=labels)
    assert [a.comparison_id for a in read_humans(file).labels] == [pairs[5].id]
    with pytest.raises(UserError, match="packaged ones: name the file"):
        read_humans(write(tmp_path / "b.json"))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"form": "sha256:0"}, "was made of other pairs than these 8"),
        ({"seed": 4}, "was made of other pairs"),
        ({"labels": {"0" * 16: "tie"}}, "'0000000000000000' is not among the 8 pairs"),
        ({"labels": {DIGEST: "both"}}, "is 'both'; known: output_1, output_2, tie"),
        ({"labels": {}}, "no pair was labelled"),
        ({"labels": {DIGEST: None}}, "labels"),
        ({"annotator": " "}, "annotator is empty"),
        ({"schema_version": 2}, "schema_version"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_wrong_in_a_returned_file(changed, complaint, tmp_path):
    with pytest.raises(UserError) as refused:
        read_humans(write(tmp_path / "labels.json", **changed), pairs=PAIRS)
    assert complaint in str(refused.value)
    assert "labels.json" in str(refused.value)
