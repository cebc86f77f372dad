// @ts-check
// What was searched: names of parameters, and colours by their values. Pure.
import { scalar } from './configuration.js'
import { value as number } from './format.js'

/**
 * Names of the parameters that were searched; first those with the most values.
 *
 * @param {Api.Trial[]} trials
 */
export function searchedNames(trials) {
  /** @type {Map<string, Set<string>>} */
  const values = new Map()
  for (const trial of trials)
    for (const [name, text] of Object.entries(trial.searched_parameters ?? {}))
      values.set(name, (values.get(name) ?? new Set()).add(text))
  return [...values.entries()]
    .sort(([a, one], [b, other]) => other.size - one.size || a.localeCompare(b))
    .map(([name]) => name)
}

/**
 * A value as one reads it: five digits say which point it was.
 *
 * @param {string} text JSON scalar
 */
export function shortly(text) {
  const value = scalar(text)
  return typeof value === 'number' && !Number.isInteger(value) ? number(value) : String(value)
}

// From low to high, told apart by people who do not see red and green apart, on light and on dark.
const low = [0.62, 0.16, 265]
const high = [0.72, 0.17, 65]
// Of more values than these the legend names the ends and the middle.
const namedAtMost = 8

/**
 * Colours by the value of a parameter: {colours: Map from name of trial, legend: [{text, colour}]}, values in order.
 *
 * @param {Api.Trial[]} trials
 * @param {string} name
 */
export function coloursBy(trials, name) {
  const texts = [
    ...new Set(trials.map((trial) => trial.searched_parameters?.[name]).filter((text) => text !== undefined)),
  ]
  const ordered = texts
    .map((text) => ({ text, value: scalar(text) }))
    .sort((a, b) =>
      typeof a.value === 'number' && typeof b.value === 'number'
        ? a.value - b.value
        : String(a.value).localeCompare(String(b.value)),
    )
  const colourOf = new Map(
    ordered.map(({ text }, i) => [text, mixed(ordered.length > 1 ? i / (ordered.length - 1) : 0)]),
  )
  return {
    colours: new Map(trials.map((trial) => [trial.name, colourOf.get(trial.searched_parameters?.[name]) ?? mixed(0)])),
    legend: named(ordered).map(({ text }) => ({ text: shortly(text), colour: colourOf.get(text) })),
  }
}

/**
 * @template T
 * @param {T[]} values
 */
function named(values) {
  if (values.length <= namedAtMost) return values
  return [0, Math.floor(values.length / 2), values.length - 1].map((i) => values[i])
}

/**
 * A colour between low, 0, and high, 1.
 *
 * @param {number} share
 */
export function mixed(share) {
  const [lightness, chroma, hue] = low.map((from, i) => from + (high[i] - from) * share)
  return `oklch(${lightness.toFixed(3)} ${chroma.toFixed(3)} ${hue.toFixed(1)})`
}
