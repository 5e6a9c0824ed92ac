"""A home with a model on top: what ingest, recommendation and evaluation run on."""

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from mllm_srec.agent.cache import CachedCalls
from mllm_srec.agent.calls import Calls
from mllm_srec.agent.collaborative_cache import kept_model
from mllm_srec.agent.dispatch import AsyncEngine
from mllm_srec.agent.loop import LoopThread
from mllm_srec.agent.nodes.fuse_items import described
from mllm_srec.agent.nodes.score_targets import NO, YES
from mllm_srec.agent.state import Context, Part, Settings
from mllm_srec.agent.tracing.attributes import NOISE_FLOOR
from mllm_srec.agent.tracing.calls import TracedCalls
from mllm_srec.agent.tracing.tracer import Tracer
from mllm_srec.llm.engine import Engine, EngineInfo, ModelError
from mllm_srec.llm.load import bundled_model, load_engine, resolve_model
from mllm_srec.llm.noise import noise_floor
from mllm_srec.llm.pictures import PictureBudget, load_budget, preparation
from mllm_srec.llm.prompting import prompt_hash
from mllm_srec.llm.trained import changed_prompts, read_settings
from mllm_srec.store.closing import Closing
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.store.manifest import IndexFacts
from mllm_srec.store.traces import TraceStore
from mllm_srec.tools.collaborative import CollaborativeModel
from mllm_srec.tools.facets import FacetModel
from mllm_srec.tools.ranking import CombineWeights, shipped_calibration

T = TypeVar("T")
WEIGHTS = "combine"
"""Name of the setting under which fitted weights are kept in a home."""


