"""Sending spans on by OTLP, to Phoenix, Langfuse, Jaeger and whoever else reads OpenInference.

Spans go as they are kept here, after redaction; pictures go as their addresses alone. What cannot
be delivered is dropped: the queue is bounded, and a run never waits.
"""

import os

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mllm_srec.store.trace_schema import TraceError
from mllm_srec.store.trace_settings import TraceSettings

ENDPOINT = "SREC_OTLP_ENDPOINT"
"""Environment variable with the address, such as `http://localhost:6006/v1/traces`."""
TIMEOUT_S = 5.0


def endpoint(settings: TraceSettings) -> str | None:
    """Where spans are to go: what the environment says, else the trace file; None for nowhere."""
    return os.environ.get(ENDPOINT) or settings.otlp_endpoint


def forwarder(address: str) -> SpanProcessor:
    """A processor that sends spans in the background; keys come from `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        TraceError: The address is no plain one.
    """
    # Brings an HTTP client, needed by few.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    try:
        TraceSettings(otlp_endpoint=address)
    except ValueError as error:
        raise TraceError(f"{ENDPOINT} or the setting is no address to send spans to") from error
    return BatchSpanProcessor(
        OTLPSpanExporter(endpoint=address, timeout=TIMEOUT_S, meter_provider=NoOpMeterProvider()),
        meter_provider=NoOpMeterProvider(),
    )
