"""What is shown in a browser: drawn where the figures are, escaped, and readable by everyone."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from judges.reading import printable
from leaderboard.comparing.head_to_head import Duel
from leaderboard.judging.controls import ControlResult
from leaderboard.rows.standings import COLUMNS
from leaderboard.site.figures import MAX_NAMED, Scale, interval, nice_ticks, rate_scale, scatter
from leaderboard.site.labels import Label, _around, _box, _inside, _overlap, placed
from leaderboard.site.render import (
    MAX_PAIRED,
    Group,
    Missing,
    Report,
    category_table,
    control_table,
    duel_table,
    group_table,
    heat_map,
    keyed,
    leaderboard_table,
    page,
    published_table,
    rating_table,
    told_apart,
)
from leaderboard.site.text import brackets, count, fill, p_value, percent, points, safe_link
from leaderboard.statistics.bradley_terry import BradleyTerry, bradley_terry
from leaderboard.statistics.ranking import paired_differences, rank_intervals, ranks
from leaderboard.statistics.winrate import reference_win_rate

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Parsed(HTMLParser):
    """A page read as a browser would: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "no attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def table(preferences: np.ndarray, names: list[str]) -> tuple[pd.DataFrame, Any]:
    """A ranked table of models, and their pairs."""
    pairs = paired_differences(preferences)
    low, high = rank_intervals(pairs)
    means = preferences.mean(axis=1)
    frame = pd.DataFrame(
        {
            "rank": ranks(means),
            "rank_low": low,
            "rank_high": high,
            "model": names,
            "status": "answers submitted",
            "win_rate": means,
            "low": means - 0.03,
            "high": means + 0.03,
            "discrete_win_rate": means,
            "n_judged": preferences.shape[1],
            "n_items": preferences.shape[1],
            "mean_characters": np.linspace(100, 900, len(names)),
            "group": "",
            "link": "",
        }
    ).reindex(columns=list(COLUMNS))
    return frame.sort_values("win_rate", ascending=False), pairs


def spread_out(n: int, seed: int = 0) -> np.ndarray:
    """Preferences of n models from bad to good, on 60 instructions."""
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (n, 60))
    return np.linspace(0.15, 0.85, n)[:, None] + noise


def report(**changes: Any) -> Report:
    names = ["good", "fair", "bad"]
    frame, pairs = table(spread_out(3)[::-1], names)
    whole = Report(
        title="Toy",
        name="toy",
        note="A note.",
        private=False,
        references=("base",),
        judges={"checklist": {"kind": "checklist"}},
        n_instructions=60,
        orders="both",
        date="2026-01-02",
        version="0.1.0",
        board_hash="sha256:" + "0" * 64,
        frame=frame,
        headline="win_rate",
        length_columns=(),
        models=names,
        pairs=pairs,
        resolution=0.05,
        guarded=(),
        categories=[part("good", "even", 0.7), part("good", "odd", 0.9)],
        duels=[met("good", "bad")],
        strengths=strengths("bad", "base", "good"),
        published=[["model", "win rate"], ["theirs", "12.3"]],
        groups=(seeds("dpo", "a, b"),),
        controls=(ControlResult("null", 0.2, 0.1, 0.3, "below", "passed"),),
        controls_absent="",
        left_out={"part": "partial: 5 of 60 instructions"},
        missing=(lost("bad", "unparsed: 1"),),
        settings={"seed": "0"},
        hashes={"settings": "sha256:1"},
        methods="A paragraph.",
        bibliography="@software{herdbook}",
    )
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def whole() -> str:
    return page(report())


def seeds(name: str, models: str, mean: float = 0.6) -> Group:
    return Group(name=name, models=models, n_seeds=2, mean=mean, low=0.5, high=0.7, seed_sd=0.02)


def part(model: str, category: str, rate: float, n_judged: int = 30) -> dict[str, Any]:
    ends = {"low": rate - 0.1, "high": rate + 0.1}
    return {"category": category, "model": model, "n_items": 30, "n_judged": n_judged} | {
        "win_rate": rate, **ends,
    }  # fmt: skip


