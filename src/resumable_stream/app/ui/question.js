/**
 * What the assistant asks a person before it goes on: tools to allow or refuse, or anything to be answered in words.
 *
 * An answer leaves as the event `answer`, once everything that is asked has been decided.
 *
 * @typedef {import("./run.js").Question} Question
 * @typedef {{type: "approve" | "reject" | "edit" | "respond", message?: string, edited_action?: {name: string, args: unknown}}} Decision
 * @typedef {{name: string, args?: unknown, description?: string, allowed: string[]}} Action
 */

import { h, touchOnly } from "./dom.js";
import { icon } from "./icons.js";

/** The middleware's own words, which repeat the name and the arguments. */
const STOCK = /^Tool execution requires approval\b/;
let count = 0;

export class QuestionsView {
  element = h("div", { class: "questions", role: "group", "aria-label": "The assistant asks", hidden: true });
  /** @type {{question: Question, asks: (ActionAsk | WordsAsk)[]}[]} */
  #open = [];
  #shown = "";
  #sending = false;

  constructor() {
    this.element.addEventListener("decided", () => this.#decided());
  }

  /**
   * @param {Question[]} questions
   * @param {boolean} sending the answers are on their way
   */
  update(questions, sending) {
    const shown = JSON.stringify(questions);
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.#open = questions.map((question) => ({ question, asks: asksOf(question.value) }));
      this.element.replaceChildren(...this.#asks.map((ask) => ask.element), ...(questions.length ? [hint()] : []));
      this.element.hidden = questions.length === 0;
    } else if (this.#sending && !sending) {
      for (const ask of this.#asks) ask.undecide();
    }
    this.#sending = sending;
    for (const ask of this.#asks) ask.element.disabled = sending;
  }

  get #asks() {
    return this.#open.flatMap(({ asks }) => asks);
  }

  #decided() {
    const next = this.#asks.find((ask) => ask.decision === null);
    if (next) return next.focus();
    this.#sending = true; // whether or not that is ever shown
    const answers = Object.fromEntries(this.#open.map(({ question, asks }) => [question.id, answerOf(question.value, asks)]));
    this.element.dispatchEvent(new CustomEvent("answer", { bubbles: true, detail: answers }));
  }
}

const hint = () => h("p", { class: "ask-hint" }, "Or write a message instead, which goes on without this.");

/** @param {any} value */
function asksOf(value) {
  const actions = actionsOf(value);
  return actions.length ? actions.map((action) => new ActionAsk(action)) : [new WordsAsk(value)];
}

/**
 * The tools that LangChain's human-in-the-loop middleware asks about.
 *
 * @param {any} value
 * @returns {Action[]}
 */
function actionsOf(value) {
  if (value?.type === "tool_approval") return [{ ...value, allowed: ["approve", "reject"] }];
  if (!Array.isArray(value?.action_requests)) return [];
  /** @type {any[]} */
  const configs = Array.isArray(value.review_configs) ? value.review_configs : [];
  return value.action_requests.map((/** @type {any} */ action) => ({
    ...action,
    allowed: configs.find((each) => each?.action_name === action.name)?.allowed_decisions ?? ["approve", "reject"],
  }));
}

/**
 * @param {any} value
 * @param {(ActionAsk | WordsAsk)[]} asks
 */
function answerOf(value, asks) {
  const decisions = asks.map((ask) => ask.decision);
  return Array.isArray(value?.action_requests) ? { decisions } : decisions[0];
}

/** Something that a person decides; `decided` says when. */
class Ask {
  element = h("fieldset", { class: "ask" });
  /** @type {unknown} null: not decided */
  decision = null;

  /** @param {unknown} decision */
  decide(decision) {
    this.decision = decision;
    this.element.dispatchEvent(new Event("decided", { bubbles: true }));
  }

  undecide() {
    this.decision = null;
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.element.querySelector("button, textarea"))?.focus();
  }
}

/** One tool call to allow or refuse. */
class ActionAsk extends Ask {
  #action;
  #pre;
  #editor = h("textarea", { class: "ask-code", rows: 4, spellcheck: "false", "aria-label": "Arguments as JSON", hidden: true });
  #error = h("p", { class: "ask-error", role: "alert", hidden: true });
  #words = h("input", { type: "text", id: `ask-${(count += 1)}`, dir: "auto", autocomplete: "off" });
  #outcome = h("p", { class: "ask-outcome", hidden: true });
  #outcomeWord = h("strong");
  #controls;
  #approve = h("button", { type: "button", class: "button primary", onclick: () => this.#allow() }, "Approve");
  #edit = h("button", { type: "button", class: "button", "aria-pressed": "false", onclick: () => this.#toggle() }, "Edit");

