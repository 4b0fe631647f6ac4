"""What Prometheus hears of approvals."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from config.telemetry import Watched
from model.approval import Step


class ApprovalMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._steps = Counter(
            "pgwarden_approvals",
            "Steps of requests to let a refused statement pass",
            ("step",),
            registry=registry,
        )
        for step in Step:
            self._steps.labels(step.value)

    def count(self, step: str, times: int) -> None:
        self._steps.labels(step).inc(times)

    def watch(self, pending: Callable[[], int], pushed_out: Callable[[], int]) -> None:
        self._registry.register(
            Watched(
                "pgwarden_approvals_pending",
                "Requests that nobody has decided about",
                (),
                lambda: {(): pending()},
                False,
            )
        )
        self._registry.register(
            Watched(
                "pgwarden_approvals_pushed_out",
                "Requests that nobody had decided about and that newer ones had no room beside",
                (),
                lambda: {(): pushed_out()},
                True,
            )
        )
