/**
 * What a run has said so far: a reducer over its events.
 *
 * Applying an event twice changes nothing, so a stream may be read again from any earlier point.
 *
 * @typedef {{kind: "text", text: string, messageId?: string}} TextPart
 * @typedef {{kind: "reasoning", text: string}} ReasoningPart
 * @typedef {{kind: "tool", id: string, name: string, args?: unknown, result?: string, status: "running" | "waiting" | "success" | "error" | "stopped"}} ToolPart
 * @typedef {TextPart | ReasoningPart | ToolPart} Part
 * @typedef {"streaming" | "completed" | "failed" | "cancelled" | "lost"} RunStatus
 * @typedef {{kind: "human", text: string, pending?: boolean}} HumanTurn
 * @typedef {{id: string, value: any}} Question what a person is asked
 * @typedef {{kind: "ai", parts: Part[], status: RunStatus, notes: Set<Note>, questions: Question[], sending?: boolean}} AiTurn
 * @typedef {HumanTurn | AiTurn} Turn
 * @typedef {"gap" | "length" | "content_filter" | "interrupted"} Note
 */

/** Events that stand in no log. `EventSource` repeats the id before them, so their own must not be looked at. */
const UNNUMBERED = new Set(["gap", "reset"]);

export class Run {
  #sequence = 0;
  /** The next text begins a new message. */
  #fresh = true;

  /** @type {Part[]} what was there at the last message's end: a restart goes back to it */
  #kept = [];

  /**
   * @param {string} id
   * @param {AiTurn | null} [before] what was said before a person's answer that this run has
   */
  constructor(id, before = null) {
    this.id = id;
    this.before = before;
    /** The id of the last event applied; "" before the first. */
    this.cursor = "";
    /** Something is missing or uncertain here: at the end, the history is the better source. */
    this.incomplete = false;
    this.error = "";
    this.turn = this.#begun();
  }

  /** @returns {AiTurn} */
  #begun() {
    this.#kept = structuredClone(this.before?.parts ?? []);
    for (const part of this.#kept) if (part.kind === "tool" && part.result === undefined) part.status = "running";
    return { kind: "ai", parts: structuredClone(this.#kept), status: "streaming", notes: new Set(), questions: [] };
  }

  get ended() {
    return this.turn.status !== "streaming";
  }

  /** Forget everything: the stream begins again. */
  reset() {
    this.cursor = "";
    this.#sequence = 0;
    this.turn = this.#begun();
    this.#fresh = true;
  }

  /**
   * @param {string} type
   * @param {any} data
   * @param {string} id as `EventSource` gives it
   * @returns {boolean} whether the event was new
   */
  apply(type, data, id) {
    if (this.ended) return false;
    const sequence = UNNUMBERED.has(type) ? 0 : sequenceOf(id);
    if (sequence > this.#sequence) {
      if (sequence > this.#sequence + 1) this.incomplete = true;
      this.#sequence = sequence;
      this.cursor = id;
    } else if (sequence && type !== "end") {
      return false; // seen; but an end made up by the server has the id of the event before it
    }
    this.#reduce(type, data);
    return true;
  }

  /**
   * @param {string} type
   * @param {any} data
   */
  #reduce(type, data) {
    const { parts, notes } = this.turn;
    switch (type) {
      case "text":
      case "reasoning":
        return this.#append(type, typeof data === "string" ? data : "");
      case "message_start":
        this.#fresh = true;
        return;
      case "message_end":
        this.#fresh = true;
        this.#kept = structuredClone(parts);
        if (data?.finish_reason === "length" || data?.finish_reason === "content_filter") notes.add(data.finish_reason);
        return;
      case "tool_call":
        return this.#toolCall(data);
      case "tool_result":
        return this.#toolResult(data);
      case "interrupted":
        notes.add("interrupted");
        this.turn.questions = Array.isArray(data?.interrupts) ? data.interrupts : [];
        return;
      case "restarted":
        // The run goes on elsewhere, after the last message that is complete.
        this.turn = { ...this.turn, parts: structuredClone(this.#kept), questions: [] };
        this.#fresh = true;
        this.incomplete = true;
        return;
      case "gap":
        notes.add("gap");
        this.incomplete = true;
        return;
      case "end":
        return this.#end(data ?? {});
    }
  }

  /**
   * @param {"text" | "reasoning"} kind
   * @param {string} text
   */
  #append(kind, text) {
    const last = this.turn.parts.at(-1);
    if (last?.kind === kind && !this.#fresh) {
      last.text += text;
    } else if (text) {
      this.turn.parts.push({ kind, text });
      this.#fresh = false;
    }
  }

  /**
   * A call with the id of one that has no result yet is that call as the graph has changed it since. Behind a result it
   * is another call: some models use ids again.
   *
   * @param {{id: string, name: string, args?: any}} data
   */
  #toolCall({ id, name, args }) {
    const part = this.#toolPart(id);
    if (part && part.result === undefined) Object.assign(part, { name, args });
    else this.turn.parts.push({ kind: "tool", id, name, args, status: "running" });
  }

  /**
   * The newest call with an id.
   *
   * @param {string} id
   */
  #toolPart(id) {
    const part = this.turn.parts.findLast((each) => each.kind === "tool" && each.id === id);
    return part?.kind === "tool" ? part : undefined;
  }

  /** @param {{id: string, name: string, content?: string, status?: string}} data */
  #toolResult({ id, name, content, status }) {
    let part = this.#toolPart(id);
    if (!part) {
      part = { kind: "tool", id, name, status: "running" };
      this.turn.parts.push(part);
    }
    part.result = content ?? "";
    part.status = status === "error" ? "error" : "success";
  }

