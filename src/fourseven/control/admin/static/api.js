/* Calls of the admin API. A refusal is an Error with the API's own words and its status. */

const KEPT = "fourseven-token"; // for this tab alone

export function token() {
  return sessionStorage.getItem(KEPT) ?? "";
}

export function keepToken(value) {
  if (value) sessionStorage.setItem(KEPT, value);
  else sessionStorage.removeItem(KEPT);
}

export async function ask(method, path, body) {
  const headers = {};
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (method !== "GET") headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    credentials: "omit",
    body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
    signal: AbortSignal.timeout(15000),
  });
  const document = await response.json();
  if (response.ok) return document;
  throw Object.assign(new Error(document.detail ?? response.statusText), { status: response.status });
}

export function serverPath(backend, server) {
  return `/v1/backends/${encodeURIComponent(backend)}/servers/${encodeURIComponent(server)}`;
}
