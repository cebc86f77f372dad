// @ts-check
// The log of a trial: a list of any length of which only what is in sight is in the document.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useSignal } from '../html.js'
import { pieces, plain } from '../functions/ansi.js'
import { count, preciseClock, words } from '../functions/format.js'
import { cut, matcher } from '../functions/highlight.js'
import { visibleRows } from '../functions/scrolling.js'
import { LogLines } from '../state/log_lines.js'
import { parameter, setParameters } from '../state/location.js'
import { useKeys } from '../state/keyboard.js'
import { Copy } from './button.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { Icon } from './icon.js'
import { toCharts } from './sight.js'

/**
 * @import { Mark } from '../functions/highlight.js'
 * @import { LogFilter } from '../state/log_lines.js'
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { RefObject } from '../vendor/preact.js'
 * @import { Signal } from '../vendor/signals.js'
 */
/** @typedef {'levels' | 'ranks' | 'attempts' | 'streams'} FacetName */
/** @typedef {{ goTo: (index: number) => void }} Handle */

const rowHeight = 22
const typingPause = 250
const levels = ['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']

/** @param {{ state: RuntimeState }} properties */
export function Logs({ state }) {
  const trial = state.trial.value
  if (!trial) return html`<${Empty} title="There is no trial yet" />`
  return html`<${TrialLogs} key=${trial.name} state=${state} parent=${trial.name} />`
}

function filterOf() {
  /** @param {string} name */
  const list = (name) => parameter(name).split(',').filter(Boolean)
  const search = parameter('q')
  const regex = parameter('regex') === '1'
  return {
    levels: list('level'),
    ranks: list('rank'),
    attempts: list('attempt'),
    streams: list('stream'),
    text: regex ? '' : search,
    regular_expression: regex ? search : '',
    include_superseded: parameter('all') === '1',
  }
}

/** @param {{ state: RuntimeState, parent: string }} properties */
function TrialLogs({ state, parent }) {
  const lines = useMemo(() => new LogLines(state, parent), [state, parent])
  /** @type {RefObject<Handle | null>} */
  const list = useRef(null)
  const filter = filterOf()
  const identity = JSON.stringify(filter)
  const step = parameter('step')
  useEffect(() => () => lines.close(), [lines])
  useEffect(() => {
    let shown = true
    lines.show(filter).then(async () => {
      const target = parameter('line')
        ? { cursor: parameter('line') }
        : parameter('step')
          ? { step: Number(parameter('step')) }
          : undefined
      if (!target || !shown) return
      const place = await lines.placeOf(target)
      if (shown && place >= 0) list.current?.goTo(place)
    })
    return () => {
      shown = false
    }
  }, [lines, identity, step])
  return html`<div class="logs">
    <${LogBar} lines=${lines} filter=${filter} parent=${parent} />
    <${Problem} error=${lines.error.value} />
    <${LogList} lines=${lines} filter=${filter} handle=${list} state=${state} />
  </div>`
}

/** @param {{ lines: LogLines, filter: LogFilter, parent: string }} properties */
function LogBar({ lines, filter, parent }) {
  /** @type {RefObject<HTMLInputElement | null>} */
  const input = useRef(null)
  /** @type {RefObject<Timer>} */
  const timer = useRef(0)
  const saving = useSignal('')
  useKeys({ '/': () => input.current?.focus() })
  const regex = parameter('regex') === '1'
  /** @param {Happening<HTMLInputElement>} event */
  const typed = (event) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => setParameters({ q: event.target.value, line: '', step: '' }), typingPause)
  }
  const download = async () => {
    saving.value = '…'
    try {
      const parts = await lines.text((number) => (saving.value = count(number)))
      const { save } = await import('./files.js')
      save(new Blob(parts, { type: 'text/plain' }), `${parent.replaceAll('/', '_')}.log`)
    } finally {
      saving.value = ''
    }
  }
  return html`<div class="log-bar">
    <label class="search">
      <${Icon} name="search" /><span class="off-screen">Search the log</span>
      <input
        ref=${input}
        type="search"
        placeholder=${regex ? 'Regular expression (RE2), over all lines' : 'Search all lines'}
        defaultValue=${parameter('q')}
        onInput=${typed}
        onKeyDown=${(event) => event.key === 'Escape' && input.current?.blur()}
        spellcheck="false"
      />
      <button
        type="button"
        class="toggle-regex"
        aria-pressed=${regex}
        title="Regular expression"
        onClick=${() => setParameters({ regex: regex ? '' : '1' })}
      >
        .*
      </button>
    </label>
    <${Facets} lines=${lines} filter=${filter} />
    <span class="log-count">${count(lines.total.value)} ${lines.total.value === 1 ? 'line' : 'lines'}</span>
    <button
      type="button"
      class="quiet"
      onClick=${download}
      disabled=${saving.value !== ''}
      title="Download the lines that match"
      aria-label="Download"
    >
      <${Icon} name="download" />${saving.value}
    </button>
  </div>`
}

