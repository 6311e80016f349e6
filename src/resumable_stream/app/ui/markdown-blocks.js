/**
 * The block half of the Markdown parser: lines to a tree of plain objects.
 *
 * Paragraphs, headings, fenced and indented code, quotes, nested lists with tasks, rules and GFM's tables. HTML and
 * link definitions are plain text. Each block says on which line it begins, so that a growing answer is parsed again
 * only from its last block on.
 *
 * @typedef {"left" | "center" | "right" | ""} Align
 * @typedef {{t: "para", text: string}} Para
 * @typedef {{t: "heading", level: number, text: string}} Heading
 * @typedef {{t: "code", lang: string, text: string}} Code
 * @typedef {{t: "hr"}} Rule
 * @typedef {{t: "quote", c: Block[]}} Quote
 * @typedef {{c: Block[], task: boolean | null}} Item
 * @typedef {{t: "list", ordered: boolean, start: number, tight: boolean, items: Item[]}} List
 * @typedef {{t: "table", align: Align[], head: string[], rows: string[][]}} Table
 * @typedef {(Para | Heading | Code | Rule | Quote | List | Table) & {line: number}} Block
 */

/** Deeper quotes and lists are text. */
const MAX_DEPTH = 12;
const MAX_COLUMNS = 64;
const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const MARKER = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const DELIMITER_CELL = /^:?-+:?$/;

/**
 * @param {string} text with LF line ends
 * @returns {Block[]}
 */
export function parseBlocks(text) {
  return blocksOf(text.split("\n").map(untabbed), 0);
}

/**
 * @param {string[]} lines
 * @param {number} depth
 * @returns {Block[]}
 */
function blocksOf(lines, depth) {
  /** @type {Block[]} */
  const blocks = [];
  for (let i = 0; i < lines.length;) {
    if (isBlank(lines[i])) {
      i += 1;
      continue;
    }
    const [block, next] = blockAt(lines, i, depth);
    blocks.push({ ...block, line: i });
    i = next;
  }
  return blocks;
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @param {number} depth
 * @returns {[Para | Heading | Code | Rule | Quote | List | Table, number]} the block and the line after it
 */
function blockAt(lines, i, depth) {
  const line = lines[i];
  if (line.startsWith("    ")) return indentedCode(lines, i);
  const fence = fenceAt(line);
  if (fence) return fencedCode(lines, i, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ t: "heading", level: heading[1].length, text: headingText(heading[2] ?? "") }, i + 1];
  if (RULE.test(line)) return [{ t: "hr" }, i + 1];
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quote(lines, i, depth);
  if (depth < MAX_DEPTH && MARKER.test(line)) return list(lines, i, depth);
  return tableAt(lines, i) ?? paragraph(lines, i, depth);
}

/**
 * Whether a line begins something other than a paragraph, when a paragraph stands before it.
 *
 * @param {string} line
 * @param {number} depth
 */
function interrupts(line, depth) {
  if (fenceAt(line) || HEADING.test(line) || RULE.test(line)) return true;
  if (depth >= MAX_DEPTH) return false;
  if (QUOTE.test(line)) return true;
  const marker = MARKER.exec(line);
  // An empty item, or a number other than 1, is more likely a part of the sentence.
  return marker !== null && marker[0].length < line.length && !/^\d*[02-9]\d*[.)]|^1\d+[.)]/.test(marker[2]);
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @param {number} depth
 * @returns {[Para | Heading, number]}
 */
