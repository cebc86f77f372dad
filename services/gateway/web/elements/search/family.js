// @ts-check
// Whose weights trials of a population began with: a tree, each trial behind its donor.
import { html, useMemo } from '../../html.js'
import { count, plural, value as number } from '../../functions/format.js'
import { familyOf } from '../../functions/family.js'

/**
 * @import { Row } from '../../functions/parallel.js'
 */

// Deeper rows are no further to the right.
const deepest = 12

/**
 * @param {{
 *   rows: Row[],
 *   marked: number,
 *   onMark: (trial: number) => void,
 *   onOpen: (trial: number) => void,
 * }} properties
 */
export function Family({ rows, marked, onMark, onOpen }) {
  const { members, values } = useMemo(
    () => ({
      members: familyOf(rows.map(({ trial }) => trial)),
      values: new Map(rows.map(({ trial, value }) => [trial.trial, value])),
    }),
    [rows],
  )
  if (members.length === 0) return null
  const given = members.filter((one) => one.donor).length
  return html`<section class="family" aria-label="Whose weights">
    <h3 class="chart-title">Whose weights</h3>
    <ol tabindex="0" aria-label="Trials behind those whose weights they began with">
      ${members.map(
        ({ trial, depth, donor, step, replaced }) => html`<li
          key=${trial.name}
          style=${{ '--depth': Math.min(depth, deepest) }}
          aria-current=${trial.trial === marked}
          onPointerEnter=${() => onMark(trial.trial)}
          onPointerLeave=${() => onMark(0)}
        >
          <button type="button" class="link" onClick=${() => onOpen(trial.trial)}>Trial ${trial.trial}</button>
          <span class="faint" title=${trial.suggestion?.because}>
            ${donor ? `from trial ${donor} at step ${count(step)}, in the place of trial ${replaced}` : ''}
          </span>
          <span class="family-value">
            ${trial.suggestion?.outcome === 'PRUNED' ? 'pruned' : number(values.get(trial.trial))}
          </span>
        </li>`,
      )}
    </ol>
    <p class="chart-foot">${plural(given, 'trial')} began with the weights of another one</p>
  </section>`
}
