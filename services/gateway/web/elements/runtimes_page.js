// @ts-check
// All runtimes: counters, filter, rows.
import { html, useEffect, useMemo, useRef, useSignal } from '../html.js'
import { count, shortName, value as number, words } from '../functions/format.js'
import { completions, has, toggled } from '../functions/filter.js'
import { currentTrial, summary, why } from '../functions/rows.js'
import { sparkPath } from '../functions/sparkline.js'
import { navigate, parameter, setParameters } from '../state/location.js'
import { useKeys } from '../state/keyboard.js'
import { mayChange } from '../state/session.js'
import { RuntimeList } from '../state/runtimes.js'
import { lazy } from './lazy.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { Icon } from './icon.js'
import { Ago, Elapsed, Remaining } from './live_time.js'
import { MiniBar } from './mini_bar.js'
import { Shell } from './shell.js'
import { RuntimeStatus } from './status.js'

/**
 * @import { Summary } from '../functions/rows.js'
 * @import { Row } from '../state/runtimes.js'
 * @import { RefObject } from '../vendor/preact.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { Kind } from './commands.js'
 */
/** @typedef {(kind: Kind, runtime: Api.Runtime) => void} Opener */

const NewRuntime = lazy(() => import('./new_runtime.js').then((module) => module.NewRuntime))
const Undo = lazy(() => import('./deleted.js').then((module) => module.Undo))
const DeletedDialog = lazy(() => import('./deleted.js').then((module) => module.DeletedDialog))
const Commands = lazy(() => import('./commands.js').then((module) => module.Commands))

const statuses = ['Started', 'Completed', 'Failed', 'Aborted']
const compareLimit = 10
const firstCommand =
  'echo \'{name: pydoc-lm, entrypoint: "milepost.recipes.language_model:train", ' +
  "snapshots: {every_steps: 200}}' | milepost runtime start -"
const typingPause = 180
const overscan = 8

export function RuntimesPage() {
  const list = useMemo(() => new RuntimeList(), [])
  /** @type {Signal<object | null>} */
  const dialog = useSignal(null)
  /** @type {Signal<string[]>} */
  const chosen = useSignal([])
  const filter = parameter('filter')
  const sort = parameter('sort')
  useEffect(() => () => list.close(), [])
  useEffect(() => {
    document.title = 'Runtimes · Milepost'
    list.show(filter, sort)
  }, [filter, sort])
  const close = () => (dialog.value = null)
  /**
   * @param {Kind} kind
   * @param {Api.Runtime} runtime
   */
  const open = (kind, runtime) => (dialog.value = { kind, runtime })
  return html`<${Shell}
    page="runtimes"
    connection=${list.connection}
    crumbs=${html`<h1 class="off-screen">Runtimes</h1>`}
  >
    <div class="list-page">
      <div class="list-head">
        <${Counters} counts=${list.counts.value} filter=${filter} />
        <${FilterBox} filter=${filter} />
        ${chosen.value.length > 0 && html`<${CompareButton} list=${list} chosen=${chosen} />`}
        <button
          type="button"
          class="button only-icon"
          disabled=${!mayChange()}
          title="Deleted runtimes"
          aria-label="Deleted runtimes"
          onClick=${() => setParameters({ bin: '1' }, { push: true })}
        >
          <${Icon} name="trash" />
        </button>
        <button
          type="button"
          class="button primary"
          disabled=${!mayChange()}
          onClick=${() => setParameters({ new: '1' }, { push: true })}
        >
          <${Icon} name="plus" /><span>New runtime</span>
        </button>
      </div>
      ${
        parameter('deleted') &&
        html`<${Undo}
          key=${parameter('deleted')}
          id=${parameter('deleted')}
          onClose=${() => setParameters({ deleted: '' })}
        />`
      }
      <${Problem} error=${list.error.value} />
      ${list.hint.value && html`<p class="filter-hint" role="status">${list.hint.value}</p>`}
      <${Rows} list=${list} open=${open} chosen=${chosen} filter=${filter} sort=${sort} />
    </div>
    ${parameter('bin') && html`<${DeletedDialog} onClose=${() => setParameters({ bin: '' })} />`}
    ${parameter('new') && html`<${NewRuntime} onClose=${() => setParameters({ new: '' })} />`}
    ${dialog.value && html`<${Commands} ...${dialog.value} onClose=${close} />`}
  <//>`
}

/** @param {{ counts: Record<string, number>, filter: string }} properties */
function Counters({ counts, filter }) {
  return html`<div class="counters" role="group" aria-label="Filter by status">
    ${statuses.map((status) => {
      const active = has(filter, 'status', status)
      return html`<button
        type="button"
        class="counter"
        key=${status}
        data-status=${status}
        aria-pressed=${active}
        onClick=${() => setParameters({ filter: toggled(filter, 'status', status) })}
      >
        <span class="counter-number">${count(counts[status] ?? 0)}</span><span class="counter-word">${status}</span>
      </button>`
    })}
  </div>`
}

