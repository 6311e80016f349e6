/**
 * The conversation that is open: its history, the run that is being written, and what can be done to it.
 *
 * History and run together are the whole conversation: while a run is active, the history ends with its question and
 * the rest comes from its stream. Nothing here touches the page.
 *
 * @typedef {import("./run.js").Turn} Turn
 * @typedef {{text: string, retry?: {label: string, action: () => void}}} Problem
 * @typedef {"ready" | "loading" | "failed" | "missing"} Phase
 * @typedef {object} Listener
 * @property {() => void} changed something is to be shown anew
 * @property {(words: string) => void} announce for those who do not see the page
 * @property {(text: string) => void} giveBack a message that was not sent
 * @property {(threadId: string, runId: string) => void} started
 * @property {(threadId: string, runId: string) => void} ended
 * @property {(threadId: string, runId: string | null) => void} loaded with the run that is active
 * @property {(threadId: string, title: string) => void} titled
 */

import { answerThread, ApiError, getThread, messageOf, sendMessage, sentence, stopRun, streamAddress } from "./api.js";
import { randomId } from "./drafts.js";
import { Run, spoken, turnsOf, unasked } from "./run.js";
import { parsed, Patience, RunStream } from "./stream.js";

export class Session {
  /** @type {string | null} null: a new thread, which gets its id with the first message */
  threadId = null;
  /** Grows with each thread that is opened. */
  opened = 0;
  /** @type {Phase} */
  phase = "ready";
  /** @type {Turn[]} */
  turns = [];
  /** @type {Run | null} */
  run = null;
  sending = false;
  stopping = false;
  reconnecting = false;
  /** The newest run that was followed here. */
  lastRunId = "";
  /** @type {Problem | null} */
  problem = null;

  /** @type {RunStream | null} */
  #stream = null;
  /** Ends what is under way when another thread is opened. */
  #left = new AbortController();
  /** @type {Promise<unknown>} the history of the thread that was opened */
  #opening = Promise.resolve();
  /** Counts loads, and whatever makes a load's answer out of date. */
  #load = 0;
  #asleep = false;
  /** The last answers to questions, and the key that sends the same ones again without their counting twice. */
  #answers = { sent: "", key: "" };
  #patience = new Patience((long) => this.#mention(long));
  #listener;
  #drafts;

  /**
   * @param {Listener} listener
   * @param {import("./drafts.js").Drafts} drafts
   */
  constructor(listener, drafts) {
    this.#listener = listener;
    this.#drafts = drafts;
  }

  get busy() {
    return this.sending || this.run !== null;
  }

  /** The turns with the answer that is being written. */
  get allTurns() {
    return this.run ? [...this.turns, this.run.turn] : this.turns;
  }

  /**
   * Show a thread, or an empty one. What was open before goes on without us.
   *
   * @param {string | null} threadId
   */
  async open(threadId) {
    this.#left.abort();
    this.#left = new AbortController();
    this.#load += 1;
    this.opened += 1;
    this.#detach();
    this.threadId = threadId;
    this.turns = [];
    this.sending = this.stopping = false;
    this.problem = null;
    this.phase = threadId ? "loading" : "ready";
    this.#listener.changed();
    this.#opening = threadId ? this.#reload({ quiet: false }) : Promise.resolve();
    await this.#opening;
  }

  /** Bring the thread up to date with what other tabs and devices did. Quiet when it cannot be. */
  async refresh() {
    if (!this.threadId || this.sending || this.phase === "loading") return;
    await this.#reload({ quiet: this.phase === "ready" });
  }

  /**
   * Send a message. When that fails, the text is given back and the reason shown.
   *
   * @param {string} text
   */
  async send(text) {
    if (this.phase === "loading" && !this.busy) {
      const { opened } = this;
      this.sending = true;
      this.#listener.changed();
      await this.#opening;
      if (opened !== this.opened) return; // the draft stays with its thread
      this.sending = false;
    }
    if (this.busy || this.phase !== "ready") {
      this.#listener.giveBack(text);
      return this.#listener.changed();
    }
    const { threadId } = this;
    const left = this.#left.signal;
    const { key, reused } = this.#drafts.keyFor(threadId, text);
    /** @type {Turn} */
    const turn = { kind: "human", text, pending: true };
    this.#load += 1;
    const before = this.turns;
    this.turns = [...before.map(unasked), turn];
    this.sending = true;
    this.problem = null;
    this.#listener.changed();
    let started;
    try {
      started = await sendMessage({ message: text, threadId, key });
    } catch (error) {
      if (!left.aborted) await this.#notSent(text, before, /** @type {ApiError} */ (error));
      return;
    }
    this.#drafts.clear(threadId);
    if (!left.aborted) {
      this.sending = false;
      this.threadId = started.thread_id;
      this.turns = this.turns.map((each) => (each === turn ? { kind: "human", text } : each));
      this.#attach(started.run_id);
      this.#listener.announce("Sent. The assistant is answering.");
    }
    this.#listener.started(started.thread_id, started.run_id);
    // A key that was sent before may name a run that the history knows already.
    if (reused && !left.aborted) await this.#reload({ quiet: true, whole: true });
  }

