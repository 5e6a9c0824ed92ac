"""Tool calls of a model that was never trained on them: described in words, held by a schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall
from langchain_core.utils.function_calling import convert_to_openai_tool

from mllm_srec.llm.prompting import template
from mllm_srec.llm.structured import InvalidAnswer, first_object

ANSWER = "answer"
"""The key under which the model answers without a tool."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The tools that a model may call now, and whether it must."""

    tools: Mapping[str, Mapping[str, Any]]
    """Name to what `convert_to_openai_tool` says of it."""
    required: bool

    @classmethod
    def of(cls, tools: Sequence[Any], choice: str | bool | Mapping[str, Any] | None) -> Self:
        """Read LangChain's arguments of `bind_tools`.

        Args:
            tools: Whatever `convert_to_openai_tool` takes.
            choice: A tool's name or OpenAI's form of it; `any`, `required` or True for one of
                them; `auto`, False or None leaves it to the model; `none` for no tool.

        Raises:
            ValueError: No tool has that name.
        """
        known = {
            each["name"]: each for each in (convert_to_openai_tool(t)["function"] for t in tools)
        }
        if isinstance(choice, Mapping):
            choice = str(choice["function"]["name"])
        if choice in (None, False, "auto"):
            return cls(known, required=False)
        if choice == "none":
            return cls({}, required=False)
        if choice in (True, "any", "required"):
            return cls(known, required=True)
        if choice not in known:
            raise ValueError(f"tool_choice {choice!r} is none of {', '.join(sorted(known))}")
        return cls({str(choice): known[str(choice)]}, required=True)

    @property
    def text(self) -> str:
        """What the system says of the tools."""
        lines = "\n".join(
            json.dumps(
                {
                    "tool": name,
                    "does": tool.get("description", ""),
                    "arguments": tool["parameters"].get("properties", {}),
                },
                ensure_ascii=False,
            )
            for name, tool in self.tools.items()
        )
        otherwise = "" if self.required else f', or without a tool: {{"{ANSWER}": your words}}'
        return template("use_tools").substitute(tools=lines, otherwise=otherwise)

    @property
    def schema(self) -> dict[str, Any]:
        """What holds the model to a call of one tool, or to an answer in words."""
        forms = [
            _form({"tool": {"enum": [name]}, "arguments": tool["parameters"]})
            for name, tool in self.tools.items()
        ]
        if not self.required:
            forms.append(_form({ANSWER: {"type": "string"}}))
        return {"anyOf": forms}

    def message(self, text: str) -> AIMessage:
        """The model's text as a message: words, a call, or a call that cannot be read."""
        try:
            found = first_object(text)
        except InvalidAnswer as error:
            return _unreadable(text, error.reason)
        if not self.required and isinstance(found.get(ANSWER), str):
            return AIMessage(found[ANSWER])
        name, arguments = found.get("tool"), found.get("arguments")
        if not isinstance(name, str) or name not in self.tools or not isinstance(arguments, dict):
            return _unreadable(text, f"it calls none of {', '.join(self.tools)}")
        call = ToolCall(name=name, args=arguments, id=_call_id(), type="tool_call")
        return AIMessage("", tool_calls=[call])


def _form(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _unreadable(text: str, reason: str) -> AIMessage:
    call = InvalidToolCall(
        name=None, args=text, id=_call_id(), error=reason, type="invalid_tool_call"
    )
    return AIMessage("", invalid_tool_calls=[call])


def _call_id() -> str:
    return f"call_{uuid4().hex[:12]}"
