// @ts-check
// A rule tried on the past: where it would have fired in each run, how long before a failure, what it missed.
import { html, useEffect, useMemo, useSignal } from '../html.js'
import { count, duration, plural } from '../functions/format.js'
import { address } from '../functions/query.js'
import { summaryOf, verdictOf } from '../functions/trying.js'
import { Tested } from '../state/tested.js'
import { Action, Choice } from './button.js'
import { Problem } from './dialog.js'
import { Tag } from './status.js'

const dayMilliseconds = 86_400_000
const linksShown = 4
const rowsAtFirst = 12
const choices = [
  ['7', '7 days'],
  ['30', '30 days'],
  ['90', '90 days'],
]

/**
 * So many days ago, as the API has times.
 *
 * @param {number} days
 */
export function daysAgo(days) {
  return new Date(Date.now() - days * dayMilliseconds).toISOString()
}

/**
 * `rule test` of a rule that there is.
 *
 * @param {{ rule: Api.Rule }} properties
 */
export function RuleTrial({ rule }) {
  const tested = useMemo(() => new Tested(), [rule.name])
  const days = useSignal('30')
  useEffect(() => () => tested.close(), [tested])
  const ask = () => tested.ask({ name: rule.name, start_time: daysAgo(Number(days.value)) })
  return html`<div class="rule-trial">
    <h3>On the past</h3>
    <div class="rule-trial-bar">
      <${Choice}
        label="Runs of the last"
        value=${days.value}
        choices=${choices}
        onChange=${(to) => (days.value = to)}
      />
      <${Action} act=${ask} label="Try it" working="Trying…" tone="small" />
    </div>
    <${TestedRuns} tested=${tested} />
  </div>`
}

/** @param {{ tested: Tested }} properties */
export function TestedRuns({ tested }) {
  const all = useSignal(false)
  const summary = tested.summary.value
  // What says something comes first, each kind newest first.
  const told = tested.runs.value.filter((run) => run.failed || run.firings.length > 0)
  const silent = tested.runs.value.length - told.length
  const shown = all.value ? told : told.slice(0, rowsAtFirst)
  return html`
    <${Problem} error=${tested.error.value} />
    ${!summary && tested.busy.value && html`<p class="faint" aria-busy="true">Trying…</p>`}
    ${summary && html`<p role="status" aria-busy=${tested.busy.value}>${summaryOf(summary)}</p>`}
    ${
      shown.length > 0 &&
      html`<div class="table-frame" tabindex="0" role="region" aria-label="Runs it was tried on">
        <table class="plain tested">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Would have fired at step</th>
              <th scope="col">Before the failure</th>
              <th scope="col">Verdict</th>
            </tr>
          </thead>
          <tbody>
            ${shown.map((run) => html`<${TestedRow} key=${run.runtime} run=${run} />`)}
          </tbody>
        </table>
      </div>`
    }
    ${
      told.length > shown.length &&
      html`<button type="button" class="button small" onClick=${() => (all.value = true)}>
        Show ${count(told.length - shown.length)} more
      </button>`
    }
    ${silent > 0 && html`<p class="faint">Silent in ${plural(silent, 'run')} that did not fail.</p>`}
  `
}

/** @param {{ run: Api.TestedRun }} properties */
function TestedRow({ run }) {
  const { tone, word } = verdictOf(run)
  const lead = run.lead_seconds
  const more = run.firings.length - linksShown
  return html`<tr data-verdict=${word}>
    <th scope="row"><a href=${`/${run.runtime}`}>${run.display_name || run.runtime.replace(/^runtimes\//, '')}</a></th>
    <td>
      ${run.firings.length === 0 && html`<span class="faint">nowhere</span>`}
      ${run.firings.slice(0, linksShown).map(
        (fired, i) => html`${i > 0 ? ', ' : ''}<a
            href=${address(`/${run.runtime}`, fired.step ? { trial: fired.trial, pin: fired.step } : {})}
            title=${fired.message}
            >${fired.step ? count(fired.step) : 'at once'}</a
          >`,
      )}
      ${more > 0 && html`<span class="faint"> and ${count(more)} more</span>`}
    </td>
    <td>${lead === null || lead === undefined ? html`<span class="faint">–</span>` : duration(Number(lead))}</td>
    <td><${Tag} tone=${tone}>${word}<//></td>
  </tr>`
}
