// @ts-check
// What is watched for in runs, what was found, and who was told of it.
import { html, useEffect, useMemo, useSignal } from '../html.js'
import { ApiError, get, getAll, post } from '../api.js'
import { count, duration, plural, words } from '../functions/format.js'
import { address } from '../functions/query.js'
import {
  cameTo,
  daily,
  firingAddress,
  firingPlace,
  followed,
  isOfRun,
  isOpen,
  lookedFor,
  openFirst,
  ruleFile,
  ruleId,
} from '../functions/rules.js'
import { time } from '../functions/wire.js'
import { openFirings } from '../state/bell.js'
import { useKeys } from '../state/keyboard.js'
import { navigate, parameter, setParameters } from '../state/location.js'
import { mayChange } from '../state/session.js'
import { Action, Copy } from './button.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { lazy, stylesheet } from './lazy.js'
import { Ago } from './live_time.js'
import { Shell } from './shell.js'
import { Tag } from './status.js'

/** @import { Signal } from '../vendor/signals.js' */
/**
 * @typedef {{
 *   rules: Api.Rule[],
 *   firings: Api.Firing[],
 *   notifications: Api.Notification[],
 *   destinations: Api.ListDestinationsResponse,
 *   names: Map<string, string>,
 *   more: boolean,
 * }} Found
 */

const formSheet = () => stylesheet('/static/css/rule_form.css')
const RuleForm = lazy(() => Promise.all([import('./rule_form.js'), formSheet()]).then(([module]) => module.RuleForm))
const RuleTrial = lazy(() => Promise.all([import('./rule_trial.js'), formSheet()]).then(([module]) => module.RuleTrial))

const refreshPause = 5_000
const firingsAsked = 1000
const rowsAtFirst = 25
const exampleDestinations = 'destinations: {chat: {url: env:CHAT_URL, format: slack}}'
/** @type {Record<string, string>} */
const severityTones = { INFO: 'neutral', WARNING: 'warning', CRITICAL: 'bad' }
/** @type {Record<string, string>} */
const stateTones = { DELIVERED: 'good', PENDING: 'warning', FAILED: 'bad' }
/** @type {Record<string, string>} */
const deedTones = { TAKEN: 'good', PENDING: 'warning', FAILED: 'bad' }
/** @type {Record<string, string>} */
const endings = {
  RECOVERED: 'it is over',
  SUPERSEDED: 'its steps were abandoned',
  ENDED: 'its trial came to rest',
  RULE_CHANGED: 'the rule was changed',
}

export function RulesPage() {
  /** @type {Signal<Found | null>} */
  const found = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const load = async () => {
    try {
      found.value = await ask()
      error.value = null
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure
      error.value = failure
    }
  }
  useEffect(() => {
    document.title = 'Rules · Milepost'
    load()
    const timer = setInterval(() => document.hidden || load(), refreshPause)
    return () => clearInterval(timer)
  }, [])
  // What fires is seen at once, and the rest soon.
  const open = openFirings.value?.sequence
  useEffect(() => {
    if (found.peek()) load()
  }, [open])
  useKeys({ Escape: leave })
  const all = found.value
  return html`<${Shell} page="rules" alone crumbs=${html`<h1 class="off-screen">Rules</h1>`}>
    <div class="list-page rules-page">
      <${Problem} error=${error.value} />
      ${!all && !error.value && html`<div class="page-loading" aria-busy="true"></div>`}
      ${all && html`<${Sections} found=${all} load=${load} />`}
    </div>
  <//>`
}

/** Close what is open, else the page. */
function leave() {
  if (parameter('new')) setParameters({ new: '', run: '', trial: '' })
  else if (parameter('rule')) setParameters({ rule: '' })
  else navigate('/')
}

