"""The nodes of a turn: understand, act, answer."""

from dataclasses import replace

from langgraph.runtime import Runtime

from mllm_srec.agent.ask import Question, ask
from mllm_srec.agent.conversation import lists, memory, reasons
from mllm_srec.agent.conversation.courtesy import courtesy
from mllm_srec.agent.conversation.intents import (
    MAX_SPAN,
    SPANS,
    Intent,
    Understood,
    check_understood,
    heard,
    said_spans,
)
from mllm_srec.agent.conversation.places import astray, points_at
from mllm_srec.agent.conversation.reading import Reading
from mllm_srec.agent.conversation.state import Outcome, Shown, TurnContext, TurnState, TurnUpdate
from mllm_srec.agent.conversation.turn import Action, AskBack, Turn, outcome
from mllm_srec.agent.conversation.writing import answer_text
from mllm_srec.agent.grounding import invented
from mllm_srec.llm.answer_schema import answer_schema
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.prompting import render
from mllm_srec.store.errors import StoreError
from mllm_srec.store.home import Home
from mllm_srec.tools.errors import CannotDo, ToolError

MAX_TOKENS = 120
UNCLEAR = (
    "it is not clear which item you mean, and nothing was kept: name it by its number or title, as "
    "“less like 2”, or a price, as “under 20”"
)

ACTIONS: dict[Intent, Action] = {
    "recommend": lists.recommend,
    "search": lists.search,
    "more": lists.more,
    "less": lists.less,
    "never": lists.never,
    "why": reasons.why,
    "why_not": reasons.why_not,
    "compare": reasons.compare,
    "profile": memory.profile,
    "history": memory.history,
    "undo": memory.undo,
    "user": memory.user,
    "help": memory.help_,
    "other": memory.other,
}


async def understand(state: TurnState, runtime: Runtime[TurnContext]) -> TurnUpdate:
    """Read the intent, and what it is about, from the message."""
    if state.command is not None:
        return {"understood": state.command, "fallback": False}
    said = heard(state.said)
    if (plain := _without_model(state, said)) is not None:
        return {"understood": plain.model_dump(mode="json"), "fallback": False}
    calls = runtime.context.srec.context.calls
    [reply] = await ask(calls, [understand_question(before(state), said)], max_tokens=MAX_TOKENS)
    asked = state.asked
    if asked and reply.value.intent == asked["intent"] and not reply.value.spans():
        # It answers nothing of what was asked: thanks, or another matter.
        asked, alone = None, before(replace(state, asked=None))
        [reply] = await ask(calls, [understand_question(alone, said)], max_tokens=MAX_TOKENS)
    understood = reply.value
    if state.picture and understood.intent in ("recommend", "other"):
        understood = understood.model_copy(update={"intent": "search"})
    if asked and understood.intent == asked["intent"]:
        if understood.second == understood.item:
            # What answers the question is one item, marked twice.
            understood = understood.model_copy(update={"second": ""})
        understood = understood.over_before(Understood.model_validate(asked))
    return {"understood": understood.model_dump(mode="json"), "fallback": reply.fallback}


def _without_model(state: TurnState, said: str) -> Understood | None:
    """What a message asks for that no model need read; None where one must."""
    if not any(character.isalnum() for character in said):
        return Understood(intent="search" if state.picture else "other")
    if courtesy(said) and not state.picture:
        return Understood(intent="other")
    if state.shown and len(said) <= MAX_SPAN and points_at(said):
        if not state.asked:
            # Nothing but `the second`: it is shown, and no wish is read into it.
            return Understood(intent="why", item=said)
        if state.asked["intent"] == "compare":
            one = Understood(intent="compare", item=said)
            return one.over_before(Understood.model_validate(state.asked))
    return None


def understand_question(before: str, said: str) -> Question[Understood]:
    """What does the user want?"""
    return Question(
        prompt=understand_prompt(before, said),
        check=lambda text: check_understood(text, said),
        plain=lambda: Understood(intent="other"),
    )


def understand_prompt(before: str, said: str) -> Prompt:
    """The prompt of a message, as it is read, after what went before."""
    read = Reading.of(said).text
    given = dict.fromkeys(SPANS, said_spans(read))
    return render("understand", before=before, said=read, schema=answer_schema(Understood, given))


def before(state: TurnState) -> str:
    """What a message may refer to: the question that was asked, or the last list."""
    if state.asked:
        return f"asked back about {state.asked['intent']}"
    if not state.last:
        return "nothing"
    return f"{state.last['intent']}, {len(state.shown)} shown"


async def act(state: TurnState, runtime: Runtime[TurnContext]) -> TurnUpdate:
    """Do what was asked, by tools; what cannot be done, or needs a question, is said."""
    understood = Understood.model_validate(state.understood)
    turn = Turn(state, understood, runtime.context, tell=runtime.stream_writer)
    try:
        if state.command is None and understood.writes and astray(understood.item, state.said):
            raise CannotDo(UNCLEAR)
        return {"asked": None, **await ACTIONS[understood.intent](turn)}
    except AskBack as question:
        asked = question.asked or understood
        return {"outcome": outcome(str(question)), "asked": asked.model_dump(mode="json")}
    except ToolError as error:
        return _failed(runtime.context.so_far, f"Sorry: {error}.")
    except StoreError as error:
        # Another process writes: the person may try again, and the conversation goes on.
        return _failed(runtime.context.so_far, f"Not now: {error}.")


def _failed(so_far: TurnUpdate, why: str) -> TurnUpdate:
    """What was done before the rest failed stays, and is said with the reason."""
    if not so_far:
        return {"outcome": outcome(why), "asked": None}
    said = so_far["outcome"]
    return {**so_far, "outcome": {**said, "lines": [*said["lines"], why]}}


async def answer(state: TurnState, runtime: Runtime[TurnContext]) -> TurnUpdate:
    """Write the answer: facts from tools, and the model's reasons as far as they keep to them."""
    home = runtime.context.srec.deployment.home
    items: list[Shown] = [
        {**each, "reason": _reason(each, home)} for each in state.outcome["items"]
    ]
    said: Outcome = {**state.outcome, "items": items}
    # Only the list that `the second` means has numbers.
    numbered = len(items) > 1 and state.outcome["items"] == state.shown
    return {"answer": answer_text(said, numbered=numbered), "outcome": said}


def _reason(item: Shown, home: Home) -> str:
    """The model's reason, empty where it claims what no tool said."""
    if not item["reason"]:
        return ""
    ids = [item["item_id"], *item["evidence"]]
    described = home.catalogue.representations(ids)
    facts = [entry.fused.line for entry in described.values()]
    facts += [each.title for each in home.catalogue.items(ids).values()]
    return "" if invented(item["reason"], [*facts, *ids]) else item["reason"]
