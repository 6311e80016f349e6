/**
 * The inline half of the Markdown parser: text to a tree of plain objects.
 *
 * CommonMark's delimiter rules, with GFM's strikethrough and bare addresses. HTML is text (only `<br>` is a line
 * break). Work stays near linear on hostile input, and nesting is bounded, because answers are not trusted.
 *
 * @typedef {{t: "text", v: string} | {t: "code", v: string} | {t: "br"}} Leaf
 * @typedef {{t: "strong" | "em" | "del", c: Inline[], depth: number}} Wrap
 * @typedef {{t: "link", href: string, title: string, c: Inline[], depth: number}} Link
 * @typedef {Leaf | Wrap | Link} Inline
 * @typedef {import("./markdown-emphasis.js").Piece} Piece
 */

import { depthOf, flanking, resolve } from "./markdown-emphasis.js";
import { bareAddress, decodeEntity, safeAddress, unescaped } from "./markdown-links.js";

const MAX_ADDRESS = 2000;
const MAX_PARENTHESES = 32;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const SPECIAL = /[\\`*_~[\]!<&\n]|https?:\/\/|www\./gi;

/**
 * @param {string} text
 * @param {boolean} [open] the text is still growing: what has begun is shown as if it were closed.
 * @returns {Inline[]}
 */
export function parseInline(text, open = false) {
  return new InlineParser(open ? withoutUnfinished(text) : text, open).parse();
}

/**
 * Take away what would flash on the screen for a moment: a lone delimiter or half a link at the end.
 *
 * @param {string} text
 */
function withoutUnfinished(text) {
  return text
    .replace(/!?\[([^[\]\n]{0,300})(?:\](?:\([^()\s]{0,2000})?)?$/, "$1")
    .replace(/(^|[^\\])[*_~`]{1,4}$/, "$1");
}

class InlineParser {
  /**
   * @param {string} text
   * @param {boolean} open
   */
  constructor(text, open) {
    this.text = text;
    this.open = open;
    this.pos = 0;
    /** @type {Piece[]} */
    this.out = [];
    /** @type {number[]} places in `out` of brackets that may still become links */
    this.brackets = [];
    /** Brackets below this place stand around a link, so they cannot be one themselves. */
    this.linkFloor = 0;
    /** @type {Set<number>} lengths of backtick runs known to have no closer */
    this.unclosed = new Set();
  }

  parse() {
    const { text } = this;
    while (this.pos < text.length) {
      SPECIAL.lastIndex = this.pos;
      const match = SPECIAL.exec(text);
      const at = match ? match.index : text.length;
      this.literal(text.slice(this.pos, at));
      this.pos = at;
      if (match) this.special(match[0]);
    }
    return resolve(this.out, this.open);
  }

  /** @param {string} value */
  literal(value) {
    if (!value) return;
    const last = this.out.at(-1);
    if (last?.t === "text") last.v += value;
    else this.out.push({ t: "text", v: value });
  }

  /** @param {string} token */
  special(token) {
    const done = token.length > 1 ? this.bareAddress() : this.character(token);
    if (!done) {
      this.literal(token);
      this.pos += token.length;
    }
  }

  /** @param {string} ch */
  character(ch) {
    switch (ch) {
      case "\\": return this.escape();
      case "`": return this.code();
      case "[": return this.bracket(false);
      case "!": return this.text[this.pos + 1] === "[" && this.bracket(true);
      case "]": return this.closeBracket();
      case "<": return this.angle();
      case "&": return this.entity();
      case "\n": return this.newline();
      default: return this.delimiters(ch);
    }
  }

  escape() {
    const next = this.text[this.pos + 1] ?? "";
    if (next === "\n") {
      this.out.push({ t: "br" });
      this.pos += 2;
      return true;
    }
    if (!PUNCTUATION.test(next)) return false;
    this.literal(next);
    this.pos += 2;
    return true;
  }

  newline() {
    const last = this.out.at(-1);
    let hard = false;
    if (last?.t === "text") {
      hard = last.v.endsWith("  ");
      last.v = last.v.trimEnd();
    }
    if (hard) this.out.push({ t: "br" });
    else this.literal("\n");
    this.pos += 1;
    while (this.text[this.pos] === " ") this.pos += 1;
    return true;
  }

