/**
 * The page's comings and goings, and the other tabs of the same application.
 *
 * Browsers allow six connections to a server over HTTP/1.1, for all tabs together, so a tab that nobody sees gives its
 * own back after a moment.
 */

/** Milliseconds hidden before the connection is given back. */
const HIDDEN_FOR = 5_000;
/** Milliseconds between glances at the server while the page is seen: other devices write too. */
const GLANCE_EVERY = 60_000;

/**
 * @param {object} actions
 * @param {() => void} actions.sleep
 * @param {() => void} actions.wake
 * @param {() => void} actions.reconnect the network has changed: what looks connected may not be
 * @param {() => void} actions.look somebody looks at the page again
 * @param {() => void} actions.glance somebody has been looking at the page for a while
 */
export function watchPage({ sleep, wake, reconnect, look, glance }) {
  let timer = 0;
  let hiddenAt = 0;
  const hide = () => {
    hiddenAt = Date.now();
    clearTimeout(timer);
    timer = window.setTimeout(sleep, HIDDEN_FOR);
  };
  const show = () => {
    clearTimeout(timer);
    // Timers stand still in a sleeping device: then the connection is old, and still called open.
    if (hiddenAt && Date.now() - hiddenAt > HIDDEN_FOR) sleep();
    hiddenAt = 0;
    wake();
    look();
  };
  if (document.visibilityState === "hidden") sleep();
  document.addEventListener("visibilitychange", () => (document.visibilityState === "hidden" ? hide() : show()));
  window.addEventListener("focus", look);
  window.addEventListener("online", () => {
    reconnect();
    look();
  });
  // The back button may show the page as it was left, with its connections gone.
  window.addEventListener("pagehide", sleep);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) show();
  });
  setInterval(() => {
    if (document.visibilityState === "visible") glance();
  }, GLANCE_EVERY);
}

/**
 * @typedef {{type: "started" | "ended", threadId: string, runId: string}
 *   | {type: "renamed", threadId: string, name: string} | {type: "deleted", threadId: string}} News
 */

/** News between the tabs of one browser. A tab does not hear itself. */
export class Tabs {
  #channel;

  /**
   * @param {string} scope
   * @param {(news: News) => void} hear
   */
  constructor(scope, hear) {
    this.#channel = "BroadcastChannel" in window ? new BroadcastChannel(`resumable-stream:${scope}`) : null;
    this.#channel?.addEventListener("message", (event) => hear(event.data));
  }

  /** @param {News} news */
  tell(news) {
    this.#channel?.postMessage(news);
  }
}