/** @returns {Promise<Found>} */
async function ask() {
  const chosen = parameter('rule')
  const [own, rules, newest, open, notifications, destinations, runs] = await Promise.all([
    // Those of a run are on its page; one that is asked for is here too.
    isOfRun(chosen) ? get(`/rules/${encodeURIComponent(chosen)}`) : null,
    getAll('/rules', 'rules', { page_size: 1000 }),
    get('/rules/-/firings', { page_size: firingsAsked }),
    // However long ago.
    get('/rules/-/firings', { page_size: firingsAsked, open_only: true }),
    get('/rules/-/notifications', { page_size: 200 }),
    get('/destinations'),
    get('/runtimes', { page_size: 200 }),
  ])
  const firings = new Map([...open.firings, ...newest.firings].map((one) => [one.event_id, one]))
  return {
    rules: [...(own?.rule ? [own.rule] : []), ...(rules.rules ?? [])],
    firings: openFirst([...firings.values()]),
    notifications: notifications.notifications ?? [],
    destinations,
    names: new Map((runs.runtimes ?? []).map((one) => [one.name, one.display_name])),
    more: Boolean(newest.next_page_token),
  }
}

/** @param {{ found: Found, load: () => Promise<void> }} properties */
function Sections({ found, load }) {
  const chosen = parameter('rule')
  const firings = found.firings.filter((one) => !chosen || one.fired?.rule_id === chosen)
  const told = found.notifications.filter((one) => !chosen || one.rule === `rules/${chosen}`)
  const open = firings.filter(isOpen).length
  const making = parameter('new') !== ''
  const made = (/** @type {string} */ id) => {
    setParameters({ new: '', run: '', trial: '', rule: id })
    load()
  }
  const whose = chosen ? html` <span class="faint">of <code>${chosen}</code></span>` : ''
  return html`
    <section class="card padded" aria-label="Rules">
      <div class="rules-head">
        <h2>Rules <span class="faint">${count(found.rules.length)}</span></h2>
        ${
          mayChange() &&
          !making &&
          html`<button type="button" class="button small" onClick=${() => setParameters({ new: 'train/loss' })}>
            New rule
          </button>`
        }
      </div>
      ${making && html`<${RuleForm} destinations=${destinationsOf(found)} onMade=${made} />`}
      <${RuleList} found=${found} chosen=${chosen} />
    </section>
    <section class="card padded" aria-label="Firings">
      <h2>Firings${whose} <span class="faint">${open > 0 ? `${count(open)} open` : 'none open'}</span></h2>
      <${FiringList} firings=${firings} names=${found.names} />
    </section>
    <section class="card padded" aria-label="Deliveries">
      <h2>Deliveries${whose}</h2>
      <${Destinations} answer=${found.destinations} />
      <${DeliveryList} told=${told} names=${found.names} load=${load} />
    </section>
  `
}

