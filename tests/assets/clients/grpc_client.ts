// A run from its start to its deletion over gRPC, with @grpc/grpc-js and the stubs that ts-proto generates.
// node grpc_client.js RUNTIME_ADDRESS TRIALS_ADDRESS METRICS_ADDRESS CONFIGURATION: prints what it saw, as JSON.
import { type ClientReadableStream, type ServiceError, credentials, status as codes } from '@grpc/grpc-js'
import { MetricServiceClient, QuerySeriesRequest, type QuerySeriesResponse } from './milepost/api/metric/v1/metric_service.js'
import { StopMode } from './milepost/api/event/v1/common.js'
import {
  DeleteRuntimeRequest,
  GetRuntimeRequest,
  type GetRuntimeResponse,
  ResumeRuntimeRequest,
  RuntimePhase,
  RuntimeServiceClient,
  RuntimeStatus,
  StartRuntimeRequest,
  type StartRuntimeResponse,
  StopRuntimeRequest,
  WatchRuntimesRequest,
  type WatchRuntimesResponse,
} from './milepost/api/runtime/v1/runtime_service.js'
import { TrialServiceClient, WatchTrialsRequest, type WatchTrialsResponse } from './milepost/api/trial/v1/trial_service.js'

const [runtimeAddress = '', trialsAddress = '', metricsAddress = '', configurationText = ''] = process.argv.slice(2)
const runtimes = new RuntimeServiceClient(runtimeAddress, credentials.createInsecure())
const trials = new TrialServiceClient(trialsAddress, credentials.createInsecure())
const metrics = new MetricServiceClient(metricsAddress, credentials.createInsecure())

function call<T>(begin: (done: (error: ServiceError | null, answer: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => begin((error, answer) => (error === null ? resolve(answer) : reject(error))))
}

async function first<T>(stream: ClientReadableStream<T>, wanted: (update: T) => boolean): Promise<T> {
  // A stream that is left early is cancelled, which is no error of it.
  stream.on('error', () => undefined)
  try {
    for await (const update of stream) if (wanted(update)) return update
  } finally {
    stream.cancel()
  }
  throw new Error('the stream ended')
}

async function waitForEnd(name: string): Promise<string> {
  const ended = (update: WatchRuntimesResponse) => update.runtime?.phase === RuntimePhase.RUNTIME_PHASE_ENDED
  const last = await first(runtimes.watchRuntimes(WatchRuntimesRequest.fromPartial({ name })), ended)
  return RuntimeStatus[last.runtime!.status]!
}

const started = await call<StartRuntimeResponse>((done) =>
  runtimes.startRuntime(StartRuntimeRequest.fromPartial({ configurationText }), done))
const { name, runtimeId } = started.runtime!
await first(
  trials.watchTrials(WatchTrialsRequest.fromPartial({ parent: name, brief: true })),
  (update: WatchTrialsResponse) => (update.trial?.progress?.step ?? 0n) >= 5n,
)
await call((done) => runtimes.stopRuntime(
  StopRuntimeRequest.fromPartial({ name, mode: StopMode.STOP_MODE_GRACEFUL, reason: 'to go on later' }), done))
const statuses = [await waitForEnd(name)]
await call((done) => runtimes.resumeRuntime(ResumeRuntimeRequest.fromPartial({ name }), done))
statuses.push(await waitForEnd(name))
const read = await call<QuerySeriesResponse>((done) => metrics.querySeries(
  QuerySeriesRequest.fromPartial({ parents: [`${name}/trials/1`], keys: ['train/loss'], bucketCount: 1_000 }), done))
const series = read.series[0]!
const get = (done: (error: ServiceError | null, answer: GetRuntimeResponse) => void) =>
  runtimes.getRuntime(GetRuntimeRequest.fromPartial({ name }), done)
const shown = (await call(get)).runtime!
await call((done) => runtimes.deleteRuntime(DeleteRuntimeRequest.fromPartial({ name }), done))
const gone = await call(get).then(() => undefined, (error: ServiceError) => codes[error.code])
console.log(JSON.stringify({
  runtime_id: runtimeId,
  statuses,
  steps: series.firstSteps.map(Number),
  values: series.lasts,
  every_steps: Number(shown.configuration?.snapshots?.everySteps),
  after_delete: gone,
}))
for (const client of [runtimes, trials, metrics]) client.close()
