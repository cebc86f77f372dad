// Events in lists. Pure.

/** `milepost.trial.snapshot_committed.v1` -> "Snapshot committed". */
export function typeTitle(type) {
  const name = (type ?? '').split('.').at(-2) ?? type
  const text = name.replaceAll('_', ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** The one-of payload: {name, body}, or undefined. */
export function payload(event) {
  const outer = event.trial_event ?? event.runtime_event ?? event.platform_event
  if (!outer) return undefined
  const name = Object.keys(outer)[0]
  return name && { name, body: outer[name] }
}

/** The step an event is about, or undefined. */
export function stepOf(event) {
  const body = payload(event)?.body
  return body?.step ?? body?.restored_step ?? body?.last_step
}

const reasonFields = ['reason', 'cause', 'outcome', 'health', 'kind', 'mode']

/** The typed reason of an event in words, or "". */
export function reasonOf(event) {
  const body = payload(event)?.body
  if (!body) return ''
  for (const field of reasonFields) {
    const value = body[field]
    if (typeof value === 'string' && /^[A-Z][A-Z_]+$/.test(value)) return value.toLowerCase().replaceAll('_', ' ')
  }
  return typeof body.reason === 'string' ? body.reason : ''
}

/** Neighbours of the same type, reason, trial and attempt become one with a count. Newest first in, newest first out. */
export function fold(events) {
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

function foldKey(event) {
  return [event.type, reasonOf(event), event.trial ?? 0, event.attempt ?? 0, rankOf(event)].join('|')
}

/** Rank of an instance event, or undefined. */
export function rankOf(event) {
  if (event.scope !== 'INSTANCE') return undefined
  return payload(event)?.body?.rank ?? 0
}

/** The events behind `event`, nearest first, as far as they are among `known` (a map by id). */
export function causeChain(event, known) {
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

/** Lists of events by sequence: newest first, each once. */
export function mergeNewest(events, more, limit) {
  const known = new Set(events.map((event) => event.sequence))
  const fresh = more.filter((event) => !known.has(event.sequence))
  return [...fresh, ...events].sort((a, b) => b.sequence - a.sequence).slice(0, limit)
}
