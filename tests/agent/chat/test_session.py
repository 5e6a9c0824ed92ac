"""The chat at a real pseudo-terminal, and through a pipe."""

import io
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from PIL import Image

from tests.agent.conversation.talk import opened

from .terminal import CLEAR, ROOT, WAIT_S, Terminal, piped, scripted

SCREENS = Path(__file__).with_name("chat_screens.txt")
TURNS = (
    "two things please",
    "why the first",
    "/why not rattle",
    "others",
    "something green under 30",
    "never blue",
    "undo",
    "find a blue ball",
    "/more 1",
    "/less rubber",
    "compare duck and drum",
    "/compare 1 2",
    "/profile add wood",
    "who am i to you",
    "/forget rubber",
    "what did I get",
    "I have the puzzle",
    "undo",
    "why 9",
    "what is the weather",
    "/nonsense",
)


def cut_off(home: Path, text: str) -> None:
    """A thread whose turn was written down, and then the process died."""
    with opened(home) as talks:
        talks.home.threads.start("cut-off", "ben", now=1)
        said = {"text": text, "picture": None, "command": None}
        talks.home.threads.accept("cut-off", said)


def answers(home: Path, lines: str) -> list[dict[str, Any]]:
    done = piped(home, lines, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat") / "home"


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    opened = Terminal(scripted(home), NO_COLOR="1")
    opened.ready()
    yield opened
    opened.kill()


def test_each_screen_of_a_long_conversation_looks_as_it_should(tmp_path: Path) -> None:
    terminal = Terminal(scripted(tmp_path / "home"), NO_COLOR="1")
    assert "ben, thread t1, scripted with " in terminal.ready()
    screens = [terminal.say(line) for line in TURNS]
    assert terminal.leave() == 0
    home = tmp_path / "home"
    assert f"goes on with: srec chat --user ben --thread t1 --home {home}" in terminal.written()
    assert "\n\n".join(screens) + "\n" == SCREENS.read_text("utf-8")


def test_a_list_stands_there_before_its_reasons(tmp_path: Path) -> None:
    terminal = Terminal(scripted(tmp_path / "home", slow="Say in one sentence"))
    terminal.ready()
    terminal.send("never blue\r")
    shown = terminal.flashed(r"(?s)20\.00.*explain …")
    assert re.search(r"(?m)^Noted: never blue\. For you:\n1\. Fine \w+ \[i\d\], 20\.00$", shown)
    assert "suits you" not in shown
    # Stopped there, the list stays on the screen, and the wish is one that can be taken back.
    terminal.send("\x03")
    kept = terminal.wait(r"stopped; /retry says it again\n>\Z")
    assert re.search(r"(?m)^Noted: never blue\. For you:\n1\. Fine \w+ \[i\d\], 20\.00$", kept)
    assert "Taken back: never blue." in terminal.say("/undo")
    terminal.kill()


def test_ctrl_c_stops_the_turn_and_keeps_the_chat(terminal: Terminal) -> None:
    terminal.send("slow\r")
    shown = terminal.flashed("understand …")
    assert re.search(r"\d\.\d s", shown)
    terminal.send("\x03")
    terminal.wait("stopped; /retry says it again")
    assert "/why [not] ITEM" in terminal.say("/help")
    terminal.send("\x03")
    terminal.wait("Ctrl-D or /quit leaves")
    terminal.send("\x03")
    terminal.child.expect(pexpect.EOF, timeout=WAIT_S)


def test_what_is_typed_while_a_turn_runs_waits_and_leaves_the_screen_alone(
    terminal: Terminal,
) -> None:
    terminal.send(CLEAR)
    terminal.wait(r"\A>\Z")
    terminal.send("slow\r")
    terminal.flashed("understand …")
    terminal.send("\r/user\r")
    shown = terminal.wait(r"talking with ben\n>\Z")
    assert "understand" not in shown
    assert shown.count("For you:") == 1
    assert shown.count("/user") == 1


@pytest.mark.parametrize("key", ["\x04", "\x03"])
def test_ctrl_d_and_ctrl_c_at_a_question_mean_no(terminal: Terminal, key: str) -> None:
    terminal.send("/delete\r")
    terminal.wait(r"\[y/N\]")
    terminal.send(key)
    terminal.wait("nothing was deleted")
    assert "talking with ben" in terminal.say("/user")


def test_ctrl_c_in_a_command_stops_it_and_keeps_the_chat(tmp_path: Path) -> None:
    home = tmp_path / "home"
    cut_off(home, "slow")
    terminal = Terminal(scripted(home), NO_COLOR="1")
    terminal.ready()
    log = home.with_suffix(".log")
    log.unlink(missing_ok=True)
    terminal.send("/resume cut-off\r")
    deadline = time.monotonic() + WAIT_S
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    terminal.send("\x03")
    terminal.wait("stopped")
    assert "talking with ben" in terminal.say("/user")
    terminal.kill()


def test_commands_titles_users_and_threads_are_completed(terminal: Terminal) -> None:
    terminal.send("/prof\t")
    terminal.wait("(?m)^> /profile")
    terminal.send("\r")
    terminal.wait("What is known about you")
    terminal.send("/why Fine du\t")
    terminal.wait("(?m)^> /why Fine duck")
    terminal.send("\r")
    terminal.wait(r"Fine duck \[i8\]")
    terminal.send("/user ad\t")
    terminal.wait("(?m)^> /user ada")
    terminal.send("\x15/resume t\t")
    terminal.wait("(?m)^> /resume t1")


def test_a_line_comes_back_from_the_history_and_may_be_several(terminal: Terminal) -> None:
    terminal.say("/why not rattle")
    terminal.send("\x1b[A")
    terminal.wait(r"(?m)^> /why not rattle\Z")
    terminal.send("\x15a\x1b\rb\r")
    shown = terminal.wait("(?m)^more, less, never")
    assert "> a\nb\nAll I can do" in shown
    # Lines that are pasted are one message, too.
    terminal.ready()
    terminal.send("\x0c\x1b[200~a\nb\x1b[201~\r")
    assert "All I can do" in terminal.wait(r"(?m)^> a\nb\n(.*\n)+>\Z")


def test_lines_from_a_pipe_get_plain_answers(home: Path) -> None:
    done = piped(home, "two things please\n\n/why 1\n/nonsense\n/recommend 1234567\n")
    assert done.returncode == 0, done.stderr
    assert "1. Fine" in done.stdout
    assert "/nonsense is no command" in done.stdout
    assert "a list has 1 to 50 items, not 1234567." in done.stdout
    assert "\x1b" not in done.stdout


def test_a_talk_that_is_exported_into_a_pipe_can_be_read(tmp_path: Path) -> None:
    done = piped(tmp_path / "home", "two things please\n/export json\n")
    [turn] = json.loads(done.stdout[done.stdout.index("[\n {") :])
    assert turn["said"]["text"] == "two things please"


def test_a_file_is_exported_in_the_form_that_its_name_has(tmp_path: Path) -> None:
    json_file, md_file = tmp_path / "my talk.json", tmp_path / "talk.md"
    lines = ("help", f"/export {json_file}", f"/export md {md_file}", f"/export {tmp_path}/talk")
    *_, refused = answers(tmp_path / "home", "\n".join(lines))
    assert json.loads(json_file.read_text())[0]["said"]["text"] == "help"
    assert md_file.read_text().startswith("# Conversation of ben")
    assert "is no form" in refused["error"]


def test_binary_from_a_pipe_is_a_message_like_any_other(home: Path) -> None:
    done = subprocess.run(
        scripted(home, "--json"),
        input=b"\x89PNG\r\x1a\x00\xff\xfe IHDR\n/less \xff\xfe\ntwo things please\n",
        capture_output=True,
        check=True,
        timeout=WAIT_S,
        cwd=ROOT,
    )
    *_, last = map(json.loads, done.stdout.splitlines())
    assert last["intent"] == "recommend"


def test_a_second_chat_on_the_same_thread_is_refused(terminal: Terminal, home: Path) -> None:
    done = piped(home, "help\n")
    assert done.returncode == 1
    assert "another chat has the thread 't1' open" in done.stderr


def test_json_lines_carry_what_the_contract_names(home: Path) -> None:
    lines = "two things please\n/why 1\n/threads\n/fork\n/why 2\n/nonsense\n"
    done = piped(home, lines, "--json")
    first, second, threads, fork, third, wrong = map(json.loads, done.stdout.splitlines())
    wanted = {"turn", "thread", "intent", "answer", "items", "trace_id", "seconds"}
    assert wanted <= set(first)
    assert (first["intent"], second["intent"]) == ("recommend", "why")
    assert second["turn"] == first["turn"] + 1
    assert threads["command"] == "threads"
    assert fork["command"] == "fork"
    assert (third["turn"], third["thread"] != first["thread"]) == (second["turn"] + 1, True)
    assert [item["item_id"] for item in third["items"]] == [first["items"][1]["item_id"]]
    assert "no command" in wrong["error"]


def test_a_list_and_a_search_have_commands_and_what_is_too_long_is_told(home: Path) -> None:
    listed, of_what, found, wrong, long, titled = answers(
        home,
        "/recommend 2\n/recommend one green thing\n/search blue ball\n/recommend 2 or 3\n"
        f"/why {'x' * 81}\n/never Fine duck\n",
    )
    assert (listed["intent"], len(listed["items"])) == ("recommend", 2)
    assert (of_what["answer"].split("\n")[0], len(of_what["items"])) == ("For you (green):", 1)
    assert (found["intent"], found["items"][0]["item_id"]) == ("search", "i6")
    assert "'2 or 3' has two numbers" in wrong["error"]
    assert "has 81 characters" in long["error"]
    assert titled["answer"].startswith("Noted: never Fine duck [i8].")


def test_a_command_that_names_nothing_keeps_nothing(tmp_path: Path) -> None:
    names = ("never", "less", "add", "remove")
    lines = ("/recommend 2", "/why 1", *(f"/{each}" for each in names), "/profile")
    _, why, *wrong, profile = answers(tmp_path / "home", "\n".join(lines))
    # What was spoken of last: in talk, and of a command that only shows, it is meant.
    assert why["intent"] == "why"
    assert [each["error"].split(" ")[0] for each in wrong] == [f"/{each}" for each in names]
    assert wrong[0]["error"] == "/never what? A value or an item: /never red, or /never 2"
    assert "you said" not in profile["answer"]


def test_a_picture_that_is_said_again_is_shown_again(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), (20, 160, 20)).save(picture, "PNG")
    path = tmp_path / "user's picture.png"
    path.write_bytes(picture.getvalue())
    lines = (f"/image {path}", "/retry", str(path), shlex.quote(str(path)), "what's in x.png")
    shown, *again, other = answers(tmp_path / "home", "\n".join(lines))
    assert shown["answer"].startswith("Your picture shows toy: green.")
    # Its name alone, as a terminal pastes it, is the picture, too.
    turns = [(each["turn"], each["answer"]) for each in again]
    assert turns == [(turn, shown["answer"]) for turn in (2, 3, 4)]
    assert (other["turn"], other["intent"]) == (5, "other")


