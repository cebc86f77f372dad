// @ts-check
// A scatter matrix: each of several objectives against each other one and against parameters, with the front.
import { html, useMemo, useRef, useSignal } from '../../html.js'
import { plural } from '../../functions/format.js'
import { cellAt, cellsOf, matrixAxes, nearestPlace } from '../../functions/matrix.js'
import { shadeCount } from '../../functions/parallel.js'
import { textAt } from '../../functions/scales.js'
import { mixed } from '../../functions/searched.js'
import { useDrawing } from './drawing.js'

/**
 * @import { RefObject } from '../../vendor/preact.js'
 * @import { Brushes, Row } from '../../functions/parallel.js'
 * @import { Cell } from '../../functions/matrix.js'
 * @import { Scale } from '../../functions/scales.js'
 * @import { Colour, Size } from './drawing.js'
 */

const perCell = 132
const rowHeight = 108
const reach = 10
const dragFrom = 4
const rowsAtMost = 500

/**
 * @param {{
 *   rows: Row[],
 *   scales: Scale[],
 *   shades: Int8Array,
 *   admitted: boolean[],
 *   brushes: Brushes,
 *   objectives: number,
 *   marked: number,
 *   onBrush: (name: string, brush: [number, number] | null, moving: boolean) => void,
 *   onMark: (row: number) => void,
 *   onOpen: (row: number) => void,
 * }} properties `objectives`: how many of the scales, the last ones, are objectives; `marked`: index of a row, -1: none
 */
