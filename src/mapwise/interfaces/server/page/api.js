// Requests to the server: each write once, and every problem in words.

import { has, t } from "./words.js";

/** An answer other than the one that was wanted; its message is for people. */
export class Problem extends Error {
  constructor(status, detail) {
    super(has(`problem.${status}`) ? t(`problem.${status}`, { detail }) : t("problem", { detail }));
    this.status = status;
    this.detail = detail;
  }
}

/** What is called when the server wants a token: gives one, or "" to go on without. */
export const access = { ask: async () => "" };
const TRIES = 3;

async function send(method, path, headers, body, signal) {
  const token = sessionStorage.getItem("mapwise.token");
  const all = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
  return fetch(path, { method, headers: all, body, signal, credentials: "same-origin" });
}

async function attempt(method, path, headers, body, signal) {
  for (let count = 1; ; count += 1) {
    let reply;
    try {
      reply = await send(method, path, headers, body, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (count >= TRIES) throw new Problem(0, "");
      await pause(300 * count);
      continue;
    }
    if (reply.ok) return reply;
    if (reply.status === 401 && count === 1) {
      const token = await access.ask();
      if (token) {
        sessionStorage.setItem("mapwise.token", token);
        continue;
      }
    }
    if ([429, 503].includes(reply.status) && count < TRIES) {
      await pause(1000 * Math.min(5, Number(reply.headers.get("retry-after")) || 1));
      continue;
    }
    throw await problemOf(reply);
  }
}

async function problemOf(reply) {
  try {
    return new Problem(reply.status, (await reply.json()).detail || "");
  } catch {
    return new Problem(reply.status, reply.statusText);
  }
}

export function pause(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** The JSON at an address, and its version's tag. */
export async function read(path, signal) {
  const reply = await attempt("GET", path, { Accept: "application/json" }, undefined, signal);
  return { content: await reply.json(), tag: reply.headers.get("etag") || "" };
}

/** The bytes at an address. */
export async function bytes(path, signal) {
  const reply = await attempt("GET", path, {}, undefined, signal);
  return { blob: await reply.blob(), name: fileName(reply.headers.get("content-disposition")) };
}

function fileName(header) {
  return /filename="([^"]+)"/.exec(header || "")?.[1] || "";
}

/** Ask about rows; nothing changes. */
export async function query(path, body, signal) {
  return json(await attempt("POST", path, headersOf(body), encoded(body), signal));
}

/** Change something: once, however often it has to be sent, and only the version that `tag` names. */
export async function write(method, path, body, tag = "") {
  const headers = { ...headersOf(body), "Idempotency-Key": key() };
  if (tag) headers["If-Match"] = tag;
  return json(await attempt(method, path, headers, encoded(body)));
}

async function json(reply) {
  const text = await reply.text();
  return { content: text ? JSON.parse(text) : null, tag: reply.headers.get("etag") || "" };
}

function headersOf(body) {
  return body === undefined || body instanceof FormData ? {} : { "Content-Type": "application/json" };
}

function encoded(body) {
  return body === undefined || body instanceof FormData ? body : JSON.stringify(body);
}

function key() {
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  return [...numbers].map((one) => one.toString(16).padStart(8, "0")).join("");
}
