// @ts-check
// Which page the address names.
import { html, render } from './html.js'
import { current, followLinks } from './state/location.js'
import './state/preferences.js'
import { loadSession } from './state/session.js'
import { Shell } from './elements/shell.js'
import { Empty } from './elements/empty.js'
import { lazy, stylesheet } from './elements/lazy.js'

const RuntimesPage = lazy(() => import('./elements/runtimes_page.js').then((module) => module.RuntimesPage))
const RuntimePage = lazy(() => import('./elements/runtime_page.js').then((module) => module.RuntimePage))
const AuditPage = lazy(() =>
  Promise.all([import('./elements/audit_page.js'), stylesheet('/static/css/audit_page.css')]).then(
    ([module]) => module.AuditPage,
  ),
)
const TrialsPage = lazy(() => import('./elements/trials_page.js').then((module) => module.TrialsPage))
const RulesPage = lazy(() =>
  Promise.all([import('./elements/rules_page.js'), stylesheet('/static/css/rules_page.css')]).then(
    ([module]) => module.RulesPage,
  ),
)

function App() {
  const { page, id } = current.value
  if (page === 'runtimes') return html`<${RuntimesPage} />`
  if (page === 'runtime') return html`<${RuntimePage} key=${id} id=${id} />`
  if (page === 'audit') return html`<${AuditPage} key=${id} id=${id} />`
  if (page === 'trials') return html`<${TrialsPage} />`
  if (page === 'rules') return html`<${RulesPage} />`
  return html`<${Shell} page="" alone><${Empty} title="There is no such page"><a href="/">All runtimes</a><//><//>`
}

const root = /** @type {HTMLElement} */ (document.getElementById('app'))
followLinks(document)
loadSession()
render(html`<${App} />`, root)
