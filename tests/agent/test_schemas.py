import json

import llguidance
import pytest

from mllm_srec.agent.conversation.nodes import understand_prompt
from mllm_srec.agent.nodes.explain import explain_prompt
from mllm_srec.agent.nodes.fuse_items import VisualAnswer, fuse_prompt
from mllm_srec.agent.nodes.profile_user import Evidence, Profile, profile_prompt
from mllm_srec.agent.nodes.reason_check import CitedReason, Exhibit
from mllm_srec.agent.nodes.summarize_preferences import Preference, window_prompt
from mllm_srec.agent.state import Event
from mllm_srec.llm.engine import Prompt
from mllm_srec.llm.load import bundled_model
from mllm_srec.store.records import FusedItem, Item

BIB = FusedItem(what="bib", seen={"colour": "red"}, told={"material": "hemp"})
EVENT = Event(item_id="i1", verdict="liked", timestamp=0, position=0, rating=None)


def window() -> Prompt:
    return window_prompt(Preference(strong=["blue"]), [EVENT], {"i1": BIB})


def profile() -> Prompt:
    entry = Evidence(value="hemp", liked=100, liked_count=2, disliked_count=0)
    return profile_prompt([entry])


def fusing(title: str = "Bib", brand: str = 'Öbra "N"') -> Prompt:
    item = Item(item_id="i1", title=title, brand=brand)
    return fuse_prompt(item, VisualAnswer(what="bib", seen={"colour": "red"}))


def reason() -> Prompt:
    return explain_prompt(Profile(), Preference(), [Exhibit("i1", BIB, ("red",))], BIB)


class Guide:
    """What a schema lets an engine write, with the tokens of the bundled model."""

    def __init__(self, prompt: Prompt) -> None:
        path = bundled_model() / "tokenizer.json"
        self._tokenizer = llguidance.LLTokenizer(path.read_text("utf-8"))
        assert prompt.schema is not None
        self._grammar = llguidance.LLMatcher.grammar_from_json_schema(
            prompt.schema, defaults={"whitespace_flexible": False}
        )

    def allows(self, value: object) -> bool:
        matcher = llguidance.LLMatcher(self._tokenizer, self._grammar)
        assert not matcher.is_error(), matcher.get_error()
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return matcher.try_consume_tokens(self._tokenizer.tokenize_str(text)) == len(
            self._tokenizer.tokenize_str(text)
        )


@pytest.mark.parametrize(
    ("prompt", "good", "bad"),
    [
        (window(), {"strong": ["red", "hemp", "blue"]}, {"strong": ["green"]}),
        (window(), {"fading": ["blue"], "avoids": []}, {"fading": ["red"]}),
        (profile(), {"loves": ["hemp"], "dislikes": []}, {"dislikes": ["hemp"]}),
        (
            fusing(),
            {"what": "bib", "seen": {"colour": "red"}, "told": {"brand": 'Öbra "N"'}},
            {"what": "bib", "seen": {"colour": "blue"}},
        ),
        (fusing(), {"what": "Bib", "seen": {}, "told": {}}, {"what": "bib", "told": {"x": "red"}}),
        (
            fusing("A soft-touch Romper"),
            {"what": "unknown", "seen": {}, "told": {"feel": "soft-touch romper"}},
            {"what": "soft-touchy"},
        ),
        (reason(), {"cites": [1], "reason": "It is red."}, {"cites": [2], "reason": "x"}),
        (
            understand_prompt("nothing", "a red hat, under 20€"),
            {"intent": "search", "words": "red hat", "having": ["red"], "under": "20€"},
            {"intent": "search", "words": "blue"},
        ),
    ],
)
def test_an_answer_is_held_to_the_words_of_its_prompt(
    prompt: Prompt, good: object, bad: object
) -> None:
    guide = Guide(prompt)
    assert guide.allows(good)
    assert not guide.allows(bad)


def test_where_nothing_is_given_nothing_can_be_said() -> None:
    bare = Guide(fuse_prompt(Item(item_id="i1", title=""), None))
    assert bare.allows({"what": "unknown", "seen": {}, "told": {}, "conflicts": {}})
    assert not bare.allows({"what": "bib"})
    assert not bare.allows({"what": "unknown", "told": {"material": "hemp"}})
    empty = Guide(profile_prompt([]))
    assert empty.allows({"loves": [], "dislikes": []})
    assert not empty.allows({"loves": ["hemp"]})
    assert not Guide(explain_prompt(Profile(), Preference(), [], BIB)).allows(
        {"cites": [1], "reason": "x"}
    )
    assert CitedReason.__name__ in str(reason().schema)
    assert Profile.__name__ in str(profile().schema)
