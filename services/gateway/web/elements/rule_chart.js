// @ts-check
// The curve of a series with the bound of a rule on it, which is dragged or moved by keys.
import { html, useEffect, useRef, useSignal } from '../html.js'
import { count, value as number } from '../functions/format.js'
import { nearest } from '../functions/series.js'
import { rounded, ticks } from '../functions/trying.js'

/**
 * @import { Series } from '../functions/series.js'
 * @import { Draft, Spread } from '../functions/trying.js'
 * @import { RefObject } from '../vendor/preact.js'
 */
/** @typedef {{ low: number, high: number, from: number, to: number, width: number }} Frame */

const height = 260
const left = 58
const right = 24
const top = 16
const bottom = 26
const headroom = 0.25
const pixelsPerTick = 90
// Of the range, for an arrow key and for a page key.
const fine = 0.01
const coarse = 0.1
const fineDeviations = 0.5
const coarseDeviations = 5
const mostDeviations = 1000
/** @type {Record<string, number>} */
const keyWays = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 1, PageDown: -1 }

/**
 * @param {{
 *   series: Series,
 *   draft: Draft,
 *   spread: Spread | null,
 *   firings: Api.RuleFired[],
 *   stale: boolean,
 *   onMove: (change: Partial<Draft>) => void,
 * }} properties
 */
export function RuleChart({ series, draft, spread, firings, stale, onMove }) {
  /** @type {RefObject<HTMLElement | null>} */
  const root = useRef(null)
  const width = useSignal(0)
  useEffect(() => {
    const element = /** @type {HTMLElement} */ (root.current)
    const resize = new ResizeObserver(() => (width.value = element.clientWidth))
    resize.observe(element)
    return () => resize.disconnect()
  }, [])
  const frame = frameOf(series, draft, width.value)
  return html`<div class="rule-chart" ref=${root} data-stale=${stale}>
    ${
      width.value > 0 &&
      html`<svg width=${width.value} height=${height} role="group" aria-label=${`${draft.series}, and the bound on it`}>
        <${Axes} frame=${frame} />
        <path class="rule-curve" d=${pathOf(series.lastSteps, series.lasts, frame)} />
        <${Marks} firings=${firings} frame=${frame} />
        <${Bound} series=${series} draft=${draft} spread=${spread} frame=${frame} onMove=${onMove} />
      </svg>`
    }
  </div>`
}

/**
 * What of the plane is seen: all values, with room to move beyond them.
 *
 * @param {Series} series
 * @param {Draft} draft
 * @param {number} width
 * @returns {Frame}
 */
function frameOf(series, draft, width) {
  const finite = series.lasts.filter(Number.isFinite)
  const bound = draft.kind === 'change' || !Number.isFinite(Number(draft.value)) ? [] : [Number(draft.value)]
  const lowest = Math.min(...finite)
  const highest = Math.max(...finite)
  const range = highest - lowest || Math.abs(highest) || 1
  return {
    low: Math.min(lowest - headroom * range, ...bound),
    high: Math.max(highest + headroom * range, ...bound),
    from: series.firstSteps[0] ?? 0,
    to: series.lastSteps.at(-1) ?? 1,
    width,
  }
}

/**
 * @param {number} step
 * @param {Frame} frame
 */
const xOf = (step, { from, to, width }) => left + ((step - from) / (to - from || 1)) * (width - left - right)
/**
 * @param {number} value
 * @param {Frame} frame
 */
const yOf = (value, { low, high }) => top + ((high - value) / (high - low)) * (height - top - bottom)

/**
 * A line with a gap wherever a value is not finite, kept inside the frame.
 *
 * @param {number[]} steps
 * @param {number[]} values
 * @param {Frame} frame
 */
function pathOf(steps, values, frame) {
  let pen = 'M'
  return values
    .map((value, i) => {
      if (!Number.isFinite(value)) {
        pen = 'M'
        return ''
      }
      const y = Math.min(height, Math.max(0, yOf(value, frame)))
      const point = `${pen}${xOf(steps[i], frame).toFixed(1)} ${y.toFixed(1)}`
      pen = 'L'
      return point
    })
    .join('')
}

/** @param {{ frame: Frame }} properties */
function Axes({ frame }) {
  const inner = frame.width - left - right
  return html`<g class="rule-axes" aria-hidden="true">
    ${ticks(frame.low, frame.high, 5).map(
      (one) => html`
        <line x1=${left} x2=${frame.width - right} y1=${yOf(one, frame)} y2=${yOf(one, frame)} />
        <text x=${left - 8} y=${yOf(one, frame) + 4} text-anchor="end">${number(one)}</text>
      `,
    )}
    ${ticks(frame.from, frame.to, Math.max(2, inner / pixelsPerTick)).map(
      (one) => html`<text x=${xOf(one, frame)} y=${height - 8} text-anchor="middle">${count(one)}</text>`,
    )}
  </g>`
}

