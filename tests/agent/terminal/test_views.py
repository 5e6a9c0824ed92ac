import io
import json
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from mllm_srec.agent.results import (
    HistoryEntry,
    IngestReport,
    Profile,
    Recommendation,
    RecommendedItem,
    Statement,
    Tokens,
    Window,
)
from mllm_srec.agent.terminal.history_view import history_view
from mllm_srec.agent.terminal.item_pictures import Pictures
from mllm_srec.agent.terminal.output import Output, PlainProgress, speed
from mllm_srec.agent.terminal.pictures import Way
from mllm_srec.agent.terminal.pieces import stars
from mllm_srec.agent.terminal.progress import bars
from mllm_srec.agent.terminal.views import (
    facts_table,
    ingest_view,
    items_view,
    next_steps,
    path_text,
    recommendation_screen,
    score_digits,
    windows_table,
)
from mllm_srec.agent.untrusted import visible, words
from mllm_srec.store.errors import StoreError

from .screen import render

HOSTILE = "[link=https://x.invalid]free[/link] \x1b]0;pwned\x07\x1b[2J\u202eeslaf\r\nsecond"
SHOWN = "[link=https://x.invalid]free[/link] \\x1b]0;pwned\\x07\\x1b[2J\\u202eeslaf second"
RED = Image.new("RGB", (96, 96), (200, 20, 30))
NONE = Pictures(lambda item_id: None, "none")

RESULT = Recommendation(
    user="u1",
    engine="vllm-server",
    model="srec-tiny",
    trace_id="ab" * 16,
    preference="strong red; rising sporty",
    profile=Profile(
        text="loves red",
        statements=(
            Statement(facet="red", strength="loves", evidence=("i1", "i2")),
            Statement(facet="wool", strength="dislikes"),
        ),
    ),
    items=(
        RecommendedItem(
            item_id="r1",
            title="Red stroller",
            score=0.91234,
            retrieval_rank=7,
            reason="It is red.",
            evidence=("i1",),
            sources=("collaborative",),
            line="stroller: red, striped",
        ),
    ),
    windows=(
        Window(item_ids=("i1", "i2"), preference="clear red", rising=("red",), fading=("wool",)),
    ),
    history=(
        HistoryEntry(item_id="i1", title="Red hat", line="hat: red", rating=5.0, timestamp=86_400),
        HistoryEntry(item_id="i2", title="", rating=None, timestamp=None),
    ),
    fallbacks=1,
    seconds={"total": 2.0, "load_user": 0.5, "score_targets": 1.5},
    engine_seconds=1.0,
    tokens={"score_targets": Tokens(calls=50, stored=2, prompt=1600, completion=50, cached=800)},
    path=("load_user", "summarize", "summarize", "score_targets"),
    notes=("This user has only a few interactions.",),
)


def test_a_recommendation_survives_its_json() -> None:
    assert Recommendation.from_dict(json.loads(json.dumps(RESULT.to_dict()))) == RESULT


def test_the_json_of_a_recommendation_has_the_promised_fields() -> None:
    data = RESULT.to_dict()
    assert data["schema"] == 1
    for name in ("user", "engine", "trace_id", "preference", "profile", "fallbacks", "seconds"):
        assert name in data
    assert data["seconds"]["total"] == 2.0
    [item] = data["items"]
    assert item["evidence"] == ["i1"]
    assert {"item_id", "score", "retrieval_rank", "reason"} <= set(item)


@pytest.mark.parametrize("data", [{}, {"schema": 99}, {"schema": 1}, {"schema": 1, "profile": {}}])
def test_what_is_no_recommendation_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"schema|not a recommendation"):
        Recommendation.from_dict(data)


