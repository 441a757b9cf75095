"""What the `builtin` generator can do, as `benchmarks/client_limits.py` measured it."""

CHUNKS_PER_S: float | None = None
"""Chunks with text per second that it received with 500 streams; None: not measured."""
