/**
 * The page: elements, the session and the thread list, put together.
 */

import { Composer } from "./composer.js";
import { Conversation, Placeholder } from "./conversation.js";
import { confirmDelete, Drawer, prepareDialogs, showShortcuts } from "./dialogs.js";
import { byId, h, touchOnly } from "./dom.js";
import { Drafts } from "./drafts.js";
import { placeIcons } from "./icons.js";
import { Tabs, watchPage } from "./lifecycle.js";
import { Session } from "./session.js";
import { nameOf, ThreadList } from "./thread-list.js";
import { Threads } from "./threads.js";

const THREAD_HASH = /^#thread=([0-9a-zA-Z-]{1,64})$/;
/** Milliseconds between looks at the list while answers are written that are not shown. */
const LOOK_ELSEWHERE = 4_000;
const scope = new URL(".", document.baseURI).pathname;

placeIcons();
prepareDialogs();
const drafts = new Drafts(scope);
const drawer = new Drawer();
const title = byId("title", HTMLHeadingElement);
const conversation = new Conversation(
  byId("scroller", HTMLElement), byId("turns", HTMLElement), byId("jump", HTMLButtonElement));
const placeholder = new Placeholder(byId("placeholder", HTMLElement));
const banner = byId("banner", HTMLElement);
const connection = byId("connection", HTMLElement);

const session = new Session({
  changed: () => schedule(),
  announce,
  giveBack: (text) => {
    composer.text = text;
    drafts.save(session.threadId, text);
  },
  started: (threadId, runId) => {
    if (session.threadId === threadId) history.replaceState(null, "", `#thread=${threadId}`);
    threads.touch(threadId, { active: true, runId });
    tabs.tell({ type: "started", threadId, runId });
    look({ listOnly: true });
  },
  ended: (threadId, runId) => {
    threads.touch(threadId, { active: false });
    tabs.tell({ type: "ended", threadId, runId });
    look({ listOnly: true });
  },
  loaded: (threadId, runId) => threads.setActivity(threadId, runId),
  titled: (threadId, name) => {
    threads.setName(threadId, name);
    tabs.tell({ type: "renamed", threadId, name });
  },
}, drafts);

const threads = new Threads(() => schedule());

const threadList = new ThreadList(byId("threads", HTMLElement), {
  href: (id) => `#thread=${id}`,
  rename: (id, name) => void rename(id, name),
  remove: (thread) => void remove(thread),
  more: () => void threads.loadMore(),
  reload: () => void threads.refresh(),
});

const composer = new Composer({
  form: byId("composer", HTMLFormElement), input: byId("message", HTMLTextAreaElement),
  send: byId("send", HTMLButtonElement), stop: byId("stop", HTMLButtonElement),
}, {
  send: (text) => {
    void session.send(text);
    conversation.follow();
  },
  stop: () => void session.stop(),
  changed: (text) => drafts.save(session.threadId, text),
});

byId("turns", HTMLElement).addEventListener("answer", (event) => {
  if (!(event instanceof CustomEvent)) return;
  void session.answer(event.detail);
  conversation.follow();
  if (!touchOnly()) composer.focus();
});

const tabs = new Tabs(scope, (news) => {
  if (news.type === "renamed") threads.setName(news.threadId, news.name);
  // A run that both tabs follow needs no news: its stream tells both.
  const known = news.type === "renamed" || ("runId" in news && news.runId === session.run?.id);
  if (news.threadId === session.threadId && !known) void session.refresh();
  look({ listOnly: true });
});

watchPage({
  sleep: () => session.sleep(),
  wake: () => session.wake(),
  reconnect: () => session.reconnect(),
  look,
  glance: () => look({ listOnly: true }),
});

let lookTimer = 0;
let lookOnlyAtList = true;

/**
 * Ask the server what is new; several calls in a moment ask once.
 *
 * @param {{listOnly?: boolean}} [how]
 */
function look({ listOnly = false } = {}) {
  lookOnlyAtList &&= listOnly;
  if (lookTimer) return;
  lookTimer = window.setTimeout(() => {
    const wholly = !lookOnlyAtList;
    lookTimer = 0;
    lookOnlyAtList = true;
    void threads.refresh().then(followNewRun);
    if (wholly && !session.busy) void session.refresh();
  }, 300);
}

/** Another device may have sent a message into the thread that is shown. */
function followNewRun() {
  const runId = threads.find(session.threadId)?.run_id;
  if (runId && runId !== session.lastRunId && !session.busy) void session.refresh();
}

// An answer elsewhere has no stream here that would tell of its end.
setInterval(() => {
  const elsewhere = threads.items.some((thread) => thread.active && thread.id !== session.threadId);
  if (elsewhere && document.visibilityState === "visible") look({ listOnly: true });
}, LOOK_ELSEWHERE);

// --- Showing -----------------------------------------------------------------------------------------------------

let frame = 0;
let shownThread = -1;
/** Milliseconds that the last showing took: a slow page is shown less often, so that it stays usable. */
let cost = 0;

function schedule() {
  if (frame) return;
  const pause = document.visibilityState === "hidden" ? 250 : cost > 12 ? cost * 4 : 0;
  const onFrame = () => {
    frame = 0;
    const before = performance.now();
    show();
    cost = performance.now() - before;
  };
  frame = pause ? window.setTimeout(onFrame, pause) : requestAnimationFrame(onFrame);
}

