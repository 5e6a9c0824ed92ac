"""Reading recorded traces: list, show, compare, replay, export."""
