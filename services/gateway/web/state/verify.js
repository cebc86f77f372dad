// @ts-check
// Verifying the log: progress line by line, then the verdict.
import { ApiError } from '../api.js'

/**
 * `onMessage` gets each `VerifyLogResponse`; the last one is `finished`.
 *
 * @param {string} parent
 * @param {(message: Api.VerifyLogResponse) => void} onMessage
 */
export async function verifyLog(parent, onMessage) {
  const response = await fetch('/api/v1/log:verify', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-milepost-csrf': '1' },
    body: JSON.stringify({ parent, include_read_models: true }),
  })
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}))
    throw new ApiError(response.status, problem.code, problem.detail || response.statusText)
  }
  const body = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body)
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    const lines = (rest + (value ?? '')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines.filter(Boolean)) {
      const message = JSON.parse(line)
      if (message.problem) throw new ApiError(message.problem.status, message.problem.code, message.problem.detail)
      onMessage(message)
    }
    if (done) return
  }
}
