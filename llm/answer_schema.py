"""JSON schemas of answers: their form, and the words that were given to choose from."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

_NAMED = frozenset({"properties", "$defs", "definitions"})
"""Where a schema holds others, by name,"""
_LISTED = frozenset({"anyOf", "oneOf", "prefixItems"})
"""in a list,"""
_SINGLE = frozenset({"items", "additionalProperties"})
"""or one."""
_FORMS = frozenset({"anyOf", "oneOf", "$ref", "if", "unevaluatedProperties"})
"""What may name further keys beside `properties`."""
_PIECE = re.compile(r"\w+|[^\w\s]")


def answer_schema(
    form: type[BaseModel], given: Mapping[str, Iterable[str | int]] | None = None
) -> str:
    """The JSON schema that an answer is held to while it is decoded, as JSON text.

    A small model copies a word that it never met with slips, and any model may add one of its own;
    held to the words that stand in the prompt, it can do neither.

    Args:
        form: What the answer is read into.
        given: Field to the only words or numbers that may stand there: as its text, in its list,
            or as the values of its object. Fields that are not named stay free.
    """
    schema = json.loads(_free_schema(form))
    shared: dict[tuple[str | int, ...], str] = {}
    for name, words in (given or {}).items():
        choice = tuple(dict.fromkeys(words))
        field = schema["properties"][name]
        if not choice:
            schema["properties"][name] = _empty(field["type"])
            continue
        label = shared.setdefault(choice, f"given{len(shared)}")
        reference = {"$ref": f"#/$defs/{label}"}
        match field["type"]:
            case "array":
                field["items"] = reference
            case "object":
                field["additionalProperties"] = reference
            case _:
                schema["properties"][name] = reference
    if shared:
        defined = schema.setdefault("$defs", {})
        defined |= {label: {"enum": list(choice)} for choice, label in shared.items()}
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema of a caller, whose objects take no keys but those that it names.

    Decoding held to an open object lets a model invent keys until its tokens are spent. What says
    itself of other keys whether they may be, stays as it is; so do schemas put together of others
    (`allOf`, or forms beside `properties`), where the parts name some of the keys each.
    """
    return dict(schema) if _has_all_of(schema) else _closed(schema)


def form_name(schema: str) -> str:
    """Name of the form that a schema was made of, `form` where it says none."""
    return str(json.loads(schema).get("title", "form"))


def spans(text: str, *, pieces: int, characters: int) -> Iterator[str]:
    """Every run of words and marks in a text, as it stands there; none runs over a line's end.

    Args:
        text: To copy from.
        pieces: Words and marks of a run at most.
        characters: Of a run at most.
    """
    for line in text.splitlines():
        places = [match.span() for match in _PIECE.finditer(line)]
        for index, (start, _) in enumerate(places):
            for _, end in places[index : index + pieces]:
                if end - start <= characters:
                    yield line[start:end]


@cache
def _free_schema(form: type[BaseModel]) -> str:
    """The schema of a form alone; pydantic takes a millisecond for it, and an ingest asks often."""
    schema = form.model_json_schema()
    schema.pop("description", None)
    return json.dumps(schema)


def _has_all_of(schema: Any) -> bool:
    match schema:
        case dict():
            return "allOf" in schema or any(map(_has_all_of, schema.values()))
        case list():
            return any(map(_has_all_of, schema))
    return False


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or ("properties" in schema and _FORMS & schema.keys()):
        return schema
    made = dict(schema)
    if "properties" in made:
        made.setdefault("additionalProperties", False)
    for key, value in schema.items():
        if key in _NAMED:
            made[key] = {name: _closed(each) for name, each in value.items()}
        elif key in _LISTED:
            made[key] = [_closed(each) for each in value]
        elif key in _SINGLE:
            made[key] = _closed(value)
    return made


def _empty(kind: str) -> dict[str, Any]:
    """A field that has nothing to choose from."""
    if kind == "array":
        return {"type": "array", "maxItems": 0}
    if kind == "object":
        return {"type": "object", "additionalProperties": False}
    return {"const": ""}
