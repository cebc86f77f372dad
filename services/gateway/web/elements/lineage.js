// @ts-check
// The tree of branches that a run is part of, over the global step.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { count } from '../functions/format.js'
import { layout, strokes } from '../functions/lineage.js'
import { Problem } from './dialog.js'

/** @import { Signal } from '../vendor/signals.js' */

const rowHeight = 28

/** @param {{ id: string }} properties */
export function Lineage({ id }) {
  /** @type {Signal<Api.LineageNode[]>} */
  const nodes = useSignal([])
  const truncated = useSignal(false)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  useEffect(() => {
    get(`/runtimes/${id}/lineage`).then(
      (answer) => {
        nodes.value = answer.nodes ?? []
        truncated.value = Boolean(answer.truncated)
      },
      (failure) => (error.value = failure),
    )
  }, [id])
  if (error.value) return html`<${Problem} error=${error.value} />`
  if (nodes.value.length < 2) return null
  const rows = layout(nodes.value)
  return html`<section class="lineage" aria-label="Branches">
    <h3>Branches</h3>
    <div class="lineage-frame">
      <ol onKeyDown=${moveByKey}>
        ${rows.map(
          ({ node, depth, to, what, name }) => html`<li key=${node.runtime_id} data-current=${node.runtime_id === id}>
            <a
              href=${`/runtimes/${node.runtime_id}?tab=snapshots`}
              style=${{ paddingLeft: `${Math.min(depth, 12) * 14 + 8}px` }}
              aria-current=${node.runtime_id === id ? 'page' : undefined}
              title=${`${node.runtime_id}, ${node.deleted ? 'deleted' : node.status}, step ${count(to)}`}
            >
              <span class="lineage-name">${name}</span> <span class="faint">${what}</span>
            </a>
          </li>`,
        )}
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
    ${truncated.value && html`<p class="faint">Only the first ${count(rows.length)} are shown.</p>`}
  </section>`
}

/**
 * Arrow keys go from run to run.
 *
 * @param {KeyboardEvent} event
 */
function moveByKey(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key]
  if (!by || !(event.currentTarget instanceof HTMLElement)) return
  const links = [...event.currentTarget.querySelectorAll('a')]
  const at = links.findIndex((link) => link === document.activeElement)
  const next = links[at + by]
  if (!next) return
  event.preventDefault()
  next.focus()
}
