"""`ChatMLLM` against LangChain's own standard tests, and what is ours of it."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import llguidance
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from langchain_tests.unit_tests import ChatModelUnitTests
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from mllm_srec.agent.chat_model import ChatMLLM
from mllm_srec.agent.errors import DeadlineExceeded
from mllm_srec.agent.tool_calls import ToolChoice
from mllm_srec.llm.answer_schema import closed
from mllm_srec.llm.engine import EngineLost, Prompt
from mllm_srec.llm.scripted import ScriptedEngine
from mllm_srec.llm.structured import InvalidAnswer
from tests.agent.shop import work_until_stopped

PATIENCE_S = 60


class TestStandard(ChatModelUnitTests):
    """LangChain's standard unit tests."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMLLM

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"engine": ScriptedEngine(answer=lambda prompt: "hello")}

    @property
    def supports_image_inputs(self) -> bool:
        return True


class Price(BaseModel):
    """A price."""

    amount: float
    currency: str


@tool
def stock(item_id: str) -> int:
    """How many of an item there are."""
    return len(item_id)


def model(answer: str | Callable[[Prompt], str], **options: Any) -> ChatMLLM:
    reply = (lambda prompt: answer) if isinstance(answer, str) else answer
    return ChatMLLM(engine=ScriptedEngine(answer=reply), **options)


def asked(model: ChatMLLM) -> Prompt:
    engine = model.engine
    assert isinstance(engine, ScriptedEngine)
    return engine.generated[-1]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 20, 20)).save(file, "PNG")
    return file.getvalue()


def test_an_answer_says_what_it_cost_and_who_gave_it() -> None:
    message = model("a red ball").invoke("What is it?")
    assert message.content == "a red ball"
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 3
    assert message.response_metadata["engine"] == "scripted"
    assert message.response_metadata["finish_reason"] == "stop"
    assert (
        model("a red ball", max_tokens=2).invoke("?").response_metadata["finish_reason"] == "length"
    )


def test_messages_keep_their_roles_and_neighbours_of_one_role_are_joined() -> None:
    chat = model("fine")
    call = {"name": "stock", "args": {"item_id": "i1"}, "id": "c1"}
    chat.invoke(
        [
            SystemMessage("Be brief."),
            HumanMessage("How many of i1?"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("2", name="stock", tool_call_id="c1"),
            HumanMessage("And?"),
        ]
    )
    assert [(each.role, each.text) for each in asked(chat).messages] == [
        ("system", "Be brief."),
        ("user", "How many of i1?"),
        ("assistant", '{"tool": "stock", "arguments": {"item_id": "i1"}}'),
        ("user", "Result of the tool stock:\n2\n\nAnd?"),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "base64": base64.b64encode(png()).decode(), "mime_type": "image/png"},
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png()).decode()}"},
        },
    ],
)
def test_pictures_reach_the_model(part: dict[str, Any]) -> None:
    chat = model("red")
    chat.invoke([HumanMessage([{"type": "text", "text": "Which colour?"}, part])])
    [picture] = asked(chat).pictures
    assert (picture.width, picture.height) == (40, 40)


def test_nothing_is_fetched_and_no_other_part_is_dropped_in_silence() -> None:
    address = {"type": "image", "url": "https://example.invalid/a.png"}
    with pytest.raises(ValueError, match="base64"):
        model("").invoke([HumanMessage([address])])
    with pytest.raises(ValueError, match="audio"):
        model("").invoke([HumanMessage([{"type": "audio", "base64": "AAAA"}])])
    with pytest.raises(ValueError, match="last message"):
        model("").invoke([HumanMessage("a"), AIMessage("b")])


def test_a_tool_is_called_with_arguments_from_the_models_answer() -> None:
    chat = model('{"tool": "stock", "arguments": {"item_id": "i1"}}')
    message = chat.bind_tools([stock]).invoke("How many of i1?")
    [call] = message.tool_calls
    assert (call["name"], call["args"]) == ("stock", {"item_id": "i1"})
    assert "How many of an item there are." in asked(chat).messages[0].text
    assert stock.invoke(call).content == "2"


