/**
 * The conversation on the page: its turns, kept in step with the session, and where the reader looks.
 */

import { copyText, h } from "./dom.js";
import { AiView, HumanView } from "./message.js";

/** Pixels from the end that still count as reading along. */
const NEAR_END = 80;
const COPIED_FOR = 1_600;

/**
 * @typedef {import("./run.js").Turn} Turn
 */

export class Conversation {
  #scroller;
  #list;
  #jump;
  /** @type {(HumanView | AiView)[]} */
  #views = [];
  /** @type {(Turn | null)[]} what each view shows for good; null while it may change */
  #shown = [];
  #lastTop = 0;
  /** The view stays at the end while the answer grows, until the reader scrolls away. */
  #following = true;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} list
   * @param {HTMLButtonElement} jump
   */
  constructor(scroller, list, jump) {
    this.#scroller = scroller;
    this.#list = list;
    this.#jump = jump;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    list.addEventListener("click", (event) => void this.#copy(event));
    jump.addEventListener("click", () => {
      this.follow();
      scroller.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.#keepEnd()).observe(list);
    new ResizeObserver(() => this.#keepEnd()).observe(scroller);
  }

  /** Forget what is shown: another conversation follows. */
  clear() {
    this.#views = [];
    this.#shown = [];
    this.#list.replaceChildren();
    this.#following = true;
    this.#jump.hidden = true;
  }

  /** @param {Turn[]} turns */
  render(turns) {
    turns.forEach((turn, i) => {
      if (this.#shown[i] === turn) return;
      let view = this.#views[i];
      if (!view || view instanceof HumanView !== (turn.kind === "human")) {
        const fresh = turn.kind === "human" ? new HumanView() : new AiView();
        if (view) view.element.replaceWith(fresh.element);
        else this.#list.append(fresh.element);
        this.#views[i] = view = fresh;
      }
      view.update(turn);
      this.#shown[i] = turn.kind === "ai" && turn.status === "streaming" ? null : turn;
    });
    this.#shown.length = turns.length;
    for (const view of this.#views.splice(turns.length)) view.element.remove();
    this.#keepEnd();
  }

  /** Go to the end and stay there. */
  follow() {
    this.#following = true;
    this.#keepEnd();
  }

  #keepEnd() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#offerJump();
  }

  /** Only a scroll upwards is the reader's: the end may have moved on since we went there. */
  #scrolled() {
    const { scrollTop } = this.#scroller;
    if (this.#distance() < NEAR_END) this.#following = true;
    else if (scrollTop < this.#lastTop) this.#following = false;
    this.#lastTop = scrollTop;
    this.#offerJump();
  }

  #offerJump() {
    this.#jump.hidden = this.#following || this.#distance() < NEAR_END;
  }

  #distance() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** @param {Event} event */
  async #copy(event) {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!(button instanceof HTMLButtonElement)) return;
    const label = button.querySelector(".copy-label");
    if (!label) return;
    const code = button.closest("figure")?.querySelector("code");
    const view = this.#views.find((each) => each.element.contains(button));
    const text = button.dataset.copy === "code" ? code?.textContent : view instanceof AiView ? view.words : "";
    label.textContent = (await copyText(text ?? "")) ? "Copied" : "Not copied";
    setTimeout(() => { label.textContent = "Copy"; }, COPIED_FOR);
  }
}

/** What stands in the place of a conversation that has no turns. */
export class Placeholder {
  #root;
  #shown = "";

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
  }

  /** @param {"" | "welcome" | "loading" | "missing"} kind */
  show(kind) {
    if (this.#shown === kind) return;
    this.#shown = kind;
    this.#root.hidden = !kind;
    this.#root.dataset.kind = kind;
    const content = kind === "welcome" ? [
      h("p", { class: "welcome-title" }, "What would you like to know?"),
      h("p", {}, "Answers keep going when you reload, switch devices or lose the connection."),
    ] : kind === "missing" ? [
      h("p", { class: "welcome-title" }, "This conversation isn’t here"),
      h("p", {}, "It may have been deleted, or belong to somebody else."),
    ] : kind === "loading" ? [h("p", { class: "visually-hidden" }, "Loading the conversation"),
      h("div", { class: "skeleton human" }), h("div", { class: "skeleton" }), h("div", { class: "skeleton short" })] : [];
    this.#root.replaceChildren(...content);
  }
}
