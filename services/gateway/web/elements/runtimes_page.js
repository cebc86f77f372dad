// All runtimes: counters, filter, rows.
import { html, useEffect, useMemo, useRef, useSignal } from '../html.js'
import { count, value as number, words } from '../functions/format.js'
import { numbers } from '../functions/wire.js'
import { sparkPath } from '../functions/sparkline.js'
import { navigate, parameter, setParameters } from '../state/location.js'
import { useKeys } from '../state/keyboard.js'
import { mayChange } from '../state/session.js'
import { RuntimeList, currentTrial } from '../state/runtimes.js'
import { lazy } from './lazy.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { Icon } from './icon.js'
import { Ago, Elapsed, Remaining } from './live_time.js'
import { MiniBar } from './mini_bar.js'
import { Shell } from './shell.js'
import { RuntimeStatus } from './status.js'

const NewRuntime = lazy(() => import('./new_runtime.js').then((module) => module.NewRuntime))
const Commands = lazy(() => import('./commands.js').then((module) => module.Commands))

const statuses = ['Started', 'Completed', 'Failed', 'Aborted']
const compareLimit = 10
const typingPause = 180
const overscan = 8

export function RuntimesPage() {
  const list = useMemo(() => new RuntimeList(), [])
  const dialog = useSignal(null)
  const chosen = useSignal([])
  const filter = parameter('filter')
  useEffect(() => () => list.close(), [])
  useEffect(() => {
    document.title = 'Runtimes · Milepost'
    list.show(filter)
  }, [filter])
  const close = () => (dialog.value = null)
  const open = (kind, runtime) => (dialog.value = { kind, runtime })
  return html`<${Shell} page="runtimes" connection=${list.connection} crumbs=${html`<h1 class="off-screen">Runtimes</h1>`}>
    <div class="list-page">
      <div class="list-head">
        <${Counters} counts=${list.counts.value} filter=${filter} />
        <${FilterBox} filter=${filter} />
        ${chosen.value.length > 0 && html`<${CompareButton} list=${list} chosen=${chosen} />`}
        <button type="button" class="button primary" disabled=${!mayChange()} onClick=${() => setParameters({ new: '1' }, { push: true })}><${Icon} name="plus" /><span>New runtime</span></button>
      </div>
      <${Problem} error=${list.error.value} />
      <${Rows} list=${list} open=${open} chosen=${chosen} filter=${filter} />
    </div>
    ${parameter('new') && html`<${NewRuntime} onClose=${() => setParameters({ new: '' })} />`}
    ${dialog.value && html`<${Commands} ...${dialog.value} onClose=${close} />`}
  <//>`
}

function Counters({ counts, filter }) {
  return html`<div class="counters" role="group" aria-label="Filter by status">
    ${statuses.map((status) => {
      const term = `status=${status}`
      const active = filter.split(/\s+AND\s+/).includes(term)
      return html`<button
        type="button"
        class="counter"
        key=${status}
        data-status=${status}
        aria-pressed=${active}
        onClick=${() => setParameters({ filter: active ? '' : term })}
      >
        <span class="counter-number">${count(counts[status] ?? 0)}</span><span class="counter-word">${status}</span>
      </button>`
    })}
  </div>`
}

function FilterBox({ filter }) {
  const input = useRef(null)
  const timer = useRef(0)
  useKeys({ '/': () => input.current.focus() })
  useEffect(() => {
    if (document.activeElement !== input.current) input.current.value = filter
  }, [filter])
  const typed = (event) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => setParameters({ filter: event.target.value.trim() }), typingPause)
  }
  const onKeyDown = (event) => event.key === 'Escape' && input.current.blur()
  return html`<label class="search">
    <${Icon} name="search" />
    <span class="off-screen">Filter runtimes</span>
    <input ref=${input} type="search" placeholder="Filter: name, status=Failed AND label.team=nlp" defaultValue=${filter} onInput=${typed} onKeyDown=${onKeyDown} spellcheck="false" />
    <kbd>/</kbd>
  </label>`
}

