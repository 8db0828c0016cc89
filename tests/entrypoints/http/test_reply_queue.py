"""Answers that come in on another thread, for requests that wait on a loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import oms
from oms.engine.command_groups import Reply
from oms.entrypoints.http import reply_queue
from oms.entrypoints.http.reply_queue import ReplyQueue


async def _asked(box: ReplyQueue, replies: list[Reply]) -> asyncio.Task[Any]:
    """A request that waits for its answer."""
    task = asyncio.create_task(box.reply_to(replies.append))
    await asyncio.sleep(0)
    return task


def test_a_group_on_another_thread_answers_each_of_its_requests() -> None:
    async def run() -> list[Any]:
        box, replies = ReplyQueue(asyncio.get_running_loop(), 10.0), list[Reply]()
        tasks = [await _asked(box, replies) for _ in range(3)]

        def group() -> None:
            replies[1](None, oms.NotFound("order_not_found", "there is no order"))
            replies[2]("third", None)
            replies[0]("first", None)

        await asyncio.to_thread(group)
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert (first, third) == ("first", "third")
    assert isinstance(second, oms.NotFound)


def test_an_answer_after_its_caller_has_gone_is_nobodys() -> None:
    async def run() -> Any:
        box, replies = ReplyQueue(asyncio.get_running_loop(), 10.0), list[Reply]()
        gone, stays = await _asked(box, replies), await _asked(box, replies)
        gone.cancel()
        await asyncio.sleep(0)
        for reply in replies:
            reply("late", None)
        return await stays, gone.cancelled()

    assert asyncio.run(run()) == ("late", True)


def test_a_refusal_of_the_group_is_the_answer() -> None:
    def refuse(_reply: Reply) -> None:
        raise oms.Retryable("too many commands are waiting")

    async def run() -> None:
        await ReplyQueue(asyncio.get_running_loop(), 10.0).reply_to(refuse)

    with pytest.raises(oms.Retryable, match="too many"):
        asyncio.run(run())


def test_who_isnt_answered_in_time_is_told_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_queue, "LOOK_EVERY_S", 0.01)

    async def run() -> None:
        await ReplyQueue(asyncio.get_running_loop(), 0.0).reply_to(lambda _reply: None)

    with pytest.raises(oms.OutcomeUnknown, match="in time"):
        asyncio.run(run())


def test_all_are_given_up_when_the_process_stops() -> None:
    async def run() -> list[Any]:
        box, replies = ReplyQueue(asyncio.get_running_loop(), 1000.0), list[Reply]()
        tasks = [await _asked(box, replies) for _ in range(2)]
        replies[0]("answered", None)
        await asyncio.sleep(0)
        box.give_up()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answered, given_up = asyncio.run(run())
    assert answered == "answered"
    assert isinstance(given_up, oms.OutcomeUnknown)


def test_an_answer_for_a_loop_that_has_ended_is_dropped() -> None:
    replies = list[Reply]()

    async def run() -> None:
        task = await _asked(ReplyQueue(asyncio.get_running_loop(), 10.0), replies)
        task.cancel()

    asyncio.run(run())
    replies[0]("late", None)
