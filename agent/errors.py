"""What goes wrong on purpose: each error names the value, the place and the way out.

- ToolError: a tool did not do it
  - WrongCall (also a ValueError): the call was wrong, another one may succeed
  - CannotDo: it cannot be done in this shop
- ModelError: the model could not be loaded, reached, or made to answer
  - EngineLost: the engine is gone; the same call goes on from there once it is back
  - DeadlineExceeded: it took longer than the caller would wait
- StoreError: something could not be kept or found
  - HomeError, HomeBusy, InputError, BadPicture, BadRecord, IndexMismatch, ItemGone: see
    `store.errors`

Whatever else is raised is a mistake of the program.
"""

from mllm_srec.llm.engine import ModelError
from mllm_srec.store.errors import StoreError
from mllm_srec.tools.errors import ToolError

SREC_ERRORS = (ToolError, ModelError, StoreError)
"""The roots, one a package, for `except` and `isinstance`.

Tools, models and stores know nothing of one another, so they share no class.
"""


class DeadlineExceeded(ModelError):
    """The answer took longer than the caller would wait; the same call goes on from there."""
