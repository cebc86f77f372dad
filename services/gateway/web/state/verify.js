// @ts-check
// Verifying the log: progress line by line, then the verdict.
import { postLines } from '../api.js'

/**
 * `onMessage` gets each `VerifyLogResponse`; the last one is `finished`.
 *
 * @param {string} parent
 * @param {(message: Api.VerifyLogResponse) => void} onMessage
 */
export function verifyLog(parent, onMessage) {
  return postLines('/log:verify', { parent, include_read_models: true }, onMessage)
}
