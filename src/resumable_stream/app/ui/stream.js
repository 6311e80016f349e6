/**
 * One run's event stream, kept alive: a state machine around `EventSource`.
 *
 * The browser's own reconnection gives up on any status but 200 and cannot see keep-alives, so every connection here is
 * replaced by a new one that asks for what comes after the last event. It never gives up by itself.
 *
 *     idle ─start→ connecting ─open→ open ─error, silence→ waiting ─delay→ connecting …
 *                       any ─pause→ paused ─resume→ connecting        any ─close→ closed
 *
 * @typedef {"idle" | "connecting" | "open" | "waiting" | "paused" | "closed"} State
 * @typedef {object} Options
 * @property {() => string} address asked before each connection, so that it carries the cursor
 * @property {(message: {data: string, id: string}) => void} onMessage
 * @property {(state: State) => void} onState
 * @property {() => Promise<boolean>} onRefused the server answered, but not with a stream; resolves to whether to go on
 */

/** Milliseconds. Keep-alives come every 15 s, but a script cannot see them: so much silence is replaced, unnoticed. */
const SILENCE = 50_000;
const CONNECT_TIMEOUT = 30_000;
const FIRST_DELAY = 400;
const MAX_DELAY = 8_000;
/** A connection that lived this long was a good one: the next attempt is a first attempt. */
const GOOD_AGE = 10_000;
/** Without a connection for so long, it is mentioned: most are back at once. */
const GRACE = 1_000;

/**
 * A frame of the stream as an event; null when it is none.
 *
 * @param {string} frame
 * @returns {{type: string, data?: any} | null}
 */
export function parsed(frame) {
  try {
    const event = JSON.parse(frame);
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}

export class RunStream {
  /** @type {EventSource | null} */
  #source = null;
  /** @type {State} */
  #state = "idle";
  #timer = 0;
  #attempt = 0;
  #openedAt = 0;
  /** Counts connections, so that an answer that comes late can tell that it does. */
  #turn = 0;
  #options;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
  }

  get state() {
    return this.#state;
  }

  /** Connect now, whatever was planned. */
  start() {
    if (this.#state === "closed") return;
    this.#drop();
    this.#enter("connecting");
    const source = new EventSource(this.#options.address());
    this.#source = source;
    source.onopen = () => {
      this.#openedAt = performance.now();
      this.#enter("open");
      this.#after(SILENCE, () => this.start());
    };
    source.onmessage = (event) => {
      this.#attempt = 0;
      this.#after(SILENCE, () => this.start());
      this.#options.onMessage({ data: event.data, id: event.lastEventId });
    };
    source.onerror = () => {
      const refused = source.readyState === EventSource.CLOSED;
      this.#lost(refused);
    };
    this.#after(CONNECT_TIMEOUT, () => this.#lost(false));
  }

  /** Close the connection until `resume`; what happens meanwhile is fetched then. */
  pause() {
    if (this.#state === "closed" || this.#state === "paused") return;
    this.#drop();
    this.#enter("paused");
  }

  /** Connect at once if there is no open connection. */
  resume() {
    if (this.#state === "paused" || this.#state === "waiting") {
      this.#attempt = 0;
      this.start();
    }
  }

  /** End for good. */
  close() {
    if (this.#state === "closed") return;
    this.#drop();
    this.#enter("closed");
  }

  /** @param {boolean} refused */
  async #lost(refused) {
    if (this.#state === "open" && performance.now() - this.#openedAt > GOOD_AGE) this.#attempt = 0;
    this.#drop();
    this.#enter("waiting");
    if (refused) {
      const turn = this.#turn;
      const goOn = await this.#options.onRefused();
      if (this.#turn !== turn) return;
      if (!goOn) return this.close();
    }
    this.#after(this.#delay(), () => this.start());
  }

  /** Exponential, with a random half so that many clients do not come back as one. */
  #delay() {
    const whole = Math.min(FIRST_DELAY * 2 ** this.#attempt, MAX_DELAY);
    this.#attempt = Math.min(this.#attempt + 1, 10);
    return whole * (0.5 + Math.random() / 2);
  }

  #drop() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    if (!this.#source) return;
    this.#source.onopen = this.#source.onmessage = this.#source.onerror = null;
    this.#source.close();
    this.#source = null;
  }

  /**
   * @param {number} ms
   * @param {() => void} action
   */
  #after(ms, action) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(action, ms);
  }

  /** @param {State} state */
  #enter(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onState(state);
  }
}

/** Tells when a stream has been without a connection for longer than it is worth no word. */
export class Patience {
  #long = false;
  #timer = 0;
  #tell;

  /** @param {(long: boolean) => void} tell */
  constructor(tell) {
    this.#tell = tell;
  }

  /** @param {State} state */
  see(state) {
    clearTimeout(this.#timer);
    const without = state === "connecting" || state === "waiting";
    if (!without) this.#set(false);
    else if (!this.#long) this.#timer = window.setTimeout(() => this.#set(true), GRACE);
  }

  /** @param {boolean} long */
  #set(long) {
    this.#long = long;
    this.#tell(long);
  }
}