/** @param {Found} found */
function destinationsOf({ destinations }) {
  return (destinations.destinations ?? []).map((one) => one.name.replace(/^destinations\//, ''))
}

/** @param {{ found: Found, chosen: string }} properties */
function RuleList({ found, chosen }) {
  const now = useMemo(() => Date.now(), [found])
  /** @type {Map<string, Api.Firing[]>} */
  const byRule = new Map()
  for (const one of found.firings) {
    const id = one.fired?.rule_id ?? ''
    byRule.set(id, [...(byRule.get(id) ?? []), one])
  }
  if (found.rules.length === 0)
    return html`<${Empty} title="No rules yet" command="milepost rule install">
      This makes ten that most people want: spikes, NaN, stalls, failures, full disks. They watch only.
    <//>`
  return html`
    <div class="rule-head" aria-hidden="true">
      <span>Rule</span><span>Looks for</span><span>Selects</span><span>Severity</span><span>Then</span>
      <span>Firings, 14 days</span><span>Last</span>
    </div>
    <ul class="rule-list">
      ${found.rules.map(
        (rule) => html`<${RuleRow}
          key=${rule.name}
          rule=${rule}
          firings=${byRule.get(ruleId(rule)) ?? []}
          more=${found.more}
          now=${now}
          open=${chosen === ruleId(rule)}
        />`,
      )}
    </ul>
  `
}

/**
 * `more`: there are older firings than those that were asked for.
 *
 * @param {{ rule: Api.Rule, firings: Api.Firing[], more: boolean, now: number, open: boolean }} properties
 */
function RuleRow({ rule, firings, more, now, open }) {
  const id = ruleId(rule)
  const ownName = rule.display_name && rule.display_name !== id
  const last = firings.reduce((newest, one) => Math.max(newest, time(one.record_time) ?? 0), 0)
  const counts = daily(
    firings.map((one) => time(one.record_time)),
    now,
  )
  return html`<li data-rule=${id} data-open=${open}>
    <button
      type="button"
      class="rule-row"
      aria-expanded=${open}
      onClick=${() => setParameters({ rule: open ? '' : id })}
    >
      <span class="rule-name"><b>${rule.display_name || id}</b>${ownName && html`<span class="id">${id}</span>`}</span>
      <span class="rule-looks">${lookedFor(rule)}</span>
      <span class="rule-selects">${rule.selector ? html`<code>${rule.selector}</code>` : 'all runs'}</span>
      <span class="rule-severity">
        <${Tag} tone=${severityTones[rule.severity ?? 'WARNING']}>${words(rule.severity)}<//>
      </span>
      <span class="rule-follows">${followed(rule)}</span>
      <span class="rule-firings"><${Bars} counts=${counts} /> ${count(firings.length)}${more ? '+' : ''}</span>
      <span class="rule-last">${last ? html`<${Ago} time=${new Date(last).toISOString()} />` : 'never'}</span>
    </button>
    ${open && html`<${RuleDetail} rule=${rule} />`}
  </li>`
}

/** @param {{ counts: number[] }} properties */
function Bars({ counts }) {
  const most = Math.max(...counts, 1)
  return html`<svg class="rule-bars" width=${counts.length * 5} height="16" aria-hidden="true">
    ${counts.map((n, i) => {
      const height = n === 0 ? 1 : Math.max(3, (n / most) * 16)
      return html`<rect data-none=${n === 0} x=${i * 5} y=${16 - height} width="4" height=${height} />`
    })}
  </svg>`
}

/** @param {{ rule: Api.Rule }} properties */
function RuleDetail({ rule }) {
  const id = ruleId(rule)
  const file = ruleFile(rule)
  const commands = [
    [`milepost rule test ${id} --since 30d`, 'where it would have fired'],
    isOfRun(id) ? null : [`milepost rule update ${id} rule.yaml`, 'replace it by the file beside, changed'],
    rule.disabled || isOfRun(id) ? null : [`milepost rule disable ${id}`, 'have it fire no more'],
    isOfRun(id) ? null : [`milepost rule delete ${id}`, 'what it found stays in the log'],
  ]
  return html`<div class="rule-detail">
    <div>
      <h3>rule.yaml <${Copy} text=${file} title="Copy the file" /></h3>
      <pre tabindex="0">${file}</pre>
      <p class="faint">Revision ${rule.revision}, by ${rule.owner}, <${Ago} time=${rule.update_time} /></p>
    </div>
    <div>
      <h3>${isOfRun(id) ? 'Part of the configuration of its run' : 'To change it'}</h3>
      <dl class="rule-commands">
        ${commands.flatMap((one) =>
          one
            ? html`<dt class="command"><code>${one[0]}</code><${Copy} text=${one[0]} title="Copy the command" /></dt>
                <dd class="faint">${one[1]}</dd>`
            : [],
        )}
      </dl>
    </div>
    <${RuleTrial} rule=${rule} />
  </div>`
}

/** @param {{ firings: Api.Firing[], names: Map<string, string> }} properties */
function FiringList({ firings, names }) {
  const all = useSignal(false)
  if (firings.length === 0) return html`<p class="faint">Nothing was found yet.</p>`
  const shown = all.value ? firings : firings.slice(0, rowsAtFirst)
  return html`
    <ul class="firing-list">
      ${shown.map((one) => html`<${FiringRow} key=${one.event_id} firing=${one} names=${names} />`)}
    </ul>
    ${
      firings.length > shown.length &&
      html`<button type="button" class="button small" onClick=${() => (all.value = true)}>
        Show ${count(firings.length - shown.length)} more
      </button>`
    }
  `
}

/** @param {{ firing: Api.Firing, names: Map<string, string> }} properties */
function FiringRow({ firing, names }) {
  const { fired } = firing
  if (!fired) return null
  return html`<li class="firing-row" data-open=${isOpen(firing)}>
    <span class="firing-severity">
      <${Tag} tone=${severityTones[fired.severity ?? 'WARNING']}>${words(fired.severity)}<//>
    </span>
    <span class="firing-what">
      <b>${fired.rule_name || fired.rule_id}</b> ${fired.message}
      ${firing.actions?.map((action) => html`<${Deed} key=${action.action_id} action=${action} />`)}
    </span>
    <a class="firing-place" href=${firingAddress(firing)}>${firingPlace(firing, names)}</a>
    <span class="firing-end">${ending(firing)}</span>
    <span class="firing-time"><${Ago} time=${firing.record_time} /></span>
  </li>`
}

/**
 * One action that followed, with what came of it.
 *
 * @param {{ action: Api.FiringAction }} properties
 */
function Deed({ action }) {
  const tone = deedTones[action.state ?? ''] ?? 'warning'
  const label = html`<${Tag} tone=${tone}>${cameTo(action)}<//>`
  return html`<span class="firing-deed" data-state=${action.state}>
    ${action.runtime ? html`<a href=${address(`/${action.runtime}`, {})}>${label}</a>` : label}
  </span>`
}

/** @param {Api.Firing} firing */
function ending(firing) {
  const { fired, cleared } = firing
  if (isOpen(firing)) return html`<${Tag} tone="warning">open<//>`
  if (!cleared) return html`<span class="faint">at once</span>`
  const seconds = ((time(cleared.occur_time) ?? NaN) - (time(fired?.occur_time) ?? NaN)) / 1000
  return html`<span class="faint">${`${endings[cleared.reason ?? ''] ?? 'over'}, after ${duration(seconds)}`}</span>`
}

/** @param {{ answer: Api.ListDestinationsResponse }} properties */
function Destinations({ answer }) {
  const { destinations = [], problem } = answer
  return html`<p class="faint rule-destinations">
    ${
      destinations.length === 0
        ? html`Rules may tell nobody yet. Whoever runs Milepost lists destinations in${' '}
            <code>destinations.yaml</code> of the data directory, such as <code>${exampleDestinations}</code>`
        : 'Rules may tell '
    }
    ${destinations.map((one, i) => {
      const waiting = one.pending_count ? `, ${plural(one.pending_count, 'message')} waiting` : ''
      const name = one.name.replace(/^destinations\//, '')
      return html`${i > 0 ? ', ' : ''}<code>${name}</code> (${one.kind}${one.signed ? ', signed' : ''}${waiting})`
    })}
    ${problem && html` <span class="rule-problem">${problem}</span>`}
  </p>`
}

/** @param {{ told: Api.Notification[], names: Map<string, string>, load: () => Promise<void> }} properties */
function DeliveryList({ told, names, load }) {
  const all = useSignal(false)
  if (told.length === 0) return html`<p class="faint">Nobody was told of anything yet.</p>`
  const shown = all.value ? told : told.slice(0, rowsAtFirst)
  return html`
    <ul class="firing-list">
      ${shown.map((one) => html`<${DeliveryRow} key=${one.name} one=${one} names=${names} load=${load} />`)}
    </ul>
    ${
      told.length > shown.length &&
      html`<button type="button" class="button small" onClick=${() => (all.value = true)}>
        Show ${count(told.length - shown.length)} more
      </button>`
    }
  `
}

/** @param {{ one: Api.Notification, names: Map<string, string>, load: () => Promise<void> }} properties */
function DeliveryRow({ one, names, load }) {
  const receipt = [one.status_code || '', one.detail].filter(Boolean).join(' ')
  const id = one.runtime.replace(/^runtimes\//, '')
  const said = one.title.replace(id, names.get(one.runtime) || id)
  const again = () => post(`/${one.name}:retry`).then(load)
  return html`<li class="firing-row delivery">
    <span class="firing-severity"><${Tag} tone=${stateTones[one.state ?? '']}>${words(one.state)}<//></span>
    <span class="firing-what"><b>${one.destination}</b> ${said}</span>
    <span class="firing-place">
      ${receipt ? html`<code>${receipt}</code>` : html`<span class="faint">no answer yet</span>`}
    </span>
    <span class="firing-end">
      ${
        one.state === 'FAILED' && mayChange()
          ? html`<${Action} act=${again} label="Send again" working="Sending…" tone="small" />`
          : one.attempt_count > 0 && html`<span class="faint">${plural(one.attempt_count, 'try', 'tries')}</span>`
      }
    </span>
    <span class="firing-time"><${Ago} time=${one.update_time} /></span>
  </li>`
}
