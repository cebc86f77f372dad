// @ts-check
// Numbers, times and sizes as words. Pure.

/** @typedef {string | number | null | undefined} Moment */

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

/**
 * 4120 -> "4,120". Missing: an en dash.
 *
 * @param {number | null | undefined} value
 */
export function count(value) {
  return value === undefined || value === null ? '–' : grouped.format(value)
}

/**
 * A logged value with five significant digits; never more noise than that, never a lost exponent.
 *
 * @param {Api.Double | null | undefined} number
 * @param {number} [digits]
 */
export function value(number, digits = 5) {
  if (number === undefined || number === null) return '–'
  if (typeof number === 'string') return number === 'Infinity' ? '+∞' : number === '-Infinity' ? '−∞' : number
  if (Number.isNaN(number)) return 'NaN'
  if (!Number.isFinite(number)) return number > 0 ? '+∞' : '−∞'
  if (number === 0) return '0'
  const size = Math.abs(number)
  if (size >= 1e6 || size < 1e-4) return trimExponent(number.toExponential(digits - 2))
  if (size >= 1000) return number.toLocaleString('en-US', { maximumFractionDigits: Math.max(0, digits - 4) })
  return String(Number(number.toPrecision(digits)))
}

/** @param {string} text */
function trimExponent(text) {
  const [mantissa, exponent] = text.split('e')
  const short = mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa
  return `${short}e${exponent.replace('+', '')}`
}

/**
 * Seconds as "3 d 4 h", "2 h 05 m", "12 m 30 s", "42 s". Two units at most.
 *
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === undefined || seconds === null || !Number.isFinite(seconds)) return '–'
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes} m ${pad(whole % 60)} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${pad(minutes % 60)} m`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/**
 * A short time span: "850 µs", "12.3 ms", "1.42 s".
 *
 * @param {Api.Double | null | undefined} given
 */
export function span(given) {
  const seconds = Number(given ?? NaN)
  if (!Number.isFinite(seconds)) return '–'
  if (seconds < 0.001) return `${trim(seconds * 1e6)} µs`
  if (seconds < 1) return `${trim(seconds * 1000)} ms`
  if (seconds < 100) return `${trim(seconds)} s`
  return duration(seconds)
}

/** @param {number} number */
function trim(number) {
  return String(Number(number.toPrecision(3)))
}

/** @param {number} number */
function pad(number) {
  return String(number).padStart(2, '0')
}

/**
 * 4 steps in 10 seconds as a rate with three digits.
 *
 * @param {Api.Double | null | undefined} given
 */
export function rate(given) {
  const perSecond = Number(given ?? NaN)
  if (!Number.isFinite(perSecond)) return '–'
  if (perSecond >= 1000) return grouped.format(perSecond)
  return trim(perSecond)
}

/**
 * 0 to 100, floored to one decimal, without ".0" at 100.
 *
 * @param {Api.Double | null | undefined} number
 */
export function percent(number) {
  if (number === undefined || number === null) return '–'
  const floored = Math.floor(Number(number) * 10 + 1e-9) / 10
  return `${floored === 100 || floored === 0 ? floored : floored.toFixed(1)} %`
}

/**
 * Bytes in decimal units.
 *
 * @param {number | null | undefined} number
 */
export function bytes(number) {
  if (number === undefined || number === null) return '–'
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let size = Number(number)
  let unit = 0
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000
    unit += 1
  }
  return `${unit === 0 ? size : trim(size)} ${units[unit]}`
}

/**
 * Wall clock of a time: "10:41:07", with the day if it is not the day of `now`.
 *
 * @param {Moment} time
 * @param {Date} [now]
 * @param {boolean} [withSeconds]
 */
export function clock(time, now = new Date(), withSeconds = true) {
  if (!time) return '–'
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) return '–'
  const text = `${pad(date.getHours())}:${pad(date.getMinutes())}${withSeconds ? `:${pad(date.getSeconds())}` : ''}`
  if (date.toDateString() === now.toDateString()) return text
  const day = date.toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'short',
    ...(date.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' }),
  })
  return `${day} ${text}`
}

/**
 * Milliseconds of the clock: "10:41:07.250".
 *
 * @param {string | number} time
 */
export function preciseClock(time) {
  const date = new Date(time)
  const whole = [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(':')
  return `${whole}.${String(date.getMilliseconds()).padStart(3, '0')}`
}

/**
 * "just now", "12 s ago", "5 m ago", "3 h ago", "2 d ago".
 *
 * @param {Moment} time
 * @param {number} [now]
 */
export function ago(time, now = Date.now()) {
  if (!time) return '–'
  const seconds = Math.max(0, (now - new Date(time).getTime()) / 1000)
  if (!Number.isFinite(seconds)) return '–'
  if (seconds < 5) return 'just now'
  if (seconds < 60) return `${Math.floor(seconds)} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ago`
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86400)} d ago`
}

/**
 * "1 step", "2 steps".
 *
 * @param {number} number
 * @param {string} singular
 * @param {string} [several]
 */
export function plural(number, singular, several = `${singular}s`) {
  return `${count(number)} ${number === 1 ? singular : several}`
}

/**
 * `INSUFFICIENT_GPU` -> "insufficient gpu".
 *
 * @param {string | null | undefined} name
 */
export function words(name) {
  return (name ?? '').toLowerCase().replaceAll('_', ' ')
}

/**
 * The same with a capital.
 *
 * @param {string | null | undefined} name
 */
export function title(name) {
  const text = words(name)
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/**
 * `runtimes/rt-1/trials/2` -> `rt-1/2`, as addresses have it.
 *
 * @param {string} name
 */
export function shortName(name) {
  return name.replace(/^runtimes\/(.*)\/trials\//, '$1/')
}

/**
 * `runtimes/rt-1/trials/2` -> {runtimeId, trial}.
 *
 * @param {string} name
 */
export function trialName(name) {
  const [, runtimeId, , trial] = name.split('/')
  return { runtimeId, trial: Number(trial) }
}
