"""Metrics as Spring Boot's `/actuator/metrics` tells them: dotted names, statistics and tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum

import msgspec
from msgspec import UNSET, UnsetType
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from taskscheduler.api.metrics import Metrics

_UNITS = ("seconds", "bytes", "records")


class MetricNames(msgspec.Struct, frozen=True):
    """The names that can be asked for."""

    names: list[str]


class Measurement(msgspec.Struct, frozen=True):
    """One value. `statistic` is VALUE (gauges), COUNT, TOTAL, TOTAL_TIME or MAX."""

    statistic: str
    value: float


class AvailableTag(msgspec.Struct, frozen=True):
    """A tag by which the metric can be narrowed down, and its values."""

    tag: str
    values: list[str]


class MetricDetail(msgspec.Struct, frozen=True, rename="camel"):
    """One metric, summed over everything that the tags asked for leave."""

    name: str
    description: str
    measurements: list[Measurement]
    available_tags: list[AvailableTag]
    base_unit: str | UnsetType = UNSET


def names(metrics: Metrics) -> MetricNames:
    """All names, sorted."""
    return MetricNames(sorted(_name(family) for family in metrics.registry.collect()))


def detail(metrics: Metrics, name: str, tags: Sequence[str]) -> MetricDetail | None:
    """One metric under tags such as `type:create`; None when there is no such name, or nothing under these tags."""
    family = next((family for family in metrics.registry.collect() if _name(family) == name), None)
    wanted = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    if family is None or len(wanted) < len(tags):
        return None
    samples = [sample for sample in family.samples if wanted.items() <= _tags(sample).items()]
    if not samples and (wanted or family.samples):
        return None
    unit = _unit(family)
    return MetricDetail(
        name=name,
        description=family.documentation,
        measurements=list(_measurements(metrics, family, samples, wanted)),
        available_tags=_available(samples, wanted),
        base_unit=UNSET if unit is None else unit,
    )


def _name(family: Metric) -> str:
    unit = _unit(family)
    return family.name.removesuffix(f"_{unit}").replace("_", ".")


def _unit(family: Metric) -> str | None:
    return next((unit for unit in _UNITS if family.name.endswith("_" + unit)), None)


def _tags(sample: Sample) -> dict[str, str]:
    return {key: value for key, value in sample.labels.items() if key != "le"}


def _measurements(
    metrics: Metrics, family: Metric, samples: Sequence[Sample], wanted: dict[str, str]
) -> Iterator[Measurement]:
    if family.type == "counter":
        yield Measurement("COUNT", fsum(sample.value for sample in samples))
    elif family.type == "histogram":
        yield Measurement("COUNT", fsum(one.value for one in samples if one.name.endswith("_count")))
        total = fsum(one.value for one in samples if one.name.endswith("_sum"))
        yield Measurement("TOTAL_TIME" if family.name.endswith("_seconds") else "TOTAL", total)
        meter = metrics.histograms[family.name]
        rows = (
            row
            for values, row in meter.rows.items()
            if wanted.items() <= dict(zip(meter.labels, values, strict=True)).items()
        )
        yield Measurement("MAX", max((row.largest for row in rows), default=0.0))
    else:
        yield Measurement("VALUE", fsum(sample.value for sample in samples))


def _available(samples: Sequence[Sample], wanted: dict[str, str]) -> list[AvailableTag]:
    found: dict[str, set[str]] = {}
    for sample in samples:
        for key, value in _tags(sample).items():
            if key not in wanted:
                found.setdefault(key, set()).add(value)
    return [AvailableTag(key, sorted(values)) for key, values in sorted(found.items())]
