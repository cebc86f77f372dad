// Which page the address names.
import { html, render } from './html.js'
import { current, followLinks } from './state/location.js'
import './state/preferences.js'
import { RuntimesPage } from './elements/runtimes_page.js'
import { RuntimePage } from './elements/runtime_page.js'
import { TrialsPage } from './elements/trials_page.js'
import { Shell } from './elements/shell.js'
import { Empty } from './elements/empty.js'

function App() {
  const { page, id } = current.value
  if (page === 'runtimes') return html`<${RuntimesPage} />`
  if (page === 'runtime') return html`<${RuntimePage} key=${id} id=${id} />`
  if (page === 'trials') return html`<${TrialsPage} />`
  return html`<${Shell} page=""><${Empty} title="There is no such page"><a href="/">All runtimes</a><//><//>`
}

const root = document.getElementById('app')
followLinks(document)
render(html`<${App} />`, root)
