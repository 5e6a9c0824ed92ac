"""`ChatMLLM`: our engines as a LangChain chat model."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import (
    Runnable,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation

from mllm_srec.agent.errors import DeadlineExceeded
from mllm_srec.agent.langchain_messages import prompt_of
from mllm_srec.agent.tool_calls import ToolChoice
from mllm_srec.llm.answer_schema import closed
from mllm_srec.llm.engine import Answer, Engine, EngineLost, Prompt, Usage
from mllm_srec.llm.load import bundled_model, load_engine, resolve_model
from mllm_srec.llm.pictures import PictureBudget, load_budget
from mllm_srec.llm.prompting import template
from mllm_srec.llm.stopping import Stop, Stopped
from mllm_srec.llm.structured import InvalidAnswer, first_object, parse


class ChatMLLM(BaseChatModel):
    """A multimodal model on one of our engines, for LangChain and LangGraph.

    ```python
    model = ChatMLLM.load("HuggingFaceTB/SmolVLM-500M-Instruct")
    model.invoke("What is a balance bike?")
    ```

    It decodes greedily. Tools are described to the model in words, and its answer is held to a
    schema: any model can call them, one call a turn. srec-tiny knows the prompts of the chain
    alone, and no others.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: SkipValidation[Engine] = Field(exclude=True)
    budget: PictureBudget = Field(default_factory=PictureBudget, exclude=True)
    """How large the model sees pictures."""
    max_tokens: int = Field(default=512, gt=0)
    """Tokens of one answer at most."""
    temperature: float = Field(default=0, ge=0, le=0)
    """The engines decode greedily: no other temperature is taken."""
    stop: list[str] | None = None
    """Texts at which an answer is cut."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one answer may take; None waits as long as it takes."""
    max_retries: int = Field(default=2, ge=0)
    """Further tries where the engine is lost."""

    _one_call: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @classmethod
    def load(
        cls,
        model: Path | str | None = None,
        *,
        engine: str = "auto",
        server_file: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        **options: Any,
    ) -> Self:
        """Load a model.

        Args:
            model: Folder or name of an image-text-to-text model; srec-tiny by default.
            engine: A kind of engine, as in `srec --engine`.
            server_file: Of a home's running server, for the engine `vllm-server`.
            say: Told which engine stands in for another.
            **options: `max_tokens`, `stop`, `timeout`, `max_retries`.

        Raises:
            ModelError: The model cannot be loaded.
        """
        path = resolve_model(model or bundled_model())
        loaded = load_engine(engine, path, server_file=server_file)
        if loaded.note:
            say(loaded.note)
        return cls(engine=loaded.engine, budget=load_budget(path), **options)

    @property
    def _llm_type(self) -> str:
        return "mllm-srec"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        info = self.engine.info
        return {
            "model": info.model,
            "engine": info.engine,
            "model_hash": info.model_hash,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = "mllm-srec"
        params.setdefault("ls_model_name", self.engine.info.model)
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools that it may call; see `ToolChoice.of` for `tool_choice`."""
        described = [convert_to_openai_tool(tool) for tool in tools]
        ToolChoice.of(described, tool_choice)  # a wrong choice is told here, not at the first call
        return self.bind(tools=described, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """The model, answering by a schema that decoding holds it to, whatever the method.

        Args:
            schema: A pydantic class, for instances of it; or anything else that
                `convert_to_json_schema` takes, for dictionaries.
            include_raw: Give the message and the parser's error beside the value.
            method: Taken for the interface's sake: all three decode under the schema.
            strict: Likewise: it is always so.
            **kwargs: None are known.

        Raises:
            ValueError: Another argument was given.
        """
        if kwargs:
            raise ValueError(f"with_structured_output does not know {', '.join(sorted(kwargs))}")
        bound, parsed = self.bind(schema=convert_to_json_schema(schema)), self._parsed(schema)
        if not include_raw:
            return bound | parsed
        nothing: Runnable[Any, Any] = RunnableLambda(lambda _: None)
        read = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parsed, parsing_error=nothing
        ).with_fallbacks(
            [RunnablePassthrough.assign(parsed=nothing)], exception_key="parsing_error"
        )
        return RunnableParallel(raw=bound) | read

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._answer(messages, stop, Stop(), **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Stop()
        try:
            return await asyncio.to_thread(self._answer, messages, stop, call, **kwargs)
        except asyncio.CancelledError:
            call.ask()
            raise

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if kwargs or stop or self.stop or self.timeout:
            # What is held to a schema, cut or limited is known when it is whole.
            [generation] = self._answer(messages, stop, Stop(), **kwargs).generations
            message = generation.message
            assert isinstance(message, AIMessage)
            yield ChatGenerationChunk(message=_chunk(message))
            return
        for piece in self._pieces(prompt_of(messages, self.budget)):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk

    def _pieces(self, prompt: Prompt) -> Iterator[str]:
        """The pieces of one answer as they come; leaving early stops the engine.

        A thread of their own makes them: whoever reads them may ask something else in between, and
        the engine takes one call at a time.
        """
        made: SimpleQueue[str | None] = SimpleQueue()
        call = Stop()

        def make() -> None:
            try:
                with self._one_call, call.govern():
                    for piece in self.engine.stream(prompt, max_tokens=self.max_tokens):
                        call.check()
                        made.put(piece)
            finally:
                made.put(None)

        with ThreadPoolExecutor(1, thread_name_prefix="stream") as worker:
            making = worker.submit(make)
            try:
                yield from iter(made.get, None)
                making.result()  # raises what broke the answer off
            finally:
                call.ask()

    def _answer(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        call: Stop,
        *,
        tools: Sequence[Any] = (),
        tool_choice: Any = None,
        schema: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> ChatResult:
        """One answer; stopping `call` aborts it."""
        if others:
            raise ValueError(f"the model does not know {', '.join(sorted(others))}")
        also = []
        choice = ToolChoice.of(tools, tool_choice) if tools else None
        if choice is not None:
            schema = choice.schema
            also.append(choice.text)
        elif schema is not None:
            text = json.dumps(schema, ensure_ascii=False)
            also.append(template("answer_as_json").substitute(schema=text))
        prompt = prompt_of(messages, self.budget, also=also)
        if schema is not None:
            prompt = replace(prompt, schema=json.dumps(closed(schema)))
        answer = self._asked(prompt, call)
        text = _cut(answer.text, stop or self.stop or ())
        message = AIMessage(text) if choice is None else choice.message(text)
        whole = answer.finished or text != answer.text
        if not whole:
            for broken in message.invalid_tool_calls:
                broken["error"] = self._cut_off
        message.usage_metadata = _usage(answer.usage)
        message.response_metadata = {
            "finish_reason": "stop" if whole else "length",
            "model_name": self.engine.info.model,
            "engine": self.engine.info.engine,
        }
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _asked(self, prompt: Prompt, call: Stop) -> Answer:
        """Ask the engine, one call at a time; retry where it was lost, until the time is up."""
        timer = None if self.timeout is None else threading.Timer(self.timeout, call.ask)
        if timer:
            timer.start()
        try:
            with self._one_call, call.govern():
                for tries_left in reversed(range(self.max_retries + 1)):
                    call.check()
                    try:
                        [answer] = self.engine.generate([prompt], max_tokens=self.max_tokens)
                        break
                    except EngineLost:
                        if not tries_left:
                            raise
                return answer
        except Stopped as error:
            raise DeadlineExceeded(f"no answer within {self.timeout} s: allow more") from error
        finally:
            if timer:
                timer.cancel()

    def _parsed(self, schema: Any) -> Runnable[Any, Any]:
        """From a message to the value that its text holds."""

        def read(message: AIMessage) -> Any:
            text = str(message.text)
            try:
                if isinstance(schema, type) and issubclass(schema, BaseModel):
                    return parse(text, schema)
                return first_object(text)
            except InvalidAnswer as error:
                if message.response_metadata["finish_reason"] == "length":
                    raise InvalidAnswer(text, self._cut_off) from error
                raise

        return RunnableLambda(read)

    @property
    def _cut_off(self) -> str:
        return f"it was cut at max_tokens, {self.max_tokens}: allow more"


def _cut(text: str, stops: Sequence[str]) -> str:
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


def _usage(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        input_token_details={"cache_read": usage.cached_tokens or 0},
    )


def _chunk(message: AIMessage) -> AIMessageChunk:
    """A whole message as the one chunk of a stream."""
    calls = [(call["name"], json.dumps(call["args"]), call["id"]) for call in message.tool_calls]
    broken = [(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls]
    return AIMessageChunk(
        content=message.content,
        tool_call_chunks=[
            tool_call_chunk(name=name, args=args, id=call_id, index=index)
            for index, (name, args, call_id) in enumerate([*calls, *broken])
        ],
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
    )
