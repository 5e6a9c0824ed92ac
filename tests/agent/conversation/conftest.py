from collections.abc import Iterator

import pytest

from mllm_srec.agent.conversation.conversation import Conversation, Conversations
from mllm_srec.llm.scripted import ScriptedEngine
from tests.agent.conversation.talk import INVENTIONS, engine, guest, opened


@pytest.fixture(scope="session")
def model() -> ScriptedEngine:
    return engine(INVENTIONS)


@pytest.fixture(scope="session")
def talks(
    tmp_path_factory: pytest.TempPathFactory, model: ScriptedEngine
) -> Iterator[Conversations]:
    """Shared by the tests of this folder, each with a user of its own."""
    with opened(tmp_path_factory.mktemp("talks") / "home", model) as conversations:
        yield conversations


@pytest.fixture
def chat(talks: Conversations) -> Iterator[Conversation]:
    with talks.begin(guest(talks)) as conversation:
        yield conversation
