"""A prompt as the text and tokens that a model was trained on: the same for all engines."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from mllm_srec.llm.engine import Message, ModelError, Prompt


class ChatTemplate:
    """A model's chat template and tokenizer, read without torch or transformers."""

    def __init__(self, model_path: Path) -> None:
        """Read template and tokenizer of a model folder.

        Raises:
            ModelError: A file is missing or cannot be read.
        """
        settings = _read_json(model_path / "tokenizer_config.json")
        self._template = _compile(_source(model_path, settings), model_path)
        self._variables = {
            name: value["content"] if isinstance(value, dict) else value
            for name, value in settings.items()
            if name.endswith("_token") and isinstance(value, str | dict)
        }
        self.tokenizer = _read_tokenizer(model_path)
        self._reserved = _reserved(self.tokenizer)
        self.label_ids: dict[tuple[str, ...], Mapping[str, int]] = {}
        """Token ids of the labels that `label_token_ids` has looked up."""

    def render(self, prompt: Prompt, answer: str | None = None) -> str:
        """Write a prompt as the model expects it, up to the place where its answer begins.

        With `answer`, the whole exchange as in training, end marks included.

        Raises:
            ModelError: The template refuses the prompt.
        """
        messages = [*prompt.messages]
        if answer is not None:
            messages.append(Message("assistant", answer))
        try:
            return self._template.render(
                messages=[self._parts(message) for message in messages],
                add_generation_prompt=answer is None,
                **self._variables,
            )
        except TemplateError as error:
            raise ModelError(
                f"the model's chat template refuses the prompt: {error}; use a model whose "
                "template takes system and user messages with pictures"
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids of rendered text, pictures still one mark each."""
        [ids] = self.encode_all([text])
        return ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of several texts, on all cores."""
        # Without the places of the tokens in the text, which nobody reads.
        found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [each.ids for each in found]

    def defuse(self, text: str) -> str:
        """Break up what the model would read as its control marks.

        Catalogue text is data: a title with `<image>` or an end-of-turn mark in it must not
        open a turn, nor ask for a picture.
        """
        if self._reserved is None:
            return text
        return self._reserved.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _parts(self, message: Message) -> dict[str, Any]:
        parts: list[dict[str, str]] = [{"type": "image"} for _ in message.pictures]
        parts.append({"type": "text", "text": self.defuse(message.text)})
        return {"role": message.role, "content": parts}


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}): a model folder needs config, tokenizer and "
            "weights as `save_pretrained` writes them"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object: copy the model folder again")
    return content


def _read_tokenizer(model_path: Path) -> Tokenizer:
    path = model_path / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"{path} is missing: save the model's tokenizer in the fast (tokenizer.json) format"
        )
    tokenizer = Tokenizer.from_file(str(path))
    # A file saved while training may still pad and cut; a prompt is never cut silently.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _source(model_path: Path, settings: Mapping[str, Any]) -> str:
    file = model_path / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    legacy = model_path / "chat_template.json"
    source = (
        _read_json(legacy).get("chat_template")
        if legacy.is_file()
        else settings.get("chat_template")
    )
    if not isinstance(source, str):
        raise ModelError(
            f"{model_path} has no chat template: use an instruction-tuned model, "
            "or add chat_template.jinja"
        )
    return source


def _compile(source: str, model_path: Path) -> Template:
    """Compile a template as transformers does; a test compares the two."""

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    # Training marks of transformers, without meaning here.
    source = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", source)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ModelError(f"{model_path}: the chat template does not compile: {error}") from error


def _tojson(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes HTML characters, which changes the prompt.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _reserved(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    added = tokenizer.get_added_tokens_decoder().values()
    marks: Sequence[str] = [
        token.content
        for token in added
        if len(token.content) > 1 and (token.special or re.fullmatch("<.+>", token.content))
    ]
    if not marks:
        return None
    longest_first = sorted(marks, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))
