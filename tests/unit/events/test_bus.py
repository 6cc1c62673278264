"""Publishing never waits, a listener hears everything from its subscription on, and the past is bounded."""

import asyncio
import itertools

from sampan.events import bus
from sampan.events.bus import Bus


def ticking() -> Bus:
    return Bus(itertools.count(1).__next__)


def test_a_listener_hears_what_comes_after_it_subscribed() -> None:
    async def conversation() -> list[str]:
        events = ticking()
        events.publish("image", "pull", "before")
        with events.subscribe() as subscription:
            events.publish("container", "create", "c1", image="bb")
            events.publish("container", "start", "c1")
            events.close()
            return [f"{event.action} {event.actor}" async for event in subscription]

    assert asyncio.run(conversation()) == ["create c1", "start c1"]


def test_the_past_is_remembered_from_a_time_on() -> None:
    events = ticking()
    for number in range(bus.REMEMBERED + 5):
        events.publish("image", "tag", str(number))
    assert len(events.past(0)) == bus.REMEMBERED
    assert [event.actor for event in events.past(bus.REMEMBERED + 4)] == ["1003", "1004"]


def test_a_listener_that_does_not_read_loses_the_oldest_and_knows_how_many() -> None:
    async def conversation() -> tuple[int, str]:
        events = ticking()
        with events.subscribe() as subscription:
            for number in range(bus.QUEUED + 3):
                events.publish("image", "tag", str(number))
            events.close()
            heard = [event.actor async for event in subscription]
            return subscription.lost, heard[0]

    assert asyncio.run(conversation()) == (3, "3")
