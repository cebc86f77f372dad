// @ts-check
// How far it is: steps, batches, time, speed.
import { html } from '../html.js'
import { bytes, clock, count, duration, percent, rate, span } from '../functions/format.js'
import { resources } from '../functions/units.js'
import { BatchMonitor } from './batch_monitor.js'
import { Elapsed, Remaining } from './live_time.js'
import { StepMonitor } from './step_monitor.js'

/** @import { RuntimeState } from '../state/runtime.js' */

/** @param {{ state: RuntimeState }} properties */
export function Monitors({ state }) {
  const trial = state.trial.value
  if (!trial)
    return html`<section class="monitors card" aria-label="Progress">
      <p class="faint">There is no trial yet.</p>
    </section>`
  /** @type {Partial<Api.Progress>} */
  const progress = trial.progress ?? {}
  // Before the training code has said a word: no plan, no step.
  const begun = Boolean(progress.step || progress.total_steps)
  return html`<section class="monitors card" aria-label="Progress">
    <div class="figures">
      <div class="figure main">
        <span class="figure-label">Step</span>
        <span class="figure-value">
          <b>${count(progress.step ?? 0)}</b>
          ${
            progress.total_steps
              ? html`<span class="of"> / ${count(progress.total_steps)}</span>`
              : html`<span class="of"> ${begun ? 'steps, total unknown' : 'steps yet'}</span>`
          }
        </span>
      </div>
      ${
        progress.total_steps &&
        html`<div class="figure">
          <span class="figure-label">Completed</span>
          <span class="figure-value">${percent(progress.completion_percent)}</span>
        </div>`
      }
      <div class="figure">
        <span class="figure-label">Elapsed</span>
        <span class="figure-value">
          <${Elapsed}
            seconds=${trial.elapsed}
            at=${state.receivedAt.get(trial.trial)}
            runs=${trial.status === 'Running' && !state.past}
          />
        </span>
        ${
          trial.inherited_elapsed &&
          html`<span class="figure-note" data-testid="with-ancestors">
            ${duration((trial.elapsed ?? 0) + trial.inherited_elapsed)} with ancestors
          </span>`
        }
      </div>
      <${EstimatedTime} state=${state} trial=${trial} />
      <${Speed} trial=${trial} />
    </div>
    <${StepMonitor} state=${state} trial=${trial} />
    ${begun && html`<${BatchMonitor} trial=${trial} />`}
    ${
      begun &&
      html`<div class="monitors-foot">
        ${!state.past && html`<${Completeness} state=${state} />`}<${Resources} state=${state} />
      </div>`
    }
    <${Determinism} state=${state} />
  </section>`
}

/** @param {{ state: RuntimeState, trial: Api.Trial }} properties */
function EstimatedTime({ state, trial }) {
  const estimate = trial.estimate
  const at = state.receivedAt.get(trial.trial)
  const several = state.trials.value.length > 1
  const running = trial.status === 'Running'
  const unknown = running
    ? 'not known yet'
    : trial.status === 'Completed'
      ? 'done'
      : trial.waiting_reason === 'QUEUED'
        ? 'when it begins'
        : 'not running'
  return html`<div class="figure estimate">
    <span class="figure-label">Estimated time</span>
    <span class="figure-value">
      ${
        estimate
          ? html`<${Remaining} estimate=${estimate} at=${at} runs=${!state.past} />`
          : html`<span class="faint small-value">${unknown}</span>`
      }
    </span>
    ${
      estimate &&
      html`<span class="figure-note">
        ${range(estimate)}${estimate.finish_time && html`done at ${clock(estimate.finish_time, new Date(), false)}`}
      </span>`
    }
    ${
      several &&
      state.estimate.value &&
      html`<span class="figure-note">all trials: ${duration(state.estimate.value.remaining)}</span>`
    }
  </div>`
}

/** @param {Api.Estimate} parts */
function range({ remaining_low: low, remaining_high: high }) {
  if (low == null || high == null || duration(low) === duration(high)) return ''
  return `${duration(low)} to ${duration(high)}, `
}

/** @param {{ trial: Api.Trial }} properties */
function Speed({ trial }) {
  const speed = trial.throughput
  if (!speed?.steps_per_second) return null
  return html`<div class="figure speed">
    <span class="figure-label">Throughput</span>
    <span class="figure-value">${rate(speed.steps_per_second)}<span class="unit"> steps/s</span></span>
    <span class="figure-note">
      ${speed.samples_per_second != null && html`${rate(speed.samples_per_second)} samples/s · `}step p50 ${span(
        speed.step_seconds_p50,
      )} · p95 ${span(speed.step_seconds_p95)}
    </span>
  </div>`
}

/**
 * What the run uses of its machine, in a line: the last values of the charts below.
 *
 * @param {{ state: RuntimeState }} properties
 */
function Resources({ state }) {
  /** @type {Record<string, number>} */
  const last = {}
  for (const { key } of state.seriesKeys.value) {
    if (!/^system\/(cpu_percent|memory_bytes|gpu_\d+_(percent|memory_bytes))$/.test(key)) continue
    const value = state.series
      .chart(key)
      .value.overview.find((one) => !one.superseded)
      ?.lasts.at(-1)
    if (value !== undefined && Number.isFinite(value)) last[key] = value
  }
  const used = resources(last)
  if (!used) return null
  const gpus = used.gpus.map(
    ({ index, percent: share, memory }) =>
      `GPU ${index} ${rate(share)} %${memory === undefined ? '' : `, ${bytes(memory)}`}`,
  )
  const parts = [
    used.cpu !== undefined && `CPU ${rate(used.cpu)} % of a core`,
    used.memory !== undefined && `memory ${bytes(used.memory)}`,
    ...gpus,
  ].filter(Boolean)
  return html`<p class="resources faint">${parts.join(' · ')}</p>`
}

/**
 * Whether what ran twice, before and after a resume, was the same.
 *
 * @param {{ state: RuntimeState }} properties
 */
function Determinism({ state }) {
  const answer = state.determinism.value
  if (!answer?.repetitions?.length) return null
  return html`<p class="completeness determinism" data-whole=${answer.bit_exact}>
    <span class="tick" aria-hidden="true">${answer.bit_exact ? '✓' : '!'}</span> ${answer.message}
  </p>`
}

/** @param {{ state: RuntimeState }} properties */
function Completeness({ state }) {
  const answer = state.completeness.value
  // The line has its place before it is known, so that nothing below it moves.
  if (!answer?.message || !answer.sent_points)
    return html`<p class="completeness">${answer ? 'No points sent yet' : 'Stored points: not known yet'}</p>`
  const sound = !answer.gap_count && !answer.dropped_points && !answer.unfinished?.length
  const whole = sound && !answer.still_writing
  return html`<p class="completeness" data-whole=${whole || !sound ? whole : 'not yet'}>
    <span class="tick" aria-hidden="true">${whole ? '✓' : sound ? '…' : '!'}</span> ${answer.message}
  </p>`
}
