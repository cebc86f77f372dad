// @ts-check
// Parallel coordinates: an axis for each parameter and one for the value, a line for each trial, brushes on the axes.
import { html, useRef } from '../../html.js'
import { value as number } from '../../functions/format.js'
import { brushText, nearestRow, shadeCount } from '../../functions/parallel.js'
import { marksOf, textAt } from '../../functions/scales.js'
import { mixed } from '../../functions/searched.js'
import { useDrawing } from './drawing.js'

/**
 * @import { RefObject } from '../../vendor/preact.js'
 * @import { Brushes, Row } from '../../functions/parallel.js'
 * @import { Scale } from '../../functions/scales.js'
 * @import { Draw } from './drawing.js'
 */

const top = 34
const bottom = 14
const side = 46
const perAxis = 88
const reach = 14
const fewLines = 60
const manyLines = 300
// By an arrow key, and by a page key.
const fine = 0.02
const coarse = 0.1
/** @type {Record<string, number>} */
const keyWays = { ArrowUp: fine, ArrowDown: -fine, PageUp: coarse, PageDown: -coarse }

/**
 * `marked` is the index of the row that one looks at, -1: none. `onBrush` is told the brush of a scale, null: none, and
 * whether it still moves.
 *
 * @param {{
 *   rows: Row[],
 *   scales: Scale[],
 *   shades: Int8Array,
 *   admitted: boolean[],
 *   brushes: Brushes,
 *   marked: number,
 *   best: number,
 *   onBrush: (name: string, brush: [number, number] | null, moving: boolean) => void,
 *   onMark: (row: number) => void,
 *   onOpen: (row: number) => void,
 * }} properties
 */
export function Parallel({ rows, scales, shades, admitted, brushes, marked, best, onBrush, onMark, onOpen }) {
  const last = scales.length - 1
  /** @type {Draw} */
  const draw = (context, { width, height }, colour) => {
    const isPruned = (/** @type {Row} */ row) => row.trial.suggestion?.outcome === 'PRUNED'
    const count = admitted.filter(Boolean).length
    const parts = { context, xOf: across(width, last), yOf: down(height) }
    const strength = count > manyLines ? 0.3 : count > fewLines ? 0.5 : 0.8
    context.lineJoin = 'round'
    strokeAll(
      parts,
      rows.filter((_, i) => !admitted[i]),
      { colour: colour('--faint'), alpha: 0.1, width: 1 },
    )
    // What was given up tells less than what ran to its end: it lies below, and fainter.
    for (const pruned of [true, false])
      for (let shade = shadeCount - 1; shade >= -1; shade--) {
        const own = rows.filter((row, i) => admitted[i] && shades[i] === shade && isPruned(row) === pruned)
        const tone = shade === -1 ? colour('--faint') : mixed(1 - shade / (shadeCount - 1))
        strokeAll(parts, own, { colour: tone, alpha: pruned ? strength * 0.5 : Math.min(1, strength * 2), width: 1.2 })
      }
    context.globalAlpha = 1
    context.strokeStyle = colour('--line-strong')
    context.lineWidth = 1
    scales.forEach((_, i) => {
      context.beginPath()
      context.moveTo(Math.round(parts.xOf(i)) + 0.5, top)
      context.lineTo(Math.round(parts.xOf(i)) + 0.5, height - bottom)
      context.stroke()
    })
    for (const [i, tone] of /** @type {[number, string][]} */ ([
      [best, mixed(1)],
      [marked, colour('--ink')],
    ]))
      if (rows[i] && (admitted[i] || i === marked)) strokeAll(parts, [rows[i]], { colour: tone, alpha: 1, width: 3 })
  }
  const { frame, canvas, size } = useDrawing(draw, [rows, scales, shades, admitted, marked, best])
  /** @param {MouseEvent} event */
  const rowAt = (event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect()
    const [x, y] = [event.clientX - box.left, event.clientY - box.top]
    const shown = rows.map((row, i) => (admitted[i] ? row : { ...row, places: [] }))
    return nearestRow(shown, { x, y, reach: 8 }, across(size.width, last), down(size.height))
  }
  return html`<div class="parallel-scroll" tabindex="0" role="region" aria-label="Trials by parameters">
    <div class="parallel" ref=${frame} style=${{ minWidth: `${scales.length * perAxis}px` }}>
      <canvas
        ref=${canvas}
        role="img"
        aria-label=${labelOf(rows, scales, admitted)}
        data-lines=${rows.length}
        data-admitted=${admitted.filter(Boolean).length}
        onPointerMove=${(/** @type {PointerEvent} */ event) => onMark(rowAt(event))}
        onPointerLeave=${() => onMark(-1)}
        onClick=${(/** @type {PointerEvent} */ event) => {
          const row = rowAt(event)
          if (row !== -1) onOpen(row)
        }}
      ></canvas>
      ${
        size.width > 0 &&
        scales.map(
          (scale, i) => html`<${Axis}
            key=${scale.name}
            scale=${scale}
            left=${across(size.width, last)(i)}
            last=${i === last}
            height=${size.height}
            brush=${brushes.get(scale.name)}
            onBrush=${onBrush}
          />`,
        )
      }
      ${rows[marked] && html`<${MarkedTip} row=${rows[marked]} scales=${scales} />`}
    </div>
  </div>`
}