function CompareButton({ list, chosen }) {
  const names = chosen.value.map((id) => currentTrial(list.row(id).trials.value)?.name ?? `runtimes/${id}/trials/1`)
  const target = `/trials?compare=${names.map((name) => name.replace(/^runtimes\/(.*)\/trials\//, '$1/')).join(',')}`
  return html`<span class="compare-chosen">
    <a class="button" href=${target} aria-disabled=${chosen.value.length < 2}>Compare ${chosen.value.length}</a>
    <button type="button" class="quiet" onClick=${() => (chosen.value = [])} aria-label="Choose none"><${Icon} name="close" /></button>
  </span>`
}

/** Only the rows in sight are in the document; the row height is a constant of the style sheet. */
function Rows({ list, open, chosen, filter }) {
  const frame = useRef(null)
  const range = useSignal([0, 30])
  const focus = useSignal(-1)
  const ids = list.ids.value
  const measure = () => {
    const rowHeight = parseFloat(getComputedStyle(frame.current).getPropertyValue('--row-height')) || 64
    const top = Math.max(0, -frame.current.getBoundingClientRect().top)
    const first = Math.max(0, Math.floor(top / rowHeight) - overscan)
    const last = first + Math.ceil(window.innerHeight / rowHeight) + 2 * overscan
    const [a, b] = range.peek()
    if (a !== first || b !== last) range.value = [first, last]
    if (last > list.ids.peek().length - 20 && list.hasMore) list.load(true)
  }
  useEffect(() => {
    measure()
    window.addEventListener('scroll', measure, { passive: true })
    window.addEventListener('resize', measure)
    return () => {
      window.removeEventListener('scroll', measure)
      window.removeEventListener('resize', measure)
    }
  }, [])
  const [first, last] = range.value
  const shown = ids.slice(first, last)
  useEffect(() => {
    list.onTrials = () => list.wantSparks(shown)
    const timer = setTimeout(list.onTrials, 150)
    return () => clearTimeout(timer)
  })
  const move = (by) => {
    if (ids.length === 0) return
    focus.value = Math.min(ids.length - 1, Math.max(0, focus.value + by))
    document.getElementById(`row-${ids[focus.value]}`)?.focus()
  }
  useKeys({ j: () => move(1), k: () => move(-1), ArrowDown: () => focus.value >= 0 && move(1), ArrowUp: () => focus.value >= 0 && move(-1), c: () => toggle(ids[focus.value]) })
  const toggle = (id) => {
    if (!id) return false
    const has = chosen.value.includes(id)
    if (!has && chosen.value.length >= compareLimit) return false
    chosen.value = has ? chosen.value.filter((one) => one !== id) : [...chosen.value, id]
    return true
  }
  if (ids.length === 0 && !list.loading.value && !list.error.value) return html`<${NoRows} filter=${filter} counts=${list.counts.value} />`
  return html`<div class="rows-head" aria-hidden="true">
      <span></span><span>Runtime</span><span>Status</span><span>Steps</span><span>Trial</span><span>Elapsed</span><span>Estimated</span><span>Loss</span><span>Updated</span><span></span>
    </div>
    <div
      class="rows"
      ref=${frame}
      role="list"
      aria-busy=${list.loading.value}
      style=${{ '--count': ids.length }}
      onPointerEnter=${() => list.setHold(true)}
      onPointerLeave=${() => list.setHold(false)}
    >
      ${shown.map((id, i) => {
        const index = first + i
        return html`<${Row} key=${id} row=${list.row(id)} index=${index} size=${ids.length} open=${open} chosen=${chosen} toggle=${toggle} onFocus=${() => (focus.value = index)} />`
      })}
    </div>`
}

function NoRows({ filter, counts }) {
  const any = Object.values(counts).some((number) => number > 0)
  if (filter && any) return html`<${Empty} title="Nothing matches this filter"><button type="button" class="button" onClick=${() => setParameters({ filter: '' })}>Show all runtimes</button><//>`
  return html`<${Empty} title="No runtimes yet" command=${`echo '{name: pydoc-lm, entrypoint: "milepost.recipes.language_model:train", snapshots: {every_steps: 200}}' | milepost runtime start -`}>
    This command trains a small language model. Or start one with “New runtime”, or from a script of your own with <code>milepost.init()</code>.
  <//>`
}

