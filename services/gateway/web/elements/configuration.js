// @ts-check
// The configuration as resolved, as given, and against that of another runtime.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { compare, flatten, inlineScalar, nearest, resolvedOf, stripped } from '../functions/configuration.js'
import { address } from '../functions/query.js'
import { lookedFor } from '../functions/rules.js'
import { parameter, setParameters } from '../state/location.js'
import { Copy } from './button.js'
import { Problem } from './dialog.js'
import { Environment } from './environment.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 */

/**
 * The rules that it has brought, in words; each leads to what it found.
 *
 * @param {{ runtime: Api.Runtime }} properties
 */
function OwnRules({ runtime }) {
  const rules = runtime.configuration?.rules ?? []
  if (rules.length === 0) return null
  return html`<section aria-label="Rules of this run">
    <h3>Rules of this run</h3>
    <ul class="own-rules">
      ${rules.map(
        (rule) => html`<li key=${rule.id}>
          <a href=${address('/rules', { rule: `${runtime.runtime_id}.${rule.id}` })}>${rule.display_name || rule.id}</a>
          ${' '}${lookedFor(/** @type {Api.Rule} */ (/** @type {unknown} */ (rule)))}
        </li>`,
      )}
    </ul>
  </section>`
}

/** @param {{ state: RuntimeState }} properties */
export function Configuration({ state }) {
  const runtime = state.runtime.value
  const against = parameter('against')
  /** @type {Signal<Api.Runtime[]>} */
  const others = useSignal([])
  /** @type {Signal<Api.Runtime | null>} */
  const other = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const onlyDifferent = useSignal(true)
  useEffect(() => {
    get('/runtimes', { page_size: 100 }).then(
      (answer) => (others.value = (answer.runtimes ?? []).filter((one) => one.runtime_id !== state.id)),
      (failure) => (error.value = failure),
    )
  }, [])
  useEffect(() => {
    other.value = null
    if (against)
      get(`/runtimes/${encodeURIComponent(against)}`).then(
        (answer) => (other.value = answer.runtime),
        (failure) => (error.value = failure),
      )
  }, [against])
  if (!runtime) return null
  return html`<div class="configuration">
    <${OwnRules} runtime=${runtime} />
    <div class="events-bar">
      <label class="field inline">
        <span>Compare with</span>
        <select value=${against} onChange=${(event) => setParameters({ against: event.target.value })}>
          <option value="">nothing</option>
          ${
            against &&
            !others.value.some((one) => one.runtime_id === against) &&
            html`<option value=${against}>${against}</option>`
          }
          ${others.value.map(
            (one) => html`<option value=${one.runtime_id}>${one.display_name} · ${one.runtime_id}</option>`,
          )}
        </select>
      </label>
      <span class="facet" role="group" aria-label="Newest runtimes">
        ${nearest(runtime, others.value).map(
          (one) => html`<button
            type="button"
            class="chip"
            key=${one.runtime_id}
            aria-pressed=${one.runtime_id === against}
            title=${one.runtime_id}
            onClick=${() => setParameters({ against: one.runtime_id === against ? '' : one.runtime_id })}
          >
            ${one.display_name}
          </button>`,
        )}
      </span>
      ${
        other.value &&
        html`<label class="check">
          <input
            type="checkbox"
            checked=${onlyDifferent.value}
            onChange=${() => (onlyDifferent.value = !onlyDifferent.value)}
          /> Only what differs
        </label>`
      }
      <span class="faint digest">
        ${runtime.configuration_digest}<${Copy} text=${runtime.configuration_digest} title="Copy the digest" />
      </span>
    </div>
    <${Problem} error=${error.value} />
    ${
      other.value
        ? html`<${Difference} left=${runtime} right=${other.value} onlyDifferent=${onlyDifferent.value} />`
        : html`<${Single} runtime=${runtime} /><${Environment} state=${state} />`
    }
  </div>`
}

/** @param {{ runtime: Api.Runtime }} properties */
function Single({ runtime }) {
  return html`<div class="configuration-single">
    <div class="table-frame">
      <table class="plain paths">
        <tbody>
          ${flatten(stripped(resolvedOf(runtime))).map(
            ([path, value]) => html`<tr key=${path}>
              <th scope="row"><code>${path}</code></th><td><code>${inlineScalar(value)}</code></td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${
      runtime.resolved_text &&
      html`<details>
        <summary>As resolved</summary><pre tabindex="0" class="resolved">${runtime.resolved_text}</pre>
      </details>`
    }
    ${
      runtime.configuration_text &&
      html`<details><summary>As given</summary><pre tabindex="0">${runtime.configuration_text}</pre></details>`
    }
  </div>`
}

/** @param {{ left: Api.Runtime, right: Api.Runtime, onlyDifferent: boolean }} properties */
export function Difference({ left, right, onlyDifferent }) {
  const rows = compare(stripped(resolvedOf(left)), stripped(resolvedOf(right)))
  const shown = onlyDifferent ? rows.filter((row) => row.differs) : rows
  if (shown.length === 0) return html`<p class="faint">The two configurations are the same.</p>`
  return html`<div class="table-frame">
    <table class="plain paths difference">
      <thead>
        <tr>
          <th scope="col">Field</th><th scope="col">${left.display_name}</th><th scope="col">${right.display_name}</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map(
          (row) => html`<tr key=${row.path} data-differs=${row.differs}>
            <th scope="row"><code>${row.path}</code></th>
            <td><code>${inlineScalar(row.left)}</code></td>
            <td><code>${inlineScalar(row.right)}</code></td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}
