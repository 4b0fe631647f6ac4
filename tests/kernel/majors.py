"""On which versions the guard's tests by hand-made scenes are played.

The corpus (tests/guard) plays every way into the server on 12, 15 and 18 each time; these tests run
on Debian's own version, and on the others where ``PGWARDEN_EVERY_VERSION`` is set.
"""

import os

from tests.conformance.servers import DEBIAN_MAJOR
from tests.conformance.servers import MAJORS as EVERY

OTHERS = tuple(major for major in EVERY if major != DEBIAN_MAJOR)
MAJORS = (DEBIAN_MAJOR, *(OTHERS if os.environ.get("PGWARDEN_EVERY_VERSION") else ()))
