// One chart: a series of one or more trials against the axis that was chosen for all charts.
import { html, useComputed, useEffect, useMemo, useRef, useSignal, useSignalEffect } from '../html.js'
import { clock, count, plural, value as number } from '../functions/format.js'
import { csv } from '../functions/csv.js'
import { linearBelow, nearestIndex, plot, positionOf, smoothedByDefault, stepsBetween, titleOf } from '../functions/plot.js'
import { address } from '../functions/query.js'
import { pythonQuery } from '../functions/python.js'
import { appearance } from '../state/preferences.js'
import { settings } from '../state/chart_settings.js'
import { copyText } from './button.js'
import { Canvas, axisWidth } from './canvas.js'
import { Icon } from './icon.js'
import { Menu } from './menu.js'

const aheadOfView = '250px'
const briefFrom = 2
const tipGap = 14

/** `context` is a signal of {contexts, lines(axis)}; `cursor` is shared by all charts of the page. */
export function Chart({ store, cursor, context, name, zoom, tall }) {
  const data = useMemo(() => store.chart(name), [store, name])
  const figure = useRef(null)
  const root = useRef(null)
  const canvas = useRef(null)
  const size = useSignal({ width: 0, height: 0 })
  const visible = useSignal(false)
  const hover = useSignal(null)
  const table = useSignal(false)
  const smoothThis = useSignal(smoothedByDefault(name))
  const large = useSignal(false)
  const over = useComputed(() => context.value.over)
  useEffect(() => watchSize(figure.current, root.current, size, visible), [])
  useEffect(() => {
    const events = {
      onCursor: (at) => onCursor(at, { canvas: canvas.current, hover, cursor, name }),
      onSelect: (low, high) => zoom.to(stepsBetween(canvas.current.plot.traces, low, high, settings().axis)),
      onPin: () => cursor.pin(cursor.hovered.peek()?.step),
      onBack: () => {
        cursor.unpin()
        zoom.back()
      },
      onPan: (low, high) => zoom.to(stepsBetween(canvas.current.plot.traces, low, high, settings().axis), { replace: true }),
      onWheel: (low, high) => zoom.to(stepsBetween(canvas.current.plot.traces, low, high, settings().axis), { replace: true }),
    }
    canvas.current = new Canvas(root.current, events)
    return () => canvas.current.destroy()
  }, [])
  useSignalEffect(() => {
    const { width, height } = size.value
    const shown = data.value
    const { contexts, lines } = context.value
    const { axis, scale, weight, hidden } = settings()
    const look = appearance.value
    const view = store.view.value
    if (!visible.value || width === 0) return
    const list = (view && shown.detail ? shown.detail : shown.overview).filter((one) => !(one.superseded && hidden.has('superseded')))
    const drawn = plot(list, { axis, scale, weight: smoothThis.value ? weight : 0, contexts })
    const linear = scale === 'symlog' ? linearBelow(list) : 1
    canvas.current.update(drawn, viewOn(axis, view, drawn.traces), lines(axis, hidden), { axis, scale, linear, appearance: look, width, height })
    if (cursor.at.peek()?.source !== name) canvas.current.showStep(cursor.at.peek()?.step, axis)
  })
  useSignalEffect(() => {
    const at = cursor.at.value
    if (at?.source === name) return
    hover.value = null
    if (visible.peek()) canvas.current?.showStep(at?.step, settings().axis)
  })
  const onKeyDown = (event) => moveByKey(event, { data: data.peek(), cursor })
  const { overview, detail, loading, error } = data.value
  const list = store.view.value && detail ? detail : overview
  const lineage = list.filter((one) => !one.superseded)
  const points = lineage.reduce((sum, one) => sum + one.lastSteps.length, 0)
  const odd = lineage.flatMap((one) => one.counts.map((n, i) => (one.nans[i] || one.positives[i] || one.negatives[i] ? one.lastSteps[i] : 0)).filter(Boolean))
  return html`<figure class="chart card ${tall ? 'tall' : ''} ${large.value ? 'large' : ''}" ref=${figure} tabindex="0" aria-label=${`${titleOf(name)}, ${name}`} data-key=${name} data-nan-steps=${odd.join(' ')} onKeyDown=${onKeyDown}>
    <figcaption>
      <span class="chart-title" title=${name}>${titleOf(name)}</span><span class="chart-key">${name}</span>
      <${Readout} data=${data} cursor=${cursor} store=${store} />
      <${ChartMenu} ...${{ store, name, data, canvas, table, smoothThis, large, list }} />
    </figcaption>
    <div class="chart-body" ref=${root} hidden=${table.value} data-empty=${points === 0}>
      ${hover.value && html`<${Tooltip} hover=${hover.value} canvas=${canvas.current} width=${size.value.width} />`}
    </div>
    ${table.value && html`<${Table} list=${list} name=${name} />`}
    <p class="chart-foot">${error ? html`<span class="bad">${error}</span>` : loading ? 'Loading…' : footText(name, list, odd, store.firstOdd.value.get(name), over.value)}</p>
  </figure>`
}

