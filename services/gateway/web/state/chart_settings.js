// How all charts of a page are drawn. The address holds it; the strength of smoothing is a habit of the browser.
import { parameter, setParameters } from './location.js'
import { smoothing } from './preferences.js'

export const axes = [
  ['step', 'Step', 'Global step'],
  ['time', 'Time', 'Relative time'],
  ['wall', 'Clock', 'Wall time'],
  ['epoch', 'Epoch', 'Epoch'],
]
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
    axis: axes.some(([one]) => one === axis) ? axis : 'step',
    scale: scales.some(([one]) => one === scale) ? scale : 'linear',
    weight: Math.min(0.99, Math.max(0, Number(smoothing.value) || 0)),
    hidden: new Set(parameter('hide').split(',').filter(Boolean)),
  }
}

export function setAxis(axis) {
  setParameters({ x: axis === 'step' ? '' : axis })
}

export function setScale(scale) {
  setParameters({ y: scale === 'linear' ? '' : scale })
}

export function nextOf(choices, value) {
  return choices[(choices.findIndex(([one]) => one === value) + 1) % choices.length][0]
}

export function toggleHidden(name) {
  const { hidden } = settings()
  if (!hidden.delete(name)) hidden.add(name)
  setParameters({ hide: [...hidden].join(',') })
}

export function toggleSmoothing() {
  smoothing.value = Number(smoothing.peek()) > 0 ? '0' : String(usual)
}
