"""The names of the engines, apart from what loads them: a command line needs no more."""

from typing import Literal

InProcessKind = Literal["auto", "vllm", "transformers"]
"""What can load any model, one after another; a server has one model."""
EngineKind = Literal[InProcessKind, "vllm-server"]
"""What a person may ask for; recorded and scripted engines are made by who needs them."""
