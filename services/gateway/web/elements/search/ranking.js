// @ts-check
// The trials of a search, best first: one sees at once what the searched values do.
import { html, useEffect, useRef, useSignal } from '../../html.js'
import { duration, percent, value as number } from '../../functions/format.js'
import { shortly } from '../../functions/searched.js'
import { titleOf } from '../../functions/plot.js'
import { visibleRows } from '../../functions/scrolling.js'
import { TrialStatus } from '../status.js'

/**
 * @import { RefObject } from '../../vendor/preact.js'
 * @import { Colours } from '../search_answer.js'
 */

const rowHeight = 34
const pageRows = 8
/** @type {Record<string, number>} */
const keyWays = { ArrowDown: 1, ArrowUp: -1, PageDown: pageRows, PageUp: -pageRows, Home: -Infinity, End: Infinity }

/**
 * Only rows in sight are in the page. One of them is reached by Tab; from there arrow keys walk.
 *
 * @param {{
 *   order: Api.Trial[],
 *   names: string[],
 *   metric: string,
 *   valueOf: (trial: Api.Trial) => number | undefined,
 *   colours: Colours,
 *   selected: number,
 *   onMark?: (trial: number) => void,
 *   onOpen: (trial: number) => void,
 * }} properties
 */
export function Ranking({ order, names, metric, valueOf, colours, selected, onMark = () => {}, onOpen }) {
  /** @type {RefObject<HTMLElement | null>} */
  const frame = useRef(null)
  const top = useSignal(0)
  const height = useSignal(330)
  const walk = useSignal(0)
  const focusNext = useRef(false)
  const chosen = order.some((trial) => trial.suggestion)
  const judged = order.some((trial) => (trial.suggestion?.rung ?? 0) > 0)
  const shown = visibleRows({ total: order.length, rowHeight, top: top.value, height: height.value })
  const at = Math.min(walk.value, order.length - 1)
  useEffect(() => {
    if (!frame.current) return
    const observer = new ResizeObserver(([{ contentRect }]) => (height.value = contentRect.height || height.peek()))
    observer.observe(frame.current)
    return () => observer.disconnect()
  }, [])
  useEffect(() => {
    if (!focusNext.current) return
    // Of the row that was walked to: what an earlier drawing left to do may come first, when that row is not there yet.
    const button = frame.current?.querySelector(`tr[aria-rowindex="${walk.peek() + 2}"] button`)
    if (!(button instanceof HTMLElement)) return
    focusNext.current = false
    button.focus({ preventScroll: true })
  })
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const way = keyWays[event.key]
    if (way === undefined || !frame.current) return
    event.preventDefault()
    event.stopPropagation()
    const next = Math.min(order.length - 1, Math.max(0, at + way))
    const [above, below] = [next * rowHeight, (next + 2) * rowHeight - height.peek()]
    frame.current.scrollTop = Math.min(above, Math.max(below, frame.current.scrollTop))
    focusNext.current = true
    walk.value = next
  }
  const columns = 4 + names.length + (chosen ? 1 : 0) + (judged ? 2 : 0)
  return html`<div
    class="table-frame ranking"
    tabindex="0"
    role="region"
    aria-label="Trials, best first"
    ref=${frame}
    onScroll=${(/** @type {Happening<HTMLElement>} */ event) => (top.value = event.currentTarget.scrollTop)}
    onKeyDown=${onKeyDown}
    onPointerLeave=${() => onMark(0)}
  >
    <table class="plain" aria-rowcount=${order.length + 1}>
      <thead>
        <tr>
          <th scope="col">Trial</th>
          <th scope="col" title=${metric}>${titleOf(metric)}</th>
          ${names.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}
          <th scope="col">Status</th>
          ${judged && html`<th scope="col">Rung</th>`}
          <th scope="col">Done</th>
          <th scope="col">Elapsed</th>
          ${chosen && html`<th scope="col">Chosen by</th>`}
          ${judged && html`<th scope="col">Why</th>`}
        </tr>
      </thead>
      <tbody>
        <${Space} rows=${shown.first} columns=${columns} />
        ${order.slice(shown.first, shown.last).map(
          (trial, i) => html`<tr
            key=${trial.name}
            aria-rowindex=${shown.first + i + 2}
            aria-selected=${trial.trial === selected}
            onPointerEnter=${() => onMark(trial.trial)}
          >
            <td>
              <button
                type="button"
                class="link"
                tabindex=${shown.first + i === at ? 0 : -1}
                onClick=${() => onOpen(trial.trial)}
                onFocus=${() => {
                  walk.value = shown.first + i
                  onMark(trial.trial)
                }}
                onBlur=${() => onMark(0)}
              >
                <span class="swatch" style=${{ '--colour': colours.colours.get(trial.name) }}></span> ${trial.trial}
              </button>
            </td>
            <td class="number">${number(valueOf(trial))}</td>
            ${names.map(
              (name) => html`<td key=${name} class="number" title=${trial.searched_parameters?.[name]}>
                ${name in (trial.searched_parameters ?? {}) ? shortly(trial.searched_parameters[name]) : ''}
              </td>`,
            )}
            <td><${TrialStatus} trial=${trial} small /></td>
            ${judged && html`<td class="number">${trial.suggestion?.rung || ''}</td>`}
            <td class="number">${percent(trial.progress?.completion_percent)}</td>
            <td class="number">${duration(trial.elapsed)}</td>
            ${chosen && html`<td title=${trial.suggestion?.because}>${chosenBy(trial)}</td>`}
            ${judged && html`<td class="why" title=${why(trial)}>${why(trial)}</td>`}
          </tr>`,
        )}
        <${Space} rows=${order.length - shown.last} columns=${columns} />
      </tbody>
    </table>
  </div>`
}

/** @param {Api.Trial} trial */
function chosenBy({ suggestion }) {
  return suggestion?.donor ? `${suggestion.sampler} from ${suggestion.donor}` : suggestion?.sampler
}

/** @param {Api.Trial} trial */
function why(trial) {
  return trial.suggestion?.detail || (trial.status === 'Running' ? '' : trial.reason)
}

/**
 * The height of rows that are not in sight.
 *
 * @param {{ rows: number, columns: number }} properties
 */
function Space({ rows, columns }) {
  if (rows <= 0) return null
  return html`<tr class="space" aria-hidden="true">
    <td colspan=${columns} style=${{ height: `${rows * rowHeight}px` }}></td>
  </tr>`
}
