"""A conversation from Python: `python examples/talk.py HOME USER`."""

import sys

from mllm_srec.agent import Conversations, Recommender


def main(home: str, user: str) -> None:
    """Ask for a list, say what is not wanted, and take it back."""
    with (
        Recommender.open(home) as srec,
        Conversations(srec) as talks,
        talks.begin(user) as chat,
    ):
        for said in ("what should I get", "never blue", "undo"):
            turn = chat.say(said)
            print(f"> {said}\n[{turn.intent}] {turn.answer}\n")
        print(f"thread {chat.thread}: {len(chat.turns())} turns")


if __name__ == "__main__":
    main(*sys.argv[1:3])
