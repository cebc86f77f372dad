// @ts-check
// What the batch monitor says. Pure.
import { count } from './format.js'

/**
 * {text, done, total, kind}: total is 0 where it is unknown.
 *
 * @param {Api.Progress | null | undefined} progress
 */
export function batchState(progress) {
  const epoch = progress?.epoch ?? 0
  if (progress?.phase === 'EVALUATING') {
    const done = progress.evaluation_batch ?? 0
    const total = progress.evaluation_batches ?? 0
    return { text: `E${epoch} eval ${count(done)}${total ? `/${count(total)}` : ''}`, done, total, kind: 'evaluation' }
  }
  if (progress?.phase === 'SKIPPING') {
    const done = progress.skipped_batches ?? 0
    const total = progress.batches_to_skip ?? 0
    return { text: `skipping data ${count(done)}${total ? `/${count(total)}` : ''}`, done, total, kind: 'skipping' }
  }
  const done = progress?.batch ?? 0
  const total = progress?.batches_per_epoch ?? 0
  // The server has the same rule; its words win, so that page and command line never differ.
  return { text: progress?.batch_text || `E${epoch} ${done}${total ? `/${total}` : ''}`, done, total, kind: 'training' }
}
