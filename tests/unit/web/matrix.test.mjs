import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cellAt, cellsOf, matrixAxes, nearestPlace } from '../../../services/gateway/web/functions/matrix.js'

const scales = (count) => Array.from({ length: count }, (_, i) => ({ name: `s${i}` }))

test('objectives come first, then as many parameters as six axes have room for', () => {
  assert.deepEqual(matrixAxes(scales(5), 2), [3, 4, 0, 1, 2])
  assert.deepEqual(matrixAxes(scales(10), 2), [8, 9, 0, 1, 2, 3])
  assert.deepEqual(matrixAxes(scales(9), 7), [2, 3, 4, 5, 6, 7, 8], 'no objective is left out')
})

test('each pair of axes has one chart, in rows that fill the picture and do not overlap', () => {
  const size = { width: 640, height: 480 }
  const cells = cellsOf(3, size)
  assert.deepEqual(
    cells.map((one) => [one.row, one.column]),
    [
      [1, 0],
      [2, 0],
      [2, 1],
      [3, 0],
      [3, 1],
      [3, 2],
    ],
  )
  for (const one of cells) {
    assert.ok(one.left >= 0 && one.left + one.width <= size.width)
    assert.ok(one.top >= 0 && one.top + one.height <= size.height)
    assert.equal(cellAt(cells, one.left + one.width / 2, one.top + one.height / 2), one)
  }
  assert.equal(cellAt(cells, size.width - 5, 5), undefined, 'the upper triangle is empty')
  assert.deepEqual(cellsOf(3, { width: 0, height: 0 }), [])
  assert.deepEqual(cellsOf(0, size), [])
})

test('a share and its place are each the other way round, and what lies beyond is at the edge', () => {
  const [cell] = cellsOf(2, { width: 400, height: 300 })
  for (const share of [0, 0.25, 1]) {
    assert.ok(Math.abs(cell.shareX(cell.xOf(share)) - share) < 1e-12)
    assert.ok(Math.abs(cell.shareY(cell.yOf(share)) - share) < 1e-12)
  }
  assert.ok(cell.yOf(1) < cell.yOf(0), 'more is higher')
  assert.equal(cell.shareX(-1000), 0)
  assert.equal(cell.shareY(-1000), 1)
})

test('the nearest point counts, if it is within reach, has both places and is not brushed away', () => {
  const [cell] = cellsOf(1, { width: 400, height: 300 })
  const rows = [{ places: [0.5, 0.5] }, { places: [0.52, 0.5] }, { places: [0.5, undefined] }]
  const at = { x: cell.xOf(0.515), y: cell.yOf(0.5), reach: 20 }
  assert.equal(
    nearestPlace(rows, [0, 1], cell, at, () => true),
    1,
  )
  assert.equal(
    nearestPlace(rows, [0, 1], cell, at, (i) => i !== 1),
    0,
  )
  assert.equal(
    nearestPlace(rows, [0, 1], cell, { ...at, x: cell.xOf(1), reach: 5 }, () => true),
    -1,
  )
})
