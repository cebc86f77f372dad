// @ts-check
// The tree of branches that a run is part of, over the global step, with the best value of each.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { count, duration, value as number } from '../functions/format.js'
import { best, bestRow, chosenSeries, layout, neighbour, strokes, trialNames } from '../functions/lineage.js'
import { Problem } from './dialog.js'
import { Icon } from './icon.js'

/**
 * @import { Signal } from '../vendor/signals.js'
 * @import { Best, Row } from '../functions/lineage.js'
 * @import { RuntimeState } from '../state/runtime.js'
 */

const rowHeight = 30
// What lies deeper is not indented further.
const deepest = 8
// Trials that one request may name.
const atOnce = 50

/** @type {Record<string, string>} */
const icons = { Started: 'running', Completed: 'completed', Failed: 'failed', Aborted: 'aborted' }

/** @param {{ state: RuntimeState }} properties */
export function Lineage({ state }) {
  const id = state.id
  /** @type {Signal<Api.LineageNode[]>} */
  const nodes = useSignal([])
  const truncated = useSignal(false)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  /** @type {Signal<string[]>} */
  const keys = useSignal([])
  const key = useSignal('')
  /** @type {Signal<Map<string, Best>>} */
  const values = useSignal(new Map())
  const configured = state.runtime.value?.configuration?.snapshots?.keep_best?.metric ?? ''
  useEffect(() => {
    get(`/runtimes/${id}/lineage`).then(
      (answer) => {
        nodes.value = answer.nodes ?? []
        truncated.value = Boolean(answer.truncated)
      },
      (failure) => (error.value = failure),
    )
  }, [id])
  useEffect(() => {
    if (nodes.value.length < 2) return
    seriesNames(nodes.value).then(
      (names) => {
        keys.value = names
        key.value ||= chosenSeries(names, configured)
      },
      (failure) => (error.value = failure),
    )
  }, [nodes.value])
  useEffect(() => {
    if (!key.value) return
    const asked = key.value
    bestValues(nodes.value, asked).then(
      (found) => {
        if (key.value === asked) values.value = found
      },
      (failure) => (error.value = failure),
    )
  }, [nodes.value, key.value])
  if (error.value) return html`<${Problem} error=${error.value} />`
  if (nodes.value.length < 2) return null
  const rows = layout(nodes.value)
  const winner = bestRow(rows, values.value)
  const words = { min: 'smallest of each run', max: 'largest of each run', last: 'last of each run' }
  const mode = [...values.value.values()][0]?.mode
  return html`<section class="lineage" aria-label="Branches">
    <div class="lineage-head">
      <h3>Branches</h3>
      ${
        keys.value.length > 0 &&
        html`<label class="field inline">
          <span>Best</span>
          <select value=${key.value} onChange=${(/** @type {any} */ event) => (key.value = event.target.value)}>
            ${keys.value.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select>
          ${mode && html`<span class="faint">${words[mode]}</span>`}
        </label>`
      }
    </div>
    <div class="lineage-frame">
      <ol onKeyDown=${(/** @type {KeyboardEvent} */ event) => moveByKey(event, rows)}>
        ${rows.map((row, i) => {
          const found = values.value.get(row.node.runtime_id ?? '')
          return html`<${Line} key=${row.node.runtime_id} row=${row} found=${found} own=${row.node.runtime_id === id}
            wins=${i === winner} />`
        })}
      </ol>
      <svg viewBox=${`0 0 1000 ${rows.length * rowHeight}`} preserveAspectRatio="none" aria-hidden="true"
        style=${{ height: `${rows.length * rowHeight}px` }}>
        ${strokes(rows, rowHeight).map(
          ({ status, along, down }) => html`<g data-status=${status}>
            ${down && html`<path class="lineage-down" d=${down} />`}<path class="lineage-along" d=${along} />
          </g>`,
        )}
      </svg>
    </div>
    <p class="lineage-axis faint" aria-hidden="true">
      <span class="lineage-ends"><span>0</span><span>step ${count(Math.max(...rows.map((row) => row.to)))}</span></span>
    </p>
    ${truncated.value && html`<p class="faint">Only the first ${count(rows.length)} are shown.</p>`}
  </section>`
}

/** @param {{ row: Row, found: Best | undefined, own: boolean, wins: boolean }} properties */
function Line({ row, found, own, wins }) {
  const { node, depth, to, what, name } = row
  const outcome = node.deleted ? 'deleted' : node.status
  const took = node.spent?.elapsed ? duration(node.spent.elapsed) : ''
  const inAll = node.spent_with_ancestors ? ` (${duration(node.spent_with_ancestors.elapsed)} with ancestors)` : ''
  return html`<li data-current=${own} data-deleted=${Boolean(node.deleted)}>
    <a
      href=${`/runtimes/${node.runtime_id}?tab=snapshots`}
      style=${{ '--depth': Math.min(depth, deepest) }}
      aria-current=${own ? 'page' : undefined}
      tabindex=${own ? 0 : -1}
      title=${`${node.runtime_id}, ${outcome}, step ${count(to)}${took && `, took ${took}${inAll}`}`}
    >
      <span class="lineage-outcome" data-status=${node.status}>
        <${Icon} name=${icons[node.status ?? '']} size=${14} /><span class="off-screen">${outcome} </span>
      </span>
      <span class="lineage-words">
        <span class="lineage-name">${name}</span> <span class="faint">${what}</span>
      </span>
      <span class="lineage-took faint">${took}</span>
      <span class="lineage-best" data-best=${wins}>${found ? number(found.value, 4) : ''}</span>
    </a>
  </li>`
}

/**
 * Names of the series of the first run that has any.
 *
 * @param {Api.LineageNode[]} nodes
 */
async function seriesNames(nodes) {
  const [first, ...rest] = trialNames(nodes).slice(0, 3)
  if (!first) return []
  const answer = await get(`/${first}/series`, { parents: rest })
  return [...new Set((answer.series ?? []).map((one) => one.key ?? ''))].sort()
}

/**
 * The best value of each run, by id.
 *
 * @param {Api.LineageNode[]} nodes
 * @param {string} key
 */
async function bestValues(nodes, key) {
  const trials = trialNames(nodes)
  const groups = Array.from({ length: Math.ceil(trials.length / atOnce) }, (_, i) =>
    trials.slice(i * atOnce, (i + 1) * atOnce),
  )
  const answers = await Promise.all(
    groups.map(([first, ...rest]) => get(`/${first}/series`, { parents: rest, keys: [key] })),
  )
  return best(answers.flatMap((answer) => answer.series ?? []))
}

/**
 * Arrow keys go from run to run: up and down the rows, to the parent and to the first branch.
 *
 * @param {KeyboardEvent} event
 * @param {Row[]} rows
 */
function moveByKey(event, rows) {
  if (!(event.currentTarget instanceof HTMLElement)) return
  const links = [...event.currentTarget.querySelectorAll('a')]
  const at = links.findIndex((link) => link === document.activeElement)
  const next = links[neighbour(rows, at, event.key)]
  if (!next) return
  event.preventDefault()
  // One of them is reached by Tab: the one that was last walked to.
  const before = event.currentTarget.querySelector('a[tabindex="0"]')
  if (before instanceof HTMLElement) before.tabIndex = -1
  next.tabIndex = 0
  next.focus()
}
