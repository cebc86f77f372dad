// The messages of the API, as JSON has them. Written by `make page-types` from the OpenAPI document.
declare namespace Api {
  interface Configuration {
    name?: string | null
    entrypoint?: string | null
    code?: {
      uri: string
      digest: string
    } | null
    working_directory?: string | null
    initialize_from?: string | null
    parameters?: Record<string, string | number | boolean | null> | null
    search?: {
      kind?: 'grid' | 'random' | 'tpe' | 'gp' | 'cmaes' | 'qmc' | 'nsga2' | null
      space: Record<string, (string | number | boolean | null)[] | {
        values: (string | number | boolean | null)[]
        when?: Record<string, string | number | boolean | null | (string | number | boolean | null)[]> | null
      } | {
        minimum: number
        maximum: number
        log_scale?: boolean | null
        integer?: boolean | null
        when?: Record<string, string | number | boolean | null | (string | number | boolean | null)[]> | null
      }>
      seed?: number | null
      max_trials?: number | null
      concurrency?: 'fixed' | 'auto' | null
      max_concurrent_trials?: number | null
      on_trial_failure?: 'continue' | 'stop' | null
      objective?: {
        metric: string
        mode?: 'min' | 'max' | null
        value?: 'best' | 'last' | null
      } | null
      objectives?: ({
        metric: string
        mode?: 'min' | 'max' | null
        value?: 'best' | 'last' | null
      })[] | null
      constraints?: ({
        metric: string
        at_most?: number | null
        at_least?: number | null
        value?: 'last' | 'worst' | null
      })[] | null
      population_size?: number | null
      warm_start?: string[] | null
      points?: (Record<string, string | number | boolean | null>)[] | null
      pruner?: {
        kind?: 'asha' | 'median' | 'threshold' | 'patience' | 'hyperband' | 'pbt' | null
        first_step?: number | null
        reduction_factor?: number | null
        max_step?: number | null
        startup_trials?: number | null
        bound?: number | null
        patience?: number | null
        population_size?: number | null
        quantile?: number | null
        perturbation_factors?: number[] | null
        resample_probability?: number | null
        keep_parameters?: string[] | null
      } | null
      stop_when?: {
        target?: number | null
        no_gain_in_trials?: number | null
        hours?: number | null
      } | null
    } | null
    launcher?: 'local' | 'ray' | 'slurm' | 'external' | null
    resources?: {
      workers?: number | null
      cpus_per_worker?: number | null
      gpus_per_worker?: number | null
      memory_gigabytes_per_worker?: number | null
    } | null
    slurm?: {
      partition?: string | null
      account?: string | null
      qos?: string | null
      constraint?: string | null
      gres?: string | null
      reservation?: string | null
      time_limit_minutes?: number | null
      notice_seconds?: number | null
    } | null
    priority?: number | null
    snapshots?: {
      every_steps?: number | null
      every_epochs?: number | null
      every_minutes?: number | null
      keep_last?: number | null
      keep_best?: {
        metric: string
        mode?: 'min' | 'max' | null
      } | null
      storage?: string | null
    } | null
    retries?: {
      max_retries?: number | null
      backoff_seconds?: number | null
    } | null
    limits?: {
      max_duration_seconds?: number | null
      heartbeat_grace_seconds?: number | null
      stop_deadline_seconds?: number | null
      stall_seconds?: number | null
      log_megabytes?: number | null
      sample_megabytes?: number | null
    } | null
    environment?: Record<string, string | {
      secret: string
    }> | null
    not_secret?: string[] | null
    labels?: Record<string, string> | null
    rules?: ({
      id: string
      name?: string | null
      display_name?: string | null
      detector: RunDetectorSent
      hold_seconds?: number | null
      severity?: 'INFO' | 'WARNING' | 'CRITICAL' | null
      actions?: ActionSent[] | null
      max_firings?: number | null
      watching_only?: boolean | null
      disabled?: boolean | null
      owner?: string | null
      create_time?: string | null
      update_time?: string | null
      revision?: number | null
      etag?: string | null
      sequence?: number | null
    })[] | null
  }

  interface Problem {
    type: string
    title: string
    status: number
    detail: string
    instance?: string
    code: string
    reason: string
    metadata?: Record<string, string>
    violations?: {
      field: string
      description: string
    }[]
  }

  interface DiffStatesResponse {
    changes: FieldChange[]
  }

  interface FieldChange {
    path: string
    before: string
    after: string
  }

  interface Finding {
    kind: string
    sequence: number
    subject: string
    message: string
    tolerated: boolean
  }

  interface GetStateAtResponse {
    runtime: Runtime | null
    trials: Trial[]
    as_of: AsOf | null
  }

  interface ReplayEventsResponse {
    events: RecordedEvent[]
    sequence: number
  }

  interface VerifyLogResponse {
    checked_events: number
    total_events: number
    finished: boolean
    valid: boolean
    findings: Finding[]
    message: string
    digest: string
  }

  interface Action {
    notify?: Notify
    label?: Label
    snapshot?: TakeSnapshot
    stop?: Stop
    start?: Start
    roll_back?: RollBack
  }

  interface Baseline {
    series: string
    trial: string
    tolerance: number | 'NaN' | 'Infinity' | '-Infinity'
    direction: null | 'UP' | 'DOWN'
    steps: number[]
    values: (number | null)[]
    values_non_finite?: NonFiniteElement[]
  }

  interface BaselineSent {
    series: string
    trial: string
    tolerance?: number | null
    direction?: 'UP' | 'DOWN' | null
    steps?: number[] | null
    values?: (number | 'NaN' | 'Infinity' | '-Infinity')[] | null
  }

  interface Change {
    series: string
    window: number
    deviations: number | 'NaN' | 'Infinity' | '-Infinity'
    direction: null | 'UP' | 'DOWN'
  }

  interface ChangeSent {
    series: string
    window?: '0' | number | null
    deviations?: number | null
    direction?: 'UP' | 'DOWN' | null
  }

  interface Detector {
    threshold?: Threshold
    change?: Change
    baseline?: Baseline
    plateau?: Plateau
    exploding_gradient?: ExplodingGradient
    vanishing_gradient?: VanishingGradient
    not_finite?: NotFinite
    silence?: Silence
    throughput_drop?: ThroughputDrop
    log_pattern?: LogPattern
    event?: EventSeen
    state?: StateEntered
    retries?: Retries
    estimated_end?: EstimatedEnd
    gpu_idle?: GpuIdle
    disk_filling?: DiskFilling
  }

  interface DiskFilling {
    above_percent: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface DiskFillingSent {
    above_percent?: number | null
  }

  interface EstimatedEnd {
    time?: string
    after_seconds?: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface EventSeen {
    type: string
  }

