import json

import llguidance
import pytest

from mllm_srec.agent.nodes.explain import CitedReason
from mllm_srec.agent.nodes.fuse_items import VisualAnswer
from mllm_srec.agent.nodes.profile_user import Profile
from mllm_srec.agent.nodes.summarize_preferences import Preference
from mllm_srec.store.records import FusedItem, Record


@pytest.mark.parametrize("answer", [VisualAnswer, FusedItem, Preference, Profile, CitedReason])
def test_the_schema_of_an_answer_can_guide_an_engine(answer: type[Record]) -> None:
    text = json.dumps(answer.model_json_schema())
    grammar = llguidance.LLMatcher.grammar_from_json_schema(text)
    assert llguidance.LLMatcher.validate_grammar(grammar) == ""