/** @param {{ filter: string }} properties */
function FilterBox({ filter }) {
  /** @type {RefObject<HTMLInputElement | null>} */
  const input = useRef(null)
  /** @type {RefObject<Timer>} */
  const timer = useRef(0)
  useKeys({ '/': () => input.current?.focus() })
  useEffect(() => {
    if (input.current && document.activeElement !== input.current) input.current.value = filter
  }, [filter])
  /** @type {Signal<string[]>} */
  const offered = useSignal([])
  /** @param {Happening<HTMLInputElement>} event */
  const typed = (event) => {
    clearTimeout(timer.current)
    offered.value = completions(event.target.value)
    timer.current = setTimeout(() => setParameters({ filter: event.target.value.trim() }), typingPause)
  }
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key !== 'Escape') return
    // The browser would empty the box.
    event.preventDefault()
    event.stopPropagation()
    input.current?.blur()
  }
  return html`<label class="search">
    <${Icon} name="search" />
    <span class="off-screen">Filter runtimes</span>
    <input
      ref=${input}
      type="search"
      placeholder="Filter: name, status=Failed AND label.team=nlp"
      defaultValue=${filter}
      onInput=${typed}
      onKeyDown=${onKeyDown}
      spellcheck="false"
      autocomplete="off"
      list="filter-completions"
    />
    <datalist id="filter-completions">
      ${offered.value.map((text) => html`<option key=${text} value=${text} />`)}
    </datalist>
    <kbd>/</kbd>
  </label>`
}

/** @param {{ list: RuntimeList, chosen: Signal<string[]> }} properties */
function CompareButton({ list, chosen }) {
  const names = chosen.value.map((id) => currentTrial(list.row(id).trials.value)?.name ?? `runtimes/${id}/trials/1`)
  const target = `/trials?compare=${names.map(shortName).join(',')}`
  return html`<span class="compare-chosen">
    <a class="button" href=${target} aria-disabled=${chosen.value.length < 2}>Compare ${chosen.value.length}</a>
    <button type="button" class="quiet" onClick=${() => (chosen.value = [])} aria-label="Choose none">
      <${Icon} name="close" />
    </button>
  </span>`
}

/**
 * Only the rows in sight are in the document; the row height is a constant of the style sheet.
 *
 * @param {{
 *   list: RuntimeList,
 *   open: Opener,
 *   chosen: Signal<string[]>,
 *   filter: string,
 *   sort: string,
 * }} properties
 */
function Rows({ list, open, chosen, filter, sort }) {
  /** @type {RefObject<HTMLElement | null>} */
  const frame = useRef(null)
  const range = useSignal([0, 30])
  const focus = useSignal(-1)
  const ids = list.ids.value
  const measure = () => {
    if (!frame.current) return
    const rowHeight = parseFloat(getComputedStyle(frame.current).getPropertyValue('--row-height')) || 40
    const top = Math.max(0, -frame.current.getBoundingClientRect().top)
    const first = Math.max(0, Math.floor(top / rowHeight) - overscan)
    const last = first + Math.ceil(window.innerHeight / rowHeight) + 2 * overscan
    const [a, b] = range.peek()
    if (a !== first || b !== last) range.value = [first, last]
    if (last > list.ids.peek().length - overscan && list.hasMore) list.load(true)
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
  /** @param {number} by */
  const move = (by) => {
    if (ids.length === 0) return
    focus.value = Math.min(ids.length - 1, Math.max(0, focus.value + by))
    document.getElementById(`row-${ids[focus.value]}`)?.focus()
  }
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => focus.value >= 0 && move(1),
    ArrowUp: () => focus.value >= 0 && move(-1),
    c: () => toggle(ids[focus.value]),
  })
  /** @param {string} id */
  const toggle = (id) => {
    if (!id) return false
    const has = chosen.value.includes(id)
    if (!has && chosen.value.length >= compareLimit) return false
    chosen.value = has ? chosen.value.filter((one) => one !== id) : [...chosen.value, id]
    return true
  }
  if (ids.length === 0 && !list.loading.value && !list.error.value)
    return html`<${NoRows} filter=${filter} counts=${list.counts.value} refused=${list.hint.value !== ''} />`
  return html`
    <div class="rows-head">
      <span></span>
      ${columns.map(
        ([column, label]) => html`<${Heading} key=${column} column=${column} label=${label} sort=${sort} />`,
      )}
      <span></span>
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
        return html`<${Row}
          key=${id}
          row=${list.row(id)}
          index=${index}
          size=${ids.length}
          open=${open}
          chosen=${chosen}
          toggle=${toggle}
          onFocus=${() => (focus.value = index)}
        />`
      })}
    </div>
  `
}

