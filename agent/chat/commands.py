"""Slash commands of the chat: one table, from which help and completion come."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rich.console import RenderableType

from mllm_srec.agent.chat.view import export_text, threads_table, trace_view
from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.agent.conversation.intents import Intent, Understood
from mllm_srec.agent.conversation.reading import place, points_back
from mllm_srec.agent.doctor import check, findings_table
from mllm_srec.agent.terminal.output import Output
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
        self, text: str, *, picture: bytes | None = None, understood: Understood | None = None
    ) -> None:
        """Do a turn and show its answer."""
        ...

    def show(self, name: str, view: RenderableType, text: str) -> None:
        """Show what a command found."""
        ...

    def go_to(self, user: str, thread: str | None = None) -> None:
        """Leave the thread for another one."""
        ...

    def leave(self) -> None:
        """End the chat."""
        ...

    def confirmed(self, question: str) -> bool:
        """Whether the person says yes; without a person, no."""
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


def _why(session: Session, words: str) -> None:
    negated = re.fullmatch(r"not\b\s*(.*)", words)
    intent: Intent = "why_not" if negated else "why"
    item = negated[1] if negated else words
    session.turn(f"/why {words}", understood=Understood(intent=intent, item=item))


def _compare(session: Session, words: str) -> None:
    parts = [part.strip() for part in re.split(r"\s+and\s+|,|\s+with\s+", words) if part.strip()]
    if len(parts) == 1:
        parts = words.split()
    if len(parts) not in (0, 2):
        raise WrongCall(f"{words!r} are not two items: /compare 1 3, or /compare TITLE and TITLE")
    first, second = parts or ("", "")
    asked = Understood(intent="compare", item=first, second=second)
    session.turn(f"/compare {words}", understood=asked)


def _criticise(intent: Intent) -> Callable[[Session, str], None]:
    def run(session: Session, words: str) -> None:
        meant = words.removeprefix("like ").strip()
        is_item = place(meant) is not None or (bool(meant) and points_back(meant))
        is_item = is_item or session.talks.home.catalogue.item(meant) is not None
        asked = (
            Understood(intent=intent, item=meant)
            if is_item or meant != words
            else Understood(intent=intent, having=(words,) if words else ())
        )
        session.turn(f"/{intent} {words}".strip(), understood=asked)

    return run


def _plain(intent: Intent) -> Callable[[Session, str], None]:
    def run(session: Session, words: str) -> None:
        session.turn(f"/{intent}", understood=Understood(intent=intent))

    return run


def _change(do: Literal["add", "remove"]) -> Callable[[Session, str], None]:
    def run(session: Session, words: str) -> None:
        asked = Understood(intent="history", do=do, item=words)
        session.turn(f"/{do} {words}".strip(), understood=asked)

    return run


def _profile(session: Session, words: str) -> None:
    asked = Understood(intent="profile")
    if words:
        added = re.fullmatch(r"add\s+(no\s+)?(.+)", words)
        if added is None:
            raise WrongCall(f"{words!r} is no change: /profile add red, or /profile add no red")
        side = "without" if added[1] else "having"
        asked = asked.model_copy(update={"do": "add", side: (added[2],)})
    session.turn(f"/profile {words}".strip(), understood=asked)


def _forget(session: Session, words: str) -> None:
    asked = Understood(intent="profile", do="forget", having=(words,) if words else ())
    session.turn(f"/forget {words}".strip(), understood=asked)


def _image(session: Session, words: str) -> None:
    parts = shlex.split(words)
    if not parts:
        raise WrongCall("name a picture: /image FILE, and words if you like")
    path = Path(parts[0]).expanduser()
    try:
        picture = path.read_bytes()
    except OSError as error:
        raise CannotDo(f"{parts[0]!r} cannot be read: {error.strerror}") from error
    said = " ".join(parts[1:])
    asked = Understood(intent="search", words=said[:80])
    session.turn(said, picture=picture, understood=asked)


def _retry(session: Session, words: str) -> None:
    said = [turn.said for turn in session.conversation.turns() if turn.said["text"].strip()]
    if not said:
        raise CannotDo("nothing was said yet")
    last = said[-1]
    command = last["command"]
    understood = None if command is None else Understood.model_validate(command)
    session.turn(last["text"], understood=understood)


def _trace(session: Session, words: str) -> None:
    done = [turn.result for turn in session.conversation.turns() if turn.result]
    if not done:
        raise CannotDo("there is no turn to show yet")
    trace_id = done[-1]["trace_id"]
    session.show("trace", trace_view(session.talks.home, trace_id), trace_id)


def _threads(session: Session, words: str) -> None:
    threads = session.talks.threads(session.conversation.user)
    text = "\n".join(f"{each.thread_id} {each.turns} turns" for each in threads)
    session.show("threads", threads_table(threads, session.conversation.thread), text)


def _resume(session: Session, words: str) -> None:
    thread = session.talks.home.threads.thread(words)
    if thread is None:
        raise WrongCall(f"there is no thread {words!r}: /threads lists yours")
    session.go_to(session.conversation.user, thread.thread_id)
    here = f"thread {thread.thread_id} goes on after {thread.turns} turns"
    session.show("resume", here, here)


def _fork(session: Session, words: str) -> None:
    old = session.conversation.thread
    session.go_to(session.conversation.user, session.talks.fork(old))
    here = f"thread {session.conversation.thread} goes on from here; {old} stays as it is"
    session.show("fork", here, here)


def _export(session: Session, words: str) -> None:
    form, _, name = words.partition(" ")
    turns = session.conversation.turns()
    if form == "json":
        text = json.dumps([turn.model_dump() for turn in turns], indent=1, ensure_ascii=False)
    elif form in ("", "md"):
        text = export_text(turns, session.conversation.user)
    else:
        raise WrongCall(f"{form!r} is no form: /export md or /export json, then a file")
    if not name.strip():
        session.show("export", text, text)
        return
    path = Path(name.strip()).expanduser()
    try:
        write_private(path, text.encode())
    except OSError as error:
        raise CannotDo(f"{name.strip()!r} cannot be written: {error.strerror}") from error
    session.show("export", f"written: {path}", f"written: {path}")


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
    user = session.conversation.user
    session.show("user", f"talking with {user}", user)


def _doctor(session: Session, words: str) -> None:
    findings = check(session.talks.home.path, session.out.console())
    text = "\n".join(f"{each.state} {each.name}: {each.text}" for each in findings)
    session.show("doctor", findings_table(findings), text)


def _help(session: Session, words: str) -> None:
    facts = {f"/{name} {each.usage}".strip(): each.about for name, each in COMMANDS.items()}
    text = "\n".join(f"{usage}  {about}" for usage, about in facts.items())
    session.show("help", facts_table(facts), text)


def _quit(session: Session, words: str) -> None:
    session.leave()


COMMANDS: dict[str, Command] = {
    "why": Command("[not] ITEM", "why an item is in the list, or is not", _why, "items"),
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
    "image": Command("FILE [WORDS]", "search by a picture", _image, "files"),
    "retry": Command("", "say the last thing again", _retry),
    "trace": Command("", "what the last turn did", _trace),
    "threads": Command("", "your conversations", _threads),
    "resume": Command("THREAD", "go on with another conversation", _resume, "threads"),
    "fork": Command("", "go on in a new conversation, and keep this one as it is", _fork),
    "export": Command("md|json [FILE]", "this conversation as text", _export, "files"),
    "delete": Command("", "delete this conversation", _delete),
    "user": Command("[NAME]", "who you are, or be somebody else", _user, "users"),
    "doctor": Command("", "check machine, engine and home", _doctor),
    "help": Command("", "this list", _help),
    "quit": Command("", "leave; so does Ctrl-D", _quit),
}
