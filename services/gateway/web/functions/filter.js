// @ts-check
// The filter language of lists, as far as the page writes it: terms joined by AND. Pure.

/** @type {Record<string, string[]>} */
const fields = {
  status: ['Started', 'Completed', 'Failed', 'Aborted'],
  phase: ['QUEUED', 'STARTING', 'RUNNING', 'STOPPING', 'ENDED'],
  name: [],
  id: [],
  created_by: [],
  create_time: [],
  'label.': [],
}

/**
 * The terms of a filter; AND within quotes is text.
 *
 * @param {string} text
 */
export function terms(text) {
  /** @type {string[]} */
  const found = []
  let start = 0
  let quoted = false
  /** @param {number} end */
  const add = (end) => {
    const term = text.slice(start, end).trim()
    if (term) found.push(term)
  }
  for (let i = 0; i < text.length; i += 1) {
    if (quoted && text[i] === '\\') i += 1
    else if (text[i] === '"') quoted = !quoted
    else if (!quoted && /^\sAND\s/.test(text.slice(i, i + 5))) {
      add(i)
      start = i + 5
      i += 4
    }
  }
  add(text.length)
  return found
}

/**
 * Whether a filter asks for this value of a field.
 *
 * @param {string} text
 * @param {string} field
 * @param {string} value
 */
export function has(text, field, value) {
  return terms(text).includes(`${field}=${value}`)
}

/**
 * The filter with `field=value` in place of what it said of the field; with it already there, without it.
 *
 * @param {string} text
 * @param {string} field
 * @param {string} value
 */
export function toggled(text, field, value) {
  const others = terms(text).filter((term) => !term.startsWith(`${field}=`))
  return (has(text, field, value) ? others : [...others, `${field}=${value}`]).join(' AND ')
}

/**
 * What the text may become: [whole text]. Fields while one is typed, then the values that a field can have.
 *
 * @param {string} text
 */
export function completions(text) {
  const head = text.match(/^(.*\sAND\s+)?/s)?.[0] ?? ''
  const term = text.slice(head.length)
  if (term === '' && head === '') return []
  const [, field, value] = term.match(/^([a-z_.]+)=(.*)$/) ?? []
  if (field) {
    const known = (fields[field] ?? []).filter(
      (one) => one.toLowerCase().startsWith(value.toLowerCase()) && one !== value,
    )
    return known.map((one) => `${head}${field}=${one}`)
  }
  return Object.keys(fields)
    .filter((name) => name.startsWith(term) && name !== term)
    .map((name) => `${head}${name}${name.endsWith('.') ? '' : '='}`)
}
