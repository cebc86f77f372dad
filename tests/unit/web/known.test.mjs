import assert from 'node:assert/strict'
import { test } from 'node:test'
import { knownSeries, rankOf, table } from '../../../services/gateway/web/functions/known.js'
import { groupKeys, titleOf } from '../../../services/gateway/web/functions/plot.js'
import { formatOf } from '../../../services/gateway/web/functions/units.js'

test('series of trainers are known by name, part and unit', () => {
  assert.equal(titleOf('train/tokens'), 'Tokens seen')
  assert.equal(titleOf('system/mfu_percent'), 'MFU')
  assert.equal(titleOf('train/learning_rate_2'), 'Learning rate, group 2')
  assert.equal(titleOf('rewards/short_answer/mean'), 'Reward: short answer')
  assert.equal(titleOf('kl'), 'KL divergence')
  assert.equal(titleOf('completions/max_length'), 'Completion length, max')
  assert.equal(titleOf('clip_ratio/region_mean'), 'Clip fraction: region')
  assert.equal(titleOf('my/own_thing'), 'Own thing')
  assert.equal(knownSeries('my/train/tokens'), undefined, 'names are whole')
})

test('values are written in their units', () => {
  assert.equal(formatOf('train/tokens')(1234567), '1,234,567')
  assert.equal(formatOf('system/tokens_per_second')(20480.4), '20,480/s')
  assert.equal(formatOf('step_time')(0.25), '250 ms')
  assert.equal(formatOf('system/mfu_percent')(41.26), '41.3 %')
  assert.equal(formatOf('completions/mean_length')(61.5), '61.5')
  assert.equal(formatOf('train/tokens')(NaN), 'NaN')
})

test('known series come first within their group, in one order', () => {
  const [group] = groupKeys(['train/zeta', 'train/tokens', 'train/kl', 'train/alpha', 'train/reward'], [])
  assert.deepEqual(group.keys, ['train/tokens', 'train/reward', 'train/kl', 'train/alpha', 'train/zeta'])
  assert.equal(rankOf('train/zeta'), table.length)
})
