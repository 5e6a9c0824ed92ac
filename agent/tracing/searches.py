"""A search in the stores as a span: which source was asked, and what it brought."""

from openinference.semconv.trace import DocumentAttributes as Document
from openinference.semconv.trace import OpenInferenceSpanKindValues as Kind
from openinference.semconv.trace import SpanAttributes as Names

from mllm_srec.agent.tracing.attributes import FOUND, Attributes, Done
from mllm_srec.tools.sources import Search

DOCUMENTS = 3
"""Items of a source that its span names; all that came into a list stand with the node."""
DIGITS = 4
"""Decimals of scores that nothing is computed from."""


def search_span(search: Search) -> Done:
    """What a source did."""
    attributes: Attributes = {
        Names.OPENINFERENCE_SPAN_KIND: Kind.RETRIEVER.value,
        FOUND: len(search.found),
    }
    for number, (item_id, score) in enumerate(list(search.found.items())[:DOCUMENTS]):
        start = f"{Names.RETRIEVAL_DOCUMENTS}.{number}"
        attributes[f"{start}.{Document.DOCUMENT_ID}"] = item_id
        attributes[f"{start}.{Document.DOCUMENT_SCORE}"] = round(score, DIGITS)
    return Done(search.source, attributes, search.start_ns, search.end_ns)
