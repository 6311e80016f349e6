/**
 * Emphasis in Markdown: runs of `*`, `_` and `~` become nested nodes (CommonMark 6.2, GFM's strikethrough).
 *
 * @typedef {import("./markdown-inline.js").Inline} Inline
 * @typedef {{t: "delim", ch: string, n: number, size: number, opens: boolean, closes: boolean}} Delimiter
 * @typedef {{t: "bracket", image: boolean}} Bracket
 * @typedef {Inline | Delimiter | Bracket} Piece
 */

/** Deeper nesting stays text: a page must not be brought down by its own style engine. */
const MAX_DEPTH = 24;
const BLANK = /^$|\s/u;
const SIGN = /[\p{P}\p{S}]/u;
/** Chinese, Japanese and Korean put no blanks around words: a neighbour of these counts as a boundary. */
const JOINED = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}]/u;

/**
 * Whether a run of delimiters may open and may close emphasis (CommonMark 6.2).
 *
 * @param {string} ch
 * @param {string} prev
 * @param {string} next
 * @returns {[boolean, boolean]}
 */
export function flanking(ch, prev, next) {
  const left = !BLANK.test(next) && (!SIGN.test(next) || BLANK.test(prev) || SIGN.test(prev) || JOINED.test(prev));
  const right = !BLANK.test(prev) && (!SIGN.test(prev) || BLANK.test(next) || SIGN.test(next) || JOINED.test(next));
  if (ch !== "_") return [left, right];
  return [left && (!right || SIGN.test(prev)), right && (!left || SIGN.test(next))];
}

/**
 * Turn delimiters into emphasis; what finds no partner becomes text again.
 *
 * @param {Piece[]} pieces
 * @param {boolean} open close what is still open at the end
 * @returns {Inline[]}
 */
export function resolve(pieces, open) {
  /** @type {Piece[]} */
  const stack = [];
  /** @type {Record<string, number[]>} places in `stack` of possible openers */
  const openers = { "*": [], _: [], "~": [] };
  for (const piece of pieces) {
    if (piece.t !== "delim") {
      stack.push(piece);
      continue;
    }
    while (piece.closes && piece.n > 0 && pair(stack, openers, piece));
    if (piece.n > 0) {
      if (piece.opens) openers[piece.ch].push(stack.length);
      stack.push(piece);
    }
  }
  if (open) closeAll(stack, openers);
  return flattened(stack);
}

/**
 * @param {Piece[]} stack
 * @param {Record<string, number[]>} openers
 * @param {Delimiter} closer
 */
function pair(stack, openers, closer) {
  const places = openers[closer.ch];
  for (let i = places.length - 1, tries = 0; i >= 0 && tries < 32; i -= 1, tries += 1) {
    const opener = /** @type {Delimiter} */ (stack[places[i]]);
    const mixed = opener.closes || closer.opens;
    const thirds = mixed && (opener.size + closer.size) % 3 === 0 && (opener.size % 3 !== 0 || closer.size % 3 !== 0);
    if (closer.ch === "~" ? opener.n !== closer.n : thirds) continue;
    const used = opener.n >= 2 && closer.n >= 2 ? 2 : 1;
    if (!wrap(stack, openers, places[i], used)) {
      places.length = 0; // too deep, and every opener before this one would be deeper
      return false;
    }
    closer.n -= used;
    return true;
  }
  return false;
}

/**
 * Wrap everything after an opener on the stack.
 *
 * @param {Piece[]} stack
 * @param {Record<string, number[]>} openers
 * @param {number} place
 * @param {number} used
 */
function wrap(stack, openers, place, used) {
  const opener = /** @type {Delimiter} */ (stack[place]);
  const depth = depthOf(/** @type {Inline[]} */ (stack.slice(place + 1)));
  if (depth > MAX_DEPTH) return false;
  const children = flattened(stack.splice(place + 1));
  for (const places of Object.values(openers)) while (places.length && places[places.length - 1] > place) places.pop();
  opener.n -= used;
  if (opener.n === 0) {
    stack.pop();
    openers[opener.ch].pop();
  }
  stack.push({ t: opener.ch === "~" ? "del" : used === 2 ? "strong" : "em", c: children, depth });
  return true;
}

/**
 * @param {Piece[]} stack
 * @param {Record<string, number[]>} openers
 */
function closeAll(stack, openers) {
  for (let place = stack.length - 1; place >= 0; place -= 1) {
    const piece = stack[place];
    if (piece.t !== "delim" || !piece.opens || piece.n > 2 || place === stack.length - 1) continue;
    if (piece.ch === "~" && piece.n !== 2) continue;
    if (!wrap(stack, openers, place, piece.n)) return;
  }
}

/**
 * @param {Piece[]} pieces
 * @returns {Inline[]}
 */
function flattened(pieces) {
  /** @type {Inline[]} */
  const out = [];
  for (const piece of pieces) {
    const node = piece.t === "delim" ? { t: /** @type {const} */ ("text"), v: piece.ch.repeat(piece.n) }
      : piece.t === "bracket" ? { t: /** @type {const} */ ("text"), v: piece.image ? "![" : "[" } : piece;
    const last = out.at(-1);
    if (node.t === "text" && last?.t === "text") out[out.length - 1] = { t: "text", v: last.v + node.v };
    else out.push(node);
  }
  return out;
}

/**
 * How deep a node around these would be.
 *
 * @param {Piece[]} nodes
 */
export function depthOf(nodes) {
  let depth = 0;
  for (const node of nodes) if ("depth" in node && node.depth > depth) depth = node.depth;
  return depth + 1;
}