def met(a: str, b: str) -> Duel:
    rate = replace(reference_win_rate(12), value=0.75, low=0.6, high=0.85)
    return Duel(a=a, b=b, rate=rate, p_value=0.01, p_holm=0.01, n_comparisons=1)


def strengths(one: str, anchor: str, other: str) -> BradleyTerry:
    meetings = [(anchor, one, 0.3), (anchor, other, 0.7), (one, other, 0.8)]
    battles = [
        {"instruction_id": str(n), "model_1": a, "model_2": b, "preference": p + 0.01 * n}
        for a, b, p in meetings
        for n in range(6)
    ]
    return bradley_terry(pd.DataFrame(battles), anchor=anchor)


def lost(model: str, why: str) -> Missing:
    return Missing(model=model, n=1, n_verdicts=60, why=why, bound_low=0.1, bound_high=0.2)


# ------------------------------------------------------------------------------------------ figures
@given(st.lists(st.floats(0, 1) | st.just(math.nan)))
def test_a_scale_holds_its_rates_and_the_even_line(rates):
    scale = rate_scale(rates)
    assert 0 <= scale.low < 0.5 < scale.high <= 1
    for rate in rates:
        assert math.isnan(rate) or scale.low <= rate <= scale.high


def test_a_scale_maps_its_ends_to_its_ends():
    scale = Scale(0.2, 0.8, 10, 110)
    assert [scale.at(rate) for rate in (0.2, 0.5, 0.8)] == [10, 60, 110]


def test_an_interval_is_drawn_where_it_lies():
    drawn = interval(0.5, 0.25, 0.75, Scale(0.0, 1.0, 0, 100), "words")
    assert 'cx="50.0"' in drawn
    assert 'x1="25.0"' in drawn
    assert 'x2="75.0"' in drawn
    assert "<title>words</title>" in drawn


def test_what_is_missing_is_not_drawn():
    drawn = interval(math.nan, math.nan, math.nan, Scale(0.0, 1.0), "nothing")
    assert "<circle" not in drawn
    assert "<line" not in drawn


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_ticks_are_few_and_hold_both_ends(a, b):
    low, high = sorted((a, b))
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] > high
    assert 2 <= len(ticks) <= 9


PLACE = st.tuples(st.floats(60, 740), st.floats(20, 370))


@given(st.lists(st.tuples(PLACE, st.text("abc", min_size=1, max_size=12)), max_size=25))
def test_no_label_lies_on_another_nor_on_a_point_nor_outside(labelled):
    plot = (52, 16, 744, 376)
    at = [point for point, _ in labelled]
    labels = placed(at, [text for _, text in labelled], plot)
    assert [label.text for label in labels if label.text] == [
        text for (_, text), label in zip(labelled, labels, strict=True) if label.text
    ]
    boxes = [(n, _box(x.x, x.y, x.anchor, x.text)) for n, x in enumerate(labels) if x.text]
    for n, box in boxes:
        shrunk = (box[0] + 0.2, box[1] + 0.2, box[2] - 0.2, box[3] - 0.2)  # places are rounded
        assert _inside(shrunk, plot)
        dots = [_around(*point, 5.8) for k, point in enumerate(at) if k != n]
        others = [other for k, other in boxes if k != n]
        assert not any(_overlap(shrunk, other) for other in [*dots, *others])


def test_a_label_stands_right_of_a_lonely_point():
    assert placed([(100, 100)], ["a"], (0, 0, 744, 376)) == [Label("a", 108, 104)]


def test_few_points_are_named_and_many_are_numbered():
    few, many = (keyed(table(spread_out(n), [f"m{k}" for k in range(n)])[0]) for n in (3, 20))
    assert MAX_NAMED < 20
    assert len(re.findall(r'class="label"[^>]*>m\d', scatter(few))) == 3
    assert "m0" in scatter(many).partition('class="keys"')[2]
    assert not re.findall(r'class="label"[^>]*>m\d', scatter(many))


def test_one_point_makes_no_scatter():
    rows = keyed(table(spread_out(2), ["a", "b"])[0])
    assert scatter(rows.head(1)) == ""
    assert scatter(rows.assign(mean_characters=math.nan)) == ""


