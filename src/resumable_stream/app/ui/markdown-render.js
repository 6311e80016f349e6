/**
 * Markdown trees to DOM nodes. Every string ends in a text node or a checked address.
 *
 * @typedef {import("./markdown-blocks.js").Block} Block
 * @typedef {import("./markdown-inline.js").Inline} Inline
 */

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { parseInline } from "./markdown-inline.js";

/** The page's title is h1 and each message has an h2, so a document inside a message begins at h3. */
const HEADING_SHIFT = 2;

/**
 * @param {Block} block
 * @param {boolean} open the block is still growing
 * @returns {HTMLElement}
 */
export function renderBlock(block, open) {
  switch (block.t) {
    case "para": return h("p", {}, inline(block.text, open));
    case "heading": return heading(block.level, block.text, open);
    case "code": return codeBlock(block.lang, block.text);
    case "hr": return h("hr");
    case "quote": return h("blockquote", {}, renderBlocks(block.c, open));
    case "list": return list(block, open);
    case "table": return table(block, open);
  }
}

/**
 * @param {Block[]} blocks
 * @param {boolean} open
 */
function renderBlocks(blocks, open) {
  return blocks.map((block, i) => renderBlock(block, open && i === blocks.length - 1));
}

/**
 * @param {number} level
 * @param {string} text
 * @param {boolean} open
 */
function heading(level, text, open) {
  const tag = /** @type {"h3" | "h4" | "h5" | "h6"} */ (`h${Math.min(level + HEADING_SHIFT, 6)}`);
  return h(tag, { class: `md-h${level}` }, inline(text, open));
}

/**
 * @param {string} lang
 * @param {string} text
 */
function codeBlock(lang, text) {
  return h("figure", { class: "code" },
    h("figcaption", {},
      h("span", { class: "code-lang" }, lang || "text"),
      h("button", { type: "button", class: "quiet", "data-copy": "code", "aria-label": "Copy code" },
        icon("copy"), h("span", { class: "copy-label" }, "Copy"))),
    h("pre", { tabindex: "0", "aria-label": lang ? `Code, ${lang}` : "Code" }, h("code", {}, text)));
}

/**
 * @param {import("./markdown-blocks.js").List} block
 * @param {boolean} open
 */
function list(block, open) {
  const items = block.items.map((item, i) => {
    const last = open && i === block.items.length - 1;
    const content = block.tight ? tightContent(item.c, last) : renderBlocks(item.c, last);
    if (item.task === null) return h("li", {}, content);
    const box = h("input", { type: "checkbox", disabled: true, checked: item.task, "aria-label": item.task ? "Done" : "To do" });
    return h("li", { class: "task" }, box, h("div", {}, content));
  });
  if (!block.ordered) return h("ul", {}, items);
  return h("ol", { start: block.start === 1 ? null : block.start }, items);
}

/**
 * A tight list shows its items' text without paragraphs.
 *
 * @param {Block[]} blocks
 * @param {boolean} open
 * @returns {Node[]}
 */
function tightContent(blocks, open) {
  return blocks.flatMap((block, i) => {
    const last = open && i === blocks.length - 1;
    return block.t === "para" ? inline(block.text, last) : [renderBlock(block, last)];
  });
}

/**
 * @param {import("./markdown-blocks.js").Table} block
 * @param {boolean} open
 */
function table(block, open) {
  /** @param {"td" | "th"} tag @param {string[]} texts @param {boolean} last */
  const row = (tag, texts, last) => h("tr", {}, texts.map((text, i) => h(tag, {
    class: block.align[i] && `align-${block.align[i]}`, scope: tag === "th" ? "col" : null,
  }, inline(text, last))));
  const rows = block.rows.map((texts, i) => row("td", texts, open && i === block.rows.length - 1));
  return h("div", { class: "table", role: "region", "aria-label": "Table", tabindex: "0" },
    h("table", {}, h("thead", {}, row("th", block.head, false)), h("tbody", {}, rows)));
}

/**
 * @param {string} text
 * @param {boolean} open
 * @returns {Node[]}
 */
function inline(text, open) {
  return parseInline(text, open).map(renderInline);
}

/**
 * @param {Inline} node
 * @returns {Node}
 */
function renderInline(node) {
  switch (node.t) {
    case "text": return document.createTextNode(node.v);
    case "code": return h("code", {}, node.v);
    case "br": return h("br");
    case "link": return h("a", {
      href: node.href, title: node.title || null, target: "_blank", rel: "noopener noreferrer nofollow",
    }, node.c.map(renderInline));
    default: return h(node.t, {}, node.c.map(renderInline));
  }
}
