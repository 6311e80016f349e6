/**
 * Building elements. Strings become text nodes and attributes, never HTML.
 */

/**
 * @typedef {string | Node | null | undefined | false} Child
 * @typedef {Record<string, string | number | boolean | null | undefined | EventListener>} Props
 */

/**
 * An element with attributes, listeners (`onclick: …`) and children. `true` sets an empty attribute; `false`, `null`
 * and `undefined` set none. Children may be lists of any length.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Props} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children.flat()) if (child || child === "") element.append(child);
  return element;
}

/**
 * The element of the page with an id.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new TypeError(`the page has no #${id}`);
  return element;
}

/**
 * Whether the text can be put on the clipboard; pages on plain http have only the old way.
 *
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { readonly: true, class: "visually-hidden", "aria-hidden": "true", tabindex: -1 });
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}

/** True where a finger types: the keyboard must not pop up unasked, and Enter makes a new line. */
export const touchOnly = () => matchMedia("(hover: none) and (pointer: coarse)").matches;
