"""Slash commands of the chat: one table, from which help and completion come."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rich.console import RenderableType

from mllm_srec.agent.chat.arguments import (
    ItemNames,
    asked,
    file_path,
    how_many,
    picture,
    two_items,
)
from mllm_srec.agent.chat.view import export_text, threads_table, trace_view, turns_text
from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import MAX_SPAN, Intent, Understood
from mllm_srec.agent.conversation.places import points_back
from mllm_srec.agent.doctor import check, findings_table
from mllm_srec.agent.terminal.output import Output
from mllm_srec.agent.terminal.paths import with_tilde
from mllm_srec.agent.terminal.views import facts_table
from mllm_srec.store.files import write_private
from mllm_srec.tools.errors import CannotDo, WrongCall

Completes = Literal["nothing", "items", "users", "threads", "files"]


class Session(Protocol):
    """The chat, as commands see it."""

    out: Output
    talks: Conversations
    conversation: Conversation

    def turn(
        self, text: str, *, picture: bytes | str | None = None, understood: Understood | None = None
    ) -> None:
        """Do a turn and show its answer; see `Conversation.start`."""
        ...

    def show(self, name: str, view: RenderableType, text: str) -> None:
        """Show what a command found."""
        ...

    def go_to(self, user: str, thread: str | None = None) -> None:
        """Leave the thread for another one."""
        ...

    def show_last(self) -> None:
        """Show the last turn of the thread once more."""
        ...

    def leave(self) -> None:
        """End the chat."""
        ...

    def confirmed(self, question: str) -> bool:
        """Whether the person says yes.

        Raises:
            CannotDo: Nobody is there to be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command."""

    usage: str
    about: str
    run: Callable[[Session, str], None]
    """Session and the words after the command."""
    completes: Completes = "nothing"


def run_command(session: Session, line: str) -> None:
    """Run a line that begins with a slash.

    Raises:
        WrongCall: There is no such command.
        CannotDo: It cannot be done here.
    """
    name, _, words = line[1:].strip().partition(" ")
    command = COMMANDS.get(name.casefold())
    if command is None:
        raise WrongCall(f"/{name} is no command: /help lists them")
    command.run(session, words.strip())


def _recommend(session: Session, words: str) -> None:
    k, of_what = how_many(words)
    turn = asked("recommend", k=k, having=(of_what,) if of_what else ())
    session.turn(f"/recommend {words}".strip(), understood=turn)


def _search(session: Session, words: str) -> None:
    session.turn(f"/search {words}".strip(), understood=asked("search", words=words))


def _why(session: Session, words: str) -> None:
    negated = re.fullmatch(r"not\b\s*(.*)", words)
    intent: Intent = "why_not" if negated else "why"
    item = negated[1] if negated else words
    session.turn(f"/why {words}", understood=asked(intent, item=item))


def _compare(session: Session, words: str) -> None:
    first, second = two_items(session.talks.home, words)
    turn = asked("compare", item=first, second=second)
    session.turn(f"/compare {words}", understood=turn)


def _criticise(intent: Intent) -> Callable[[Session, str], None]:
    def run(session: Session, words: str) -> None:
        if not words and intent != "more":
            # In talk nothing named is what was spoken of last; a key too early is no such wish.
            raise WrongCall(f"/{intent} what? A value or an item: /{intent} red, or /{intent} 2")
        meant = words.removeprefix("like ").strip()
        is_item = meant != words or (
            bool(meant) and (points_back(meant) or meant in ItemNames(session.talks.home))
        )
        slots: dict[str, Any] = {"having": (words,) if words else ()}
        if is_item:
            slots = {"item": meant}
        session.turn(f"/{intent} {words}".strip(), understood=asked(intent, **slots))

    return run


def _plain(intent: Intent) -> Callable[[Session, str], None]:
    def run(session: Session, words: str) -> None:
        session.turn(f"/{intent}", understood=asked(intent))

    return run


def _change(do: Literal["add", "remove"]) -> Callable[[Session, str], None]:
    def run(session: Session, words: str) -> None:
        if not words:
            raise WrongCall(f"/{do} which item? Its number or its title: /{do} 2")
        turn = asked("history", do=do, item=words)
        session.turn(f"/{do} {words}".strip(), understood=turn)

    return run


def _profile(session: Session, words: str) -> None:
    slots: dict[str, Any] = {}
    if words:
        added = re.fullmatch(r"add\s+(no\s+)?(.+)", words)
        if added is None:
            raise WrongCall(f"{words!r} is no change: /profile add red, or /profile add no red")
        slots = {"do": "add", "without" if added[1] else "having": (added[2],)}
    session.turn(f"/profile {words}".strip(), understood=asked("profile", **slots))


def _forget(session: Session, words: str) -> None:
    turn = asked("profile", do="forget", having=(words,) if words else ())
    session.turn(f"/forget {words}".strip(), understood=turn)


def _image(session: Session, words: str) -> None:
    shown, said = picture(words)
    session.turn(said, picture=shown, understood=asked("search", words=said[:MAX_SPAN]))


def _retry(session: Session, words: str) -> None:
    said = [turn.said for turn in session.conversation.turns()]
    said = [each for each in said if each["text"].strip() or each["picture"]]
    if not said:
        raise CannotDo("nothing was said yet")
    last = said[-1]
    command = last["command"]
    understood = None if command is None else Understood.model_validate(command)
    session.turn(last["text"], picture=last["picture"], understood=understood)


def _trace(session: Session, words: str) -> None:
    done = [turn.result for turn in session.conversation.turns() if turn.result]
    if not done:
        raise CannotDo("there is no turn to show yet")
    trace_id = done[-1]["trace_id"]
    session.show("trace", trace_view(session.talks.home, trace_id), trace_id)


def _threads(session: Session, words: str) -> None:
    threads = session.talks.threads(session.conversation.user)
    text = "\n".join(
        f"{each.thread_id} {turns_text(each.turns)} {each.first}".rstrip() for each in threads
    )
    session.show("threads", threads_table(threads, session.conversation.thread), text)


def _resume(session: Session, words: str) -> None:
    if words == session.conversation.thread:
        raise CannotDo(f"this is thread {words} already")
    thread = session.talks.home.threads.thread(words)
    if thread is None:
        raise WrongCall(f"there is no thread {words!r}: /threads lists yours")
    session.go_to(session.conversation.user, thread.thread_id)
    session.show_last()
    here = f"thread {thread.thread_id} goes on after {turns_text(thread.turns)}"
    session.show("resume", here, here)


def _fork(session: Session, words: str) -> None:
    old = session.conversation.thread
    if not session.conversation.turns():
        raise CannotDo("nothing was said yet")
    session.go_to(session.conversation.user, session.talks.fork(old))
    here = f"thread {session.conversation.thread} goes on from here; {old} stays as it is"
    session.show("fork", here, here)


def _export(session: Session, words: str) -> None:
    form, _, name = words.partition(" ")
    if words.endswith((".md", ".json")) and form not in ("md", "json"):
        form, name = words.rpartition(".")[2], words
    turns = session.conversation.turns()
    if form == "json":
        text = json.dumps([turn.model_dump() for turn in turns], indent=1, ensure_ascii=False)
    elif form in ("", "md"):
        text = export_text(turns, session.conversation.user)
    else:
        raise WrongCall(f"{form!r} is no form: /export md, /export json, or /export FILE.md")
    if not name.strip():
        session.show("export", text, text)
        return
    path = file_path(name.strip())
    try:
        write_private(path, text.encode())
    except OSError as error:
        raise CannotDo(f"{name.strip()!r} cannot be written: {error.strerror}") from error
    session.show("export", with_tilde(f"written: {path}"), f"written: {path}")


def _delete(session: Session, words: str) -> None:
    doomed, user = session.conversation.thread, session.conversation.user
    if not session.confirmed(f"Delete thread {doomed} and all that was said in it?"):
        raise CannotDo("nothing was deleted")
    session.go_to(user)
    session.talks.delete(doomed)
    session.show("delete", f"deleted: {doomed}", f"deleted: {doomed}")


def _user(session: Session, words: str) -> None:
    if words:
        session.go_to(words)
    user, home = session.conversation.user, session.talks.home
    known = home.catalogue.history(user) or home.feedback.of(user) or session.talks.threads(user)
    new = "" if known else ": the name is new, nothing is known of you yet"
    session.show("user", f"talking with {user}{new}", user)


def _doctor(session: Session, words: str) -> None:
    findings = check(session.talks.home.path, session.out.console())
    text = "\n".join(f"{each.state} {each.name}: {each.text}" for each in findings)
    session.show("doctor", findings_table(findings), text)


def _help(session: Session, words: str) -> None:
    facts = {f"/{name} {each.usage}".strip(): each.about for name, each in COMMANDS.items()}
    facts["Alt-Enter"] = "begins another line of the same message; Enter sends it"
    text = "\n".join(f"{usage}  {about}" for usage, about in facts.items())
    session.show("help", facts_table(facts), text)


def _quit(session: Session, words: str) -> None:
    session.leave()


COMMANDS: dict[str, Command] = {
    "recommend": Command("[K] [VALUE]", "a list for you", _recommend),
    "search": Command("WORDS", "search by words", _search),
    "why": Command("[not] ITEM", "an item in full, and why it is listed, or is not", _why, "items"),
    "compare": Command("ITEM ITEM", "two items side by side", _compare, "items"),
    "more": Command("VALUE or ITEM", "more of it from now on", _criticise("more"), "items"),
    "less": Command("VALUE or ITEM", "less of it from now on", _criticise("less"), "items"),
    "never": Command("VALUE or ITEM", "never again", _criticise("never"), "items"),
    "undo": Command("", "take the last wish or change back", _plain("undo")),
    "profile": Command("[add [no] VALUE]", "what is known of you; or a wish into it", _profile),
    "forget": Command("VALUE", "take a wish out of the profile", _forget),
    "history": Command("", "what you did", _plain("history")),
    "add": Command("ITEM", "put an item into your history", _change("add"), "items"),
    "remove": Command("ITEM", "take an item out of your history", _change("remove"), "items"),
    "image": Command(
        "FILE [WORDS]", "search by a picture; its name alone does, too", _image, "files"
    ),
    "retry": Command("", "say the last thing again", _retry),
    "trace": Command("", "what the last turn did", _trace),
    "threads": Command("", "your conversations", _threads),
    "resume": Command("THREAD", "go on with another conversation", _resume, "threads"),
    "fork": Command("", "go on in a new conversation, and keep this one as it is", _fork),
    "export": Command("[md|json] [FILE]", "this conversation as text", _export, "files"),
    "delete": Command("", "delete this conversation", _delete),
    "user": Command("[NAME]", "who you are, or be somebody else", _user, "users"),
    "doctor": Command("", "check machine, engine and home", _doctor),
    "help": Command("", "this list", _help),
    "quit": Command("", "leave; so does Ctrl-D", _quit),
}
