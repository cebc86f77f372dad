// @ts-check
// The values of a chart as a table.
import { html } from '../html.js'
import { count } from '../functions/format.js'
import { spelled } from '../functions/names.js'
import { formatOf } from '../functions/units.js'

/** @import { Series } from '../functions/series.js' */

/** @param {{ list: Series[], name: string }} properties */
export function ChartTable({ list, name }) {
  const number = formatOf(name)
  const rows = list
    .filter((one) => !one.superseded)
    .flatMap((one) => one.lastSteps.map((step, i) => ({ one, step, i })))
  return html`<div class="table-frame" tabindex="0" role="region" aria-label=${`${spelled(name)} as a table`}>
    <table class="plain">
      <thead>
        <tr>
          <th scope="col">Step</th>
          <th scope="col">Last</th>
          <th scope="col">Min</th>
          <th scope="col">Max</th>
          <th scope="col">Mean</th>
          <th scope="col">Points</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ({ one, step, i }) => html`<tr>
            <td>${count(step)}</td>
            <td>${number(one.lasts[i])}</td>
            <td>${number(one.mins[i])}</td>
            <td>${number(one.maxs[i])}</td>
            <td>${number(one.means[i])}</td>
            <td>${count(one.counts[i])}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}
