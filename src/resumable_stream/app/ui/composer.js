/**
 * Where a message is written: the text box, and the button that sends or stops.
 */

import { touchOnly } from "./dom.js";

export class Composer {
  #form;
  #input;
  #send;
  #stop;
  #busy = false;
  #closed = false;

  /**
   * @param {{form: HTMLFormElement, input: HTMLTextAreaElement, send: HTMLButtonElement, stop: HTMLButtonElement}} elements
   * @param {{send: (text: string) => void, stop: () => void, changed: (text: string) => void}} actions
   */
  constructor({ form, input, send, stop }, actions) {
    this.#form = form;
    this.#input = input;
    this.#send = send;
    this.#stop = stop;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.text.trim();
      if (!text || this.#busy || this.#closed) return;
      this.text = "";
      actions.send(text);
      if (!touchOnly()) input.focus();
    });
    stop.addEventListener("click", () => actions.stop());
    input.addEventListener("input", () => {
      this.#fit();
      actions.changed(this.text);
    });
    input.addEventListener("keydown", (event) => this.#key(event, actions));
    // A click anywhere in the box is meant for the text.
    form.addEventListener("click", (event) => {
      if (event.target === form) input.focus();
    });
    this.#fit();
  }

  get text() {
    return this.#input.value;
  }

  set text(text) {
    this.#input.value = text;
    this.#fit();
  }

  focus() {
    this.#input.focus();
  }

  /**
   * @param {{busy: boolean, stopping: boolean, stoppable: boolean, closed: boolean}} state
   */
  render({ busy, stopping, stoppable, closed }) {
    const held = this.#form.contains(document.activeElement) && document.activeElement !== this.#input;
    this.#busy = busy;
    this.#closed = closed;
    this.#stop.hidden = !busy;
    this.#stop.disabled = !stoppable || stopping;
    this.#stop.classList.toggle("running", stopping);
    this.#stop.setAttribute("aria-label", stopping ? "Stopping" : "Stop the answer");
    this.#send.hidden = busy;
    this.#input.disabled = closed;
    this.#fit();
    // The button that had the focus may be gone now.
    if (held && document.activeElement !== this.#stop && !touchOnly()) this.#input.focus();
    else if (held && (this.#stop.hidden || this.#stop.disabled)) this.#input.focus();
  }

  /**
   * @param {KeyboardEvent} event
   * @param {{stop: () => void}} actions
   */
  #key(event, actions) {
    if (event.isComposing) return; // an input method is choosing a word
    if (event.key === "Enter" && !event.shiftKey && !touchOnly()) {
      event.preventDefault();
      this.#form.requestSubmit();
    } else if (event.key === "Escape" && this.#busy) {
      event.preventDefault();
      actions.stop();
    }
  }

  #fit() {
    this.#send.disabled = this.#closed || !this.text.trim();
    if (CSS.supports("field-sizing", "content")) return;
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
  }
}
