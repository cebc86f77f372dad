// @ts-check
// What a model says: its samples at a step, one prompt through time, those that match a search; tables and histograms.
import { html, useEffect, useMemo, useRef, useSignal } from '../html.js'
import { get } from '../api.js'
import { bytes, count, plural, shortName, trialName, value as number } from '../functions/format.js'
import { difference, visible } from '../functions/texts.js'
import { parameter, setParameters } from '../state/location.js'
import { useKeys } from '../state/keyboard.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { Heat } from './heat.js'
import { Icon } from './icon.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { RefObject } from '../vendor/preact.js'
 */
/** @typedef {{ samples: Api.Sample[], next: string, prompt: string, group: string }} Page */

const typingPause = 250
const pageSize = 100
// How long after a change of the pinned step samples are asked for.
const pinningPause = 80
// How often a run that goes on is asked for new ones.
const freshSeconds = 5

/** @param {{ state: RuntimeState }} properties */
export function Samples({ state }) {
  const trial = state.trial.value
  if (!trial) return html`<${Empty} title="There is no trial yet" />`
  return html`<${TrialSamples} key=${trial.name} state=${state} parent=${trial.name} />`
}

/** @param {{ state: RuntimeState, parent: string }} properties */
function TrialSamples({ state, parent }) {
  /** @type {Signal<Api.ListSampleSeriesResponse | null>} */
  const listed = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const clock = useClock(state)
  useEffect(() => {
    get(`/${parent}/sampleSeries`, { ancestry: true, ...state.past }).then(
      (answer) => {
        listed.value = answer
        error.value = null
      },
      (failure) => (error.value = failure),
    )
  }, [parent, state.past, clock])
  if (!listed.value) return html`<${Problem} error=${error.value} />`
  const { series, over_quota_count: left, quota_bytes: quota } = listed.value
  if (series.length === 0)
    return html`<${Empty}
      title="This trial has logged no samples"
      command=${'trial.samples("eval/samples", [{"prompt": ..., "completion": ..., "scores": {"reward": ...}}])'}
    />`
  const chosen = series.find((one) => one.key === parameter('rows')) ?? series[0]
  return html`<div class="samples">
    ${
      left > 0 &&
      html`<p class="problem" role="status">
        ${plural(left, 'row')} of this trial not stored: the quota of ${bytes(quota)} is used up
        (<code>limits.sample_megabytes</code>).
      </p>`
    }
    <${Bar} series=${series} chosen=${chosen} state=${state} />
    <${Problem} error=${error.value} />
    ${
      chosen.form === 'HISTOGRAM'
        ? html`<${Heat} key=${chosen.key} state=${state} parent=${parent} series=${chosen} clock=${clock} />`
        : html`<${Rows} key=${chosen.key} state=${state} parent=${parent} series=${chosen} clock=${clock} />`
    }
  </div>`
}

/**
 * A number that grows now and then while the run goes on.
 *
 * @param {RuntimeState} state
 */
function useClock(state) {
  const ticks = useSignal(0)
  const going = !state.past && !['Completed', 'Failed', 'Aborted'].includes(state.runtime.value?.status ?? '')
  useEffect(() => {
    if (!going) {
      ticks.value++
      return
    }
    const timer = setInterval(() => (ticks.value += document.hidden ? 0 : 1), freshSeconds * 1000)
    return () => clearInterval(timer)
  }, [going])
  return ticks.value
}

