// Requests to the public API, with the token of this tab.
const KEY = "anonymizer-token";
let ask = async () => false;

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: value => value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY),
  // what asks the user for a token; resolves to whether there is a new one
  askWith: function_ => { ask = function_; },
};

export class ApiError extends Error {
  constructor(sentence, status = 0, code = "") { super(sentence); Object.assign(this, { status, code }); }
}

const headers = () => token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
const path = url => { const { pathname, search } = new URL(url, location); return pathname + search; };

async function raise(status, text, isQuiet = false) {
  let sentence = text, code = "";
  try { ({ error: sentence = text, code = "" } = JSON.parse(text)); } catch { /* not JSON: a proxy answered */ }
  if (status === 401 && !isQuiet && await ask(sentence)) return;
  throw new ApiError(sentence || `The server answered ${status}.`, status, code);
}

async function call(url, { isQuiet, ...options } = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path(url), { ...options, headers: { ...headers(), ...options.headers } });
    } catch { throw new ApiError("The server does not answer."); }
    if (answer.ok) return answer;
    await raise(answer.status, await answer.text(), isQuiet);
  }
}

// isQuiet: the user is asked for no token because of it
export const get = async (url, { isQuiet = false } = {}) => (await call(url, { isQuiet })).json();
export const remove = async url => (await call(url, { method: "DELETE" })).json();
export const send = async (url, value) =>
  (await call(url, { method: "POST", ...(value ? { headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) } : {}) })).json();

// The address of a file for an element. Elements send no token: with one, the file is fetched first.
const blobs = new Map();
export async function source(url) {
  if (!token.get()) return path(url);
  if (!blobs.has(url)) blobs.set(url, URL.createObjectURL(await (await call(url)).blob()));
  return blobs.get(url);
}
export function release(urls) {
  for (const url of urls) if (blobs.has(url)) { URL.revokeObjectURL(blobs.get(url)); blobs.delete(url); }
}

// An address that needs no token for some minutes, for what the browser fetches in parts.
export async function link(url) {
  if (!token.get()) return path(url);
  const { pathname, search } = new URL(url, location), [, id, file] = pathname.match(/^\/v1\/file\/([^/]+)\/(.+)$/);
  const query = new URLSearchParams(search);
  query.set("file", file);
  return path((await send(`/v1/file/${id}/link?${query}`, undefined)).url);
}

// a link that the browser follows: it saves the file
export function save(address, name) {
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

// fetch does not tell how much is sent
export function upload(file, query, sent, abort) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest(), body = new FormData();
    body.append("fileobject", file);
    request.open("POST", "/v1/file?" + query);
    for (const [name, value] of Object.entries({ ...headers(), "x-is-async": "true" })) request.setRequestHeader(name, value);
    request.upload.onprogress = event => sent(event.loaded / event.total);
    request.onload = async () => {
      try {
        if (request.status < 400) return done(JSON.parse(request.responseText));
        await raise(request.status, request.responseText);
        done(await upload(file, query, sent, abort));
      } catch (error) { failed(error); }
    };
    request.onerror = () => failed(new ApiError("The connection was lost."));
    request.onabort = () => failed(new ApiError("Stopped."));
    abort?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