  code() {
    const run = sticky(/`+/y, this.text, this.pos);
    const from = this.pos + run.length;
    let end = this.unclosed.has(run.length) ? -1 : this.text.indexOf(run, from);
    while (end >= 0) {
      const found = sticky(/`+/y, this.text, end);
      if (found.length === run.length) break;
      end = this.text.indexOf(run, end + found.length);
    }
    if (end < 0) {
      this.unclosed.add(run.length);
      if (!this.open || run.length > 2) {
        this.literal(run);
        this.pos = from;
        return true;
      }
      end = this.text.length;
    }
    let value = this.text.slice(from, end).replace(/\n/g, " ");
    if (value.startsWith(" ") && value.endsWith(" ") && value.trim()) value = value.slice(1, -1);
    if (value) this.out.push({ t: "code", v: value });
    this.pos = Math.min(end + run.length, this.text.length);
    return true;
  }

  /** @param {boolean} image */
  bracket(image) {
    this.brackets.push(this.out.length);
    this.out.push({ t: "bracket", image });
    this.pos += image ? 2 : 1;
    return true;
  }

  closeBracket() {
    const opener = this.brackets.pop();
    if (opener === undefined) return false;
    const { image } = /** @type {import("./markdown-emphasis.js").Bracket} */ (this.out[opener]);
    const target = opener < this.linkFloor && !image ? null : this.target(this.pos + 1);
    if (target === null) return false;
    this.pos = target.end;
    const children = unlinked(resolve(this.out.splice(opener).slice(1), false));
    const href = safeAddress(target.address);
    if (children.length === 0) children.push({ t: "text", v: target.address });
    // An address that is not safe leaves its words only. An image becomes a link: pages load nothing from elsewhere.
    if (href) this.out.push({ t: "link", href, title: target.title, c: children, depth: depthOf(children) });
    else this.out = this.out.concat(children);
    if (!image) this.linkFloor = this.out.length;
    return true;
  }

  /**
   * `(address "title")` at a place of the text.
   *
   * @param {number} from
   */
  target(from) {
    if (this.text[from] !== "(") return null;
    let at = from + 1 + sticky(/[ \n]*/y, this.text, from + 1).length;
    let address;
    if (this.text[at] === "<") {
      const raw = sticky(/<[^<>\n]{0,2000}>/y, this.text, at);
      if (!raw) return null;
      at += raw.length;
      address = raw.slice(1, -1);
    } else {
      address = this.plainAddress(at);
      at += address.length;
    }
    const title = sticky(/[ \n]+(?:"[^"]{0,500}"|'[^']{0,500}'|\([^()]{0,500}\))/y, this.text, at);
    at += title.length;
    at += sticky(/[ \n]*/y, this.text, at).length;
    if (this.text[at] !== ")") return null;
    return { address: unescaped(address), title: unescaped(title.trim().slice(1, -1)), end: at + 1 };
  }

  /**
   * An address without blanks and with balanced parentheses.
   *
   * @param {number} from
   */
  plainAddress(from) {
    let level = 0;
    let at = from;
    for (; at < this.text.length && at - from < MAX_ADDRESS; at += 1) {
      const ch = this.text[at];
      if (ch <= " ") break;
      if (ch === "\\" && PUNCTUATION.test(this.text[at + 1] ?? "")) at += 1;
      else if (ch === "(" && ++level > MAX_PARENTHESES) return "";
      else if (ch === ")" && level-- === 0) break;
    }
    return this.text.slice(from, at);
  }

  angle() {
    const raw = sticky(/<(?:br\s*\/?|[a-z][a-z0-9+.-]{1,31}:[^\s<>]{0,2000}|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})>/iy,
      this.text, this.pos);
    if (!raw) return false;
    const inner = raw.slice(1, -1);
    if (/^br\b/i.test(inner)) {
      this.out.push({ t: "br" });
    } else {
      const href = safeAddress(inner.includes(":") ? inner : `mailto:${inner}`);
      if (!href) return false;
      this.out.push({ t: "link", href, title: "", c: [{ t: "text", v: inner }], depth: 1 });
    }
    this.pos += raw.length;
    return true;
  }

  bareAddress() {
    if (/[\p{L}\p{N}_]/u.test(before(this.text, this.pos))) return false;
    const found = bareAddress(sticky(/[^\s<>[\]`"]{1,2000}/y, this.text, this.pos));
    if (!found) return false;
    this.out.push({ t: "link", href: found.href, title: "", c: [{ t: "text", v: found.raw }], depth: 1 });
    this.pos += found.raw.length;
    return true;
  }

  entity() {
    const raw = sticky(/&(?:#x[0-9a-f]{1,6}|#[0-9]{1,7}|[a-z]{2,8});/iy, this.text, this.pos);
    const value = raw && decodeEntity(raw.slice(1, -1));
    if (!value) return false;
    this.literal(value);
    this.pos += raw.length;
    return true;
  }

  /** @param {string} ch */
  delimiters(ch) {
    let end = this.pos;
    while (this.text[end] === ch) end += 1;
    const n = end - this.pos;
    const [opens, closes] = flanking(ch, before(this.text, this.pos), after(this.text, end));
    if (ch === "~" && n > 2) this.literal(ch.repeat(n));
    else this.out.push({ t: "delim", ch, n, size: n, opens, closes });
    this.pos = end;
    return true;
  }
}

/**
 * A link holds no other link.
 *
 * @param {Inline[]} nodes
 * @returns {Inline[]}
 */
function unlinked(nodes) {
  return nodes.flatMap((node) => {
    if (node.t === "link") return unlinked(node.c);
    return "c" in node ? [{ ...node, c: unlinked(node.c) }] : [node];
  });
}

/**
 * What a sticky pattern matches at a place; "" when it does not.
 *
 * @param {RegExp} pattern
 * @param {string} text
 * @param {number} at
 */
function sticky(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

/** @param {string} text @param {number} at */
const before = (text, at) => (at === 0 ? "" : String.fromCodePoint(codeBefore(text, at)));
/** @param {string} text @param {number} at */
const after = (text, at) => (at >= text.length ? "" : String.fromCodePoint(text.codePointAt(at) ?? 0));
/** @param {string} text @param {number} at */
const codeBefore = (text, at) => {
  const low = text.charCodeAt(at - 1);
  return low >= 0xdc00 && low <= 0xdfff && at > 1 ? text.codePointAt(at - 2) ?? low : low;
};
