"""What the page makes of each kind of stream: repeated, torn, restarted, reset, refused, ended."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser.chat_page import ChatPage
from browser.chat_server import parts
from browser.pages import PageWatch
from browser.wire import WrittenStreams, frame

pytestmark = pytest.mark.browser

DONE = {"status": "completed"}


async def test_events_that_come_twice_count_once(chat: ChatPage) -> None:
    streams = WrittenStreams(
        frame("7-1", "message_start", {"message_id": "m"}) + frame("7-2", "text", "a") + frame("7-3", "text", "b"),
        frame("7-2", "text", "a") + frame("7-3", "text", "b") + frame("7-4", "text", "c") + frame("7-5", "end", DONE),
    )
    streams.release()
    await streams.serve(chat.page)
    await chat.send("quick unseen")
    await chat.finished(answers=1)
    await chat.shows("abc")
    assert streams.cursors == ["", "7-3"]


async def test_a_gap_is_told_and_filled_from_the_history_in_the_end(chat: ChatPage) -> None:
    streams = WrittenStreams(
        frame("7-1", "text", "torn") + frame("", "gap") + frame("7-9", "text", " apart"),
        frame("7-10", "end", DONE),
    )
    await streams.serve(chat.page)
    await chat.send("quick The whole answer.")
    await expect(chat.answer).to_contain_text("Some of this answer was lost on the way")
    await chat.waits_after("torn apart")
    streams.release()
    await chat.finished(answers=1)
    await chat.shows("The whole answer.")
    await expect(chat.answer).not_to_contain_text("lost on the way")


async def test_a_restarted_answer_drops_what_the_crashed_attempt_said(chat: ChatPage) -> None:
    streams = WrittenStreams(
        frame("7-1", "text", "half of"),
        frame("8-2", "restarted") + frame("8-3", "text", "all"),
        frame("8-4", "end", DONE),
    )
    await streams.serve(chat.page)
    await chat.send("quick Anew.")
    await chat.waits_after("half of")
    streams.release()
    await chat.waits_after("all")
    streams.release()
    await chat.finished(answers=1)
    await chat.shows("Anew.")


async def test_a_cursor_that_cannot_be_placed_starts_over_without_doubling(chat: ChatPage) -> None:
    prompt = "gate-reset"
    first, _, whole = parts(prompt)
    # The server has never sent such an id: it answers what follows with a reset, and the stream from its first event.
    streams = WrittenStreams(frame("99999999999999-99", "text", "From nowhere."))
    await streams.serve(chat.page)
    await chat.send(prompt)
    await chat.waits_after(first)
    assert streams.cursors == ["", "99999999999999-99"]
    await chat.open_gate("reset")
    await chat.open_gate("reset")
    await chat.finished(answers=1)
    await chat.shows(whole)
    await expect(chat.questions).to_have_count(1)


async def test_nothing_to_send_means_that_the_history_has_it(chat: ChatPage) -> None:
    streams = WrittenStreams(*[204] * 20)
    streams.release(20)
    await streams.serve(chat.page)
    await chat.send("quick From the history.")
    await chat.finished(answers=1)
    await chat.shows("From the history.")
    await expect(chat.questions).to_have_count(1)


@pytest.mark.parametrize("status", [204, 503])
async def test_a_refused_stream_is_asked_for_again_while_the_run_is_active(
    chat: ChatPage, watch: PageWatch, status: int
) -> None:
    watch.network_errors_expected = True
    prompt = f"gate-refused{status}"
    first, _, whole = parts(prompt)
    streams = WrittenStreams(status, status)
    streams.release()
    await streams.serve(chat.page)
    await chat.send(prompt)
    await chat.waits_after(first)
    await chat.open_gate(f"refused{status}")
    await chat.open_gate(f"refused{status}")
    await chat.finished(answers=1)
    await chat.shows(whole)


async def test_an_end_without_an_id_ends_as_well(chat: ChatPage) -> None:
    streams = WrittenStreams(frame("7-1", "text", "so far") + frame("", "end", {"status": "lost"}))
    await streams.serve(chat.page)
    await chat.send("quick unseen")
    await chat.finished("lost", answers=1)
    await chat.shows("so far")
    await expect(chat.alert).to_contain_text("The answer broke off")


async def test_a_frame_that_is_no_event_is_passed_over(chat: ChatPage) -> None:
    body = (
        frame("7-1", "text", "a") + "id: 7-2\ndata: {\n\n" + "id: 7-3\ndata: 7\n\n" + frame("7-4", "something_new", {})
    )
    await WrittenStreams(body + frame("7-5", "end", DONE)).serve(chat.page)
    await chat.send("quick Read from the history.")
    await chat.finished(answers=1)
    await chat.shows("Read from the history.")