def test_a_model_that_may_choose_can_answer_in_words() -> None:
    bound = model('{"answer": "Two."}').bind_tools([stock])
    assert bound.invoke("How many?").content == "Two."
    must = model('{"answer": "Two."}').bind_tools([stock], tool_choice="any")
    [broken] = must.invoke("How many?").invalid_tool_calls
    assert broken["error"] == "it calls none of stock"


@pytest.mark.parametrize(
    "answer", ['{"tool": "stock", "argu', "no", '{"tool":"rm","arguments":{}}']
)
def test_a_call_that_cannot_be_read_is_said_to_be_so(answer: str) -> None:
    message = model(answer).bind_tools([stock]).invoke("How many?")
    assert message.tool_calls == []
    [broken] = message.invalid_tool_calls
    assert broken["args"] == answer


def test_a_choice_that_no_tool_meets_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'rm' is none of stock"):
        model("").bind_tools([stock], tool_choice="rm")


def test_an_answer_by_a_schema_is_read_and_checked() -> None:
    fine = model('{"amount": 3.5, "currency": "EUR"}')
    assert fine.with_structured_output(Price).invoke("Price?") == Price(amount=3.5, currency="EUR")
    schema = Price.model_json_schema()
    assert fine.with_structured_output(schema).invoke("Price?") == {
        "amount": 3.5,
        "currency": "EUR",
    }
    wrong = model('{"amount": "much", "currency": "EUR"}')
    with pytest.raises(InvalidAnswer, match="amount"):
        wrong.with_structured_output(Price).invoke("Price?")
    found = wrong.with_structured_output(Price, include_raw=True).invoke("Price?")
    assert isinstance(found, dict)
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], InvalidAnswer)
    whole = fine.with_structured_output(Price, include_raw=True).invoke("Price?")
    assert isinstance(whole, dict)
    assert whole["parsing_error"] is None


def held_to(chat: ChatMLLM) -> Any:
    """The schema that the engine was last held to."""
    return json.loads(asked(chat).schema or "null")


def test_an_engine_is_held_to_the_schema() -> None:
    chat = model('{"answer": "x"}')
    chat.bind_tools([stock]).invoke("?")
    call, words = held_to(chat)["anyOf"]
    assert [sorted(form["properties"]) for form in (call, words)] == [
        ["arguments", "tool"],
        ["answer"],
    ]
    assert call["properties"]["arguments"]["additionalProperties"] is False
    with pytest.raises(InvalidAnswer):
        chat.with_structured_output(Price).invoke("?")
    assert set(held_to(chat)["properties"]) == {"amount", "currency"}


class Offer(BaseModel):
    """What is offered."""

    price: Price
    others: list[Price] = []
    names: dict[str, str] = {}
    note: str = Field(min_length=1)


def test_no_keys_are_decoded_that_a_schema_does_not_name() -> None:
    chat = model("{}")
    for schema in (Offer, Offer.model_json_schema()):
        with suppress(InvalidAnswer):
            chat.with_structured_output(schema).invoke("?")
        held = json.dumps(held_to(chat))
        grammar = llguidance.LLMatcher.grammar_from_json_schema(held)
        assert llguidance.LLMatcher.validate_grammar(grammar) == ""
        whole = '{"price":{"amount":1.5,"currency":"EUR"},"names":{"de":"Ball"},"note":"new"}'
        assert takes(grammar, whole)
        assert not takes(grammar, whole.replace('"note"', '"seen":1,"note"'))
        assert not takes(grammar, whole.replace('"currency"', '"seen":1,"currency"'))
        assert not takes(grammar, whole.replace('"new"', '""'))


