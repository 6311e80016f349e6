"""The scripted answers: the same for the same prompt, about the right size, about the subject."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.demo import script
from resumable_stream.demo._script import search_query, summary, title, tokens
from resumable_stream.demo._topics import TOPICS


@given(st.text())
def test_tokens_joined_are_the_text_again(text: str) -> None:
    assert "".join(tokens(text)) == text


@given(st.text())
def test_any_prompt_has_one_answer_that_never_changes(prompt: str) -> None:
    answer = script(prompt)
    assert len(answer) > 100
    assert answer == script(prompt)


@pytest.mark.parametrize("subject", ["redis", "cats", "stop", "crash in fastapi", "viewers", "hi"])
def test_a_long_answer_has_some_400_tokens_and_another_less_than_260(subject: str) -> None:
    assert 300 < len(script(f"a long story about {subject}")) < 480
    assert len(script(f"a story about {subject}")) < 260


def test_a_prompt_gets_the_topic_that_it_shares_words_with() -> None:
    assert "## Stopping an answer" in "".join(script("How do I stop an answer?"))
    assert "## Mounting it into your app" in "".join(script("Can FastAPI mount this?"))


def test_prompts_on_other_subjects_get_different_answers_that_say_so() -> None:
    answers = {"".join(script(f"Tell me of planet {number}")) for number in range(30)}
    headings = {re.findall(r"^## .*$", answer, re.MULTILINE)[0] for answer in answers}
    assert len(headings) > len(TOPICS) // 2
    assert all("planet" in answer for answer in answers)


def test_every_topic_shows_a_heading_a_list_code_and_emphasis() -> None:
    for topic in TOPICS:
        answer = "".join(script(topic.title))
        for mark in ("## ", "\n- ", "\n```", "`", "*"):
            assert mark in answer


def test_markdown_in_a_prompt_does_not_come_back_as_markdown() -> None:
    answer = "".join(script("Is **this** [bold](http://x) `or` <b>not</b>?"))
    opening = answer.split("\n")[0]
    assert re.search(r"\*\*|\[|`|<", opening) is None
    assert "Is this bold http://x or b not /b" in opening


def test_a_report_quotes_what_the_search_has_found() -> None:
    hit = {"page": "a.md", "title": "Log", "section": "Keys", "snippet": "Two keys."}
    text = "".join(script("search for keys", found=json.dumps([hit])))
    assert "“keys”" in text
    assert "1. **Log**, *Keys*: Two keys." in text


@pytest.mark.parametrize("found", ["", "[]", "no JSON", "{}", "3", '["text"]', '[{"a": 1}]'])
def test_a_report_of_nothing_usable_says_so(found: str) -> None:
    assert "found **nothing**" in "".join(script("search for keys", found=found))


@pytest.mark.parametrize(
    ("prompt", "query"),
    [
        ("Please search for the lease!", "lease"),
        ("Can you look up gap and reset in the docs?", "gap and reset"),
        ("search", "search"),
    ],
)
def test_what_is_searched_for_is_the_prompt_without_the_request(prompt: str, query: str) -> None:
    assert search_query(prompt) == query


def test_a_title_is_the_first_words_of_the_message() -> None:
    assert title("how do I *stop* a run that will not end?") == "How do I stop a run"
    assert title("…!") == "New conversation"
    assert len(title("x" * 500)) == 60


def test_a_summary_names_the_earlier_questions_and_grows() -> None:
    first = summary("Old notes:\n(none)\n\nSaid since:\nUser: one thing\nAssistant: yes\nUser: two")
    assert first == "Earlier in this conversation: “One thing”, “Two”."
    second = summary(f"Old notes:\n{first}\n\nSaid since:\nUser: three")
    assert second == "Earlier in this conversation: “One thing”, “Two”, “Three”."