/**
 * Chips with counts: levels always, the others where there is a choice.
 *
 * @param {{ lines: LogLines, filter: LogFilter }} properties
 */
function Facets({ lines, filter }) {
  const facets = lines.facets.value
  /**
   * @param {FacetName} name
   * @returns {Map<string, number>}
   */
  const counts = (name) => new Map((facets?.[name] ?? []).map(({ value, count: number }) => [value, number]))
  /** @type {['level' | 'rank' | 'attempt' | 'stream', FacetName, string[], (value: string) => string][]} */
  const groups = [
    [
      'level',
      'levels',
      levels.filter((level) => !facets || counts('levels').has(level) || filter.levels.includes(level)),
      words,
    ],
    ['rank', 'ranks', [...counts('ranks').keys()], (value) => `rank ${value}`],
    ['attempt', 'attempts', [...counts('attempts').keys()], (value) => `attempt ${value}`],
    ['stream', 'streams', [...counts('streams').keys()], words],
  ]
  /**
   * @param {string} name
   * @param {string[]} chosen
   * @param {string} value
   */
  const toggle = (name, chosen, value) => {
    const next = chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]
    setParameters({ [name]: next.join(','), line: '' })
  }
  return html`<span class="facets">
    ${groups
      .filter(([name, , values]) => name === 'level' || values.length > 1)
      .map(
        ([name, field, values, label]) => html`<span class="facet" role="group" aria-label=${name} key=${name}>
          ${values.map(
            (value) => html`<button
              type="button"
              class="chip"
              key=${value}
              data-level=${name === 'level' ? value : undefined}
              aria-pressed=${filter[field].includes(value)}
              onClick=${() => toggle(name, filter[field], value)}
            >
              ${label(value)}
              <span class="faint">${counts(field).has(value) ? count(counts(field).get(value)) : ''}</span>
            </button>`,
          )}
        </span>`,
      )}
    ${
      (counts('attempts').size > 1 || filter.include_superseded) &&
      html`<button
        type="button"
        class="chip"
        aria-pressed=${filter.include_superseded}
        onClick=${() => setParameters({ all: filter.include_superseded ? '' : '1' })}
      >
        superseded too
      </button>`
    }
  </span>`
}

/** @param {{ lines: LogLines, filter: LogFilter, handle: RefObject<Handle | null>, state: RuntimeState }} properties */
function LogList({ lines, filter, handle, state }) {
  /** @type {RefObject<HTMLElement | null>} */
  const frame = useRef(null)
  const top = useSignal(0)
  const height = useSignal(400)
  const following = useSignal(true)
  const selected = useSignal(parameter('line'))
  const total = lines.total.value
  // Read so that loaded pages are painted.
  const version = lines.version.value
  const { space, first, last, offset } = visibleRows({ total, rowHeight, top: top.value, height: height.value })
  handle.current = {
    goTo(index) {
      following.value = false
      const rows = visibleRows({ total: lines.total.peek(), rowHeight, top: 0, height: height.peek() })
      const row = Math.max(0, index - Math.floor(height.peek() / rowHeight / 3))
      if (frame.current) frame.current.scrollTop = rows.scrollTo(row)
      selected.value = lines.line(index)?.cursor ?? selected.value
    },
  }
  useLayoutEffect(() => {
    const element = frame.current
    if (!element) return undefined
    const resize = new ResizeObserver(() => (height.value = element.clientHeight))
    resize.observe(element)
    return () => resize.disconnect()
  }, [])
  useLayoutEffect(() => {
    if (!following.value || !frame.current) return
    frame.current.scrollTop = frame.current.scrollHeight
    lines.fresh.value = 0
  }, [total, version, following.value, height.value])
  useEffect(() => lines.want(first, last), [first, last, version])
  // `j` and `k` go from line to line, from the first in sight on.
  /** @param {number} by */
  const choose = (by) => {
    const inSight = Math.round(top.peek() / (space / Math.max(1, total)))
    let at = -1
    for (let i = first; i < last && at === -1; i += 1) if (lines.line(i)?.cursor === selected.peek()) at = i
    const next = at === -1 ? Math.min(inSight, total - 1) : at + by
    const entry = lines.line(next)
    if (!entry) return false
    following.value = false
    selected.value = entry.cursor
    setParameters({ line: entry.cursor, step: '' })
    const y = next * rowHeight - (top.peek() / Math.max(1, space - height.peek())) * (total * rowHeight - height.peek())
    if (y < 0 || y > height.peek() - rowHeight) handle.current?.goTo(next)
    return true
  }
  useKeys({ j: () => choose(1), k: () => choose(-1) })
  /** @param {{ currentTarget: HTMLElement }} parts */
  const onScroll = ({ currentTarget: element }) => {
    // It may come after its list is gone.
    if (element !== frame.current) return
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < rowHeight
    top.value = element.scrollTop
    if (atEnd) lines.fresh.value = 0
    following.value = atEnd
  }
  const find = useMemo(() => matcher(filter.text, filter.regular_expression), [filter.text, filter.regular_expression])
  if (total === 0 && !lines.loading.value)
    return html`<div class="log-frame" ref=${frame}>
      <${Empty} title=${lines.filtered ? 'No line matches' : 'No log lines yet'} />
    </div>`
  const rows = []
  for (let i = first; i < last; i += 1)
    rows.push(
      html`<${Line}
        key=${i}
        entry=${lines.line(i)}
        place=${i}
        y=${offset + (i - first) * rowHeight}
        find=${find}
        selected=${selected}
      />`,
    )
  return html`
    <div class="log-view">
      <div
        class="log-frame"
        ref=${frame}
        onScroll=${onScroll}
        tabindex="0"
        role="log"
        aria-label="Log lines"
        aria-live="off"
        aria-busy=${lines.loading.value}
      >
        <div class="log-space" style=${{ height: `${space}px` }}>${rows}</div>
      </div>
      ${
        !following.value &&
        html`<button type="button" class="log-follow button small" onClick=${() => (following.value = true)}>
          <${Icon} name="down" size=${14} />
          ${
            lines.fresh.value > 0
              ? `${count(lines.fresh.value)} new line${lines.fresh.value === 1 ? '' : 's'}`
              : 'Follow'
          }
        </button>`
      }
    </div>
    <${LineDetail} lines=${lines} selected=${selected} first=${first} last=${last} state=${state} />
  `
}

