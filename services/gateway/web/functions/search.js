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
  const best = search?.objective ?? snapshots?.keep_best
  const metric = best?.metric ?? trials.find((trial) => trial.best?.metric)?.best?.metric ?? 'train/loss'
  return { metric, mode: best?.mode === 'max' ? 'MAX' : 'MIN' }
}

/**
 * The value of a trial, or undefined. Where a sampler was told what a trial came to, it is that.
 *
 * @param {Api.Trial} trial
 */
export function valueOf(trial) {
  const told = trial.suggestion?.value ?? null
  if (told !== null) return numbers({ value: told }).value
  if (trial.suggestion && (trial.status === 'Completed' || trial.status === 'Failed')) return undefined
  const value = trial.best?.metric
    ? numbers({ value: trial.best.value }).value
    : numbers(trial.last_values)['train/loss']
  return Number.isFinite(value) ? value : undefined
}

/**
 * Trials with the best value first; those without one come last, by number.
 *
 * @param {Api.Trial[]} trials
 * @param {string} mode
 */
export function ranked(trials, mode) {
  return [...trials].sort((a, b) => {
    const [ours, theirs] = [valueOf(a), valueOf(b)]
    if (ours === undefined || theirs === undefined)
      return Number(ours === undefined) - Number(theirs === undefined) || a.trial - b.trial
    return (mode === 'MAX' ? theirs - ours : ours - theirs) || a.trial - b.trial
  })
}
