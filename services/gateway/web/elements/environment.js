// @ts-check
// The code, the packages and the machine of a run.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { count } from '../functions/format.js'
import { flatten, inline } from '../functions/configuration.js'
import { fields } from '../functions/environment.js'
import { payload } from '../functions/events.js'
import { Problem } from './dialog.js'

/**
 * @import { Environment } from '../functions/environment.js'
 * @import { Past, RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 */

const type = 'milepost.trial.environment_recorded.v1'

/**
 * The newest record of a trial, or undefined. `past`: {as_of...} of another moment.
 *
 * @param {string} runtimeId
 * @param {number | string} trial
 * @param {Past} [past]
 * @returns {Promise<Environment | undefined>}
 */
export async function environmentOf(runtimeId, trial, past = {}) {
  const answer = await get(`/runtimes/${runtimeId}/events`, {
    types: [type],
    trial,
    newest_first: true,
    page_size: 1,
    ...past,
  })
  return answer.events?.[0] && payload(answer.events[0])?.body
}

/** @param {{ state: RuntimeState }} properties */
export function Environment({ state }) {
  /** @type {Signal<Partial<Api.EnvironmentRecorded> | null>} */
  const found = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const trial = state.trial.value?.trial
  const attempt = state.trial.value?.attempt
  useEffect(() => {
    let shown = true
    if (trial)
      environmentOf(state.id, trial, state.past).then(
        (one) => shown && (found.value = one ?? {}),
        (failure) => shown && (error.value = failure),
      )
    return () => (shown = false)
  }, [trial, attempt])
  if (error.value) return html`<${Problem} error=${error.value} />`
  if (!found.value) return null
  const { packages: _, ...rest } = fields(found.value)
  const packages = found.value.packages ?? {}
  if (!found.value.python)
    return html`
      <h3>Code and machine</h3>
      <p class="faint">Not recorded: the run began with an earlier version of Milepost, or has not begun.</p>
    `
  const left = Number(found.value.left_out_package_count ?? 0)
  return html`<section class="environment" aria-label="Code and machine">
    <h3>Code and machine</h3>
    <div class="table-frame">
      <table class="plain paths">
        <tbody>
          ${flatten(rest).map(
            ([path, value]) =>
              html`<tr key=${path}>
                <th scope="row"><code>${path}</code></th>
                <td><code>${inline(value)}</code></td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <${Changes} git=${found.value.git} />
    <details>
      <summary>${count(Object.keys(packages).length + left)} packages</summary>
      <div class="table-frame">
        <table class="plain paths">
          <tbody>
            ${Object.entries(packages).map(
              ([name, version]) =>
                html`<tr key=${name}><th scope="row"><code>${name}</code></th><td><code>${version}</code></td></tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${left > 0 && html`<p class="faint">${count(left)} more are not recorded.</p>`}
    </details>
  </section>`
}

/**
 * What was not committed, as a diff.
 *
 * @param {{ git: Api.GitState | null | undefined, of?: string }} properties
 */
export function Changes({ git, of = '' }) {
  if (!git?.diff) return null
  const cut = Number(git.diff_byte_count ?? 0) > new Blob([git.diff]).size
  return html`<details>
    <summary>Changes that are not committed${of && `: ${of}`}</summary>
    <pre tabindex="0" class="diff">${git.diff}</pre>
    ${cut && html`<p class="faint">The rest of the diff is not recorded.</p>`}
  </details>`
}
