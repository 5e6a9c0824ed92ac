"""Reply text to a pydantic model, forgiving in form and strict in content."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mllm_srec.llm.engine import ModelError

Parsed = TypeVar("Parsed", bound=BaseModel)

_STARTS = 20


class InvalidAnswer(ModelError):
    """The model answered something that is not what was asked for; the caller may ask again."""

    def __init__(self, text: str, reason: str) -> None:
        """Keep the answer and what is wrong with it."""
        super().__init__(f"answer {text[:200]!r} is not valid: {reason}")
        self.text = text
        self.reason = reason


def parse(text: str, model: type[Parsed]) -> Parsed:
    """Read the first JSON object of a reply.

    Prose or a code fence around the object is allowed; what is in it must validate.

    Raises:
        InvalidAnswer: There is no complete object, or it does not fit `model`.
    """
    found = first_object(text)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc'])) or 'object'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise InvalidAnswer(text, "; ".join(problems)) from error


def first_object(text: str) -> dict[str, Any]:
    """The first JSON object of a reply, whatever is in it.

    Raises:
        InvalidAnswer: There is no complete object.
    """
    decoder = json.JSONDecoder()
    start = -1
    # A reply with more braces than this before its object is noise; reading on costs the square.
    for _ in range(_STARTS):
        start = text.find("{", start + 1)
        if start < 0:
            break
        try:
            value, _end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        assert isinstance(value, dict)
        return value
    raise InvalidAnswer(text, "it holds no complete JSON object")
