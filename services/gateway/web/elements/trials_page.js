// All trials, and chosen ones side by side.
import { html, useComputed, useEffect, useMemo, useRef, useSignal } from '../html.js'
import { get } from '../api.js'
import { count, duration, percent, plural, value as number } from '../functions/format.js'
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
import { compare, inline } from '../functions/configuration.js'
import { Problem } from './dialog.js'
import { Icon } from './icon.js'
import { Shell } from './shell.js'
import { TrialStatus } from './status.js'
import { TrialTable } from './trial_table.js'

const refreshPause = 3_000

export function TrialsPage() {
  const names = parameter('compare').split(',').filter(Boolean).map(fullName)
  if (names.length > 0) return html`<${ComparePage} key=${names.join()} names=${names} />`
  return html`<${AllTrials} />`
}

function AllTrials() {
  const list = useMemo(() => new TrialList(), [])
  const input = useRef(null)
  const timer = useRef(0)
  const filter = parameter('filter')
  useEffect(() => () => list.close(), [])
  useEffect(() => {
    document.title = 'Trials · Milepost'
    list.show(filter)
  }, [filter])
  useKeys({ '/': () => input.current.focus(), Escape: () => navigate('/') })
  const typed = (event) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => setParameters({ filter: event.target.value.trim() }), 200)
  }
  return html`<${Shell} page="trials" connection=${list.connection} crumbs=${html`<h1 class="off-screen">Trials</h1>`}>
    <div class="list-page">
      <div class="list-head">
        <label class="search"><${Icon} name="search" /><span class="off-screen">Filter trials</span>
          <input ref=${input} type="search" placeholder="Filter: status=Running, parameters.learning_rate=0.001" defaultValue=${filter} onInput=${typed} onKeyDown=${(event) => event.key === 'Escape' && input.current.blur()} spellcheck="false" /><kbd>/</kbd></label>
        <span class="faint">${plural(list.total.value, 'trial')}</span>
      </div>
      <${Problem} error=${list.error.value} />
      ${!list.loading.value && !list.error.value && html`<section class="card padded"><${TrialTable} trials=${list.trials} receivedAt=${list.receivedAt} names=${list.names.value} /></section>`}
      ${list.hasMore && html`<${Action} act=${() => list.more()} label="More trials" working="Loading…" />`}
    </div>
  <//>`
}

function ComparePage({ names }) {
  const trials = useSignal([])
  const runtimes = useSignal(new Map())
  const error = useSignal(null)
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
        trials.value = answers.map((answer) => answer.trial)
        error.value = null
      } catch (failure) {
        error.value = failure
      }
    }
    const first = async () => {
      await load()
      await store.setParents(names)
      const lists = await Promise.all(names.map((name) => get(`/${name}/series`).catch(() => ({}))))
      const ids = [...new Set(names.map((name) => name.split('/')[1]))]
      const found = await Promise.all(ids.map((id) => get(`/runtimes/${id}`).catch(() => ({}))))
      if (!shown) return
      keys.value = [...new Set(lists.flatMap((list) => (list.series ?? []).map((one) => one.key)))]
      runtimes.value = new Map(found.filter((one) => one.runtime).map(({ runtime }) => [runtime.runtime_id, runtime]))
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
    contexts: new Map(trials.value.map((trial) => [trial.name, { origin: time(trial.start_time) ?? 0, perEpoch: trial.progress?.steps_per_epoch ?? 0, colour: names.indexOf(trial.name), name: shownName(trial, runtimes.value) }])),
    lines: () => [],
  }))
  const groups = groupKeys(keys.value, fixedKeys)
  return html`<${Shell} page="compare" crumbs=${html`<span aria-hidden="true">/</span><h1 class="crumb">Compare ${names.length} trials</h1>`}>
    <div class="runtime-page">
      <${Problem} error=${error.value} />
      <section class="card padded"><${CompareTable} trials=${trials.value} names=${names} runtimes=${runtimes.value} /></section>
      <section class="charts" aria-label="Charts">
        <${ChartBar} store=${store} zoom=${zoom} cursor=${cursor} />
        <div class="chart-grid fixed">${fixedKeys.map((key) => html`<${Chart} key=${key} store=${store} cursor=${cursor} context=${context} name=${key} zoom=${zoom} tall />`)}</div>
        ${groups.map(({ prefix, name, keys: list }) => html`<section class="chart-group" key=${prefix}><h2>${name}</h2><${Grid} keys=${list} store=${store} cursor=${cursor} context=${context} zoom=${zoom} /></section>`)}
      </section>
      <section class="card padded"><h2>Configuration, where it differs</h2><${Differences} trials=${trials.value} runtimes=${runtimes.value} /></section>
    </div>
  <//>`
}

