// @ts-check
// One timeline: what is done, where it evaluates, where epochs end, where snapshots are.
import { html, useLayoutEffect, useRef, useSignal } from '../html.js'
import { clock, count, plural, value as number } from '../functions/format.js'
import {
  barEnd,
  byKind,
  changeSentence,
  firingMarkers,
  layout,
  position,
  redoneStretches,
} from '../functions/markers.js'
import { spelled } from '../functions/names.js'
import { nearest } from '../functions/series.js'
import { numbers } from '../functions/wire.js'

/**
 * @import { MarkerGroup, MarkerKind } from '../functions/markers.js'
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { RefObject } from '../vendor/preact.js'
 * @import { Signal } from '../vendor/signals.js'
 */
/** @typedef {Record<MarkerKind, MarkerGroup[]>} Groups */
/** @typedef {{ kind: MarkerKind, group: MarkerGroup, distance: number }} Near */

const barTop = 26
const barHeight = 26
// About 1.8 times the bar.
const epochHeight = 47
const epochTop = barTop - (epochHeight - barHeight) / 2
const total = 96
const reach = 5
const sentencesAtMost = 3
/** @type {Record<MarkerKind, string>} */
const names = {
  EVALUATION: 'evaluation',
  EPOCH_END: 'epoch end',
  SNAPSHOT: 'snapshot',
  FIRING: 'firing',
  PARAMETERS_CHANGED: 'change',
}

/** @param {{ state: RuntimeState, trial: Api.Trial }} properties */
export function StepMonitor({ state, trial }) {
  /** @type {RefObject<HTMLElement | null>} */
  const frame = useRef(null)
  const width = useSignal(0)
  /** @type {Signal<{ x: number, step: number, near?: Near } | null>} */
  const hover = useSignal(null)
  useLayoutEffect(() => {
    if (!frame.current) return
    width.value = Math.round(frame.current.clientWidth)
    const observer = new ResizeObserver(([entry]) => (width.value = Math.round(entry.contentRect.width)))
    observer.observe(frame.current)
    return () => observer.disconnect()
  }, [])
  /** @type {Partial<Api.Progress>} */
  const progress = trial.progress ?? {}
  const end = barEnd(progress)
  const w = width.value
  const kinds = byKind(trial.markers)
  const groups = {
    EVALUATION: layout(kinds.EVALUATION, end, w),
    EPOCH_END: layout(kinds.EPOCH_END, end, w),
    SNAPSHOT: layout(kinds.SNAPSHOT, end, w),
    PARAMETERS_CHANGED: layout(kinds.PARAMETERS_CHANGED, end, w),
    FIRING: layout(firingMarkers(state.firings.value, trial.trial, state.past), end, w),
  }
  /** @param {MouseEvent} event */
  const stepAt = (event) => {
    const left = frame.current?.getBoundingClientRect().left ?? 0
    const x = Math.min(w, Math.max(0, event.clientX - left))
    return { x, step: Math.round((x / w) * end), near: nearGroup(groups, x) }
  }
  /** @param {PointerEvent} event */
  const onMove = (event) => {
    const at = stepAt(event)
    hover.value = at
    state.cursor.hover(at.near?.group.first ?? at.step, 'monitor')
  }
  const onLeave = () => {
    hover.value = null
    state.cursor.leave('monitor')
  }
  /** @param {MouseEvent} event */
  const onClick = (event) => {
    const at = stepAt(event)
    state.cursor.pin(at.near?.group.first ?? at.step)
  }
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const near = neighbour(groups, hover.peek()?.x, event.key)
    if (!near) return
    event.preventDefault()
    hover.value = { x: near.group.x, step: near.group.first, near }
    state.cursor.pin(near.group.first)
  }
  const text = progress.total_steps
    ? `${count(progress.step ?? 0)} of ${count(progress.total_steps)} steps`
    : `${count(progress.step ?? 0)} steps, total unknown`
  return html`<div
    class="step-monitor"
    ref=${frame}
    role="progressbar"
    aria-label="Steps"
    aria-valuemin="0"
    aria-valuemax=${progress.total_steps ?? undefined}
    aria-valuenow=${progress.total_steps ? (progress.step ?? 0) : undefined}
    aria-valuetext=${text}
    data-status=${trial.waiting_reason === 'STOPPED' ? 'Aborted' : trial.status}
    data-end=${end}
    onPointerMove=${onMove}
    onPointerLeave=${onLeave}
    onClick=${onClick}
    onKeyDown=${onKeyDown}
    onBlur=${onLeave}
    tabindex="0"
  >
    ${w > 0 && html`<${Timeline} progress=${progress} trial=${trial} groups=${groups} end=${end} width=${w} />`}
    ${w > 0 && html`<${CursorLine} state=${state} end=${end} width=${w} />`}
    ${hover.value && html`<${Tip} hover=${hover.value} groups=${groups} state=${state} trial=${trial} width=${w} />`}
  </div>`
}

