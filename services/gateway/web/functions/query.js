// @ts-check
// Queries of URLs, ours and the API's. Pure.

/** @typedef {Record<string, unknown>} Query */
/** @typedef {{ page: 'runtimes' | 'runtime' | 'trials' | 'rules' | 'audit' | 'unknown', id?: string }} Route */

/**
 * {a: 1, b: ["x", "y"], c: undefined} -> "a=1&b=x&b=y". Missing, empty and false are left out.
 *
 * @param {Query} values
 */
export function encode(values) {
  const parameters = new URLSearchParams()
  for (const [key, value] of Object.entries(values)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== '' && item !== false) parameters.append(key, String(item))
    }
  }
  // Commas, colons and slashes are legal in a query and much easier to read.
  return parameters.toString().replaceAll('%2C', ',').replaceAll('%3A', ':').replaceAll('%2F', '/')
}

/**
 * The whole address: path and, if there is one, query.
 *
 * @param {string} path
 * @param {Query} [values]
 */
export function address(path, values = {}) {
  const query = encode(values)
  return query ? `${path}?${query}` : path
}

/**
 * Where a new rule is made for a series.
 *
 * @param {string} trial `runtimes/{runtime}/trials/{trial}`
 * @param {string} key
 */
export function newRuleAddress(trial, key) {
  const [, run, , number] = trial.split('/')
  return address('/rules', { new: key, run, trial: number === '1' ? '' : number })
}

/**
 * What MLflow's clients print as the place of a run or an experiment (`#/experiments/0/runs/ID`) -> our address of it;
 * "": none.
 *
 * @param {string} fragment
 */
export function placeOfMlflow(fragment) {
  const [, experiment, run] = /^#\/experiments\/([\w-]{1,64})(?:\/runs\/([0-9a-f]{32}))?(?:\/.*)?$/.exec(fragment) ?? []
  // The same 128 bits, as Milepost writes them: five at a time, the last ones filled up.
  if (run) return `/runtimes/rt-${(BigInt(`0x${run}`) << 2n).toString(32).padStart(26, '0')}`
  return experiment ? address('/', { filter: `label.mlflow.experiment_id="${experiment}"` }) : ''
}

/**
 * Path of the page -> {page, id}.
 *
 * @param {string} path
 * @returns {Route}
 */
export function route(path) {
  const parts = path.split('/').filter(Boolean)
  if (parts.length === 0) return { page: 'runtimes' }
  if (parts[0] === 'trials' && parts.length === 1) return { page: 'trials' }
  if (parts[0] === 'rules' && parts.length === 1) return { page: 'rules' }
  if (parts[0] === 'runtimes' && parts.length === 1) return { page: 'runtimes' }
  if (parts[0] === 'runtimes' && parts.length === 2) return { page: 'runtime', id: decodeURIComponent(parts[1]) }
  if (parts[0] === 'runtimes' && parts.length === 3 && parts[2] === 'audit')
    return { page: 'audit', id: decodeURIComponent(parts[1]) }
  return { page: 'unknown' }
}