// In the order of the cells.
const columns = [
  ['name', 'Runtime'],
  ['status', 'Status'],
  ['steps', 'Steps'],
  ['trials', 'Trials'],
  ['elapsed', 'Elapsed'],
  ['estimate', 'Estimated'],
  ['loss', 'Loss'],
  ['owner', 'Owner'],
  ['updated', 'Updated'],
]
// What one wants to see on top of these: the newest, the largest; of the others the first, the smallest.
const largestFirst = ['steps', 'trials', 'elapsed', 'updated']

/**
 * A click sorts, the next one turns it round, the third goes back to what is active first.
 *
 * @param {{ column: string, label: string, sort: string }} properties
 */
function Heading({ column, label, sort }) {
  const chosen = sort.replace(/^-/, '') === column
  const descending = sort.startsWith('-')
  const first = largestFirst.includes(column)
  const next = !chosen ? `${first ? '-' : ''}${column}` : descending === first ? `${first ? '' : '-'}${column}` : ''
  return html`<button
    type="button"
    class="sort"
    aria-pressed=${chosen}
    title=${`Sort by ${label.toLowerCase()}`}
    onClick=${() => setParameters({ sort: next })}
  >
    ${label}
    ${
      chosen &&
      html`
        <span aria-hidden="true">${descending ? ' ↓' : ' ↑'}</span>
        <span class="off-screen">${descending ? ', largest first' : ', smallest first'}</span>
      `
    }
  </button>`
}

/** @param {{ filter: string, counts: Record<string, number>, refused: boolean }} properties */
function NoRows({ filter, counts, refused }) {
  const any = Object.values(counts).some((number) => number > 0)
  if (refused || (filter && any))
    return html`<${Empty} title=${refused ? 'This filter cannot be read' : 'Nothing matches this filter'}>
      <button type="button" class="button" onClick=${() => setParameters({ filter: '' })}>Show all runtimes</button>
    <//>`
  return html`<${Empty} title="No runtimes yet" command=${firstCommand}>
    This command trains a small language model. Or start one with “New runtime”, or from a script of your
    own with <code>milepost.init()</code>.
  <//>`
}

/**
 * @param {{
 *   row: Row,
 *   index: number,
 *   size: number,
 *   open: Opener,
 *   chosen: Signal<string[]>,
 *   toggle: (id: string) => boolean,
 *   onFocus: () => void,
 * }} properties
 */
