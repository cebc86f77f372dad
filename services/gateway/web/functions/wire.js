// What JSON cannot say: NaN and infinities come as null with a list beside them, scalars as words. Pure.

const words = { NaN, Infinity, '-Infinity': -Infinity }

/** A double of the API: a number, or one of the three words. Missing: undefined. */
export function number(value) {
  if (typeof value === 'string') return words[value]
  return value === null ? undefined : value
}

/** The column `name` of a message, with its non-finite elements put back. */
export function column(message, name) {
  const values = message[name] ?? []
  const odd = message[`${name}_non_finite`]
  if (!odd || odd.length === 0) return values
  const whole = values.slice()
  for (const [index, word] of odd) whole[index] = words[word]
  return whole
}

/** A map of doubles, with words put back: {key: number}. */
export function numbers(map) {
  return Object.fromEntries(Object.entries(map ?? {}).map(([key, value]) => [key, number(value)]))
}

/** Milliseconds since 1970 of a timestamp of the API, or undefined. */
export function time(text) {
  if (!text) return undefined
  const milliseconds = Date.parse(text)
  return Number.isNaN(milliseconds) ? undefined : milliseconds
}

/** A step number from a count field: absent means zero. */
export function int(value) {
  return Number(value ?? 0)
}
