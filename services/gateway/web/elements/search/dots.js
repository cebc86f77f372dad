// @ts-check
// A chart of points, one or more for each trial, and lines between some of them.
import { html, useSignal } from '../../html.js'
import { marksOf, shareOf, textAt, widened } from '../../functions/scales.js'
import { useDrawing } from './drawing.js'

/**
 * @import { Signal } from '../../vendor/signals.js'
 * @import { ComponentChildren } from '../../vendor/preact.js'
 * @import { Scale } from '../../functions/scales.js'
 * @import { Colour, Draw, Size } from './drawing.js'
 */
/**
 * `colour` is a meaning of the style sheet (`--failed`) or a colour. `shape`: a cross stands for what was given up, a
 * ring for what one should look at first. `shift`: pixels to the side, where many would lie on each other.
 *
 * @typedef {{
 *   x: number,
 *   y: number,
 *   trial: number,
 *   colour: string,
 *   shape?: 'dot' | 'cross' | 'ring',
 *   faint?: boolean,
 *   shift?: number,
 *   words?: string,
 * }} Dot
 */
/**
 * @typedef {{
 *   points: { x: number, y: number }[],
 *   colour: string,
 *   width?: number,
 *   steps?: boolean,
 *   alpha?: number,
 *   dashed?: boolean,
 * }} Line
 */

const left = 56
const right = 14
const top = 10
const bottom = 26
const pixelsPerMark = 84
const room = 0.03
const near = 18
const rowsAtMost = 500
const weights = { cross: 1, dot: 2, ring: 3 }

/** @param {Dot} dot */
function weightOf({ faint, shape = 'dot' }) {
  return faint ? 0 : weights[shape]
}

/**
 * @param {{
 *   title: string,
 *   note?: ComponentChildren,
 *   controls?: ComponentChildren,
 *   dots: Dot[],
 *   lines?: Line[],
 *   x: Scale,
 *   y: Scale,
 *   marked: number,
 *   onMark: (trial: number) => void,
 *   onOpen: (trial: number) => void,
 * }} properties `marked`: the trial that one looks at, 0: none
 */
export function Dots({ title, note, controls, dots, lines = [], x, y, marked, onMark, onOpen }) {
  const [across, up] = [widened(x, room), widened(y, room)]
  /** @type {Signal<number>} */
  const at = useSignal(-1)
  const table = useSignal(false)
  /** @param {Size} size */
  const placed = ({ width, height }) => {
    return {
      xOf: (/** @type {number} */ value) => left + (shareOf(across, value) ?? NaN) * (width - left - right),
      yOf: (/** @type {number} */ value) => top + (1 - (shareOf(up, value) ?? NaN)) * (height - top - bottom),
    }
  }
  /** @type {Draw} */
  const draw = (context, size, colour) => {
    const { xOf, yOf } = placed(size)
    drawAxes(context, size, colour, { across, up })
    // What was given up lies below, then lines, then what one looks for.
    const layers = [...dots].sort((a, b) => weightOf(a) - weightOf(b))
    const above = layers.findIndex((dot) => weightOf(dot) > weights.cross)
    const put = (/** @type {Dot} */ dot) => drawDot(context, dot, xOf(dot.x) + (dot.shift ?? 0), yOf(dot.y), colour)
    const split = above === -1 ? layers.length : above
    layers.slice(0, split).forEach(put)
    for (const line of lines) drawLine(context, line, xOf, yOf, colour)
    layers.slice(split).forEach(put)
    for (const dot of dots)
      if (dot.trial === marked) {
        context.globalAlpha = 1
        context.lineWidth = 2
        context.strokeStyle = colour('--ink')
        context.beginPath()
        context.arc(xOf(dot.x) + (dot.shift ?? 0), yOf(dot.y), 6, 0, 2 * Math.PI)
        context.stroke()
      }
  }
  const { frame, canvas, size } = useDrawing(draw, [dots, lines, marked, x.low, x.high, x.log, y.low, y.high, y.log])
  const order = dots.map((_, i) => i).sort((a, b) => dots[a].x - dots[b].x || dots[a].y - dots[b].y)
  /** @param {number} i index of a point, -1: none */
  const look = (i) => {
    at.value = i
    onMark(dots[i]?.trial ?? 0)
  }
  /** @param {PointerEvent} event */
  const onMove = (event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect()
    const { xOf, yOf } = placed(size)
    let [found, least] = [-1, near]
    dots.forEach((dot, i) => {
      const distance = Math.hypot(
        xOf(dot.x) + (dot.shift ?? 0) - (event.clientX - box.left),
        yOf(dot.y) - (event.clientY - box.top),
      )
      if (distance < least) [found, least] = [i, distance]
    })
    if (found !== at.peek()) look(found)
  }
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.target !== event.currentTarget) return
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (way) {
      const place = order.indexOf(at.peek())
      look(
        order[place === -1 ? (way > 0 ? 0 : order.length - 1) : Math.min(order.length - 1, Math.max(0, place + way))],
      )
    } else if (event.key === 'Enter' && dots[at.peek()]) onOpen(dots[at.peek()].trial)
    else if (event.key === 'Escape' && at.peek() !== -1) look(-1)
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  const shown = dots[at.value]
  return html`<figure
    class="dots"
    tabindex="0"
    aria-label=${`${title}: ${dots.length} points. Left and right go from point to point, Enter opens a trial`}
    onKeyDown=${onKeyDown}
    onBlur=${() => at.peek() !== -1 && look(-1)}
  >
    <figcaption>
      <span class="chart-title">${title}</span>
      <span class="dots-controls">${controls}</span>
      <button type="button" class="link small" onClick=${() => (table.value = !table.value)}>
        ${table.value ? 'As chart' : 'As table'}
      </button>
    </figcaption>
    ${table.value && html`<${Table} title=${title} dots=${order.map((i) => dots[i])} x=${x} y=${y} />`}
    <div class="dots-body" ref=${frame} hidden=${table.value}>
      <canvas
        ref=${canvas}
        aria-hidden="true"
        data-points=${dots.length}
        onPointerMove=${onMove}
        onPointerLeave=${() => look(-1)}
        onClick=${() => dots[at.peek()] && onOpen(dots[at.peek()].trial)}
      ></canvas>
      ${
        shown &&
        html`<div
          class="tip dots-tip"
          role="status"
          data-side=${placed(size).xOf(shown.x) > size.width / 2 ? 'left' : 'right'}
        >
          <strong>Trial ${shown.trial}</strong>
          <span>${x.name} ${textOf(x, shown.x)}</span>
          <span>${y.name} ${textOf(y, shown.y)}</span>
          ${shown.words && html`<span class="faint">${shown.words}</span>`}
        </div>`
      }
    </div>
    <p class="chart-foot">${note}</p>
  </figure>`
}

