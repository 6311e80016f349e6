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

import { ApiError, getThread, sendMessage, sentence, stopRun, streamAddress } from "./api.js";
import { Run, textOf, turnsOf } from "./run.js";
import { RunStream } from "./stream.js";

/** Milliseconds without a connection before it is mentioned: most are back at once. */
const GRACE = 1_000;

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
  #graceTimer = 0;
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
    this.turns = [...this.turns, turn];
    this.sending = true;
    this.problem = null;
    this.#listener.changed();
    let started;
    try {
      started = await sendMessage({ message: text, threadId, key });
    } catch (error) {
      if (!left.aborted) await this.#notSent(turn, /** @type {ApiError} */ (error));
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
   * @param {Turn} turn
   * @param {ApiError} error
   */
  async #notSent(turn, error) {
    this.sending = false;
    this.turns = this.turns.filter((each) => each !== turn);
    const text = turn.kind === "human" ? turn.text : "";
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
    this.turns = turnsOf(thread.messages);
    if (thread.activeRunId !== (this.run?.id ?? null)) {
      this.#detach();
      if (thread.activeRunId) this.#attach(thread.activeRunId);
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

  /** @param {string} runId */
  #attach(runId) {
    const threadId = this.threadId ?? "";
    const run = new Run(runId);
    this.run = run;
    this.lastRunId = runId;
    this.stopping = false;
    this.#stream = new RunStream({
      address: () => streamAddress(threadId, run.id, run.cursor),
      onMessage: ({ data, id }) => this.#receive(run, data, id),
      onState: (state) => this.#connection(state),
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
      this.problem = { text, retry: { label: "Ask again", action: () => this.#askAgain() } };
    }
    this.#listener.announce(spoken(turn));
    this.#listener.ended(threadId, run.id);
    if (run.incomplete) void this.#reload({ quiet: true, whole: true });
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

  /** @param {import("./stream.js").State} state */
  #connection(state) {
    clearTimeout(this.#graceTimer);
    if (state === "connecting" || state === "waiting") {
      if (!this.reconnecting) this.#graceTimer = window.setTimeout(() => this.#mention(true), GRACE);
    } else {
      this.#mention(false);
    }
  }

  /** @param {boolean} reconnecting */
  #mention(reconnecting) {
    if (this.reconnecting === reconnecting) return;
    this.reconnecting = reconnecting;
    if (reconnecting) this.#listener.announce("Connection lost. Reconnecting.");
    this.#listener.changed();
  }
}

/**
 * @param {string} frame
 * @returns {{type: string, data?: any} | null}
 */
function parsed(frame) {
  try {
    const event = JSON.parse(frame);
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}

/** @param {import("./run.js").AiTurn} turn */
function spoken(turn) {
  if (turn.status === "failed" || turn.status === "lost") return "The answer broke off.";
  if (turn.status === "cancelled") return "Stopped.";
  const words = textOf(turn);
  return `Answer finished. ${words.length > 600 ? `${words.slice(0, 600)} … and more.` : words}`;
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof ApiError ? error.message : "Something went wrong.";
}
