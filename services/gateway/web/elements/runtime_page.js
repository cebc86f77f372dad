// One runtime: header, monitors, charts, tabs.
import { html, useEffect, useMemo, useSignal, useSignalEffect } from '../html.js'
import { percent } from '../functions/format.js'
import { navigate } from '../state/location.js'
import { mayChange } from '../state/session.js'
import { useKeys } from '../state/keyboard.js'
import { RuntimeState } from '../state/runtime.js'
import { Charts } from './charts.js'
import { Empty } from './empty.js'
import { Header } from './header.js'
import { lazy } from './lazy.js'
import { Monitors } from './monitors.js'
import { Shell } from './shell.js'
import { Tabs } from './tabs.js'

const Commands = lazy(() => import('./commands.js').then((module) => module.Commands))

export function RuntimePage({ id }) {
  const state = useMemo(() => new RuntimeState(id), [id])
  const dialog = useSignal(null)
  useEffect(() => {
    state.open()
    return () => state.close()
  }, [state])
  useKeys({ Escape: () => navigate('/') })
  useSignalEffect(() => {
    const runtime = state.runtime.value
    const part = state.trial.value?.progress?.completion_percent
    if (runtime) document.title = `${runtime.status === 'Started' && part != null ? `${percent(part)} · ` : ''}${runtime.display_name} · Milepost`
  })
  const runtime = state.runtime.value
  const open = (kind, more = {}) => (dialog.value = { kind, runtime: state.runtime.peek(), ...more })
  return html`<${Shell} page="runtime" connection=${state.connection} crumbs=${html`<span aria-hidden="true">/</span><span class="crumb">${runtime?.display_name ?? id}</span>`}>
    ${state.error.value && !runtime ? html`<${Gone} error=${state.error.value} id=${id} />` : html`<${RuntimeView} state=${state} open=${mayChange() && !runtime?.imported ? open : undefined} />`}
    ${dialog.value && html`<${Commands} ...${dialog.value} onClose=${() => (dialog.value = null)} onDone=${(changed) => state.accept(changed)} />`}
  <//>`
}

/** Everything about a runtime, of now or of a past moment. `open` shows a command's dialog; without it nothing can be changed. */
export function RuntimeView({ state, open }) {
  if (!state.runtime.value) return html`<div class="page-loading" aria-busy="true"></div>`
  return html`<div class="runtime-page">
    <${Header} state=${state} open=${open} />
    <${Monitors} state=${state} />
    <${Charts} state=${state} />
    <${Tabs} state=${state} open=${open} />
  </div>`
}

function Gone({ error, id }) {
  if (error.status === 404) return html`<${Empty} title="There is no such runtime" command="milepost runtime list"><code>${id}</code> is unknown here, or was deleted. <a href="/">All runtimes</a><//>`
  return html`<${Empty} title=${error.message} command="milepost doctor"><button type="button" class="button" onClick=${() => window.location.reload()}>Try again</button><//>`
}

