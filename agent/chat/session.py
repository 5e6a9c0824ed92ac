"""`srec chat`: a conversation on a terminal, through a pipe, or as JSON lines."""

import io
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console, RenderableType
from rich.live import Live

from mllm_srec.agent.chat.arguments import names_picture
from mllm_srec.agent.chat.commands import COMMANDS, run_command
from mllm_srec.agent.chat.view import Ticker, said_line, turn_view
from mllm_srec.agent.conversation.conversation import Conversations
from mllm_srec.agent.conversation.intents import MAX_SPAN, Understood
from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.errors import SREC_ERRORS
from mllm_srec.agent.events import Begin, follow
from mllm_srec.agent.terminal.item_pictures import Pictures, home_pictures
from mllm_srec.agent.terminal.keys import kept_off_screen
from mllm_srec.agent.terminal.output import Output
from mllm_srec.agent.untrusted import sound, visible, words
from mllm_srec.store.files import make_private
from mllm_srec.tools.errors import CannotDo

FRAMES_A_SECOND = 10
"""Drawings of the line of nodes."""
COMPLETED = 50
"""Completions offered at once."""
HINT = "Ctrl-C once more, Ctrl-D or /quit leaves."
AGAIN = "stopped; /retry says it again"


class Chat:
    """One sitting at the terminal."""

    def __init__(
        self, out: Output, talks: Conversations, user: str, thread: str | None, *, pictures: bool
    ) -> None:
        self.out = out
        self.talks = talks
        self.conversation = talks.begin(user, thread)
        self._console: Console = out.console()
        self._pictures = Pictures.on(
            self._console, home_pictures(talks.home), wanted=pictures and not out.as_json
        )
        self._watched = sys.stdin.isatty() and sys.stdout.isatty() and not out.as_json
        self._over = False

    def run(self) -> None:
        """Talk until the person leaves, or the input ends."""
        if self._watched:
            info = self.talks.srec.deployment.info
            here = f"{self.conversation.user}, thread {self.conversation.thread}"
            self._console.print(
                words(f"{here}, {info.engine} with {info.model}", "dim"),
                words("Say what you look for. /help lists commands, Ctrl-D leaves.", "dim"),
                sep="\n",
            )
        self._show_resumed()
        self.show_last()
        with ExitStack() as closing:
            closing.callback(lambda: self.conversation.close())
            for line in self._typed() if self._watched else _lines():
                self._take(line)
                if self._over:
                    break
            if self._watched and self.conversation.turns():
                self._console.print(words(self._going_on(), "dim"), soft_wrap=True)

    def _going_on(self) -> str:
        """The command that goes on with this conversation."""
        user, home = self.conversation.user, str(self.talks.home.path)
        options = ("--user", user, "--thread", self.conversation.thread, "--home", home)
        return f"goes on with: {shlex.join(('srec', 'chat', *options))}"

    def turn(
        self, text: str, *, picture: bytes | str | None = None, understood: Understood | None = None
    ) -> None:
        """Do a turn and show its answer; see `Conversation.start`."""
        result = self._watched_turn(
            lambda tell: self.conversation.start(text, tell, picture=picture, turn=understood)
        )
        self._show(result)

    def _watched_turn(self, begin: Begin[TurnResult]) -> TurnResult:
        """Do a turn, and show the nodes as they tick by where a person watches."""
        ticker = Ticker()
        ticking = Live(
            ticker, console=self._console, transient=True, refresh_per_second=FRAMES_A_SECOND
        )
        try:
            with ExitStack() as watching:
                if self._watched:
                    watching.enter_context(kept_off_screen())
                    watching.enter_context(ticking)
                for event in follow(begin):
                    if isinstance(event, TurnResult):
                        result = event
                    else:
                        ticker(event)
        except KeyboardInterrupt:
            self._console.print(ticker.so_far)
            raise KeyboardInterrupt(AGAIN) from None
        return result

    def _show(self, result: TurnResult) -> None:
        if self.out.as_json:
            self.out.result(result.to_dict(), lambda _: "")
        elif self._watched:
            self._console.print(turn_view(result, self._pictures))
        else:
            self._console.print(words(result.answer, lines=True), soft_wrap=True)

    def show(self, name: str, view: RenderableType, text: str) -> None:
        """Show what a command found."""
        if isinstance(view, str) and not self.out.as_json:
            # Whole lines where a program reads them: a break within a text makes JSON unreadable.
            self._console.print(words(view, lines=True), soft_wrap=not self._watched)
        else:
            self.out.result({"command": name, "text": text}, lambda _: view)

    def go_to(self, user: str, thread: str | None = None) -> None:
        """Leave the thread for another one; its turn that was cut off is finished and shown."""
        left, self.conversation = self.conversation, self.talks.begin(user, thread)
        left.close()
        self._show_resumed()

    def _show_resumed(self) -> None:
        if self.conversation.resumed:
            self.out.note("the last turn was cut off; finished now:")
            self._show(self.conversation.resumed)

    def show_last(self) -> None:
        """Show a person where a thread stands that goes on: the last turn that told of items."""
        done = [
            (said_line(turn.said), TurnResult.from_dict(turn.result))
            for turn in self.conversation.turns()
            if turn.result
        ]
        if self._watched and done and not self.conversation.resumed:
            said, last = next((each for each in reversed(done) if each[1].items), done[-1])
            self._console.print(words(said, "dim"))
            self._show(last)

    def leave(self) -> None:
        """End the chat after this line."""
        self._over = True

    def confirmed(self, question: str) -> bool:
        """Whether the person says yes.

        Raises:
            CannotDo: Nobody is there to be asked.
        """
        if not self._watched:
            raise CannotDo(
                "nothing was deleted: only a person at a terminal is asked; "
                "`srec threads prune --yes` deletes conversations without asking"
            )
        try:
            answer: str = PromptSession[str]().prompt(f"{question} [y/N] ")
        except (EOFError, KeyboardInterrupt):
            return False
        return answer.strip().casefold() in ("y", "yes")

    def _take(self, line: str) -> None:
        """Do one line; what goes wrong is one line, Ctrl-C stops it, and the chat goes on."""
        try:
            command = f"/image {line}" if names_picture(line) else line
            if command.startswith("/"):
                run_command(self, sound(command))
            else:
                self.turn(line)
        except SREC_ERRORS as error:
            text = visible(str(error))
            if self.out.as_json:
                self.out.result({"error": text}, lambda _: "")
            else:
                self._console.print(words(text, "yellow"))
        except KeyboardInterrupt as stop:
            self.out.note(str(stop) or "stopped")
            if not self._watched:
                raise

    def _typed(self) -> Iterator[str]:
        """Lines of a person, with history, completion and several lines at once."""
        session: PromptSession[str] = PromptSession(
            history=_history(self.talks.home.conversations_path / "typed"),
            completer=_Completer(self),
            key_bindings=_keys(),
            complete_while_typing=False,
            enable_history_search=True,
            multiline=False,
        )
        warned = False
        while True:
            try:
                line = session.prompt(HTML("<b>&gt; </b>"))
            except EOFError:
                return
            except KeyboardInterrupt:
                if warned:
                    return
                warned = True
                self.out.note(HINT)
                continue
            warned = False
            if line.strip():
                yield line.strip()


