// @ts-check
// Trials: five columns that are always there, others if one wants them.
import { html, useRef, useSignal } from '../html.js'
import { count, duration, percent, shortName, value as number } from '../functions/format.js'
import { numbers } from '../functions/wire.js'
import { leftOut, scalar } from '../functions/configuration.js'
import { useRowKeys } from '../state/keyboard.js'
import { navigate, parameter, setParameters } from '../state/location.js'
import { Empty } from './empty.js'
import { Icon } from './icon.js'
import { Elapsed, Remaining } from './live_time.js'
import { TrialStatus } from './status.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { RefObject, VNode } from '../vendor/preact.js'
 * @import { ReadonlySignal, Signal } from '../vendor/signals.js'
 * @import { Open } from './commands.js'
 */
/**
 * @typedef {{
 *   name: string,
 *   label: string,
 *   key: (trial: Api.Trial) => unknown,
 *   text?: (trial: Api.Trial) => string | VNode | VNode[],
 * }} Column
 */

const compareLimit = 10

/** @type {Column[]} */
const fixed = [
  { name: 'number', label: 'Trial Number', key: (trial) => trial.trial },
  { name: 'status', label: 'Trial Status', key: (trial) => trial.status },
  { name: 'completion', label: 'Completion percentage', key: (trial) => trial.progress?.completion_percent ?? -1 },
  { name: 'elapsed', label: 'Elapsed time', key: (trial) => trial.elapsed ?? 0 },
  { name: 'estimated', label: 'Estimated time', key: (trial) => trial.estimate?.remaining ?? Infinity },
]

/**
 * @param {Api.Trial[]} trials
 * @returns {Column[]}
 */
function optionalColumns(trials) {
  const searched = [...new Set(trials.flatMap((trial) => Object.keys(trial.searched_parameters ?? {})))]
  return [
    {
      name: 'step',
      label: 'Step',
      key: (trial) => trial.progress?.step ?? 0,
      text: (trial) => count(trial.progress?.step ?? 0),
    },
    {
      name: 'loss',
      label: 'Last loss',
      key: (trial) => numbers(trial.last_values)['train/loss'] ?? Infinity,
      text: (trial) => number(numbers(trial.last_values)['train/loss']),
    },
    {
      name: 'best',
      label: 'Best value',
      key: (trial) => trial.best?.value ?? Infinity,
      text: (trial) =>
        trial.best?.metric
          ? `${number(trial.best.value)}${trial.best.step ? ` at ${count(trial.best.step)}` : ''}`
          : '–',
    },
    ...(trials.some((trial) => trial.suggestion) ? [suggestionColumn] : []),
    {
      name: 'attempts',
      label: 'Attempts',
      key: (trial) => trial.attempt_count ?? 0,
      text: (trial) => count(trial.attempt_count ?? 0),
    },
    { name: 'reason', label: 'Why', key: (trial) => trial.reason, text: (trial) => trial.reason },
    ...searched.map(parameterColumn),
  ]
}

/** @type {Column} */
const suggestionColumn = {
  name: 'sampler',
  label: 'Chosen by',
  key: (trial) => trial.suggestion?.sampler,
  text: (trial) => (trial.suggestion ? `${trial.suggestion.sampler}: ${trial.suggestion.because}` : ''),
}

/**
 * @param {string} name
 * @returns {Column}
 */
function parameterColumn(name) {
  return {
    name: `p:${name}`,
    label: name,
    key: (trial) => scalar(trial.parameters?.[name] ?? ''),
    text: (trial) => trial.parameters?.[name] ?? '',
  }
}

/**
 * `trials` is a signal of a list. With `names`, a map of runtimes' names by id, they are trials of several runtimes: a
 * column says of which, and they stay in the order they come in until one sorts them.
 *
 * @param {{
 *   trials: ReadonlySignal<Api.Trial[]>,
 *   state?: RuntimeState,
 *   open?: Open,
 *   names?: Map<string, string>,
 *   receivedAt?: Map<string, number>,
 * }} properties
 */