/**
 * @param {{
 *   entry: Api.LogEntry | undefined,
 *   place: number,
 *   y: number,
 *   find: (line: string) => Mark[],
 *   selected: Signal<string>,
 * }} properties
 */
function Line({ entry, place, y, find, selected }) {
  if (!entry) return html`<div class="log-line missing" style=${{ transform: `translateY(${y}px)` }}></div>`
  const choose = () => {
    if (String(window.getSelection())) return
    selected.value = entry.cursor
    setParameters({ line: entry.cursor, step: '' })
  }
  return html`<div
    class="log-line"
    data-level=${entry.level}
    data-place=${place}
    data-superseded=${entry.superseded}
    data-selected=${selected.value === entry.cursor}
    style=${{ transform: `translateY(${y}px)` }}
    onClick=${choose}
  >
    <span class="log-time">${preciseClock(entry.time ?? '')}</span>
    <span class="log-level">${entry.level ?? ''}</span>
    <span class="log-step">${entry.step ? count(entry.step) : ''}</span>
    <span class="log-rank">r${entry.rank ?? 0}</span>
    <span class="log-text"><${Text} text=${entry.text} find=${find} /></span>
  </div>`
}

/** @param {{ text: string, find: (line: string) => Mark[] }} properties */
function Text({ text, find }) {
  return pieces(text).map(({ text: part, className }) => {
    const inner = cut(part, find(part)).map(({ text: bit, marked }) => (marked ? html`<mark>${bit}</mark>` : bit))
    return className ? html`<span class=${className}>${inner}</span>` : inner
  })
}

/**
 * The chosen line in full, with a link to it and the way to its step.
 *
 * @param {{
 *   lines: LogLines,
 *   selected: Signal<string>,
 *   first: number,
 *   last: number,
 *   state: RuntimeState,
 * }} properties
 */
function LineDetail({ lines, selected, first, last, state }) {
  let entry
  for (let i = first; i < last && !entry; i += 1) if (lines.line(i)?.cursor === selected.value) entry = lines.line(i)
  if (!entry) return null
  const close = () => {
    selected.value = ''
    setParameters({ line: '' })
  }
  const toStep = () => {
    state.cursor.pin(entry.step)
    toCharts()
  }
  const facts = [
    entry.level,
    words(entry.stream ?? ''),
    entry.logger,
    `rank ${entry.rank ?? 0}`,
    `attempt ${entry.attempt ?? 1}`,
    new Date(entry.time ?? '').toLocaleString(),
  ]
  return html`<div class="log-detail">
    <p class="faint">${facts.filter(Boolean).join(' · ')}</p>
    <pre tabindex="0">${plain(entry.text)}</pre>
    <p class="log-detail-actions">
      ${
        entry.step > 0 &&
        html`<button type="button" class="button small" onClick=${toStep}>
          Show step ${count(entry.step)} on the charts
        </button>`
      }
      <${Copy} text=${plain(entry.text)} label="Copy text" /><${Copy} text=${window.location.href} label="Copy link" />
      <button type="button" class="quiet" onClick=${close} aria-label="Close the line">
        <${Icon} name="close" size=${14} />
      </button>
    </p>
  </div>`
}
