"""The documentation search finds sections by their words, headings first."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.demo import search_tool
from resumable_stream.demo._docs import Section, documentation, sections
from resumable_stream.demo._search import DocumentationIndex

PAGE = """\
Words before any heading.

# The guide

An introduction with a [link](https://example.org).

## Stopping

1. A *stop* is **durable**.
2. It works while the `model` is silent.

```python
# not a heading
await producer.cancel("id")
```

## Empty

## Leases

A producer renews its lease. It is not renewed when the producer is dead.
"""


def test_a_page_is_cut_at_its_headings_and_loses_its_markup() -> None:
    found = list(sections("guide.md", PAGE))
    assert [(one.title, one.heading) for one in found] == [
        ("guide.md", ""),
        ("The guide", ""),
        ("The guide", "Stopping"),
        ("The guide", "Leases"),
    ]
    assert found[1].prose == "An introduction with a link."
    assert found[2].prose == "A stop is durable. It works while the model is silent."
    assert "not a heading" in found[2].code


def test_the_section_with_the_words_comes_first_whatever_their_endings() -> None:
    index = DocumentationIndex(sections("guide.md", PAGE))
    assert [hit.section for hit in index.search("is the lease renewed?")] == ["Leases"]
    assert index.search("stopped models")[0].section == "Stopping"
    assert index.search("cancel")[0].section == "Stopping"


def test_a_snippet_begins_with_the_sentence_that_fits_best() -> None:
    index = DocumentationIndex(sections("guide.md", PAGE))
    assert index.search("dead")[0].snippet == "It is not renewed when the producer is dead."


def test_a_long_snippet_is_cut_at_a_word() -> None:
    text = "word " * 100
    [hit] = DocumentationIndex([Section("a", "A", "", text.strip())]).search("word")
    assert hit.snippet.endswith("word …")
    assert len(hit.snippet) <= 242


def test_no_more_than_the_limit_is_found_and_nothing_for_unknown_words() -> None:
    many = [Section("a", "A", str(number), "the same words") for number in range(9)]
    index = DocumentationIndex(many)
    assert len(index.search("same words", limit=2)) == 2
    assert index.search("xylophone") == []
    assert index.search("") == []


def test_an_empty_index_finds_nothing() -> None:
    assert DocumentationIndex([]).search("stop") == []


@given(st.text(), st.text())
def test_any_page_and_any_query_are_taken(markdown: str, query: str) -> None:
    index = DocumentationIndex(sections("any.md", markdown))
    for hit in index.search(query):
        assert hit.snippet


def test_the_tool_searches_the_packaged_documentation() -> None:
    pages = {section.page for section in documentation()}
    tool = search_tool()
    hits = json.loads(tool.invoke({"query": "stream producer lease"}))
    assert tool.name == "search"
    assert hits
    assert {hit["page"] for hit in hits} <= pages
    assert set(hits[0]) == {"page", "title", "section", "snippet"}
