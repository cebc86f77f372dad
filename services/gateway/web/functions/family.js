// @ts-check
// Trials that began with the weights of others, as a tree.

/**
 * @typedef {{ trial: Api.Trial, depth: number, donor: number, step: number, replaced: number }} Member
 */

/**
 * The trials of a population that gave weights or were given some, each behind its donor, children by when they began.
 * Empty where nobody was given any.
 *
 * @param {Api.Trial[]} trials
 * @returns {Member[]}
 */
export function familyOf(trials) {
  /** @type {Map<number, Api.Trial[]>} */
  const children = new Map()
  const known = new Set(trials.map((trial) => trial.trial))
  for (const trial of [...trials].sort((a, b) => a.trial - b.trial)) {
    const donor = trial.suggestion?.donor || 0
    const behind = known.has(donor) ? donor : 0
    children.set(behind, [...(children.get(behind) ?? []), trial])
  }
  /** @type {Member[]} */
  const members = []
  // No recursion: a line of children may be long.
  const waiting = (children.get(0) ?? []).map((trial) => ({ trial, depth: 0 })).reverse()
  while (waiting.length > 0) {
    const { trial, depth } = /** @type {{ trial: Api.Trial, depth: number }} */ (waiting.pop())
    const own = children.get(trial.trial) ?? []
    const { donor = 0, donor_step: step = 0, replaced = 0 } = trial.suggestion ?? {}
    if (own.length > 0 || donor) members.push({ trial, depth, donor, step, replaced })
    for (const child of own.toReversed()) waiting.push({ trial: child, depth: depth + 1 })
  }
  return members
}
