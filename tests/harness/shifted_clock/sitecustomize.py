"""Python runs this at its start where the folder is on PYTHONPATH: the package's wall clock then goes wrong on demand.

Before any other module of the package is imported, since some keep the function they found.
"""

import os
from pathlib import Path

from fleetwire.runtime import clock

_OFFSET_FILE = Path(os.environ["TEST_CLOCK_FILE"])
_right_millis = clock.now_millis


def _shifted_millis() -> int:
    return _right_millis() + int(_OFFSET_FILE.read_text())


clock.now_millis = _shifted_millis
