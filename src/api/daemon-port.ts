/**
 * What the doors need of the daemon. The HTTP API serves exactly this; the CLI speaks to the API.
 * Times are milliseconds since 1970, sizes bytes. Every method may throw a `CtdError`.
 */
import type { Readable } from 'node:stream'
import type { Algorithm } from '../training/algorithm.js'
import type { DataFormat } from '../training/data/source.js'
import type { MapOutput } from '../training/map.js'
import type { PeerId } from '../wire/ids.js'
import type { BlobPort } from './blob-port.js'
import type { CalibrationPort } from './calibration-desk.js'
import type { ImagePort } from './image-desk.js'

/** What a submitter may write; the short form `{model, dataset, epochs}` is a valid train job. */
export interface TrainRequest extends Algorithm {
  readonly kind: 'train'
  readonly model: string
  /** A file or folder: a digest of this daemon, or an absolute path on the daemon's machine. */
  readonly dataset: string
  /** Of its files; told from their names and contents when absent. */
  readonly format?: DataFormat
  readonly epochs: number
  /** Digest of weights, of a round or of a result to begin with; drawn from the seed where absent. */
  readonly from?: string
  readonly name?: string
  readonly seed?: string
  readonly replicas?: number
  readonly shards?: number
  readonly batchSize?: number
  readonly maxLength?: number
  readonly learningRate?: number
  /** Folder with `config.json` and `model.safetensors`: the first weights. Source as for `dataset`. */
  readonly weights?: string
  /** Folder of a tokenizer's files; that of the weights, or bytes, when absent. */
  readonly tokenizer?: string
  readonly textColumn?: string
  readonly labelColumn?: string
  /** Of a table of numbers; all but the label when absent. */
  readonly featureColumns?: readonly string[]
  readonly auditPpm?: number
  /** Absent: replicas agree bit for bit. */
  readonly compare?: TensorTolerance
}

/**
 * Replicas agree when their updates are near each other: tensors by sketches, numbers by the
 * profile's tolerance, everything else bit for bit. `auto` is fp32 on CPUs and tf32 on GPUs.
 */
export interface TensorTolerance {
  readonly tensors: 'fp32' | 'tf32' | 'bf16' | 'auto'
  /** Relative distance, where another than the profile's; up to 0.2. */
  readonly tau?: number
}

export interface RunRequest {
  readonly kind: 'run'
  /** Name of an image this daemon knows (`cpu`), or the path of an image reference file. */
  readonly image: string
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Files or folders shown to the program at `/in/<name>`; source as for `dataset`. */
  readonly inputs?: ReadonlyArray<{ readonly name: string; readonly source: string }>
  readonly name?: string
  readonly seed?: string
  readonly replicas?: number
  /** How many tasks; each sees CTD_TASK_INDEX, CTD_TASK_COUNT and CTD_SEED. Default 1. */
  readonly tasks?: number
  /**
   * Replicas agree when each number of `/out/metrics.json` is this near: |a − b| ≤ atol + rtol ·
   * max(|a|, |b|). Absent: all of `/out` bit for bit.
   */
  readonly compare?: { readonly atol?: number; readonly rtol?: number } | TensorTolerance
  readonly memoryMiB?: number
  readonly outMiB?: number
  readonly timeoutMs?: number
  readonly gpus?: number
  readonly vramMiB?: number
  readonly isolation?: 'runc' | 'runsc' | 'kata'
  readonly auditPpm?: number
}

/** A given model goes over rows: vectors of texts (`embed`), or texts that go on (`generate`). */
export interface MapRequest {
  readonly kind: 'map'
  readonly verb: 'embed' | 'generate'
  /** A folder with `config.json` and `model.safetensors`; a digest, or an absolute path. */
  readonly model: string
  /** Lines of text, or a table with a column of texts; source as for `model`. */
  readonly dataset: string
  readonly format?: DataFormat
  readonly textColumn?: string
  /** `npy`, `jsonl` or `csv` for vectors, `jsonl` or `csv` for texts. */
  readonly output: MapOutput
  /** Of `generate`: 64 by default. */
  readonly maxTokens?: number
  /** Of `generate`: 0, the default, takes the likeliest token always. */
  readonly temperature?: number
  readonly shards?: number
  readonly name?: string
  readonly seed?: string
  readonly replicas?: number
  readonly auditPpm?: number
}

