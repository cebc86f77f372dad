// @ts-check
// A query of the page as Python. Pure.

/** @import { View } from './plot.js' */

/**
 * The same points through the client library. `view` is {from, to} in steps or null.
 *
 * @param {{ parents: string[], keys: string[], view: View | null }} parts
 */
export function pythonQuery({ parents, keys, view }) {
  const range = view ? [`    first_step=${Math.ceil(view.from)},`, `    last_step=${Math.floor(view.to)},`] : []
  return [
    'from milepost.client import Client',
    '',
    'client = Client()',
    'answer = client.query_series(',
    `    parents=${list(parents)},`,
    `    keys=${list(keys)},`,
    '    bucket_count=1000,',
    ...range,
    ')',
    'for series in answer.series:',
    '    print(series.key, list(zip(series.last_steps, series.lasts)))',
    '',
  ].join('\n')
}

/** @param {string[]} items */
function list(items) {
  return `[${items.map((item) => JSON.stringify(item)).join(', ')}]`
}
