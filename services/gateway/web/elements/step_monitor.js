// One timeline: what is done, where it evaluates, where epochs end, where snapshots are.
import { html, useLayoutEffect, useRef, useSignal } from '../html.js'
import { clock, count, plural, value as number } from '../functions/format.js'
import { barEnd, byKind, layout, position, redoneStretches } from '../functions/markers.js'
import { nearest } from '../functions/series.js'
import { numbers } from '../functions/wire.js'

const barTop = 26
const barHeight = 26
// About 1.8 times the bar.
const epochHeight = 47
const epochTop = barTop - (epochHeight - barHeight) / 2
const total = 96
const reach = 5
const names = { EVALUATION: 'evaluation', EPOCH_END: 'epoch end', SNAPSHOT: 'snapshot' }

export function StepMonitor({ state, trial }) {
  const frame = useRef(null)
  const width = useSignal(0)
  const hover = useSignal(null)
  useLayoutEffect(() => {
    width.value = Math.round(frame.current.clientWidth)
    const observer = new ResizeObserver(([entry]) => (width.value = Math.round(entry.contentRect.width)))
    observer.observe(frame.current)
    return () => observer.disconnect()
  }, [])
  const progress = trial.progress ?? {}
  const end = barEnd(progress)
  const w = width.value
  const kinds = byKind(trial.markers)
  const groups = { EVALUATION: layout(kinds.EVALUATION, end, w), EPOCH_END: layout(kinds.EPOCH_END, end, w), SNAPSHOT: layout(kinds.SNAPSHOT, end, w) }
  const stepAt = (event) => {
    const box = frame.current.getBoundingClientRect()
    const x = Math.min(w, Math.max(0, event.clientX - box.left))
    return { x, step: Math.round((x / w) * end), near: nearGroup(groups, x) }
  }
  const onMove = (event) => {
    const at = stepAt(event)
    hover.value = at
    state.cursor.hover(at.near?.group.first ?? at.step, 'monitor')
  }
  const onLeave = () => {
    hover.value = null
    state.cursor.leave('monitor')
  }
  const onClick = (event) => {
    const at = stepAt(event)
    state.cursor.pin(at.near?.group.first ?? at.step)
  }
  const onKeyDown = (event) => {
    const near = neighbour(groups, hover.peek()?.x, event.key)
    if (!near) return
    event.preventDefault()
    hover.value = { x: near.group.x, step: near.group.first, near }
    state.cursor.pin(near.group.first)
  }
  const text = progress.total_steps ? `${count(progress.step ?? 0)} of ${count(progress.total_steps)} steps` : `${count(progress.step ?? 0)} steps, total unknown`
  return html`<div
    class="step-monitor"
    ref=${frame}
    role="progressbar"
    aria-label="Steps"
    aria-valuemin="0"
    aria-valuemax=${progress.total_steps ?? undefined}
    aria-valuenow=${progress.total_steps ? progress.step ?? 0 : undefined}
    aria-valuetext=${text}
    data-status=${trial.status}
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
    ${hover.value && html`<${Tip} hover=${hover.value} state=${state} trial=${trial} width=${w} />`}
  </div>`
}

function nearGroup(groups, x) {
  let best
  for (const [kind, list] of Object.entries(groups)) {
    for (const group of list) {
      const distance = Math.abs(group.x - x)
      // An epoch's end is the higher marker and wins over what stands on the same step.
      if (distance <= reach && (!best || distance < best.distance || (distance === best.distance && kind === 'EPOCH_END'))) best = { kind, group, distance }
    }
  }
  return best
}

/** The marker that an arrow key leads to from `x`; Home and End lead to the outermost. */
function neighbour(groups, x, key) {
  const all = Object.entries(groups).flatMap(([kind, list]) => list.map((group) => ({ kind, group, distance: 0 })))
  // Of what stands on one step the epoch's end is shown, as under the pointer.
  const places = all.filter((one) => !all.some((other) => other.kind === 'EPOCH_END' && one.kind !== 'EPOCH_END' && other.group.x === one.group.x))
  places.sort((a, b) => a.group.x - b.group.x)
  if (key === 'Home') return places[0]
  if (key === 'End') return places.at(-1)
  if (key === 'ArrowRight') return places.find((one) => x === undefined || one.group.x > x)
  if (key === 'ArrowLeft') return places.findLast((one) => x === undefined || one.group.x < x)
  return undefined
}