def test_what_a_pipe_cannot_do_and_a_new_name_and_a_picture_are_told(tmp_path: Path) -> None:
    path = tmp_path / "green.png"
    Image.new("RGB", (40, 40), (20, 160, 20)).save(path)
    lines = f"/image {path}\n/export md\n/delete\n/user mia\n/user nobody-here\n"
    shown = piped(tmp_path / "home", lines).stdout
    assert "## 1\n\n> (a picture)\n" in shown
    assert "nothing was deleted: only a person at a terminal is asked; `srec threads" in shown
    assert "talking with mia\n" in shown
    assert "talking with nobody-here: the name is new, nothing is known of you yet\n" in shown


def test_a_turn_that_was_cut_off_is_shown_when_its_thread_is_taken_up(tmp_path: Path) -> None:
    cut_off(tmp_path / "home", "never blue")
    resumed, here = answers(tmp_path / "home", "/resume cut-off\n")
    assert resumed["answer"].startswith("Noted: never blue. For you:")
    assert here["text"] == "thread cut-off goes on after 1 turn"


def test_the_last_turn_with_items_is_shown_again_where_a_thread_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    piped(home, "two things please\nwhy the first\nwhat is the weather\n/user mia\n")
    terminal = Terminal(scripted(home), NO_COLOR="1")
    begun = terminal.ready()
    assert re.search(r"\n> why the first\nFine \w+ \[i\d\], 20\.00\n", begun)
    terminal.say("/user ben")
    resumed = terminal.say("/resume t1")
    assert re.search(r"(?s)> why the first\nFine .+\nthread t1 goes on after 3 turns", resumed)
    terminal.kill()


def test_a_trace_in_the_chat_fits_a_screen_and_names_the_command_for_the_rest(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    terminal = Terminal(scripted(home), NO_COLOR="1")
    terminal.ready()
    terminal.say("two things please")
    shown = terminal.say("/trace")
    assert "asked two things please" in shown
    assert re.search(r"(?m)^└ score_targets +[░▓█▄▒─·]+ ", shown)
    assert re.search(rf"srec trace show [0-9a-f]{{12}} --home {home}", shown.replace("\n", ""))
    assert "What does the user want?" not in shown
    terminal.kill()


def test_help_names_the_key_for_another_line_and_an_empty_talk_has_no_fork(tmp_path: Path) -> None:
    lines = "/help\n/fork\n/threads\n/resume t1\nhelp\n/threads\n"
    helped, fork, threads, here, _, now = answers(tmp_path / "home", lines)
    assert "Alt-Enter  begins another line" in helped["text"]
    assert fork["error"] == "nothing was said yet"
    assert threads["text"] == ""
    assert here["error"] == "this is thread t1 already"
    assert now["text"] == "t1 1 turn help"