# ------------------------------------------------------------------------------------------- tables
def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr.*?</tr>", html, re.S)
    found = [re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.S) for row in rows]
    return [[" ".join(re.sub("<.*?>", " ", cell).split()) for cell in row] for row in found]


def test_the_table_holds_the_figures_in_their_order():
    frame, _ = table(spread_out(3), ["a", "b", "c"])
    body = cells(leaderboard_table(keyed(frame)))[1:]
    assert [row[1] for row in body] == ["c", "b", "a"], "and no number that looks like a rank"
    top = frame.iloc[0]
    assert body[0][2] == f"{percent(top['win_rate'])} {brackets(top['low'], top['high'])}"
    assert body[0][0] == "1"
    assert body[0][-2:] == ["60/60", "answers submitted"]


def test_the_headline_stands_first_beside_its_drawing():
    frame, _ = table(spread_out(2), ["a", "b"])
    frame = frame.assign(lc_joint=[0.9, math.nan], lc_joint_low=[0.8, math.nan])
    frame["lc_joint_high"] = [0.95, math.nan]
    html = leaderboard_table(keyed(frame), "lc_joint", ["lc_joint"])
    assert "b: 90.0 %, 95 % interval 80.0 to 95.0" in html
    header, first, second = cells(html)
    assert header[2] == "lc_joint % [95 % interval]"
    assert header[3].startswith("lc_joint, drawn")
    assert header[4] == "Win rate % [95 % interval]"
    assert first[2] == "90.0 [80.0, 95.0]"
    top = frame.iloc[0]
    assert first[4] == f"{percent(top['win_rate'])} {brackets(top['low'], top['high'])}"
    assert second[2] == "–"
    assert {len(row) for row in (header, first, second)} == {9}, "a cell for every header"


def test_the_other_columns_follow_a_headline_of_win_rates():
    frame, _ = table(spread_out(2), ["a", "b"])
    frame = frame.assign(lc_joint=0.9, lc_joint_low=0.8, lc_joint_high=0.95)
    header, first, _ = cells(leaderboard_table(keyed(frame), "win_rate", ["lc_joint"]))
    assert [name.split(" %")[0] for name in header[2:5:2]] == ["Win rate", "lc_joint"]
    assert first[4] == "90.0 [80.0, 95.0]"


def test_a_constant_answer_is_marked_and_explained():
    frame, _ = table(spread_out(2), ["a", "b"])
    frame = frame.assign(lc_joint=0.9, lc_joint_low=0.8, lc_joint_high=0.95)
    html = leaderboard_table(keyed(frame), "win_rate", ["lc_joint"], ["a"])
    assert [row[4].partition("[")[0].strip() for row in cells(html)[1:]] == ["90.0", "90.0 †"]
    assert 'id="guarded">† A constant answer' in html
    plain = leaderboard_table(keyed(frame), "win_rate", ["lc_joint"])
    assert "†" not in plain


def test_the_reference_has_no_interval():
    frame, _ = table(spread_out(2), ["a", "b"])
    of_reference = {"status": "reference", "win_rate": 0.5, "low": 0.5, "high": 0.5}
    html = leaderboard_table(keyed(frame.head(1).assign(**of_reference)))
    assert cells(html)[1][2] == "50.0"
    assert "b: 50.0 %, by definition" in html


def test_categories_have_a_column_each_and_the_models_a_row():
    records = [part(m, c, 0.5, n) for c in ("x", "y") for m, n in (("a", 30), ("b", 0))]
    html = category_table([r | {"n_items": 1 if r["category"] == "y" else 30} for r in records])
    assert cells(html)[0] == ["Model", "x 30 instructions", "y 1 instruction"]
    assert cells(html)[1] == ["a", "50.0 [40.0, 60.0]", "50.0 [40.0, 60.0]"]
    assert cells(html)[2] == ["b", "50.0", "50.0"]
    assert category_table(records[:2]) == category_table([]) == "", "one category says nothing"


def test_rows_that_met_and_their_ratings():
    assert cells(duel_table([met("a", "b")]))[1] == ["a", "75.0 [60.0, 85.0]", "b", "12/12"]
    assert duel_table([]) == rating_table(None) == ""
    html = rating_table(strengths("a", "base", "b"))
    assert [row[0] for row in cells(html)[1:]] == ["b", "base", "a"], "best first"
    assert cells(html)[2][1] == "1000", "by definition"
    assert "From 18 verdicts on answers to 6 instructions" in html