/**
 * @param {Groups} groups
 * @returns {[MarkerKind, MarkerGroup[]][]}
 */
function entriesOf({ EVALUATION, EPOCH_END, SNAPSHOT, FIRING, PARAMETERS_CHANGED }) {
  return [
    ['EVALUATION', EVALUATION],
    ['EPOCH_END', EPOCH_END],
    ['SNAPSHOT', SNAPSHOT],
    ['FIRING', FIRING],
    ['PARAMETERS_CHANGED', PARAMETERS_CHANGED],
  ]
}

/**
 * @param {Groups} groups
 * @param {number} x
 * @returns {Near | undefined}
 */
function nearGroup(groups, x) {
  /** @type {Near | undefined} */
  let best
  for (const [kind, list] of entriesOf(groups)) {
    for (const group of list) {
      const distance = Math.abs(group.x - x)
      // An epoch's end is the higher marker and wins over what stands on the same step.
      if (
        distance <= reach &&
        (!best || distance < best.distance || (distance === best.distance && kind === 'EPOCH_END'))
      )
        best = { kind, group, distance }
    }
  }
  return best
}

/**
 * The marker that an arrow key leads to from `x`; Home and End lead to the outermost.
 *
 * @param {Groups} groups
 * @param {number | undefined} x
 * @param {string} key
 * @returns {Near | undefined}
 */
function neighbour(groups, x, key) {
  const all = entriesOf(groups).flatMap(([kind, list]) => list.map((group) => ({ kind, group, distance: 0 })))
  // Of what stands on one step the epoch's end is shown, as under the pointer.
  const places = all.filter(
    (one) =>
      !all.some((other) => other.kind === 'EPOCH_END' && one.kind !== 'EPOCH_END' && other.group.x === one.group.x),
  )
  places.sort((a, b) => a.group.x - b.group.x)
  if (key === 'Home') return places[0]
  if (key === 'End') return places.at(-1)
  if (key === 'ArrowRight') return places.find((one) => x === undefined || one.group.x > x)
  if (key === 'ArrowLeft') return places.findLast((one) => x === undefined || one.group.x < x)
  return undefined
}

/**
 * @param {{
 *   progress: Partial<Api.Progress>,
 *   trial: Api.Trial,
 *   groups: Groups,
 *   end: number,
 *   width: number,
 * }} properties
 */
