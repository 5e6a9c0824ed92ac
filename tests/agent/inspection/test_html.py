"""The page of a trace: whole, self-contained, and deaf to what catalogues and models write."""

import base64
import hashlib
import html
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from mllm_srec.agent.graph import build_graph
from mllm_srec.agent.inspection.html import html_page
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.inspection.records import TraceRecord
from mllm_srec.agent.inspection.sections import tabled_items
from mllm_srec.agent.terminal.graph_picture import EDGES, NODES, draw
from mllm_srec.store.spans import Event, Span

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'; alert(1); '",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<base href=//evil.example><link rel=stylesheet href=//evil.example>",
    "<!-- --><iframe srcdoc='<script>alert(1)</script>'>",
    "\u202etxet\x1b[31m\x00",
)


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (24, 24), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


PICTURE = png()
ADDRESS = hashlib.sha256(PICTURE).hexdigest()


def trace(text: str) -> TraceRecord:
    """A trace with a text in every place that others can write to."""

    def span(number: int, name: str, kind: str, **more: object) -> Span:
        values = {
            "trace_id": "ab" * 16,
            "span_id": f"{number:016x}",
            "parent_id": None if number == 1 else "0" * 15 + ("1" if kind == "CHAIN" else "2"),
            "start_ns": 1_700_000_000_000_000_000 + number,
            "end_ns": 1_700_000_000_500_000_000,
            "status": "OK",
            **more,
        }
        return Span(name=name, kind=kind, **values)  # type: ignore[arg-type]

    part = "llm.input_messages.0.message.contents"
    call = {
        "llm.input_messages.0.message.role": text,
        f"{part}.0.message_content.type": "image",
        f"{part}.0.message_content.image.image.url": f"sha256:{ADDRESS}",
        f"{part}.0.srec.picture": f"{text} 24x24",
        f"{part}.1.message_content.type": "text",
        f"{part}.1.message_content.text": text,
        "llm.output_messages.0.message.content": text,
        f"srec.logprob.{text}": -1.0,
    }
    quoted = json.dumps(text)
    update = (
        f'{{"history": [{{"item_id": {quoted}}}], "candidates": [{{"item_id": {quoted}, '
        f'"retrieval_rank": 1, "retrieval_score": 0.5, "sources": {{{quoted}: 0.5}}, "score": 1.0, '
        f'"logit": 1.0, "probability": 0.7}}], "windows": [{{"start": 0, "stop": 1, "preference": '
        f'{{{quoted}: [{quoted}]}}, "fallback": true}}], "profile": [{{"value": {quoted}, '
        f'"strength": {quoted}, "item_ids": [{quoted}]}}], "reasons": [{{"item_id": {quoted}, '
        f'"reason": {quoted}, "evidence": [{quoted}], "fallback": false}}]}}'
    )
    root = {
        "user.id": text,
        "srec.engine": text,
        "llm.model_name": text,
        "srec.parent": text,
        "srec.path": ("load_user",),
        "srec.model.hash": text,
        "input.value": quoted,
    }
    return read_trace(
        [
            span(1, text or "run", "AGENT", attributes=root, status="ERROR", message=text),
            span(
                2,
                "load_user",
                "CHAIN",
                attributes={"output.value": update},
                events=(Event(text, 1, {"note": text}),),
                message=text,
            ),
            span(3, "generate", "LLM", attributes=call, message=text),
        ]
    )


def find(digest: str) -> bytes | None:
    return PICTURE if digest == ADDRESS else None


