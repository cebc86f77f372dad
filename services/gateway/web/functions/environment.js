// @ts-check
// What a run was made with, as it is shown and compared. Pure.
import { bytes } from './format.js'

/** @import { Tree, Value } from './configuration.js' */
/** @typedef {Partial<Api.EnvironmentRecorded>} Environment */

/**
 * An `EnvironmentRecorded` as fields: {git: {...}, python, ..., packages: {...}}; what is not known is left out.
 *
 * @param {Environment | null | undefined} environment
 * @returns {Tree}
 */
export function fields(environment) {
  if (!environment) return {}
  const git = environment.git
  return known({
    git:
      git &&
      known({
        commit: git.commit,
        branch: git.branch,
        remote: git.remote,
        changes: changes(git),
        untracked: git.untracked?.join(', '),
      }),
    command: environment.command,
    python: environment.python,
    platform: environment.platform,
    cpus: environment.cpu_count,
    devices: environment.devices?.join(', '),
    gpus: environment.gpus?.join(', '),
    packages: environment.packages,
  })
}

/**
 * @param {Record<string, Value>} object
 * @returns {Tree}
 */
function known(object) {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined && value !== '' && value !== 0),
  )
}

/**
 * What is not committed, so that two different diffs never look alike.
 *
 * @param {Api.GitState} git
 */
function changes(git) {
  if (git.unknown_changes) return 'unknown'
  if (!git.dirty) return 'none'
  if (!git.diff_byte_count) return git.untracked?.length ? 'only files that are not tracked' : 'not recorded'
  return `${bytes(Number(git.diff_byte_count))}${git.diff ? `, ${fingerprint(git.diff)}` : ''}`
}

/**
 * Short and the same for the same text; not a checksum to rely on.
 *
 * @param {string} text
 */
export function fingerprint(text) {
  let sum = 5381
  for (let at = 0; at < text.length; at += 1) sum = (Math.imul(sum, 33) ^ text.charCodeAt(at)) >>> 0
  return sum.toString(16).padStart(8, '0')
}