function show() {
  if (shownThread !== session.opened) {
    shownThread = session.opened;
    conversation.clear();
  }
  const turns = session.allTurns;
  conversation.render(turns);
  const { phase } = session;
  placeholder.show(phase === "missing" || phase === "loading" ? phase
    : phase === "ready" && turns.length === 0 ? "welcome" : "");
  document.body.classList.toggle("empty", phase === "ready" && turns.length === 0);
  composer.render({
    busy: session.busy, stopping: session.stopping, stoppable: session.run !== null,
    closed: phase === "missing" || phase === "failed",
  });
  threadList.render(threads, session.threadId);
  showTitle();
  showBanner();
  connection.hidden = !session.reconnecting;
  connection.dataset.offline = String(!navigator.onLine);
}

function showTitle() {
  const thread = threads.find(session.threadId);
  const name = session.threadId && !thread ? "Conversation" : nameOf(thread);
  if (title.textContent !== name) title.textContent = name;
  const full = session.threadId ? `${name} · Resumable Stream` : "Resumable Stream";
  if (document.title !== full) document.title = full;
}

/** @type {import("./session.js").Problem | null} */
let shownProblem = null;

function showBanner() {
  const { problem } = session;
  if (problem === shownProblem) return;
  shownProblem = problem;
  const held = banner.contains(document.activeElement);
  banner.hidden = !problem;
  banner.replaceChildren();
  if (problem) {
    banner.append(h("p", {}, problem.text));
    if (problem.retry) banner.append(h("button", { type: "button", class: "retry", onclick: problem.retry.action }, problem.retry.label));
    banner.append(h("button", { type: "button", class: "quiet", onclick: () => session.dismiss() }, "Dismiss"));
  }
  if (held) composer.focus();
}

/**
 * Say something to a screen reader, after what it is saying.
 *
 * @param {string} words
 */
function announce(words) {
  const live = byId("announcer", HTMLElement);
  live.textContent = "";
  // The same words twice are only a change when the region was empty in between.
  setTimeout(() => { live.textContent = words; }, 60);
}

// --- Threads -----------------------------------------------------------------------------------------------------

function route() {
  const id = THREAD_HASH.exec(location.hash)?.[1] ?? null;
  if (id === session.threadId && session.opened > 0) return;
  void session.open(id);
  composer.text = drafts.text(id);
  show(); // what is disabled cannot take the focus
  if (drawer.isOpen) drawer.close();
  if (touchOnly()) title.focus({ preventScroll: true });
  else composer.focus();
}

/**
 * @param {string} id
 * @param {string} name
 */
async function rename(id, name) {
  try {
    await threads.rename(id, name);
    tabs.tell({ type: "renamed", threadId: id, name });
    announce(`Renamed to ${name}.`);
  } catch (error) {
    session.problem = {
      text: `Not renamed. ${error instanceof Error ? error.message : ""}`,
      retry: { label: "Try again", action: () => { session.dismiss(); void rename(id, name); } },
    };
    schedule();
  }
}

/** @param {import("./api.js").Thread} thread */
async function remove(thread) {
  if (!(await confirmDelete(nameOf(thread)))) return;
  const neighbour = threadList.neighbour(thread.id);
  try {
    await threads.remove(thread.id);
  } catch (error) {
    session.problem = {
      text: `Not deleted. ${error instanceof Error ? error.message : ""}`,
      retry: { label: "Try again", action: () => { session.dismiss(); void remove(thread); } },
    };
    schedule();
    return;
  }
  drafts.clear(thread.id);
  tabs.tell({ type: "deleted", threadId: thread.id });
  announce("Deleted.");
  if (session.threadId === thread.id) newThread();
  else if (!neighbour || !threadList.focus(neighbour)) byId("new-thread", HTMLAnchorElement).focus();
}

// --- Keys and links ----------------------------------------------------------------------------------------------

function newThread() {
  if (THREAD_HASH.test(location.hash)) {
    // Not by setting the hash: its event comes later, and what is typed until then would be lost.
    history.pushState(null, "", "#new");
    route();
  } else {
    if (drawer.isOpen) drawer.close();
    composer.focus();
  }
}

document.addEventListener("keydown", (event) => {
  const mod = event.ctrlKey || event.metaKey;
  if (mod && event.shiftKey && event.key.toLowerCase() === "o") newThread();
  else if (mod && event.key === "/") showShortcuts();
  else {
    const plain = event.key.length === 1 && event.key !== " " && !mod && !event.altKey;
    // Whoever types into nothing means the message.
    if (plain && (event.target === document.body || event.target === byId("scroller", HTMLElement))) composer.focus();
    return;
  }
  event.preventDefault();
});
byId("new-thread", HTMLAnchorElement).addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  newThread();
});
byId("skip", HTMLAnchorElement).addEventListener("click", (event) => {
  event.preventDefault();
  composer.focus();
});
byId("show-shortcuts", HTMLButtonElement).addEventListener("click", showShortcuts);
byId("reconnect", HTMLButtonElement).addEventListener("click", () => session.reconnect());
window.addEventListener("hashchange", route);

route();
void threads.refresh();
document.documentElement.dataset.ready = "true";