/** @param {{ series: Api.SampleSeries[], chosen: Api.SampleSeries, state: RuntimeState }} properties */
function Bar({ series, chosen, state }) {
  /** @type {RefObject<HTMLInputElement | null>} */
  const input = useRef(null)
  /** @type {RefObject<Timer>} */
  const timer = useRef(0)
  useKeys({ '/': () => input.current?.focus() })
  /** @param {string} name @returns {(event: Happening<HTMLInputElement>) => void} */
  const typed = (name) => (event) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => setParameters({ [name]: event.target.value.trim() }), typingPause)
  }
  const isText = chosen.form !== 'HISTOGRAM'
  return html`<div class="samples-bar">
    <label class="samples-series">
      <span class="off-screen">Series</span>
      <select
        value=${chosen.key}
        onChange=${(/** @type {Happening<HTMLSelectElement>} */ event) =>
          setParameters({ rows: event.target.value, prompt: '', group: '', score: '' })}
      >
        ${series.map((one) => html`<option value=${one.key}>${one.key} (${count(one.row_count)})</option>`)}
      </select>
    </label>
    ${
      isText &&
      html`<label class="search">
          <${Icon} name="search" /><span class="off-screen">Search prompts and completions</span>
          <input
            ref=${input}
            type="search"
            placeholder="Search prompts and completions"
            defaultValue=${parameter('q')}
            onInput=${typed('q')}
            onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === 'Escape' && input.current?.blur()}
            spellcheck="false"
          />
        </label>
        ${
          chosen.score_names.length > 0 &&
          html`<label class="samples-score">
            <span class="off-screen">Comparison of a score</span>
            <input
              type="text"
              placeholder=${`${chosen.score_names[0]} >= 0.5`}
              defaultValue=${parameter('score')}
              onInput=${typed('score')}
              spellcheck="false"
              list="score-names"
            />
            <datalist id="score-names">
              ${chosen.score_names.map((name) => html`<option value=${`${name} >= `}></option>`)}
            </datalist>
          </label>`
        }`
    }
    <${StepSlider} state=${state} series=${chosen} />
  </div>`
}

/** @param {{ state: RuntimeState, series: Api.SampleSeries }} properties */
function StepSlider({ state, series }) {
  const pinned = state.cursor.pinned.value
  const { first_step: first, last_step: last } = series
  const at = Math.min(last, Math.max(first, pinned ?? last))
  return html`<label class="samples-step">
    <span>${pinned === undefined ? 'Last step' : 'Step'} <b data-testid="sample-step">${count(at)}</b></span>
    <input
      type="range"
      min=${first}
      max=${last}
      value=${at}
      aria-label="Step"
      onInput=${(/** @type {Happening<HTMLInputElement>} */ event) => state.cursor.pin(Number(event.target.value))}
    />
    <button type="button" class="quiet" disabled=${pinned === undefined} onClick=${() => state.cursor.unpin()}>
      Newest
    </button>
  </label>`
}

/**
 * @param {RuntimeState} state
 * @param {string} parent
 * @param {string} key
 * @param {number | undefined} pinned
 */
function questionOf(state, parent, key, pinned) {
  const [text, score, prompt, group] = ['q', 'score', 'prompt', 'group'].map(parameter)
  const matching = { keys: [key], text, prompt_id: prompt, group, scores: score ? [score] : [], ancestry: true }
  const trials = state.trials.value.map((one) => one.name).slice(0, 50)
  if (prompt) return { ...matching, parents: trials, include_superseded: true, oldest_first: true }
  if (text || score || group) return { ...matching, parents: [parent] }
  return { ...matching, parents: [parent], latest: true, ...(pinned === undefined ? {} : { last_step: pinned }) }
}

/** @param {{ state: RuntimeState, parent: string, series: Api.SampleSeries, clock: number }} properties */
function Rows({ state, parent, series, clock }) {
  /** @type {Signal<Page | null>} */
  const page = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const asked = { ...questionOf(state, parent, series.key, state.cursor.pinned.value), ...state.past }
  const identity = JSON.stringify(asked)
  useEffect(() => {
    const ended = new AbortController()
    const timer = setTimeout(async () => {
      try {
        const answer = await get('/samples:query', { ...asked, page_size: pageSize }, { signal: ended.signal })
        const { prompt_id: prompt, group } = asked
        page.value = { samples: answer.samples, next: answer.next_page_token, prompt, group }
        error.value = null
      } catch (failure) {
        if (!ended.signal.aborted) error.value = /** @type {Error} */ (failure)
      }
    }, pinningPause)
    return () => {
      clearTimeout(timer)
      ended.abort()
    }
  }, [identity, clock])
  const more = async () => {
    const known = /** @type {Page} */ (page.value)
    try {
      const answer = await get('/samples:query', { ...asked, page_size: pageSize, page_token: known.next })
      page.value = { ...known, samples: [...known.samples, ...answer.samples], next: answer.next_page_token }
    } catch (failure) {
      error.value = /** @type {Error} */ (failure)
    }
  }
  return html`${page.value && html`<${Filters} page=${page.value} />`}
    <${Problem} error=${error.value} />
    ${page.value && html`<${List} page=${page.value} state=${state} series=${series} />`}
    ${page.value?.next && html`<button type="button" class="button" onClick=${more}>More</button>`}`
}