function paragraph(lines, i, depth) {
  const text = [lines[i].trimStart()];
  for (let at = i + 1; at < lines.length; at += 1) {
    const line = lines[at];
    if (isBlank(line)) return [{ t: "para", text: joined(text) }, at];
    const underline = UNDERLINE.exec(line);
    if (underline) return [{ t: "heading", level: underline[1][0] === "=" ? 1 : 2, text: joined(text) }, at + 1];
    if (interrupts(line, depth) || tableAt(lines, at)) return [{ t: "para", text: joined(text) }, at];
    text.push(line.trimStart());
  }
  return [{ t: "para", text: joined(text) }, lines.length];
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @returns {[Code, number]}
 */
function indentedCode(lines, i) {
  const text = [];
  let at = i;
  let end = i;
  for (; at < lines.length && (lines[at].startsWith("    ") || isBlank(lines[at])); at += 1) {
    text.push(lines[at].slice(4));
    if (!isBlank(lines[at])) end = at + 1;
  }
  return [{ t: "code", lang: "", text: text.slice(0, end - i).join("\n") }, end];
}

/** @param {string} line */
function fenceAt(line) {
  const match = FENCE.exec(line);
  return match && !(match[2][0] === "`" && match[3].includes("`")) ? match : null;
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @param {RegExpExecArray} fence
 * @returns {[Code, number]}
 */
function fencedCode(lines, i, fence) {
  const [, indent, marks, info] = fence;
  const text = [];
  let at = i + 1;
  for (; at < lines.length; at += 1) {
    const line = lines[at].trim();
    const closes = line.length >= marks.length && line.startsWith(marks) && line === marks[0].repeat(line.length);
    if (closes && indentOf(lines[at]) < 4) {
      at += 1;
      break;
    }
    text.push(lines[at].slice(Math.min(indent.length, indentOf(lines[at]))));
  }
  const lang = info.trim().split(/\s/, 1)[0].slice(0, 40);
  return [{ t: "code", lang, text: text.join("\n") }, at];
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @param {number} depth
 * @returns {[Quote, number]}
 */
function quote(lines, i, depth) {
  const inner = [];
  let lazy = false;
  let at = i;
  for (; at < lines.length; at += 1) {
    const line = lines[at];
    const mark = QUOTE.exec(line);
    if (!mark && (!lazy || isBlank(line) || interrupts(line, depth))) break;
    const rest = mark ? line.slice(mark[0].length) : line;
    lazy = !isBlank(rest) && !rest.startsWith("    ") && !fenceAt(rest) && !HEADING.test(rest);
    inner.push(rest);
  }
  return [{ t: "quote", c: blocksOf(inner, depth + 1) }, at];
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @param {number} depth
 * @returns {[List, number]}
 */
function list(lines, i, depth) {
  const first = /** @type {RegExpExecArray} */ (MARKER.exec(lines[i]));
  const kind = first[2].at(-1);
  /** @type {Item[]} */
  const items = [];
  let tight = true;
  let at = i;
  while (at < lines.length) {
    const marker = MARKER.exec(lines[at]);
    if (!marker || marker[2].at(-1) !== kind || RULE.test(lines[at])) break;
    const [inner, next] = itemLines(lines, at, marker, depth);
    const blankInside = isBlank(inner.at(-1) ?? "x");
    const item = itemOf(inner, depth);
    items.push(item);
    const another = next < lines.length && MARKER.test(lines[next]) && MARKER.exec(lines[next])?.[2].at(-1) === kind;
    if ((blankInside && another) || isLoose(inner, item.c)) tight = false;
    at = next;
  }
  const ordered = first[2].length > 1;
  return [{ t: "list", ordered, start: ordered ? Number.parseInt(first[2], 10) : 1, tight, items }, at];
}

/**
 * The lines of one item, without its indentation.
 *
 * @param {string[]} lines
 * @param {number} i
 * @param {RegExpExecArray} marker
 * @param {number} depth
 * @returns {[string[], number]}
 */
function itemLines(lines, i, marker, depth) {
  const bare = marker[1].length + marker[2].length;
  const padding = marker[0].length - bare;
  const width = padding >= 1 && padding <= 4 ? marker[0].length : bare + 1;
  const inner = [lines[i].slice(Math.min(width, lines[i].length))];
  // Models indent what belongs to "1. " by two blanks as often as by three.
  const least = Math.min(width, marker[1].length + 2);
  let fenced = fenceAt(inner[0]) !== null;
  let at = i + 1;
  for (; at < lines.length; at += 1) {
    const line = lines[at];
    const indent = indentOf(line);
    if (isBlank(line)) {
      // An item that begins with a blank line holds nothing after it.
      if (inner.length === 1 && isBlank(inner[0])) break;
      inner.push("");
    } else if (indent >= least) {
      const rest = line.slice(Math.min(indent, width));
      if (fenceAt(rest)) fenced = !fenced;
      inner.push(rest);
    } else if (fenced || isBlank(inner[inner.length - 1]) || MARKER.test(line) || interrupts(line, depth)) {
      break;
    } else {
      inner.push(line.trimStart());
    }
  }
  return [inner, at];
}

/**
 * @param {string[]} inner
 * @param {number} depth
 * @returns {Item}
 */
function itemOf(inner, depth) {
  const task = /^\[([ xX])\][ \t]+(?=\S)/.exec(inner[0]);
  const lines = task ? [inner[0].slice(task[0].length), ...inner.slice(1)] : inner;
  return { c: blocksOf(lines, depth + 1), task: task ? task[1] !== " " : null };
}

/**
 * Whether a blank line stands between two blocks of an item.
 *
 * @param {string[]} inner
 * @param {Block[]} blocks
 */
function isLoose(inner, blocks) {
  return blocks.some((block, k) => k > 0 && isBlank(inner[block.line - 1]));
}

/**
 * @param {string[]} lines
 * @param {number} i
 * @returns {[Table, number] | null}
 */
function tableAt(lines, i) {
  if (i + 1 >= lines.length || !lines[i].includes("|") || !/^[ \t|:-]+$/.test(lines[i + 1])) return null;
  const marks = cells(lines[i + 1]);
  const head = cells(lines[i]);
  if (!lines[i + 1].includes("-") || marks.length !== head.length || marks.length > MAX_COLUMNS) return null;
  if (!marks.every((mark) => DELIMITER_CELL.test(mark))) return null;
  /** @type {string[][]} */
  const rows = [];
  let at = i + 2;
  for (; at < lines.length && !isBlank(lines[at]) && !interrupts(lines[at], 0); at += 1) {
    const row = cells(lines[at]).slice(0, head.length);
    while (row.length < head.length) row.push("");
    rows.push(row);
  }
  return [{ t: "table", align: marks.map(alignOf), head, rows }, at];
}

/**
 * The cells of a table's line; `\|` is no boundary.
 *
 * @param {string} line
 */
function cells(line) {
  const parts = [""];
  const text = line.trim();
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] === "\\" && text[i + 1] === "|") {
      parts[parts.length - 1] += "|";
      i += 1;
    } else if (text[i] === "|") {
      parts.push("");
    } else {
      parts[parts.length - 1] += text[i];
    }
  }
  if (text.startsWith("|")) parts.shift();
  if (parts.length > 1 && text.endsWith("|") && isBlank(parts[parts.length - 1])) parts.pop();
  return parts.map((part) => part.trim());
}

/**
 * @param {string} mark
 * @returns {Align}
 */
function alignOf(mark) {
  const [left, right] = [mark.startsWith(":"), mark.endsWith(":")];
  return left && right ? "center" : right ? "right" : left ? "left" : "";
}

/** @param {string} text */
function headingText(text) {
  const bare = text.trim();
  let end = bare.length;
  while (bare[end - 1] === "#") end -= 1;
  return end === 0 ? "" : end < bare.length && /\s/.test(bare[end - 1]) ? bare.slice(0, end).trim() : bare;
}

/** @param {string[]} text */
const joined = (text) => text.join("\n").trimEnd();
/** @param {string} line */
const isBlank = (line) => line.trim() === "";

/** @param {string} line */
function indentOf(line) {
  let n = 0;
  while (line[n] === " ") n += 1;
  return n;
}

/**
 * A line with the tabs of its indentation as blanks, to stops of four.
 *
 * @param {string} line
 */
function untabbed(line) {
  if (!line.includes("\t")) return line;
  let indent = "";
  let i = 0;
  for (; line[i] === " " || line[i] === "\t"; i += 1) indent += line[i] === " " ? " " : " ".repeat(4 - (indent.length % 4));
  return indent + line.slice(i);
}
