import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileName } from '../../../services/gateway/web/functions/files.js'
import { report } from '../../../services/gateway/web/functions/report.js'
import { addPoint, empty } from '../../../services/gateway/web/functions/series.js'

test('a report is one file that says what the page says, with whatever stands in names and lines as text', () => {
  const series = empty('runtimes/a/trials/1', 'train/loss')
  for (const [step, value] of [
    [1, 2],
    [2, NaN],
    [3, 1],
  ])
    addPoint(series, step, value, 0, 1)
  const html = report({
    runtime: {
      display_name: '<script>alert(1)</script>',
      status: 'Failed',
      reason: 'loss is NaN',
      runtime_id: 'rt-1',
      trial_count: 1,
    },
    trial: { trial: 1, elapsed: 61, progress: { step: 3, total_steps: 4, completion_percent: 75 } },
    series: [series],
    events: [{ type: 'milepost.trial.trial_failed.v1', event_time: '2026-01-01T00:00:00Z', actor: 'ann' }],
    lines: [{ text: '\u001b[31m<b>red</b>\u001b[0m' }],
    configuration: 'name: "x"',
    taken: 'now',
    address: 'http://here',
  })
  assert.doesNotMatch(html, /<script|<b>red|src=|href=/)
  assert.match(html, /3 of 4 \(75.0 %\)/)
  assert.match(html, /Trial failed/)
  assert.match(html, /<path d="M0\.0 /)
})

test('downloads are named after the run', () => {
  assert.equal(fileName('my run / 2', 'train/loss.csv'), 'my-run-2-train-loss.csv')
  assert.equal(fileName('', 'x.csv'), 'x.csv')
  assert.equal(fileName('损失', 'a'), '损失-a')
})
