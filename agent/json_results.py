"""Results as JSON and back, and the schema of that JSON, all from the types alone."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mllm_srec.store.validation import faults
from mllm_srec.tools.errors import WrongCall


class JsonResult:
    """A frozen dataclass that other programs read as JSON.

    Field names of the JSON are a promise to them; `schema_version` grows when one changes its
    meaning.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )
    schema_version: ClassVar[int]
    called: ClassVar[str]
    """What a person calls it: `a recommendation`."""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values, with its schema number."""
        values: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return {"schema": self.schema_version, **values}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            WrongCall: It is of another schema, or no such result.
        """
        if not isinstance(data, Mapping):
            raise WrongCall(f"{type(data).__name__!r} is not {cls.called}: give an object of JSON")
        if data.get("schema") != cls.schema_version:
            raise WrongCall(
                f"this is schema {data.get('schema')!r} of {cls.called}, this version reads "
                f"{cls.schema_version}: make it again"
            )
        try:
            result: Self = _adapter(cls).validate_python(data)
        except ValidationError as error:
            raise WrongCall(f"this is not {cls.called}: {faults(error)}") from error
        return result


def schema_document(results: Sequence[type[JsonResult]]) -> dict[str, Any]:
    """JSON Schema (2020-12) of what `to_dict` of these results gives."""
    mode: Literal["serialization"] = "serialization"
    _, document = TypeAdapter.json_schemas(
        (each.__name__, mode, _adapter(each)) for each in results
    )
    for each in results:
        form = document["$defs"][each.__name__]
        form["properties"] = {"schema": {"const": each.schema_version}, **form["properties"]}
        form["required"] = ["schema", *form["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Results of mllm-srec",
        "oneOf": [{"$ref": f"#/$defs/{each.__name__}"} for each in results],
        **document,
    }


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Made once a type."""