def test_published_figures_are_shown_as_they_are():
    html = published_table([["model", "rate", "mode"], ["x", "12.3", "dev"], ["y", "", "own"]])
    assert cells(html)[1:] == [["x", "12.3", "dev"], ["y", "", "own"]]
    assert html.count('class="number"') == 3
    assert published_table([]) == published_table([["model"]]) == ""


def test_an_unranked_row_says_so_and_is_hollow():
    frame, _ = table(spread_out(2), ["a", "b"])
    frame["rank"] = frame["rank"].astype("Int64")
    frame.loc[frame["model"] == "a", ["rank", "rank_low", "rank_high"]] = pd.NA
    html = leaderboard_table(keyed(frame))
    assert cells(html)[2][0] == "–"
    assert cells(html)[2][-1] == "answers submitted, not ranked"
    assert html.count("hollow") == 1


def test_pairs_that_cannot_be_told_apart_are_in_brackets_and_without_a_shade():
    preferences = spread_out(4)
    preferences[1] = preferences[0] + 0.001 * np.sign(np.arange(60) % 2 - 0.5)
    frame, pairs = table(preferences, ["a", "b", "c", "d"])
    html = heat_map(keyed(frame), ["a", "b", "c", "d"], pairs)
    body = [row[1:] for row in cells(html)[1:]]
    assert [row[n] for n, row in enumerate(body)] == ["itself"] * 4
    assert body[2][3] == body[3][2] == "(0.0)"
    assert body[0][1].startswith("+")
    assert body[1][0] == body[0][1].replace("+", "−"), "the two halves mirror each other"
    shades = re.findall(r'<td class="(up|down)(\d)" title="[^"]*">([^<(]+)<', html)
    assert len(shades) == 2 * told_apart(pairs)[0] == 10
    for side, shade, text in shades:
        assert (side == "up") == text.startswith("+")
        size = abs(float(text.replace("−", "-")))
        assert int(shade) == 1 + sum(size >= step for step in (5, 15, 30))


def test_the_matrix_holds_the_best_rows_and_says_so():
    n = MAX_PAIRED + 5
    names = [f"m{k:02d}" for k in range(n)]
    frame, pairs = table(spread_out(n), names)
    html = heat_map(keyed(frame), names, pairs)
    assert f"The best {MAX_PAIRED} of {n} ranked rows are shown" in html
    assert "m34" in html
    assert "m04" not in html
    assert len(cells(html)) == MAX_PAIRED + 1


def test_the_matrix_says_what_its_numbers_are():
    frame, pairs = table(spread_out(2), ["a", "b"])
    assert "Points of win rate that the row" in heat_map(keyed(frame), ["a", "b"], pairs)
    html = page(
        report(headline="lc_joint", frame=joined(report().frame), length_columns=["lc_joint"])
    )
    text = " ".join("".join(Parsed(html).text).split())
    assert "Pairs, by lc_joint" in text
    assert "Each cell is the row’s lc_joint less the column’s, in points." in text
    assert "Student’s t test" in text
    assert "ranked by lc_joint" in text
    assert "no ranks" in text


def joined(frame: pd.DataFrame) -> pd.DataFrame:
    rate = frame["win_rate"]
    return frame.assign(lc_joint=rate, lc_joint_low=rate - 0.1, lc_joint_high=rate + 0.1)


def test_one_pair_is_no_list():
    frame, pairs = table(spread_out(2), ["a", "b"])
    html = page(report(frame=frame, models=["a", "b"], pairs=pairs))
    assert "The two rows can be told apart" in html
    same, pairs = table(np.full((2, 60), 0.5), ["a", "b"])
    html = page(report(frame=same, models=["a", "b"], pairs=pairs))
    assert "The two rows cannot be told apart" in html


def test_pairs_without_a_common_instruction_have_no_difference():
    preferences = np.array([[0.9, np.nan], [np.nan, 0.2]])
    frame, _ = table(np.nan_to_num(preferences), ["a", "b"])
    html = heat_map(keyed(frame), ["a", "b"], paired_differences(preferences))
    assert "no judged instruction in common" in html