function Timeline({ progress, trial, groups, end, width }) {
  const done = position(progress.step ?? 0, end, width)
  const y = barTop
  return html`<svg
    class="timeline"
    width=${width}
    height=${total}
    viewBox=${`0 0 ${width} ${total}`}
    aria-hidden="true"
  >
    <defs>
      <pattern id="redone" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect width="2.4" height="6" class="redone-line" />
      </pattern>
      <clipPath id="track"><rect x="0" y=${y} width=${width} height=${barHeight} rx="5" /></clipPath>
    </defs>
    <g clip-path="url(#track)">
      <rect class="track" x="0" y=${y} width=${width} height=${barHeight} />
      <rect class="done" x="0" y=${y} width=${done} height=${barHeight} />
      ${redoneStretches(trial.redone).map(
        ([first, last]) => html`<rect
          class="redone"
          x=${position(first, end, width)}
          y=${y}
          width=${Math.max(2, position(last, end, width) - position(first, end, width))}
          height=${barHeight}
          fill="url(#redone)"
        />`,
      )}
    </g>
    <${EpochNames} groups=${groups.EPOCH_END} width=${width} epoch=${progress.epoch ?? 0} />
    ${groups.EVALUATION.map(
      (group) => html`<${MarkerLine}
        key=${`v${group.first}`}
        kind="evaluation"
        group=${group}
        top=${y}
        height=${barHeight}
        width=${width}
        inside=${group.x <= done}
      />`,
    )}
    ${groups.EPOCH_END.map(
      (group) => html`<${MarkerLine}
        key=${`e${group.first}`}
        kind="epoch"
        group=${group}
        top=${epochTop}
        height=${epochHeight}
        width=${width}
      />`,
    )}
    ${groups.SNAPSHOT.filter((group) => !group.planned).map(
      (group) => html`<path
        key=${`s${group.first}`}
        class="snapshot"
        data-kind="snapshot"
        data-step=${group.first}
        data-count=${group.count}
        d=${notch(group.x, y + barHeight + 3)}
      />`,
    )}
    ${
      trial.status === 'Running' &&
      html`<rect class="head" x=${Math.max(0, done - 1.5)} y=${y - 3} width="3" height=${barHeight + 6} rx="1.5" />`
    }
    ${groups.PARAMETERS_CHANGED.map(
      (group) => html`<path
        key=${`c${group.first}`}
        class="change"
        data-kind="change"
        data-step=${group.first}
        data-count=${group.count}
        d=${`M${group.x - 4.5} ${y - 12}h9l-4.5 8z`}
      />`,
    )}
    ${groups.FIRING.map(
      (group) => html`<path
        key=${`f${group.first}`}
        class="firing"
        data-kind="firing"
        data-step=${group.first}
        data-count=${group.count}
        d=${`M${group.x} ${y - 13}l4.5 5.5l-4.5 5.5l-4.5 -5.5z`}
      />`,
    )}
    <text class="axis" x="0" y=${total - 8}>0</text>
    <text class="axis" x=${width} y=${total - 8} text-anchor="end">${progress.total_steps ? count(end) : '?'}</text>
  </svg>`
}

/**
 * @param {number} x
 * @param {number} y
 */
function notch(x, y) {
  return `M${x} ${y}l4 6.5h-8z`
}

/**
 * A line of 2 px around its step; the outermost stay whole.
 *
 * @param {{
 *   kind: string,
 *   group: MarkerGroup,
 *   top: number,
 *   height: number,
 *   width: number,
 *   inside?: boolean,
 * }} properties
 */
function MarkerLine({ kind, group, top, height, width, inside }) {
  const x = Math.min(width - 1, Math.max(1, group.x))
  const looks = ['marker', kind, group.planned && 'planned', inside && 'inside', group.count > 1 && 'several'].filter(
    Boolean,
  )
  return html`<rect
    class=${looks.join(' ')}
    data-kind=${kind}
    data-step=${group.first}
    data-last=${group.last}
    data-count=${group.count}
    x=${x - 1}
    y=${top}
    width="2"
    height=${height}
    rx="1"
  />`
}

/**
 * "E0" in the middle of each epoch, where there is room for it.
 *
 * @param {{ groups: MarkerGroup[], width: number, epoch: number }} properties
 */
