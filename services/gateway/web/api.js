// The JSON API. Every answer is an object; every failure is an `ApiError` with the server's words.
import { address } from './functions/query.js'

const timeoutMilliseconds = 30_000

export class ApiError extends Error {
  constructor(status, code, message, violations = []) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.code = code
    this.violations = violations
  }
}

export function get(path, query, options) {
  return request('GET', address(`/api/v1${path}`, query ?? {}), undefined, options)
}

export function post(path, body = {}) {
  return request('POST', `/api/v1${path}`, body)
}

export function remove(path, query) {
  return request('DELETE', address(`/api/v1${path}`, query ?? {}))
}

/** Go and sign in, and come back here. */
export function signIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`)
}

/** A new id with which a command can be given again without harm. */
export function requestId() {
  return crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

async function request(method, url, body, { signal } = {}) {
  const headers = { accept: 'application/json' }
  if (method !== 'GET') headers['x-milepost-csrf'] = '1'
  if (body !== undefined) headers['content-type'] = 'application/json'
  const signals = [AbortSignal.timeout(timeoutMilliseconds), ...(signal ? [signal] : [])]
  let response
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.any(signals) })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    const message = error.name === 'TimeoutError' ? 'The server did not answer within 30 s.' : 'The server cannot be reached. Is `milepost up` running?'
    throw new ApiError(0, 'UNAVAILABLE', message)
  }
  if (response.status === 401) signIn()
  const text = await response.text()
  const answer = parse(text)
  if (response.ok) return answer ?? {}
  throw new ApiError(
    response.status,
    answer?.code ?? '',
    answer?.detail || answer?.title || `${response.status} ${response.statusText}`,
    answer?.violations ?? [],
  )
}

function parse(text) {
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch {
    return undefined
  }
}
