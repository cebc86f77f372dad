// @ts-check
// What JSON cannot say: NaN and infinities come as null with a list beside them, scalars as words. Pure.

/** @type {Record<string, number>} */
const words = { NaN, Infinity, '-Infinity': -Infinity }

/**
 * A double of the API: a number, or one of the three words. Missing: undefined.
 *
 * @param {Api.Double | null | undefined} value
 * @returns {number | undefined}
 */
export function number(value) {
  if (typeof value === 'string') return words[value]
  return value === null ? undefined : value
}

/** @typedef {'lasts' | 'means' | 'mins' | 'maxs' | 'values'} Column */
/** @typedef {(number | null)[]} Finite */

/**
 * The column `name` of a message, with its non-finite elements put back.
 *
 * @param {{ [name in Column]?: Finite } & { [name in `${Column}_non_finite`]?: [number, string][] }} message
 * @param {Column} name
 */
export function column(message, name) {
  // Where one is null, the list beside it has the word.
  const values = /** @type {number[]} */ (message[name] ?? [])
  const odd = message[`${name}_non_finite`]
  if (!odd || odd.length === 0) return values
  const whole = values.slice()
  for (const [index, word] of odd) whole[index] = words[word]
  return whole
}

/**
 * A map of doubles, with words put back: {key: number}.
 *
 * @param {Record<string, Api.Double> | null | undefined} map
 * @returns {Record<string, number>}
 */
export function numbers(map) {
  return Object.fromEntries(Object.entries(map ?? {}).map(([key, value]) => [key, number(value) ?? NaN]))
}

/**
 * Milliseconds since 1970 of a timestamp of the API, or undefined.
 *
 * @param {string | null | undefined} text
 */
export function time(text) {
  if (!text) return undefined
  const milliseconds = Date.parse(text)
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

/**
 * A step number from a count field: absent means zero.
 *
 * @param {number | string | null | undefined} value
 */
export function int(value) {
  return Number(value ?? 0)
}
