// @ts-check
// All trials, and chosen ones side by side.
import { html, useComputed, useEffect, useMemo, useRef, useSignal } from '../html.js'
import { get, getAll } from '../api.js'
import { count, duration, percent, plural, shortName, value as number } from '../functions/format.js'
import { groupKeys } from '../functions/plot.js'
import { numbers, time } from '../functions/wire.js'
import { Cursor } from '../state/cursor.js'
import { navigate, parameter, setParameters } from '../state/location.js'
import { useKeys } from '../state/keyboard.js'
import { fixedKeys } from '../state/runtime.js'
import { SeriesStore } from '../state/series_store.js'
import { TrialList, fullName } from '../state/trials.js'
import { Action } from './button.js'
import { Chart } from './chart.js'
import { ChartBar, Grid, useChartKeys, useZoom } from './charts.js'
import { compare, inline, scalar, stripped } from '../functions/configuration.js'
import { fields } from '../functions/environment.js'
import { Problem } from './dialog.js'
import { Changes, environmentOf } from './environment.js'
import { Icon } from './icon.js'
import { useLookAlikes } from './series_name.js'
import { Shell } from './shell.js'
import { TrialStatus } from './status.js'
import { TrialTable } from './trial_table.js'

/**
 * @import { Tree } from '../functions/configuration.js'
 * @import { Environment } from '../functions/environment.js'
 * @import { RefObject } from '../vendor/preact.js'
 * @import { Signal } from '../vendor/signals.js'
 */

const refreshPause = 3_000

export function TrialsPage() {
  const names = parameter('compare').split(',').filter(Boolean).map(fullName)
  if (names.length > 0) return html`<${ComparePage} key=${names.join()} names=${names} />`
  return html`<${AllTrials} />`
}

function AllTrials() {
  const list = useMemo(() => new TrialList(), [])
  /** @type {RefObject<HTMLInputElement | null>} */
  const input = useRef(null)
  /** @type {RefObject<Timer>} */
  const timer = useRef(0)
  const filter = parameter('filter')
  useEffect(() => () => list.close(), [])
  useEffect(() => {
    document.title = 'Trials · Milepost'
    list.show(filter)
  }, [filter])
  useKeys({ '/': () => input.current?.focus(), Escape: () => navigate('/') })
  /** @param {Happening<HTMLInputElement>} event */
  const typed = (event) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => setParameters({ filter: event.target.value.trim() }), 200)
  }
  return html`<${Shell} page="trials" connection=${list.connection} crumbs=${html`<h1 class="off-screen">Trials</h1>`}>
    <div class="list-page">
      <div class="list-head">
        <label class="search">
          <${Icon} name="search" /><span class="off-screen">Filter trials</span>
          <input
            ref=${input}
            type="search"
            placeholder="Filter: status=Running, parameters.learning_rate=0.001"
            defaultValue=${filter}
            onInput=${typed}
            onKeyDown=${(event) => event.key === 'Escape' && input.current?.blur()}
            spellcheck="false"
          />
          <kbd>/</kbd>
        </label>
        <span class="faint">${plural(list.total.value, 'trial')}</span>
      </div>
      <${Problem} error=${list.error.value} />
      ${
        !list.loading.value &&
        !list.error.value &&
        html`<section class="card padded">
          <${TrialTable} trials=${list.trials} receivedAt=${list.receivedAt} names=${list.names.value} />
        </section>`
      }
      ${list.hasMore && html`<${Action} act=${() => list.more()} label="More trials" working="Loading…" />`}
    </div>
  <//>`
}