function Row({ row, index, size, open, chosen, toggle, onFocus }) {
  const runtime = row.runtime.value
  if (!runtime) return html`<div class="row loading" style=${{ '--index': index }}></div>`
  const trials = row.trials.value
  const told = summary(runtime, trials, Date.now())
  const trial = currentTrial(trials)
  const active = runtime.status === 'Started'
  const full = chosen.value.length >= compareLimit && !chosen.value.includes(runtime.runtime_id)
  const href = `/runtimes/${runtime.runtime_id}`
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key === 'Enter' && event.target === event.currentTarget) navigate(href)
  }
  /** @param {Happening<HTMLElement, MouseEvent>} event */
  const onClick = (event) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.target.closest('a, button, label, input') ||
      String(getSelection())
    )
      return
    if (event.metaKey || event.ctrlKey) window.open(href)
    else navigate(href)
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
    onClick=${onClick}
    onKeyDown=${onKeyDown}
    onFocus=${onFocus}
  >
    <label class="cell-choose" title=${full ? `${compareLimit} at most` : ''}>
      <input
        type="checkbox"
        checked=${chosen.value.includes(runtime.runtime_id)}
        disabled=${full}
        onChange=${() => toggle(runtime.runtime_id)}
        aria-label=${`Choose ${runtime.display_name} to compare`}
      />
    </label>
    <span class="cell-name">
      <a href=${href} tabindex="-1"><span class="name">${runtime.display_name || runtime.runtime_id}</span></a>
      <span class="row-labels">
        ${Object.entries({ ...runtime.labels, ...trial?.labels }).map(
          ([key, text]) => html`<${LabelChip} key=${key} name=${key} text=${text} />`,
        )}
      </span>
      <span class="id">${runtime.runtime_id}</span>
    </span>
    <span class="cell-status"><${RuntimeStatus} runtime=${runtime} small /><${Second} runtime=${runtime} /></span>
    <span class="cell-steps">
      ${
        trial
          ? html`<${MiniBar} progress=${told.progress} status=${runtime.status} />`
          : html`<span class="faint">no trial yet</span>`
      }
    </span>
    <span class="cell-trial">${told.trials}</span>
    <span class="cell-elapsed">
      <${Elapsed}
        seconds=${told.elapsed}
        at=${runtime.trial_count > 1 ? performance.now() : row.at}
        runs=${told.runs}
      />
    </span>
    <span class="cell-estimate">${active ? html`<${Remaining} estimate=${told.estimate} at=${row.at} />` : ''}</span>
    <span class="cell-loss"><${Loss} row=${row} told=${told} /></span>
    <span class="cell-owner" title=${runtime.created_by}>${owner(runtime.created_by)}</span>
    <span class="cell-updated"><${Ago} time=${laterOf(trial?.progress?.step_time, runtime.change_time)} /></span>
    <span class="cell-actions"><${RowActions} runtime=${runtime} open=${open} /></span>
  </div>`
}

/**
 * What the status does not say by itself: why it failed or was ended, or what it does before and after it runs.
 *
 * @param {{ runtime: Api.Runtime }} properties
 */
function Second({ runtime }) {
  const phase = runtime.status === 'Started' && runtime.phase !== 'RUNNING' ? words(runtime.phase) : ''
  const ended = ['Failed', 'Aborted'].includes(runtime.status ?? '') ? why(runtime.reason) : ''
  const text = runtime.imported ? 'imported' : phase || ended
  return text
    ? html`<span class="cell-phase" title=${runtime.imported || phase ? text : runtime.reason}>${text}</span>`
    : null
}

/**
 * A click asks for all runtimes with this label.
 *
 * @param {{ name: string, text: string }} properties
 */
function LabelChip({ name, text }) {
  const quoted = /^[^\s"=<>!]+$/.test(text) ? text : JSON.stringify(text)
  return html`<button
    type="button"
    class="label-chip"
    title=${`${name}=${text}: show all of them`}
    onClick=${() => setParameters({ filter: toggled(parameter('filter'), `label.${name}`, quoted) })}
  >
    <span class="label-name">${name}</span> ${text}
  </button>`
}

/**
 * `local:ann` -> `ann`.
 *
 * @param {string | null | undefined} actor
 */
function owner(actor) {
  return (actor ?? '').replace(/^(local|token):/, '')
}

/**
 * @param {string | null | undefined} a
 * @param {string | null | undefined} b
 */
function laterOf(a, b) {
  if (!a || !b) return a || b
  return Date.parse(a) > Date.parse(b) ? a : b
}

/** @param {{ row: Row, told: Summary }} properties */
function Loss({ row, told }) {
  const last = told.loss
  if (last === undefined) return null
  const spark = row.spark.value
  return html`
    <svg class="spark" viewBox="0 0 72 22" width="72" height="22" aria-hidden="true">
      ${
        spark &&
        html`<path
          d=${sparkPath(spark, 70, 18)}
          transform="translate(1 2)"
          fill="none"
          stroke="currentColor"
          stroke-width="1.4"
          stroke-linejoin="round"
        />`
      }
    </svg>
    <span
      class="number ${Number.isFinite(last) ? '' : 'bad'}"
      title=${told.isBest ? 'The best of all trials' : 'The last one'}
    >
      ${number(last, 4)}
    </span>
  `
}

/** @param {{ runtime: Api.Runtime, open: Opener }} properties */
function RowActions({ runtime, open }) {
  if (!mayChange() || runtime.imported) return null
  const external = runtime.configuration?.launcher === 'external'
  const stopping = ['STOPPING', 'TERMINATING'].includes(runtime.phase ?? '')
  return html`
    ${
      runtime.status === 'Started' &&
      html`<button
        type="button"
        class="quiet"
        onClick=${() => open('stop', runtime)}
        disabled=${stopping}
        title="Stop"
        aria-label=${`Stop ${runtime.display_name}`}
      >
        <${Icon} name="stop" />
      </button>`
    }
    ${
      ['Aborted', 'Failed'].includes(runtime.status ?? '') &&
      !external &&
      html`<button
        type="button"
        class="quiet"
        onClick=${() => open('resume', runtime)}
        title="Resume"
        aria-label=${`Resume ${runtime.display_name}`}
      >
        <${Icon} name="play" />
      </button>`
    }
    <button
      type="button"
      class="quiet"
      onClick=${() => open('clone', runtime)}
      title="Clone"
      aria-label=${`Clone ${runtime.display_name}`}
    >
      <${Icon} name="copy" />
    </button>
    <button
      type="button"
      class="quiet"
      onClick=${() => open('delete', runtime)}
      title="Delete"
      aria-label=${`Delete ${runtime.display_name}`}
    >
      <${Icon} name="trash" />
    </button>
  `
}