def takes(grammar: str, text: str) -> bool:
    """Whether decoding by a grammar can give a text."""
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar)
    return bool(matcher.try_consume_tokens(list(text.encode())) == len(text))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"properties": {"a": {}}, "additionalProperties": True},
        {"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}, {"required": ["c"]}]},
        {"allOf": [{"$ref": "#/$defs/A"}, {}], "$defs": {"A": {"properties": {"a": {}}}}},
        {"properties": {"a": {"enum": [{"properties": {}}]}}, "additionalProperties": False},
    ],
)
def test_a_schema_that_means_to_be_open_stays_so(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema


def test_an_answer_that_the_limit_cut_says_so() -> None:
    chat = model('{"amount": 3.5, "currency": "EUR"}', max_tokens=2)
    for schema in (Price, Price.model_json_schema()):
        with pytest.raises(InvalidAnswer, match="cut at max_tokens, 2: allow more"):
            chat.with_structured_output(schema).invoke("Price?")
    [broken] = chat.bind_tools([stock]).invoke("How many?").invalid_tool_calls
    assert broken["error"] == "it was cut at max_tokens, 2: allow more"


@pytest.mark.parametrize("choice", [None, "any", "stock"])
def test_the_schema_of_calls_can_guide_an_engine(choice: str | None) -> None:
    schema = json.dumps(ToolChoice.of([stock, Price], choice).schema)
    grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
    assert llguidance.LLMatcher.validate_grammar(grammar) == ""


def test_a_stream_gives_the_same_words_and_the_same_call() -> None:
    assert [str(chunk.text) for chunk in model("a red ball").stream("?")][:3] == [
        "a",
        " red",
        " ball",
    ]
    bound = model('{"tool": "stock", "arguments": {"item_id": "i1"}}').bind_tools([stock])
    whole = None
    for chunk in bound.stream("?"):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.tool_calls[0]["args"] == {"item_id": "i1"}


@pytest.mark.timeout(PATIENCE_S)
def test_while_a_stream_is_read_the_model_answers_something_else() -> None:
    chat = model("a red ball")
    heard = [(chunk.content, chat.invoke("?").content) for chunk in chat.stream("?")]
    assert ("".join(str(piece) for piece, _ in heard), heard[0][1]) == ("a red ball", "a red ball")
    both = zip(chat.stream("?"), chat.stream("?"), strict=True)
    assert all(one.content == other.content for one, other in both)


@dataclass
class Endless(ScriptedEngine):
    """Streams until it is stopped."""

    ended: threading.Event = field(default_factory=threading.Event)

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        yield "on"
        work_until_stopped(threading.Event(), self.ended)


@pytest.mark.timeout(PATIENCE_S)
def test_who_leaves_a_stream_stops_the_engine() -> None:
    chat = ChatMLLM(engine=Endless(answer=lambda prompt: "free again"))
    with closing(cast("Generator[Any, None, None]", chat.stream("?"))) as pieces:
        assert next(pieces).content == "on"
    assert isinstance(chat.engine, Endless)
    assert chat.engine.ended.is_set()
    assert chat.invoke("?").content == "free again"


def test_an_answer_is_cut_where_the_caller_says() -> None:
    assert model("one\ntwo", stop=["\n"]).invoke("?").content == "one"
    assert model("one two three").invoke("?", stop=["three", "two"]).content == "one "


def test_a_lost_engine_gets_further_tries() -> None:
    losses = iter([True, True, False])

    def flaky(prompt: Prompt) -> str:
        if next(losses):
            raise EngineLost("gone")
        return "back"

    assert model(flaky).invoke("?").content == "back"
    with pytest.raises(EngineLost, match="gone"):
        model(lambda prompt: flaky_always(), max_retries=1).invoke("?")


def flaky_always() -> str:
    raise EngineLost("gone")


def endless(ended: threading.Event) -> Callable[[Prompt], str]:
    def reply(prompt: Prompt) -> str:
        return work_until_stopped(threading.Event(), ended)

    return reply


def test_a_timeout_stops_the_engine() -> None:
    ended = threading.Event()
    with pytest.raises(DeadlineExceeded, match=r"0\.1 s"):
        model(endless(ended), timeout=0.1).invoke("?")
    assert ended.is_set()


def test_a_cancelled_task_stops_the_engine() -> None:
    ended = threading.Event()

    async def cancelled() -> None:
        task = asyncio.create_task(model(endless(ended)).ainvoke("?"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, PATIENCE_S)

    asyncio.run(cancelled())


@pytest.mark.parametrize("option", [{"temperature": 0.7}, {"max_tokens": 0}, {"timeout": 0}])
def test_what_it_cannot_do_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model("", **option)
    with pytest.raises(ValueError, match="top_k"):
        model("").invoke("?", top_k=3)
