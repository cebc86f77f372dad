// @ts-check
// How all charts of a page are drawn. The address holds it; the strength of smoothing is a habit of the browser, unless
// the address says it.
import { parameter, setParameters } from './location.js'
import { smoothing } from './preferences.js'

/**
 * @import { Scale } from '../functions/plot.js'
 * @import { Axis } from '../functions/series.js'
 */

/** @type {[Axis, string, string][]} */
export const axes = [
  ['step', 'Step', 'Global step'],
  ['time', 'Time', 'Relative time'],
  ['wall', 'Clock', 'Wall time'],
  ['epoch', 'Epoch', 'Epoch'],
  ['tokens', 'Tokens', 'Tokens seen'],
]
/** @type {[Scale, string, string][]} */
export const scales = [
  ['linear', 'Linear', 'Linear'],
  ['log', 'Log', 'Logarithmic'],
  ['symlog', 'Symlog', 'Symmetric logarithmic'],
]
const usual = 0.6

/** {axis, scale, weight, hidden}: hidden is a set of epochs, evaluations, superseded. */
export function settings() {
  const axis = parameter('x')
  const scale = parameter('y')
  return {
    axis: axes.find(([one]) => one === axis)?.[0] ?? 'step',
    scale: scales.find(([one]) => one === scale)?.[0] ?? 'linear',
    weight: Math.min(0.99, Math.max(0, Number(parameter('smooth') || smoothing.value) || 0)),
    hidden: new Set(parameter('hide').split(',').filter(Boolean)),
  }
}

/** @param {Axis} axis */
export function setAxis(axis) {
  setParameters({ x: axis === 'step' ? '' : axis })
}

/** @param {Scale} scale */
export function setScale(scale) {
  setParameters({ y: scale === 'linear' ? '' : scale })
}

/**
 * @template {string} Value
 * @param {[Value, string, string][]} choices
 * @param {string} value
 */
export function nextOf(choices, value) {
  return choices[(choices.findIndex(([one]) => one === value) + 1) % choices.length][0]
}

/** @param {string} name */
export function toggleHidden(name) {
  const { hidden } = settings()
  if (!hidden.delete(name)) hidden.add(name)
  setParameters({ hide: [...hidden].join(',') })
}

/** @param {number} weight */
export function setSmoothing(weight) {
  smoothing.value = String(weight)
  setParameters({ smooth: '' })
}

export function toggleSmoothing() {
  setSmoothing(settings().weight > 0 ? 0 : usual)
}
