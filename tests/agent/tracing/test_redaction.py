"""What is written into a trace file, and above all what is not: read as raw bytes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mllm_srec.agent.conversation.conversation import Conversations
from mllm_srec.agent.ingest import fuse_missing
from mllm_srec.agent.inspection.reading import read_trace
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.tracing.attributes import DROPPED, EDITS, REDACTED, Attributes, as_json
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.masking import SECRET, Masks
from mllm_srec.agent.tracing.scrubbing import leave_out
from mllm_srec.agent.tracing.tracer import EXPIRE_EVERY, Tracer
from mllm_srec.llm.engine import (
    Answer,
    EngineInfo,
    EngineLost,
    LabelScores,
    Message,
    Picture,
    Prompt,
    Usage,
)
from mllm_srec.llm.pictures import as_png
from mllm_srec.store.trace_notes import annotate, annotations
from mllm_srec.store.trace_retention import scrub
from mllm_srec.store.trace_search import TraceFilter, find
from mllm_srec.store.trace_settings import Part, TraceSettings, write_settings
from mllm_srec.store.traces import TraceStore
from tests.agent.conversation.talk import engine as talker
from tests.agent.shop import deploy

PICTURE = Picture(bytes(range(192)), "c0ffee", 8, 8)
PNG = as_png(PICTURE)
# In two pieces, so that nobody takes them for real ones.
KEY = "sk-" + "planted0" * 3
CLOUD_KEY = "AKIA" + "PLANTED0" * 2
# Put together: no file of the tree may hold what looks like a key.
KEY_BLOCK = "-----BEGIN {0}-----\nMIIE\n-----END {0}-----".format("PRIVATE KEY")
SECRET_BLOCK = KEY_BLOCK.replace("\nMIIE\n", SECRET)
PLANTED = {
    "OPENAI_API_KEY": "planted-in-the-environment",
    "HF_TOKEN": "hf_" + "Planted" * 4,
    "DB_PASSWORD": "correct horse battery",
}
NAMED = (
    '{"password": "hunter21 and more"}',
    '"api_key":"hunter22"',
    "{'db_password': 'hunter23'}",
    '{"token": 7654321}',
    "Password: hunter24",
    "api-key = hunter25",
    as_json({"said": '{"client_secret": "hunter26\\" still"}'}),
)
SECRETS = (
    *PLANTED.values(),
    KEY,
    "hunter2",
    "and more",
    "still",
    "7654321",
    "planted.bearer.token",
    CLOUD_KEY,
)
TEXT = (
    "A kite. postgres://shop:hunter2@db.example/shop "
    "Authorization: Bearer planted.bearer.token key " + KEY + " "
    "url?password=hunter2&x=1 " + CLOUD_KEY + " "
) + " ".join([*PLANTED.values(), *NAMED])


class Echo:
    """Answers with the words of the prompt."""

    info = EngineInfo("scripted", "1", "echo", "ab" * 32, "float32")

    async def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        return [Answer(p.messages[-1].text, Usage(1, 1), True) for p in prompts]

    async def score_labels(
        self, prompts: Sequence[Prompt], labels: Sequence[str]
    ) -> list[LabelScores]:
        return [
            LabelScores({"Yes": -0.5 * at, "No": -2.0}, Usage(1, 1)) for at, _ in enumerate(prompts)
        ]

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), 3), 1 / 3, np.float32)


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore.open(tmp_path / "traces.sqlite")


def run(tracer: Tracer, text: str = TEXT, user: str = "wilhelmina", *, noted: bool = True) -> str:
    """Trace a run that puts the text everywhere, where `noted` in a fact of a step, too.

    No step of the product has a text as a fact, and by its name it is not told from a number.
    """
    prompt = Prompt((Message("user", text, (PICTURE,)),))

    async def work() -> str:
        calls = TracedCalls(Echo())
        with tracer.run("recommend", user=user, inputs={"user": user, "q": text}) as root:
            edits: Attributes = {EDITS: as_json({"state": {"q": text}})}  # as a fork has them
            root.span.set_attributes(tracer.redaction.attributes(edits, user))
            with tracer.node("explain", inputs={"user_id": user, "text": text}) as node:
                await calls.generate([prompt], max_tokens=9)
                await calls.score_labels([prompt, prompt], ["Yes", "No"])
                await calls.embed([text])
                node.event("dropped", reason=text)
                node.record({DROPPED: as_json({"named": [{"item_id": text}]})})
                if noted:
                    node.set(note=text)
                node.output({"said": text})
            try:
                with tracer.node("fails"):
                    raise EngineLost(f"no answer from {text} for {user}")
            except EngineLost:
                root.output("went on")
        return root.trace_id

    return asyncio.run(work())


def content(store: TraceStore) -> bytes:
    """Every byte of the file and of its log, and blobs and spans as before they were packed."""
    spans = repr(store.select("")).encode()
    files = (path.read_bytes() for path in store.path.parent.glob("traces.sqlite*"))
    blobs = (bytes(key) for (key,) in store.rows("SELECT sha256 FROM blobs"))
    return b"".join([spans, *files, *(store.blob(key.hex()) or b"" for key in blobs)])


def test_secrets_never_get_in(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    trace = read_trace(store.spans(run(Tracer(store))))
    found = content(store)
    for secret in SECRETS:
        assert secret.encode() not in found
    node = trace.nodes[0]
    assert f"postgres://{SECRET}@db.example/shop" in node.calls[0].prompt
    assert "A kite." in str(node.output)


def test_words_that_are_no_secrets_stay(store: TraceStore) -> None:
    text = (
        "Mail me@example.org: token of love = 5 pk, sk-ate board, https://example.org/a@b, "
        'Victoria\'s Secret: Tease, Password Book: lined, {"max_tokens": 9, "token": null}, '
        "a [lost] film, a [redacted] report"
    )
    trace = read_trace(store.spans(run(Tracer(store), text)))
    assert trace.nodes[0].calls[0].answer == text
    assert trace.missing == ()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"password": "a b", "user": "mia"}', '{"password": "[secret]", "user": "mia"}'),
        ('{"token":123,"user":"mia"}', '{"token":[secret],"user":"mia"}'),
        ('{\\"secret\\": \\"x\\", 1}', '{\\"secret\\": \\"[secret]\\", 1}'),
        ("password: x, then", "password: [secret], then"),
        ("api_key=[secret]&y", "api_key=[secret]&y"),
        ("AWS_SECRET_ACCESS_KEY=x/y&z", "AWS_SECRET_ACCESS_KEY=[secret]&z"),
        ("postgres://shop:hun/ter2@db/shop x@y", "postgres://[secret]@db/shop x@y"),
        ("postgres://shop:p@ss/w@db/shop", "postgres://[secret]@db/shop"),
        ("http://[::1]:8080/a@b http://host:80/a@b", "http://[::1]:8080/a@b http://host:80/a@b"),
        (f"a eyJ{'x' * 9}.eyJ0.s1-g {KEY_BLOCK} b", f"a {SECRET} {SECRET_BLOCK} b"),
    ],
)
def test_what_stands_beside_a_secret_stays(text: str, left: str) -> None:
    assert Masks({}).masked(text) == left


PIECES = {"text": b"kite", "pictures": PNG, "vectors": b"0.33333334", "users": b"wilhelmina"}


@pytest.mark.parametrize("part", PIECES)
def test_each_part_is_left_out_apart(store: TraceStore, part: str) -> None:
    write_settings(store, TraceSettings(redact=frozenset({part})))  # type: ignore[arg-type]
    trace = read_trace(store.spans(run(Tracer(store), "a kite")))
    found = content(store)
    for name, piece in PIECES.items():
        assert (piece in found) is (name != part), name
    node = trace.nodes[0]
    if part == "text":
        assert node.output == node.calls[0].answer == REDACTED
        assert trace.nodes[1].error == f"EngineLost: {REDACTED}"
        assert "left out" in trace.missing[0]
        assert node.calls[1].logprobs == {"Yes": 0.0, "No": -2.0}
    if part == "pictures":
        assert node.calls[0].images == (REDACTED,)


@pytest.mark.parametrize("part", PIECES)
def test_each_part_is_taken_out_of_old_traces_to_the_last_byte(
    store: TraceStore, part: Part
) -> None:
    first = run(Tracer(store), "a kite", noted=False)
    annotate(store, first, "good")
    whole = read_trace(store.spans(first))
    other = run(Tracer(store), "a kite", user="ben", noted=False)
    assert leave_out(store, frozenset({part})) == 2
    found = content(store)
    for name, piece in PIECES.items():
        assert (piece in found) is (name != part), name
    trace = read_trace(store.spans(first))
    assert [node.step for node in trace.nodes] == [node.step for node in whole.nodes]
    assert trace.nodes[0].calls[1].logprobs == whole.nodes[0].calls[1].logprobs
    assert [each.verdict for each in annotations(store, first)] == ["good"]
    kites = {root.trace_id for root in find(store, TraceFilter(words="kite"))}
    assert kites == (set() if part == "text" else {first, other})
    assert [root.trace_id for root in find(store, TraceFilter(user="wilhelmina"))] == [first]


def test_parts_are_taken_out_of_the_traces_of_one_user(store: TraceStore) -> None:
    first, other = run(Tracer(store), "a kite"), run(Tracer(store), "a kite", user="ben")
    assert leave_out(store, frozenset({"text"}), "ben") == 1
    assert read_trace(store.spans(other)).nodes[0].output == REDACTED
    assert read_trace(store.spans(first)).missing == ()


def test_a_user_whose_id_was_left_out_is_still_found_and_deleted(store: TraceStore) -> None:
    write_settings(store, TraceSettings(redact=frozenset({"users"})))
    tracer = Tracer(store)
    run(tracer, "a kite")
    run(tracer, "a drum", user="ben")
    [root] = find(store, TraceFilter(user="wilhelmina"))
    assert "wilhelmina" not in str(root.attributes)
    assert str(root.attributes["user.id"]) in str(root.attributes["input.value"])
    assert scrub(store, "wilhelmina") == 1
    assert len(find(store, TraceFilter())) == 1


def test_the_best_margin_and_the_vectors_are_recorded(store: TraceStore) -> None:
    trace_id = run(Tracer(store), "a kite")
    trace = read_trace(store.spans(trace_id))
    assert trace.run.score == 2.0
    assert [call.margin for call in trace.nodes[0].calls] == [None, 2.0, 1.5, None]
    [embedded] = [span for span in store.spans(trace_id) if span.name == "embed"]
    vector = embedded.attributes["embedding.embeddings.0.embedding.vector"]
    assert np.array_equal(np.asarray(vector, np.float32), np.full(3, 1 / 3, np.float32))


def test_old_traces_go_by_the_settings_of_the_file(store: TraceStore) -> None:
    write_settings(store, TraceSettings(count=2))
    for _ in range(3):
        run(Tracer(store))
    tracer = Tracer(store)
    assert len(find(store, TraceFilter())) == 3
    run(tracer)
    assert len(find(store, TraceFilter())) == 3  # two stayed, and this one came
    for _ in range(EXPIRE_EVERY - 1):
        with tracer.run("recommend"):
            pass
    assert len(find(store, TraceFilter())) == EXPIRE_EVERY + 2
    with tracer.run("recommend"):
        assert len(find(store, TraceFilter())) == 3


TALK = (
    "what should I get",
    "never rubber",
    "why the first",
    "who am i to you",
    "I have the puzzle",
    "what did I get",
    "undo",
    "i am ben",
    "find a blue ball",
    "help",
)


def test_no_word_of_a_conversation_names_a_user_who_is_left_out(tmp_path: Path) -> None:
    with deploy(tmp_path / "home", talker()) as deployment:
        fuse_missing(deployment)
        with TraceStore.open(deployment.home.traces_file) as store:
            write_settings(store, TraceSettings(redact=frozenset({"users"})))
    with deploy(tmp_path / "home", talker()) as deployment:
        with Conversations(Recommender(deployment)) as talks, talks.begin("wilhelmina") as chat:
            answers = [chat.say(text).answer for text in TALK]
        with TraceStore.open(deployment.home.traces_file) as store:
            assert all(answers)
            assert b"wilhelmina" not in content(store)
