// @ts-check
// Where the charts of a scatter matrix lie, and what lies in them. Pure.

/**
 * @import { Row } from './parallel.js'
 * @import { Scale } from './scales.js'
 */
/**
 * A chart: of the axis `row` over the axis `column`, which are places in the list of axes.
 *
 * @typedef {{
 *   column: number,
 *   row: number,
 *   left: number,
 *   top: number,
 *   width: number,
 *   height: number,
 *   xOf: (share: number) => number,
 *   yOf: (share: number) => number,
 *   shareX: (x: number) => number,
 *   shareY: (y: number) => number,
 * }} Cell
 */

const axesAtMost = 6
const edge = { left: 26, right: 4, top: 4, bottom: 24 }
const gap = 8
// So that points at the ends are whole.
const inset = 6

/**
 * The scales of a matrix, by index: objectives, then as many parameters as there is room for, which are sorted.
 *
 * @param {Scale[]} scales parameters, then objectives
 * @param {number} objectives
 */
export function matrixAxes(scales, objectives) {
  const first = scales.length - objectives
  const own = Array.from({ length: objectives }, (_, i) => first + i)
  return [...own, ...Array.from({ length: Math.max(0, Math.min(first, axesAtMost - objectives)) }, (_, i) => i)]
}

/**
 * The charts of the lower triangle, row by row.
 *
 * @param {number} across charts in the last row
 * @param {{ width: number, height: number }} size
 * @returns {Cell[]}
 */
export function cellsOf(across, { width, height }) {
  if (width === 0 || across < 1) return []
  const wide = (width - edge.left - edge.right - gap * (across - 1)) / across
  const high = (height - edge.top - edge.bottom - gap * (across - 1)) / across
  /** @type {Cell[]} */
  const cells = []
  for (let row = 1; row <= across; row++)
    for (let column = 0; column < row; column++) {
      const [left, top] = [edge.left + column * (wide + gap), edge.top + (row - 1) * (high + gap)]
      const [roomX, roomY] = [wide - 2 * inset, high - 2 * inset]
      cells.push({
        column,
        row,
        left,
        top,
        width: wide,
        height: high,
        xOf: (share) => left + inset + share * roomX,
        yOf: (share) => top + inset + (1 - share) * roomY,
        shareX: (x) => Math.min(1, Math.max(0, (x - left - inset) / roomX)),
        shareY: (y) => Math.min(1, Math.max(0, 1 - (y - top - inset) / roomY)),
      })
    }
  return cells
}

/**
 * @param {Cell[]} cells
 * @param {number} x
 * @param {number} y
 */
export function cellAt(cells, x, y) {
  return cells.find((one) => x >= one.left && x <= one.left + one.width && y >= one.top && y <= one.top + one.height)
}

/**
 * The row whose point lies nearest, -1: none within reach.
 *
 * @param {Row[]} rows
 * @param {[number, number]} axes indices of scales, across and up
 * @param {Cell} cell
 * @param {{ x: number, y: number, reach: number }} at
 * @param {(row: number) => boolean} counts
 */
export function nearestPlace(rows, [across, up], cell, { x, y, reach }, counts) {
  let [found, least] = [-1, reach]
  rows.forEach(({ places }, i) => {
    const [toRight, high] = [places[across], places[up]]
    if (toRight === undefined || high === undefined || !counts(i)) return
    const distance = Math.hypot(cell.xOf(toRight) - x, cell.yOf(high) - y)
    if (distance < least) [found, least] = [i, distance]
  })
  return found
}
