"""Checks the arguments of `App.subscribe`, and adds the topic to the user's own step."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from oms.application.extensions.names import check_group, check_publishes, check_topic, did_you_mean
from oms.application.extensions.shapes import check_calls, check_function
from oms.application.steps.context import OutsideCall, OwnStep, StepHandler, checked_call_name
from oms.bootstrap.system import SERVICES
from oms.domain.errors import OmsError
from oms.domain.events import BY_TOPIC
from oms.engine.group_start import Since, is_since
from oms.ports.messages import is_copies_topic


@attrs.frozen
class Subscription:
    """The arguments of one call of `App.subscribe`."""

    topic: str
    group: str
    handler: StepHandler
    calls: Mapping[str, OutsideCall]
    publishes: Collection[str]
    since: Since
    foreign: bool


def with_subscription(steps: Mapping[str, OwnStep], wanted: Subscription) -> OwnStep:
    """Return the step of the subscription's group with its topic added; raises `OmsError` as `App.subscribe` says."""
    _check(steps, wanted)
    step = steps.get(wanted.group, OwnStep())
    if wanted.topic in step.handlers:
        raise OmsError(f"group {wanted.group!r} handles {wanted.topic!r} already")
    return OwnStep(
        {**step.handlers, wanted.topic: wanted.handler},
        _with_calls(wanted.group, step.calls, wanted.calls),
        frozenset({*step.publishes, *wanted.publishes}),
        {**step.since, wanted.topic: wanted.since},
    )


def _check(steps: Mapping[str, OwnStep], wanted: Subscription) -> None:
    check_group(wanted.group, steps, SERVICES)
    check_topic(wanted.topic)
    check_function("handler", wanted.handler, 2)
    check_calls(wanted.calls)
    check_publishes(wanted.publishes)
    if not is_since(wanted.since):
        raise OmsError(f'since: expected "earliest" or "now", got {wanted.since!a:.100}')
    if is_copies_topic(wanted.topic):
        raise OmsError(f"{wanted.topic!r} holds copies of dead letters, which are no events: see `dead_letters`")
    meant = None if wanted.foreign else did_you_mean(wanted.topic, BY_TOPIC)
    if meant:
        raise OmsError(f"topic: there is no {wanted.topic!r}; did you mean {meant!r}? (foreign=True: another system's)")


def _with_calls(
    group: str, known: Mapping[str, OutsideCall], added: Mapping[str, OutsideCall]
) -> Mapping[str, OutsideCall]:
    for name, call in added.items():
        checked_call_name(name)
        if known.get(name, call) != call:
            raise OmsError(f"group {group!r} has another outside call {name!r} already")
    return {**known, **added}
