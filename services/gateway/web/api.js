// @ts-check
// The JSON API. Every answer is an object; every failure is an `ApiError` with the server's words.
import { address } from './functions/query.js'

/** @import { Query } from './functions/query.js' */
/** @typedef {{ field: string, description: string }} Violation */

const timeoutMilliseconds = 30_000
const unreachable = 'The server cannot be reached. Is `milepost up` running?'

export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {Violation[]} [violations]
   */
  constructor(status, code, message, violations = []) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.code = code
    this.violations = violations
  }
}

/**
 * @template {string} Path
 * @param {Path} path
 * @param {Query} [query]
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Promise<Answer<Path>>}
 */
export function get(path, query, options) {
  return request('GET', address(`/api/v1${path}`, query ?? {}), undefined, options)
}

/**
 * Get a list whole, page by page: the answer of the first page, with what the others have under the same name.
 *
 * @template {string} Path
 * @template {string} Name
 * @param {Path} path
 * @param {Name} name
 * @param {Query} [query]
 * @returns {Promise<Answer<Path>>}
 */
export async function getAll(path, name, query) {
  const ask = (/** @type {Query} */ asked) => request('GET', address(`/api/v1${path}`, asked))
  const first = await ask({ ...query })
  const items = [...(first[name] ?? [])]
  for (let next = first.next_page_token; next;) {
    const page = await ask({ ...query, page_token: next })
    items.push(...(page[name] ?? []))
    next = page.next_page_token
  }
  return { ...first, [name]: items, next_page_token: '' }
}

/**
 * @template {string} Path
 * @param {Path} path
 * @param {object} [body]
 * @returns {Promise<Done<Path>>}
 */
export function post(path, body = {}) {
  return request('POST', `/api/v1${path}`, body)
}

/**
 * @param {string} path
 * @param {Query} [query]
 */
export function remove(path, query) {
  return request('DELETE', address(`/api/v1${path}`, query ?? {}))
}

/**
 * Post, and read the answer line by line. `onMessage` gets each.
 *
 * @param {string} path
 * @param {object} body
 * @param {(message: any) => void} onMessage
 * @param {{ signal?: AbortSignal }} [options]
 */
export async function postLines(path, body, onMessage, { signal } = {}) {
  const response = await fetch(`/api/v1${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-milepost-csrf': '1' },
    body: JSON.stringify(body),
    signal,
  }).catch((error) => {
    if (error.name === 'AbortError') throw error
    throw new ApiError(0, 'UNAVAILABLE', unreachable)
  })
  if (response.status === 401) signIn()
  if (!response.ok) throw failureOf(response, parse(await response.text()))
  const stream = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body)
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    const lines = (rest + (value ?? '')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines.filter(Boolean)) {
      const message = JSON.parse(line)
      const { problem } = message
      if (problem) throw new ApiError(problem.status, problem.code, problem.detail, problem.violations)
      onMessage(message)
    }
    if (done) return
  }
}

/** Go and sign in, and come back here. */
export function signIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`)
}

/** A new id with which a command can be given again without harm. */
export function requestId() {
  return crypto.randomUUID
    ? crypto.randomUUID()
    : Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/**
 * @param {string} method
 * @param {string} url
 * @param {object} [body]
 * @param {{ signal?: AbortSignal }} [parts]
 * @returns {Promise<any>}
 */
async function request(method, url, body, { signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = { accept: 'application/json' }
  if (method !== 'GET') headers['x-milepost-csrf'] = '1'
  if (body !== undefined) headers['content-type'] = 'application/json'
  const signals = [AbortSignal.timeout(timeoutMilliseconds), ...(signal ? [signal] : [])]
  let response
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(signals),
    })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    const message = error.name === 'TimeoutError' ? 'The server did not answer within 30 s.' : unreachable
    throw new ApiError(0, 'UNAVAILABLE', message)
  }
  if (response.status === 401) signIn()
  const text = await response.text()
  const answer = parse(text)
  if (response.ok) return answer ?? {}
  throw failureOf(response, answer)
}

/**
 * @param {Response} response
 * @param {any} answer
 */
function failureOf(response, answer) {
  return new ApiError(
    response.status,
    answer?.code ?? '',
    answer?.detail || answer?.title || `${response.status} ${response.statusText}`,
    answer?.violations ?? [],
  )
}

/** @param {string} text */
function parse(text) {
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch {
    return undefined
  }
}
