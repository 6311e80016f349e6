/**
 * The server's routes. All addresses are relative to the page, wherever it is mounted.
 *
 * @typedef {{id: string, name: string, args?: unknown, result?: string, status?: string}} ToolUse
 * @typedef {{type: string, content: string, id?: string, stopped?: boolean, tool_calls?: ToolUse[], reasoning?: string, interrupts?: {id: string, value: any}[]}} Message
 * @typedef {{id: string, chat_name: string | null, created_time?: string, last_activity_time: string, active: boolean, run_id?: string}} Thread
 * @typedef {{thread_id: string, run_id: string, stream_id: string}} StartedRun
 */

const TIMEOUT = 20_000;

/** What a request came to when it did not work out. The message is fit to be shown. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP; 0 when no answer came
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof ApiError ? error.message : "Something went wrong.";
}

/**
 * @param {string} path relative to the mount
 * @param {Record<string, string | number | null | undefined>} [query] empty values are left out
 */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url.href;
}

/**
 * @param {string} method
 * @param {string} url
 * @param {{body?: unknown, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>}
 * @throws {ApiError} on any answer but success, and when there is none
 * @throws {DOMException} `AbortError` when the given signal says so
 */
async function request(method, url, { body, headers = {}, signal } = {}) {
  const timeout = AbortSignal.timeout(TIMEOUT);
  /** @type {RequestInit} */
  const init = {
    method, cache: "no-store", credentials: "same-origin", headers: { Accept: "application/json", ...headers },
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  };
  if (body !== undefined) {
    init.headers = { ...init.headers, "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The server can’t be reached. Check your connection and try again.");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** @param {Response} response */
async function errorOf(response) {
  let told;
  try {
    told = (await response.json()).error;
  } catch {
    told = undefined;
  }
  const words = typeof told?.message === "string" && told.message ? sentence(told.message) : "";
  return new ApiError(response.status, String(told?.code ?? "error"),
    words || `The server could not do this (status ${response.status}).`);
}

/**
 * A server's message as a sentence of its own.
 *
 * @param {string} text not empty
 */
export function sentence(text) {
  const upper = text[0].toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(upper) ? upper : `${upper}.`;
}

/**
 * @param {string} threadId
 * @param {AbortSignal} signal
 * @returns {Promise<{messages: Message[], activeRunId: string | null}>}
 */
export async function getThread(threadId, signal) {
  const response = await request("GET", address("v1/thread", { thread_id: threadId }), { signal });
  return { messages: await jsonOf(response), activeRunId: response.headers.get("X-Active-Run-Id") };
}

/**
 * @param {{limit: number, cursor?: string}} page
 * @param {AbortSignal} [signal]
 * @returns {Promise<{threads: Thread[], next_cursor?: string | null}>}
 */
export async function listThreads({ limit, cursor }, signal) {
  return jsonOf(await request("GET", address("v1/threads", { limit, cursor }), { signal }));
}

/**
 * Start a run. The same key starts it once, however often it is sent.
 *
 * @param {{message: string, threadId: string | null, key: string}} message
 * @returns {Promise<StartedRun>}
 */
export async function sendMessage({ message, threadId, key }) {
  const body = threadId ? { message, thread_id: threadId } : { message };
  return jsonOf(await request("POST", address("v1/chat/message"), { body, headers: { "Idempotency-Key": key } }));
}

/**
 * Answer what a thread waits for. The same key starts the run once, however often it is sent.
 *
 * @param {{threadId: string, answers: Record<string, unknown>, key: string}} answer
 * @returns {Promise<StartedRun>}
 */
export async function answerThread({ threadId, answers, key }) {
  const body = { thread_id: threadId, answers };
  return jsonOf(await request("POST", address("v1/chat/resume"), { body, headers: { "Idempotency-Key": key } }));
}

/**
 * @param {string} threadId
 * @param {string} runId
 */
export async function stopRun(threadId, runId) {
  await request("POST", address("v1/chat/stop"), { body: { thread_id: threadId, run_id: runId } });
}

/**
 * @param {string} threadId
 * @param {string} name
 */
export async function renameThread(threadId, name) {
  await request("PATCH", address("v1/thread", { thread_id: threadId }), { body: { chat_name: name } });
}

/** @param {string} threadId */
export async function deleteThread(threadId) {
  await request("DELETE", address("v1/thread", { thread_id: threadId }));
}

/**
 * Where a run's events come from.
 *
 * @param {string} threadId
 * @param {string} runId
 * @param {string} cursor the last event's id; "" for all of the run
 */
export function streamAddress(threadId, runId, cursor) {
  return address("v1/chat/stream", { thread_id: threadId, run_id: runId, format: "json", last_event_id: cursor });
}

/** @param {Response} response */
async function jsonOf(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError(response.status, "malformed", "The server’s answer was cut off. Try again.");
  }
}
