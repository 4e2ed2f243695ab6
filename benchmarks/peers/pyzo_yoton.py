"""The yoton inside PyPI's pyzo, which has the same API."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.base import free_port

# It is a top-level package in the folder of pyzo, which has to be found before ours.
_spec = importlib.util.find_spec("pyzo")
assert _spec is not None
assert _spec.origin is not None
_folder = str(Path(_spec.origin).parent)
sys.path.insert(0, _folder)

from benchmarks.peers import yoton as same_api  # noqa: E402


class Adapter(same_api.Adapter):
    """All as with yoton, but for the port."""

    title = "pyzo's yoton"
    import_code = f"import sys; sys.path.insert(0, {_folder!r}); import yoton"

    def version(self) -> str:
        return importlib.metadata.version("pyzo")

    def bind(self, context: Any) -> str:
        connection = context.bind(f"localhost:{free_port()}", max_tries=100)
        return f"localhost:{connection.port1}"
