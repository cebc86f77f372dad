// @ts-check
// A step bar in the height of a line.
import { html } from '../html.js'
import { count, percent } from '../functions/format.js'

/** @import { ShownProgress } from '../functions/rows.js' */

/** @param {{ progress: ShownProgress | null | undefined, status: string | null, label?: string }} properties */
export function MiniBar({ progress, status, label }) {
  const total = progress?.total_steps
  const done = progress?.step ?? 0
  const part = progress?.completion_percent
  const share = total ? Math.min(1, done / total) : progress?.text ? Number(part ?? 0) / 100 : 0
  // What failed or completed without a step was started all the same.
  const nothing = status === 'Started' || status === 'Running' || status === 'Waiting' ? 'no step yet' : 'no steps'
  const text =
    progress?.text ??
    (total ? `${count(done)} / ${count(total)}` : done ? `${count(done)} steps, total unknown` : nothing)
  const unknown = !total && done > 0
  const transform = unknown ? '' : `scaleX(${share})`
  return html`<div
    class="mini-bar"
    data-status=${status}
    role="progressbar"
    aria-label=${label ?? 'Steps'}
    aria-valuemin="0"
    aria-valuemax=${total ?? undefined}
    aria-valuenow=${total ? done : undefined}
    aria-valuetext=${text}
  >
    <div class="mini-text">
      <span>${text}</span>
      ${(total || progress?.text) && html`<span class="share">${percent(part ?? share * 100)}</span>`}
    </div>
    <div class="mini-track">
      <div class="mini-fill ${unknown ? 'unknown' : ''}" style=${{ transform }}></div>
    </div>
  </div>`
}
