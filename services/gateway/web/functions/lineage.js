// @ts-check
// A tree of branches as rows: who began where, and how far each came.
import { count } from './format.js'

/**
 * @typedef {{
 *   node: Api.LineageNode, depth: number, parent: number, from: number, to: number, what: string, name: string,
 * }} Row
 */

/**
 * Rows of a tree, in the order of its nodes (each behind its parent). `parent` is the row of the parent, -1 of the
 * root; `from` and `to` are steps.
 *
 * @param {Api.LineageNode[]} nodes
 * @returns {Row[]}
 */
export function layout(nodes) {
  /** @type {Map<string, number>} */
  const places = new Map()
  /** @type {Row[]} */
  const rows = []
  for (const node of nodes) {
    const parent = places.get(node.branch?.origin?.runtime_id ?? '') ?? -1
    const from = node.branch?.weights_only ? 0 : Number(node.branch?.origin?.step ?? 0)
    places.set(node.runtime_id ?? '', rows.length)
    rows.push({
      node,
      depth: parent === -1 ? 0 : rows[parent].depth + 1,
      parent,
      from,
      to: Math.max(from, Number(node.last_step ?? 0)),
      what: changed(node.branch),
      name: node.display_name || node.runtime_id || '',
    })
  }
  return rows
}

/**
 * What is other in a branch, in words.
 *
 * @param {Api.Branch | null | undefined} branch
 */
export function changed(branch) {
  if (!branch) return ''
  const changes = (branch.changes ?? []).map(
    ({ field = '', after }) => `${field.replace(/^parameters\./, '')} ${after || 'none'}`,
  )
  const at = `${branch.weights_only ? 'weights of' : 'from'} step ${count(Number(branch.origin?.step ?? 0))}`
  return [at, ...changes].join(', ')
}

/**
 * Lines of the drawing: along the steps for each row, and down from the parent where it branched off. `x` is 0 to 1000.
 *
 * @param {Row[]} rows
 * @param {number} height of a row
 */
export function strokes(rows, height) {
  const most = Math.max(1, ...rows.map((row) => row.to))
  const x = (/** @type {number} */ step) => Math.round((step / most) * 1000)
  const y = (/** @type {number} */ row) => row * height + height / 2
  return rows.map((row, i) => ({
    status: row.node.status ?? '',
    along: `M${x(row.from)} ${y(i)}H${Math.max(x(row.to), x(row.from) + 2)}`,
    down: row.parent === -1 ? '' : `M${x(row.from)} ${y(row.parent)}V${y(i)}`,
  }))
}
