/**
 * The caller's threads, newest activity first, as far as they have been fetched.
 *
 * @typedef {import("./api.js").Thread} Thread
 */

import { deleteThread, listThreads, renameThread } from "./api.js";

const PAGE = 30;

export class Threads {
  /** @type {Thread[]} */
  items = [];
  loading = true;
  loadingMore = false;
  /** Why the list could not be fetched; "" when it could. */
  problem = "";

  /** @type {string | null} */
  #cursor = null;
  #pages = 0;
  #refresh = 0;
  /** Counts what was changed here: an answer that was under way meanwhile may be from before. */
  #changes = 0;
  /** @type {Set<string>} deleted here: an answer that was under way must not bring them back */
  #deleted = new Set();
  #changed;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  get more() {
    return this.#cursor !== null;
  }

  /** @param {string | null} id */
  find(id) {
    return this.items.find((thread) => thread.id === id);
  }

  /** Fetch the first page again and fit it into what is known. */
  async refresh() {
    const turn = (this.#refresh += 1);
    const changes = this.#changes;
    try {
      const page = await listThreads({ limit: PAGE });
      if (turn !== this.#refresh) return;
      if (changes !== this.#changes) return void this.refresh();
      this.#merge(page.threads, page.next_cursor ?? null);
      this.problem = "";
    } catch (error) {
      if (turn !== this.#refresh) return;
      this.problem = error instanceof Error ? error.message : "The conversations could not be loaded.";
    }
    this.loading = false;
    this.#changed();
  }

  /** Fetch the next page. */
  async loadMore() {
    if (!this.#cursor || this.loadingMore) return;
    this.loadingMore = true;
    this.#changed();
    try {
      const page = await listThreads({ limit: PAGE, cursor: this.#cursor });
      const known = new Set(this.items.map((thread) => thread.id));
      this.items = [...this.items, ...this.#kept(page.threads).filter((thread) => !known.has(thread.id))];
      this.#cursor = page.next_cursor ?? null;
      this.#pages += 1;
      this.problem = "";
    } catch (error) {
      this.problem = error instanceof Error ? error.message : "No more conversations could be loaded.";
    }
    this.loadingMore = false;
    this.#changed();
  }

  /**
   * What happened to a thread, before the server is asked: a thread that is not known yet comes first.
   *
   * @param {string} id
   * @param {{active: boolean, runId?: string}} activity
   */
  touch(id, { active, runId }) {
    const known = this.find(id);
    const now = new Date().toISOString();
    const thread = {
      chat_name: null, ...known, id, active, run_id: active ? runId : undefined, last_activity_time: now,
    };
    this.#change([thread, ...this.items.filter((each) => each.id !== id)]);
  }

  /**
   * @param {string} id
   * @param {string | null} runId the active run
   */
  setActivity(id, runId) {
    const activity = { active: runId !== null, run_id: runId ?? undefined };
    this.#change(this.items.map((each) => (each.id === id ? { ...each, ...activity } : each)));
  }

  /**
   * @param {string} id
   * @param {string} name
   */
  setName(id, name) {
    this.#change(this.items.map((thread) => (thread.id === id ? { ...thread, chat_name: name } : thread)));
  }

  /**
   * Shown at once, and taken back when the server refuses.
   *
   * @param {string} id
   * @param {string} name
   * @throws {import("./api.js").ApiError}
   */
  async rename(id, name) {
    const before = this.find(id)?.chat_name ?? "";
    this.setName(id, name);
    try {
      await renameThread(id, name);
      this.setName(id, name); // the list may have been fetched before the server knew
    } catch (error) {
      this.setName(id, before);
      throw error;
    }
  }

  /**
   * @param {string} id
   * @throws {import("./api.js").ApiError}
   */
  async remove(id) {
    await deleteThread(id);
    this.#deleted.add(id);
    this.#change(this.items.filter((thread) => thread.id !== id));
  }

  /** @param {Thread[]} items */
  #change(items) {
    this.#changes += 1;
    this.items = items;
    this.#changed();
  }

  /**
   * @param {Thread[]} first the first page
   * @param {string | null} cursor
   */
  #merge(first, cursor) {
    const threads = this.#kept(first);
    if (this.#pages <= 1 || cursor === null) {
      this.items = threads;
      this.#cursor = cursor;
      this.#pages = 1;
      return;
    }
    // Later pages stay; what should be on the first page and is not there was deleted elsewhere.
    const fetched = new Set(threads.map((thread) => thread.id));
    const oldest = timeOf(threads.at(-1));
    this.items = [...threads, ...this.items.filter((thread) => !fetched.has(thread.id) && timeOf(thread) < oldest)];
  }

  /** @param {Thread[]} threads */
  #kept(threads) {
    return threads.filter((thread) => !this.#deleted.has(thread.id));
  }
}

/** @param {Thread | undefined} thread */
const timeOf = (thread) => (thread ? Date.parse(thread.last_activity_time) : 0);
