"""Which process runs which tests, where there are several.

A file stays together: what its tests share starts once. Files whose tests mostly wait leave the
processor to others, so the last process begins with them, while the others begin with the rest.
What is measured on real sockets for seconds comes last, when the others have next to nothing to do.
"""

from pathlib import Path

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

WAITING = (
    "tests/conformance/test_many_workers.py",
    "tests/server/test_tls.py",
    "tests/server/test_reload.py",
    "tests/fleet/test_leases.py",
    "tests/server/test_smuggling.py",
    "tests/counters/test_many_workers.py",
    "tests/server/test_crew.py",
    "tests/server/test_metrics.py",
    "tests/server/test_edge_http2.py",
    "tests/server/test_edge.py",
    "tests/counters/test_valkey_lost.py",
    "tests/counters/test_valkey.py",
)
"""The longest first."""
MEASURED = "tests/conformance/test_isolation.py"

assert all((Path(__file__).parent.parent / path).is_file() for path in (*WAITING, MEASURED))


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    def _assign_work_unit(self, node: WorkerController) -> None:
        """Gives this process what comes first for it, and who has none of that what is left."""
        waiting = [path for path in WAITING if path in self.workqueue]
        others = [path for path in self.workqueue if path not in (*WAITING, MEASURED)]
        in_order = waiting + others if node is self.nodes[-1] else others + waiting
        self.workqueue.move_to_end((in_order or [MEASURED])[0], last=False)
        super()._assign_work_unit(node)