export type JobRequest = TrainRequest | RunRequest | MapRequest

/** `pending` waits for peers, `running` has elected executors; the last three are terminal. */
export type JobState = 'pending' | 'running' | 'succeeded' | 'failed' | 'cancelled'

export interface ReplicaView {
  readonly peer: string
  readonly phase: string // called | fetching | running | committed | revealed | agreed | dissented | spared | withheld | timed-out | failed | outrun
  readonly step?: number
  readonly total?: number
  readonly note?: string
  /** Present while it fetches what the task needs. */
  readonly fetch?: FetchView
}

/** How far an executor is with an input or the image of its task. */
export interface FetchView {
  /** Name of the input, `image`, or what is waited for. */
  readonly what: string
  readonly doneBytes: number
  /** 0 until it is known. */
  readonly totalBytes: number
  readonly bytesPerSecond: number
  readonly etaMs: number | null
  readonly sources: ReadonlyArray<{
    readonly peer: string
    readonly bytes: number
    /** connecting | fetching | waiting, or why it was left. */
    readonly state: string
  }>
}

export interface TaskView {
  readonly batch: number
  readonly slot: number
  readonly name: string // train r2 s0, split, eval 0, …
  readonly state: string // waiting | electing | executing | revealing | accepted | rejected
  readonly replicas: readonly ReplicaView[]
  readonly outputRoot?: string
}

export interface JobView {
  readonly id: string
  readonly name: string
  readonly kind: 'train' | 'run' | 'map'
  readonly requester: string
  readonly status: JobState
  /** Why it is not running or has ended: a stable code and words; empty when all is well. */
  readonly code: string
  readonly reason: string
  /** 0 … 1, share of accepted tasks. */
  readonly progress: number
  readonly createdMs: number
  readonly endedMs: number | null
  readonly tasksTotal: number
  readonly tasksAccepted: number
  readonly tasks: readonly TaskView[]
  /** Honest cost told before it starts; words, empty for run jobs. */
  readonly estimate: string
  /** `{accuracy, hash, …}` once succeeded, else null. */
  readonly result: Readonly<Record<string, unknown>> | null
  /** Lines of metrics per round for curves: `{round, lossStart, lossEnd, evalLoss?, accuracy?}`. */
  readonly curve: ReadonlyArray<Readonly<Record<string, number>>>
}

/** How a peer has served blobs to this one: its own experience, no evidence for others. */
export interface ServingView {
  /** 1 for a peer against which nothing is known, falling towards 0. */
  readonly standing: number
  readonly servedBytes: number
  readonly faults: number
  /** corrupt | malformed | stalled | slow | too-large, or empty. */
  readonly lastFault: string
  readonly lastFaultMs: number | null
  /** Until when it is asked for nothing. */
  readonly avoidedUntilMs: number | null
}

export interface PeerView {
  readonly peer: string
  readonly connected: boolean
  readonly self: boolean
  readonly role: string
  readonly agent: string
  readonly hardwareClass: string
  readonly cpuModel: string
  readonly cpuCores: number
  readonly cpuGflops: number
  readonly ramMiB: number
  readonly gpus: ReadonlyArray<{
    readonly name: string
    readonly vramMiB: number
    readonly gflops: number
    readonly temperatureC: number
  }>
  readonly benchmarkedMs: number
  /** Reputation 0 … 1 and what it is made of. */
  readonly reliability: number
  readonly availability: number
  readonly speed: number
  readonly accepted: number
  readonly dissents: number
  readonly established: boolean
  readonly excluded: boolean
  readonly serving: ServingView
}

/** One receipt's part in a score. */
export interface EvidenceView {
  readonly receiptId: string
  readonly taskId: string
  readonly closedMs: number
  readonly young: boolean
  readonly kind: string
  /** What it adds to S and to F at the time of the view. */
  readonly credit: number
  readonly failure: number
  readonly words: string
}