/**
 * @param {Row[]} rows
 * @param {Scale[]} scales
 * @param {boolean[]} admitted
 */
function labelOf(rows, scales, admitted) {
  const names = scales.map((one) => one.name).join(', ')
  return `${admitted.filter(Boolean).length} of ${rows.length} trials over ${names}; the table below has their values`
}

/**
 * @param {number} width
 * @param {number} last index of the last scale
 */
function across(width, last) {
  return (/** @type {number} */ i) => side + (last > 0 ? (i / last) * (width - 2 * side) : 0)
}

/** @param {number} height */
function down(height) {
  return (/** @type {number} */ share) => top + (1 - share) * (height - top - bottom)
}

/**
 * Lines of one look, as one path. Where a row has no place on a scale its line is interrupted.
 *
 * @param {{ context: CanvasRenderingContext2D, xOf: (i: number) => number, yOf: (share: number) => number }} parts
 * @param {Row[]} rows
 * @param {{ colour: string, alpha: number, width: number }} look
 */
function strokeAll({ context, xOf, yOf }, rows, { colour, alpha, width }) {
  if (rows.length === 0) return
  context.globalAlpha = alpha
  context.strokeStyle = colour
  context.lineWidth = width
  context.beginPath()
  for (const { places } of rows) {
    let pen = false
    places.forEach((share, i) => {
      if (share === undefined) {
        pen = false
        return
      }
      if (pen) context.lineTo(xOf(i), yOf(share))
      else context.moveTo(xOf(i), yOf(share))
      pen = true
    })
  }
  context.stroke()
}

/**
 * @param {{
 *   scale: Scale,
 *   left: number,
 *   last: boolean,
 *   height: number,
 *   brush: [number, number] | undefined,
 *   onBrush: (name: string, brush: [number, number] | null, moving: boolean) => void,
 * }} properties
 */
