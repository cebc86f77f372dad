// A step bar in the height of a line.
import { html } from '../html.js'
import { count, percent } from '../functions/format.js'

export function MiniBar({ progress, status, label }) {
  const total = progress?.total_steps
  const done = progress?.step ?? 0
  const share = total ? Math.min(1, done / total) : 0
  const text = total ? `${count(done)} / ${count(total)}` : done ? `${count(done)} steps` : 'not started'
  const unknown = !total && done > 0
  const part = progress?.completion_percent
  return html`<div class="mini-bar" data-status=${status} role="progressbar" aria-label=${label ?? 'Steps'} aria-valuemin="0" aria-valuemax=${total ?? undefined} aria-valuenow=${total ? done : undefined} aria-valuetext=${text}>
    <div class="mini-text"><span>${text}</span>${total && html`<span class="share">${percent(part ?? share * 100)}</span>`}</div>
    <div class="mini-track"><div class="mini-fill ${unknown ? 'unknown' : ''}" style=${{ transform: unknown ? '' : `scaleX(${share})` }}></div></div>
  </div>`
}
