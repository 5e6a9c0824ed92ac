"""vLLM in this process: batch work such as ingest and evaluation."""

import itertools
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllm_srec.llm.chat_template import ChatTemplate
from mllm_srec.llm.embedding import TokenEmbedder
from mllm_srec.llm.engine import (
    Answer,
    EngineInfo,
    EngineLost,
    LabelScores,
    ModelError,
    Prompt,
    Usage,
)
from mllm_srec.llm.labels import label_token_ids
from mllm_srec.llm.model_files import model_hash
from mllm_srec.llm.pictures import open_prepared
from mllm_srec.llm.shared_steps import SharedSteps
from mllm_srec.llm.vllm_settings import (
    KV_CACHE_BYTES,
    NO_VLLM,
    vllm_distribution,
    vllm_environment,
    vllm_settings,
)


class VLLMEngine:
    """A model loaded by vLLM in this process, of which there is one at a time.

    Many threads may call it: prompts of one join those of another between two tokens.
    """

    _open = False

    def __init__(self, model_path: Path, *, dtype: str = "bfloat16") -> None:
        """Load a model; a tiny one takes 9 s on two free cores, 7 of them imports.

        Raises:
            ModelError: vLLM is missing, or cannot load the model.
        """
        if VLLMEngine._open:
            # Its parallel state is global: the first one to close would end both.
            raise ModelError("vLLM runs one model in a process: close the other engine first")
        self._template = ChatTemplate(model_path)
        self._embedder = TokenEmbedder(model_path, self._template.tokenizer)
        self._llm, self._vllm = _load(model_path, vllm_settings(dtype))
        VLLMEngine._open = True
        self._info = EngineInfo(
            "vllm",
            version(vllm_distribution() or "vllm"),
            model_path.name,
            model_hash(model_path),
            dtype,
        )
        self._steps = SharedSteps(self._add, self._step, self._abort)

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self._info

    @property
    def llm(self) -> Any:
        """The `vllm.LLM` that answers; None once it is closed."""
        return self._llm

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Answer]:
        """Answer each prompt greedily; see `Engine.generate`."""
        answers = []
        params = [self.sampling(max_tokens, prompt.schema) for prompt in prompts]
        for out in self._run(prompts, params):
            finished = out.outputs[0].finish_reason == "stop"
            usage = self._usage(out)
            if not finished and usage.completion_tokens < max_tokens:
                raise ModelError(
                    f"a prompt of {usage.prompt_tokens} tokens and {max_tokens} to answer do not "
                    "fit into the model's context: shorten the prompt"
                )
            answers.append(Answer(out.outputs[0].text, usage, finished))
        return answers

    def stream(self, prompt: Prompt, *, max_tokens: int) -> Iterator[str]:
        """Yield the pieces of one answer; a consumer that stops early stops the engine too."""
        params = self.sampling(max_tokens, None)
        params.output_kind = self._vllm.sampling_params.RequestOutputKind.DELTA
        requests = list(zip(self.inputs([prompt]), [params], strict=True))
        with self._steps.calling(requests, piecewise=True) as call:
            while call.open or call.outputs:
                for piece in self._steps.wait(call):
                    if piece.outputs[0].text:
                        yield piece.outputs[0].text

    def score_labels(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[LabelScores]:
        """Log-probabilities of labels under the whole next-token distribution."""
        ids = label_token_ids(self._template, labels)
        scores = []
        for out in self._run(prompts, [self.scoring(labels)] * len(prompts)):
            position = out.outputs[0].logprobs[0]
            found = {label: float(position[token].logprob) for label, token in ids.items()}
            scores.append(LabelScores(found, self._usage(out), ids))
        return scores

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of texts."""
        return self._embedder.embed(texts)

    def close(self) -> None:
        """Give the model and its cache back."""
        if self._llm is not None:
            self._steps.close(EngineLost("the vLLM engine is closed: load it again"))
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            VLLMEngine._open = False

    def sampling(self, max_tokens: int, schema: str | None) -> Any:
        """The `SamplingParams` of an answer."""
        structured = None
        if schema is not None:
            structured = self._vllm.sampling_params.StructuredOutputsParams(json=schema)
        return self._vllm.SamplingParams(
            temperature=0.0, max_tokens=max_tokens, structured_outputs=structured
        )

    def scoring(self, labels: Sequence[str]) -> Any:
        """The `SamplingParams` of label scores."""
        ids = list(label_token_ids(self._template, labels).values())
        return self._vllm.SamplingParams(
            temperature=0.0, max_tokens=1, logprob_token_ids=ids, detokenize=False
        )

    def inputs(self, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
        """Prompts as vLLM takes them: tokens, and the pixels of pictures."""
        tokens = self._template.encode_all([self._template.render(prompt) for prompt in prompts])
        contents: list[dict[str, Any]] = [{"prompt_token_ids": ids} for ids in tokens]
        for content, prompt in zip(contents, prompts, strict=True):
            if prompt.pictures:
                content["multi_modal_data"] = {"image": [open_prepared(p) for p in prompt.pictures]}
                # Our keys name pixels and preparation, and spare vLLM hashing the pixels.
                content["multi_modal_uuids"] = {"image": [p.key for p in prompt.pictures]}
        return contents

    def _run(self, prompts: Sequence[Prompt], params: Sequence[Any]) -> list[Any]:
        """The last output of each prompt, in their order."""
        for each in params:
            each.output_kind = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        requests = list(zip(self.inputs(prompts), params, strict=True))
        with self._steps.calling(requests) as call:
            found = {output.request_id: output for output in self._steps.wait(call)}
        if any(out.outputs[0].finish_reason == "error" for out in found.values()):
            raise ModelError("vLLM gave up a prompt: its log says why")
        return [found[name] for name in call.requests]

    def _add(self, name: str, content: dict[str, Any], params: Any) -> None:
        errors = self._vllm.exceptions
        try:
            self._llm.llm_engine.add_request(name, content, params)
        except (errors.VLLMClientError, ValueError) as error:
            # vLLM's own validation: too long, too many pictures, a schema it cannot take.
            raise ModelError(f"vLLM refuses the prompt: {error}") from error
        except (errors.VLLMServerError, RuntimeError) as error:
            raise EngineLost(f"vLLM stopped: {error}; load the engine again") from error

    def _step(self) -> Sequence[Any]:
        try:
            outputs: Sequence[Any] = self._llm.llm_engine.step()
        except Exception as error:
            # A step is of all prompts: whatever it raises, no single one is to blame.
            raise EngineLost(f"vLLM stopped: {error!r}; load the engine again") from error
        return outputs

    def _abort(self, names: list[str]) -> None:
        self._llm.llm_engine.abort_request(names)

    def _usage(self, output: Any) -> Usage:
        prompt, cached = len(output.prompt_token_ids), output.num_cached_tokens or 0
        return Usage(prompt, len(output.outputs[0].token_ids), cached, *_phases(output.metrics))


def _phases(stats: Any) -> tuple[float | None, float | None, float | None]:
    """Seconds in the queue, until the first token, and after it; None for what vLLM left open."""
    if stats is None:
        return None, None, None
    moments = (stats.queued_ts, stats.scheduled_ts, stats.first_token_ts, stats.last_token_ts)
    queue, prefill, decode = (
        after - before if before > 0 and after > 0 else None
        for before, after in itertools.pairwise(moments)
    )
    return queue, prefill, decode


def _load(model_path: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    os.environ.update(vllm_environment(in_process=True))
    # Warns, before vLLM has read its own log level, that Triton has no CPU part.
    logging.getLogger("vllm.triton_utils.importing").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import vllm  # noqa: PLC0415 — heavy, and absent where only transformers is
            import vllm.exceptions  # noqa: PLC0415
            import vllm.sampling_params  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(NO_VLLM) from error
    on_cpu: Callable[[], bool] = vllm.platforms.current_platform.is_cpu
    if on_cpu():
        settings["kv_cache_memory_bytes"] = KV_CACHE_BYTES
        _stop_compiling()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # With statistics, or requests come back without the times of their phases.
            settings |= {"use_tqdm_on_load": False, "disable_log_stats": False}
            llm = vllm.LLM(str(model_path), **settings)
            # Counters of every step for Prometheus, which nobody asks in this process.
            llm.llm_engine.logger_manager = None
            return llm, vllm
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise ModelError(f"vLLM cannot load {model_path}: {error}") from error


def _stop_compiling() -> None:
    # The environment variable comes too late where torch was imported before us.
    import torch._dynamo  # noqa: PLC0415 — heavy

    torch._dynamo.config.disable = True
