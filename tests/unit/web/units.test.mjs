import assert from 'node:assert/strict'
import { test } from 'node:test'
import { titleOf } from '../../../services/gateway/web/functions/plot.js'
import { formatOf, resources, withoutUnit } from '../../../services/gateway/web/functions/units.js'

test('what is measured has its unit, what is logged has none', () => {
  assert.equal(formatOf('system/memory_bytes')(1_234_000_000), '1.23 GB')
  assert.equal(formatOf('system/disk_read_bytes_per_second')(48_100_000), '48.1 MB/s')
  assert.equal(formatOf('system/cpu_percent')(97.5), '97.5 %')
  assert.equal(formatOf('system/cpu_percent')(NaN), 'NaN')
  assert.equal(formatOf('train/loss')(2.345678), '2.3457')
  assert.equal(withoutUnit('network_sent_bytes_per_second'), 'network_sent')
  assert.equal(titleOf('system/gpu_0_memory_bytes'), 'GPU 0 memory')
})

test('one line sums up what a run uses', () => {
  assert.equal(resources({ 'train/loss': 1 }), undefined)
  assert.deepEqual(
    resources({
      'system/cpu_percent': 180,
      'system/memory_bytes': 1e9,
      'system/gpu_1_percent': 5,
      'system/gpu_0_percent': 97,
      'system/gpu_0_memory_bytes': 4e10,
    }),
    {
      cpu: 180,
      memory: 1e9,
      gpus: [
        { index: 0, percent: 97, memory: 4e10 },
        { index: 1, percent: 5, memory: undefined },
      ],
    },
  )
})
