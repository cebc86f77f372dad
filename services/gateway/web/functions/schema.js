// @ts-check
// The configuration of a runtime as a form: fields with their kind, and what makes a configuration of what was typed.
// Pure.
import { Digits, keepDigits, typedScalar } from './configuration.js'

/**
 * @import { Violation } from '../api.js'
 * @import { Tree, Value } from './configuration.js'
 */
/**
 * @typedef {{
 *   path: string,
 *   label: string,
 *   kind: string,
 *   whole?: boolean,
 *   required?: boolean,
 *   hint?: string,
 *   choices?: string[],
 * }} Field
 */
/** @typedef {{ title: string, open?: boolean, fields: Field[] }} FieldGroup */

/**
 * Groups of fields. `path` is that of `RuntimeConfiguration`; a test compares it with the contract. `whole`: takes a
 * line.
 *
 * @type {FieldGroup[]}
 */
export const groups = [
  {
    title: 'What',
    open: true,
    fields: [
      { path: 'name', label: 'Name', kind: 'text', whole: true, required: true, hint: 'Free text, shown in lists' },
      {
        path: 'entrypoint',
        label: 'Entrypoint',
        kind: 'text',
        whole: true,
        required: true,
        hint: 'package.module:function or file.py:function',
      },
      {
        path: 'working_directory',
        label: 'Working directory',
        kind: 'text',
        whole: true,
        hint: 'Where file.py:function is found',
      },
      {
        path: 'parameters',
        label: 'Parameters',
        kind: 'pairs',
        hint: 'Handed to the entrypoint: numbers, true, false, null or text',
      },
      { path: 'labels', label: 'Labels', kind: 'pairs', hint: 'team = nlp' },
    ],
  },
  {
    title: 'Code and start',
    fields: [
      { path: 'code.uri', label: 'Code archive', kind: 'text', hint: 'Empty: importable where the trainer runs' },
      { path: 'code.digest', label: 'Digest of the archive', kind: 'text', hint: 'sha256:…' },
      { path: 'initialize_from', label: 'Weights from', kind: 'text', hint: 'runtimes/…/trials/1/snapshots/…' },
      { path: 'environment', label: 'Environment', kind: 'pairs', hint: 'NAME = value; a secret as secret:NAME' },
      {
        path: 'not_secret',
        label: 'Not secret',
        kind: 'names',
        hint: 'Names that look like secrets and are none, with commas',
      },
    ],
  },
  {
    title: 'Resources',
    fields: [
      {
        path: 'launcher',
        label: 'Launcher',
        kind: 'choice',
        choices: ['local', 'ray', 'slurm'],
        hint: 'This machine, a Ray cluster, or a Slurm',
      },
      { path: 'resources.workers', label: 'Workers', kind: 'integer', hint: '0: one process without a group' },
      { path: 'resources.cpus_per_worker', label: 'CPUs per worker', kind: 'number' },
      { path: 'resources.gpus_per_worker', label: 'GPUs per worker', kind: 'number' },
      { path: 'resources.memory_gigabytes_per_worker', label: 'Memory per worker, GB', kind: 'number' },
      { path: 'priority', label: 'Priority', kind: 'integer', hint: 'Higher goes first' },
    ],
  },
  {
    title: 'Slurm',
    fields: [
      { path: 'slurm.partition', label: 'Partition', kind: 'text' },
      { path: 'slurm.account', label: 'Account', kind: 'text' },
      { path: 'slurm.qos', label: 'Quality of service', kind: 'text' },
      { path: 'slurm.constraint', label: 'Constraint', kind: 'text', hint: 'Features of nodes' },
      { path: 'slurm.gres', label: 'Generic resources', kind: 'text', hint: 'gpu:a100:2' },
      { path: 'slurm.reservation', label: 'Reservation', kind: 'text' },
      { path: 'slurm.time_limit_minutes', label: 'Time limit, min', kind: 'integer' },
      { path: 'slurm.notice_seconds', label: 'Told before it, s', kind: 'integer', hint: 'For a snapshot' },
    ],
  },
  {
    title: 'Snapshots',
    fields: [
      { path: 'snapshots.every_steps', label: 'Every steps', kind: 'integer' },
      { path: 'snapshots.every_epochs', label: 'Every epochs', kind: 'integer' },
      { path: 'snapshots.every_minutes', label: 'Every minutes', kind: 'number' },
      { path: 'snapshots.keep_last', label: 'Keep the last', kind: 'integer' },
      { path: 'snapshots.keep_best.metric', label: 'Keep the best by', kind: 'text', hint: 'eval/loss' },
      { path: 'snapshots.keep_best.mode', label: 'Best is', kind: 'choice', choices: ['', 'min', 'max'] },
      {
        path: 'snapshots.storage',
        label: 'Storage',
        kind: 'text',
        hint: 'file: or s3: address; empty: the data directory',
      },
    ],
  },
  {
    title: 'Search',
    fields: [
      {
        path: 'search.kind',
        label: 'Kind',
        kind: 'choice',
        choices: ['', 'grid', 'random', 'tpe', 'gp', 'cmaes', 'qmc', 'nsga2'],
        hint: 'Empty: one trial. From tpe on a sampler chooses',
      },
      {
        path: 'search.space',
        label: 'Space',
        kind: 'lists',
        hint: 'learning_rate = 0.001, 0.003, or = {"minimum": 0.001, "maximum": 0.1}',
      },
      { path: 'search.max_trials', label: 'At most trials', kind: 'integer' },
      { path: 'search.max_concurrent_trials', label: 'At once', kind: 'integer' },
      { path: 'search.concurrency', label: 'At once, of these', kind: 'choice', choices: ['', 'fixed', 'auto'] },
      { path: 'search.seed', label: 'Seed', kind: 'integer' },
      { path: 'search.on_trial_failure', label: 'When one fails', kind: 'choice', choices: ['', 'continue', 'stop'] },
      { path: 'search.objective.metric', label: 'Sampler looks at', kind: 'text', hint: 'eval/loss' },
      { path: 'search.objective.mode', label: 'Better is', kind: 'choice', choices: ['', 'min', 'max'] },
      { path: 'search.objective.value', label: 'What counts', kind: 'choice', choices: ['', 'best', 'last'] },
      {
        path: 'search.objectives',
        label: 'Or several',
        kind: 'objects',
        whole: true,
        hint: 'One a line, as JSON: {"metric": "eval/loss", "mode": "min"}',
      },
      {
        path: 'search.constraints',
        label: 'Within',
        kind: 'objects',
        whole: true,
        hint: 'One a line, as JSON: {"metric": "memory", "at_most": 5}',
      },
      {
        path: 'search.warm_start',
        label: 'Begin with what others found',
        kind: 'names',
        hint: 'Ids of runtimes, with commas',
      },
      { path: 'search.population_size', label: 'nsga2: population', kind: 'integer' },
      {
        path: 'search.points',
        label: 'Tried first',
        kind: 'objects',
        whole: true,
        hint: 'One a line, as JSON: {"learning_rate": 0.003}',
      },
      {
        path: 'search.pruner.kind',
        label: 'Pruner',
        kind: 'choice',
        choices: ['', 'asha', 'hyperband', 'median', 'threshold', 'patience', 'pbt'],
        hint: 'Empty: each trial is trained to its end',
      },
      { path: 'search.pruner.first_step', label: 'First rung at step', kind: 'integer' },
      { path: 'search.pruner.reduction_factor', label: 'asha, hyperband: one goes on of', kind: 'integer' },
      { path: 'search.pruner.max_step', label: 'hyperband, pbt: last rung before step', kind: 'integer' },
      { path: 'search.pruner.startup_trials', label: 'median: others at the rung', kind: 'integer' },
      { path: 'search.pruner.bound', label: 'threshold: not worse than', kind: 'number' },
      { path: 'search.pruner.patience', label: 'patience: rungs', kind: 'integer' },
      { path: 'search.pruner.population_size', label: 'pbt: members', kind: 'integer' },
      { path: 'search.pruner.quantile', label: 'pbt: share that is replaced', kind: 'number' },
      {
        path: 'search.pruner.perturbation_factors',
        label: 'pbt: numbers times one of',
        kind: 'objects',
        whole: true,
        hint: 'One a line: 0.8',
      },
      { path: 'search.pruner.resample_probability', label: 'pbt: share that is drawn anew', kind: 'number' },
      {
        path: 'search.pruner.keep_parameters',
        label: 'pbt: kept with the weights',
        kind: 'names',
        hint: 'Names, with commas',
      },
      { path: 'search.stop_when.target', label: 'End at a value of', kind: 'number' },
      { path: 'search.stop_when.no_gain_in_trials', label: 'End after trials without gain', kind: 'integer' },
      { path: 'search.stop_when.hours', label: 'End after, h', kind: 'number' },
    ],
  },
  {
    title: 'Retries and limits',
    fields: [
      { path: 'retries.max_retries', label: 'Retries', kind: 'integer' },
      { path: 'retries.backoff_seconds', label: 'Wait before the first, s', kind: 'number' },
      { path: 'limits.max_duration_seconds', label: 'Longest running time, s', kind: 'number' },
      { path: 'limits.heartbeat_grace_seconds', label: 'Lost after silence of, s', kind: 'number' },
      { path: 'limits.stop_deadline_seconds', label: 'Stop deadline, s', kind: 'number' },
      { path: 'limits.stall_seconds', label: 'No progress after, s', kind: 'number' },
      { path: 'limits.log_megabytes', label: 'Log quota, MB', kind: 'integer' },
      { path: 'limits.sample_megabytes', label: 'Sample quota, MB', kind: 'integer' },
    ],
  },
  {
    title: 'Rules',
    fields: [
      {
        path: 'rules',
        label: 'Rules of this run',
        kind: 'objects',
        whole: true,
        hint: 'One a line, as JSON: {"id": "nan", "detector": {"not_finite": {}}}',
      },
    ],
  },
]