/** What is shown instead of a step, and the way back. @param {{ page: Page }} properties */
function Filters({ page: { samples, prompt, group } }) {
  if (!prompt && !group) return null
  const text = prompt ? samples[0]?.row?.prompt : ''
  return html`<div class="samples-filter">
    <button type="button" class="button" onClick=${() => setParameters({ prompt: '', group: '' })}>All samples</button>
    ${
      prompt
        ? html`<div>
            <b>One prompt</b> over steps, attempts and trials; words that changed since the one before are marked
            <${Text} text=${text ?? ''} />
          </div>`
        : html`<b>Group ${visible(group).map(shown)}</b>`
    }
  </div>`
}

/** @param {{ page: Page, state: RuntimeState, series: Api.SampleSeries }} properties */
function List({ page: { samples, prompt }, state, series }) {
  if (samples.length === 0) return html`<${Empty} title="No sample matches" />`
  if (prompt) return html`<${Timeline} samples=${samples} state=${state} />`
  return html`<div class="samples-list">
    ${grouped(samples).map((members) =>
      members.length > 1
        ? html`<${Group} members=${members} state=${state} series=${series} />`
        : html`<${Card} sample=${members[0]} state=${state} withPrompt />`,
    )}
  </div>`
}

/**
 * Neighbours that say they belong together: of one step, one group and one prompt.
 *
 * @param {Api.Sample[]} samples
 */
function grouped(samples) {
  /** @type {Map<string, Api.Sample[]>} */
  const groups = new Map()
  samples.forEach((sample, index) => {
    const row = /** @type {Api.Row} */ (sample.row)
    const name = row.group ? JSON.stringify([row.step, row.group, sample.parent, sample.prompt_id]) : String(index)
    groups.set(name, [...(groups.get(name) ?? []), sample])
  })
  return [...groups.values()]
}

/** @param {{ members: Api.Sample[], state: RuntimeState, series: Api.SampleSeries }} properties */
function Group({ members, state, series }) {
  const first = /** @type {Api.Row} */ (members[0].row)
  return html`<section class="sample-group" aria-label=${`Group ${first.group}`}>
    <header>
      <${Place} sample=${members[0]} state=${state} />
      <button
        type="button"
        class="chip"
        title="This group over steps"
        onClick=${() => setParameters({ group: first.group })}
      >
        ${visible(first.group).map(shown)}
      </button>
      <span class="faint">${plural(members.length, 'member')}</span>
      ${series.score_names.slice(0, 3).map((name) => html`<${Spread} name=${name} members=${members} />`)}
    </header>
    <${Prompt} sample=${members[0]} />
    <div class="sample-members">${members.map((one) => html`<${Card} sample=${one} state=${state} />`)}</div>
  </section>`
}

/** Mean of a score over a group. @param {{ name: string, members: Api.Sample[] }} properties */
function Spread({ name, members }) {
  const values = members
    .map((one) => (one.row?.scores ?? []).find((score) => score.name === name)?.value)
    .filter((one) => typeof one === 'number')
  if (values.length === 0) return null
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length
  return html`<span class="sample-score">mean ${name} <b>${number(mean)}</b></span>`
}

/** @param {{ sample: Api.Sample, state: RuntimeState, withPrompt?: boolean }} properties */
function Card({ sample, state, withPrompt }) {
  const row = /** @type {Api.Row} */ (sample.row)
  return html`<article class="sample" data-superseded=${sample.superseded}>
    ${
      withPrompt &&
      html`<header>
          <${Place} sample=${sample} state=${state} />
          <${Marks} row=${row} />
        </header>
        <${Prompt} sample=${sample} />`
    }
    ${!withPrompt && html`<${Marks} row=${row} />`}
    ${row.form === 'TABLE' ? html`<${Cells} content=${row.content} />` : html`<${Text} text=${row.completion} />`}
  </article>`
}

/** @param {{ row: Api.Row }} properties */
function Marks({ row }) {
  if (!row.scores?.length && !row.tags?.length) return null
  return html`<div class="sample-marks">
    ${(row.scores ?? []).map(
      (score) =>
        html`<span class="sample-score">${visible(score.name).map(shown)} <b>${number(score.value)}</b></span>`,
    )}
    ${(row.tags ?? []).map((tag) => html`<span class="tag">${visible(tag).map(shown)}</span>`)}
  </div>`
}