/** @param {{ names: string[] }} properties */
function ComparePage({ names }) {
  /** @type {Signal<Api.Trial[]>} */
  const trials = useSignal([])
  /** @type {Signal<Map<string, Api.Runtime>>} */
  const runtimes = useSignal(new Map())
  /** @type {Signal<(Environment | undefined)[]>} */
  const environments = useSignal([])
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  /** @type {Signal<string[]>} */
  const keys = useSignal([])
  const cursor = useMemo(() => new Cursor(), [])
  const store = useMemo(() => new SeriesStore({}), [])
  const zoom = useZoom(store)
  useChartKeys(zoom)
  useKeys({ Escape: () => window.history.back() })
  useEffect(() => {
    document.title = `Compare ${names.length} trials · Milepost`
    let shown = true
    const load = async () => {
      try {
        const answers = await Promise.all(names.map((name) => get(`/${name}`)))
        if (!shown) return
        trials.value = answers.flatMap((answer) => answer.trial ?? [])
        error.value = null
      } catch (failure) {
        error.value = failure
      }
    }
    const first = async () => {
      await load()
      await store.setParents(names)
      const lists = await Promise.all(names.map((name) => getAll(`/${name}/series`, 'series').catch(() => undefined)))
      const records = await Promise.all(
        names.map((name) => environmentOf(name.split('/')[1], name.split('/')[3]).catch(() => undefined)),
      )
      const ids = [...new Set(names.map((name) => name.split('/')[1]))]
      const found = await Promise.all(ids.map((id) => get(`/runtimes/${id}`).catch(() => undefined)))
      if (!shown) return
      keys.value = [...new Set(lists.flatMap((list) => (list?.series ?? []).map((one) => one.key)))]
      environments.value = records
      runtimes.value = new Map(found.flatMap((one) => (one?.runtime ? [[one.runtime.runtime_id, one.runtime]] : [])))
    }
    first()
    const timer = setInterval(() => {
      if (document.hidden || !trials.peek().some((trial) => trial.status === 'Running')) return
      load()
      store.reload()
    }, refreshPause)
    return () => {
      shown = false
      clearInterval(timer)
      store.dispose()
    }
  }, [])
  const context = useComputed(() => ({
    contexts: new Map(
      trials.value.map((trial) => [
        trial.name,
        {
          origin: time(trial.start_time) ?? 0,
          perEpoch: trial.progress?.steps_per_epoch ?? 0,
          colour: names.indexOf(trial.name),
          name: [shownName(trial, runtimes.value), parametersOf(trial, differing(trials.value))]
            .filter(Boolean)
            .join(': '),
        },
      ]),
    ),
    run: 'compared',
    lines: () => [],
  }))
  const groups = groupKeys(keys.value, fixedKeys)
  const alike = useLookAlikes(useMemo(() => [...new Set([...fixedKeys, ...keys.value])], [keys.value])).value
  return html`<${Shell}
    page="compare"
    alone
    crumbs=${html`<span aria-hidden="true">/</span><h1 class="crumb">Compare ${names.length} trials</h1>`}
  >
    <div class="runtime-page">
      <${Problem} error=${error.value} />
      <section class="card padded">
        <${CompareTable} trials=${trials.value} names=${names} runtimes=${runtimes.value} />
      </section>
      <section class="card padded">
        <h2>Where they differ</h2>
        <${Differences} trials=${trials.value} runtimes=${runtimes.value} environments=${environments.value} />
      </section>
      <section class="charts" aria-label="Charts">
        <${ChartBar} store=${store} zoom=${zoom} cursor=${cursor} />
        <div class="chart-grid fixed">
          ${fixedKeys.map(
            (key) => html`<${Chart}
              key=${key}
              store=${store}
              cursor=${cursor}
              context=${context}
              name=${key}
              zoom=${zoom}
              alike=${alike}
              tall
            />`,
          )}
        </div>
        ${groups.map(
          ({ prefix, name, keys: list }) => html`<section class="chart-group" key=${prefix}>
            <h2>${name}</h2>
            <${Grid} keys=${list} store=${store} cursor=${cursor} context=${context} zoom=${zoom} alike=${alike} />
          </section>`,
        )}
      </section>
    </div>
  <//>`
}

/** @param {string[]} paths */
function parametersFirst(paths) {
  /** @param {string} path */
  const isParameter = (path) => path.startsWith('parameters.')
  return [...paths.filter(isParameter), ...paths.filter((path) => !isParameter(path))]
}

/**
 * The name of a trial's runtime and its number; with the end of the id where two runtimes have one name.
 *
 * @param {Api.Trial} trial
 * @param {Map<string, Api.Runtime>} runtimes
 */
function shownName(trial, runtimes) {
  const name = runtimes.get(trial.runtime_id)?.display_name
  const alike = [...runtimes.values()].filter((one) => one.display_name === name).length > 1
  const told = name && alike ? `${name} …${trial.runtime_id.slice(-5)}` : name || trial.runtime_id
  return `${told} · trial ${trial.trial}`
}

/**
 * Names of the parameters that are not the same in all of them.
 *
 * @param {Api.Trial[]} trials
 */
function differing(trials) {
  const names = new Set(trials.flatMap((trial) => Object.keys(trial.parameters ?? {})))
  return [...names].filter((name) => new Set(trials.map((trial) => trial.parameters?.[name])).size > 1)
}

/**
 * @param {Api.Trial} trial
 * @param {string[]} names
 */
