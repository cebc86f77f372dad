// @ts-check
// Configurations as flat paths, their differences, and as YAML. Pure.
import { count } from './format.js'

/** @typedef {string | number | boolean | null | undefined | Digits | (Scalar | Tree)[]} Leaf */
/** @typedef {string | number | boolean | null | Digits} Scalar */
/** @typedef {{ [name: string]: Value }} Tree */
/** @typedef {Leaf | Tree} Value */

/** A number in the digits in which it was written, where JavaScript would write others: `1.0`, a seed of 64 bits. */
export class Digits {
  /** @param {string} text */
  constructor(text) {
    this.text = text
  }
}

/**
 * @param {unknown} value
 * @returns {value is Leaf}
 */
const isLeaf = (value) => value === null || typeof value !== 'object' || Array.isArray(value) || value instanceof Digits

/**
 * For `JSON.parse`: keep the digits of each number, where the browser tells them.
 *
 * @param {string} key
 * @param {unknown} value
 * @param {{ source?: string }} [context]
 */
export function keepDigits(key, value, context) {
  return typeof value === 'number' && context?.source !== undefined && context.source !== String(value)
    ? new Digits(context.source)
    : value
}

/**
 * The configuration of a runtime as resolved, as exact as the browser can read it.
 *
 * @param {Api.Runtime} runtime
 * @returns {Tree}
 */
export function resolvedOf(runtime) {
  return runtime.resolved_text
    ? JSON.parse(runtime.resolved_text, /** @type {(key: string, value: unknown) => unknown} */ (keepDigits))
    : /** @type {Tree} */ (/** @type {unknown} */ ({ ...runtime.configuration }))
}

/**
 * Whom one most likely compares a runtime with: those that run the same, the newest first, then the other newest ones.
 *
 * @param {Api.Runtime} runtime
 * @param {Api.Runtime[]} others
 * @param {number} [atMost]
 */
export function nearest(runtime, others, atMost = 3) {
  const entrypoint = runtime.configuration?.entrypoint
  const newest = [...others].sort((a, b) => ((a.create_time ?? '') < (b.create_time ?? '') ? 1 : -1))
  /** @param {Api.Runtime} one */
  const like = (one) => one.configuration?.entrypoint === entrypoint
  return [...newest.filter(like), ...newest.filter((one) => !like(one))].slice(0, atMost)
}

/**
 * How many combinations of a grid do not run, in words; empty: all run.
 *
 * @param {Api.Runtime | null | undefined} runtime
 */
export function leftOut(runtime) {
  const left = Number(runtime?.left_out_trial_count ?? 0)
  const runs = runtime?.trial_count ?? 0
  return left > 0
    ? `Runs ${count(runs)} of ${count(runs + left)} combinations: search.max_trials leaves out ${count(left)}.`
    : ''
}

/**
 * {a: {b: 1}, c: [2]} -> [["a.b", 1], ["c", [2]]]. Lists and empty objects are leaves.
 *
 * @param {Value} value
 * @param {string} [prefix]
 * @returns {[string, Value][]}
 */
export function flatten(value, prefix = '') {
  if (isLeaf(value)) return [[prefix, value]]
  const keys = Object.keys(value)
  if (keys.length === 0) return prefix ? [[prefix, value]] : []
  return keys.flatMap((key) => flatten(value[key], prefix ? `${prefix}.${key}` : key))
}

/**
 * Without what is not set: it says nothing.
 *
 * @param {Value} value
 * @returns {Value}
 */
export function stripped(value) {
  if (isLeaf(value)) return value
  const set = Object.entries(value).filter(
    ([, inner]) => inner !== null && inner !== '' && !(typeof inner === 'object' && Object.keys(inner).length === 0),
  )
  return Object.fromEntries(set.map(([key, inner]) => [key, stripped(inner)]))
}

/**
 * Paths of both with both values: [{path, left, right, differs}], in the order of the left, then what only the right
 * has.
 *
 * @param {Value | undefined} left
 * @param {Value | undefined} right
 */
export function compare(left, right) {
  const ours = new Map(flatten(left ?? {}))
  const theirs = new Map(flatten(right ?? {}))
  const paths = [...ours.keys(), ...[...theirs.keys()].filter((path) => !ours.has(path))]
  return paths.map((path) => {
    const a = ours.get(path)
    const b = theirs.get(path)
    return { path, left: a, right: b, differs: JSON.stringify(a) !== JSON.stringify(b) }
  })
}

/**
 * A value as one line. Text stays as it is.
 *
 * @param {Value | undefined} value
 * @returns {string}
 */
export function inline(value) {
  if (value === undefined) return '–'
  if (typeof value === 'string') return value === '' ? '""' : value
  return flow(value)
}

/**
 * A value as one line of YAML, which JSON is too.
 *
 * @param {Value} value
 * @returns {string}
 */
function flow(value) {
  if (value instanceof Digits) return value.text
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${flow(inner)}`)
  return `{${entries.join(', ')}}`
}

/**
 * Parameter text ("0.003", "adam" or "\"adam\"") as the JSON scalar it stands for.
 *
 * @param {string} text
 */
export function scalar(text) {
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null ? text : value
  } catch {
    return text
  }
}

/**
 * A value of a configuration as one line: text that would be read as something else is in quotes.
 *
 * @param {Value | undefined} value
 */
export function inlineScalar(value) {
  return typeof value === 'string' && typeof scalar(value) !== 'string' ? JSON.stringify(value) : inline(value)
}

/**
 * As `scalar`, for what goes to the server: a number keeps its digits.
 *
 * @param {string} text
 */
export function typedScalar(text) {
  const value = scalar(text)
  return typeof value === 'number' && String(value) !== text ? new Digits(text) : value
}

/**
 * YAML of plain objects, lists and scalars. Strings that YAML would read as something else are quoted.
 *
 * @param {Tree | (Scalar | Tree)[]} value
 * @param {number} [indent]
 * @returns {string}
 */
export function yaml(value, indent = 0) {
  const space = '  '.repeat(indent)
  if (Array.isArray(value))
    return value.length === 0 ? ' []\n' : `\n${value.map((item) => `${space}- ${yamlScalar(item)}\n`).join('')}`
  const lines = Object.entries(value).map(([key, item]) => {
    const name = `${space}${yamlScalar(key)}`
    if (Array.isArray(item)) return `${name}: [${item.map(yamlScalar).join(', ')}]\n`
    if (isLeaf(item)) return `${name}: ${yamlScalar(item)}\n`
    return Object.keys(item).length === 0 ? `${name}: {}\n` : `${name}:\n${yaml(item, indent + 1)}`
  })
  return lines.join('')
}

// What YAML takes for no character of a text, or for the end of a line, though JSON does not.
const escaped = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g

/**
 * @param {Value} value
 * @returns {string}
 */
function yamlScalar(value) {
  if (typeof value !== 'string') return flow(value)
  const plain = /^[A-Za-z_/][A-Za-z0-9_./:-]*$/.test(value) && !/:$|^(true|false|null|yes|no|on|off|~)$/i.test(value)
  return plain
    ? value
    : JSON.stringify(value).replace(
        escaped,
        (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
      )
}