export function Matrix({ rows, scales, shades, admitted, brushes, objectives, marked, onBrush, onMark, onOpen }) {
  const axes = useMemo(() => matrixAxes(scales, objectives), [scales, objectives])
  const table = useSignal(false)
  const current = useSignal(0)
  /** @type {RefObject<{ cell: Cell, x: number, y: number, moved: boolean } | null>} */
  const drag = useRef(null)
  const best = useMemo(() => rows.map(({ trial }) => Boolean(trial.suggestion?.best)), [rows])
  const bestCount = best.filter(Boolean).length
  const across = axes.length - 1
  /** @param {CanvasRenderingContext2D} context @param {Size} size @param {Colour} colour */
  const draw = (context, size, colour) => {
    for (const [i, cell] of cellsOf(across, size).entries())
      drawCell(context, cell, colour, { chosen: i === current.value })
  }
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Cell} cell
   * @param {Colour} colour
   * @param {{ chosen: boolean }} look
   */
  const drawCell = (context, cell, colour, { chosen }) => {
    const [x, y] = [axes[cell.column], axes[cell.row]]
    context.globalAlpha = 1
    context.lineWidth = 1
    context.strokeStyle = colour(chosen ? '--line-strong' : '--grid')
    context.strokeRect(Math.round(cell.left) + 0.5, Math.round(cell.top) + 0.5, cell.width, cell.height)
    const [byX, byY] = [brushes.get(scales[x].name), brushes.get(scales[y].name)]
    if (byX || byY) {
      const [fromX, toX] = byX ?? [0, 1]
      const [fromY, toY] = byY ?? [0, 1]
      context.globalAlpha = 0.12
      context.fillStyle = colour('--accent')
      context.fillRect(cell.xOf(fromX), cell.yOf(toY), cell.xOf(toX) - cell.xOf(fromX), cell.yOf(fromY) - cell.yOf(toY))
    }
    const order = rows.map((_, i) => i).sort((a, b) => weight(a) - weight(b))
    for (const i of order) {
      const [toRight, up] = [rows[i].places[x], rows[i].places[y]]
      if (toRight === undefined || up === undefined) continue
      const tone = shades[i] === -1 ? colour('--faint') : mixed(1 - shades[i] / (shadeCount - 1))
      context.globalAlpha = admitted[i] ? 0.75 : 0.1
      context.fillStyle = context.strokeStyle = i === marked ? colour('--ink') : best[i] ? colour('--series-2') : tone
      context.beginPath()
      context.arc(cell.xOf(toRight), cell.yOf(up), i === marked ? 5 : best[i] ? 3.5 : 2, 0, 2 * Math.PI)
      if (best[i] || i === marked) {
        context.globalAlpha = admitted[i] || i === marked ? 1 : 0.25
        context.lineWidth = 1.6
        context.stroke()
      } else context.fill()
    }
    if (objectives === 2 && cell.column === 0 && cell.row === 1) drawFront(context, cell, colour, [x, y])
    context.globalAlpha = 1
    context.fillStyle = colour('--muted')
    context.textAlign = 'center'
    context.textBaseline = 'top'
    const middle = cell.left + cell.width / 2
    if (cell.row === across) clipped(context, scales[x].name, middle, cell.top + cell.height + 6, cell.width)
    if (cell.column === 0) {
      context.save()
      context.translate(cell.left - 18, cell.top + cell.height / 2)
      context.rotate(-Math.PI / 2)
      clipped(context, scales[y].name, 0, 0, cell.height)
      context.restore()
    }
  }
  /** @param {number} i */
  const weight = (i) => (i === marked ? 3 : 0) + (best[i] ? 1 : 0) + (admitted[i] ? 1 : 0)
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Cell} cell
   * @param {Colour} colour
   * @param {[number, number]} axesOf
   */
  const drawFront = (context, cell, colour, [x, y]) => {
    const points = rows
      .filter((_, i) => best[i])
      .map(({ places }) => ({ x: Number(places[x]), y: Number(places[y]) }))
      .sort((a, b) => a.x - b.x)
    context.globalAlpha = 0.7
    context.strokeStyle = colour('--series-2')
    context.lineWidth = 1.4
    context.beginPath()
    points.forEach((point, i) => {
      if (i === 0) context.moveTo(cell.xOf(point.x), cell.yOf(point.y))
      else {
        context.lineTo(cell.xOf(point.x), cell.yOf(points[i - 1].y))
        context.lineTo(cell.xOf(point.x), cell.yOf(point.y))
      }
    })
    context.stroke()
  }
  const { frame, canvas, size } = useDrawing(draw, [rows, scales, shades, admitted, brushes, marked, current.value])
  const cells = cellsOf(across, size)
  /** @param {Cell} cell @param {number} x @param {number} y */
  const rowAt = (cell, x, y) =>
    nearestPlace(rows, [axes[cell.column], axes[cell.row]], cell, { x, y, reach }, (i) => admitted[i])
  /** @param {PointerEvent} event */
  const onPointer = (event) => {
    const element = /** @type {HTMLElement} */ (event.currentTarget)
    const box = element.getBoundingClientRect()
    const [x, y] = [event.clientX - box.left, event.clientY - box.top]
    const from = drag.current
    if (event.type === 'pointerdown') {
      const cell = cellAt(cells, x, y)
      if (!cell) return
      event.preventDefault()
      element.setPointerCapture(event.pointerId)
      drag.current = { cell, x, y, moved: false }
      current.value = cells.indexOf(cell)
      return
    }
    if (!from) {
      const cell = cellAt(cells, x, y)
      onMark(cell ? rowAt(cell, x, y) : -1)
      return
    }
    from.moved ||= Math.hypot(x - from.x, y - from.y) > dragFrom
    const over = event.type === 'pointerup'
    if (from.moved) brush(from, x, y, !over)
    else if (over) choose(from.cell, x, y)
    if (over) drag.current = null
  }
  /** @param {{ cell: Cell, x: number, y: number }} from @param {number} x @param {number} y @param {boolean} moving */
  const brush = ({ cell, ...from }, x, y, moving) => {
    onBrush(scales[axes[cell.column]].name, span(cell.shareX(from.x), cell.shareX(x)), moving)
    onBrush(scales[axes[cell.row]].name, span(cell.shareY(from.y), cell.shareY(y)), moving)
  }
  /** @param {Cell} cell @param {number} x @param {number} y */
  const choose = (cell, x, y) => {
    const row = rowAt(cell, x, y)
    if (row !== -1) onOpen(row)
    else for (const axis of [cell.column, cell.row]) onBrush(scales[axes[axis]].name, null, false)
  }
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.target !== event.currentTarget || cells.length === 0) return
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    const between = { ArrowUp: -1, ArrowDown: 1 }[event.key]
    if (between) current.value = Math.min(cells.length - 1, Math.max(0, current.value + between))
    else if (along) {
      const { column, row } = cells[current.value]
      const order = rows
        .map(({ places }, i) => ({ i, x: places[axes[column]], y: places[axes[row]] }))
        .filter(({ i, x, y }) => admitted[i] && x !== undefined && y !== undefined)
        .sort((a, b) => Number(a.x) - Number(b.x) || Number(a.y) - Number(b.y))
      const at = order.findIndex(({ i }) => i === marked)
      const next = at === -1 ? (along > 0 ? 0 : order.length - 1) : at + along
      onMark(order[Math.min(order.length - 1, Math.max(0, next))]?.i ?? -1)
    } else if (event.key === 'Enter' && marked !== -1) onOpen(marked)
    else if (event.key === 'Escape' && marked !== -1) onMark(-1)
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  const shown = cells[current.value]
  const said = shown ? `${scales[axes[shown.row]].name} over ${scales[axes[shown.column]].name}` : ''
  return html`<figure
    class="dots matrix"
    tabindex="0"
    aria-label=${
      `Objectives against each other and against parameters: ${rows.length} trials, ${bestCount} on the front. ` +
      'Up and down go from chart to chart, left and right from trial to trial, Enter opens one; ' +
      'the ends of the axes above brush'
    }
    onKeyDown=${onKeyDown}
  >
    <figcaption>
      <span class="chart-title">Objectives</span>
      <span class="dots-controls faint" role="status">${said}</span>
      <button type="button" class="link small" onClick=${() => (table.value = !table.value)}>
        ${table.value ? 'As chart' : 'As table'}
      </button>
    </figcaption>
    ${table.value && html`<${Table} ...${{ rows, scales, axes, best }} />`}
    <div class="matrix-scroll" hidden=${table.value}>
      <div
        class="dots-body matrix-body"
        ref=${frame}
        style=${{ minWidth: `${across * perCell}px`, height: `${across * rowHeight + 40}px` }}
      >
        <canvas
          ref=${canvas}
          aria-hidden="true"
          data-cells=${cells.length}
          data-best=${bestCount}
          onPointerDown=${onPointer}
          onPointerMove=${onPointer}
          onPointerUp=${onPointer}
          onPointerCancel=${() => (drag.current = null)}
          onPointerLeave=${() => drag.current === null && onMark(-1)}
        ></canvas>
        ${
          rows[marked] &&
          html`<div class="tip dots-tip matrix-tip" role="status">
            <strong>Trial ${rows[marked].trial.trial}</strong>
            ${axes.map(
              (axis) => html`<span key=${axis}>${scales[axis].name} ${placeText(rows[marked], scales, axis)}</span>`,
            )}
            ${best[marked] && html`<span class="faint">on the front</span>`}
          </div>`
        }
      </div>
    </div>
    <p class="chart-foot">
      ${plural(bestCount, 'trial')} on the front (rings): none is better in all. Drag in a chart to choose some
    </p>
  </figure>`
}