  interface EventSeenSent {
    type:
      | 'milepost.runtime.delete_requested.v1'
      | 'milepost.runtime.earlier_trials_told.v1'
      | 'milepost.runtime.health_changed.v1'
      | 'milepost.runtime.labels_changed.v1'
      | 'milepost.runtime.objective_reported.v1'
      | 'milepost.runtime.purge_started.v1'
      | 'milepost.runtime.readiness_changed.v1'
      | 'milepost.runtime.resources_adjusted.v1'
      | 'milepost.runtime.resources_allocated.v1'
      | 'milepost.runtime.resources_pending.v1'
      | 'milepost.runtime.resources_released.v1'
      | 'milepost.runtime.resume_requested.v1'
      | 'milepost.runtime.rung_reached.v1'
      | 'milepost.runtime.runtime_aborted.v1'
      | 'milepost.runtime.runtime_completed.v1'
      | 'milepost.runtime.runtime_failed.v1'
      | 'milepost.runtime.runtime_purged.v1'
      | 'milepost.runtime.runtime_requested.v1'
      | 'milepost.runtime.runtime_started.v1'
      | 'milepost.runtime.runtime_undeleted.v1'
      | 'milepost.runtime.search_ended.v1'
      | 'milepost.runtime.stop_requested.v1'
      | 'milepost.runtime.trial_promoted.v1'
      | 'milepost.runtime.trial_pruned.v1'
      | 'milepost.runtime.trial_suggested.v1'
      | 'milepost.trial.alert_raised.v1'
      | 'milepost.trial.attempt_ended.v1'
      | 'milepost.trial.attempt_fenced.v1'
      | 'milepost.trial.attempt_launched.v1'
      | 'milepost.trial.attempt_started.v1'
      | 'milepost.trial.cluster_state_observed.v1'
      | 'milepost.trial.environment_recorded.v1'
      | 'milepost.trial.epoch_completed.v1'
      | 'milepost.trial.evaluation_completed.v1'
      | 'milepost.trial.evaluation_refused.v1'
      | 'milepost.trial.evaluation_started.v1'
      | 'milepost.trial.instance_exited.v1'
      | 'milepost.trial.instance_health_changed.v1'
      | 'milepost.trial.instance_readiness_changed.v1'
      | 'milepost.trial.instance_started.v1'
      | 'milepost.trial.parameters_changed.v1'
      | 'milepost.trial.parameters_declared.v1'
      | 'milepost.trial.parameters_not_changed.v1'
      | 'milepost.trial.plan_declared.v1'
      | 'milepost.trial.retry_scheduled.v1'
      | 'milepost.trial.snapshot_committed.v1'
      | 'milepost.trial.snapshot_deleted.v1'
      | 'milepost.trial.snapshot_failed.v1'
      | 'milepost.trial.snapshot_held.v1'
      | 'milepost.trial.snapshot_let_go.v1'
      | 'milepost.trial.snapshot_pinned.v1'
      | 'milepost.trial.snapshot_started.v1'
      | 'milepost.trial.snapshot_unpinned.v1'
      | 'milepost.trial.stacks_recorded.v1'
      | 'milepost.trial.stall_diagnosed.v1'
      | 'milepost.trial.steerable_declared.v1'
      | 'milepost.trial.straggler_observed.v1'
      | 'milepost.trial.telemetry_dropped.v1'
      | 'milepost.trial.trial_completed.v1'
      | 'milepost.trial.trial_created.v1'
      | 'milepost.trial.trial_evaluation_requested.v1'
      | 'milepost.trial.trial_failed.v1'
      | 'milepost.trial.trial_purge_started.v1'
      | 'milepost.trial.trial_resume_requested.v1'
      | 'milepost.trial.trial_roll_back_requested.v1'
      | 'milepost.trial.trial_snapshot_requested.v1'
      | 'milepost.trial.trial_stacks_requested.v1'
      | 'milepost.trial.trial_steer_requested.v1'
      | 'milepost.trial.trial_stop_requested.v1'
      | 'milepost.trial.trial_stopped.v1'
  }

  interface ExplodingGradient {
    series: string
    factor: number | 'NaN' | 'Infinity' | '-Infinity'
    window: number
  }

  interface ExplodingGradientSent {
    series?: '' | string | null
    factor?: '0' | number | null
    window?: '0' | number | null
  }

  interface GpuIdle {
    below_percent: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface GpuIdleSent {
    below_percent?: number | null
  }

  interface Label {
    set: Record<string, string>
    remove: string[]
  }

  interface LabelSent {
    set?: Record<string, string> | null
    remove?: string[] | null
  }

  interface LogPattern {
    pattern: string
  }

  interface LogPatternSent {
    pattern: string
  }

  interface NotFinite {
    series: string
  }

  interface NotFiniteSent {
    series?: '' | string | null
  }

  interface Notify {
    destination: string
  }

  interface NotifySent {
    destination?: string | null
  }

  interface Plateau {
    series: string
    window: number
    min_improvement: number | 'NaN' | 'Infinity' | '-Infinity'
    direction: null | 'UP' | 'DOWN'
  }

  interface PlateauSent {
    series: string
    window?: '0' | number | null
    min_improvement?: number | null
    direction?: 'UP' | 'DOWN' | null
  }

  interface Retries {
    count: number
  }

  interface RetriesSent {
    count: number
  }

  interface RollBack {
    margin_steps: number
    parameters: Record<string, string>
    factors: Record<string, number | 'NaN' | 'Infinity' | '-Infinity'>
    skip_batches: number
    max_times: number
  }

  interface RollBackSent {
    margin_steps?: number | null
    parameters?: Record<string, string> | null
    factors?: Record<string, number> | null
    skip_batches?: number | null
    max_times?: number | null
  }

  interface Rule {
    name: string
    display_name: string
    selector: string
    detector: Detector | null
    hold_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
    severity: null | 'INFO' | 'WARNING' | 'CRITICAL'
    actions: Action[]
    max_firings: number
    watching_only: boolean | null
    disabled: boolean
    owner: string
    create_time: string | null
    update_time: string | null
    revision: number
    etag: string
    sequence: number
  }

  interface RuleSent {
    name?: string | null
    display_name?: string | null
    selector?: string | null
    detector: DetectorSent
    hold_seconds?: number | null
    severity?: 'INFO' | 'WARNING' | 'CRITICAL' | null
    actions?: ActionSent[] | null
    max_firings?: number | null
    watching_only?: boolean | null
    disabled?: boolean | null
    owner?: string | null
    create_time?: string | null
    update_time?: string | null
    revision?: number | null
    etag?: string | null
    sequence?: number | null
  }

  interface Silence {
    factor: number | 'NaN' | 'Infinity' | '-Infinity'
    min_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface SilenceSent {
    factor?: '0' | number | null
    min_seconds?: '0' | number | null
  }

  interface Start {
    configuration_text?: string
    runtime?: string
    resolved_text: string
  }

  interface StartSent {
    configuration_text?: string | null
    runtime?: string | null
    resolved_text?: string | null
  }

  interface StateEntered {
    states: string[]
  }

  interface StateEnteredSent {
    states:
      | ('Started' | 'Aborted' | 'Failed' | 'Completed' | 'QUEUED' | 'ALLOCATING' | 'STARTING' | 'RUNNING' | 'STOPPING' | 'TERMINATING' | 'ENDED' | 'RESTORABLE' | 'DELETING' | 'DELETED')[]
  }

  interface Threshold {
    series: string
    comparison: null | 'ABOVE' | 'BELOW'
    value: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface ThresholdSent {
    series: string
    comparison: 'ABOVE' | 'BELOW'
    value?: number | null
  }

  interface ThroughputDrop {
    series: string
    share: number | 'NaN' | 'Infinity' | '-Infinity'
    window: number
  }

  interface ThroughputDropSent {
    series?: '' | string | null
    share?: number | null
    window?: '0' | number | null
  }

  interface VanishingGradient {
    series: string
    below: number | 'NaN' | 'Infinity' | '-Infinity'
    points: number
  }

  interface VanishingGradientSent {
    series?: '' | string | null
    below?: number | null
    points?: number | null
  }

  interface AccessObserved {
    result: null | 'ALLOWED' | 'UNAUTHENTICATED' | 'PERMISSION_DENIED'
    operation: string
    resource: string
    peer: string
    count: number
    first_time: string | null
  }

