// The charts of one trial, their tool bar, and what they share: axis, zoom, cursor.
import { html, useComputed, useEffect, useMemo, useSignal, useSignalEffect } from '../html.js'
import { count } from '../functions/format.js'
import { groupKeys } from '../functions/plot.js'
import { time } from '../functions/wire.js'
import { fixedKeys } from '../state/runtime.js'
import { parameter, setParameters } from '../state/location.js'
import { axes, nextOf, scales, setAxis, setScale, settings, toggleHidden, toggleSmoothing } from '../state/chart_settings.js'
import { smoothing } from '../state/preferences.js'
import { useKeys } from '../state/keyboard.js'
import { Choice } from './button.js'
import { Chart } from './chart.js'
import { Icon } from './icon.js'

const chartsAtFirst = 12
const overStatuses = ['Completed', 'Failed']

/** Zooming: the range is in the address, and each zoom can be gone back from. */
export function useZoom(store) {
  return useMemo(() => {
    const before = []
    const show = (view) => {
      store.zoom(view)
      setParameters({ from: view ? Math.round(view.from) : '', to: view ? Math.round(view.to) : '' })
    }
    const from = Number(parameter('from'))
    const to = Number(parameter('to'))
    if (to > from) store.zoom({ from, to })
    return {
      to(view, { replace = false } = {}) {
        if (!view || view.to - view.from < 1) return
        if (!replace) before.push(store.view.peek())
        show(view)
      },
      back: () => show(before.pop() ?? null),
      reset() {
        before.length = 0
        show(null)
      },
    }
  }, [store])
}

export function useChartKeys(zoom) {
  useKeys({
    s: toggleSmoothing,
    l: () => setScale(nextOf(scales, settings().scale)),
    x: () => setAxis(nextOf(axes, settings().axis)),
    r: () => zoom.reset(),
  })
}

export function Charts({ state }) {
  const store = state.series
  const zoom = useZoom(store)
  useChartKeys(zoom)
  const context = useComputed(() => contextOf(state.trial.value))
  const stable = useStable(context)
  const groups = groupKeys(state.seriesKeys.value.map((one) => one.key), fixedKeys)
  const closed = useSignal(new Set())
  const toggle = (prefix) => {
    const next = new Set(closed.value)
    if (!next.delete(prefix)) next.add(prefix)
    closed.value = next
  }
  return html`<section class="charts" aria-label="Charts">
    <${ChartBar} store=${store} zoom=${zoom} cursor=${state.cursor} oneTrial />
    <div class="chart-grid fixed">${fixedKeys.map((key) => html`<${Chart} key=${key} store=${store} cursor=${state.cursor} context=${stable} name=${key} zoom=${zoom} tall />`)}</div>
    ${groups.map(
      ({ prefix, name, keys }) => html`<section class="chart-group" key=${prefix}>
        <h2><button type="button" aria-expanded=${!closed.value.has(prefix)} onClick=${() => toggle(prefix)}><${Icon} name=${closed.value.has(prefix) ? 'right' : 'down'} size=${14} />${name}<span class="faint"> ${keys.length}</span></button></h2>
        ${!closed.value.has(prefix) && html`<${Grid} keys=${keys} store=${store} cursor=${state.cursor} context=${stable} zoom=${zoom} />`}
      </section>`,
    )}
  </section>`
}

/** The charts of a group: the first ones, and all if one asks for them. */
export function Grid({ keys, ...shared }) {
  const all = useSignal(false)
  const shown = all.value ? keys : keys.slice(0, chartsAtFirst)
  return html`<div class="chart-grid">${shown.map((key) => html`<${Chart} key=${key} name=${key} ...${shared} />`)}</div>
    ${keys.length > shown.length && html`<button type="button" class="button more-charts" onClick=${() => (all.value = true)}>Show ${count(keys.length - shown.length)} more</button>`}`
}

/** Progress arrives several times a second; charts are drawn again only when what they need of it changed. */
function useStable(context) {
  const stable = useSignal(context.peek())
  const last = useMemo(() => ({ text: '' }), [])
  useSignalEffect(() => {
    const next = context.value
    if (next.identity === last.text) return
    last.text = next.identity
    stable.value = next
  })
  return stable
}

