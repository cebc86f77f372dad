// @ts-check
// The batches of the current epoch, or of an evaluation, or of data that is run over after a resume.
import { html } from '../html.js'
import { count } from '../functions/format.js'
import { batchState } from '../functions/batch.js'

/** @param {{ trial: Api.Trial }} properties */
export function BatchMonitor({ trial }) {
  const { text, done, total, kind } = batchState(trial.progress)
  const unknown = !total && done > 0
  const share = total ? Math.min(1, done / total) : 0
  const transform = unknown ? '' : `scaleX(${share})`
  return html`<div class="batch-monitor" data-kind=${kind} data-active=${trial.status === 'Running'}>
    <span class="batch-text" data-testid="batch">${text}</span>
    <div
      class="batch-track"
      role="progressbar"
      aria-label="Batches"
      aria-valuemin="0"
      aria-valuemax=${total || undefined}
      aria-valuenow=${total ? done : undefined}
      aria-valuetext=${text}
    >
      <div class="batch-fill ${unknown ? 'unknown' : ''}" style=${{ transform }}></div>
    </div>
    ${
      trial.progress?.epochs
        ? html`<span class="batch-epochs">
          epoch ${count((trial.progress.epoch ?? 0) + 1)} of ${count(trial.progress.epochs)}
        </span>`
        : ''
    }
  </div>`
}
