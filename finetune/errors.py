"""What finetune refuses: the message names the value, the place and the way out."""

from mllm_srec.llm.engine import ModelError


class FinetuneError(ModelError):
    """Base of the errors that a person can mend; the command line shows the message alone."""
