/** Small helpers to build a page as nodes. Text is only ever text: nothing here parses HTML. */

/**
 * @param {string} tag
 * @param {Record<string, string | boolean>} [attributes] `true` writes the bare attribute, `false` leaves it out
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/**
 * The Markdown of the descriptions: paragraphs, lists, tables, `code` and **bold**.
 *
 * @param {string} text
 * @returns {Node[]}
 */
export function prose(text) {
  return text.trim().split(/\n{2,}/).map((block) => {
    const lines = block.split("\n");
    if (lines[0].startsWith("|")) return table(lines);
    if (lines[0].startsWith("- ")) return list(lines);
    return make("p", {}, ...inline(lines.join(" ")));
  });
}

/** @param {string[]} lines */
function list(lines) {
  /** @type {string[]} */
  const items = [];
  for (const line of lines) {
    if (line.startsWith("- ")) items.push(line.slice(2));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item))));
}

/** @param {string[]} lines the second of which separates the head from the body */
function table(lines) {
  const rows = lines.filter((_, index) => index !== 1)
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  const body = rows.slice(1).map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, ...inline(cell)))));
  const head = make("tr", {}, ...rows[0].map((cell) => make("th", { scope: "col" }, ...inline(cell))));
  return make("div", { class: "wide" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

/** @param {string} text */
export function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).filter(Boolean).map((part) => {
    if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return make("strong", {}, ...inline(part.slice(2, -2)));
    return part;
  });
}
