/**
 * One turn of a conversation on the page.
 *
 * @typedef {import("./run.js").Turn} Turn
 * @typedef {import("./run.js").AiTurn} AiTurn
 * @typedef {import("./run.js").Part} Part
 */

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { MarkdownView } from "./markdown.js";
import { QuestionsView } from "./question.js";
import { textOf } from "./run.js";

/** More of a tool's output is not shown: it is there to be glanced at. */
const MAX_OUTPUT = 20_000;
const NOTES = {
  gap: "Some of this answer was lost on the way. It is shown in full once it is finished.",
  length: "The answer reached its length limit.",
  content_filter: "The model’s provider held back the rest of the answer.",
  interrupted: "The assistant is waiting for a person before it goes on.",
};

export class HumanView {
  element;
  #text = h("div", { class: "bubble", dir: "auto" });

  constructor() {
    this.element = h("article", { class: "turn human" }, h("h2", { class: "visually-hidden" }, "You"), this.#text);
  }

  /** @param {Turn} turn */
  update(turn) {
    if (turn.kind !== "human") return;
    if (this.#text.textContent !== turn.text) this.#text.textContent = turn.text;
    this.element.classList.toggle("pending", Boolean(turn.pending));
  }
}

export class AiView {
  element;
  #parts = h("div", { class: "parts" });
  #waiting = h("p", { class: "waiting", "aria-hidden": "true" }, h("span"), h("span"), h("span"));
  #questions = new QuestionsView();
  #notes = h("div", { class: "notes" });
  #actions;
  /** @type {PartView[]} */
  #views = [];
  #words = "";

  constructor() {
    this.#actions = h("div", { class: "turn-actions" },
      h("button", { type: "button", class: "quiet", "data-copy": "answer", "aria-label": "Copy answer" },
        icon("copy"), h("span", { class: "copy-label" }, "Copy")));
    this.element = h("article", { class: "turn ai" }, h("h2", { class: "visually-hidden" }, "Assistant"),
      this.#parts, this.#waiting, this.#questions.element, this.#notes, this.#actions);
  }

  /** The answer as the model wrote it. */
  get words() {
    return this.#words;
  }

  /** @param {Turn} turn */
  update(turn) {
    if (turn.kind !== "ai") return;
    const streaming = turn.status === "streaming";
    turn.parts.forEach((part, i) => {
      let view = this.#views[i];
      if (view?.kind !== part.kind) {
        view = viewOf(part);
        if (this.#views[i]) this.#views[i].element.replaceWith(view.element);
        else this.#parts.append(view.element);
        this.#views[i] = view;
      }
      view.update(part, streaming && i === turn.parts.length - 1);
    });
    for (const view of this.#views.splice(turn.parts.length)) view.element.remove();
    this.#words = textOf(turn);
    const last = turn.parts.at(-1);
    // Whatever grows or runs shows by itself that something is going on.
    this.#waiting.hidden = !streaming || (last !== undefined && (last.kind !== "tool" || last.status === "running"));
    this.#actions.hidden = streaming || !this.#words;
    this.#questions.update(streaming ? [] : turn.questions, Boolean(turn.sending));
    this.#showNotes(turn);
    this.element.setAttribute("aria-busy", String(streaming));
    this.element.dataset.status = turn.status;
  }

  /** @param {AiTurn} turn */
  #showNotes({ status, notes, parts, questions }) {
    const told = [...notes].filter((note) => note !== "interrupted" || questions.length === 0);
    const words = told.map((note) => NOTES[note]);
    if (status === "completed" && parts.length === 0 && notes.size === 0) words.push("No answer came");
    // One word for all reasons: the history knows only that it stopped.
    if (status !== "streaming" && status !== "completed") words.push("Stopped before the end");
    const shown = words.join("\n");
    if (this.#notes.dataset.shown === shown) return;
    this.#notes.dataset.shown = shown;
    this.#notes.replaceChildren(...words.map((word) => h("p", {}, word)));
  }
}

/** @typedef {TextView | ReasoningView | ToolView} PartView */

/** @param {Part} part */
function viewOf(part) {
  return part.kind === "text" ? new TextView() : part.kind === "reasoning" ? new ReasoningView() : new ToolView();
}

class TextView {
  kind = "text";
  element = h("div", { class: "markdown", dir: "auto" });
  #markdown = new MarkdownView(this.element);

  /**
   * @param {Part} part
   * @param {boolean} growing
   */
  update(part, growing) {
    if (part.kind === "text") this.#markdown.update(part.text, growing);
  }
}

class ReasoningView {
  kind = "reasoning";
  element;
  #label = h("span", { class: "step-name" });
  #text = h("div", { class: "step-text", dir: "auto" });

  constructor() {
    this.element = h("details", { class: "step reasoning" },
      h("summary", {}, icon("thought"), this.#label, icon("chevron")), this.#text);
  }

  /**
   * @param {Part} part
   * @param {boolean} growing
   */
  update(part, growing) {
    if (part.kind !== "reasoning") return;
    setText(this.#label, growing ? "Thinking" : "Thoughts");
    setText(this.#text, part.text.trim());
    this.element.classList.toggle("running", growing);
  }
}

const TOOL_STATES = { running: "Running", waiting: "Waiting for you", success: "Done", error: "Failed", stopped: "No result" };

class ToolView {
  kind = "tool";
  element;
  #name = h("span", { class: "step-name" });
  #brief = h("span", { class: "step-brief" });
  #state = h("span", { class: "step-state" });
  #args = h("pre", { tabindex: "0", "aria-label": "Arguments" });
  #result = h("pre", { tabindex: "0", "aria-label": "Result" });
  #resultTitle = h("h3", {}, "Result");

  constructor() {
    this.element = h("details", { class: "step tool" },
      h("summary", {}, icon("tool"), this.#name, this.#brief, this.#state, icon("chevron")),
      h("div", { class: "step-text" }, h("h3", {}, "Arguments"), this.#args, this.#resultTitle, this.#result));
  }

  /** @param {Part} part */
  update(part) {
    if (part.kind !== "tool") return;
    setText(this.#name, part.name);
    setText(this.#brief, briefOf(part.args));
    setText(this.#state, TOOL_STATES[part.status]);
    setText(this.#args, written(part.args));
    setText(this.#result, shortened(indented(part.result ?? "")));
    this.#result.hidden = this.#resultTitle.hidden = part.result === undefined;
    this.element.dataset.status = part.status;
    this.element.classList.toggle("running", part.status === "running");
  }
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A tool's arguments in a few words: the one string among them where there is one.
 *
 * @param {unknown} args
 */
function briefOf(args) {
  if (args === null || typeof args !== "object") return typeof args === "string" ? args : "";
  const values = Object.values(args);
  return values.length === 1 && typeof values[0] === "string" ? values[0] : values.length ? JSON.stringify(args) : "";
}

/** @param {unknown} args */
const written = (args) => (typeof args === "string" ? args : JSON.stringify(args ?? {}, null, 2));
/**
 * A tool's output that is JSON, on several lines; any other as it is.
 *
 * @param {string} text
 */
function indented(text) {
  if (!/^\s*[[{]/.test(text) || text.length > MAX_OUTPUT) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** @param {string} text */
const shortened = (text) => (text.length > MAX_OUTPUT ? `${text.slice(0, MAX_OUTPUT)}\n… (shortened)` : text);
