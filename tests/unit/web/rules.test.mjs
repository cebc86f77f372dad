import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  cameTo,
  daily,
  firingAddress,
  firingPlace,
  followed,
  isOpen,
  lookedFor,
  openFirst,
  ruleFile,
} from '../../../services/gateway/web/functions/rules.js'

test('what a rule looks for is said in words', () => {
  const said = (detector, hold_seconds = 0) => lookedFor({ detector, hold_seconds })
  assert.equal(said({ threshold: { series: 'train/loss', comparison: 'ABOVE', value: 5 } }), 'train/loss above 5')
  assert.equal(
    said({ change: { series: 'train/loss', window: 100, deviations: 8, direction: 'UP' } }),
    'train/loss 8 deviations above the median of 100 points',
  )
  assert.equal(said({ state: { states: ['Failed', 'QUEUED'] } }), 'the run is failed or queued')
  assert.equal(said({ gpu_idle: { below_percent: 10 } }, 600), 'a GPU busy below 10 %, for 10 m 00 s')
  assert.equal(said({ another_kind: {} }), 'another kind')
})

test('what follows is said only of a rule that acts', () => {
  const actions = [{ notify: { destination: 'chat' } }, { notify: { destination: 'mail' } }]
  assert.equal(followed({ actions, watching_only: false }), 'tells chat, mail')
  assert.equal(followed({ actions, watching_only: true }), 'watches only')
  assert.equal(followed({ actions, watching_only: false, disabled: true }), 'disabled')
  assert.equal(followed({ actions: [], watching_only: false }), 'watches only')
  const acting = [...actions, { label: { set: { a: 'b' } } }, { roll_back: { margin_steps: 0 } }]
  assert.equal(followed({ actions: acting, watching_only: false }), 'tells chat, mail, labels, rolls back')
})

test('what an action came to is said, with whose it is or why it was not done', () => {
  const action = { kind: 'roll_back', state: 'TAKEN', detail: 'rolled back to step 40', owner: 'ann' }
  assert.equal(cameTo(action), 'rolled back to step 40, for ann')
  assert.equal(cameTo({ ...action, state: 'FAILED', detail: 'no' }), 'roll back refused: no')
  assert.equal(cameTo({ ...action, state: 'PENDING', detail: '' }), 'roll back pending')
})

test('the file of a rule that acts has its actions as one gives them', () => {
  const text = ruleFile({
    name: 'rules/spike',
    detector: { not_finite: { series: '' } },
    actions: [
      { stop: {} },
      { roll_back: { margin_steps: 0, parameters: {}, factors: { rate: 0.5 }, skip_batches: 9, max_times: 3 } },
      { start: { configuration_text: '', runtime: 'runtimes/rt-1', resolved_text: '{}' } },
    ],
  })
  const back = '{roll_back: {factors: {rate: 0.5}, skip_batches: 9, max_times: 3}}'
  assert.ok(text.includes(`actions: [{stop: {}}, ${back}, {start: {runtime: runtimes/rt-1}}]`), text)
})

test('a firing leads to its step, or else to its event', () => {
  const firing = { runtime: 'runtimes/rt-1', sequence: 7, fired: { trial: 2, step: 1200 } }
  assert.equal(firingAddress(firing), '/runtimes/rt-1?trial=2&pin=1200')
  assert.equal(firingPlace(firing, new Map()), 'rt-1 · trial 2 · step 1,200')
  const stepless = { ...firing, fired: { trial: 0, step: 0 } }
  assert.equal(firingAddress(stepless), '/runtimes/rt-1?tab=events&event=7')
  assert.equal(firingPlace(stepless, new Map([['runtimes/rt-1', 'llama']])), 'llama')
})

test('firings are counted by day, and those that are open come first', () => {
  const day = 86_400_000
  assert.deepEqual(daily([0, day * 2.5, day * 3, undefined], day * 3, 3), [0, 0, 2])
  assert.deepEqual(daily([day * 0.5], day * 2, 2), [1, 0])
  const firing = (sequence, parts = {}) => ({ sequence, fired: { momentary: false }, cleared: null, ...parts })
  const all = [firing(1), firing(2, { cleared: {} }), firing(3, { fired: { momentary: true } }), firing(4)]
  assert.deepEqual(all.map(isOpen), [true, false, false, true])
  assert.deepEqual(
    openFirst(all).map((one) => one.sequence),
    [4, 1, 3, 2],
  )
})

test('the file of a rule has what one gives, and texts that YAML would take for something else in quotes', () => {
  const rule = {
    name: 'rules/spike',
    display_name: 'Loss: spike',
    selector: 'label.team=nlp',
    detector: { baseline: { series: 'train/loss', trial: 'no', tolerance: 0.1, steps: [1], values: [2] } },
    hold_seconds: 0,
    severity: 'WARNING',
    actions: [{ notify: { destination: 'chat' } }],
    max_firings: 10,
    watching_only: false,
    revision: 3,
    etag: '3',
  }
  assert.equal(
    ruleFile(rule),
    [
      'id: spike',
      'display_name: "Loss: spike"',
      'selector: "label.team=nlp"',
      'detector:',
      '  baseline:',
      '    series: train/loss',
      '    trial: "no"',
      '    tolerance: 0.1',
      'severity: WARNING',
      'actions: [{notify: {destination: chat}}]',
      'max_firings: 10',
      'watching_only: false',
      '',
    ].join('\n'),
  )
})
