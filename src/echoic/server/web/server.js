// What the server says about itself, and the key it is told.

const API = new URL("./api/v1/audio/stream/", import.meta.url); // beside this file, wherever that is served
const KEPT_AS = "echoic key";
const PATIENCE = 60_000; // milliseconds; a server may look for its models first

export const STREAM = new URL("transcribe", API);

let given = ""; // where the browser keeps nothing

/** The key of this tab; it is forgotten with it. */
export const key = {
  get value() {
    try {
      return sessionStorage.getItem(KEPT_AS) ?? given;
    } catch {
      return given;
    }
  },
  set value(text) {
    given = text;
    try {
      if (text) sessionStorage.setItem(KEPT_AS, text);
      else sessionStorage.removeItem(KEPT_AS);
    } catch {
      // kept until the page is left
    }
  },
};

/**
 * Ask the server.
 * @returns {Promise<{state: "here" | "away" | "key" | "busy", status?: any, limits?: any, retry?: number}>}
 *   `key`: it wants one, or another.
 */
export async function ask() {
  try {
    const [status, limits] = await Promise.all([get("status"), get("limits")]);
    if (status.status === 401 || limits.status === 401) return { state: "key" };
    if (limits.status === 429) return { state: "busy", retry: Number(limits.headers.get("Retry-After")) };
    if (!status.ok) return { state: "away" };
    return { state: "here", status: await status.json(), limits: limits.ok ? await limits.json() : null };
  } catch {
    return { state: "away" };
  }
}

/** @param {string} name */
function get(name) {
  /** @type {Record<string, string>} */
  const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
  return fetch(new URL(name, API), { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
}
