// @ts-check
// What a search has found: its trials by their values. Pure.
import { numbers } from './wire.js'

/**
 * {metric, mode} by which trials are compared: the objective of the search, else what the run keeps its best snapshots
 * by, else the training loss.
 *
 * @param {Api.Runtime | null} runtime
 * @param {Api.Trial[]} trials
 */
export function objective(runtime, trials) {
  const { search, snapshots } = runtime?.configuration ?? {}
  const best = search?.objective ?? search?.objectives?.[0] ?? snapshots?.keep_best
  const metric = best?.metric ?? trials.find((trial) => trial.best?.metric)?.best?.metric ?? 'train/loss'
  return { metric, mode: best?.mode === 'max' ? 'MAX' : 'MIN' }
}

/**
 * Everything that trials are compared by: of a search with several objectives all of them, in order.
 *
 * @param {Api.Runtime | null} runtime
 * @param {Api.Trial[]} trials
 */
export function objectives(runtime, trials) {
  const several = runtime?.configuration?.search?.objectives ?? []
  if (several.length === 0) return [objective(runtime, trials)]
  return several.map(({ metric, mode }) => ({ metric: String(metric), mode: mode === 'max' ? 'MAX' : 'MIN' }))
}

/**
 * The value of a trial in one of several objectives, or undefined.
 *
 * @param {Api.Trial} trial
 * @param {string} metric
 */
export function valueIn(trial, metric) {
  const found = trial.suggestion?.values?.find((one) => one.metric === metric)
  return found ? numbers({ value: found.value }).value : undefined
}

/**
 * The value of a trial, or undefined. Where a sampler was told what a trial came to, it is that.
 *
 * @param {Api.Trial} trial
 */
export function valueOf(trial) {
  const told = trial.suggestion?.value ?? null
  if (told !== null) return numbers({ value: told }).value
  const [first] = trial.suggestion?.values ?? []
  if (first) return numbers({ value: first.value }).value
  if (trial.suggestion && (trial.status === 'Completed' || trial.status === 'Failed')) return undefined
  const value = trial.best?.metric
    ? numbers({ value: trial.best.value }).value
    : numbers(trial.last_values)['train/loss']
  return Number.isFinite(value) ? value : undefined
}

/**
 * Trials with the best value first, of several objectives by the first one; then those that break a constraint; those
 * without a value come last, by number.
 *
 * @param {Api.Trial[]} trials
 * @param {string} mode
 */
export function ranked(trials, mode) {
  return trials
    .map((trial) => ({ trial, value: valueOf(trial) }))
    .sort((a, b) => {
      const [ours, theirs] = [a.value, b.value]
      if (ours === undefined || theirs === undefined)
        return Number(ours === undefined) - Number(theirs === undefined) || a.trial.trial - b.trial.trial
      const broken = Number(Boolean(a.trial.suggestion?.infeasible)) - Number(Boolean(b.trial.suggestion?.infeasible))
      if (broken !== 0) return broken
      return (mode === 'MAX' ? theirs - ours : ours - theirs) || a.trial.trial - b.trial.trial
    })
    .map(({ trial }) => trial)
}
