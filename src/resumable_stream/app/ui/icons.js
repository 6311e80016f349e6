/**
 * The icons, drawn as strokes on a 24 × 24 grid.
 */

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  "arrow-down": "M12 5v14m-6-6 6 6 6-6",
  "arrow-up": "M12 19V5m-6 6 6-6 6 6",
  alert: "M12 8v5m0 3.2v.1M10.3 4.2 2.9 17.1A2 2 0 0 0 4.6 20h14.8a2 2 0 0 0 1.7-2.9L13.7 4.2a2 2 0 0 0-3.4 0Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  chevron: "m9 6 6 6-6 6",
  close: "M6 6l12 12M18 6 6 18",
  compose: "M12 5H6.5A1.5 1.5 0 0 0 5 6.5v11A1.5 1.5 0 0 0 6.5 19h11a1.5 1.5 0 0 0 1.5-1.5V12M10 14l.6-2.9 7.3-7.3a1.6 1.6 0 0 1 2.3 2.3l-7.3 7.3L10 14Z",
  copy: "M9 9V6.5A1.5 1.5 0 0 1 10.5 5h7A1.5 1.5 0 0 1 19 6.5v7a1.5 1.5 0 0 1-1.5 1.5H15M6.5 9h7a1.5 1.5 0 0 1 1.5 1.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 5 17.5v-7A1.5 1.5 0 0 1 6.5 9Z",
  keyboard: "M4.5 7h15A1.5 1.5 0 0 1 21 8.5v7a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 15.5v-7A1.5 1.5 0 0 1 4.5 7ZM7 10.5h.1m3.2 0h.1m3.2 0h.1m3.2 0h.1M8 14h8",
  menu: "M4 7h16M4 12h16M4 17h10",
  pencil: "m5 19 1-4L16.2 4.8a1.7 1.7 0 0 1 2.4 0l.6.6a1.7 1.7 0 0 1 0 2.4L9 18l-4 1Zm9.5-12.5 3 3",
  stop: "M8 7h8a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1Z",
  thought: "M12 4a5.5 5.5 0 0 0-3.3 9.9c.5.4.8 1 .8 1.6h5c0-.6.3-1.2.8-1.6A5.5 5.5 0 0 0 12 4Zm-2 15h4",
  tool: "M14.5 6.5a3.8 3.8 0 0 0-5 4.8L4.8 16a1.8 1.8 0 0 0 0 2.5l.7.7a1.8 1.8 0 0 0 2.5 0l4.7-4.7a3.8 3.8 0 0 0 4.8-5l-2.4 2.4-2.3-.6-.6-2.3 2.1-2.5Z",
  trash: "M5 7h14M10 7V5.5A1.5 1.5 0 0 1 11.5 4h1A1.5 1.5 0 0 1 14 5.5V7m3 0-.7 11.1a1.5 1.5 0 0 1-1.5 1.4H9.2a1.5 1.5 0 0 1-1.5-1.4L7 7m3 4v5m4-5v5",
};

/**
 * @param {keyof typeof PATHS} name
 * @returns {SVGSVGElement} hidden from assistive technology: the control around it has the words
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  svg.append(path);
  return svg;
}

/** Put the icons where the page's own markup asks for them with `data-icon`. */
export function placeIcons() {
  for (const place of document.querySelectorAll("[data-icon]")) {
    const name = /** @type {HTMLElement} */ (place).dataset.icon ?? "";
    if (name in PATHS) place.prepend(icon(/** @type {keyof typeof PATHS} */ (name)));
  }
}
