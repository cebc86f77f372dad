// @ts-check
// Rules as people read and write them. Pure.
import { count, duration, value as number, words } from './format.js'
import { address } from './query.js'

/** @typedef {Record<string, unknown>} Values */

// What the server says of a rule, and takes from nobody.
const said = ['name', 'disabled', 'owner', 'create_time', 'update_time', 'revision', 'etag', 'sequence']
const saidOfBaseline = ['steps', 'values', 'values_non_finite']
const dayMilliseconds = 86_400_000
const plain = /^[A-Za-z][\w./-]*( [\w./-]+)*$/
const notText = /^(true|false|yes|no|on|off|null|y|n)$/i

/** @param {{ name: string }} rule */
export function ruleId({ name }) {
  return name.replace(/^rules\//, '')
}

/**
 * Whether a rule is part of the configuration of a run, whose id is before its own.
 *
 * @param {string} id
 */
export function isOfRun(id) {
  return id.includes('.')
}

/** @type {Record<string, string>} */
const sides = { UP: 'above', DOWN: 'below' }
/** @type {Record<string, (detector: any) => string>} */
const sentences = {
  threshold: ({ series, comparison, value }) => `${series} ${words(comparison)} ${number(value)}`,
  change: ({ series, window, deviations, direction }) =>
    `${series} ${deviations} deviations ${sides[direction] ?? 'from'} ` + `the median of ${window} points`,
  baseline: ({ series, trial, tolerance, direction }) =>
    `${series} ${direction === 'DOWN' ? 'below' : 'above'} that of ${trial} by more than ${share(tolerance)}`,
  plateau: ({ series, window, direction, min_improvement: by }) =>
    `${series} not ${direction === 'UP' ? 'larger' : 'smaller'}${by ? ` by ${share(by)}` : ''} for ${window} points`,
  exploding_gradient: ({ series, factor, window }) => `${series} above ${factor} times the median of ${window} points`,
  vanishing_gradient: ({ series, below, points }) => `${series} below ${number(below)} for ${points} points`,
  not_finite: ({ series }) => `${series || 'any series'} is NaN or infinite`,
  silence: ({ factor, min_seconds: least }) => `no step for ${factor} times the usual, at least ${duration(least)}`,
  throughput_drop: ({ series, share: part, window }) =>
    `${series} below ${share(part)} of the median of ${window} points`,
  log_pattern: ({ pattern }) => `a line of the log with ${pattern}`,
  event: ({ type }) => `an event ${type}`,
  state: ({ states }) => `the run is ${states.map(words).join(' or ')}`,
  retries: ({ count }) => `retry number ${count} of a trial`,
  estimated_end: ({ time, after_seconds: after }) =>
    time ? `an estimated end after ${time}` : `an estimated end beyond ${duration(after)}`,
  gpu_idle: ({ below_percent: below }) => `a GPU busy below ${number(below)} %`,
  disk_filling: ({ above_percent: above }) => `a disk filled above ${number(above)} %, or a full spool`,
}

/** @param {number} part */
function share(part) {
  return `${number(part * 100)} %`
}

/**
 * What a rule looks for, in words.
 *
 * @param {Pick<Api.Rule, 'detector' | 'hold_seconds'>} rule
 */
export function lookedFor({ detector, hold_seconds: held }) {
  const [kind, given] = Object.entries(detector ?? {})[0] ?? ['', {}]
  const text = sentences[kind]?.(given) ?? words(kind)
  return Number(held) > 0 ? `${text}, for ${duration(Number(held))}` : text
}

/**
 * What follows a firing, in words.
 *
 * @param {Pick<Api.Rule, 'actions' | 'disabled' | 'watching_only'>} rule
 */
export function followed({ actions, disabled, watching_only: watching }) {
  if (disabled) return 'disabled'
  const told = (actions ?? []).flatMap((action) => action.notify?.destination ?? [])
  const done = (actions ?? []).flatMap((action) => Object.keys(action).flatMap((kind) => deeds[kind] ?? []))
  if (watching !== false || told.length + done.length === 0) return 'watches only'
  return [...(told.length ? [`tells ${told.join(', ')}`] : []), ...done].join(', ')
}

/** @type {Record<string, string>} */
const deeds = {
  label: 'labels',
  snapshot: 'has a snapshot taken',
  stop: 'stops',
  start: 'starts a run',
  roll_back: 'rolls back',
}

/**
 * What an action came to, in words.
 *
 * @param {Api.FiringAction} action
 */
export function cameTo({ kind, state, detail, owner }) {
  if (state === 'TAKEN') return `${detail}, for ${owner}`
  const what = kind.replace('_', ' ')
  return `${what} ${state === 'FAILED' ? 'refused' : 'pending'}${detail ? `: ${detail}` : ''}`
}

/**
 * How many of `times` fell on each of the last `days`, oldest day first; a day ends `now`.
 *
 * @param {(number | undefined)[]} times
 * @param {number} now
 * @param {number} [days]
 */
export function daily(times, now, days = 14) {
  const counts = new Array(days).fill(0)
  for (const one of times) {
    const ago = one === undefined ? NaN : Math.floor(Math.max(0, now - one) / dayMilliseconds)
    if (ago < days) counts[days - 1 - ago] += 1
  }
  return counts
}

/**
 * Whether a firing has an end that has not come.
 *
 * @param {Api.Firing} firing
 */
export function isOpen({ fired, cleared }) {
  return !cleared && !fired?.momentary
}

/** @type {Record<string, string>} */
const severityTones = { INFO: 'neutral', WARNING: 'warning', CRITICAL: 'bad' }

/**
 * How a firing is coloured.
 *
 * @param {Api.Firing} firing
 */
export function severityTone({ fired }) {
  return severityTones[fired?.severity ?? 'WARNING']
}

/**
 * Where a firing is seen best: the run with its step pinned, else its event, which says when it was.
 *
 * @param {Api.Firing} firing
 */
export function firingAddress({ fired, runtime, sequence }) {
  const query = fired?.step ? { trial: fired.trial, pin: fired.step } : { tab: 'events', event: sequence }
  return address(`/${runtime}`, query)
}

/**
 * In which run, trial and step, in words. `names` are those of runs.
 *
 * @param {Api.Firing} firing
 * @param {Map<string, string>} names
 */
export function firingPlace({ fired, runtime }, names) {
  const parts = [
    names.get(runtime) || runtime.replace(/^runtimes\//, ''),
    fired?.trial && `trial ${fired.trial}`,
    fired?.step && `step ${count(fired.step)}`,
  ]
  return parts.filter(Boolean).join(' · ')
}

/**
 * The open ones first, each kind newest first.
 *
 * @param {Api.Firing[]} firings
 */
export function openFirst(firings) {
  return [...firings].sort((a, b) => Number(isOpen(b)) - Number(isOpen(a)) || b.sequence - a.sequence)
}

/**
 * A rule as the file that `milepost rule update` takes: YAML, without what the server says of it.
 *
 * @param {Api.Rule} rule
 */
export function ruleFile(rule) {
  const given = Object.entries(rule).filter(([key, value]) => !said.includes(key) && !isNothing(value))
  const detector = Object.fromEntries(
    Object.entries(rule.detector ?? {}).map(([kind, values]) => [kind, detectorValues(/** @type {Values} */ (values))]),
  )
  const actions = (rule.actions ?? []).map(actionValues)
  const values = { id: ruleId(rule), ...Object.fromEntries(given), detector, ...(actions.length ? { actions } : {}) }
  return `${block(values, '').join('\n')}\n`
}

/** @param {Values} values */
function detectorValues(values) {
  const given = Object.entries(values).filter(([key, value]) => !saidOfBaseline.includes(key) && !isNothing(value))
  return Object.fromEntries(given)
}

/** @param {Api.Action} action */
function actionValues(action) {
  return Object.fromEntries(
    Object.entries(action).map(([kind, values]) => {
      const given = Object.entries(values ?? {}).filter(([key, value]) => key !== 'resolved_text' && !isNothing(value))
      return [kind, Object.fromEntries(given)]
    }),
  )
}

/** @param {unknown} value */
function isNothing(value) {
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 0) return true
  return value === null || value === undefined || value === '' || value === 0 || (Array.isArray(value) && !value.length)
}

/**
 * @param {Values} values
 * @param {string} indentation
 * @returns {string[]}
 */
function block(values, indentation) {
  return Object.entries(values).flatMap(([key, value]) => {
    if (Array.isArray(value)) return [`${indentation}${key}: [${value.map(flow).join(', ')}]`]
    if (typeof value !== 'object' || value === null) return [`${indentation}${key}: ${scalar(value)}`]
    const inner = block(/** @type {Values} */ (value), `${indentation}  `)
    return inner.length > 0 ? [`${indentation}${key}:`, ...inner] : [`${indentation}${key}: {}`]
  })
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function flow(value) {
  if (typeof value !== 'object' || value === null) return scalar(value)
  return `{${Object.entries(value)
    .map(([key, one]) => `${key}: ${flow(one)}`)
    .join(', ')}}`
}

/** @param {unknown} value */
function scalar(value) {
  if (typeof value === 'string') return plain.test(value) && !notText.test(value) ? value : JSON.stringify(value)
  return String(value)
}
