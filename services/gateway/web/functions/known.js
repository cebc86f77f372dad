// @ts-check
// Series that many training libraries have: what they are called, in what they are measured, in which order they are
// shown. Pure. `milepost/series/known.py` has the same for the command line.

/** @typedef {{ title: string, unit: string, rank: number }} Known */

/**
 * Expressions for whole names, in order; `$1` is what the first brackets have found. Then title and unit.
 *
 * @type {[string, string, string][]}
 */
export const table = [
  ['train/(?:tokens|num_tokens|num_input_tokens_seen)|num_tokens|num_input_tokens_seen', 'Tokens seen', 'tokens'],
  ['(?:system|train|perf)/tokens_per_second|perf/throughput', 'Tokens a second', 'tokens/s'],
  ['(?:system|train|perf)/mfu_percent', 'MFU', '%'],
  ['perf/mfu/(\\w+)', 'MFU: $1', ''],
  ['(?:system|train)/samples_per_second', 'Samples a second', 'samples/s'],
  ['train/learning_rate|learning_rate', 'Learning rate', ''],
  ['train/learning_rate_(\\d+)', 'Learning rate, group $1', ''],
  ['train/loss', 'Training loss', ''],
  ['(?:train/)?(?:loss/(\\w+))', 'Loss: $1', ''],
  ['(?:train/|actor/|critic/)?(\\w+)_loss', 'Loss: $1', ''],
  ['train/grad_norm', 'Gradient norm', ''],
  ['(?:train/)?reward|critic/rewards/mean', 'Reward', ''],
  ['(?:train/)?reward_std', 'Reward, spread', ''],
  ['(?:train/)?rewards/(\\w+)/mean', 'Reward: $1', ''],
  ['(?:train/)?rewards/(\\w+)/std', 'Reward: $1, spread', ''],
  ['(?:train/)?rewards/(chosen|rejected|accuracies|margins)', 'Reward: $1', ''],
  ['(?:train/)?(?:objective/)?kl|actor/ppo_kl', 'KL divergence', ''],
  ['(?:train/|actor/)?(?:policy/)?entropy', 'Entropy', ''],
  ['(?:train/)?clip_ratio/(\\w+)_mean', 'Clip fraction: $1', ''],
  ['(?:train/)?clip_(?:ratio|fraction)|actor/pg_clipfrac', 'Clip fraction', ''],
  ['(?:train/)?completions/mean_length|response_length/mean', 'Completion length', 'tokens'],
  ['(?:train/)?completions/(min|max)_length|response_length/(min|max)', 'Completion length, $1', 'tokens'],
  ['(?:train/)?completions/clipped_ratio|response_length/clip_ratio', 'Completions cut off', ''],
  ['(?:train/)?rollout_time|timing_s/gen', 'Rollout time', 's'],
  ['(?:train/)?update_time|timing_s/update_actor', 'Update time', 's'],
  ['(?:train/)?step_time|timing_s/step', 'Step time', 's'],
]

const expressions = table.map(([expression]) => new RegExp(`^(?:${expression})$`))

/**
 * What is known of a series by its name.
 *
 * @param {string} key
 * @returns {Known | undefined}
 */
export function knownSeries(key) {
  for (const [rank, expression] of expressions.entries()) {
    const found = expression.exec(key)
    if (!found) continue
    const part = found.slice(1).find(Boolean) ?? ''
    return { title: table[rank][1].replace('$1', () => part.replaceAll('_', ' ')), unit: table[rank][2], rank }
  }
  return undefined
}

/**
 * Where a series is shown among others: known ones first, in their order.
 *
 * @param {string} key
 */
export function rankOf(key) {
  return knownSeries(key)?.rank ?? table.length
}