function watchSize(figure, root, size, visible) {
  const resize = new ResizeObserver(() => {
    if (root.clientWidth > 0) size.value = { width: root.clientWidth, height: root.clientHeight }
  })
  resize.observe(root)
  const seen = new IntersectionObserver((entries) => (visible.value = entries.at(-1).isIntersecting), { rootMargin: aheadOfView })
  seen.observe(figure)
  return () => {
    resize.disconnect()
    seen.disconnect()
  }
}

function viewOn(axis, view, traces) {
  if (!view) return null
  if (axis === 'step') return [view.from, view.to]
  const low = positionOf(traces, view.from, axis)
  const high = positionOf(traces, view.to, axis)
  return low === undefined || low === high ? null : [low, high]
}

function onCursor(at, { canvas, hover, cursor, name }) {
  if (!at || !canvas) {
    hover.value = null
    cursor.leave(name)
    return
  }
  let best
  for (const { xs, series } of canvas.plot.traces) {
    const i = nearestIndex(xs, at.x)
    if (i === -1) continue
    const distance = Math.abs(xs[i] - at.x)
    if (!best || distance < best.distance) best = { distance, step: series.lastSteps[i] }
  }
  hover.value = at
  if (best) cursor.hover(best.step, name)
}

/** Arrow keys go from point to point. */
function moveByKey(event, { data, cursor }) {
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
  const series = (data.detail ?? data.overview).find((one) => !one.superseded)
  if (!series || series.lastSteps.length === 0) return
  event.preventDefault()
  const at = cursor.at.peek()?.step
  const from = at === undefined ? series.lastSteps.length : nearestIndex(series.lastSteps, at)
  const next = Math.min(series.lastSteps.length - 1, Math.max(0, from + (event.key === 'ArrowLeft' ? -1 : 1)))
  cursor.pin(series.lastSteps[next])
}

/** The value under the cursor, or the last one. Of several trials one value would belong to nobody: the tooltip has them. */
function Readout({ data, cursor, store }) {
  const { overview, detail } = data.value
  const series = (store.view.value && detail ? detail : overview).find((one) => !one.superseded)
  if (!series || series.lastSteps.length === 0 || store.parents.length > 1) return html`<span class="readout"></span>`
  const at = cursor.at.value?.step
  const i = at === undefined ? series.lastSteps.length - 1 : nearestIndex(series.lastSteps, at)
  const last = series.lasts[i]
  return html`<span class="readout"><span class="readout-step">${count(series.lastSteps[i])}</span><b class=${Number.isFinite(last) ? '' : 'bad'}>${number(last)}</b></span>`
}

function footText(name, list, odd, firstOdd, over) {
  const lineage = list.filter((one) => !one.superseded)
  const points = lineage.reduce((sum, one) => sum + one.counts.reduce((a, b) => a + b, 0), 0)
  if (points === 0 && over) return html`No points: <code>${name}</code> was never logged`
  if (points === 0) return html`No points yet: <code>trial.log({"${name}": …})</code>`
  const width = Math.max(...lineage.map((one) => one.width))
  const raw = lineage.every((one) => one.raw)
  const bucket = raw ? 'raw points' : `bucket = ${plural(width, 'step')}`
  const missing = odd.length > 0 ? html`<span class="bad"> · not finite since step ${count(firstOdd ?? odd[0])}</span>` : ''
  return html`${bucket} · ${plural(points, 'point')}${missing}`
}

function Tooltip({ hover, canvas, width }) {
  const traces = canvas?.plot?.traces ?? []
  const rows = traces
    .map((trace) => ({ trace, i: nearestIndex(trace.xs, hover.x) }))
    .filter(({ trace, i }) => i !== -1 && Math.abs(canvas.left(trace.xs[i]) - hover.left) < (trace.superseded ? 4 : 24))
  if (rows.length === 0) return null
  const names = new Set(traces.map((trace) => trace.series.parent)).size > 1 ? nameOfTrial : nameOfAttempt
  const first = rows.find(({ trace }) => !trace.superseded) ?? rows[0]
  const { series } = first.trace
  // Beside the pointer, on the side with more room, and never beyond the chart: percentages are of the tooltip's own width.
  const x = hover.left + axisWidth
  const beside = x > width / 2 ? `max(0px, calc(${x - tipGap}px - 100%))` : `min(${x + tipGap}px, calc(${width}px - 100%))`
  return html`<div class="tip chart-tip" style=${{ transform: `translate(${beside}, 12px)` }}>
    <strong>${stepText(series, first.i)}</strong>
    <span class="faint">${clock(series.times[first.i])}</span>
    ${rows.map(({ trace, i }) => html`<${TipRow} trace=${trace} i=${i} name=${rows.length > 1 ? names(trace, i) : ''} brief=${rows.length > briefFrom} />`)}
  </div>`
}

