"""`bench` is not shipped, so no name of it is installed: the tests find it beside them."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "bench"


def _load() -> None:
    spec = spec_from_file_location(
        "bench", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules["bench"] = module
    spec.loader.exec_module(module)


_load()