  /** @param {Action} action */
  constructor(action) {
    super();
    this.#action = action;
    const may = (/** @type {string} */ kind) => action.allowed.includes(kind);
    const answers = may("respond") && !may("approve");
    const written = JSON.stringify(action.args ?? {}, null, 2);
    this.#pre = h("pre", { tabindex: "0", "aria-label": "Arguments" }, written);
    this.#editor.value = written;
    this.#error.id = `${this.#words.id}-error`;
    this.#editor.setAttribute("aria-describedby", this.#error.id);
    const label = answers ? "Your answer" : "Reason, if you reject (optional)";
    const say = () => (answers ? this.#respond() : this.#reject());
    this.#words.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      say();
    });
    this.#controls = h("div", { class: "ask-controls" },
      (answers || may("reject")) && h("div", { class: "ask-words" }, h("label", { for: this.#words.id }, label), this.#words),
      h("div", { class: "ask-buttons" },
        may("approve") && this.#approve,
        answers && h("button", { type: "button", class: "button primary", onclick: say }, "Answer"),
        may("edit") && this.#edit,
        may("reject") && h("button", { type: "button", class: "button", onclick: () => this.#reject() }, "Reject")));
    this.#outcome.append(this.#outcomeWord, " ",
      h("button", { type: "button", class: "quiet", onclick: () => { this.undecide(); this.focus(); } }, "Change"));
    const told = action.description && !STOCK.test(action.description) ? h("p", { dir: "auto" }, action.description) : null;
    const title = h("span", {}, answers ? "Answer for " : "Allow ", h("strong", {}, action.name), "?");
    this.element.append(h("legend", {}, icon("tool"), title),
      ...(told ? [told] : []), this.#pre, this.#editor, this.#error, this.#controls, this.#outcome);
  }

  undecide() {
    super.undecide();
    this.#controls.hidden = false;
    this.#outcome.hidden = true;
  }

  focus() {
    /** @type {HTMLElement | null} */ (this.#controls.querySelector("button"))?.focus();
  }

  #allow() {
    if (this.#editor.hidden) return this.#decide("Approved", { type: "approve" });
    const args = objectOf(this.#editor.value);
    this.#error.hidden = args !== null;
    this.#error.textContent = args ? "" : "This is not a JSON object: check quotes, commas and braces.";
    this.#editor.setAttribute("aria-invalid", String(args === null));
    if (args) this.#decide("Approved with changes", { type: "edit", edited_action: { name: this.#action.name, args } });
    else this.#editor.focus();
  }

  #reject() {
    const message = this.#words.value.trim();
    this.#decide("Rejected", message ? { type: "reject", message } : { type: "reject" });
  }

  #respond() {
    const message = this.#words.value.trim();
    if (message) this.#decide("Answered", { type: "respond", message });
    else this.#words.focus();
  }

  #toggle() {
    const editing = this.#editor.hidden;
    this.#editor.hidden = !editing;
    this.#pre.hidden = editing;
    this.#error.hidden = true;
    this.#edit.setAttribute("aria-pressed", String(editing));
    this.#approve.textContent = editing ? "Approve changes" : "Approve";
    if (editing) this.#editor.focus();
  }

  /**
   * @param {string} word
   * @param {Decision} decision
   */
  #decide(word, decision) {
    this.#outcomeWord.textContent = `${word}.`;
    this.#controls.hidden = true;
    this.#outcome.hidden = false;
    this.decide(decision);
  }
}

/** A question of any other kind, answered in words. */
class WordsAsk extends Ask {
  #text = h("textarea", { rows: 2, dir: "auto", id: `ask-${(count += 1)}` });

  /** @param {any} value */
  constructor(value) {
    super();
    const question = [value, value?.question, value?.message].find((each) => typeof each === "string" && each.trim());
    const plain = question !== undefined && (question === value || Object.keys(value).length === 1);
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || touchOnly()) return;
      event.preventDefault();
      this.#send();
    });
    this.element.append(
      h("legend", { dir: "auto" }, question ?? "The assistant needs an answer"),
      ...(plain ? [] : [h("pre", { tabindex: "0", "aria-label": "Details" }, JSON.stringify(value, null, 2))]),
      h("div", { class: "ask-words" }, h("label", { for: this.#text.id }, "Your answer"), this.#text),
      h("div", { class: "ask-buttons" },
        h("button", { type: "button", class: "button primary", onclick: () => this.#send() }, "Answer")));
  }

  focus() {
    this.#text.focus();
  }

  #send() {
    const text = this.#text.value.trim();
    if (text) this.decide(text);
    else this.#text.focus();
  }
}

/**
 * @param {string} text
 * @returns {Record<string, unknown> | null} null when it is none
 */
function objectOf(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
