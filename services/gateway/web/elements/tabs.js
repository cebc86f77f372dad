// What belongs to a runtime below its charts.
import { html } from '../html.js'
import { count } from '../functions/format.js'
import { parameter, setParameters } from '../state/location.js'
import { lazy } from './lazy.js'
import { Logs } from './logs.js'

const Events = lazy(() => import('./events.js').then((module) => module.Events))
const TrialTable = lazy(() => import('./trial_table.js').then((module) => module.TrialTable))
const Snapshots = lazy(() => import('./snapshots.js').then((module) => module.Snapshots))
const Configuration = lazy(() => import('./configuration.js').then((module) => module.Configuration))
const Instances = lazy(() => import('./instances.js').then((module) => module.Instances))

const tabs = [
  ['logs', 'Logs', Logs],
  ['events', 'Events', Events],
  ['trials', 'Trials', ({ state, open }) => html`<${TrialTable} trials=${state.trials} state=${state} open=${open} />`],
  ['snapshots', 'Snapshots', Snapshots],
  ['configuration', 'Configuration', Configuration],
  ['instances', 'Instances', Instances],
]
// Parameters that mean something in one tab only.
const own = { q: '', regex: '', level: '', rank: '', attempt: '', stream: '', line: '', step: '', all: '', scope: '', category: '', event: '', against: '', sort: '' }

export function Tabs({ state, open }) {
  const name = parameter('tab') || 'logs'
  const [, label, Content] = tabs.find(([one]) => one === name) ?? tabs[0]
  const select = (one) => setParameters({ ...own, tab: one === 'logs' ? '' : one })
  const onKeyDown = (event) => {
    const at = tabs.findIndex(([one]) => one === name)
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!by) return
    event.preventDefault()
    const next = tabs[(at + by + tabs.length) % tabs.length][0]
    select(next)
    document.getElementById(`tab-${next}`)?.focus()
  }
  const numbers = { trials: state.trials.value.length > 1 ? state.trials.value.length : 0 }
  return html`<section class="tabs card">
    <div class="tab-list" role="tablist" aria-label="Details" onKeyDown=${onKeyDown}>
      ${tabs.map(([one, text]) => html`<button type="button" role="tab" key=${one} id=${`tab-${one}`} aria-selected=${one === name} aria-controls="tab-panel" tabindex=${one === name ? 0 : -1} onClick=${() => select(one)}>${text}${numbers[one] ? html` <span class="faint">${count(numbers[one])}</span>` : ''}</button>`)}
    </div>
    <div class="tab-panel" id="tab-panel" role="tabpanel" aria-label=${label} key=${name}><${Content} state=${state} open=${open} /></div>
  </section>`
}
