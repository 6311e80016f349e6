/**
 * Addresses and character references in Markdown: what may become a link, and what it says.
 */

const SAFE_SCHEMES = new Set(["http:", "https:", "mailto:"]);
const SENTENCE = "?!.,:;*_~'|。，、！？：；）」』】";
const ENTITIES = new Map(Object.entries({
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", trade: "™", hellip: "…",
  mdash: "—", ndash: "–", lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”", laquo: "«", raquo: "»", bull: "•",
  middot: "·", deg: "°", times: "×", divide: "÷", plusmn: "±", le: "≤", ge: "≥", ne: "≠", larr: "←", rarr: "→",
  euro: "€", pound: "£", sect: "§", micro: "µ", infin: "∞",
}));

/**
 * The address when it is absolute and of a scheme that cannot run code; "" otherwise.
 *
 * @param {string} address
 */
export function safeAddress(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return "";
  }
  return SAFE_SCHEMES.has(url.protocol) ? url.href : "";
}

/**
 * Text with backslash escapes and character references taken out.
 *
 * @param {string} text
 */
export function unescaped(text) {
  return text
    .replace(/\\([!-/:-@[-`{-~])/g, "$1")
    .replace(/&(#x[0-9a-f]{1,6}|#[0-9]{1,7}|[a-z]{2,8});/gi, (raw, name) => decodeEntity(name) || raw);
}

/**
 * @param {string} name without `&` and `;`
 * @returns {string} "" for an unknown name
 */
export function decodeEntity(name) {
  if (!name.startsWith("#")) return ENTITIES.get(name) ?? "";
  const point = /^#x/i.test(name) ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10);
  const valid = point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
  return valid ? String.fromCodePoint(point) : "\ufffd";
}

/**
 * The part of a run of visible characters that is an address: without the punctuation of the sentence around it.
 *
 * @param {string} run begins with `http://`, `https://` or `www.`
 */
export function bareAddress(run) {
  let end = run.length;
  let level = run.split(")").length - run.split("(").length;
  for (; end > 0; end -= 1) {
    const last = run[end - 1];
    if (last === ")" && level > 0) level -= 1;
    else if (!SENTENCE.includes(last)) break;
  }
  const raw = run.slice(0, end);
  if (/^www\./i.test(raw) ? !/^www\.[^.]+\../i.test(raw) : !/^https?:\/\/[^/?#.]/i.test(raw)) return null;
  const href = safeAddress(/^www\./i.test(raw) ? `https://${raw}` : raw);
  return href ? { raw, href } : null;
}
