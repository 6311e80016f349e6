/**
 * The list of threads on the page: links, with rename in place and delete beside each.
 *
 * @typedef {import("./api.js").Thread} Thread
 * @typedef {object} Actions
 * @property {(id: string) => string} href
 * @property {(id: string, name: string) => void} rename
 * @property {(thread: Thread) => void} remove
 * @property {() => void} more
 * @property {() => void} reload
 */

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { fullTime, relativeTime } from "./time.js";

const UNNAMED = "New conversation";
const MAX_NAME = 200;

/** @param {Thread | undefined} thread */
export const nameOf = (thread) => thread?.chat_name || UNNAMED;

export class ThreadList {
  #root;
  #list = h("ul", { class: "threads" });
  #note = h("p", { class: "list-note" });
  #retry;
  #more;
  #actions;
  /** @type {Map<string, {item: HTMLLIElement, shown: string}>} */
  #rows = new Map();
  /** @type {string | null} the thread whose name is being edited */
  #editing = null;

  /**
   * @param {HTMLElement} root
   * @param {Actions} actions
   */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
    this.#retry = h("button", { type: "button", class: "quiet", onclick: () => actions.reload() }, "Try again");
    this.#more = h("button", { type: "button", class: "quiet more", onclick: () => actions.more() }, "Show older");
    root.replaceChildren(this.#list, this.#note, this.#retry, this.#more);
  }

  /**
   * @param {import("./threads.js").Threads} threads
   * @param {string | null} current
   */
  render(threads, current) {
    const seen = new Set();
    threads.items.forEach((thread, i) => {
      seen.add(thread.id);
      const row = this.#row(thread, thread.id === current);
      if (this.#list.children[i] !== row) this.#list.insertBefore(row, this.#list.children[i] ?? null);
    });
    for (const [id, row] of this.#rows) {
      if (seen.has(id)) continue;
      row.item.remove();
      this.#rows.delete(id);
    }
    this.#note.textContent = threads.problem ||
      (threads.loading ? "Loading conversations…" : threads.items.length ? "" : "Conversations appear here.");
    this.#note.hidden = !this.#note.textContent;
    this.#retry.hidden = !threads.problem;
    this.#more.hidden = !threads.more;
    this.#more.textContent = threads.loadingMore ? "Loading…" : "Show older";
    this.#root.setAttribute("aria-busy", String(threads.loading || threads.loadingMore));
  }

  /**
   * Put the focus on a thread's link, or on nothing when it is not in the list.
   *
   * @param {string} id
   * @returns {boolean}
   */
  focus(id) {
    const link = this.#rows.get(id)?.item.querySelector("a");
    link?.focus();
    return Boolean(link);
  }

  /**
   * The thread beside one that is about to go.
   *
   * @param {string} id
   */
  neighbour(id) {
    const item = this.#rows.get(id)?.item;
    const beside = item?.nextElementSibling ?? item?.previousElementSibling;
    return beside instanceof HTMLElement ? beside.dataset.id ?? "" : "";
  }

  /**
   * @param {Thread} thread
   * @param {boolean} current
   */
  #row(thread, current) {
    let row = this.#rows.get(thread.id);
    if (!row) {
      row = { item: h("li", { "data-id": thread.id }), shown: "" };
      this.#rows.set(thread.id, row);
    }
    const when = relativeTime(new Date(thread.last_activity_time));
    const shown = JSON.stringify([nameOf(thread), when, thread.active, current]);
    if (row.shown !== shown && this.#editing !== thread.id) {
      row.shown = shown;
      this.#fill(row.item, thread, when, current);
    }
    return row.item;
  }

  /**
   * @param {HTMLLIElement} item
   * @param {Thread} thread
   * @param {string} when
   * @param {boolean} current
   */
  #fill(item, thread, when, current) {
    const held = item.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.role : "";
    const name = nameOf(thread);
    const date = new Date(thread.last_activity_time);
    item.className = current ? "current" : "";
    item.replaceChildren(
      h("a", { href: this.#actions.href(thread.id), "data-role": "open", "aria-current": current ? "page" : null },
        h("span", { class: "thread-name" }, name),
        h("span", { class: "thread-meta" },
          thread.active && h("span", { class: "live" }, "Answering"),
          h("time", { datetime: thread.last_activity_time, title: fullTime(date) }, when))),
      h("span", { class: "thread-actions" },
        h("button", {
          type: "button", class: "icon-button", "data-role": "rename", "aria-label": `Rename “${name}”`, title: "Rename",
          onclick: () => this.#edit(item, thread),
        }, icon("pencil")),
        h("button", {
          type: "button", class: "icon-button", "data-role": "delete", "aria-label": `Delete “${name}”`, title: "Delete",
          onclick: () => this.#actions.remove(thread),
        }, icon("trash"))));
    if (held) /** @type {HTMLElement | null} */ (item.querySelector(`[data-role="${held}"]`))?.focus();
  }

  /**
   * @param {HTMLLIElement} item
   * @param {Thread} thread
   */
  #edit(item, thread) {
    const input = h("input", { type: "text", maxlength: MAX_NAME, "aria-label": "Name of the conversation", autocomplete: "off" });
    input.value = thread.chat_name ?? "";
    let done = false;
    /** @param {boolean} keep @param {boolean} focus */
    const finish = (keep, focus) => {
      if (done) return;
      done = true;
      this.#editing = null;
      const row = this.#rows.get(thread.id);
      if (row) row.shown = "";
      const name = input.value.trim();
      this.#fill(item, thread, relativeTime(new Date(thread.last_activity_time)), item.classList.contains("current"));
      if (keep && name && name !== thread.chat_name) this.#actions.rename(thread.id, name);
      if (focus) /** @type {HTMLElement | null} */ (item.querySelector('[data-role="rename"]'))?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") finish(true, true);
      else if (event.key === "Escape") finish(false, true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    input.addEventListener("blur", () => finish(true, false));
    this.#editing = thread.id;
    item.classList.add("editing");
    item.replaceChildren(input);
    input.focus();
    input.select();
  }
}
