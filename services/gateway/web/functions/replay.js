// @ts-check
// Moments of a run: where events lie on a line, and what comes next. Pure.

/**
 * Counts of events in `bins` equal parts of a line. `places` are 0 to 1.
 *
 * @param {number[]} places
 * @param {number} bins
 */
export function histogram(places, bins) {
  const counts = new Array(bins).fill(0)
  for (const place of places) counts[Math.min(bins - 1, Math.max(0, Math.floor(place * bins)))] += 1
  return counts
}

/**
 * Where each event lies, 0 to 1: by its time, or by its number. `times` ascend.
 *
 * @param {number[]} times
 * @param {string} by
 */
export function places(times, by) {
  if (times.length === 0) return []
  if (by === 'sequence') return times.map((_, i) => (times.length === 1 ? 1 : i / (times.length - 1)))
  const first = times[0]
  const span = times[times.length - 1] - first || 1
  return times.map((time) => Math.min(1, Math.max(0, (time - first) / span)))
}

/**
 * Index of the last event at or before a place; 0 if none is.
 *
 * @param {number[]} all
 * @param {number} place
 */
export function eventAt(all, place) {
  let low = 0
  let high = all.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (all[middle] <= place + 1e-12) low = middle
    else high = middle - 1
  }
  return low
}

/**
 * Index of the event with this sequence, or of the last one before it.
 *
 * @param {Api.RecordedEvent[]} events
 * @param {number} sequence
 */
export function indexOfSequence(events, sequence) {
  let found = 0
  for (let i = 0; i < events.length && events[i].sequence <= sequence; i += 1) found = i
  return found
}

/** Events after which a status differs: what a timeline marks. */
const statusTypes = new RegExp(
  [
    'runtime_(started|requested|aborted|failed|completed)',
    '(stop|resume)_requested',
    'trial_(failed|stopped)',
    'attempt_fenced',
  ].join('|'),
)

/** @param {Api.RecordedEvent} event */
export function changesStatus(event) {
  return statusTypes.test(event.type)
}

/** Fields that say which change was the last, not what it was. */
const bookkeeping =
  /\.(etag|sequence|events_sequence|telemetry_sequence|change_event_id|change_sequence|change_time|update_time)$/
const first = ['status', 'phase', 'waiting_reason', 'reason']

/**
 * What an event changed, the words that people look for first, and how many fields more only count changes.
 *
 * @param {Api.FieldChange[]} changes
 */
export function tellingChanges(changes) {
  const telling = changes.filter((change) => !bookkeeping.test(change.path))
  /** @param {Api.FieldChange} parts */
  const rank = ({ path }) => {
    const at = first.indexOf(path.split('.').at(-1) ?? '')
    return at === -1 ? first.length : at
  }
  return { telling: telling.toSorted((a, b) => rank(a) - rank(b)), rest: changes.length - telling.length }
}

/**
 * The kind of a status change, as a colour's name.
 *
 * @param {Api.RecordedEvent} event
 */
export function toneOf(event) {
  if (/failed|fenced/.test(event.type)) return 'failed'
  if (/aborted|stop/.test(event.type)) return 'aborted'
  if (/completed/.test(event.type)) return 'completed'
  return 'started'
}
