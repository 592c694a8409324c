// Asks the daemon. Paths are relative to the page, wherever a proxy may put it.

/** A no of the daemon, in its own words. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.message ?? `the daemon answered with ${status}`);
    this.status = status;
    this.hint = body?.hint;
    this.report = body?.report;
  }
}

async function ask(method, path, options = {}) {
  let response;
  try {
    response = await fetch(path, { method, cache: "no-store", ...options });
  } catch {
    throw new Refused(0, { message: "the daemon cannot be reached" });
  }
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  const body = isJson ? await response.json() : null;
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

/** The query part of an address; what is empty is left out. */
function query(parameters) {
  const given = Object.entries(parameters ?? {}).filter(([, value]) => value != null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export const get = (path, parameters) => ask("GET", path + query(parameters));
export const post = (path, parameters) => ask("POST", path + query(parameters));

/** Where something of a name is asked. */
export const named = (kind, name, order) => `v1/${kind}/${encodeURIComponent(name)}/${order}`;

// Whether there may be a session: asking without one would be an error in the browser's log.
const MARK = "uplinkd-session";

export const mayHaveSession = () => localStorage.getItem(MARK) !== null;
export const forgetSession = () => localStorage.removeItem(MARK);

export async function logIn(token) {
  // A header takes no other signs, and no token has them.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Refused(401, { message: "that is no token of this daemon" });
  await ask("POST", "v1/session", { headers: { authorization: `Bearer ${token}` } });
  localStorage.setItem(MARK, "");
}

export async function logOut() {
  forgetSession();
  await ask("DELETE", "v1/session");
}