/**
 * @param {Scale} scale
 * @param {number} value
 */
function textOf(scale, value) {
  return textAt(scale, shareOf(scale, value) ?? NaN)
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Size} size
 * @param {Colour} colour
 * @param {{ across: Scale, up: Scale }} scales
 */
function drawAxes(context, { width, height }, colour, { across, up }) {
  context.globalAlpha = 1
  context.lineWidth = 1
  context.strokeStyle = colour('--grid')
  context.fillStyle = colour('--faint')
  context.textBaseline = 'middle'
  context.textAlign = 'right'
  for (const { share, text } of marksOf(up, 5)) {
    const y = Math.round(top + (1 - share) * (height - top - bottom)) + 0.5
    context.beginPath()
    context.moveTo(left, y)
    context.lineTo(width - right, y)
    context.stroke()
    context.fillText(text, left - 8, y)
  }
  context.textAlign = 'center'
  for (const { share, text } of marksOf(across, Math.max(2, (width - left - right) / pixelsPerMark)))
    context.fillText(text, left + share * (width - left - right), height - bottom + 14)
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Line} line
 * @param {(value: number) => number} xOf
 * @param {(value: number) => number} yOf
 * @param {Colour} colour
 */
function drawLine(context, { points, colour: tone, width = 2, steps, alpha = 1, dashed }, xOf, yOf, colour) {
  context.globalAlpha = alpha
  context.lineWidth = width
  context.strokeStyle = tone.startsWith('--') ? colour(tone) : tone
  context.setLineDash(dashed ? [5, 4] : [])
  context.beginPath()
  points.forEach((point, i) => {
    if (i === 0) context.moveTo(xOf(point.x), yOf(point.y))
    else {
      if (steps) context.lineTo(xOf(point.x), yOf(points[i - 1].y))
      context.lineTo(xOf(point.x), yOf(point.y))
    }
  })
  context.stroke()
  context.setLineDash([])
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Dot} dot
 * @param {number} x
 * @param {number} y
 * @param {Colour} colour
 */
function drawDot(context, { colour: tone, shape = 'dot', faint }, x, y, colour) {
  context.globalAlpha = faint ? 0.15 : shape === 'cross' ? 0.5 : 0.9
  context.fillStyle = context.strokeStyle = tone.startsWith('--') ? colour(tone) : tone
  context.lineWidth = 1.6
  context.beginPath()
  if (shape === 'cross') {
    context.moveTo(x - 3, y - 3)
    context.lineTo(x + 3, y + 3)
    context.moveTo(x + 3, y - 3)
    context.lineTo(x - 3, y + 3)
    context.stroke()
    return
  }
  context.arc(x, y, shape === 'ring' ? 4.5 : 3, 0, 2 * Math.PI)
  if (shape === 'ring') context.stroke()
  else context.fill()
}

/** @param {{ title: string, dots: Dot[], x: Scale, y: Scale }} properties */
function Table({ title, dots, x, y }) {
  return html`<div class="table-frame" tabindex="0" role="region" aria-label=${`${title} as a table`}>
    <table class="plain">
      <thead>
        <tr>
          ${['Trial', x.name, y.name, 'Note'].map((text) => html`<th scope="col" key=${text}>${text}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${dots.slice(0, rowsAtMost).map(
          (dot, i) => html`<tr key=${i}>
            <td>${dot.trial}</td><td>${textOf(x, dot.x)}</td><td>${textOf(y, dot.y)}</td><td>${dot.words}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${dots.length > rowsAtMost && html`<p class="faint">The first ${rowsAtMost} of ${dots.length}.</p>`}
  </div>`
}
