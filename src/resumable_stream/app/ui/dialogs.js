/**
 * Questions and help in front of the page, and the drawer that holds the thread list on small screens.
 */

import { byId } from "./dom.js";

/**
 * Ask before a thread is deleted.
 *
 * @param {string} name
 * @returns {Promise<boolean>}
 */
export function confirmDelete(name) {
  const dialog = byId("confirm", HTMLDialogElement);
  byId("confirm-name", HTMLElement).textContent = name;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}

/** Buttons with `data-answer` close their dialog with it; so does a click beside the dialog, with none. */
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("[data-answer]") : null;
      if (button instanceof HTMLElement) dialog.close(button.dataset.answer ?? "");
      else if (event.target === dialog) dialog.close("");
    });
  }
  const apple = /Mac|iPhone|iPad/.test(navigator.platform);
  for (const key of document.querySelectorAll("[data-key=mod]")) key.textContent = apple ? "⌘" : "Ctrl";
}

export function showShortcuts() {
  const dialog = byId("shortcuts", HTMLDialogElement);
  if (!dialog.open) dialog.showModal();
}

/** The thread list slides over the page where there is no room beside it. */
export class Drawer {
  #sidebar = byId("sidebar", HTMLElement);
  #main = byId("main", HTMLElement);
  #toggle = byId("drawer-open", HTMLButtonElement);
  #backdrop = byId("backdrop", HTMLElement);
  #narrow = matchMedia("(max-width: 760px)");
  #open = false;

  constructor() {
    this.#toggle.addEventListener("click", () => this.#set(true));
    byId("drawer-close", HTMLButtonElement).addEventListener("click", () => this.close());
    this.#backdrop.addEventListener("click", () => this.close());
    this.#narrow.addEventListener("change", () => this.#set(false));
    this.#sidebar.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#open) this.close();
    });
    this.#set(false);
  }

  get isOpen() {
    return this.#open;
  }

  /** Close it, and put the focus back where it was opened from. */
  close() {
    if (!this.#open) return;
    this.#set(false);
    this.#toggle.focus();
  }

  /** @param {boolean} open */
  #set(open) {
    this.#open = open;
    document.body.classList.toggle("drawer-shown", open);
    this.#toggle.setAttribute("aria-expanded", String(open));
    this.#sidebar.inert = this.#narrow.matches && !open;
    this.#main.inert = open;
    this.#backdrop.hidden = !open;
    if (open) byId("drawer-close", HTMLButtonElement).focus();
  }
}