def test_the_screen_tells_the_whole_way_to_the_list() -> None:
    shown = render(recommendation_screen(RESULT, NONE))
    for wanted in (
        "For u1",
        "This user has only a few interactions.",
        "★★★★★",
        "1970-01-02",
        "Red hat [i1]",
        "untitled [i2]",
        "↑red",
        "↓wool",
        "loves",
        "Red stroller [r1]",
        "score 0.912",
        "retrieval 7 → 1",
        "by collaborative",
        "because It is red.",
        "seen in Red hat",
        "load_user → summarize (2 passes) → score_targets",
        "vllm-server with srec-tiny, 50% of the time",
        "1 text is a counted form",
        "1,600",
    ):
        assert wanted in shown


def test_a_cold_user_has_a_screen_too() -> None:
    cold = replace(
        RESULT, history=(), windows=(), profile=Profile(text=""), preference="unknown yet"
    )
    shown = render(recommendation_screen(cold, NONE))
    assert "unknown yet" in shown
    assert "nothing known yet" in shown


@pytest.mark.parametrize("way", ["none", "cells"])
def test_hostile_words_stay_words_wherever_they_stand(way: Way) -> None:
    item = replace(RESULT.items[0], title=HOSTILE, reason=HOSTILE, line=HOSTILE, item_id=HOSTILE)
    hostile = replace(
        RESULT,
        user=HOSTILE,
        model=HOSTILE,
        preference=HOSTILE,
        notes=(HOSTILE,),
        items=(item,),
        windows=(
            Window(item_ids=("i",), preference=HOSTILE, rising=(HOSTILE,), fading=(HOSTILE,)),
        ),
        history=(HistoryEntry(item_id=HOSTILE, title=HOSTILE, line=HOSTILE),),
        profile=Profile(text="", statements=(Statement(facet=HOSTILE, strength=HOSTILE),)),
    )
    pictures = Pictures(lambda item_id: None, way)
    shown = render(recommendation_screen(hostile, pictures), width=2_000)
    assert SHOWN in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert "\r" not in shown


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=80), st.booleans())
def test_no_control_character_gets_through(text: str, lines: bool) -> None:
    shown = visible(text, lines=lines)
    assert all(character.isprintable() or character in "\n\u200c\u200d" for character in shown)
    shown.encode("utf-8")
    assert words(text, lines=lines).plain == shown


def test_words_of_all_scripts_come_through() -> None:
    for text in ("手推车 红色", "коляска", "عربة", "👩\u200d🍼 œ ß ñ", "ไทย"):
        assert visible(text) == text


def test_items_without_a_picture_and_damaged_ones_say_so() -> None:
    def source(item_id: str) -> Image.Image | None:
        if item_id == "i1":
            raise StoreError("the kept picture was damaged")
        return None

    shown = render(history_view(RESULT.history, Pictures(source, "cells")))
    assert "damaged" in shown
    assert "no picture" in shown


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("way", ["none", "cells"])
def test_every_width_is_respected(width: int, way: Way) -> None:
    pictures = Pictures(lambda item_id: RED, way)
    shown = render(recommendation_screen(RESULT, pictures), width=width)
    assert max(map(len, shown.splitlines())) <= width


def test_a_long_history_shows_its_end_and_counts_the_rest() -> None:
    history = [HistoryEntry(item_id=f"i{number}", title=f"thing {number}") for number in range(30)]
    shown = render(history_view(history, NONE))
    assert "… 22 earlier" in shown
    assert "thing 29" in shown
    assert "thing 21" not in shown


def test_no_more_digits_are_shown_than_the_noise_allows() -> None:
    assert [score_digits(noise) for noise in (None, 0.0, 0.001, 0.02)] == [3, 3, 2, 1]
    assert "0.91 " in render(items_view(RESULT.items, {}, NONE, digits=2))


def test_ratings_of_any_scale_are_shown() -> None:
    shown = [stars(rating).plain for rating in (None, 4.0, 3.5, 87.0, -1.0)]
    assert shown == ["", "★★★★☆", "3.5", "87", "-1"]


def test_times_that_no_calendar_has_are_shown_as_numbers() -> None:
    entry = HistoryEntry(item_id="i", title="x", timestamp=10**17)
    assert str(10**17) in render(history_view([entry], NONE))


