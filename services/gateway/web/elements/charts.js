// @ts-check
// The charts of one trial, their tool bar, and what they share: axis, zoom, cursor.
import { html, useComputed, useEffect, useMemo, useSignal, useSignalEffect } from '../html.js'
import { count } from '../functions/format.js'
import { changeSentence, firingMarkers } from '../functions/markers.js'
import { groupKeys } from '../functions/plot.js'
import { valueAt } from '../functions/series.js'
import { time } from '../functions/wire.js'
import { fixedKeys, isOver } from '../state/runtime.js'
import { parameter, setParameters } from '../state/location.js'
import {
  axes,
  nextOf,
  scales,
  setAxis,
  setScale,
  setSmoothing,
  settings,
  toggleHidden,
  toggleSmoothing,
} from '../state/chart_settings.js'
import { useKeys } from '../state/keyboard.js'
import { Choice } from './button.js'
import { Chart } from './chart.js'
import { Icon } from './icon.js'
import { useLookAlikes } from './series_name.js'
import { toPanel } from './sight.js'

/**
 * @import { Marker } from '../functions/markers.js'
 * @import { View } from '../functions/plot.js'
 * @import { Axis, Series } from '../functions/series.js'
 * @import { Cursor } from '../state/cursor.js'
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { ChartState, SeriesStore } from '../state/series_store.js'
 * @import { ReadonlySignal, Signal } from '../vendor/signals.js'
 * @import { Line } from './canvas.js'
 * @import { ChartContext } from './chart.js'
 */
/**
 * @typedef {{
 *   to: (view: View | null, how?: { replace?: boolean }) => void,
 *   back: () => void,
 *   reset: () => void,
 * }} Zoom
 */

const chartsAtFirst = 12

/**
 * Zooming: the range is in the address, and each zoom can be gone back from.
 *
 * @param {SeriesStore} store
 * @returns {Zoom}
 */
