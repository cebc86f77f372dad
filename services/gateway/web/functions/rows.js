// @ts-check
// What a row of the list says of a runtime, and the order of rows. Pure.
import { number, numbers, time } from './wire.js'

/** @typedef {Partial<Api.Progress> & { text?: string }} ShownProgress */
/**
 * @typedef {{
 *   progress: ShownProgress | null | undefined,
 *   elapsed: number | null | undefined,
 *   runs: boolean,
 *   estimate: Api.Estimate | null | undefined,
 *   loss: number | undefined,
 *   trials: string,
 *   isBest?: boolean,
 * }} Summary
 */

/**
 * The trial a row speaks of: the last that runs, else the last that did anything.
 *
 * @param {Map<number, Api.Trial>} trials
 */
export function currentTrial(trials) {
  const all = [...trials.values()].sort((a, b) => a.trial - b.trial)
  return (
    all.findLast((trial) => trial.status === 'Running') ??
    all.findLast((trial) => (trial.progress?.step ?? 0) > 0) ??
    all[0]
  )
}

/**
 * {progress, elapsed, runs, estimate, loss, trials}: of a plain runtime those of its trial; of a search its own: the
 * share of all trials, the time since its start, the best value. `at` is now, in milliseconds since 1970.
 *
 * @param {Api.Runtime} runtime
 * @param {Map<number, Api.Trial>} trials
 * @param {number} at
 * @returns {Summary}
 */
export function summary(runtime, trials, at) {
  const trial = currentTrial(trials)
  if (!((runtime.trial_count ?? 1) > 1)) {
    const last = numbers(trial?.last_values)['train/loss']
    return {
      progress: trial?.progress,
      elapsed: trial?.elapsed,
      runs: trial?.status === 'Running',
      estimate: trial?.estimate,
      loss: last,
      trials: '',
    }
  }
  const all = [...trials.values()]
  const share =
    all.reduce(
      (sum, one) => sum + (one.status === 'Completed' ? 100 : number(one.progress?.completion_percent) || 0),
      0,
    ) / runtime.trial_count
  const started = time(runtime.start_time)
  const ended = runtime.status === 'Started' ? undefined : (time(runtime.end_time) ?? time(runtime.change_time))
  const done = runtime.trials?.completed ?? 0
  return {
    progress: { completion_percent: share, text: `${done} / ${runtime.trial_count} trials` },
    elapsed: started === undefined ? undefined : ((ended ?? at) - started) / 1000,
    runs: started !== undefined && ended === undefined,
    estimate: undefined,
    loss: best(runtime, all),
    trials: String(runtime.trial_count),
    isBest: true,
  }
}

/**
 * @param {Api.Runtime} runtime
 * @param {Api.Trial[]} all
 */
function best(runtime, all) {
  const most = runtime.configuration?.snapshots?.keep_best?.mode === 'max'
  const values = all
    .map((one) => (one.best ? numbers({ value: one.best.value }).value : numbers(one.last_values)['train/loss']))
    .filter((one) => Number.isFinite(one))
  if (values.length === 0) return undefined
  return most ? Math.max(...values) : Math.min(...values)
}

/**
 * Why a run ended, without what its status says already: the line is short.
 *
 * @param {string | null | undefined} reason
 */
export function why(reason) {
  return (reason ?? '').replace(/^(Failed( in trial \d+)?, (the training code raised: )?|Aborted: )/, '')
}

/**
 * Columns that the service sorts by, and its names for them. The others are sorted here.
 *
 * @type {Record<string, string>}
 */
export const served = {
  name: 'display_name',
  status: 'status',
  owner: 'created_by',
  updated: 'update_time',
  created: 'create_time',
}

/** @type {Record<string, (one: Summary, runtime: Api.Runtime) => Api.Double | null | undefined>} */
const read = {
  steps: (one) => one.progress?.completion_percent ?? one.progress?.step,
  trials: (one, runtime) => runtime.trial_count,
  elapsed: (one) => one.elapsed,
  estimate: (one) => one.estimate?.remaining,
  loss: (one) => one.loss,
}

/**
 * Ids in the order of a column; what has no value comes last, whichever way. `of` gives [runtime, summary] of an id.
 *
 * @param {string[]} ids
 * @param {string} column
 * @param {boolean} descending
 * @param {(id: string) => [Api.Runtime | null, Summary | null]} of
 */
export function sorted(ids, column, descending, of) {
  const keyed = ids.map((id, place) => {
    const [runtime, one] = of(id)
    const value = runtime && one ? number(read[column]?.(one, runtime)) : undefined
    return { id, place, value: Number.isFinite(value) ? value : undefined }
  })
  keyed.sort((a, b) => {
    if (a.value === undefined || b.value === undefined)
      return Number(a.value === undefined) - Number(b.value === undefined) || a.place - b.place
    return (descending ? b.value - a.value : a.value - b.value) || a.place - b.place
  })
  return keyed.map(({ id }) => id)
}

/**
 * Ids in groups whose lengths differ by less than a factor of two.
 *
 * @param {string[]} ids
 * @param {(id: string) => number} lengthOf
 */
export function sparkGroups(ids, lengthOf) {
  /** @type {Map<number, string[]>} */
  const groups = new Map()
  for (const id of ids) {
    const size = Math.ceil(Math.log2(lengthOf(id) + 1))
    groups.set(size, [...(groups.get(size) ?? []), id])
  }
  return [...groups.values()]
}
