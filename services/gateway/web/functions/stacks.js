// @ts-check
// What the ranks of an attempt said of where they are. Pure.

/**
 * @typedef {{
 *   sequence: number,
 *   time: string | null | undefined,
 *   stacks: Api.StacksRecorded,
 * }} Said
 */

/**
 * The newest that each rank of an attempt has said, by rank, and the newest verdict on why it stood still.
 *
 * @param {Api.RecordedEvent[]} events - newest first
 * @param {number} trial
 * @param {number} attempt
 * @returns {{ said: Said[], verdict: Api.StallDiagnosed | undefined }}
 */
export function whereabouts(events, trial, attempt) {
  /** @type {Map<number, Said>} */
  const newest = new Map()
  /** @type {Api.StallDiagnosed | undefined} */
  let verdict
  for (const event of events) {
    if (event.trial !== trial || event.attempt !== attempt || event.ignored) continue
    const { stacks_recorded: stacks, stall_diagnosed: stall } = event.trial_event ?? {}
    if (stall) verdict ??= stall
    if (stacks && !newest.has(stacks.rank ?? 0)) {
      newest.set(stacks.rank ?? 0, { sequence: event.sequence, time: event.event_time, stacks })
    }
  }
  return { said: [...newest.values()].sort((a, b) => a.stacks.rank - b.stacks.rank), verdict }
}

/** @type {Record<string, string>} */
const places = {
  CODE: 'in its code',
  DATA_LOADER: 'waits for its next batch',
  COLLECTIVE: 'waits for other ranks',
  STORAGE: 'saves, loads or waits for a disk',
}

/**
 * Where a rank is, in words.
 *
 * @param {Api.StacksRecorded} stacks
 */
export function placeOf(stacks) {
  return [places[stacks.place ?? ''] ?? '', stacks.frame].filter(Boolean).join(', at ')
}

/**
 * How far a rank has come in its collectives, in words.
 *
 * @param {Api.CollectiveState} group
 */
export function collectiveOf(group) {
  const done = group.completed >= group.enqueued
  const last = group.operation ? ` (${group.operation})` : ''
  return `group ${group.group}: ${group.completed} of ${group.enqueued} collectives done${done ? '' : last}`
}