/** Where a sample was logged; a click pins its step. @param {{ sample: Api.Sample, state: RuntimeState }} properties */
function Place({ sample, state }) {
  const row = /** @type {Api.Row} */ (sample.row)
  const own = state.trial.value?.name === sample.parent
  const trial = own ? '' : `${otherName(sample.parent, state)}, `
  const where = `${trial}attempt ${sample.attempt}${sample.superseded ? ', superseded' : ''}`
  return html`<button type="button" class="chip" onClick=${() => state.cursor.pin(row.step)} title="Pin this step">
      step ${count(row.step)}
    </button>
    <span class="faint">${where}</span>`
}

/** @param {string} parent @param {RuntimeState} state */
function otherName(parent, state) {
  const same = state.trials.value.some((one) => one.name === parent)
  return same ? trialName(parent) : shortName(parent)
}

/** @param {{ sample: Api.Sample }} properties */
function Prompt({ sample }) {
  const row = /** @type {Api.Row} */ (sample.row)
  if (!row.prompt) return null
  return html`<div class="sample-prompt">
    <${Text} text=${row.prompt} />
    <button type="button" class="quiet" onClick=${() => setParameters({ prompt: sample.prompt_id, group: '' })}>
      Over time
    </button>
  </div>`
}

/**
 * One prompt: its completions in the order of steps, each beside that of the step before: the first member of a group
 * beside the first, the second beside the second.
 *
 * @param {{ samples: Api.Sample[], state: RuntimeState }} properties
 */
function Timeline({ samples, state }) {
  /** @type {Map<string, string>} */
  const before = new Map()
  const nth = counter()
  return html`<ol class="samples-list sample-timeline">
    ${samples.map((sample) => {
      const row = /** @type {Api.Row} */ (sample.row)
      const logger = sample.superseded ? `${sample.parent} ${sample.attempt}` : sample.parent
      const place = `${logger} ${nth(`${row.step} ${logger}`)}`
      const earlier = before.get(place)
      before.set(place, row.completion)
      return html`<li class="sample" data-superseded=${sample.superseded}>
        <header><${Place} sample=${sample} state=${state} /><${Marks} row=${row} /></header>
        ${
          earlier === undefined
            ? html`<${Text} text=${row.completion} />`
            : html`<${Changed} before=${earlier} after=${row.completion} />`
        }
      </li>`
    })}
  </ol>`
}

/** Returns what says how often a name was given before in a row. */
function counter() {
  let [current, seen] = ['', 0]
  return (/** @type {string} */ name) => {
    seen = name === current ? seen + 1 : 0
    current = name
    return seen
  }
}

/** @param {{ before: string, after: string }} properties */
function Changed({ before, after }) {
  const changes = useMemo(() => difference(before, after), [before, after])
  return html`<p class="sample-text" dir="auto">
    ${changes.map(({ text, change }) => {
      const content = visible(text).map(shown)
      if (change === 'added') return html`<ins>${content}</ins>`
      return change === 'removed' ? html`<del>${content}</del>` : content
    })}
  </p>`
}

/** A text as it is: nothing of it is markup, and what cannot be seen is shown. @param {{ text: string }} properties */
function Text({ text }) {
  if (!text) return html`<p class="sample-text faint">(empty)</p>`
  return html`<p class="sample-text" dir="auto">${visible(text).map(shown)}</p>`
}

/** @param {import('../functions/texts.js').Piece} piece */
function shown({ text, odd }) {
  return odd ? html`<span class="odd-character" title="A character that cannot be seen">${text}</span>` : text
}

/** @param {{ content: string }} properties */
function Cells({ content }) {
  /** @type {{ columns: string[], rows: unknown[][], row_count: number } | null} */
  const table = useMemo(() => {
    try {
      return JSON.parse(content)
    } catch {
      return null
    }
  }, [content])
  if (!table) return html`<${Text} text=${content} />`
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="Table">
      <table class="plain">
        <thead>
          <tr>
            ${table.columns.map((name) => html`<th scope="col">${visible(name).map(shown)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${table.rows.map(
            (row) =>
              html`<tr>
                ${row.map((cell) => html`<td>${typeof cell === 'number' ? number(cell) : written(cell)}</td>`)}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${
      table.rows.length < table.row_count &&
      html`<p class="faint">The first ${count(table.rows.length)} of ${plural(table.row_count, 'row')}</p>`
    }`
}

/** @param {unknown} cell */
function written(cell) {
  return visible(String(cell ?? '')).map(shown)
}