  /** @param {{status?: string, message?: string}} data */
  #end({ status, message }) {
    const known = /** @type {RunStatus[]} */ (["completed", "failed", "cancelled", "lost"]);
    this.turn.status = known.find((each) => each === status) ?? "lost";
    this.error = message ?? "";
    const left = this.turn.questions.length ? "waiting" : "stopped";
    for (const part of this.turn.parts) if (part.kind === "tool" && part.status === "running") part.status = left;
  }
}

/**
 * The dense number in an event's id, `<generation>-<sequence>`; 0 when there is none.
 *
 * @param {string} id
 */
function sequenceOf(id) {
  const match = /^\d+-(\d+)$/.exec(id);
  return match ? Number(match[1]) : 0;
}

/**
 * The turns of a conversation from its history: all that the assistant did after one message is one turn.
 *
 * @param {import("./api.js").Message[]} messages
 * @returns {Turn[]}
 */
export function turnsOf(messages) {
  /** @type {Turn[]} */
  const turns = [];
  const answerTurn = () => {
    let turn = turns.at(-1);
    if (turn?.kind !== "ai") {
      turn = { kind: "ai", parts: [], status: "completed", notes: new Set(), questions: [] };
      turns.push(turn);
    }
    return turn;
  };
  for (const message of messages) {
    if (message.type === "human") {
      turns.push({ kind: "human", text: message.content });
    } else if (message.type === "ai") {
      const turn = answerTurn();
      turn.parts.push(...partsOf(message));
      if (message.stopped) turn.status = "cancelled";
    }
    if (message.interrupts) {
      const turn = answerTurn();
      turn.questions = message.interrupts;
      turn.notes.add("interrupted");
    }
  }
  return turns;
}

/**
 * @param {import("./api.js").Message} message
 * @returns {Part[]}
 */
function partsOf({ content, reasoning, tool_calls: calls = [] }) {
  /** @type {Part[]} */
  const parts = [];
  if (reasoning) parts.push({ kind: "reasoning", text: reasoning });
  if (content) parts.push({ kind: "text", text: content });
  for (const { id, name, args, result, status } of calls) {
    const known = status === "error" || status === "waiting" ? status
      : status === "cancelled" || result === undefined || result === null ? "stopped" : "success";
    parts.push({ kind: "tool", id, name, args, result: result ?? undefined, status: known });
  }
  return parts;
}

/**
 * A turn that is not waited for any more: the conversation goes on without what it asked.
 *
 * @param {Turn} turn
 * @returns {Turn}
 */
export function unasked(turn) {
  if (turn.kind !== "ai" || turn.questions.length === 0) return turn;
  const parts = turn.parts.map((part) => (part.kind === "tool" && part.status === "waiting" ? { ...part, status: /** @type {const} */ ("stopped") } : part));
  return { ...turn, parts, questions: [], notes: new Set([...turn.notes].filter((note) => note !== "interrupted")) };
}

/**
 * What a screen reader says of a turn that has ended.
 *
 * @param {AiTurn} turn
 */
export function spoken(turn) {
  if (turn.status === "failed" || turn.status === "lost") return "The answer broke off.";
  if (turn.status === "cancelled") return "Stopped.";
  if (turn.questions.length) return "The assistant asks you something before it goes on.";
  const words = textOf(turn);
  return `Answer finished. ${words.length > 600 ? `${words.slice(0, 600)} … and more.` : words}`;
}

/**
 * The words of an answer, as the model wrote them.
 *
 * @param {AiTurn} turn
 */
export function textOf(turn) {
  return turn.parts.flatMap((part) => (part.kind === "text" ? [part.text] : [])).join("\n\n");
}