function EpochNames({ groups, width, epoch }) {
  const labels = []
  let from = 0
  for (const group of groups) {
    const number = group.markers[0].epoch ?? 0
    if (group.count === 1 && group.x - from > 34)
      labels.push(
        html`<text
          key=${number}
          class="epoch-name ${number === epoch ? 'current' : ''}"
          x=${(from + group.x) / 2}
          y="10"
          text-anchor="middle"
        >
          E${number}
        </text>`,
      )
    from = group.x
  }
  return html`<g>${width > 0 && labels}</g>`
}

/**
 * The charts' cursor, on this bar.
 *
 * @param {{ state: RuntimeState, end: number, width: number }} properties
 */
function CursorLine({ state, end, width }) {
  const cursor = state.cursor.at.value
  if (!cursor) return null
  const x = position(cursor.step, end, width)
  return html`<div class="monitor-cursor" style=${{ transform: `translateX(${x}px)` }}></div>`
}

/**
 * @param {{
 *   hover: { x: number, step: number, near?: Near },
 *   groups: Groups,
 *   state: RuntimeState,
 *   trial: Api.Trial,
 *   width: number,
 * }} properties
 */
function Tip({ hover, groups, state, trial, width }) {
  const { x, step, near } = hover
  const shownStep = near ? near.group.first : step
  const past = shownStep <= (trial.progress?.step ?? 0)
  const lines = near ? [...describe(near), ...sentences(groups.FIRING, near.group.x)] : []
  const redone = (trial.redone ?? []).find(
    ({ first_step = 0, last_step = 0 }) => step > first_step && step <= last_step,
  )
  return html`<div
    class="tip"
    role="status"
    style=${{ transform: `translateX(clamp(0px, calc(${x}px - 50%), calc(${width}px - 100%)))` }}
  >
    <strong>Step ${count(shownStep)}${near && near.group.count > 1 ? ` to ${count(near.group.last)}` : ''}</strong>
    ${past && html`<span>${timeOf(state, shownStep)}</span>`}
    ${!past && html`<span class="faint">planned</span>`}
    ${lines.map((line) => html`<span>${line}</span>`)}
    ${redone && html`<span class="faint">done twice: attempt ${redone.attempt} did it first</span>`}
  </div>`
}

/**
 * What rules found about there, whatever else stands on that step.
 *
 * @param {MarkerGroup[]} groups
 * @param {number} x
 */
function sentences(groups, x) {
  const found = groups.filter((group) => Math.abs(group.x - x) <= reach).flatMap((group) => group.markers)
  const lines = found.slice(0, sentencesAtMost).map((marker) => marker.sentence ?? '')
  return found.length > lines.length ? [...lines, `and ${count(found.length - lines.length)} more`] : lines
}

/** @param {Near} parts */
function describe({ kind, group }) {
  const name = names[kind]
  if (kind === 'PARAMETERS_CHANGED')
    return group.markers.slice(0, sentencesAtMost).map((marker) => `changed: ${changeSentence(marker)}`)
  if (kind === 'FIRING') return [plural(group.count, name)]
  if (group.count > 1) return [`${plural(group.count, name)}, closer than 4 px: shown as one`]
  const marker = group.markers[0]
  const lines = [kind === 'EPOCH_END' ? `epoch ${marker.epoch ?? 0} ends` : name]
  for (const [key, result] of Object.entries(numbers(marker.values))) lines.push(`${spelled(key)} ${number(result)}`)
  if (marker.snapshot_id) lines.push(marker.snapshot_id)
  return lines
}

/**
 * When a step was done: by the points of the charts.
 *
 * @param {RuntimeState} state
 * @param {number} step
 */
function timeOf(state, step) {
  for (const chart of state.series.charts.values()) {
    const series = chart.peek().overview.find((one) => !one.superseded)
    const index = series ? nearest(series, step) : -1
    if (series && index !== -1) return clock(series.times[index])
  }
  return ''
}