def test_a_group_of_one_seed_has_a_mean_and_no_interval():
    nan = math.nan
    alone = replace(seeds("sft", "a", 0.4), n_seeds=1, low=nan, high=nan, seed_sd=nan)
    assert cells(group_table([alone]))[1][2:6] == ["40.0", "–", "–", "1"]


def test_controls_say_in_words_how_they_fared():
    control = ControlResult("gold", 0.4, 0.3, 0.45, "above", "failed")
    guarded = ControlResult("null", 0.1, 0.0, 0.2, "below", "failed", "lc_joint", 0.04)
    body = cells(control_table([control, guarded]))
    assert body[1][-2:] == ["wholly above 50 %", "✗ failed"]
    assert body[2][0] == "null by lc_joint"
    assert body[2][-1] == "✗ failed: +4.0 points by length control"
    assert "Not judged: echo, truncated, padded, injected." in control_table([control, guarded])


def test_text_of_figures():
    assert (percent(0.12345), percent(math.nan)) == ("12.3", "–")
    assert (points(0.012), points(-0.012), points(-0.0001)) == ("+1.2", "−1.2", "0.0")
    assert (brackets(0.1, 0.25), brackets(0.5, 0.5), brackets(math.nan, 1)) == (
        "[10.0, 25.0]",
        "",
        "",
    )
    assert (count(1, "row"), count(1200, "row")) == ("1 row", "1,200 rows")
    assert (p_value(0.0421), p_value(1e-9)) == ("p = 0.042", "p < 0.0001")


def test_a_template_with_something_undefined_is_an_error():
    with pytest.raises(UndefinedError):
        fill("interval", x=1)


# ----------------------------------------------------------------------------------------- the page
def test_the_page_is_sound_and_shows_every_section(whole):
    parsed = Parsed(whole)
    assert whole.startswith("<!DOCTYPE html>\n<html lang=")
    assert [a["id"] for a in parsed.of("h2")] == [
        "table", "pairs", "categories", "head-to-head", "length", "groups", "published",
        "controls", "missing", "configuration", "figures", "methods",
    ]  # fmt: skip
    assert len(parsed.of("h1")) == 1
    text = "".join(parsed.text)
    for part in ("A note.", "partial: 5 of 60", "unparsed: 1", "A paragraph.", "2026-01-02"):
        assert part in text


def test_sections_without_content_are_left_out():
    frame, pairs = table(spread_out(1), ["alone"])
    html = page(
        report(
            frame=frame,
            models=["alone"],
            pairs=pairs,
            resolution=None,
            categories=[],
            duels=[],
            strengths=None,
            published=[],
            groups=(),
            controls=(),
            controls_absent="controls: not judged",
            left_out={},
            missing=(),
        )
    )
    ids = [a["id"] for a in Parsed(html).of("h2")]
    gone_ids = {"pairs", "length", "groups", "categories", "head-to-head", "published"}
    assert not gone_ids & set(ids)
    for gone in [f"#{name}" for name in gone_ids]:
        assert gone not in html
    for part in ("controls: not judged", "No verdict is missing.", "is in the table."):
        assert part in html


