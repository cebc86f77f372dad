// @ts-check
// Why a run failed, before anything else: the sentence stands in the header, here is what its program said last.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { lastWords } from '../functions/failure.js'
import { setParameters } from '../state/location.js'
import { toPanel } from './sight.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 */

const linesAsked = 200

/** @param {{ state: RuntimeState }} properties */
export function Failure({ state }) {
  const trial = state.trial.value
  /** @type {Signal<string[] | null>} */
  const words = useSignal(null)
  useEffect(() => {
    words.value = null
    if (!trial) return
    let shown = true
    /** @param {Api.QueryLogsResponse} answer */
    const failed = (answer) => shown && (words.value = lastWords(answer.entries ?? []))
    // Without its log the page has the sentence still.
    get(`/${trial.name}/logs`, { backwards: true, page_size: linesAsked, ...state.past }).then(failed, () => {})
    return () => (shown = false)
  }, [trial?.name, trial?.attempt, trial?.status])
  if (!words.value?.length) return null
  const toLog = () => {
    setParameters({ tab: 'logs', step: trial?.progress?.step ?? '', line: '' })
    toPanel()
  }
  return html`<section class="failure card padded" aria-label="What the program said last">
    <pre tabindex="0">${words.value.join('\n')}</pre>
    <button type="button" class="button small" onClick=${toLog}>Log here</button>
  </section>`
}