export function TrialTable({ trials, state, open, names, receivedAt }) {
  /** @type {Signal<string[]>} */
  const chosen = useSignal([])
  /** @type {RefObject<HTMLElement | null>} */
  const frame = useRef(null)
  useRowKeys(frame, 'tbody button.link')
  const all = trials.value
  const optional = optionalColumns(all)
  const shownNames = parameter('columns').split(',').filter(Boolean)
  const extra = optional.filter((column) => shownNames.includes(column.name))
  /** @param {Api.Trial} trial */
  const nameOf = (trial) => names?.get(trial.runtime_id) || trial.runtime_id
  /** @type {Column} */
  const runtimeColumn = {
    name: 'runtime',
    label: 'Runtime',
    key: nameOf,
    text: (trial) =>
      html`<a class="cut" href=${`/runtimes/${trial.runtime_id}`} title=${trial.runtime_id}>${nameOf(trial)}</a>`,
  }
  const columns = [...fixed, ...(names ? [runtimeColumn] : []), ...extra]
  const [sortName, down] = sorting(names ? '' : 'number')
  const sorted = sortTrials(
    all,
    columns.find((column) => column.name === sortName),
    down,
  )
  /** @param {string} name */
  const toggle = (name) => {
    const has = chosen.value.includes(name)
    if (!has && chosen.value.length >= compareLimit) return
    chosen.value = has ? chosen.value.filter((one) => one !== name) : [...chosen.value, name]
  }
  if (all.length === 0)
    return html`<${Empty} title="No trials yet">
      A runtime has one trial, or with <code>search</code> in its configuration as many as that asks for.
    <//>`
  return html`<div class="trials">
    <div class="events-bar">
      <details class="columns">
        <summary>Columns</summary>
        <div class="columns-list">
          ${optional.map(
            (column) =>
              html`<label class="check">
                <input
                  type="checkbox"
                  checked=${shownNames.includes(column.name)}
                  onChange=${() =>
                    setParameters({
                      columns: (shownNames.includes(column.name)
                        ? shownNames.filter((one) => one !== column.name)
                        : [...shownNames, column.name]
                      ).join(','),
                    })}
                />
                ${column.label}
              </label>`,
          )}
        </div>
      </details>
      ${
        chosen.value.length > 1 &&
        html`<a class="button small" href=${`/trials?compare=${chosen.value.map(shortName).join(',')}`}>
          Compare ${chosen.value.length}
        </a>`
      }
      ${chosen.value.length === 1 && html`<span class="faint">Choose at least two to compare</span>`}
      ${
        leftOut(state?.runtime?.value) &&
        html`<span class="faint" data-testid="left-out">${leftOut(state?.runtime.value)}</span>`
      }
      ${chosen.value.length === compareLimit && html`<span class="faint">${compareLimit} at most</span>`}
    </div>
    <div class="table-frame" ref=${frame} tabindex="0" role="region" aria-label="Trials">
      <table class="plain wide trials-table">
        <thead>
          <tr>
            <th class="choose"><span class="off-screen">Compare</span></th>
            ${columns.map(
              (column) => html`<${HeadCell}
                key=${column.name}
                column=${column}
                sortName=${sortName}
                down=${down}
                usual=${names ? '' : 'number'}
              />`,
            )}
            <th><span class="off-screen">Commands</span></th>
          </tr>
        </thead>
        <tbody>
          ${sorted.map(
            (trial) =>
              html`<${TrialRow}
                key=${trial.name}
                trial=${trial}
                columns=${columns.slice(fixed.length)}
                at=${state ? state.receivedAt.get(trial.trial) : receivedAt?.get(trial.name)}
                chosen=${chosen.value.includes(trial.name)}
                full=${chosen.value.length >= compareLimit}
                toggle=${toggle}
                state=${state}
                open=${open}
              />`,
          )}
        </tbody>
      </table>
    </div>
  </div>`
}

/**
 * @param {string} usual
 * @returns {[string, boolean]}
 */