class _Completer(Completer):
    """Commands; after a command, the items, users, threads or files that it takes."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._files = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield what may stand at the cursor."""
        before = document.text_before_cursor
        if not before.startswith("/"):
            return
        name, gap, typed = before[1:].partition(" ")
        if not gap:
            yield from (
                Completion(f"/{each}", start_position=-len(before), display_meta=command.about)
                for each, command in COMMANDS.items()
                if each.startswith(name)
            )
            return
        command = COMMANDS.get(name)
        if command is None:
            return
        if command.completes == "files":
            rest = Document(typed, len(typed))
            yield from self._files.get_completions(rest, complete_event)
            return
        found = (each for each in self._words(command.completes) if _begins(each, typed))
        for _, (text, meta) in zip(range(COMPLETED), found, strict=False):
            yield Completion(text, start_position=-len(typed), display_meta=meta)

    def _words(self, kind: str) -> Iterator[tuple[str, str]]:
        home = self._chat.talks.home
        if kind == "items":
            for item in home.catalogue.items().values():
                title = visible(item.title)
                # A longer title cannot be named in a turn, so its id is offered for it.
                named = 0 < len(title) <= MAX_SPAN
                # In brackets, as lists show it: an id of digits alone would be a place.
                yield (title, item.item_id) if named else (f"[{item.item_id}]", title)
        elif kind == "users":
            yield from ((visible(user), "") for user in home.catalogue.user_ids())
        elif kind == "threads":
            threads = self._chat.talks.threads(self._chat.conversation.user)
            yield from ((each.thread_id, visible(each.first)) for each in threads)


def run_chat(
    out: Output, talks: Conversations, *, user: str, thread: str | None, pictures: bool
) -> None:
    """Talk with a user.

    Raises:
        StoreError: The thread is another user's.
        HomeBusy: Another chat has the thread open.
    """
    Chat(out, talks, user, thread, pictures=pictures).run()


def _lines() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        # What is piped may be anything; bytes that are no text shall not end the chat.
        sys.stdin.reconfigure(errors="replace")
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _begins(found: tuple[str, str], typed: str) -> bool:
    return any(text.casefold().startswith(typed.casefold()) for text in found if text)


def _history(path: Path) -> FileHistory:
    """What was typed before, in a file that only its owner reads."""
    make_private(path)
    return FileHistory(str(path))


def _keys() -> KeyBindings:
    """Alt-Enter begins another line; Enter sends."""
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