  /**
   * Answer what the thread waits for. When that fails, it can be answered again.
   *
   * @param {Record<string, unknown>} answers by the ids of the questions
   */
  async answer(answers) {
    const { threadId } = this;
    const asking = this.turns.at(-1);
    if (!threadId || this.busy || asking?.kind !== "ai" || asking.questions.length === 0) return;
    const left = this.#left.signal;
    const sent = JSON.stringify([threadId, answers]);
    if (this.#answers.sent !== sent) this.#answers = { sent, key: randomId() };
    this.#load += 1;
    this.turns = [...this.turns.slice(0, -1), { ...asking, sending: true }];
    this.sending = true;
    this.problem = null;
    this.#listener.changed();
    let started;
    try {
      started = await answerThread({ threadId, answers, key: this.#answers.key });
    } catch (error) {
      if (left.aborted) return;
      this.sending = false;
      this.turns = [...this.turns.slice(0, -1), { ...asking }]; // anew: what was decided is open again
      this.problem = { text: `Not answered. ${messageOf(error)}` };
      // Somebody else was faster: the history knows what became of it.
      if (error instanceof ApiError && (error.status === 409 || error.status === 422)) await this.#reload({ quiet: true, whole: true });
      return this.#listener.changed();
    }
    if (!left.aborted) {
      this.sending = false;
      this.turns = this.turns.slice(0, -1);
      this.#attach(started.run_id, asking);
      this.#listener.announce("Sent. The assistant goes on.");
    }
    this.#listener.started(threadId, started.run_id);
  }

  /** Ask the run to stop; it ends when its stream says so. */
  async stop() {
    const { run, threadId } = this;
    if (!run || !threadId || this.stopping) return;
    this.stopping = true;
    this.problem = null;
    this.#listener.changed();
    try {
      await stopRun(threadId, run.id);
    } catch (error) {
      if (this.run !== run) return;
      this.stopping = false;
      this.problem = { text: `Not stopped. ${messageOf(error)}`, retry: { label: "Try again", action: () => void this.stop() } };
      this.#listener.changed();
    }
  }

  dismiss() {
    this.problem = null;
    this.#listener.changed();
  }

  /** Give the connection back; the run goes on, and `wake` fetches what was missed. */
  sleep() {
    this.#asleep = true;
    this.#stream?.pause();
  }

  wake() {
    this.#asleep = false;
    if (this.#stream?.state === "idle") this.#stream.start();
    else this.#stream?.resume();
  }

  /** Make a new connection now: the old one may be dead without knowing. */
  reconnect() {
    if (!this.#asleep) this.#stream?.start();
  }

  /**
   * @param {string} text
   * @param {Turn[]} before
   * @param {ApiError} error
   */
  async #notSent(text, before, error) {
    this.sending = false;
    this.turns = before;
    this.#listener.giveBack(text);
    if (error.code === "run_active") {
      this.problem = { text: "An answer is already being written in this conversation. Your message is kept below." };
      await this.#reload({ quiet: true, whole: true });
    } else {
      this.problem = { text: `Not sent. ${messageOf(error)}`, retry: { label: "Send again", action: () => this.#sendAgain() } };
    }
    this.#listener.changed();
  }

  /** What is in the draft by now: the words may have been changed. */
  #sendAgain() {
    const text = this.#drafts.text(this.threadId).trim();
    if (!text) return this.dismiss();
    this.#listener.giveBack("");
    void this.send(text);
  }

  /**
   * @param {object} how
   * @param {boolean} how.quiet keep what is shown when it fails
   * @param {boolean} [how.whole] believe the history also where it knows nothing of the run that is shown
   * @returns {Promise<boolean>} whether the history was read
   */
  async #reload({ quiet, whole = false }) {
    const { threadId } = this;
    if (!threadId) return false;
    const load = (this.#load += 1);
    let thread;
    try {
      thread = await getThread(threadId, this.#left.signal);
    } catch (error) {
      if (load !== this.#load || this.#left.signal.aborted) return false;
      const gone = error instanceof ApiError && (error.status === 404 || error.status === 422);
      if (!quiet || gone) this.#notLoaded(gone, messageOf(error));
      else if (error instanceof ApiError && error.status === 401) this.problem = { text: error.message };
      return false;
    }
    if (load !== this.#load) return true;
    if (this.phase === "failed") this.problem = null;
    // Without `whole`, a run that has just ended is left to its stream, which says how it ended.
    if (!whole && this.run && !thread.activeRunId) return true;
    this.#listener.loaded(threadId, thread.activeRunId);
    this.phase = "ready";
    const turns = turnsOf(thread.messages);
    // A run that has a person's answer goes on with what was said before.
    const last = thread.activeRunId ? turns.at(-1) : null;
    const before = last?.kind === "ai" ? last : null;
    this.turns = before ? turns.slice(0, -1) : turns;
    if (thread.activeRunId !== (this.run?.id ?? null)) {
      this.#detach();
      if (thread.activeRunId) this.#attach(thread.activeRunId, before);
    }
    this.#listener.changed();
    return true;
  }

  /**
   * @param {boolean} gone
   * @param {string} message
   */
  #notLoaded(gone, message) {
    this.#detach();
    this.phase = gone ? "missing" : "failed";
    this.turns = [];
    this.problem = gone ? null : {
      text: message, retry: { label: "Try again", action: () => void this.open(this.threadId) },
    };
    this.#listener.changed();
  }

  /**
   * @param {string} runId
   * @param {import("./run.js").AiTurn | null} [before]
   */
  #attach(runId, before = null) {
    const threadId = this.threadId ?? "";
    const run = new Run(runId, before);
    this.run = run;
    this.lastRunId = runId;
    this.stopping = false;
    this.#stream = new RunStream({
      address: () => streamAddress(threadId, run.id, run.cursor),
      onMessage: ({ data, id }) => this.#receive(run, data, id),
      onState: (state) => this.#patience.see(state),
      onRefused: () => this.#refused(run),
    });
    if (!this.#asleep) this.#stream.start();
    this.#listener.changed();
  }

  #detach() {
    this.#stream?.close();
    this.#stream = null;
    this.run = null;
    this.stopping = false;
  }

  /**
   * @param {Run} run
   * @param {string} frame
   * @param {string} id
   */
  #receive(run, frame, id) {
    const event = parsed(frame);
    if (!event) {
      run.incomplete = true;
      return;
    }
    const { type, data } = event;
    if (type === "reset") {
      run.reset();
      void this.#reload({ quiet: true, whole: true });
    } else if (run.apply(type, data, id)) {
      if (type === "title") this.#listener.titled(this.threadId ?? "", String(data?.title ?? ""));
      if (type === "tool_call") this.#listener.announce(`Using ${data?.name}.`);
    }
    if (run.ended) this.#finish(run);
    this.#listener.changed();
  }

  /** @param {Run} run */
  #finish(run) {
    const { turn } = run;
    const threadId = this.threadId ?? "";
    this.#load += 1;
    this.#detach();
    this.turns = [...this.turns, turn];
    if (turn.status === "failed" || turn.status === "lost") {
      const text = turn.status === "lost" ? "The answer broke off: the server that wrote it went away."
        : run.error ? sentence(run.error) : "The answer failed.";
      this.problem = { text, retry: run.before ? undefined : { label: "Ask again", action: () => this.#askAgain() } };
    }
    this.#listener.announce(spoken(turn));
    this.#listener.ended(threadId, run.id);
    // An answer that came to nothing leaves its question.
    if (run.incomplete || (run.before && turn.status !== "completed")) void this.#reload({ quiet: true, whole: true });
  }

  #askAgain() {
    const question = this.turns.findLast((turn) => turn.kind === "human");
    if (question?.kind === "human") void this.send(question.text);
  }

  /**
   * The server has no stream for us: the history says whether the run is over.
   *
   * @param {Run} run
   */
  async #refused(run) {
    await this.#reload({ quiet: true, whole: true });
    return this.run === run;
  }

  /** @param {boolean} reconnecting */
  #mention(reconnecting) {
    if (this.reconnecting === reconnecting) return;
    this.reconnecting = reconnecting;
    if (reconnecting) this.#listener.announce("Connection lost. Reconnecting.");
    this.#listener.changed();
  }
}
