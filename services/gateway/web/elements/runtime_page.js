// @ts-check
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
import { TabList, TabPanel } from './tabs.js'

/**
 * @import { Signal } from '../vendor/signals.js'
 * @import { Kind, Open } from './commands.js'
 */

const Commands = lazy(() => import('./commands.js').then((module) => module.Commands))
const Failure = lazy(() => import('./failure.js').then((module) => module.Failure))
const Unknown = lazy(() => import('./deleted.js').then((module) => module.Gone))
const SearchAnswer = lazy(() => import('./search_answer.js').then((module) => module.SearchAnswer))

/** @param {{ id: string }} properties */
export function RuntimePage({ id }) {
  const state = useMemo(() => new RuntimeState(id), [id])
  /** @type {Signal<object | null>} */
  const dialog = useSignal(null)
  useEffect(() => {
    state.open()
    return () => state.close()
  }, [state])
  useKeys({ Escape: () => navigate('/') })
  useSignalEffect(() => {
    const runtime = state.runtime.value
    const part = state.trial.value?.progress?.completion_percent
    const going = runtime?.status === 'Started' && part != null
    if (!runtime) return
    document.title = [going && percent(part), runtime.display_name, 'Milepost'].filter(Boolean).join(' · ')
  })
  const runtime = state.runtime.value
  /**
   * @param {Kind} kind
   * @param {object} [more]
   */
  const open = (kind, more = {}) => (dialog.value = { kind, runtime: state.runtime.peek(), ...more })
  return html`<${Shell}
    page="runtime"
    connection=${state.connection}
    crumbs=${html`<span aria-hidden="true">/</span><span class="crumb">${runtime?.display_name ?? id}</span>`}
  >
    ${
      state.error.value && !runtime
        ? html`<${Gone} error=${state.error.value} id=${id} />`
        : html`<${RuntimeView} state=${state} open=${mayChange() && !runtime?.imported ? open : undefined} />`
    }
    ${
      dialog.value &&
      html`<${Commands}
        ...${dialog.value}
        onClose=${() => (dialog.value = null)}
        onDone=${(changed) => state.accept(changed)}
      />`
    }
  <//>`
}

/**
 * Everything about a runtime, of now or of a past moment. `open` shows a command's dialog; without it nothing can be
 * changed.
 *
 * @param {{ state: RuntimeState, open?: Open }} properties
 */
export function RuntimeView({ state, open }) {
  if (!state.runtime.value) return html`<div class="page-loading" aria-busy="true"></div>`
  return html`<div class="runtime-page">
    <${Header} state=${state} open=${open} />
    <${TabList} state=${state} />
    ${state.runtime.value.status === 'Failed' && html`<${Failure} state=${state} />`}
    ${state.trials.value.length > 1 && html`<${SearchAnswer} state=${state} />`}
    <${Monitors} state=${state} />
    <${Charts} state=${state} />
    <${TabPanel} state=${state} open=${open} />
  </div>`
}

/** @param {{ error: Error & { status?: number }, id: string }} properties */
function Gone({ error, id }) {
  if (error.status === 404) return html`<${Unknown} id=${id} restorable=${mayChange()} />`
  return html`<${Empty} title=${error.message} command="milepost doctor">
    <button type="button" class="button" onClick=${() => window.location.reload()}>Try again</button>
  <//>`
}