/** @param {{ firings: Api.RuleFired[], frame: Frame }} properties */
function Marks({ firings, frame }) {
  return html`<g class="rule-marks">
    ${firings
      .filter(({ step }) => step >= frame.from && step <= frame.to)
      .map((fired) => {
        const x = xOf(fired.step, frame)
        const y = Math.min(height - bottom, Math.max(top, yOf(Number(fired.value), frame)))
        return html`<g key=${fired.firing_id} data-step=${fired.step}>
          <title>${fired.message}</title>
          <line x1=${x} x2=${x} y1=${top} y2=${height - bottom} />
          <path d=${`M${x} ${y - 6}l6 6-6 6-6-6z`} />
        </g>`
      })}
  </g>`
}

/**
 * @param {{
 *   series: Series,
 *   draft: Draft,
 *   spread: Spread | null,
 *   frame: Frame,
 *   onMove: (change: Partial<Draft>) => void,
 * }} properties
 */
function Bound({ series, draft, spread, frame, onMove }) {
  const isChange = draft.kind === 'change'
  const current = Number(isChange ? draft.deviations : draft.value)
  /** @param {PointerEvent} event */
  const onPointer = (event) => {
    const target = /** @type {SVGElement} */ (event.currentTarget)
    if (event.type === 'pointerdown') target.setPointerCapture(event.pointerId)
    else if (!target.hasPointerCapture(event.pointerId)) return
    event.preventDefault()
    const box = /** @type {SVGSVGElement} */ (target.ownerSVGElement).getBoundingClientRect()
    const share = (event.clientY - box.top - top) / (height - top - bottom)
    const value = frame.high - Math.min(1, Math.max(0, share)) * (frame.high - frame.low)
    const step =
      frame.from + ((event.clientX - box.left - left) / (frame.width - left - right)) * (frame.to - frame.from)
    const change = isChange ? deviationsAt(series, spread, step, value) : rounded(value, frame.high - frame.low)
    if (change !== undefined) onMove(isChange ? { deviations: String(change) } : { value: String(change) })
  }
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const way = keyWays[event.key]
    if (way === undefined || !Number.isFinite(current)) return
    event.preventDefault()
    event.stopPropagation()
    const far = event.key.startsWith('Page')
    if (isChange) {
      const next = current + way * (far ? coarseDeviations : fineDeviations)
      onMove({ deviations: String(Math.min(mostDeviations, Math.max(fineDeviations, rounded(next, 10)))) })
    } else {
      const range = frame.high - frame.low
      onMove({ value: String(rounded(current + way * range * (far ? coarse : fine), range)) })
    }
  }
  const paths = isChange ? boundsOf(series, draft, spread, frame) : [levelOf(current, frame)]
  const label = isChange ? 'Deviations' : 'Threshold'
  const [low, high] = isChange ? [fineDeviations, mostDeviations] : [frame.low, frame.high]
  return html`<g
    class="rule-bound"
    role="slider"
    tabindex="0"
    aria-label=${label}
    aria-orientation="vertical"
    aria-valuemin=${rounded(low, high - low)}
    aria-valuemax=${rounded(high, high - low)}
    aria-valuenow=${Number.isFinite(current) ? current : undefined}
    aria-valuetext=${`${number(current)}${isChange ? ' deviations' : ''}`}
    onKeyDown=${onKeyDown}
    onPointerDown=${onPointer}
    onPointerMove=${onPointer}
  >
    ${paths.map((path) => html`<path class="rule-grip" d=${path} /><path class="rule-line" d=${path} />`)}
    ${
      !isChange &&
      Number.isFinite(current) &&
      html`<circle cx=${frame.width - right - 8} cy=${yOf(current, frame)} r="6" />
        <text x=${frame.width - right - 20} y=${yOf(current, frame) - 7} text-anchor="end">${number(current)}</text>`
    }
  </g>`
}

/**
 * @param {number} value
 * @param {Frame} frame
 */
function levelOf(value, frame) {
  if (!Number.isFinite(value)) return ''
  const y = yOf(value, frame)
  return `M${left} ${y}H${frame.width - right}`
}

/**
 * @param {Series} series
 * @param {Draft} draft
 * @param {Spread | null} spread
 * @param {Frame} frame
 */
function boundsOf(series, draft, spread, frame) {
  if (!spread) return []
  const ways = draft.direction === 'UP' ? [1] : draft.direction === 'DOWN' ? [-1] : [1, -1]
  return ways.map((way) =>
    pathOf(
      series.lastSteps,
      spread.middle.map((middle, i) => middle + way * Number(draft.deviations) * spread.allowed[i]),
      frame,
    ),
  )
}

/**
 * How many deviations a value is from the median at a step.
 *
 * @param {Series} series
 * @param {Spread | null} spread
 * @param {number} step
 * @param {number} value
 */
function deviationsAt(series, spread, step, value) {
  const i = nearest(series, step)
  const one = spread?.allowed[i]
  if (!spread || !one || !Number.isFinite(one)) return undefined
  const found = Math.abs(value - spread.middle[i]) / one
  return Math.min(mostDeviations, Math.max(fineDeviations, rounded(found, 10)))
}
