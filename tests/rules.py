"""What a test may go without, and where it may not."""

import pytest


def require_vllm(*, installed: bool, in_ci: bool) -> None:
    """Skip a test of vLLM where it is not installed; fail it there in CI, which must run it."""
    if installed:
        return
    if in_ci:
        pytest.fail("vLLM is not installed, and CI must test it: `make clean test` installs it")
    pytest.skip("vLLM is not installed: `make clean test` installs it")
