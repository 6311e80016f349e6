/**
 * Markdown on the page, growing: each update touches only what has changed.
 */

import { parseBlocks } from "./markdown-blocks.js";
import { renderBlock } from "./markdown-render.js";

/** A last line of only these may still become anything (a list, a rule, a fence), so it waits for the next token. */
const UNDECIDED_LINE = /(?:^|\n)[ \t]{0,12}(?:[-=*+_#>`~|]{1,8}|\d{1,9}[.)]?)[ \t]?$/;

/**
 * Shows a Markdown text in an element. While the text only grows, finished blocks are neither parsed nor rendered
 * again, and the last block is patched in place, so that selections, focus and scroll positions inside stay.
 */
export class MarkdownView {
  /** @param {HTMLElement} container emptied and owned by the view */
  constructor(container) {
    this.container = container;
    this.container.replaceChildren();
    this.text = "";
    this.open = false;
    /** Up to here the text is settled, and stands in the first `settledBlocks` children. */
    this.settled = 0;
    this.settledBlocks = 0;
  }

  /**
   * @param {string} text the whole text
   * @param {boolean} open more is to come
   */
  update(text, open) {
    const source = text.replace(/\r\n?/g, "\n").replaceAll("\0", "\ufffd");
    if (source === this.text && open === this.open) return;
    if (!source.startsWith(this.text.slice(0, this.settled))) this.settled = this.settledBlocks = 0;
    this.text = source;
    this.open = open;
    const tail = source.slice(this.settled);
    const blocks = parseBlocks(open ? tail.replace(UNDECIDED_LINE, "") : tail);
    const nodes = blocks.map((block, i) => renderBlock(block, open && i === blocks.length - 1));
    patchChildren(this.container, this.settledBlocks, nodes);
    this.settle(tail, blocks);
  }

  /**
   * Everything before the last block is settled. A block that begins on the last two lines may yet turn out to belong
   * to the block before it: while the last line grows, it may stop being what it looks like, such as a table's second.
   *
   * @param {string} tail
   * @param {import("./markdown-blocks.js").Block[]} blocks
   */
  settle(tail, blocks) {
    const complete = tail.split("\n").length - 1;
    let last = blocks.length - 1;
    while (last > 0 && blocks[last].line >= complete - 1) last -= 1;
    if (last <= 0) return;
    let offset = 0;
    for (let line = 0; line < blocks[last].line; line += 1) offset = tail.indexOf("\n", offset) + 1;
    this.settled += offset;
    this.settledBlocks += last;
  }
}

/**
 * Make the children from a place on equal to the given nodes, changing as little as possible.
 *
 * @param {Node} parent
 * @param {number} from
 * @param {Node[]} nodes
 */
export function patchChildren(parent, from, nodes) {
  nodes.forEach((node, i) => {
    const old = parent.childNodes[from + i];
    if (!old) parent.appendChild(node);
    else if (old.nodeName !== node.nodeName) parent.replaceChild(node, old);
    else patch(old, node);
  });
  while (parent.childNodes.length > from + nodes.length) parent.lastChild?.remove();
}

/**
 * @param {Node} old
 * @param {Node} node of the same name
 */
function patch(old, node) {
  if (old instanceof Text && node instanceof Text) {
    // Appending keeps a selection that stands in the text.
    if (node.data.startsWith(old.data)) old.appendData(node.data.slice(old.data.length));
    else old.data = node.data;
    return;
  }
  if (!(old instanceof Element) || !(node instanceof Element) || old.isEqualNode(node)) return;
  for (const name of old.getAttributeNames()) if (!node.hasAttribute(name)) old.removeAttribute(name);
  for (const name of node.getAttributeNames()) {
    const value = node.getAttribute(name) ?? "";
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  patchChildren(old, 0, [...node.childNodes]);
}
