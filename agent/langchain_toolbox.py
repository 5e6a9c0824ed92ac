"""The toolbox for LangChain and LangGraph agents."""

import functools
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel

from mllm_srec.agent.deployment import Deployment
from mllm_srec.agent.recommender import Recommender
from mllm_srec.agent.toolbox import Result, Tool, Toolbox, refuse_others, told
from mllm_srec.store.errors import StoreError
from mllm_srec.store.validation import faults
from mllm_srec.tools.errors import CannotDo, ToolError, WrongCall


class WrongToolCall(WrongCall, ToolException):
    """`WrongCall`, as LangChain knows failures of tools."""


class ToolCannotDo(CannotDo, ToolException):
    """`CannotDo`, as LangChain knows failures of tools."""


def langchain_tools(srec: Recommender, user: str) -> list[BaseTool]:
    """The tools for a LangChain or LangGraph agent that acts for one user, synchronous or not.

    A failure goes to the model as text that begins with its kind: `wrong call: ...`, after which
    another call may succeed, or `cannot do: ...`. A program that sets `handle_tool_error` of a tool
    to False gets `WrongCall` or `CannotDo` raised.
    """
    functions = Toolbox(srec, user, origin="an agent").functions()
    return [_structured(_raising(function), srec.deployment) for function in functions]


def _structured(tool: Tool, deployment: Deployment) -> StructuredTool:
    made = StructuredTool.from_function(
        _waiting(tool, deployment),
        coroutine=tool,
        handle_tool_error=_told,
        handle_validation_error=lambda error: told(WrongCall(faults(error))),
    )
    # The model that was read off the function; a dictionary only where one is given.
    assert isinstance(made.args_schema, type)
    assert issubclass(made.args_schema, BaseModel)
    refuse_others(made.args_schema)
    return made


def _told(error: ToolException) -> str:
    return told(error) if isinstance(error, ToolError) else str(error)


def _raising(tool: Tool) -> Tool:
    """A tool that fails as LangChain expects it."""

    @functools.wraps(tool)
    async def call(**arguments: Any) -> Result:
        try:
            return await tool(**arguments)
        except WrongCall as error:
            raise WrongToolCall(str(error)) from error
        except CannotDo as error:
            raise ToolCannotDo(str(error)) from error

    return call


def _waiting(tool: Tool, deployment: Deployment) -> Callable[..., Result]:
    """A tool as a plain function, also where an event loop runs already, as in a notebook."""

    @functools.wraps(tool)
    def call(**arguments: Any) -> Result:
        try:
            return deployment.run(tool(**arguments))
        except StoreError as error:
            raise ToolCannotDo(str(error)) from error  # It was closed.

    return call