/** The name of a trial's runtime and its number; with the end of the id where two runtimes have one name. */
function shownName(trial, runtimes) {
  const name = runtimes.get(trial.runtime_id)?.display_name
  const alike = [...runtimes.values()].filter((one) => one.display_name === name).length > 1
  return `${name || trial.runtime_id}${name && alike ? ` …${trial.runtime_id.slice(-5)}` : ''} · trial ${trial.trial}`
}

function CompareTable({ trials, names, runtimes }) {
  const drop = (name) => setParameters({ compare: names.filter((one) => one !== name).map((one) => one.replace(/^runtimes\/(.*)\/trials\//, '$1/')).join(',') })
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="Compared trials"><table class="plain wide">
    <thead><tr><th><span class="off-screen">Colour</span></th><th scope="col">Runtime</th><th scope="col">Trial</th><th scope="col">Status</th><th scope="col">Steps</th><th scope="col">Completion</th><th scope="col">Elapsed</th><th scope="col">Last loss</th><th scope="col">Best</th><th></th></tr></thead>
    <tbody>${trials.map((trial) => {
      const loss = numbers(trial.last_values)['train/loss']
      return html`<tr key=${trial.name}>
        <td><span class="swatch" data-colour=${(names.indexOf(trial.name) % 10) + 1}></span></td>
        <td><a href=${`/runtimes/${trial.runtime_id}?trial=${trial.trial}`}>${runtimes.get(trial.runtime_id)?.display_name ?? trial.runtime_id}</a></td>
        <td class="number">${trial.trial}</td><td><${TrialStatus} trial=${trial} small /></td>
        <td class="number">${count(trial.progress?.step ?? 0)}${trial.progress?.total_steps ? ` / ${count(trial.progress.total_steps)}` : ''}</td>
        <td class="number">${percent(trial.progress?.completion_percent)}</td><td class="number">${duration(trial.elapsed)}</td>
        <td class="number">${number(loss)}</td><td class="number">${trial.best?.metric ? `${number(trial.best.value)} at ${count(trial.best.step)}` : '–'}</td>
        <td><button type="button" class="quiet" onClick=${() => drop(trial.name)} aria-label=${`Leave out trial ${trial.trial} of ${trial.runtime_id}`}><${Icon} name="close" size=${14} /></button></td>
      </tr>`
    })}</tbody>
  </table></div>`
}

/** Parameters and configuration fields whose values are not all the same. */
function Differences({ trials, runtimes }) {
  if (trials.length < 2) return null
  const columns = trials.map((trial) => {
    const { parameters, ...configuration } = runtimes.get(trial.runtime_id)?.configuration ?? {}
    return { ...configuration, parameters: trial.parameters ?? {} }
  })
  const paths = new Set()
  for (const column of columns.slice(1)) for (const row of compare(columns[0], column)) if (row.differs) paths.add(row.path)
  const valueAt = (column, path) => compare(column, {}).find((row) => row.path === path)?.left
  if (paths.size === 0) return html`<p class="faint">All the same.</p>`
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="Differences"><table class="plain paths difference">
    <thead><tr><th scope="col">Field</th>${trials.map((trial, i) => html`<th scope="col"><span class="swatch" data-colour=${(i % 10) + 1}></span> ${shownName(trial, runtimes)}</th>`)}</tr></thead>
    <tbody>${[...paths].map((path) => html`<tr key=${path}><th scope="row"><code>${path}</code></th>${columns.map((column) => html`<td><code>${inline(valueAt(column, path))}</code></td>`)}</tr>`)}</tbody>
  </table></div>`
}
