/**
 * Unsent messages and their idempotency keys, kept for this tab across reloads.
 *
 * A key belongs to one text in one thread: sending the same text again after an error sends the same key, so a message
 * whose confirmation was lost is not answered twice.
 *
 * @typedef {{text: string, key?: string, sent?: string}} Draft
 */

export class Drafts {
  #scope;
  #storage;

  /** @param {string} scope keeps several mounts on one origin apart */
  constructor(scope) {
    this.#scope = `draft:${scope}:`;
    this.#storage = usableStorage();
  }

  /** @param {string | null} threadId null for a thread that does not exist yet */
  text(threadId) {
    return this.#read(threadId).text;
  }

  /**
   * @param {string | null} threadId
   * @param {string} text
   */
  save(threadId, text) {
    const draft = this.#read(threadId);
    if (text || draft.key) this.#write(threadId, { ...draft, text });
    else this.clear(threadId);
  }

  /**
   * The key to send a text with.
   *
   * @param {string | null} threadId
   * @param {string} text
   * @returns {{key: string, reused: boolean}} reused: the text may have arrived before
   */
  keyFor(threadId, text) {
    const draft = this.#read(threadId);
    if (draft.key && draft.sent === text) return { key: draft.key, reused: true };
    const key = randomId();
    this.#write(threadId, { text, key, sent: text });
    return { key, reused: false };
  }

  /** @param {string | null} threadId */
  clear(threadId) {
    this.#storage.removeItem(this.#scope + (threadId ?? "new"));
  }

  /**
   * @param {string | null} threadId
   * @returns {Draft}
   */
  #read(threadId) {
    try {
      const draft = JSON.parse(this.#storage.getItem(this.#scope + (threadId ?? "new")) ?? "{}");
      return { ...draft, text: String(draft.text ?? "") };
    } catch {
      return { text: "" };
    }
  }

  /**
   * @param {string | null} threadId
   * @param {Draft} draft
   */
  #write(threadId, draft) {
    try {
      this.#storage.setItem(this.#scope + (threadId ?? "new"), JSON.stringify(draft));
    } catch {
      // Full or forbidden: the draft then lives as long as the page.
    }
  }
}

/** @returns {Pick<Storage, "getItem" | "setItem" | "removeItem">} */
function usableStorage() {
  try {
    sessionStorage.getItem("");
    return sessionStorage;
  } catch {
    /** @type {Map<string, string>} */
    const map = new Map();
    return {
      getItem: (name) => map.get(name) ?? null,
      setItem: (name, value) => void map.set(name, value),
      removeItem: (name) => void map.delete(name),
    };
  }
}

/** A UUID, also on pages served without TLS. */
export function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
