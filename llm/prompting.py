"""Prompts as files: `prompts/NAME.md`, filled strictly, hashed for caches and traces."""

import hashlib
from functools import cache
from importlib.resources import files
from string import Template

from mllm_srec.llm.engine import Message, Picture, Prompt


@cache
def template(name: str) -> Template:
    """The template of a prompt.

    Raises:
        FileNotFoundError: There is no prompt of that name.
    """
    return Template(
        files("mllm_srec.llm").joinpath(f"prompts/{name}.md").read_text("utf-8").strip()
    )


@cache
def prompt_hash(*names: str) -> str:
    """SHA-256 over the system prompt and the named prompts, as hexadecimal digits."""
    texts = [template(name).template for name in ("system", *names)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def render(
    name: str, *, pictures: tuple[Picture, ...] = (), schema: str | None = None, **values: str
) -> Prompt:
    """Fill a prompt.

    Raises:
        ValueError: A value is missing, or given but not used.
    """
    source = template(name)
    wanted = set(source.get_identifiers())
    if wanted != set(values):
        raise ValueError(
            f"prompt {name!r} wants {sorted(wanted)}, got {sorted(values)}: "
            "give each placeholder one value"
        )
    return Prompt(
        (
            Message("system", template("system").template),
            Message("user", source.substitute(values), pictures),
        ),
        schema,
    )