/**
 * @param {number} from
 * @param {number} to
 * @returns {[number, number]}
 */
function span(from, to) {
  return [Math.min(from, to), Math.max(from, to)]
}

/**
 * @param {Row} row
 * @param {Scale[]} scales
 * @param {number} axis
 */
function placeText(row, scales, axis) {
  const place = row.places[axis]
  return place === undefined ? '–' : textAt(scales[axis], place)
}

/**
 * Writes a name as far as there is room.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} width
 */
function clipped(context, text, x, y, width) {
  let shown = text
  while (shown.length > 2 && context.measureText(shown).width > width) shown = `${shown.slice(0, -2)}…`
  context.fillText(shown, x, y)
}

/** @param {{ rows: Row[], scales: Scale[], axes: number[], best: boolean[] }} properties */
function Table({ rows, scales, axes, best }) {
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="Objectives as a table">
    <table class="plain">
      <thead>
        <tr>
          <th scope="col">Trial</th>
          ${axes.map((axis) => html`<th scope="col" key=${axis}>${scales[axis].name}</th>`)}
          <th scope="col">Note</th>
        </tr>
      </thead>
      <tbody>
        ${rows.slice(0, rowsAtMost).map(
          (row, i) => html`<tr key=${row.trial.trial}>
            <td>${row.trial.trial}</td>
            ${axes.map((axis) => html`<td key=${axis}>${placeText(row, scales, axis)}</td>`)}
            <td>${best[i] ? 'on the front' : ''}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${rows.length > rowsAtMost && html`<p class="faint">The first ${rowsAtMost} of ${rows.length}.</p>`}
  </div>`
}
