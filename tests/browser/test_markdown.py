"""The Markdown of answers: what becomes of it, that growing changes nothing, that nothing in it is alive."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from browser.hostile import HOSTILE, LARGE

pytestmark = pytest.mark.browser

RENDER = """async (text) => {
    const { MarkdownView } = await import("/ui/markdown.js");
    const place = document.createElement("div");
    new MarkdownView(place).update(text, false);
    return place.innerHTML;
}"""

LINK = 'target="_blank" rel="noopener noreferrer nofollow"'

BLOCKS = {
    "paragraphs": ("a\nb\n\nc", "<p>a\nb</p><p>c</p>"),
    "headings begin below the page's own": (
        "# a\n\n## b ##\n#c",
        '<h3 class="md-h1">a</h3><h4 class="md-h2">b</h4><p>#c</p>',
    ),
    "underlined headings": ("a\n===\nb\n---", '<h3 class="md-h1">a</h3><h4 class="md-h2">b</h4>'),
    "deep headings": ("###### a", '<h6 class="md-h6">a</h6>'),
    "rules": ("***\n\n- - -\n___", "<hr><hr><hr>"),
    "quote with lazy line": ("> a\nb\n\nc", "<blockquote><p>a\nb</p></blockquote><p>c</p>"),
    "nested quotes": ("> a\n>> b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
    "tight list": ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
    "loose list": ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
    "numbered from three": ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    "nested list": ("- a\n  - b\n    - c\n- d", "<ul><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li><li>d</li></ul>"),
    "bullets two blanks below a number": ("1. a\n  - b\n2. c", "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>"),
    "another bullet begins another list": ("- a\n* b", "<ul><li>a</li></ul><ul><li>b</li></ul>"),
    "item with two paragraphs": ("- a\n\n  b\n- c", "<ul><li><p>a</p><p>b</p></li><li><p>c</p></li></ul>"),
    "lazy line in an item": ("- a\nb", "<ul><li>a\nb</li></ul>"),
    "a list interrupts a paragraph": ("a\n- b", "<p>a</p><ul><li>b</li></ul>"),
    "a number in a sentence does not": ("It was\n2020. Then", "<p>It was\n2020. Then</p>"),
    "text after a list": ("- a\n\nb", "<ul><li>a</li></ul><p>b</p>"),
    "tasks": (
        "- [x] a\n- [ ] b",
        (
            '<ul><li class="task"><input type="checkbox" disabled="" checked="" aria-label="Done"><div>a</div></li>'
            '<li class="task"><input type="checkbox" disabled="" aria-label="To do"><div>b</div></li></ul>'
        ),
    ),
    "carriage returns": ("a\r\n\r\nb\rc", "<p>a</p><p>b\nc</p>"),
    "nothing": ("", ""),
    "blank lines": ("\n \n\t\n", ""),
}

INLINES = {
    "emphasis": (
        "*a* **b** ***c*** _d_ __e__",
        "<em>a</em> <strong>b</strong> <em><strong>c</strong></em> <em>d</em> <strong>e</strong>",
    ),
    "emphasis inside emphasis": ("*a **b** c*", "<em>a <strong>b</strong> c</em>"),
    "no emphasis inside words with underscores": ("snake_case_name", "snake_case_name"),
    "emphasis inside words with stars": ("un*believ*able", "un<em>believ</em>able"),
    "lone stars": ("2 * 3 * 4 and a*", "2 * 3 * 4 and a*"),
    "emphasis beside Chinese": ("这是**“强调”**文字", "这是<strong>“强调”</strong>文字"),
    "strikethrough": ("~~a~~ ~b~ ~~~c~~~", "<del>a</del> <del>b</del> ~~~c~~~"),
    "code": ("`a` ``b ` c`` `*d*`", "<code>a</code> <code>b ` c</code> <code>*d*</code>"),
    "code that is not closed": ("a `b", "a `b"),
    "escapes": (r"\*a\* \_ \\ \a", r"*a* _ \ \a"),
    "entities": ("&amp; &lt;b&gt; &#65; &#x1F600; &nope;", "&amp; &lt;b&gt; A \U0001f600 &amp;nope;"),
    "line breaks": ("a  \nb\\\nc<br>d", "a<br>b<br>c<br>d"),
    "link": ("[a *b*](https://x.example/y)", f'<a href="https://x.example/y" {LINK}>a <em>b</em></a>'),
    "link with title": ('[a](https://x.example "t")', f'<a href="https://x.example/" title="t" {LINK}>a</a>'),
    "link in angle brackets": ("[a](<https://x.example/a b>)", f'<a href="https://x.example/a%20b" {LINK}>a</a>'),
    "link with parentheses": ("[a](https://x.example/(b))", f'<a href="https://x.example/(b)" {LINK}>a</a>'),
    "automatic link": (
        "<https://x.example> <a@b.example>",
        (
            f'<a href="https://x.example/" {LINK}>https://x.example</a> '
            f'<a href="mailto:a@b.example" {LINK}>a@b.example</a>'
        ),
    ),
    "bare address": (
        "see https://x.example/a_b_c, or (www.x.example).",
        (
            f'see <a href="https://x.example/a_b_c" {LINK}>https://x.example/a_b_c</a>, '
            f'or (<a href="https://www.x.example/" {LINK}>www.x.example</a>).'
        ),
    ),
    "bare address in bold": (
        "**https://x.example**",
        f'<strong><a href="https://x.example/" {LINK}>https://x.example</a></strong>',
    ),
    "a link's text that is an address": (
        "[https://x.example](https://x.example)",
        f'<a href="https://x.example/" {LINK}>https://x.example</a>',
    ),
    "links do not nest": (
        "[a [b](https://x.example) c](https://y.example)",
        f'[a <a href="https://x.example/" {LINK}>b</a> c](<a href="https://y.example/" {LINK}>https://y.example</a>)',
    ),
    "an image is a link": ("![alt](https://x.example/i.png)", f'<a href="https://x.example/i.png" {LINK}>alt</a>'),
    "a relative link is its text": ("[a](/b) [c](d.html)", "a c"),
    "HTML is text": ("<b>a</b> <script>x</script>", "&lt;b&gt;a&lt;/b&gt; &lt;script&gt;x&lt;/script&gt;"),
}


@pytest.mark.parametrize("name", BLOCKS)
async def test_blocks_are_rendered(bare_page: Page, name: str) -> None:
    text, html = BLOCKS[name]
    assert await bare_page.evaluate(RENDER, text) == html


@pytest.mark.parametrize("name", INLINES)
async def test_inline_text_is_rendered(bare_page: Page, name: str) -> None:
    text, html = INLINES[name]
    assert await bare_page.evaluate(RENDER, text) == f"<p>{html}</p>"


CODE = """async (text) => {
    const { MarkdownView } = await import("/ui/markdown.js");
    const place = document.createElement("div");
    new MarkdownView(place).update(text, false);
    return [...place.querySelectorAll("figure")].map((each) =>
        [each.querySelector(".code-lang").textContent, each.querySelector("code").textContent]);
}"""


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\na = 1\n\n  b\n```\nc", [["python", "a = 1\n\n  b"]]),
        ("~~~\n```\n~~~", [["text", "```"]]),
        ("````\n```\n````", [["text", "```"]]),
        ("```js title=x\n<b>&amp;</b>", [["js", "<b>&amp;</b>"]]),
        ("- a\n  ```sh\n  ls\n    -l\n  ```\n- b", [["sh", "ls\n  -l"]]),
        ("> ```\n> a\n> ```", [["text", "a"]]),
        ("    a\n\n    b\n\nc", [["text", "a\n\nb"]]),
        ("\tx", [["text", "x"]]),
        ("a ``` b", []),
    ],
)
async def test_code_is_kept_as_it_is(bare_page: Page, text: str, blocks: list[list[str]]) -> None:
    assert await bare_page.evaluate(CODE, text) == blocks


TABLE = """async (text) => {
    const { MarkdownView } = await import("/ui/markdown.js");
    const place = document.createElement("div");
    new MarkdownView(place).update(text, false);
    const rows = [...place.querySelectorAll("tr")];
    return rows.map((row) => [...row.children].map((cell) => [cell.localName, cell.className, cell.textContent]));
}"""


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "| a | b |\n|:--|--:|\n| 1 | **2** |\n| 3 |",
            [
                [["th", "align-left", "a"], ["th", "align-right", "b"]],
                [["td", "align-left", "1"], ["td", "align-right", "2"]],
                [["td", "align-left", "3"], ["td", "align-right", ""]],
            ],
        ),
        (
            "a|b\n-|:-:\nc\\|d|`e`",
            [
                [["th", "", "a"], ["th", "align-center", "b"]],
                [["td", "", "c|d"], ["td", "align-center", "e"]],
            ],
        ),
        ("a | b\nc | d", []),
        ("| a | b |\n|---|", []),
    ],
)
async def test_tables_have_rows_and_alignment(bare_page: Page, text: str, rows: list[Any]) -> None:
    assert await bare_page.evaluate(TABLE, text) == rows


GROW = """async ([seed, rounds]) => {
    const { MarkdownView } = await import("/ui/markdown.js");
    const pieces = ["a", "word ", "**", "*", "_", "`", "```\\n", "~~", "[x](https://x.example)", "[", "](",
        "\\n", "\\n", "\\n\\n",
        "- ", "  - ", "1. ", "> ", "# ", "## b", "---", "===", "| a | b |\\n|--|--|\\n", "| 1 | 2 |\\n", "    ",
        "\\t", "<br>", "\\\\",
        "&amp;", "- [ ] ", "https://x.example ", "\\r", "\\0", "2. ", "+ ", "```py", ":", "|"];
    let state = seed;
    const random = (n) => { state = (state * 1103515245 + 12345) % 2147483648; return Math.floor(state / 65536) % n; };
    const shown = (text, open) => {
        const place = document.createElement("div");
        new MarkdownView(place).update(text, open);
        return place.innerHTML;
    };
    for (let round = 0; round < rounds; round += 1) {
        const place = document.createElement("div");
        const view = new MarkdownView(place);
        let text = "";
        for (let step = 0; step < 30; step += 1) {
            text += pieces[random(pieces.length)];
            view.update(text, true);
            if (place.innerHTML !== shown(text, true)) return ["growing", text, place.innerHTML, shown(text, true)];
        }
        view.update(text, false);
        if (place.innerHTML !== shown(text, false)) return ["done", text, place.innerHTML, shown(text, false)];
    }
    return null;
}"""


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_growing_text_looks_at_each_step_as_if_it_had_come_at_once(bare_page: Page, seed: int) -> None:
    assert await bare_page.evaluate(GROW, [seed, 200]) is None


async def test_finished_blocks_are_not_touched_while_the_text_grows(bare_page: Page) -> None:
    same = await bare_page.evaluate("""async () => {
        const { MarkdownView } = await import("/ui/markdown.js");
        const place = document.createElement("div");
        document.body.append(place);
        const view = new MarkdownView(place);
        view.update("# a\\n\\nfirst\\n\\n- one\\n", true);
        const before = [...place.children];
        getSelection().setBaseAndExtent(before[1].firstChild, 0, before[1].firstChild, 5);
        view.update("# a\\n\\nfirst\\n\\n- one\\n- two\\n\\nlast **word", true);
        const kept = before.every((node, i) => place.children[i] === node);
        return [kept, String(getSelection()), place.lastChild.innerHTML];
    }""")
    assert same == [True, "first", "last <strong>word</strong>"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a **b", "a <strong>b</strong>"),
        ("a **b*", "a <strong>b</strong>"),
        ("a `b", "a <code>b</code>"),
        ("a [b](https://x.ex", "a b"),
        ("a [b", "a b"),
        ("a\n-", "a"),
        ("a\n#", "a"),
        ("a\n```", "a"),
    ],
)
async def test_what_has_begun_is_shown_as_if_it_were_closed(bare_page: Page, text: str, shown: str) -> None:
    html = await bare_page.evaluate(RENDER.replace("false", "true"), text)
    assert html == f"<p>{shown}</p>"


INERT = """async (text) => {
    const { MarkdownView } = await import("/ui/markdown.js");
    const place = document.createElement("div");
    document.body.replaceChildren(place);
    const view = new MarkdownView(place);
    view.update(text, true);
    view.update(text, false);
    const words = (text) => new Set(text.split(/\\s+/));
    const tags = words(`p h3 h4 h5 h6 figure figcaption span button svg path pre code hr blockquote ul ol li
        div input table thead tbody tr th td a strong em del br`);
    const names = words(`class href title target rel type data-copy aria-label aria-hidden focusable viewBox
        d tabindex disabled checked start scope role`);
    const bad = [];
    let depth = 0;
    for (const node of place.querySelectorAll("*")) {
        if (!tags.has(node.localName)) bad.push(node.localName);
        for (const name of node.getAttributeNames()) if (!names.has(name)) bad.push(`${node.localName} ${name}`);
        if (node.localName === "a" && !["http:", "https:", "mailto:"].includes(node.protocol)) bad.push(node.href);
        let level = 0;
        for (let each = node; each !== place; each = each.parentElement) level += 1;
        depth = Math.max(depth, level);
    }
    for (const link of place.querySelectorAll("input, button")) link.click();
    await new Promise((resolve) => requestAnimationFrame(resolve));
    return [bad, window.hit ?? null, depth];
}"""


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_inert(bare_page: Page, text: str) -> None:
    bad, hit, _ = await bare_page.evaluate(INERT, text)
    assert (bad, hit) == ([], None)


@pytest.mark.parametrize("name", LARGE)
async def test_large_hostile_text_neither_hangs_nor_nests_without_bound(bare_page: Page, name: str) -> None:
    bad, hit, depth = await bare_page.evaluate(INERT, LARGE[name])
    assert (bad, hit) == ([], None)
    assert depth < 120
