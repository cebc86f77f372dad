// @ts-check
// A tree of branches as rows: who began where, and how far each came.
import { count } from './format.js'
import { number } from './wire.js'

/**
 * @typedef {{
 *   node: Api.LineageNode, depth: number, parent: number, from: number, to: number, what: string, name: string,
 * }} Row
 */

/** @typedef {{ value: number, mode: 'min' | 'max' | 'last' }} Best */

// Of a search so many trials are looked at.
const trialsOfSearch = 20

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

/**
 * The row that a key leads to from a row; -1: nowhere.
 *
 * @param {Row[]} rows
 * @param {number} at
 * @param {string} key
 */
export function neighbour(rows, at, key) {
  if (!rows[at]) return -1
  switch (key) {
    case 'ArrowDown':
      return at + 1 < rows.length ? at + 1 : -1
    case 'ArrowUp':
      return at - 1
    case 'ArrowLeft':
      return rows[at].parent
    case 'ArrowRight':
      return rows[at + 1]?.parent === at ? at + 1 : -1
    case 'Home':
      return 0
    case 'End':
      return rows.length - 1
    default:
      return -1
  }
}

/**
 * Names of the trials whose values are asked for.
 *
 * @param {Api.LineageNode[]} nodes
 */
export function trialNames(nodes) {
  return nodes
    .filter((node) => !node.deleted)
    .flatMap((node) =>
      Array.from(
        { length: Math.min(node.trial_count || 1, trialsOfSearch) },
        (_, i) => `runtimes/${node.runtime_id}/trials/${i + 1}`,
      ),
    )
}

/**
 * The series whose best value is shown at first: that of the configuration, else the loss.
 *
 * @param {string[]} keys
 * @param {string} configured
 */
export function chosenSeries(keys, configured) {
  return [configured, 'train/loss'].find((key) => keys.includes(key)) ?? keys[0] ?? ''
}

/**
 * The best value of each run, by id: of its own steps, over its trials. Where nobody knows what is better, its last
 * value.
 *
 * @param {Api.SeriesSummary[]} summaries of one series
 */
export function best(summaries) {
  // Of a run with one value it cannot be told which end was looked for; the others tell.
  const telling = summaries.find((one) => one.best !== null && one.best !== undefined && one.min !== one.max)
  const mode = telling ? (telling.best === telling.max ? 'max' : 'min') : 'last'
  /** @type {Map<string, Best>} */
  const found = new Map()
  for (const one of summaries) {
    const id = (one.parent ?? '').split('/')[1]
    const value = number(mode === 'last' ? one.last : one.best)
    const known = found.get(id)?.value
    if (value === undefined || !Number.isFinite(value)) continue
    if (known === undefined || (mode === 'max' ? value > known : mode === 'min' && value < known))
      found.set(id, { value, mode })
  }
  return found
}

/**
 * The row with the best value of all; -1: there is none, or nobody knows what is better.
 *
 * @param {Row[]} rows
 * @param {Map<string, Best>} values
 */
export function bestRow(rows, values) {
  let winner = -1
  rows.forEach((row, i) => {
    const own = values.get(row.node.runtime_id ?? '')
    const known = values.get(rows[winner]?.node.runtime_id ?? '')
    if (!own || own.mode === 'last') return
    if (!known || (own.mode === 'max' ? own.value > known.value : own.value < known.value)) winner = i
  })
  return winner
}