  interface ActionFailed {
    action_id: string
    firing_id: string
    rule_id: string
    number: number
    kind: string
    trial: number
    owner: string
    attempt_count: number
    reason: string
    detail: string
  }

  interface ActionTaken {
    action_id: string
    firing_id: string
    rule_id: string
    number: number
    kind: string
    trial: number
    owner: string
    attempt_count: number
    detail: string
    runtime: string
  }

  interface AlertRaised {
    attempt: number
    kind: null | 'NON_FINITE' | 'NO_PROGRESS' | 'SPOOL_FILLING' | 'NOT_REPRODUCIBLE' | 'CODE'
    series: string
    step: number
    message: string
    title: string
    level: null | 'INFO' | 'WARNING' | 'ERROR'
  }

  interface AncestorSteps {
    runtime_id: string
    trial: number
    attempt: number
    first_step: number
    last_step: number
  }

  interface AsOf {
    events_sequence: number
    telemetry_sequence: number
    time: string | null
  }

  interface AttemptEnded {
    attempt: number
    outcome: null | 'COMPLETED' | 'STOPPED' | 'FAILED'
    cause:
      | null
      | 'FINISHED'
      | 'STOPPED'
      | 'EXCEPTION'
      | 'DETERMINISTIC'
      | 'SIGNAL'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'KILLED'
      | 'LAUNCH_FAILED'
      | 'FENCED'
      | 'TIME_LIMIT'
      | 'PREEMPTED'
      | 'NODE_FAILED'
    detail: string
    last_step: number
    unsent_batch_count: number
  }

  interface AttemptFenced {
    attempt: number
    reason:
      | null
      | 'LOST'
      | 'EXITED'
      | 'ABRUPT_STOP'
      | 'STOP_DEADLINE'
      | 'LAUNCH_FAILED'
      | 'DEADLINE_EXCEEDED'
      | 'POLICY'
      | 'DELETED'
      | 'EXCESS'
      | 'ROLLED_BACK'
    cause:
      | null
      | 'FINISHED'
      | 'STOPPED'
      | 'EXCEPTION'
      | 'DETERMINISTIC'
      | 'SIGNAL'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'KILLED'
      | 'LAUNCH_FAILED'
      | 'FENCED'
      | 'TIME_LIMIT'
      | 'PREEMPTED'
      | 'NODE_FAILED'
    detail: string
    last_step: number
  }

  interface AttemptLaunched {
    attempt: number
    reason: null | 'FIRST' | 'RESUME' | 'RETRY' | 'ROLL_BACK'
    snapshot_id: string
    snapshot_step: number
    snapshot_uri: string
    host: string
    gpus: number[]
    rejected_snapshot_ids: string[]
    process: ProcessIdentity | null
    request_id: string
    own_step: number | null
    appends: boolean
    skip_batches: number
  }

  interface AttemptStarted {
    attempt: number
    restored_snapshot_id: string
    restored_step: number
    world_size: number
    inexact: string
  }

  interface Branch {
    origin: SnapshotOrigin | null
    weights_only: boolean
    changes: FieldChange[]
  }

  interface ClusterStateObserved {
    attempt: number
    state: string
    message: string
  }

  interface CollectiveState {
    group: string
    enqueued: number
    completed: number
    operation: string
  }

  interface DeleteRequested {
    reason: string
    purge_time: string | null
  }

  interface EarlierTrial {
    runtime_id: string
    trial: number
    parameters: Record<string, string>
    values: (number | null)[]
    values_non_finite?: NonFiniteElement[]
    violations: (number | null)[]
    violations_non_finite?: NonFiniteElement[]
  }

  interface EarlierTrialsTold {
    trials: EarlierTrial[]
    detail: string
  }

  interface EnvironmentRecorded {
    attempt: number
    git: GitState | null
    packages: Record<string, string>
    left_out_package_count: number
    python: string
    platform: string
    cpu_count: number
    devices: string[]
    command: string
    gpus: string[]
  }

  interface EpochCompleted {
    attempt: number
    epoch: number
    step: number
    batch: number | null
    batch_count: number | null
  }

  interface EvaluationCompleted {
    attempt: number
    step: number
    values: Record<string, number | 'NaN' | 'Infinity' | '-Infinity'>
    duration_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
    interrupted: boolean
    requested: boolean
  }

  interface EvaluationRefused {
    attempt: number
    step: number
    detail: string
  }

  interface EvaluationStarted {
    attempt: number
    step: number
    batch_count: number | null
    requested: boolean
  }

  interface FieldChange {
    field: string
    before: string
    after: string
  }

  interface GitState {
    commit: string
    branch: string
    remote: string
    dirty: boolean
    diff: string
    diff_byte_count: number
    untracked: string[]
    left_out_untracked_count: number
    unknown_changes: boolean
  }

  interface HealthChanged {
    health: null | 'HEALTHY' | 'DEGRADED' | 'UNHEALTHY'
    reason: string
  }

  interface InstanceExited {
    attempt: number
    rank: number
    cause:
      | null
      | 'FINISHED'
      | 'STOPPED'
      | 'EXCEPTION'
      | 'DETERMINISTIC'
      | 'SIGNAL'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'KILLED'
      | 'LAUNCH_FAILED'
      | 'FENCED'
      | 'TIME_LIMIT'
      | 'PREEMPTED'
      | 'NODE_FAILED'
    exit_code: number | null
    signal: number | null
    detail: string
  }

  interface InstanceHealthChanged {
    attempt: number
    rank: number
    health: null | 'HEALTHY' | 'DEGRADED' | 'UNHEALTHY'
    reason: string
  }

  interface InstanceReadinessChanged {
    attempt: number
    rank: number
    ready: boolean
    reason: string
  }

  interface InstanceStarted {
    attempt: number
    rank: number
    host: string
    process_id: number
    devices: string[]
    software: string
    process: ProcessIdentity | null
  }

  interface LabelsChanged {
    labels: Record<string, string>
    removed_labels: string[]
  }

  interface LogRegressionAccepted {
    anchored_sequence: number
    found_sequence: number
    reason: string
  }