export function useZoom(store) {
  return useMemo(() => {
    /** @type {(View | null)[]} */
    const before = []
    /** @param {View | null} view */
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

/** @param {Zoom} zoom */
export function useChartKeys(zoom) {
  useKeys({
    s: toggleSmoothing,
    l: () => setScale(nextOf(scales, settings().scale)),
    x: () => setAxis(nextOf(axes, settings().axis)),
    r: () => zoom.reset(),
  })
}

/** @param {ChartState} chart */
function hasNoPoints({ overview }) {
  return overview.every((series) => series.lastSteps.length === 0)
}

/** @param {{ state: RuntimeState }} properties */
export function Charts({ state }) {
  const store = state.series
  const zoom = useZoom(store)
  useChartKeys(zoom)
  usePinInAddress(state.cursor)
  const context = useComputed(() => contextOf(state.trial.value, state.runtime.value, firingsOf(state)))
  const stable = useStable(context)
  const keys = state.seriesKeys.value.map((one) => one.key)
  const known = new Set(keys)
  // The list of keys is asked for now and then; what came since is in the chart.
  const never = state.seriesSettled.value
    ? fixedKeys.filter((key) => !known.has(key) && hasNoPoints(store.chart(key).value))
    : []
  const groups = groupKeys(keys, fixedKeys)
  const alike = useLookAlikes(useMemo(() => [...new Set([...fixedKeys, ...keys])], [state.seriesKeys.value])).value
  /** @type {Signal<Set<string>>} */
  const closed = useSignal(new Set())
  /** @param {string} prefix */
  const toggle = (prefix) => {
    const next = new Set(closed.value)
    if (!next.delete(prefix)) next.add(prefix)
    closed.value = next
  }
  return html`<section class="charts" aria-label="Charts">
    <${ChartBar}
      store=${store}
      zoom=${zoom}
      cursor=${state.cursor}
      fired=${state.firings.value.length > 0}
      oneTrial
    />
    <div class="chart-grid fixed">
      ${fixedKeys
        .filter((key) => !never.includes(key))
        .map(
          (key) => html`<${Chart}
            key=${key}
            store=${store}
            cursor=${state.cursor}
            context=${stable}
            name=${key}
            zoom=${zoom}
            alike=${alike}
            tall
          />`,
        )}
    </div>
    ${
      never.length > 0 &&
      html`<p class="never-logged faint">
        Never logged: ${never.map((key, i) => html`${i > 0 ? ', ' : ''}<code key=${key}>${key}</code>`)}
      </p>`
    }
    ${groups.map(
      ({ prefix, name, keys: ofGroup }) => html`<section class="chart-group" key=${prefix}>
        <h2>
          <button type="button" aria-expanded=${!closed.value.has(prefix)} onClick=${() => toggle(prefix)}>
            <${Icon} name=${closed.value.has(prefix) ? 'right' : 'down'} size=${14} />
            ${name}
            <span class="faint"> ${ofGroup.length}</span>
          </button>
        </h2>
        ${
          !closed.value.has(prefix) &&
          html`<${Grid}
            keys=${ofGroup}
            store=${store}
            cursor=${state.cursor}
            context=${stable}
            zoom=${zoom}
            alike=${alike}
          />`
        }
      </section>`,
    )}
  </section>`
}

/**
 * A link shows the step that was pinned.
 *
 * @param {Cursor} cursor
 */
function usePinInAddress(cursor) {
  useMemo(() => {
    const step = Number(parameter('pin'))
    if (step > 0) cursor.pin(step)
  }, [cursor])
  useSignalEffect(() => {
    const step = cursor.pinned.value
    setParameters({ pin: step ?? '' })
  })
}

/**
 * The charts of a group: the first ones, and all if one asks for them.
 *
 * @param {{ keys: string[] } & Record<string, unknown>} properties
 */
export function Grid({ keys, ...shared }) {
  const all = useSignal(false)
  const shown = all.value ? keys : keys.slice(0, chartsAtFirst)
  return html`
    <div class="chart-grid">${shown.map((key) => html`<${Chart} key=${key} name=${key} ...${shared} />`)}</div>
    ${
      keys.length > shown.length &&
      html`<button type="button" class="button more-charts" onClick=${() => (all.value = true)}>
        Show ${count(keys.length - shown.length)} more
      </button>`
    }
  `
}

/**
 * Progress arrives several times a second; charts are drawn again only when what they need of it changed.
 *
 * @param {ReadonlySignal<ChartContext>} context
 */
function useStable(context) {
  const stable = useSignal(context.peek())
  const last = useMemo(() => ({ text: '' }), [])
  useSignalEffect(() => {
    const next = context.value
    if (next.identity === last.text) return
    last.text = next.identity ?? ''
    stable.value = next
  })
  return stable
}

/** @param {RuntimeState} state */
function firingsOf({ firings, trialNumber, runtime, past }) {
  // A past moment comes with the runtime as it was.
  return runtime.value ? firingMarkers(firings.value, trialNumber.value, past) : []
}

/**
 * @param {Api.Trial | undefined} trial
 * @param {Api.Runtime | null} runtime
 * @param {Marker[]} firings
 * @returns {ChartContext}
 */
function contextOf(trial, runtime, firings) {
  const past = (trial?.markers ?? []).filter((marker) => !marker.planned)
  const ends = past.filter((marker) => marker.kind === 'EPOCH_END')
  const evaluations = past.filter((marker) => marker.kind === 'EVALUATION')
  const changes = past.filter((marker) => marker.kind === 'PARAMETERS_CHANGED')
  const changed = changes.map((marker) => ({ ...marker, sentence: changeSentence(marker) }))
  const origin = time(trial?.start_time) ?? 0
  const perEpoch = trial?.progress?.steps_per_epoch || ends[0]?.step || 0
  /**
   * @param {Marker} marker
   * @param {Line['kind']} kind
   * @param {Axis} axis
   * @param {Series} [tokens]
   */
  const lineAt = (marker, kind, axis, tokens) => ({
    kind,
    x: markerPosition(marker, axis, origin, perEpoch, tokens),
    sentence: marker.sentence,
  })
  /**
   * @param {Axis} axis
   * @param {Set<string>} hidden
   * @param {Map<string, Series>} [tokens]
   * @returns {Line[]}
   */
  const lines = (axis, hidden, tokens) => {
    /** @type {[Marker[], Line['kind']][]} */
    const shown = [
      [hidden.has('evaluations') ? [] : evaluations, 'evaluation'],
      [hidden.has('epochs') ? [] : ends, 'epoch'],
      [changed, 'change'],
      [hidden.has('firings') ? [] : firings, 'firing'],
    ]
    const read = trial && tokens?.get(trial.name)
    return shown.flatMap(([markers, kind]) => markers.map((marker) => lineAt(marker, kind, axis, read)))
  }
  return {
    contexts: new Map(trial ? [[trial.name, { origin, perEpoch, colour: 0 }]] : []),
    lines,
    over: isOver(trial),
    run: runtime?.display_name || runtime?.runtime_id || '',
    identity: [
      runtime?.display_name,
      trial?.name,
      trial?.status,
      origin,
      perEpoch,
      ends.length,
      evaluations.length,
      ends.at(-1)?.step,
      evaluations.at(-1)?.step,
      ...[...changed, ...firings].map((marker) => `${marker.step} ${marker.sentence}`),
    ].join(),
  }
}

/**
 * @param {Marker} marker
 * @param {Axis} axis
 * @param {number} origin
 * @param {number} perEpoch
 * @param {Series} [tokens]
 */
function markerPosition(marker, axis, origin, perEpoch, tokens) {
  if (axis === 'time') return ((time(marker.time) ?? origin) - origin) / 1000
  if (axis === 'wall') return (time(marker.time) ?? 0) / 1000
  if (axis === 'epoch' && perEpoch) return marker.step / perEpoch
  if (axis === 'tokens' && tokens?.lastSteps.length) return valueAt(tokens, marker.step)
  return marker.step
}

/**
 * `oneTrial`: it has epochs, evaluations and abandoned tails to show, and a log below to go to; `fired`: rules found
 * something.
 *
 * @param {{ store: SeriesStore, zoom: Zoom, cursor: Cursor, oneTrial?: boolean, fired?: boolean }} properties
 */
export function ChartBar({ store, zoom, cursor, oneTrial, fired }) {
  const { axis, scale, weight, hidden } = settings()
  const view = store.view.value
  useKeys({ Escape: () => (cursor.pinned.peek() === undefined ? false : cursor.unpin()) })
  useEffect(() => store.setSuperseded(!hidden.has('superseded') && Boolean(oneTrial)), [hidden.has('superseded')])
  return html`<div class="chart-bar" role="toolbar" aria-label="Charts">
    <label class="tool">
      <span>x</span><${Choice} label="x axis" value=${axis} choices=${axes} onChange=${setAxis} />
    </label>
    <label class="tool">
      <span>y</span><${Choice} label="y scale" value=${scale} choices=${scales} onChange=${setScale} />
    </label>
    <label class="tool smoothing">
      <span>Smoothing</span>
      <input
        class="slider"
        type="range"
        min="0"
        max="0.99"
        step="0.01"
        value=${weight}
        onInput=${(event) => setSmoothing(event.target.value)}
        aria-label="Smoothing of loss curves"
      />
      <output>${weight.toFixed(2)}</output>
    </label>
    ${
      oneTrial &&
      html`
        <span class="bar-break"></span>
        <span class="tool toggles" role="group" aria-label="Lines">
          <${Toggle} name="epochs" label="Epochs" hidden=${hidden} />
          <${Toggle} name="evaluations" label="Evaluations" hidden=${hidden} />
          <${Toggle} name="superseded" label="Superseded" hidden=${hidden} />
          ${fired && html`<${Toggle} name="firings" label="Rules" hidden=${hidden} />`}
        </span>
      `
    }
    <span class="tool-gap"></span>
    <${Pinned} cursor=${cursor} logs=${oneTrial} />
    ${
      view &&
      html`<span class="tool zoomed">
        <span>${count(Math.round(view.from))} – ${count(Math.round(view.to))}</span>
        <button
          type="button"
          class="button small"
          aria-pressed=${store.following.value}
          onClick=${() => (store.following.value = !store.following.value)}
          title="Keep the newest step in sight"
        >
          Follow
        </button>
        <button type="button" class="button small" onClick=${zoom.reset} title="Show everything (r)">Reset zoom</button>
      </span>`
    }
  </div>`
}

/**
 * The step that a click or a key chose, and the way from there to the log.
 *
 * @param {{ cursor: Cursor, logs?: boolean }} properties
 */
function Pinned({ cursor, logs }) {
  const step = cursor.pinned.value
  if (step === undefined) return null
  const toLog = () => {
    setParameters({ tab: '', step, line: '' })
    toPanel()
  }
  return html`<span class="tool pinned">
    <span>Step ${count(step)}</span>
    ${
      logs &&
      html`<button type="button" class="button small" onClick=${toLog} title="What was logged at this step">
        Log here
      </button>`
    }
    <button
      type="button"
      class="quiet"
      onClick=${() => cursor.unpin()}
      title="Let go of this step (Esc)"
      aria-label="Let go of this step"
    >
      <${Icon} name="close" size=${12} />
    </button>
  </span>`
}

/** @param {{ name: string, label: string, hidden: Set<string> }} properties */
function Toggle({ name, label, hidden }) {
  return html`<button
    type="button"
    class="toggle"
    data-name=${name}
    aria-pressed=${!hidden.has(name)}
    onClick=${() => toggleHidden(name)}
  >
    <i></i>${label}
  </button>`
}