class Seen(HTMLParser):
    """What a browser would find: elements, their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(text: str) -> None:
    plain, hostile = (
        Seen(html_page(trace(each), find, titles={each: each})) for each in ("kite", text)
    )
    assert hostile.tags == plain.tags
    assert [name for name, _ in hostile.attributes] == [name for name, _ in plain.attributes]
    assert not any(name.startswith("on") for name, _ in hostile.attributes)
    assert "49" not in hostile.text or "49" in plain.text
    assert "\x1b" not in hostile.text
    assert "\u202e" not in hostile.text


def test_nothing_is_requested_and_nothing_may_run() -> None:
    page = Seen(html_page(trace("https://evil.example/x.png"), find))
    allowed = {"href": r"#step-\d+", "src": r"data:image/png;base64,[A-Za-z0-9+/=]+"}
    for name, value in page.attributes:
        if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
            assert re.fullmatch(allowed[name], value)
        assert "url(" not in value or re.fullmatch(r"url\(#(tip|lit)\)", value)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form", "base"}


def test_the_policy_allows_the_style_of_the_page_and_pictures_as_data_alone() -> None:
    page = html_page(trace("kite"), find)
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "@import" not in style
    assert "url(" not in style
    assert " style=" not in page


def test_the_page_shows_pictures_tables_and_the_path() -> None:
    page = html_page(trace("kite"), find)
    shown = Seen(page)
    assert page.count("data:image/png;base64,") == 1
    for wanted in ("Scores", "Profile", "Reasons", "Preference, window by window", "24x24"):
        assert wanted in shown.text
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_tables_of_the_page_name_items_by_their_titles() -> None:
    titles = dict.fromkeys(tabled_items(trace("i7")), "Blue Kite")
    page = html_page(trace("i7"), find, titles=titles)
    # In the tables of the scores and of the reasons; a cited item is no row of its own.
    assert page.count('<td>i7<br><span class="soft">Blue Kite</span></td>') == 2


def test_a_picture_that_is_no_picture_is_shown_as_missing() -> None:
    for content in (None, b"not a picture", PICTURE[:40], b"<svg onload=alert(1)>"):
        page = html_page(trace("kite"), lambda _, content=content: content)  # type: ignore[misc]
        assert "not here: lost, or left out" in page
        assert "data:image" not in page.replace("img-src data:", "")


def test_the_drawn_graph_is_the_graph() -> None:
    drawn = build_graph().compile().get_graph()
    inner = [name for name in drawn.nodes if not name.startswith("__")]
    edges = {(e.source, e.target) for e in drawn.edges if {e.source, e.target} <= set(inner)}
    assert set(NODES) == set(inner)
    assert set(EDGES) == edges


def test_the_taken_path_is_lit_and_another_graph_is_drawn_by_its_path() -> None:
    path = ("load_user", "fuse_items", "summarize_preferences", "summarize_preferences")
    lit = draw(path, {"load_user": "step-1"})
    assert [line.passes for line in lit.lines] == [1, 0, 1, 1, 0, 0, 0, 0]
    assert {box.name: box.passes for box in lit.boxes}["summarize_preferences"] == 2
    other = draw(("understand", "act", "answer"), {})
    assert [box.name for box in other.boxes] == ["understand", "act", "answer"]
    assert len(other.lines) == 2


def chromium(*arguments: str, folder: Path) -> str:
    """Run a headless Chromium; skipped where there is none, unless `.ci/run` says there is."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        if os.environ.get("SREC_CHROMIUM") == "required":
            pytest.fail("SREC_CHROMIUM is 'required', and no Chromium is on the path")
        pytest.skip("no Chromium on this machine: the page is not rendered")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
    done = subprocess.run(
        [program, *options, *quiet, f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


# Reads off each frame: its width, what its page takes, requests, scripts, title, element names.
READ = """<script>addEventListener("load", () => {
  const read = frame => { const page = frame.contentDocument; return [
    frame.clientWidth, page.documentElement.scrollWidth,
    frame.contentWindow.performance.getEntriesByType("resource").length, page.scripts.length,
    page.title, [...page.images].filter(image => image.naturalWidth == 24).length]; };
  document.body.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(read));
})</script>"""


def test_a_browser_lays_the_page_out_at_both_widths_and_runs_nothing(tmp_path: Path) -> None:
    hostile = "<script>document.title='owned'</script><img src=https://evil.example/x.png>"
    text = f"{hostile} {'W' * 140}"
    page = html.escape(html_page(trace(text), find))
    frames = "".join(
        f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>'
        for width in (390, 1200)
    )
    around = tmp_path / "around.html"
    around.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}{READ}", "utf-8")
    dom = chromium("--dump-dom", around.as_uri(), folder=tmp_path)
    seen = json.loads(html.unescape(dom.partition("<body>")[2].partition("</body>")[0]))
    assert [width for width, *_ in seen] == [390, 1200]
    for width, taken, requests, scripts, title, pictures in seen:
        assert taken <= width
        assert (requests, scripts, pictures) == (0, 0, 1)
        assert title.startswith("<script>document.title=")


@pytest.mark.parametrize(
    ("size", "scheme", "ground"),
    [((390, 844), 0, (0x11, 0x16, 0x1C)), ((1200, 900), 1, (0xFF, 0xFF, 0xFF))],
)
def test_a_browser_draws_the_page_in_dark_and_in_light(
    tmp_path: Path, size: tuple[int, int], scheme: int, ground: tuple[int, int, int]
) -> None:
    page, picture = tmp_path / "trace.html", tmp_path / "trace.png"
    page.write_text(html_page(trace("kite"), find), "utf-8")
    chromium(
        f"--screenshot={picture}",
        f"--window-size={size[0]},{size[1]}",
        f"--blink-settings=preferredColorScheme={scheme}",
        page.as_uri(),
        folder=tmp_path,
    )
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
        assert image.getpixel((2, 2)) == ground
        # The graph, the bars and the texts.
        assert len(image.getcolors(1 << 24) or []) > 20
