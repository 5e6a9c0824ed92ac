"""Wishes that a turn keeps: each once, so that it can be taken back."""

from mllm_srec.agent.conversation.state import Done
from mllm_srec.agent.conversation.turn import Turn
from mllm_srec.store.feedback import Feedback, Stance, SubjectKind
from mllm_srec.tools.feedback import give_feedback, give_item_feedback, wish_text


def keep_wish(turn: Turn, stance: Stance, kind: SubjectKind, subject: str) -> Feedback:
    """Keep a wish about a value, or about the item of an id.

    One that counts already is not kept twice: it is returned as it was said, with its own origin.
    """
    for said in turn.home.feedback.of(turn.user_id):
        if (said.stance, said.kind, said.subject) == (stance, kind, subject):
            return said
    give = give_feedback if kind == "value" else give_item_feedback
    key = turn.key(subject)
    return give(turn.home, turn.user_id, stance, subject, origin=turn.origin, key=key)


def wish_done(turn: Turn, said: Feedback) -> Done:
    """A wish that was kept, as what can be taken back."""
    text = wish_text(turn.home, said)
    return Done(what="feedback", text=text, data={"feedback_id": said.feedback_id})


def forgetting(said: Feedback) -> str:
    """What takes a wish back, whenever it was said: `forget red`, `forget [t1]`."""
    return f"forget {said.subject if said.kind == 'value' else f'[{said.subject}]'}"
