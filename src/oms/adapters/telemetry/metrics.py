"""Counters and gauges for Prometheus."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class PrometheusMetrics:
    """Counters and gauges in a registry of their own, so that two systems in one process have separate metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._lock = threading.Lock()

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Add to `oms_<name>_total`; a counter keeps the labels it was first counted with."""
        counter = self._counters.get(name)
        if counter is None:
            with self._lock:
                counter = self._counters.get(name)
                if counter is None:
                    counter = Counter(f"oms_{name}", name.replace("_", " "), sorted(labels), registry=self._registry)
                    self._counters[name] = counter
        (counter.labels(**labels) if labels else counter).inc(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set `oms_<name>`; a gauge keeps the labels it was first set with."""
        with self._lock:
            gauge = self._gauges.get(name)
            if gauge is None:
                gauge = Gauge(f"oms_{name}", name.replace("_", " "), sorted(labels), registry=self._registry)
                self._gauges[name] = gauge
        (gauge.labels(**labels) if labels else gauge).set(value)

    def render_metrics(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