  interface MeasuredConstraint {
    metric: string
    value: number | 'NaN' | 'Infinity' | '-Infinity'
    violation: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface MeasuredValue {
    metric: string
    value: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface NotificationDelivered {
    notification_id: string
    firing_id: string
    rule_id: string
    destination: string
    attempt_count: number
    status_code: number
    receipt: string
    cleared: boolean
  }

  interface NotificationFailed {
    notification_id: string
    firing_id: string
    rule_id: string
    destination: string
    attempt_count: number
    status_code: number
    detail: string
    cleared: boolean
  }

  interface NotificationRetried {
    notification_id: string
    firing_id: string
    rule_id: string
    destination: string
  }

  interface ObjectiveReported {
    trial: number
    outcome: null | 'VALUE' | 'TRIAL_FAILED' | 'NO_VALUE' | 'NON_FINITE' | 'PRUNED'
    value: number | 'NaN' | 'Infinity' | '-Infinity' | null
    metric: string
    detail: string
    best: boolean
    values: MeasuredValue[]
    constraints: MeasuredConstraint[]
    infeasible: boolean
    surpassed: number[]
  }

  interface ParameterChange {
    name: string
    old: string
    new: string
  }

  interface ParametersChanged {
    attempt: number
    step: number
    changes: ParameterChange[]
    number: number
    actor: string
  }

  interface ParametersDeclared {
    attempt: number
    parameters: Record<string, string>
    labels: Record<string, string>
    removed_labels: string[]
  }

  interface ParametersNotChanged {
    attempt: number
    step: number
    number: number
    detail: string
  }

  interface PlanDeclared {
    attempt: number
    total_steps: number | null
    steps_per_epoch: number | null
    epochs: number | null
    eval_every_steps: number | null
    snapshot_every_steps: number | null
    batches_per_epoch: number | null
    gives_state: boolean | null
    eval_every_epochs: number | null
  }

  interface PlatformEvent {
    access_observed?: AccessObserved
    log_regression_accepted?: LogRegressionAccepted
  }

  interface ProcessIdentity {
    host: string
    process_id: number
    boot_id: string
    process_start: number
    pid_namespace: string
  }

  interface ReadinessChanged {
    ready: boolean
    reason: string
  }

  interface RecordedEvent {
    sequence: number
    subject: string
    event_id: string
    type: string
    event_time: string | null
    recorded_time: string | null
    actor: string
    cause: string
    version: number
    previous_hash: string
    hash: string
    traceparent: string
    source: string
    scope: null | 'INSTANCE' | 'DEPLOYMENT'
    category:
      | null
      | 'LIFECYCLE'
      | 'SCHEDULING'
      | 'HEALTH'
      | 'READINESS'
      | 'SNAPSHOT'
      | 'EVALUATION'
      | 'CONFIGURATION'
      | 'ACCESS'
    runtime_id: string
    trial: number
    attempt: number
    ignored: boolean
    message: string
    repeat_count: number
    last_sequence: number
    runtime_event?: RuntimeEvent
    trial_event?: TrialEvent
    platform_event?: PlatformEvent
    rule_event?: RuleEvent
  }

  interface ResourcesAdjusted {
    cpus: number | 'NaN' | 'Infinity' | '-Infinity'
    memory_gigabytes: number | 'NaN' | 'Infinity' | '-Infinity'
    gpus: number[]
    gpu_count: number | 'NaN' | 'Infinity' | '-Infinity'
    trials: number
    because: string
  }

  interface ResourcesAllocated {
    cpus: number | 'NaN' | 'Infinity' | '-Infinity'
    memory_gigabytes: number | 'NaN' | 'Infinity' | '-Infinity'
    gpus: number[]
    host: string
    gpu_count: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface ResourcesPending {
    reason:
      | null
      | 'INSUFFICIENT_CPU'
      | 'INSUFFICIENT_GPU'
      | 'INSUFFICIENT_MEMORY'
      | 'BEHIND_OTHERS'
      | 'LAUNCHER_UNAVAILABLE'
      | 'CLUSTER_QUEUE'
    detail: string
    position: number
  }

  interface ResumeRequested {
    trials: number[]
    snapshot_id: string
    configuration: Configuration | null
    configuration_digest: string
    changed_fields: string[]
  }

  interface RetryScheduled {
    attempt: number
    retry: number
    max_retries: number
    cause:
      | null
      | 'FINISHED'
      | 'STOPPED'
      | 'EXCEPTION'
      | 'DETERMINISTIC'
      | 'SIGNAL'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'KILLED'
      | 'LAUNCH_FAILED'
      | 'FENCED'
      | 'TIME_LIMIT'
      | 'PREEMPTED'
      | 'NODE_FAILED'
    detail: string
    not_before_time: string | null
    interruption: number
  }

  interface RuleCleared {
    firing_id: string
    rule_id: string
    trial: number
    reason: null | 'RECOVERED' | 'SUPERSEDED' | 'ENDED' | 'RULE_CHANGED'
    step: number
    occur_time: string | null
  }

  interface RuleDeleted {
    rule_id: string
  }

  interface RuleDisabled {
    rule_id: string
  }

  interface RuleEvent {
    rule_set?: RuleSet
    rule_disabled?: RuleDisabled
    rule_deleted?: RuleDeleted
    rule_fired?: RuleFired
    rule_cleared?: RuleCleared
    notification_delivered?: NotificationDelivered
    notification_failed?: NotificationFailed
    notification_retried?: NotificationRetried
    action_taken?: ActionTaken
    action_failed?: ActionFailed
  }

  interface RuleFired {
    firing_id: string
    rule_id: string
    revision: number
    rule_name: string
    severity: null | 'INFO' | 'WARNING' | 'CRITICAL'
    trial: number
    attempt: number
    subject: string
    step: number
    value: number | 'NaN' | 'Infinity' | '-Infinity' | null
    threshold: number | 'NaN' | 'Infinity' | '-Infinity' | null
    window: number
    onset_time: string | null
    onset_step: number
    occur_time: string | null
    message: string
    events_sequence: number
    telemetry_sequence: number
    watching_only: boolean
    momentary: boolean
  }

  interface RuleSet {
    rule_id: string
    revision: number
    rule: Rule | null
    request_id: string
  }

  interface RungReached {
    trial: number
    rung: number
    step: number
    value: number | 'NaN' | 'Infinity' | '-Infinity'
    metric: string
    snapshot_id: string
  }

  interface RuntimeAborted {
    reason: string
  }

  interface RuntimeCompleted {
    detail: string
  }

  interface RuntimeEvent {
    runtime_requested?: RuntimeRequested
    resources_pending?: ResourcesPending
    resources_allocated?: ResourcesAllocated
    runtime_started?: RuntimeStarted
    stop_requested?: StopRequested
    runtime_aborted?: RuntimeAborted
    runtime_failed?: RuntimeFailed
    runtime_completed?: RuntimeCompleted
    resources_released?: ResourcesReleased
    resume_requested?: ResumeRequested
    delete_requested?: DeleteRequested
    runtime_purged?: RuntimePurged
    health_changed?: HealthChanged
    readiness_changed?: ReadinessChanged
    labels_changed?: LabelsChanged
    trial_suggested?: TrialSuggested
    objective_reported?: ObjectiveReported
    search_ended?: SearchEnded
    runtime_undeleted?: RuntimeUndeleted
    purge_started?: PurgeStarted
    rung_reached?: RungReached
    trial_pruned?: TrialPruned
    earlier_trials_told?: EarlierTrialsTold
    trial_promoted?: TrialPromoted
    resources_adjusted?: ResourcesAdjusted
  }

  interface RuntimeFailed {
    reason:
      | null
      | 'TRAINING_ERROR'
      | 'DETERMINISTIC_ERROR'
      | 'CRASHED'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'LAUNCH_FAILED'
      | 'DEADLINE_EXCEEDED'
      | 'TRIAL_FAILED'
      | 'NO_VALID_SNAPSHOT'
      | 'SAMPLER_FAILED'
    detail: string
    trial: number
  }

  interface RuntimePurged {
    snapshot_count: number
    snapshot_bytes: number
    point_count: number
    log_line_count: number
    remaining: string[]
  }

  interface RuntimeRequested {
    runtime_id: string
    configuration_text: string
    configuration: Configuration | null
    configuration_digest: string
    cloned_from: string
    request_id: string
    trial_count: number
    branch: Branch | null
  }

  interface RuntimeUndeleted {
    reason: string
  }

  interface SearchEnded {
    reason: null | 'MAX_TRIALS' | 'TARGET' | 'NO_GAIN' | 'HOURS' | 'SAMPLER_FAILED' | 'POPULATION'
    detail: string
    best_trial: number
    best_value: number | 'NaN' | 'Infinity' | '-Infinity' | null
    best_trials: number[]
  }

  interface SnapshotCommitted {
    attempt: number
    snapshot_id: string
    step: number
    epoch: number
    batch: number
    uri: string
    manifest_sha256: string
    byte_count: number
    file_count: number
    reason: null | 'INTERVAL' | 'STOP' | 'END' | 'REQUEST'
    duration_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
    metrics: Record<string, number | 'NaN' | 'Infinity' | '-Infinity'>
    world_size: number
  }

  interface SnapshotDeleted {
    attempt: number
    snapshot_id: string
    step: number
    reason: null | 'RETENTION' | 'PURGE' | 'CORRUPT'
    detail: string
  }

  interface SnapshotFailed {
    attempt: number
    snapshot_id: string
    step: number
    detail: string
  }

  interface SnapshotHeld {
    snapshot_id: string
    step: number
    runtime_id: string
  }

  interface SnapshotLetGo {
    snapshot_id: string
    step: number
    runtime_id: string
  }

  interface SnapshotOrigin {
    runtime_id: string
    trial: number
    attempt: number
    snapshot_id: string
    step: number
    epoch: number
    batch: number
    uri: string
    manifest_sha256: string
    trunk: AncestorSteps[]
    elapsed: number | null
    steered: Record<string, string>
  }

  interface SnapshotPinned {
    snapshot_id: string
    step: number
    reason: string
  }

  interface SnapshotStarted {
    attempt: number
    snapshot_id: string
    step: number
    reason: null | 'INTERVAL' | 'STOP' | 'END' | 'REQUEST'
  }

  interface SnapshotUnpinned {
    snapshot_id: string
    step: number
    reason: string
  }

  interface StacksRecorded {
    attempt: number
    rank: number
    step: number
    requested: boolean
    idle_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
    place: null | 'CODE' | 'DATA_LOADER' | 'COLLECTIVE' | 'STORAGE'
    frame: string
    groups: CollectiveState[]
    text: string
  }

  interface StallDiagnosed {
    attempt: number
    step: number
    kind: null | 'CODE' | 'DATA_LOADER' | 'STORAGE' | 'UNRESPONSIVE' | 'NETWORK' | 'MISMATCH' | 'OTHER_RANKS'
    ranks: number[]
    message: string
  }

  interface SteerableDeclared {
    attempt: number
    name: string
    kind: null | 'FLOAT' | 'INTEGER' | 'BOOLEAN' | 'TEXT'
    value: string
    minimum: string
    maximum: string
    choices: string[]
  }

  interface StopRequested {
    mode: null | 'GRACEFUL' | 'ABRUPT'
    deadline_time: string | null
    reason: string
  }

  interface StragglerObserved {
    attempt: number
    step: number
    rank: number
    host: string
    waiting: number | 'NaN' | 'Infinity' | '-Infinity'
    others_waiting: number | 'NaN' | 'Infinity' | '-Infinity'
    looks: number
    over: boolean
  }

  interface TelemetryDropped {
    attempt: number
    rank: number
    kind: string
    batch_count: number
    item_count: number
    first_step: number
    last_step: number
    reason: string
  }

  interface TrialCompleted {
    attempt: number
    last_step: number
    detail: string
  }

  interface TrialCreated {
    runtime_id: string
    trial: number
    parameters: Record<string, string>
    searched_parameters: Record<string, string>
    origin: SnapshotOrigin | null
    rung_steps: number
  }

  interface TrialEvaluationRequested {
    attempt: number
    reason: string
    request_id: string
  }

  interface TrialEvent {
    trial_created?: TrialCreated
    attempt_launched?: AttemptLaunched
    attempt_fenced?: AttemptFenced
    attempt_started?: AttemptStarted
    plan_declared?: PlanDeclared
    instance_started?: InstanceStarted
    instance_readiness_changed?: InstanceReadinessChanged
    instance_health_changed?: InstanceHealthChanged
    instance_exited?: InstanceExited
    epoch_completed?: EpochCompleted
    evaluation_started?: EvaluationStarted
    evaluation_completed?: EvaluationCompleted
    snapshot_started?: SnapshotStarted
    snapshot_committed?: SnapshotCommitted
    snapshot_failed?: SnapshotFailed
    snapshot_deleted?: SnapshotDeleted
    telemetry_dropped?: TelemetryDropped
    attempt_ended?: AttemptEnded
    retry_scheduled?: RetryScheduled
    trial_stop_requested?: TrialStopRequested
    trial_resume_requested?: TrialResumeRequested
    trial_completed?: TrialCompleted
    trial_failed?: TrialFailed
    trial_stopped?: TrialStopped
    alert_raised?: AlertRaised
    cluster_state_observed?: ClusterStateObserved
    parameters_declared?: ParametersDeclared
    environment_recorded?: EnvironmentRecorded
    trial_snapshot_requested?: TrialSnapshotRequested
    trial_roll_back_requested?: TrialRollBackRequested
    snapshot_held?: SnapshotHeld
    snapshot_let_go?: SnapshotLetGo
    snapshot_pinned?: SnapshotPinned
    snapshot_unpinned?: SnapshotUnpinned
    trial_evaluation_requested?: TrialEvaluationRequested
    evaluation_refused?: EvaluationRefused
    trial_purge_started?: TrialPurgeStarted
    steerable_declared?: SteerableDeclared
    trial_steer_requested?: TrialSteerRequested
    parameters_changed?: ParametersChanged
    parameters_not_changed?: ParametersNotChanged
    trial_stacks_requested?: TrialStacksRequested
    stacks_recorded?: StacksRecorded
    stall_diagnosed?: StallDiagnosed
    straggler_observed?: StragglerObserved
  }

  interface TrialFailed {
    attempt: number
    reason:
      | null
      | 'TRAINING_ERROR'
      | 'DETERMINISTIC_ERROR'
      | 'CRASHED'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'LAUNCH_FAILED'
      | 'DEADLINE_EXCEEDED'
      | 'TRIAL_FAILED'
      | 'NO_VALID_SNAPSHOT'
      | 'SAMPLER_FAILED'
    detail: string
  }

  interface TrialPromoted {
    donor: number
    child: number
    replaced: number
    rung: number
    step: number
    snapshot_id: string
    value: number | 'NaN' | 'Infinity' | '-Infinity'
    rank: number
    reached_count: number
    metric: string
    changes: FieldChange[]
    because: string
  }

  interface TrialPruned {
    trial: number
    rung: number
    step: number
    value: number | 'NaN' | 'Infinity' | '-Infinity'
    cut_off: number | 'NaN' | 'Infinity' | '-Infinity'
    rank: number
    reached_count: number
    pruner: string
    metric: string
  }

  interface TrialResumeRequested {
    snapshot_id: string
  }

  interface TrialRollBackRequested {
    snapshot_id: string
    snapshot_step: number
    attempt: number
    parameters: Record<string, string>
    skip_batches: number
    reason: string
    request_id: string
  }

  interface TrialSnapshotRequested {
    attempt: number
    reason: string
    request_id: string
  }

  interface TrialStacksRequested {
    attempt: number
    reason: string
    request_id: string
  }

  interface TrialSteerRequested {
    number: number
    parameters: Record<string, string>
    actor: string
    reason: string
    request_id: string
  }

  interface TrialStopRequested {
    mode: null | 'GRACEFUL' | 'ABRUPT'
    deadline_time: string | null
    reason: string
    pruned: boolean
  }

  interface TrialStopped {
    attempt: number
    reason: string
    lost_steps: number
    pruned: boolean
  }

  interface TrialSuggested {
    trial: number
    parameters: Record<string, string>
    sampler: string
    because: string
    sampler_version: string
  }

  interface Facet {
    value: string
    count: number
  }

  interface ListLogFacetsResponse {
    levels: Facet[]
    ranks: Facet[]
    attempts: Facet[]
    streams: Facet[]
  }

  interface LogEntry {
    cursor: string
    time: string | null
    level: null | 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR' | 'CRITICAL'
    rank: number
    stream: null | 'STDOUT' | 'STDERR' | 'LOGGER' | 'MILEPOST'
    step: number
    trial: number
    attempt: number
    text: string
    superseded: boolean
    logger: string
    receive_time: string | null
  }

  interface QueryLogsResponse {
    entries: LogEntry[]
    next_cursor: string
    total_size: number
    telemetry_sequence: number
    first_index: number
  }

  interface StreamLogsResponse {
    entries: LogEntry[]
    cursor: string
    telemetry_sequence: number
    caught_up: boolean
  }

  interface CheckDeterminismResponse {
    repetitions: Repetition[]
    bit_exact: boolean
    message: string
  }

  interface GetCompletenessResponse {
    senders: SenderCompleteness[]
    sent_points: number
    stored_points: number
    gap_count: number
    dropped_points: number
    message: string
    still_writing: boolean
    waiting_batches: number
    unfinished: UnfinishedAttempt[]
    imported: boolean
  }

  interface LineageCut {
    parent: string
    attempt: number
    restored_step: number
    events_sequence: number
  }

  interface ListSampleSeriesResponse {
    series: SampleSeries[]
    telemetry_sequence: number
    over_quota_count: number
    quota_bytes: number
  }

  interface ListSamplesResponse {
    samples: Sample[]
    telemetry_sequence: number
    next_page_token: string
  }

  interface ListSeriesResponse {
    series: SeriesSummary[]
    telemetry_sequence: number
    next_page_token: string
  }

  interface NumberRange {
    first: number
    last: number
  }

  interface PointBlock {
    parent: string
    key: string
    attempt: number
    steps: number[]
    values: (number | null)[]
    values_non_finite?: NonFiniteElement[]
    times_ms: number[]
  }

  interface QueryHistogramsResponse {
    first_steps: number[]
    last_steps: number[]
    histogram_counts: number[]
    edges: (number | null)[]
    edges_non_finite?: NonFiniteElement[]
    counts: (number | null)[]
    counts_non_finite?: NonFiniteElement[]
    telemetry_sequence: number
  }

  interface QuerySeriesResponse {
    series: SeriesData[]
    telemetry_sequence: number
    events_sequence: number
  }

  interface RepeatedSeries {
    key: string
    compared_points: number
    different_points: number
    first_different_step: number
    before: number | 'NaN' | 'Infinity' | '-Infinity'
    after: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface Repetition {
    attempt: number
    repeated_by: number[]
    first_step: number
    last_step: number
    series: RepeatedSeries[]
    first_different_step: number
  }

  interface Sample {
    parent: string
    attempt: number
    superseded: boolean
    row: Row | null
    prompt_id: string
  }

  interface SampleSeries {
    key: string
    form: null | 'SAMPLE' | 'TEXT' | 'TABLE' | 'HISTOGRAM' | 'IMAGE' | 'AUDIO'
    row_count: number
    first_step: number
    last_step: number
    step_count: number
    score_names: string[]
  }

  interface SenderCompleteness {
    trial: number
    attempt: number
    source: string
    kind: string
    sent_batches: number
    stored_batches: number
    sent_items: number
    stored_items: number
    duplicate_batches: number
    dropped_batches: number
    gaps: NumberRange[]
    written_batches: number
    ended: boolean
  }

  interface SeriesData {
    parent: string
    key: string
    attempt: number
    superseded: boolean
    raw: boolean
    bucket_width: number
    first_steps: number[]
    last_steps: number[]
    mins: (number | null)[]
    mins_non_finite?: NonFiniteElement[]
    maxs: (number | null)[]
    maxs_non_finite?: NonFiniteElement[]
    means: (number | null)[]
    means_non_finite?: NonFiniteElement[]
    lasts: (number | null)[]
    lasts_non_finite?: NonFiniteElement[]
    counts: number[]
    nan_counts: number[]
    positive_infinity_counts: number[]
    negative_infinity_counts: number[]
    last_times_ms: number[]
    attempts: number[]
    positions: (number | null)[]
    positions_non_finite?: NonFiniteElement[]
    origin_time_ms: number
    branch_step: number
  }

  interface SeriesSummary {
    key: string
    point_count: number
    first_step: number
    last_step: number
    last: number | 'NaN' | 'Infinity' | '-Infinity'
    min: number | 'NaN' | 'Infinity' | '-Infinity' | null
    max: number | 'NaN' | 'Infinity' | '-Infinity' | null
    min_step: number
    max_step: number
    nan_count: number
    positive_infinity_count: number
    negative_infinity_count: number
    first_non_finite_step: number
    best: number | 'NaN' | 'Infinity' | '-Infinity' | null
    best_step: number
    parent: string
    last_time_ms: number
  }

  interface StreamSeriesResponse {
    blocks: PointBlock[]
    telemetry_sequence: number
    cut: LineageCut | null
    caught_up: boolean
  }

  interface UnfinishedAttempt {
    trial: number
    attempt: number
  }

  interface VerifyStoredResponse {
    compared_batches: number
    compared_points: number
    difference_count: number
    differences: string[]
    compared_lines: number
    oddities: string[]
  }

  interface CreateRuleResponse {
    rule: Rule | null
    warnings: string[]
  }

  interface Destination {
    name: string
    kind: string
    signed: boolean
    pending_count: number
  }

  interface DisableRuleResponse {
    rule: Rule | null
  }

  interface Firing {
    runtime: string
    fired: RuleFired | null
    record_time: string | null
    event_id: string
    sequence: number
    cleared: RuleCleared | null
    actions: FiringAction[]
  }

  interface FiringAction {
    action_id: string
    number: number
    kind: string
    state: null | 'PENDING' | 'TAKEN' | 'FAILED'
    owner: string
    attempt_count: number
    detail: string
    reason: string
    runtime: string
  }

  interface GetRuleResponse {
    rule: Rule | null
  }

  interface ListDestinationsResponse {
    destinations: Destination[]
    problem: string
  }

  interface ListFiringsResponse {
    firings: Firing[]
    next_page_token: string
    sequence: number
  }

  interface ListNotificationsResponse {
    notifications: Notification[]
    next_page_token: string
    sequence: number
  }

  interface ListRulesResponse {
    rules: Rule[]
    next_page_token: string
    total_size: number
  }

  interface Notification {
    name: string
    state: null | 'PENDING' | 'DELIVERED' | 'FAILED'
    runtime: string
    rule: string
    firing_id: string
    destination: string
    cleared: boolean
    title: string
    create_time: string | null
    update_time: string | null
    attempt_count: number
    status_code: number
    detail: string
    sequence: number
  }

  interface OpenFirings {
    name: string
    count: number
    firings: Firing[]
    sequence: number
  }

  interface RetryNotificationResponse {
    notification: Notification | null
  }

  interface TestDestinationResponse {
    delivered: boolean
    status_code: number
    detail: string
  }

  interface TestRuleResponse {
    run?: TestedRun
    summary?: TestSummary
  }

  interface TestSummary {
    run_count: number
    fired_run_count: number
    firing_count: number
    failed_run_count: number
    foreseen_count: number
    missed_count: number
    false_alarm_count: number
    median_lead_seconds: number | 'NaN' | 'Infinity' | '-Infinity' | null
    point_count: number
    truncated: boolean
  }

  interface TestedRun {
    runtime: string
    display_name: string
    firings: RuleFired[]
    failed: boolean
    lead_seconds: number | 'NaN' | 'Infinity' | '-Infinity' | null
    point_count: number
  }

  interface UpdateRuleResponse {
    rule: Rule | null
    warnings: string[]
  }

  interface WatchFiringsResponse {
    open: OpenFirings | null
    sequence: number
    caught_up: boolean
    age_seconds?: number
  }

  interface BranchTrialResponse {
    runtime: Runtime | null
    sequence: number
  }

  interface CloneRuntimeResponse {
    runtime: Runtime | null
  }

  interface DeleteRuntimeResponse {
    runtime: Runtime | null
  }

  interface EvaluateTrialResponse {
    runtime: Runtime | null
  }

  interface GetImportancesResponse {
    importances: Importance[]
    method: string
    value_count: number
    sequence: number
  }

  interface Importance {
    parameter: string
    share: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface GetRuntimeResponse {
    runtime: Runtime | null
  }

  interface Imported {
    import_time: string | null
    imported_by: string
    export_time: string | null
    events_sequence: number
    sha256: string
  }

  interface LabelRuntimeResponse {
    runtime: Runtime | null
  }

  interface LineageNode {
    name: string
    runtime_id: string
    display_name: string
    status: null | 'Started' | 'Aborted' | 'Failed' | 'Completed'
    phase:
      | null
      | 'QUEUED'
      | 'ALLOCATING'
      | 'STARTING'
      | 'RUNNING'
      | 'STOPPING'
      | 'TERMINATING'
      | 'ENDED'
      | 'DELETING'
      | 'DELETED'
      | 'RESTORABLE'
    deleted: boolean
    create_time: string | null
    created_by: string
    branch: Branch | null
    last_step: number
    trial_count: number
    child_count: number
    spent: Spent | null
    spent_with_ancestors: Spent | null
  }

  interface ListEventsResponse {
    events: RecordedEvent[]
    next_page_token: string
    sequence: number
  }

  interface ListLineageResponse {
    nodes: LineageNode[]
    truncated: boolean
    sequence: number
  }

  interface ListRungsResponse {
    rungs: Rung[]
    next_page_token: string
    sequence: number
  }

  interface ListRuntimesResponse {
    runtimes: Runtime[]
    next_page_token: string
    total_size: number
    status_counts: Record<string, number>
    sequence: number
  }

  interface ListSnapshotsResponse {
    snapshots: Snapshot[]
    sequence: number
    next_page_token: string
  }

  interface PinSnapshotResponse {
    snapshot: Snapshot | null
  }

  interface PreviewStopResponse {
    losses: StopLoss[]
    abrupt_message: string
    graceful_message: string
    stoppable: boolean
  }

  interface RecordStacksResponse {
    runtime: Runtime | null
    ranks: number[]
    after_sequence: number
  }

  interface ResumeRuntimeResponse {
    runtime: Runtime | null
  }

  interface ResumeTrialResponse {
    runtime: Runtime | null
  }

  interface RollBackTrialResponse {
    runtime: Runtime | null
    snapshot_id: string
    snapshot_step: number
  }

  interface Rung {
    trial: number
    rung: number
    step: number
    value: number | 'NaN' | 'Infinity' | '-Infinity'
    verdict: Verdict | null
  }

  interface Verdict {
    cut_off: number | 'NaN' | 'Infinity' | '-Infinity'
    rank: number
    reached_count: number
  }

  interface Runtime {
    name: string
    runtime_id: string
    display_name: string
    status: null | 'Started' | 'Aborted' | 'Failed' | 'Completed'
    phase:
      | null
      | 'QUEUED'
      | 'ALLOCATING'
      | 'STARTING'
      | 'RUNNING'
      | 'STOPPING'
      | 'TERMINATING'
      | 'ENDED'
      | 'DELETING'
      | 'DELETED'
      | 'RESTORABLE'
    reason: string
    failure_reason:
      | null
      | 'TRAINING_ERROR'
      | 'DETERMINISTIC_ERROR'
      | 'CRASHED'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'LAUNCH_FAILED'
      | 'DEADLINE_EXCEEDED'
      | 'TRIAL_FAILED'
      | 'NO_VALID_SNAPSHOT'
      | 'SAMPLER_FAILED'
    changed_by: string
    change_time: string | null
    change_event_id: string
    change_sequence: number
    create_time: string | null
    created_by: string
    start_time: string | null
    end_time: string | null
    configuration: Configuration | null
    configuration_digest: string
    trials: TrialCounts | null
    trial_count: number
    cloned_from: string
    health: null | 'HEALTHY' | 'DEGRADED' | 'UNHEALTHY'
    ready: boolean
    pending_reason:
      | null
      | 'INSUFFICIENT_CPU'
      | 'INSUFFICIENT_GPU'
      | 'INSUFFICIENT_MEMORY'
      | 'BEHIND_OTHERS'
      | 'LAUNCHER_UNAVAILABLE'
      | 'CLUSTER_QUEUE'
    queue_position: number
    stop_mode: null | 'GRACEFUL' | 'ABRUPT'
    stop_deadline_time: string | null
    labels: Record<string, string>
    delete_time: string | null
    purge_remaining: string[]
    sequence: number
    etag: string
    configuration_text: string
    deleted: boolean
    imported: Imported | null
    health_reason: string
    create_receive_time: string | null
    start_receive_time: string | null
    end_receive_time: string | null
    left_out_trial_count: number
    resolved_text: string
    branch: Branch | null
    purge_time: string | null
    spent: Spent | null
    spent_with_ancestors: Spent | null
  }

  interface Snapshot {
    name: string
    snapshot_id: string
    trial: number
    attempt: number
    step: number
    epoch: number
    batch: number
    uri: string
    byte_count: number
    state: null | 'COMMITTED' | 'CORRUPT' | 'DELETED'
    reason: null | 'INTERVAL' | 'STOP' | 'END' | 'REQUEST'
    commit_time: string | null
    manifest_sha256: string
    metrics: Record<string, number | 'NaN' | 'Infinity' | '-Infinity'>
    superseded: boolean
    receive_time: string | null
    held_by: string[]
    pin: SnapshotPin | null
  }

  interface SnapshotPin {
    actor: string
    time: string | null
    reason: string
  }

  interface SnapshotTrialResponse {
    runtime: Runtime | null
  }

  interface Spent {
    elapsed: number | null
    core_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
    gpu_seconds: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface StartRuntimeResponse {
    runtime: Runtime | null
    sequence: number
  }

  interface SteerTrialResponse {
    runtime: Runtime | null
    number: number
  }

  interface StopLoss {
    trial: number
    current_step: number
    snapshot_step: number
    snapshot_id: string
    lost_steps: number
    lost_time: number | null
    graceful_saves: boolean
  }

  interface StopRuntimeResponse {
    runtime: Runtime | null
  }

  interface StopTrialResponse {
    runtime: Runtime | null
  }

  interface TrialCounts {
    running: number
    completed: number
    failed: number
    waiting: number
  }

  interface UndeleteRuntimeResponse {
    runtime: Runtime | null
  }

  interface UnpinSnapshotResponse {
    snapshot: Snapshot | null
  }

  interface WatchEventsResponse {
    event: RecordedEvent | null
    sequence: number
    caught_up: boolean
  }

  interface WatchRuntimesResponse {
    runtime: Runtime | null
    sequence: number
    caught_up: boolean
    age_seconds?: number
  }

  interface Row {
    key: string
    step: number
    time_ms: number
    form: null | 'SAMPLE' | 'TEXT' | 'TABLE' | 'HISTOGRAM' | 'IMAGE' | 'AUDIO'
    prompt: string
    completion: string
    scores: Score[]
    group: string
    tags: string[]
    content: string
    edges: (number | null)[]
    edges_non_finite?: NonFiniteElement[]
    counts: (number | null)[]
    counts_non_finite?: NonFiniteElement[]
    media_sha256: string
    media_type: string
    media_bytes: number
  }

  interface Score {
    name: string
    value: number | 'NaN' | 'Infinity' | '-Infinity'
  }

  interface Attempt {
    attempt: number
    launch_time: string | null
    start_time: string | null
    end_time: string | null
    restored_snapshot_id: string
    restored_step: number
    last_step: number
    cause:
      | null
      | 'FINISHED'
      | 'STOPPED'
      | 'EXCEPTION'
      | 'DETERMINISTIC'
      | 'SIGNAL'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'KILLED'
      | 'LAUNCH_FAILED'
      | 'FENCED'
      | 'TIME_LIMIT'
      | 'PREEMPTED'
      | 'NODE_FAILED'
    detail: string
    fenced: boolean
    instances: InstanceState[]
    world_size: number
    start_receive_time: string | null
    end_receive_time: string | null
  }

  interface BestValue {
    metric: string
    value: number | 'NaN' | 'Infinity' | '-Infinity'
    step: number
  }

  interface CompareTrialsResponse {
    trials: Trial[]
    differing_parameters: string[]
  }

  interface Estimate {
    remaining: number | null
    remaining_low: number | null
    remaining_high: number | null
    finish_time: string | null
  }

  interface GetTrialResponse {
    trial: Trial | null
  }

  interface InstanceState {
    rank: number
    attempt: number
    host: string
    process_id: number
    devices: string[]
    ready: boolean
    health: null | 'HEALTHY' | 'DEGRADED' | 'UNHEALTHY'
    exit_cause:
      | null
      | 'FINISHED'
      | 'STOPPED'
      | 'EXCEPTION'
      | 'DETERMINISTIC'
      | 'SIGNAL'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'KILLED'
      | 'LAUNCH_FAILED'
      | 'FENCED'
      | 'TIME_LIMIT'
      | 'PREEMPTED'
      | 'NODE_FAILED'
    detail: string
    start_time: string | null
    exit_time: string | null
    software: string
  }

  interface IssuedEstimate {
    time: string | null
    attempt: number
    step: number
    finish_time: string | null
    finish_time_low: string | null
    finish_time_high: string | null
    error_percent: number | 'NaN' | 'Infinity' | '-Infinity' | null
  }

  interface ListAttemptsResponse {
    attempts: Attempt[]
  }

  interface ListEstimatesResponse {
    estimates: IssuedEstimate[]
    median_error_percent: number | 'NaN' | 'Infinity' | '-Infinity' | null
    worst_error_percent: number | 'NaN' | 'Infinity' | '-Infinity' | null
  }

  interface ListTrialsResponse {
    trials: Trial[]
    next_page_token: string
    total_size: number
    estimate: Estimate | null
    elapsed: number | null
    events_sequence: number
    telemetry_sequence: number
    set_aside: string[]
  }

  interface Marker {
    kind: null | 'EVALUATION' | 'EPOCH_END' | 'SNAPSHOT' | 'PARAMETERS_CHANGED'
    step: number
    planned: boolean
    sequence: number
    time: string | null
    values: Record<string, number | 'NaN' | 'Infinity' | '-Infinity'>
    epoch: number
    snapshot_id: string
    receive_time: string | null
    changes: ParameterChange[]
    actor: string
  }

  interface Progress {
    step: number
    total_steps: number | null
    completion_percent: number | 'NaN' | 'Infinity' | '-Infinity' | null
    epoch: number
    epochs: number | null
    batch: number
    batches_per_epoch: number | null
    phase: null | 'STARTING' | 'TRAINING' | 'EVALUATING' | 'SNAPSHOTTING' | 'SKIPPING' | 'FINISHING'
    evaluation_batch: number
    evaluation_batches: number | null
    skipped_batches: number
    batches_to_skip: number | null
    eval_every_steps: number | null
    steps_per_epoch: number | null
    snapshot_every_steps: number | null
    step_time: string | null
    batch_text: string
  }

  interface RedoneRange {
    attempt: number
    first_step: number
    last_step: number
  }

  interface SegmentOfLineage {
    attempt: number
    first_step: number
    last_step: number
  }

  interface Steerable {
    name: string
    kind: null | 'FLOAT' | 'INTEGER' | 'BOOLEAN' | 'TEXT'
    declared_value: string
    steered_value: string
    requested_value: string
    minimum: string
    maximum: string
    choices: string[]
  }

  interface Suggestion {
    sampler: string
    because: string
    outcome: null | 'VALUE' | 'TRIAL_FAILED' | 'NO_VALUE' | 'NON_FINITE' | 'PRUNED'
    value: number | 'NaN' | 'Infinity' | '-Infinity' | null
    metric: string
    detail: string
    best: boolean
    rung: number
    values: MeasuredValue[]
    constraints: MeasuredConstraint[]
    infeasible: boolean
    donor: number
    donor_step: number
    replaced: number
  }

  interface Throughput {
    steps_per_second: number | 'NaN' | 'Infinity' | '-Infinity'
    samples_per_second: number | 'NaN' | 'Infinity' | '-Infinity' | null
    step_seconds_p50: number | 'NaN' | 'Infinity' | '-Infinity' | null
    step_seconds_p95: number | 'NaN' | 'Infinity' | '-Infinity' | null
  }

  interface Trial {
    name: string
    runtime_id: string
    trial: number
    status: null | 'Running' | 'Completed' | 'Failed' | 'Waiting'
    waiting_reason: null | 'STOPPED' | 'QUEUED' | 'RETRYING' | 'PRUNED'
    reason: string
    failure_reason:
      | null
      | 'TRAINING_ERROR'
      | 'DETERMINISTIC_ERROR'
      | 'CRASHED'
      | 'OUT_OF_MEMORY'
      | 'LOST'
      | 'LAUNCH_FAILED'
      | 'DEADLINE_EXCEEDED'
      | 'TRIAL_FAILED'
      | 'NO_VALID_SNAPSHOT'
      | 'SAMPLER_FAILED'
    progress: Progress | null
    elapsed: number | null
    estimate: Estimate | null
    throughput: Throughput | null
    markers: Marker[]
    lineage: SegmentOfLineage[]
    redone: RedoneRange[]
    attempt: number
    attempt_count: number
    parameters: Record<string, string>
    searched_parameters: Record<string, string>
    best: BestValue | null
    last_values: Record<string, number | 'NaN' | 'Infinity' | '-Infinity'>
    start_time: string | null
    end_time: string | null
    instances: InstanceState[]
    hints: string[]
    newest_snapshot_step: number
    newest_snapshot_id: string
    events_sequence: number
    telemetry_sequence: number
    retry_time: string | null
    change_time: string | null
    runtime_deleted: boolean
    labels: Record<string, string>
    start_receive_time: string | null
    end_receive_time: string | null
    inherited_elapsed: number | null
    suggestion: Suggestion | null
    steerables: Steerable[]
  }

  interface WatchTrialsResponse {
    trial: Trial | null
    events_sequence: number
    telemetry_sequence: number
    caught_up: boolean
    runtime_estimate: Estimate | null
    runtime_elapsed: number | null
    age_seconds?: number
  }
}
