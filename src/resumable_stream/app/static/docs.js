/** Shows openapi.json as a page on which every operation can be tried. No build step, no other origin. */

import { inline, make, prose } from "./docs-dom.js";

const SHOWN = 200_000; // characters of a response that are kept on the page

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** The inputs for a thread's id: a response that names a thread fills them. @type {Set<HTMLInputElement>} */
const threadInputs = new Set();

start();

async function start() {
  const main = byId("operations");
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    show(await response.json());
  } catch (error) {
    main.replaceChildren(make("p", { role: "alert" }, `The description could not be loaded: ${error.message}`));
  }
  main.setAttribute("aria-busy", "false");
}

function show(document_) {
  const { info, paths, tags, components } = document_;
  document.title = `${info.title} API`;
  byId("title").textContent = `${info.title} ${info.version}`;
  byId("about").append(...prose(info.description));
  const sections = tags.map((tag) => {
    const section = make("section", { "aria-label": tag.name },
      make("h2", {}, tag.name), make("p", {}, tag.description));
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(tag.name)) section.append(operationOf(path, method, operation, components));
      }
    }
    return section;
  });
  byId("operations").replaceChildren(...sections);
  const schemas = byId("schemas");
  for (const [name, schema] of Object.entries(components.schemas)) {
    schemas.append(make("details", { id: `schema-${name}` }, make("summary", { class: "path" }, name),
      make("div", { class: "inside" }, make("pre", {}, JSON.stringify(schema, null, 2)))));
  }
  schemas.hidden = false;
}

function operationOf(path, method, operation, components) {
  const form = make("form", { class: "inside" }, ...prose(operation.description));
  const fields = (operation.parameters ?? []).map((parameter) => fieldOf(operation.operationId, parameter));
  if (fields.length) form.append(make("h3", {}, "Parameters"), ...fields.map((field) => field.node));
  const body = operation.requestBody && bodyOf(operation, components);
  if (body) form.append(make("h3", {}, "Body"), body);
  const send = make("button", { type: "submit" }, "Send");
  const stop = make("button", { type: "button", class: "second", hidden: true }, "Stop listening");
  const answer = make("div", { "aria-live": "polite" });
  form.append(make("div", { class: "actions" }, send, stop), answer, make("h3", {}, "Responses"), responsesOf(operation));
  let control = new AbortController();
  stop.addEventListener("click", () => control.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    control.abort();
    control = new AbortController();
    stop.hidden = false;
    try {
      await call({ path, method, fields, body, answer, signal: control.signal });
    } finally {
      stop.hidden = true;
    }
  });
  return make("details", { id: operation.operationId },
    make("summary", {}, make("span", { class: "method" }, method.toUpperCase()),
      make("span", { class: "path" }, path), make("span", { class: "summary" }, operation.summary)),
    form);
}

function fieldOf(operationId, parameter) {
  const id = `${operationId}-${parameter.name}`;
  const input = make("input", { id, name: parameter.name, autocomplete: "off", spellcheck: "false" });
  const known = schemaOf(parameter.schema);
  if (known.default !== undefined && known.default !== null) input.placeholder = String(known.default);
  if (parameter.required) input.required = true;
  if (parameter.name === "thread_id") threadInputs.add(input);
  const label = make("label", { for: id, class: parameter.required ? "required" : "" }, make("code", {}, parameter.name));
  const about = make("div", { class: "about" }, ...inline(parameter.description ?? ""),
    parameter.in === "header" ? " (header)" : "");
  return { parameter, input, node: make("div", { class: "field" }, label, input, about) };
}

/** An optional parameter's schema is a choice between the real one and null. */
function schemaOf(schema) {
  return schema.anyOf?.find((each) => each.type !== "null") ?? schema;
}

function bodyOf(operation, components) {
  const { $ref } = operation.requestBody.content["application/json"].schema;
  const name = $ref.split("/").at(-1);
  const example = {};
  for (const [key, schema] of Object.entries(components.schemas[name].properties)) {
    if (schema.examples) example[key] = schema.examples[0];
    else if (components.schemas[name].required?.includes(key)) example[key] = "";
  }
  const text = make("textarea", { rows: "5", spellcheck: "false", "aria-label": `Body, as ${name}` });
  text.value = JSON.stringify(example, null, 2);
  return text;
}

function responsesOf(operation) {
  const rows = Object.entries(operation.responses).map(([status, response]) => {
    const lines = response.description.split("\n").map((line) => make("div", {}, ...inline(line)));
    return make("tr", {}, make("th", { scope: "row" }, status), make("td", {}, ...lines));
  });
  return make("div", { class: "wide" }, make("table", {}, make("tbody", {}, ...rows)));
}

/** @returns {Record<string, string>} the headers that the user wants on every request */
function ownHeaders() {
  const lines = /** @type {HTMLTextAreaElement} */ (byId("headers")).value.split("\n");
  const pairs = lines.map((line) => /^\s*([^:\s]+)\s*:\s*(.+?)\s*$/.exec(line)).filter(Boolean);
  return Object.fromEntries(pairs.map((match) => [match[1], match[2]]));
}

async function call({ path, method, fields, body, answer, signal }) {
  const query = new URLSearchParams();
  const headers = ownHeaders();
  for (const { parameter, input } of fields) {
    if (!input.value) continue;
    if (parameter.in === "header") headers[parameter.name] = input.value;
    else query.set(parameter.name, input.value);
  }
  if (body) headers["Content-Type"] = "application/json";
  // Relative to this page, which is right wherever the app is mounted and whatever a proxy cuts off.
  const url = `${path.slice(1)}${query.size ? `?${query}` : ""}`;
  const status = make("p", { class: "status" }, "…");
  const shown = make("pre", { tabindex: "0", "aria-label": "Response" });
  answer.replaceChildren(make("p", {}, make("code", {}, `${method.toUpperCase()} ${new URL(url, document.baseURI).pathname}`)), status, shown);
  try {
    const response = await fetch(url, { method: method.toUpperCase(), headers, body: body?.value, signal, cache: "no-store" });
    status.textContent = `${response.status} ${response.statusText}`.trim();
    status.classList.add(response.ok ? "good" : "bad");
    const told = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    shown.append(`${told}\n\n`);
    if (response.headers.get("Content-Type")?.startsWith("text/event-stream")) await pour(response, shown);
    else shown.append(pretty(await response.text()));
  } catch (error) {
    if (signal.aborted) shown.append("\n(stopped listening)");
    else {
      status.textContent = "No answer.";
      status.classList.add("bad");
      shown.append(String(error));
    }
  }
}

/** Shows a stream as it comes. */
async function pour(response, shown) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    shown.append(value);
    if (shown.textContent.length > SHOWN) shown.textContent = shown.textContent.slice(-SHOWN / 2);
    shown.scrollTop = shown.scrollHeight;
  }
}

/** @param {string} text of a response */
function pretty(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  if (typeof value?.thread_id === "string") for (const input of threadInputs) input.value = value.thread_id;
  return JSON.stringify(value, null, 2);
}
