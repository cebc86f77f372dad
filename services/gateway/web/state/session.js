// @ts-check
// Who looks at the page, and what they may do.
import { signal } from '../vendor/signals.js'
import { get } from '../api.js'

/** @import { Signal } from '../vendor/signals.js' */

/**
 * {actor, role, verified}, or null while it is not known.
 *
 * @type {Signal<Api.Session | null>}
 */
export const session = signal(null)

/** Ask once. A server that asks nobody for tokens may not know the question: then everything is allowed. */
export async function loadSession() {
  try {
    session.value = await get('/session')
  } catch (error) {
    if (error.status !== 404 && error.status !== 0) throw error
  }
}

/** Whether commands are offered. The services decide; this only spares one a refusal. */
export function mayChange() {
  return session.value?.role?.toLowerCase() !== 'viewer'
}

/** Forget the session and go to the sign-in page. */
export async function signOut() {
  await fetch('/api/v1/session', { method: 'DELETE', headers: { 'x-milepost-csrf': '1' } })
  window.location.assign('/login')
}