function Row({ row, index, size, open, chosen, toggle, onFocus }) {
  const runtime = row.runtime.value
  if (!runtime) return html`<div class="row loading" style=${{ '--index': index }}></div>`
  const trials = row.trials.value
  const trial = currentTrial(trials)
  const active = runtime.status === 'Started'
  const running = trial?.status === 'Running'
  const full = chosen.value.length >= compareLimit && !chosen.value.includes(runtime.runtime_id)
  const href = `/runtimes/${runtime.runtime_id}`
  const onKeyDown = (event) => {
    if (event.key === 'Enter' && event.target === event.currentTarget) navigate(href)
  }
  return html`<div
    class="row"
    id=${`row-${runtime.runtime_id}`}
    role="listitem"
    aria-posinset=${index + 1}
    aria-setsize=${size}
    tabindex="0"
    data-status=${runtime.status}
    style=${{ '--index': index }}
    onKeyDown=${onKeyDown}
    onFocus=${onFocus}
  >
    <label class="cell-choose" title=${full ? `${compareLimit} at most` : ''}><input type="checkbox" checked=${chosen.value.includes(runtime.runtime_id)} disabled=${full} onChange=${() => toggle(runtime.runtime_id)} aria-label=${`Choose ${runtime.display_name} to compare`} /></label>
    <a class="cell-name" href=${href} tabindex="-1"><span class="name">${runtime.display_name || runtime.runtime_id}</span><span class="id">${runtime.runtime_id}</span></a>
    <span class="cell-status"><${RuntimeStatus} runtime=${runtime} small />${shownPhase(runtime)}${runtime.imported && html`<span class="cell-phase">imported</span>`}</span>
    <span class="cell-steps">${trial ? html`<${MiniBar} progress=${trial.progress} status=${runtime.status} />` : html`<span class="faint">no trial yet</span>`}</span>
    <span class="cell-trial">${runtime.trial_count > 1 && trial ? `${trial.trial} of ${count(runtime.trial_count)}` : ''}</span>
    <span class="cell-elapsed"><${Elapsed} seconds=${trial?.elapsed} at=${row.at} runs=${running} /></span>
    <span class="cell-estimate">${active ? html`<${Remaining} estimate=${trial?.estimate} at=${row.at} />` : ''}</span>
    <span class="cell-loss"><${Loss} row=${row} trial=${trial} /></span>
    <span class="cell-updated"><${Ago} time=${laterOf(trial?.progress?.step_time, runtime.change_time)} /></span>
    <span class="cell-actions"><${RowActions} runtime=${runtime} open=${open} /></span>
  </div>`
}

/** What "Started" does not say by itself. */
function shownPhase(runtime) {
  if (runtime.status !== 'Started' || runtime.phase === 'RUNNING') return ''
  return html`<span class="cell-phase">${words(runtime.phase)}</span>`
}

function laterOf(a, b) {
  if (!a || !b) return a || b
  return Date.parse(a) > Date.parse(b) ? a : b
}

function Loss({ row, trial }) {
  const last = numbers(trial?.last_values)['train/loss']
  if (last === undefined) return null
  const spark = row.spark.value
  return html`<svg class="spark" viewBox="0 0 72 22" width="72" height="22" aria-hidden="true">${spark && html`<path d=${sparkPath(spark, 70, 18)} transform="translate(1 2)" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" />`}</svg>
    <span class="number ${Number.isFinite(last) ? '' : 'bad'}">${number(last, 4)}</span>`
}

function RowActions({ runtime, open }) {
  if (!mayChange() || runtime.imported) return null
  const external = runtime.configuration?.launcher === 'EXTERNAL'
  const stopping = ['STOPPING', 'TERMINATING'].includes(runtime.phase)
  return html`${runtime.status === 'Started' && html`<button type="button" class="quiet" onClick=${() => open('stop', runtime)} disabled=${stopping} title="Stop" aria-label=${`Stop ${runtime.display_name}`}><${Icon} name="stop" /></button>`}
    ${['Aborted', 'Failed'].includes(runtime.status) && !external && html`<button type="button" class="quiet" onClick=${() => open('resume', runtime)} title="Resume" aria-label=${`Resume ${runtime.display_name}`}><${Icon} name="play" /></button>`}
    <button type="button" class="quiet" onClick=${() => open('clone', runtime)} title="Clone" aria-label=${`Clone ${runtime.display_name}`}><${Icon} name="copy" /></button>
    <button type="button" class="quiet" onClick=${() => open('delete', runtime)} title="Delete" aria-label=${`Delete ${runtime.display_name}`}><${Icon} name="trash" /></button>`
}