/** A peer's reputation at a time, folded from what this peer knows of the past. */
export interface ReputationView {
  readonly peer: string
  readonly atMs: number
  readonly standing: 'established' | 'probationer' | 'excluded'
  readonly reliability: number
  readonly availability: number
  readonly speed: number
  /** S and F of the formula of reliability. */
  readonly credit: number
  readonly failure: number
  readonly accepted: number
  readonly coOperators: number
  readonly wrongs: number
  readonly exclusions: number
  readonly excludedUntilMs: number | null
  /** What it has shown at each kind of work it has done. */
  readonly work: ReadonlyArray<{
    readonly kind: 'cpu' | 'gpu'
    readonly accepted: number
    readonly wrongs: number
    readonly speed: number
  }>
  /** A proven fault, for which there is no way back: what, and the ids of the two messages. */
  readonly fault: {
    readonly kind: string
    readonly words: string
    readonly first: string
    readonly second: string
  } | null
  readonly serving: ServingView
  /** How many receipts this peer knows, and the root of all evidence. */
  readonly receipts: number
  readonly root: string
  /** Newest first, at most 500. */
  readonly evidence: readonly EvidenceView[]
}

export interface NodeView {
  readonly peer: string
  readonly role: string
  readonly network: string
  readonly preset: string
  readonly version: string
  readonly addresses: readonly string[]
  readonly socket: string
  readonly home: string
  readonly startedMs: number
  readonly connectedPeers: number
  readonly engine: string // e.g. "docker 20.10.24", or "none: <why>"
  readonly executing: number
  readonly executed: number
  readonly jobs: Readonly<Record<JobState, number>>
  readonly benchmark: string
  readonly storage: {
    readonly usedBytes: number
    readonly quotaBytes: number
    readonly pins: number
    /** Blobs set aside because the disk gave back other bytes than were written. */
    readonly rotten: number
  }
}

export interface FileView {
  readonly path: string
  readonly sizeBytes: number
  readonly digest: string
}

/** `subject:past-tense`, for the event stream: job:submitted, task:elected, task:called, task:committed, task:accepted, task:rejected, task:escalated, task:slow, executor:lost, executor:outrun, peer:connected, peer:disconnected, peer:benchmarked, job:succeeded, … */
export interface DaemonEvent {
  readonly type: string
  readonly atMs: number
  readonly fields: Readonly<Record<string, unknown>>
}

export interface LogLine {
  readonly atMs: number
  readonly peer: string
  readonly task: string
  readonly text: string
}

export interface DaemonPort {
  submit(request: JobRequest): Promise<{ readonly id: string }>
  /** Also for jobs of other peers: asks those who hold its state. `id` may be a unique prefix. */
  job(id: string, signal: AbortSignal): Promise<JobView>
  jobs(): Promise<readonly JobView[]>
  cancel(id: string): Promise<JobView>
  /** A new job that goes on from the latest closed round of one that ended or whose peer is gone. */
  resume(id: string, signal: AbortSignal): Promise<{ readonly id: string; readonly round: number }>
  logs(id: string): Promise<readonly LogLine[]>
  /** Artifacts of a succeeded job; fetches them from their holders when needed. */
  files(id: string, signal: AbortSignal): Promise<readonly FileView[]>
  readFile(id: string, path: string, signal: AbortSignal): Promise<Readable>
  /** The job's signed messages, encoded; `ctd audit` reads it. */
  transcript(id: string, signal: AbortSignal): Promise<Uint8Array>
  /** What the bidders of an own job were weighed by, encoded; `ctd audit` reads it. */
  evidence(id: string): Promise<Uint8Array>
  peers(): Promise<readonly PeerView[]>
  /** @param atMs - Unix time in ms; now where undefined */
  reputation(peer: PeerId, atMs: number | undefined): Promise<ReputationView>
  node(): Promise<NodeView>
  readonly blobs: BlobPort
  readonly images: ImagePort
  readonly calibration: CalibrationPort
  /** Calls the listener for every event until the returned function is called. */
  subscribe(listener: (event: DaemonEvent) => void): () => void
}