class Deployment(Closing):
    """An open home, a loaded engine, and the loop on which the graph runs.

    An engine given by kind is loaded when first needed, and closed with the deployment; an engine
    given as it is stays its owner's.
    """

    def __init__(
        self,
        home: Home,
        *,
        engine: str | Engine = "auto",
        model: Path | None = None,
        settings: Settings | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.home = home
        self.settings = settings or Settings()
        self.model = model_of(home, model)
        self._wanted = engine
        self._say = say
        self._said: set[str] = set()
        self._closing = ExitStack()
        self._calls: TracedCalls | None = None
        self.noise_floor: float | None = None
        """Nats by which the engine's arithmetic moves a margin; None before it is loaded, and for
        a model whose labels are not single tokens."""
        self._index_facts: IndexFacts | None = None
        self._closing.callback(home.close)
        with ExitStack() as opened:
            traces = opened.enter_context(TraceStore.open(home.traces_file))
            self.tracer = Tracer(traces)
            self._loop = LoopThread(str(home.path))
            self._closing.push(opened.pop_all())

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False, **options: Any) -> Self:
        """Open a home and put a model on top; see `Home.open` and the constructor."""
        home = Home.open(path, create=create)
        try:
            return cls(home, **options)
        except BaseException:
            home.close()
            raise

    @property
    def calls(self) -> TracedCalls:
        """The model: traced, cached, batched.

        Raises:
            ModelError: The engine could not be loaded.
        """
        if self._calls is None:
            engine = self._load(self._wanted) if isinstance(self._wanted, str) else self._wanted
            self.noise_floor = _measured(engine)
            if self.noise_floor is not None:
                self.tracer.facts[NOISE_FLOOR] = self.noise_floor
            front = AsyncEngine(engine)
            self._closing.callback(front.close)
            self._calls = TracedCalls(CachedCalls(front, self.home.steps))
        return self._calls

    def _load(self, kind: str) -> Engine:
        if others := changed_prompts(read_settings(self.model)):
            self._say(
                f"{self.model.name!r} was trained with other prompts than these ("
                f"{', '.join(others)}) and answers worse for it: train it again"
            )
        loaded = load_engine(kind, self.model, server_file=self.home.server_file)
        if loaded.note:
            self._say(loaded.note)
        # Registered before what runs on it, so closed after.
        self._closing.callback(loaded.engine.close)
        return loaded.engine

    @property
    def info(self) -> EngineInfo:
        """What answers."""
        return self.calls.info

    def context(
        self,
        *,
        collaborative: CollaborativeModel | None = None,
        weights: CombineWeights | None = None,
    ) -> Context:
        """What the nodes depend on; the parts of retrieval and ranking may be given.

        Raises:
            IndexMismatch: The stored vectors were made by another model or other prompts.
        """
        self.home.representations.use(self.index_facts())
        return self.context_of(
            self.calls,
            self.tracer,
            settings=self.settings,
            weights=weights or self.weights(),
            collaborative=collaborative,
        )

    def context_of(
        self,
        calls: Calls,
        tracer: Tracer,
        *,
        settings: Settings,
        weights: CombineWeights,
        collaborative: CollaborativeModel | None = None,
        budget: PictureBudget | None = None,
    ) -> Context:
        """What the nodes depend on, put together for these calls; no engine is loaded."""
        return Context(
            home=self.home,
            calls=calls,
            collaborative=cache(
                lambda: (collaborative or self.collaborative()).tuned(weights.collaborative)
            ),
            facets=cache(lambda: self.facets(settings.without).weighed(weights.attributes)),
            weights=weights,
            budget=budget or load_budget(self.model),
            tracer=tracer,
            index=self.home.representations.facts or self._index_facts,
            settings=settings,
        )

    def index_facts(self) -> IndexFacts:
        """What the vectors of this model are made with; the dimension is learned once."""
        if self._index_facts is None:
            dimension = self.run(self.calls.embed(["dimension"])).shape[1]
            self._index_facts = IndexFacts(
                model=self.info.model,
                model_hash=self.info.model_hash,
                prompt_hash=prompt_hash("look", "fuse"),
                preparation_hash=preparation(load_budget(self.model)),
                dimension=dimension,
            )
        return self._index_facts

    def weights(self) -> CombineWeights:
        """The weights that `combine` fitted for this model, else defaults with its calibration.

        Raises:
            StoreError: The stored weights are not those of this version.
            ModelError: The calibration of the model is broken.
        """
        stored = self.home.read_setting(WEIGHTS)
        if stored and stored.get("model_hash") != self.info.model_hash:
            self._say_once(
                "the fitted weights are another model's and are not used: fit them again with "
                "`srec finetune combine`"
            )
            stored = None
        if not stored:
            return self.unfitted_weights()
        try:
            return CombineWeights.model_validate(stored.get("weights"))
        except ValidationError as error:
            raise StoreError(
                f"the fitted weights of {str(self.home.path)!r} are not those of this version: "
                "fit them again with `srec finetune combine`"
            ) from error

    def unfitted_weights(self) -> CombineWeights:
        """The weights of a home that `combine` never saw, whatever is kept in this one.

        Raises:
            ModelError: The calibration of the model is broken.
        """
        return CombineWeights(calibration=shipped_calibration(self.model))

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def collaborative(self) -> CollaborativeModel:
        """The collaborative model of the whole log; see `kept_model`."""
        return kept_model(self.home, self.settings.liked_rating)

    def facets(self, without: Part | None = None) -> FacetModel:
        """The values of all described items, but for those that an ablation leaves out."""
        catalogue = self.home.catalogue
        return FacetModel.fit(described(catalogue, catalogue.item_ids(), without=without))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the graph's loop and wait for it; callable from any other thread."""
        return self._loop.run(work)

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """`run` for asynchronous callers, from any loop; cancelling it cancels the work."""
        return await self._loop.arun(work)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the graph's loop; cancelling the future cancels it there.

        Raises:
            StoreError: The home was closed.
        """
        return self._loop.start(work)

    def close(self) -> None:
        """End what still runs, and close the engine, the traces and the home. Idempotent."""
        with self._closing:
            self._loop.close()


def model_of(home: Home, named: Path | None = None) -> Path:
    """The folder of the model that answers for a home: the named one, else its own, else ours.

    Raises:
        ModelError: It is not on this machine.
    """
    return resolve_model(named or home.model or bundled_model())


def _measured(engine: Engine) -> float | None:
    try:
        return noise_floor(engine, (YES, NO))
    except ModelError:
        # Such a model can still describe items; what scores with it fails with its own error.
        return None
