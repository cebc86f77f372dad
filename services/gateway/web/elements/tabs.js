// @ts-check
// What belongs to a runtime below its charts.
import { html, useEffect, useSignal } from '../html.js'
import { count } from '../functions/format.js'
import { parameter, setParameters } from '../state/location.js'
import { lazy, stylesheet } from './lazy.js'
import { Logs } from './logs.js'
import { toCharts, toPanel } from './sight.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Open } from './commands.js'
 */

const Samples = lazy(() =>
  Promise.all([import('./samples.js'), stylesheet('/static/css/samples.css')]).then(([module]) => module.Samples),
)
const Events = lazy(() => import('./events.js').then((module) => module.Events))
const TrialTable = lazy(() => import('./trial_table.js').then((module) => module.TrialTable))
const Snapshots = lazy(() => import('./snapshots.js').then((module) => module.Snapshots))
const Configuration = lazy(() => import('./configuration.js').then((module) => module.Configuration))
const Instances = lazy(() => import('./instances.js').then((module) => module.Instances))

/** @typedef {(given: { state: RuntimeState, open?: Open }) => unknown} Panel */

/** @type {[string, string, Panel][]} */
const tabs = [
  ['logs', 'Logs', Logs],
  ['samples', 'Samples', Samples],
  ['events', 'Events', Events],
  ['trials', 'Trials', ({ state, open }) => html`<${TrialTable} trials=${state.trials} state=${state} open=${open} />`],
  ['snapshots', 'Snapshots', Snapshots],
  ['configuration', 'Configuration', Configuration],
  ['instances', 'Instances', Instances],
]
// Parameters that mean something in one tab only.
const own = {
  q: '',
  rows: '',
  score: '',
  prompt: '',
  group: '',
  regex: '',
  level: '',
  rank: '',
  attempt: '',
  stream: '',
  line: '',
  step: '',
  all: '',
  scope: '',
  category: '',
  event: '',
  against: '',
  sort: '',
}

// A link that has one of these leads to what belongs to a tab.
const linked = ['tab', 'line', 'event']

/**
 * Stays in sight under the header: from anywhere on a long page one click leads to each of them.
 *
 * @param {{ state: RuntimeState }} properties
 */
export function TabList({ state }) {
  const name = parameter('tab') || 'logs'
  // On a phone not all of them have room.
  useEffect(() => {
    const tab = document.getElementById(`tab-${name}`)
    if (!tab) return
    const [bar, { left, right }] = [tab.closest('.tab-bar'), tab.getBoundingClientRect()]
    if (!bar) return
    const frame = bar.getBoundingClientRect()
    bar.scrollLeft += Math.max(0, right - frame.right) - Math.max(0, frame.left - left)
  }, [name])
  // Which of the two is on the screen: the charts, or what belongs to the chosen tab.
  const at = useSignal('charts')
  useEffect(() => {
    const panel = document.querySelector('.tabs')
    if (!panel) return
    /** @param {IntersectionObserverEntry[]} entries */
    const onMove = ([entry]) => (at.value = entry.isIntersecting ? 'panel' : 'charts')
    const observer = new IntersectionObserver(onMove, { rootMargin: '0px 0px -50% 0px' })
    observer.observe(panel)
    return () => observer.disconnect()
  }, [])
  /** @param {string} one */
  const select = (one) => {
    setParameters({ ...own, tab: one === 'logs' ? '' : one })
    toPanel()
  }
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const at = tabs.findIndex(([one]) => one === name)
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!by) return
    event.preventDefault()
    const next = tabs[(at + by + tabs.length) % tabs.length][0]
    select(next)
    document.getElementById(`tab-${next}`)?.focus({ preventScroll: true })
  }
  /** @type {Record<string, number>} */
  const numbers = { trials: state.trials.value.length > 1 ? state.trials.value.length : 0 }
  return html`<div class="tab-bar" data-at=${at.value}>
    <button
      type="button"
      class="to-charts"
      onClick=${toCharts}
    >
      Charts
    </button>
    <div class="tab-list" role="tablist" aria-label="Details" onKeyDown=${onKeyDown}>
      ${tabs.map(
        ([one, text]) => html`<button
          type="button"
          role="tab"
          key=${one}
          id=${`tab-${one}`}
          aria-selected=${one === name}
          aria-controls="tab-panel"
          tabindex=${one === name ? 0 : -1}
          onClick=${() => select(one)}
        >
          ${text}${numbers[one] ? html` <span class="faint">${count(numbers[one])}</span>` : ''}
        </button>`,
      )}
    </div>
  </div>`
}

/** @param {{ state: RuntimeState, open?: Open }} properties */
export function TabPanel({ state, open }) {
  const name = parameter('tab') || 'logs'
  useEffect(() => {
    // Whoever was sent a link to a tab, a line or an event wants to see it. After a reload the browser knows the place.
    const [came] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType('navigation'))
    if (came?.type === 'navigate' && linked.some(parameter)) toPanel('instant')
  }, [])
  const [, label, Content] = tabs.find(([one]) => one === name) ?? tabs[0]
  return html`<div class="tabs">
    <section class="card">
      <div class="tab-panel" id="tab-panel" role="tabpanel" aria-label=${label} key=${name}>
        <${Content} state=${state} open=${open} />
      </div>
    </section>
  </div>`
}
