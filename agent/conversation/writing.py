"""Writing what a turn came to as plain text."""

from mllm_srec.agent.conversation.state import Outcome


def answer_text(said: Outcome, *, numbered: bool) -> str:
    """An outcome as an answer: its lead, its items, and what is said besides."""
    lines = [said["lead"]] if said["lead"] else []
    for place, item in enumerate(said["items"], 1):
        price = "" if item["price"] is None else f", {item['price']:.2f}"
        mark = f"{place}. " if numbered else ""
        lines.append(f"{mark}{item['title'] or 'untitled'} [{item['item_id']}]{price}")
        lines += [f"   {text}" for text in (item["line"], item["reason"]) if text]
    return "\n".join([*lines, *said["lines"]])