def test_the_page_asks_the_network_for_nothing(whole):
    parsed = Parsed(whole)
    names = {tag for tag, _ in parsed.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "image", "use"}
    assert not re.search(r"url\(|@import|@font-face", whole)
    assert not any({"src", "srcset"} & set(attributes) for _, attributes in parsed.elements)
    policies = [a["content"] for a in parsed.of("meta") if a.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_page_can_be_read_without_sight_and_without_a_mouse(whole):
    parsed = Parsed(whole)
    for attributes in parsed.of("svg"):
        assert attributes.get("role") == "img" or attributes.get("aria-hidden") == "true"
    assert len(re.findall(r'<svg[^>]*role="img"[^>]*>\s*<title', whole)) == whole.count(
        'role="img"'
    )
    boxes = [a for _, a in parsed.elements if a.get("class") == "scroll"]
    assert len(boxes) >= 5
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in boxes)
    labels = [a["aria-label"] for a in boxes]
    assert len(set(labels)) == len(labels)
    assert all("scope" in a for a in parsed.of("th"))
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(set(ids)) == len(ids)
    for _, attributes in parsed.elements:
        for name in str(attributes.get("aria-labelledby") or "").split():
            assert name in ids
        if (attributes.get("href") or "").startswith("#"):
            assert str(attributes["href"])[1:] in ids


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></svg><b>bold",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe\u2066\u200f\x1b[31m\x00",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_stranger_leaves_its_place(whole, text):
    names = [f"{n}{text}" for n in range(3)]
    frame, pairs = table(spread_out(3), names)
    html = page(
        report(
            title=text,
            name=text,
            note=text,
            references=(text,),
            judges={text: {text: text}},
            orders=text,
            date=text,
            frame=frame.assign(status=text, link=text),
            models=names,
            pairs=pairs,
            categories=[part(text, f"{text}{k}", 0.5) for k in range(2)],
            duels=[met(text, text)],
            strengths=strengths(f"1{text}", f"2{text}", f"3{text}"),
            published=[[text, text], [text, text]],
            groups=(seeds(text, text),),
            left_out={text: text},
            missing=(lost(text, text),),
            settings={text: text},
            hashes={text: text},
            methods=text,
            bibliography=text,
        )
    )
    parsed = Parsed(html)
    plain = Parsed(whole)
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in plain.elements]
    for (_, attributes), (_, expected) in zip(parsed.elements, plain.elements, strict=True):
        assert set(attributes) == set(expected)
    assert {c for c in html if not c.isprintable()} == {"\n"}
    shown = "".join(parsed.text)
    assert shown.count(printable(text)) > 20
    assert "".join(plain.text).count(printable(text)) == 0


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "http://x.example",
        "//x.example", "https:", "https://", "ftp://x.example", "https://x.example/ y",
        'https://x.example/"onclick="x', "https://x.example/<b>", "\thttps://x.example",
        "https://[x", "https://ex\u202eample.org", "", "/relative", "vbscript:x",
    ],
)  # fmt: skip
def test_no_link_but_to_an_https_page(link):
    assert safe_link(link) == ""
    frame, _ = table(spread_out(2), ["a", "b"])
    assert "<a " not in leaderboard_table(keyed(frame.assign(link=link)))


def test_a_safe_link_is_a_link():
    link = "https://x.example/a?b=1&c=2#d"
    frame, _ = table(spread_out(2), ["a", "b"])
    html = leaderboard_table(keyed(frame.assign(link=link)))
    assert Parsed(html).of("a") == [
        {"href": link, "rel": "noopener noreferrer"},
        {"href": link, "rel": "noopener noreferrer"},
    ]


# ---------------------------------------------------------------------------------------- the style
def colours(whole: str, dark: bool) -> dict[str, str]:
    light, _, rest = whole.partition("prefers-color-scheme: dark")
    found = dict(re.findall(r"--(\w+): (#\w{6})", rest if dark else light))
    assert len(found) > 15
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, two: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_the_contrast_that_wcag_asks_for(whole, dark):
    """WCAG 2.2: 4.5 for text (AA), 3 for what a drawing says."""
    c = colours(whole, dark)
    for text in ("text", "muted", "link", "bad", "good"):
        assert contrast(c[text], c["page"]) >= 4.5, text
    for text in ("text", "muted"):
        assert contrast(c[text], c["panel"]) >= 4.5, text
    assert contrast(c["text"], c["warn"]) >= 4.5
    assert contrast(c["link"], c["warn"]) >= 4.5
    for shade in range(1, 5):
        for side in ("up", "down"):
            assert contrast(c["ink"], c[f"{side}{shade}"]) >= 4.5, (side, shade)
    for mark in ("page", "side"):
        assert contrast(c["mark"], c[mark]) >= 3
    assert contrast(c["even"], c["page"]) >= 2.5


def test_a_table_that_goes_on_has_a_shadow_at_its_edge(whole):
    box = re.search(r"\n\.scroll \{(.*?)\}", whole, re.S)
    assert box
    assert box[1].count("var(--edge)") == box[1].count("no-repeat scroll") == 2