/**
 * Pairs typed one a line, "name = value" or "name: value": [[name, text]].
 *
 * @param {string} text
 * @returns {[string, string][]}
 */
export function pairs(text) {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      const at = line.search(/[=:]/)
      return at === -1 ? [line, ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()]
    })
}

/**
 * What was typed, {path: text}, as a configuration: only what was given; the server fills in the rest.
 *
 * @param {Record<string, string>} typed
 * @returns {Tree}
 */
export function configurationOf(typed) {
  /** @type {Tree} */
  const configuration = {}
  for (const { fields } of groups) {
    for (const field of fields) {
      const text = (typed[field.path] ?? '').trim()
      if (text !== '') put(configuration, field.path, valueOf(field, text))
    }
  }
  return configuration
}

/**
 * @param {Field} field
 * @param {string} text
 * @returns {Value}
 */
function valueOf(field, text) {
  if (field.kind === 'integer' && /^-?[0-9]+$/.test(text) && !Number.isSafeInteger(Number(text)))
    return new Digits(text)
  if (field.kind === 'integer' || field.kind === 'number') return Number.isFinite(Number(text)) ? Number(text) : text
  if (field.kind === 'lists')
    return Object.fromEntries(
      pairs(text).map(([name, values]) => [
        name,
        values.startsWith('{') ? objects(values)[0] : values.split(',').map((one) => typedScalar(one.trim())),
      ]),
    )
  if (field.kind === 'objects') return objects(text)
  if (field.kind === 'names')
    return text
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
  if (field.kind !== 'pairs') return text
  if (field.path === 'environment')
    return Object.fromEntries(
      pairs(text).map(([name, value]) => [name, value.startsWith('secret:') ? { secret: value.slice(7) } : value]),
    )
  if (field.path === 'labels') return Object.fromEntries(pairs(text))
  return Object.fromEntries(pairs(text).map(([name, value]) => [name, typedScalar(value)]))
}

/**
 * Objects, one a line; what is none stays the text that it is, for the server to refuse by its place.
 *
 * @param {string} text
 */
function objects(text) {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.map((line) => {
    try {
      return JSON.parse(line, /** @type {(key: string, value: unknown) => unknown} */ (keepDigits))
    } catch {
      return line
    }
  })
}

/**
 * @param {Tree} target
 * @param {string} path
 * @param {Value} value
 */
function put(target, path, value) {
  const parts = path.split('.')
  const last = parts.pop() ?? ''
  let inner = target
  for (const part of parts) inner = /** @type {Tree} */ (inner[part] ??= {})
  inner[last] = value
}

/**
 * The violations that belong to a field: its own path and what lies inside it.
 *
 * @param {Violation[] | undefined} violations
 * @param {string} path
 */
export function violationsOf(violations, path) {
  return (violations ?? []).filter(({ field }) => {
    const plain = field.replace(/^configuration(_text)?\.?/, '')
    return plain === path || plain.startsWith(`${path}.`) || plain.startsWith(`${path}[`)
  })
}