function Timeline({ progress, trial, groups, end, width }) {
  const done = position(progress.step ?? 0, end, width)
  const y = barTop
  return html`<svg class="timeline" width=${width} height=${total} viewBox=${`0 0 ${width} ${total}`} aria-hidden="true">
    <defs>
      <pattern id="redone" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2.4" height="6" class="redone-line" /></pattern>
      <clipPath id="track"><rect x="0" y=${y} width=${width} height=${barHeight} rx="5" /></clipPath>
    </defs>
    <g clip-path="url(#track)">
      <rect class="track" x="0" y=${y} width=${width} height=${barHeight} />
      <rect class="done" x="0" y=${y} width=${done} height=${barHeight} />
      ${redoneStretches(trial.redone).map(([first, last]) => html`<rect class="redone" x=${position(first, end, width)} y=${y} width=${Math.max(2, position(last, end, width) - position(first, end, width))} height=${barHeight} fill="url(#redone)" />`)}
    </g>
    <${EpochNames} groups=${groups.EPOCH_END} width=${width} epoch=${progress.epoch ?? 0} />
    ${groups.EVALUATION.map((group) => html`<${MarkerLine} key=${`v${group.first}`} kind="evaluation" group=${group} top=${y} height=${barHeight} width=${width} inside=${group.x <= done} />`)}
    ${groups.EPOCH_END.map((group) => html`<${MarkerLine} key=${`e${group.first}`} kind="epoch" group=${group} top=${epochTop} height=${epochHeight} width=${width} />`)}
    ${groups.SNAPSHOT.filter((group) => !group.planned).map((group) => html`<path key=${`s${group.first}`} class="snapshot" data-kind="snapshot" data-step=${group.first} data-count=${group.count} d=${notch(group.x, y + barHeight + 3)} />`)}
    ${trial.status === 'Running' && html`<rect class="head" x=${Math.max(0, done - 1.5)} y=${y - 3} width="3" height=${barHeight + 6} rx="1.5" />`}
    <text class="axis" x="0" y=${total - 8}>0</text>
    <text class="axis" x=${width} y=${total - 8} text-anchor="end">${progress.total_steps ? count(end) : '?'}</text>
  </svg>`
}

function notch(x, y) {
  return `M${x} ${y}l4 6.5h-8z`
}

/** A line of 2 px around its step; the outermost stay whole. */
function MarkerLine({ kind, group, top, height, width, inside }) {
  const x = Math.min(width - 1, Math.max(1, group.x))
  return html`<rect
    class="marker ${kind} ${group.planned ? 'planned' : ''} ${inside ? 'inside' : ''} ${group.count > 1 ? 'several' : ''}"
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

/** "E0" in the middle of each epoch, where there is room for it. */
function EpochNames({ groups, width, epoch }) {
  const labels = []
  let from = 0
  for (const group of groups) {
    const number = group.markers[0].epoch ?? 0
    if (group.count === 1 && group.x - from > 34) labels.push(html`<text key=${number} class="epoch-name ${number === epoch ? 'current' : ''}" x=${(from + group.x) / 2} y="10" text-anchor="middle">E${number}</text>`)
    from = group.x
  }
  return html`<g>${width > 0 && labels}</g>`
}

/** The charts' cursor, on this bar. */
function CursorLine({ state, end, width }) {
  const cursor = state.cursor.at.value
  if (!cursor) return null
  return html`<div class="monitor-cursor" style=${{ transform: `translateX(${position(cursor.step, end, width)}px)` }}></div>`
}

function Tip({ hover, state, trial, width }) {
  const { x, step, near } = hover
  const shownStep = near ? near.group.first : step
  const past = shownStep <= (trial.progress?.step ?? 0)
  const lines = near ? describe(near) : []
  const redone = (trial.redone ?? []).find(({ first_step = 0, last_step = 0 }) => step > first_step && step <= last_step)
  return html`<div class="tip" role="status" style=${{ transform: `translateX(clamp(0px, calc(${x}px - 50%), calc(${width}px - 100%)))` }}>
    <strong>Step ${count(shownStep)}${near?.group.count > 1 ? ` to ${count(near.group.last)}` : ''}</strong>
    ${past && html`<span>${timeOf(state, shownStep)}</span>`}
    ${!past && html`<span class="faint">planned</span>`}
    ${lines.map((line) => html`<span>${line}</span>`)}
    ${redone && html`<span class="faint">done twice: attempt ${redone.attempt} did it first</span>`}
  </div>`
}

function describe({ kind, group }) {
  const name = names[kind]
  if (group.count > 1) return [`${plural(group.count, name)}, closer than 4 px: shown as one`]
  const marker = group.markers[0]
  const lines = [kind === 'EPOCH_END' ? `epoch ${marker.epoch ?? 0} ends` : name]
  for (const [key, result] of Object.entries(numbers(marker.values))) lines.push(`${key} ${number(result)}`)
  if (marker.snapshot_id) lines.push(marker.snapshot_id)
  return lines
}

/** When a step was done: by the points of the charts. */
function timeOf(state, step) {
  for (const chart of state.series.charts.values()) {
    const series = chart.peek().overview.find((one) => !one.superseded)
    const index = series ? nearest(series, step) : -1
    if (index !== -1) return clock(series.times[index])
  }
  return ''
}