function contextOf(trial) {
  const past = (trial?.markers ?? []).filter((marker) => !marker.planned)
  const ends = past.filter((marker) => marker.kind === 'EPOCH_END')
  const evaluations = past.filter((marker) => marker.kind === 'EVALUATION')
  const origin = time(trial?.start_time) ?? 0
  const perEpoch = trial?.progress?.steps_per_epoch || ends[0]?.step || 0
  const lines = (axis, hidden) => [
    ...(hidden.has('evaluations') ? [] : evaluations.map((marker) => ({ kind: 'evaluation', x: markerPosition(marker, axis, origin, perEpoch) }))),
    ...(hidden.has('epochs') ? [] : ends.map((marker) => ({ kind: 'epoch', x: markerPosition(marker, axis, origin, perEpoch) }))),
  ]
  return {
    contexts: new Map(trial ? [[trial.name, { origin, perEpoch, colour: 0 }]] : []),
    lines,
    over: overStatuses.includes(trial?.status),
    identity: [trial?.name, trial?.status, origin, perEpoch, ends.length, evaluations.length, ends.at(-1)?.step, evaluations.at(-1)?.step].join(),
  }
}

function markerPosition(marker, axis, origin, perEpoch) {
  if (axis === 'time') return ((time(marker.time) ?? origin) - origin) / 1000
  if (axis === 'wall') return (time(marker.time) ?? 0) / 1000
  if (axis === 'epoch' && perEpoch) return marker.step / perEpoch
  return marker.step
}

/** `oneTrial`: it has epochs, evaluations and abandoned tails to show, and a log below to go to. */
export function ChartBar({ store, zoom, cursor, oneTrial }) {
  const { axis, scale, weight, hidden } = settings()
  const view = store.view.value
  useKeys({ Escape: () => (cursor.pinned.peek() === undefined ? false : cursor.unpin()) })
  useEffect(() => store.setSuperseded(!hidden.has('superseded') && Boolean(oneTrial)), [hidden.has('superseded')])
  return html`<div class="chart-bar" role="toolbar" aria-label="Charts">
    <label class="tool"><span>x</span><${Choice} label="x axis" value=${axis} choices=${axes} onChange=${setAxis} /></label>
    <label class="tool"><span>y</span><${Choice} label="y scale" value=${scale} choices=${scales} onChange=${setScale} /></label>
    <label class="tool smoothing"><span>Smoothing</span>
      <input class="slider" type="range" min="0" max="0.99" step="0.01" value=${weight} onInput=${(event) => (smoothing.value = event.target.value)} aria-label="Smoothing of loss curves" />
      <output>${weight.toFixed(2)}</output>
    </label>
    ${
      oneTrial &&
      html`<span class="bar-break"></span><span class="tool toggles" role="group" aria-label="Lines">
        <${Toggle} name="epochs" label="Epochs" hidden=${hidden} />
        <${Toggle} name="evaluations" label="Evaluations" hidden=${hidden} />
        <${Toggle} name="superseded" label="Superseded" hidden=${hidden} />
      </span>`
    }
    <span class="tool-gap"></span>
    <${Pinned} cursor=${cursor} logs=${oneTrial} />
    ${view && html`<span class="tool zoomed">
      <span>${count(Math.round(view.from))} – ${count(Math.round(view.to))}</span>
      <button type="button" class="button small" aria-pressed=${store.following.value} onClick=${() => (store.following.value = !store.following.value)} title="Keep the newest step in sight">Follow</button>
      <button type="button" class="button small" onClick=${zoom.reset} title="Show everything (r)">Reset zoom</button>
    </span>`}
  </div>`
}

/** The step that a click or a key chose, and the way from there to the log. */
function Pinned({ cursor, logs }) {
  const step = cursor.pinned.value
  if (step === undefined) return null
  const toLog = () => {
    setParameters({ tab: '', step, line: '' })
    document.querySelector('.tabs')?.scrollIntoView({ behavior: 'smooth' })
  }
  return html`<span class="tool pinned"><span>Step ${count(step)}</span>
    ${logs && html`<button type="button" class="button small" onClick=${toLog} title="What was logged at this step">Log here</button>`}
    <button type="button" class="quiet" onClick=${() => cursor.unpin()} title="Let go of this step (Esc)" aria-label="Let go of this step"><${Icon} name="close" size=${12} /></button>
  </span>`
}

function Toggle({ name, label, hidden }) {
  return html`<button type="button" class="toggle" data-name=${name} aria-pressed=${!hidden.has(name)} onClick=${() => toggleHidden(name)}><i></i>${label}</button>`
}