def test_repeated_nodes_are_counted_in_the_path() -> None:
    assert path_text(["a", "b", "b", "a"]) == "a → b (2 passes) → a"
    assert path_text([]) == ""


def test_an_ingest_report_names_what_was_refused_and_where_to_read_why() -> None:
    report = IngestReport(
        items=1200,
        interactions=30_000,
        users=2000,
        fused=1200,
        rejected=3,
        pictures_rejected=0,
        left_out=7,
        fallbacks=2,
        seconds=12.34,
        engine="vllm",
        reject_file="/srv/shop/rejects.jsonl",
    )
    shown = render(ingest_view(report))
    assert "1,200  items" in shown
    assert "3  rows rejected" in shown
    assert "pictures rejected" not in shown
    assert "/srv/shop/rejects.jsonl" in shown
    assert "2 descriptions are counted forms" in shown
    assert "12.3 s with vllm" in shown
    assert "with none" not in render(ingest_view(replace(report, engine="none")))


def test_a_command_to_type_next_stands_whole_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = f"srec trace show ab --home {'/long' * 30}"
    Output(as_json=False).show(lambda _: next_steps([(command, "what happened")]))
    assert f"{command}\n   what happened" in capsys.readouterr().out


def test_a_window_of_one_item_says_so() -> None:
    window = Window(item_ids=("i1",), preference="clear red", rising=(), fading=(), fallback=False)
    shown = render(windows_table([window, replace(window, item_ids=("i1", "i2"))]))
    assert "1 (1 item) " in shown
    assert "2 (2 items)" in shown


def test_what_rises_and_fades_in_a_window_is_shown_once() -> None:
    window = Window(
        item_ids=("i1",),
        preference="clear red, wool; rising red, wool; fading oak; avoids tin",
        rising=("red", "wool"),
        fading=("oak",),
    )
    shown = render(windows_table([window]))
    assert "clear red, wool; avoids tin" in shown
    assert shown.count("oak") == 1
    assert "rising red" not in shown


def test_progress_counts_what_the_stage_goes_over() -> None:
    assert speed("interactions", 12) == "12 interactions/s"
    assert speed("fuse", 1.25) == "1.2 items/s"


def test_facts_within_facts_are_shown() -> None:
    shown = render(facts_table({"count": 3, "facts": {"model_hash": "ab"}, "problem": None}))
    assert "model hash" in shown
    assert "-" in shown
    assert render(facts_table({"running": True})).split() == ["running", "yes"]
    numbers = {"loss": 7.550997295076885, "apart": 1.0234e-05, "seconds": 12345.678}
    assert render(facts_table(numbers)).split()[1::2] == ["7.551", "1.023e-05", "12,346"]


def test_bars_keep_to_a_line_of_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with bars(console) as show:
        for done in (0, 5_000, 10_000):
            show("interactions", done, 1_000_000)
            time.sleep(0.01)
    assert isinstance(console.file, io.StringIO)
    last = console.file.getvalue().rpartition("\x1b[2K")[2]
    assert last.startswith("reading interactions ")
    assert " 10000/1000000 " in last
    assert re.search(r" [\d,]+ interactions/s [\d:]+\s*$", last.splitlines()[0])


def test_a_plain_text_is_shown_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    said = "drawn to shop [red]/:smile:.png"
    Output(as_json=False).show(lambda _: said)
    assert capsys.readouterr().out == f"{said}\n"


def test_plain_progress_says_rate_and_time_left_but_not_every_step() -> None:
    said: list[str] = []
    now = 0.0
    progress = PlainProgress(said.append, clock=lambda: now)
    for done in range(0, 101, 10):
        progress("fuse", done, 100)
        now += 1.0
    progress("reading", 7, None)
    assert said == [
        "fusing items: 0 of 100",
        "fusing items: 50 of 100, 10 items/s, 5 s left",
        "fusing items: 100 of 100, 10 items/s",
        "reading: 7",
    ]
