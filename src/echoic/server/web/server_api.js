// Fetches the status of the server, and keeps its key.

const API = new URL("./api/v1/audio/stream/", import.meta.url); // relative to this file
const STORAGE_KEY = "echoic key";
const TIMEOUT = 60_000; // milliseconds; a server may look for its models first

export const STREAM = new URL("transcribe", API);

let unstored = ""; // the key, if the browser has no storage

/** The key, kept until the tab is closed. */
export const key = {
  get value() {
    try {
      return sessionStorage.getItem(STORAGE_KEY) ?? unstored;
    } catch {
      return unstored;
    }
  },
  set value(text) {
    unstored = text;
    try {
      if (text) sessionStorage.setItem(STORAGE_KEY, text);
      else sessionStorage.removeItem(STORAGE_KEY);
    } catch {
      // kept until the page is closed
    }
  },
};

/**
 * Fetch the status and the limits.
 * @returns {Promise<{state: "here" | "away" | "key" | "busy", status?: any, limits?: any, retry?: number}>}
 *   `key`: the key is missing or refused.
 */
export async function fetchStatus() {
  try {
    const [status, limits] = await Promise.all([fetchResource("status"), fetchResource("limits")]);
    if (status.status === 401 || limits.status === 401) return { state: "key" };
    if (limits.status === 429) return { state: "busy", retry: Number(limits.headers.get("Retry-After")) };
    if (!status.ok) return { state: "away" };
    return { state: "here", status: await status.json(), limits: limits.ok ? await limits.json() : null };
  } catch {
    return { state: "away" };
  }
}

/** @param {string} name */
function fetchResource(name) {
  /** @type {Record<string, string>} */
  const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
  return fetch(new URL(name, API), { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
}