function parametersOf(trial, names) {
  return names
    .filter((name) => name in (trial.parameters ?? {}))
    .map((name) => `${name} ${inline(scalar(trial.parameters[name]))}`)
    .join(', ')
}

/** @param {{ trials: Api.Trial[], names: string[], runtimes: Map<string, Api.Runtime> }} properties */
function CompareTable({ trials, names, runtimes }) {
  /** @param {string} name */
  const drop = (name) =>
    setParameters({
      compare: names
        .filter((one) => one !== name)
        .map(shortName)
        .join(','),
    })
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="Compared trials">
    <table class="plain wide">
      <thead>
        <tr>
          <th><span class="off-screen">Colour</span></th>
          <th scope="col">Runtime</th>
          <th scope="col">Trial</th>
          <th scope="col">Status</th>
          <th scope="col">Steps</th>
          <th scope="col">Completion</th>
          <th scope="col">Elapsed</th>
          <th scope="col">Last loss</th>
          <th scope="col">Best</th>
          <th></th>
        </tr>
      </thead>
      <tbody>
        ${trials.map((trial) => {
          const loss = numbers(trial.last_values)['train/loss']
          return html`<tr key=${trial.name}>
            <td><span class="swatch" data-colour=${(names.indexOf(trial.name) % 10) + 1}></span></td>
            <td>
              <a href=${`/runtimes/${trial.runtime_id}?trial=${trial.trial}`}>
                ${runtimes.get(trial.runtime_id)?.display_name ?? trial.runtime_id}
              </a>
            </td>
            <td class="number">${trial.trial}</td><td><${TrialStatus} trial=${trial} small /></td>
            <td class="number">
              ${count(trial.progress?.step ?? 0)}
              ${trial.progress?.total_steps ? ` / ${count(trial.progress.total_steps)}` : ''}
            </td>
            <td class="number">${percent(trial.progress?.completion_percent)}</td>
            <td class="number">${duration(trial.elapsed)}</td>
            <td class="number">${number(loss)}</td>
            <td class="number">
              ${trial.best?.metric ? `${number(trial.best.value)} at ${count(trial.best.step)}` : '–'}
            </td>
            <td>
              <button
                type="button"
                class="quiet"
                onClick=${() => drop(trial.name)}
                aria-label=${`Leave out trial ${trial.trial} of ${trial.runtime_id}`}
              >
                <${Icon} name="close" size=${14} />
              </button>
            </td>
          </tr>`
        })}
      </tbody>
    </table>
  </div>`
}

/**
 * Parameters, configuration fields, code, packages and machine whose values are not all the same.
 *
 * @param {{
 *   trials: Api.Trial[],
 *   runtimes: Map<string, Api.Runtime>,
 *   environments: (Environment | undefined)[],
 * }} properties
 */
function Differences({ trials, runtimes, environments }) {
  if (trials.length < 2) return null
  const columns = trials.map((trial, i) => {
    const { parameters, ...configuration } = runtimes.get(trial.runtime_id)?.configuration ?? {}
    const set = /** @type {Tree} */ (stripped(/** @type {Tree} */ (/** @type {unknown} */ (configuration))))
    return { parameters: trial.parameters ?? {}, ...set, ...fields(environments[i]) }
  })
  /** @type {Set<string>} */
  const paths = new Set()
  for (const column of columns.slice(1))
    for (const row of compare(columns[0], column)) if (row.differs) paths.add(row.path)
  /**
   * @param {Tree} column
   * @param {string} path
   */
  const valueAt = (column, path) => compare(column, {}).find((row) => row.path === path)?.left
  if (paths.size === 0) return html`<p class="faint">All the same.</p>`
  return html`
    <div class="table-frame" tabindex="0" role="region" aria-label="Differences">
      <table class="plain paths difference">
        <thead>
          <tr>
            <th scope="col">Field</th>
            ${trials.map(
              (trial, i) => html`<th scope="col">
                <span class="swatch" data-colour=${(i % 10) + 1}></span> ${shownName(trial, runtimes)}
              </th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${parametersFirst([...paths]).map(
            (path) => html`<tr key=${path}>
              <th scope="row"><code>${path}</code></th>
              ${columns.map((column) => html`<td><code>${inline(valueAt(column, path))}</code></td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${
      new Set(environments.map((one) => one?.git?.diff ?? '')).size > 1 &&
      environments.map(
        (one, i) => trials[i] && html`<${Changes} git=${one?.git} of=${shownName(trials[i], runtimes)} />`,
      )
    }
  `
}
