/**
 * Parsers of Server-Sent Events from npm, asked over stdin and stdout: one JSON object a line, one answer a line.
 *
 *     {"parsers": ["eventsource", …], "chunks": ["<base64>", …], "json": false}
 *         → {"eventsource": {"messages": [[type, data, id], …]} or {"error": "…"}, …}
 *     {"follow": "http://…", "client": "eventsource"}
 *         → {"messages": …, "statuses": [200, 200, 204]}   followed until the server answers 204
 *
 * With "json", the data is what JSON.parse makes of it, written again with JSON.stringify.
 */

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { parseSSEStream } from "@ag-ui/client";
import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";
import { createParser } from "eventsource-parser";
import { Subject } from "rxjs";
// Neither package offers its decoder by name: these are the files.
import { BytesLineDecoder, SSEDecoder } from "./node_modules/@langchain/langgraph-sdk/dist/utils/sse.js";
const { getBytes, getLines, getMessages } = createRequire(import.meta.url)(
  "./node_modules/@microsoft/fetch-event-source/lib/cjs/parse.js",
);

const ADDRESS = "http://stream.test/";

function streamOf(chunks) {
  const left = [...chunks];
  return new ReadableStream({
    pull: (controller) => (left.length ? controller.enqueue(left.shift()) : controller.close()),
  });
}

/** What `fetch` gives for such a body; the parsers that are whole clients take it for the network. */
function responseOf(chunks) {
  return new Response(streamOf(chunks), { headers: { "content-type": "text/event-stream; charset=utf-8" } });
}

/** Dispatches into a list: `addEventListener` would have to know the names of forged events. */
class ListeningEventSource extends EventSource {
  messages = [];
  onEnd = (_error) => {};

  dispatchEvent(event) {
    if (event instanceof MessageEvent) this.messages.push([event.type, event.data, event.lastEventId]);
    else if (event.type === "error") this.onEnd(event);
    return super.dispatchEvent(event);
  }
}

const parsers = {
  async "eventsource-parser"(chunks) {
    const messages = [];
    const decoder = new TextDecoder();
    const parser = createParser({
      onEvent: ({ event, data, id }) => messages.push([event ?? "message", data, id ?? ""]),
      onError: (error) => {
        throw error;
      },
    });
    for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }));
    return messages;
  },

  eventsource(chunks) {
    const source = new ListeningEventSource(ADDRESS, { fetch: async () => responseOf(chunks) });
    return new Promise((resolve) => {
      source.onEnd = () => {
        source.close();
        resolve(source.messages);
      };
    });
  },

  "eventsource-client"(chunks) {
    const messages = [];
    return new Promise((resolve) => {
      const source = createEventSource({
        url: ADDRESS,
        fetch: async () => responseOf(chunks),
        onMessage: ({ event, data, id }) => messages.push([event ?? "message", data, id ?? ""]),
        onDisconnect: () => {
          source.close();
          resolve(messages);
        },
      });
    });
  },

  async "fetch-event-source"(chunks) {
    const messages = [];
    const ignored = () => {};
    const onLine = getMessages(ignored, ignored, ({ event, data, id }) => messages.push([event || "message", data, id]));
    await getBytes(streamOf(chunks), getLines(onLine));
    return messages;
  },

  async "langgraph-sdk"(chunks) {
    const messages = [];
    const parts = streamOf(chunks).pipeThrough(BytesLineDecoder()).pipeThrough(SSEDecoder());
    for await (const { event, data, id } of parts) {
      messages.push([event || "message", JSON.stringify(data), id ?? ""]);
    }
    return messages;
  },

  "ag-ui"(chunks) {
    const messages = [];
    const source = new Subject();
    return new Promise((resolve, reject) => {
      parseSSEStream(source).subscribe({
        next: (event) => messages.push(["", JSON.stringify(event), ""]),
        error: reject,
        complete: () => resolve(messages),
      });
      for (const data of chunks) source.next({ type: "data", data });
      source.complete();
    });
  },
};

/** Real clients on a real connection, which resume by themselves until there is nothing to resume. */
const clients = {
  eventsource(url, watched) {
    return new Promise((resolve, reject) => {
      const source = new ListeningEventSource(url, { fetch: watched.fetch });
      source.onEnd = ({ code, message }) => {
        if (code === 204) resolve(source.messages);
        else if (message !== undefined) reject(new Error(message));
      };
    });
  },

  "eventsource-client"(url, watched) {
    const messages = [];
    return new Promise((resolve) => {
      createEventSource({
        url,
        fetch: watched.fetch,
        onMessage: ({ event, data, id }) => messages.push([event ?? "message", data, id ?? ""]),
        onDisconnect: () => {
          if (watched.statuses.at(-1) === 204) resolve(messages);
        },
      });
    });
  },
};

async function follow({ follow: url, client }) {
  const statuses = [];
  const watched = {
    statuses,
    async fetch(...request) {
      const response = await fetch(...request);
      statuses.push(response.status);
      return response;
    },
  };
  try {
    return { messages: await clients[client](url, watched), statuses };
  } catch (error) {
    return { error: String(error), statuses };
  }
}

async function hear({ parsers: names, chunks, json }) {
  const bytes = chunks.map((chunk) => new Uint8Array(Buffer.from(chunk, "base64")));
  const answer = {};
  for (const name of names) {
    try {
      const messages = await parsers[name](bytes);
      if (json) for (const message of messages) message[1] = JSON.stringify(JSON.parse(message[1]));
      answer[name] = { messages };
    } catch (error) {
      answer[name] = { error: String(error) };
    }
  }
  return answer;
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = await (request.follow ? follow(request) : hear(request));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
