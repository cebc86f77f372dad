// @ts-check
// Events in lists. Pure.

/** @typedef {{ event: Api.RecordedEvent, count: number, events: Api.RecordedEvent[] }} Folded */
/** @typedef {{ event_id: string, unknown: true }} Unknown */

/**
 * `milepost.trial.snapshot_committed.v1` -> "Snapshot committed".
 *
 * @param {string} type
 */
export function typeTitle(type) {
  const name = (type ?? '').split('.').at(-2) ?? type
  const text = name.replaceAll('_', ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/**
 * The one-of payload: {name, body}, or undefined.
 *
 * @param {Api.RecordedEvent} event
 * @returns {{ name: string, body: Record<string, unknown> } | undefined}
 */
export function payload(event) {
  const outer = event.trial_event ?? event.runtime_event ?? event.platform_event ?? event.rule_event
  if (!outer) return undefined
  const [first] = Object.entries(outer)
  return first && { name: first[0], body: first[1] }
}

/**
 * The step an event is about, or undefined.
 *
 * @param {Api.RecordedEvent} event
 * @returns {number | undefined}
 */
export function stepOf(event) {
  const body = payload(event)?.body
  const step = body?.step ?? body?.restored_step ?? body?.last_step
  return typeof step === 'number' ? step : undefined
}

const reasonFields = ['reason', 'cause', 'outcome', 'health', 'kind', 'mode']

/**
 * The typed reason of an event in words, or "".
 *
 * @param {Api.RecordedEvent} event
 */
export function reasonOf(event) {
  const body = payload(event)?.body
  if (!body) return ''
  for (const field of reasonFields) {
    const value = body[field]
    if (typeof value === 'string' && /^[A-Z][A-Z_]+$/.test(value)) return value.toLowerCase().replaceAll('_', ' ')
  }
  return typeof body.reason === 'string' ? body.reason : ''
}

/**
 * Neighbours of the same type, reason, trial and attempt become one with a count. Newest first in, newest first out.
 *
 * @param {Api.RecordedEvent[]} events
 */
export function fold(events) {
  /** @type {Folded[]} */
  const folded = []
  for (const event of events) {
    const before = folded.at(-1)
    if (before && foldKey(before.event) === foldKey(event)) {
      before.count += event.repeat_count || 1
      before.events.push(event)
    } else {
      folded.push({ event, count: event.repeat_count || 1, events: [event] })
    }
  }
  return folded
}

/** @param {Api.RecordedEvent} event */
function foldKey(event) {
  return [
    event.type,
    reasonOf(event),
    event.trial ?? 0,
    event.attempt ?? 0,
    rankOf(event),
    // Each thing that a rule found is one by itself.
    payload(event)?.body.firing_id,
  ].join('|')
}

/**
 * Rank of an instance event, or undefined.
 *
 * @param {Api.RecordedEvent} event
 * @returns {number | undefined}
 */
export function rankOf(event) {
  if (event.scope !== 'INSTANCE') return undefined
  return Number(payload(event)?.body?.rank ?? 0)
}

/**
 * The events behind `event`, nearest first, as far as they are among `known` (a map by id).
 *
 * @param {Api.RecordedEvent} event
 * @param {Map<string, Api.RecordedEvent>} known
 */
export function causeChain(event, known) {
  /** @type {(Api.RecordedEvent | Unknown)[]} */
  const chain = []
  const seen = new Set([event.event_id])
  let cause = event.cause
  while (cause && !seen.has(cause)) {
    seen.add(cause)
    const behind = known.get(cause)
    chain.push(behind ?? { event_id: cause, unknown: true })
    if (!behind) break
    cause = behind.cause
  }
  return chain
}

/**
 * Lists of events by sequence: newest first, each once.
 *
 * @param {Api.RecordedEvent[]} events
 * @param {Api.RecordedEvent[]} more
 * @param {number} limit
 */
export function mergeNewest(events, more, limit) {
  const known = new Set(events.map((event) => event.sequence))
  const fresh = more.filter((event) => !known.has(event.sequence))
  return [...fresh, ...events].sort((a, b) => b.sequence - a.sequence).slice(0, limit)
}