function sorting(usual) {
  const [name, direction] = (parameter('sort') || usual).split(' ')
  return [name, direction === 'desc']
}

/**
 * @param {Api.Trial[]} trials
 * @param {Column | undefined} column
 * @param {boolean} down
 */
export function sortTrials(trials, column, down) {
  if (!column) return trials
  const sorted = trials.toSorted((a, b) => {
    const [x, y] = [column.key(a), column.key(b)]
    return typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y))
  })
  return down ? sorted.reverse() : sorted
}

/** @param {{ column: Column, sortName: string, down: boolean, usual: string }} properties */
function HeadCell({ column, sortName, down, usual }) {
  const active = column.name === sortName
  const sort = () =>
    setParameters({ sort: active && !down ? `${column.name} desc` : column.name === usual ? '' : column.name })
  return html`<th scope="col" aria-sort=${active ? (down ? 'descending' : 'ascending') : 'none'}>
    <button type="button" class="sort" onClick=${sort}>
      ${column.label}${active ? html`<${Icon} name="down" size=${12} />` : ''}
    </button>
  </th>`
}

/**
 * @param {{
 *   trial: Api.Trial,
 *   columns: Column[],
 *   at: number,
 *   chosen: boolean,
 *   full: boolean,
 *   toggle: (name: string) => void,
 *   state?: RuntimeState,
 *   open?: Open,
 * }} properties
 */
function TrialRow({ trial, columns, at, chosen, full, toggle, state, open }) {
  const running = trial.status === 'Running'
  const part = trial.progress?.completion_percent
  const href = state ? undefined : `/runtimes/${trial.runtime_id}?trial=${trial.trial}`
  const show = () => {
    if (href) return navigate(href)
    setParameters({ trial: trial.trial })
    state?.openTrial()
    return window.scrollTo({ top: 0, behavior: 'smooth' })
  }
  return html`<tr data-status=${trial.status} data-current=${state?.trial.value?.trial === trial.trial}>
    <td class="choose">
      <input
        type="checkbox"
        checked=${chosen}
        disabled=${full && !chosen}
        onChange=${() => toggle(trial.name)}
        aria-label=${`Choose trial ${trial.trial} to compare`}
      />
    </td>
    <td class="number"><button type="button" class="link" onClick=${show}>${trial.trial}</button></td>
    <td><${TrialStatus} trial=${trial} small /></td>
    <td class="completion">
      <span class="number">${part === null || part === undefined ? '–' : percent(part)}</span>
      <span class="tiny-track" data-status=${trial.status}>
        <span style=${{ transform: `scaleX(${Number(part ?? 0) / 100})` }}></span>
      </span>
    </td>
    <td class="number"><${Elapsed} seconds=${trial.elapsed} at=${at} runs=${running} /></td>
    <td class="number">
      ${
        running
          ? html`<${Remaining} estimate=${trial.estimate} at=${at} />`
          : trial.status === 'Completed'
            ? duration(0)
            : '–'
      }
    </td>
    ${columns.map((column) => html`<td key=${column.name}>${column.text?.(trial)}</td>`)}
    <td class="row-actions">${open && state && html`<${TrialCommands} trial=${trial} open=${open} />`}</td>
  </tr>`
}

/** @param {{ trial: Api.Trial, open: Open }} properties */
function TrialCommands({ trial, open }) {
  if (trial.status === 'Running')
    return html`<button
      type="button"
      class="quiet"
      onClick=${() => open('stop', { trial: trial.trial })}
      title="Stop this trial"
      aria-label=${`Stop trial ${trial.trial}`}
    >
      <${Icon} name="stop" />
    </button>`
  if (['Failed', 'Waiting'].includes(trial.status ?? '') && trial.waiting_reason !== 'QUEUED')
    return html`<button
      type="button"
      class="quiet"
      onClick=${() => open('resume', { trial: trial.trial })}
      title="Resume this trial"
      aria-label=${`Resume trial ${trial.trial}`}
    >
      <${Icon} name="play" />
    </button>`
  return null
}