function stepText(series, i) {
  const [from, to] = [series.firstSteps[i], series.lastSteps[i]]
  return from === to ? `Step ${count(to)}` : `Steps ${count(from)} to ${count(to)}`
}

function nameOfTrial({ series, name }) {
  return name ?? series.parent.replace(/^runtimes\//, '').replace('/trials/', ' · trial ')
}

function nameOfAttempt({ series, superseded }, i) {
  return superseded ? `attempt ${series.attempt}, superseded` : `attempt ${series.attempts[i]}`
}

/** `brief`: the value alone, where many lines share one tooltip. */
function TipRow({ trace, i, name, brief }) {
  const { series } = trace
  const points = series.counts[i]
  const odd = [[series.nans[i], 'NaN'], [series.positives[i], '+∞'], [series.negatives[i], '−∞']].filter(([n]) => n > 0)
  return html`<div class="tip-row" data-colour=${(trace.colour % 10) + 1} data-superseded=${trace.superseded} data-brief=${brief}>
    ${name && html`<span class="tip-name"><i></i><span>${name}</span></span>`}
    <span class="tip-value">${number(series.lasts[i])}</span>
    ${!brief && trace.smooth && html`<span class="faint">smoothed ${number(trace.smooth[i])}</span>`}
    ${!brief && points > 1 && html`<dl class="tip-facts"><dt>min</dt><dd>${number(series.mins[i])}</dd><dt>max</dt><dd>${number(series.maxs[i])}</dd><dt>mean</dt><dd>${number(series.means[i])}</dd><dt>points</dt><dd>${count(points)}</dd></dl>`}
    ${odd.length > 0 && html`<span class="bad">${odd.map(([n, word]) => `${count(n)} × ${word}`).join(', ')}</span>`}
  </div>`
}

function ChartMenu({ store, name, data, canvas, table, smoothThis, large, list }) {
  const file = name.replaceAll('/', '_')
  const items = [
    [table.value ? 'As chart' : 'As table', () => (table.value = !table.value)],
    [large.value ? 'Usual size' : 'Large', () => (large.value = !large.value)],
    [smoothThis.value ? 'Do not smooth' : 'Smooth', () => (smoothThis.value = !smoothThis.value)],
    ['Save PNG', () => savePicture(canvas.current.chart, name, `${file}.png`)],
    ['Save CSV (what is shown)', () => save(new Blob([csv(list)], { type: 'text/csv' }), `${file}.csv`)],
    ['Save Arrow (all points)', () => (window.location.href = address('/api/v1/series:export', { parents: store.parents, keys: [name], include_superseded: true, format: 'arrow' }))],
    ['Copy as Python', () => copyText(pythonQuery({ parents: store.parents, keys: [name], view: store.view.peek() }))],
  ]
  return html`<${Menu} label=${`Options of ${titleOf(name)}`} items=${items}><${Icon} name="more" /><//>`
}

function Table({ list, name }) {
  const rows = list.filter((one) => !one.superseded).flatMap((one) => one.lastSteps.map((step, i) => [one, step, i]))
  return html`<div class="table-frame" tabindex="0" role="region" aria-label=${`${name} as a table`}>
    <table class="plain">
      <thead><tr><th scope="col">Step</th><th scope="col">Last</th><th scope="col">Min</th><th scope="col">Max</th><th scope="col">Mean</th><th scope="col">Points</th></tr></thead>
      <tbody>${rows.map(([one, step, i]) => html`<tr><td>${count(step)}</td><td>${number(one.lasts[i])}</td><td>${number(one.mins[i])}</td><td>${number(one.maxs[i])}</td><td>${number(one.means[i])}</td><td>${count(one.counts[i])}</td></tr>`)}</tbody>
    </table>
  </div>`
}

export function save(blob, name) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/** The drawing with its title, on the colour of the page. */
function savePicture(chart, name, file) {
  const drawn = chart.ctx.canvas
  const ratio = devicePixelRatio
  const picture = document.createElement('canvas')
  picture.width = drawn.width
  picture.height = drawn.height + 32 * ratio
  const ctx = picture.getContext('2d')
  const style = getComputedStyle(chart.root.closest('.card'))
  ctx.fillStyle = style.backgroundColor
  ctx.fillRect(0, 0, picture.width, picture.height)
  ctx.fillStyle = style.color
  ctx.font = `600 ${14 * ratio}px ${style.fontFamily}`
  ctx.fillText(`${titleOf(name)} (${name})`, 12 * ratio, 22 * ratio)
  ctx.drawImage(drawn, 0, 32 * ratio)
  picture.toBlob((blob) => save(blob, file), 'image/png')
}

