"""The published JSON Schema of results: `python docs/results_schema.py` writes it again."""

import json
from pathlib import Path

from mllm_srec.agent.conversation.results import TurnResult
from mllm_srec.agent.json_results import schema_document
from mllm_srec.agent.results import IngestReport, Recommendation

PUBLISHED = Path(__file__).with_name("results.schema.json")
RESULTS = (Recommendation, TurnResult, IngestReport)


def written() -> str:
    """The schema as it stands in the file."""
    return json.dumps(schema_document(RESULTS), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PUBLISHED.write_text(written(), "utf-8")
