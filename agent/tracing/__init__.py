"""Recording of what the graph did, as OpenTelemetry spans."""
