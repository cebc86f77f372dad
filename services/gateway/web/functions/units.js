// @ts-check
// The unit that the name of a series says. Pure.
import { bytes, count, rate, span, value } from './format.js'
import { knownSeries } from './known.js'

/** @typedef {(number: Api.Double | null | undefined, digits?: number) => string} Format */

/**
 * How values of a series are written: (number) => text.
 *
 * @param {string} key
 * @returns {Format}
 */
export function formatOf(key) {
  /**
   * @param {(number: number) => string} format
   * @returns {Format}
   */
  const finite = (format) => (number, digits) =>
    typeof number === 'number' && Number.isFinite(number) ? format(number) : value(number, digits)
  if (/_bytes_per_second$/.test(key)) return finite((number) => `${bytes(number)}/s`)
  if (/_bytes$/.test(key)) return finite(bytes)
  if (/_percent$/.test(key)) return finite((number) => `${rate(number)} %`)
  const unit = knownSeries(key)?.unit
  if (unit === 'tokens') return finite((number) => (Number.isInteger(number) ? count(number) : value(number)))
  if (unit === 's') return finite(span)
  if (unit === 'tokens/s' || unit === 'samples/s') return finite((number) => `${rate(number)}/s`)
  return value
}

/**
 * What the last part of a name says without its unit: "memory_bytes" -> "memory".
 *
 * @param {string} text
 */
export function withoutUnit(text) {
  return text.replace(/_bytes_per_second$/, '').replace(/_(bytes|percent)$/, '')
}

/**
 * {cpu, memory, gpus: [{index, percent, memory}]} of the last values of rank 0 by key; undefined where nothing is
 * known.
 *
 * @param {Record<string, number>} last
 */
export function resources(last) {
  const gpus = Object.keys(last)
    .map((key) => key.match(/^system\/gpu_(\d+)_percent$/)?.[1])
    .filter((index) => index !== undefined)
    .map(Number)
    .sort((a, b) => a - b)
    .map((index) => ({
      index,
      percent: last[`system/gpu_${index}_percent`],
      memory: last[`system/gpu_${index}_memory_bytes`],
    }))
  const [cpu, memory] = [last['system/cpu_percent'], last['system/memory_bytes']]
  return cpu === undefined && memory === undefined && gpus.length === 0 ? undefined : { cpu, memory, gpus }
}