function Axis({ scale, left, last, height, brush, onBrush }) {
  const range = height - top - bottom
  /** @type {RefObject<number | null>} */
  const from = useRef(null)
  const [low, high] = brush ?? [0, 1]
  const yOf = down(height)
  /** @param {[number, number] | null} span @param {boolean} moving */
  const change = (span, moving) => onBrush(scale.name, span, moving)
  const onClear = () => change(null, false)
  /** @param {PointerEvent} event */
  const shareAt = (event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect()
    return Math.min(1, Math.max(0, 1 - (event.clientY - box.top - reach) / range))
  }
  /** @param {PointerEvent} event */
  const onPointer = (event) => {
    const strip = /** @type {HTMLElement} */ (event.currentTarget)
    const share = shareAt(event)
    if (event.type === 'pointerdown') {
      event.preventDefault()
      strip.setPointerCapture(event.pointerId)
      from.current = share
      return
    }
    if (from.current === null) return
    const moved = Math.abs(share - from.current) * range > 3
    /** @type {[number, number]} */
    const span = [Math.min(share, from.current), Math.max(share, from.current)]
    if (event.type === 'pointermove') {
      if (moved) change(span, true)
      return
    }
    from.current = null
    change(moved ? span : null, false)
  }
  return html`<div class="parallel-axis" style=${{ left: `${left}px` }} data-last=${last}>
    <span class="parallel-name" title=${scale.name}>${scale.name}</span>
    ${marksOf(scale, 5).map(
      ({ share, text }) =>
        html`<span key=${text} class="parallel-mark" style=${{ top: `${yOf(share)}px` }} title=${text}>${text}</span>`,
    )}
    <div
      class="parallel-strip"
      style=${{ top: `${top - reach}px`, height: `${range + 2 * reach}px` }}
      onPointerDown=${onPointer}
      onPointerMove=${onPointer}
      onPointerUp=${onPointer}
      onPointerCancel=${() => (from.current = null)}
    >
      ${
        brush &&
        html`<span
          class="parallel-brush"
          style=${{ top: `${reach + (1 - high) * range}px`, height: `${Math.max(3, (high - low) * range)}px` }}
        ></span>`
      }
    </div>
    <${End}
      which="upper"
      at=${high}
      bounds=${[low, 1]}
      ...${{ scale, onClear }}
      brushed=${Boolean(brush)}
      y=${yOf(high)}
      onMove=${(/** @type {number} */ share) => change(whole(low, share), false)}
    />
    <${End}
      which="lower"
      at=${low}
      bounds=${[0, high]}
      ...${{ scale, onClear }}
      brushed=${Boolean(brush)}
      y=${yOf(low)}
      onMove=${(/** @type {number} */ share) => change(whole(share, high), false)}
    />
  </div>`
}

/**
 * A brush over a whole scale is none.
 *
 * @param {number} low
 * @param {number} high
 * @returns {[number, number] | null}
 */
function whole(low, high) {
  return low <= 0 && high >= 1 ? null : [low, high]
}

/**
 * An end of a brush, moved by keys.
 *
 * @param {{
 *   which: 'upper' | 'lower',
 *   at: number,
 *   bounds: [number, number],
 *   brushed: boolean,
 *   scale: Scale,
 *   y: number,
 *   onMove: (share: number) => void,
 *   onClear: () => void,
 * }} properties
 */
function End({ which, at, bounds, brushed, scale, y, onMove, onClear }) {
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const [least, most] = bounds
    const step =
      scale.kind === 'word'
        ? Math.sign(keyWays[event.key] ?? 0) / Math.max(1, scale.words.length - 1)
        : keyWays[event.key]
    const next = event.key === 'Home' ? least : event.key === 'End' ? most : step ? at + step : undefined
    if (event.key === 'Escape' && brushed) onClear()
    else if (next !== undefined) onMove(Math.min(most, Math.max(least, next)))
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  return html`<span
    class="parallel-end"
    role="slider"
    tabindex="0"
    data-brushed=${brushed}
    style=${{ top: `${y}px` }}
    aria-orientation="vertical"
    aria-label=${`${scale.name}, ${which} end`}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${Math.round(at * 100)}
    aria-valuetext=${textAt(scale, at)}
    onKeyDown=${onKeyDown}
  ></span>`
}

/** @param {{ row: Row, scales: Scale[] }} properties */
function MarkedTip({ row, scales }) {
  return html`<div class="tip parallel-tip">
    <strong>Trial ${row.trial.trial}</strong>
    ${scales.map((scale, i) => {
      const place = row.places[i]
      const isLast = i === scales.length - 1
      const text = isLast ? number(row.value) : place === undefined ? '–' : textAt(scale, place)
      return html`<span key=${scale.name} class="tip-row" data-brief="true">
        <span class="tip-name">${scale.name}</span><span class="tip-value">${text}</span>
      </span>`
    })}
  </div>`
}

/**
 * What is brushed, each with a way to let go of it.
 *
 * @param {{
 *   scales: Scale[],
 *   brushes: Brushes,
 *   onBrush: (name: string, brush: null, moving: boolean) => void,
 * }} properties
 */
export function BrushChips({ scales, brushes, onBrush }) {
  return scales
    .filter(({ name }) => brushes.has(name))
    .map(
      (scale) => html`<button
        key=${scale.name}
        type="button"
        class="chip"
        onClick=${() => onBrush(scale.name, null, false)}
        title="Let go of it"
      >
        ${scale.name} <b>${brushText(scale, /** @type {[number, number]} */ (brushes.get(scale.name)))}</b> ×
      </button>`,
    )
}
