// @ts-nocheck
import { decodeMessage, encodeMessage, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface TaskInput {
  name: string
  digest: Uint8Array
  sizeBytes: number
  folder: boolean
}

export namespace TaskInput {
  let _codec: Codec<TaskInput>

  export const codec = (): Codec<TaskInput> => {
    if (_codec == null) {
      _codec = message<TaskInput>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.name != null && obj.name !== '')) {
          w.uint32(10)
          w.string(obj.name)
        }

        if ((obj.digest != null && obj.digest.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.digest)
        }

        if ((obj.sizeBytes != null && obj.sizeBytes !== 0)) {
          w.uint32(24)
          w.uint64Number(obj.sizeBytes)
        }

        if ((obj.folder != null && obj.folder !== false)) {
          w.uint32(32)
          w.bool(obj.folder)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          name: '',
          digest: uint8ArrayAlloc(0),
          sizeBytes: 0,
          folder: false
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.name = reader.string()
              break
            }
            case 2: {
              obj.digest = reader.bytes()
              break
            }
            case 3: {
              obj.sizeBytes = reader.uint64Number()
              break
            }
            case 4: {
              obj.folder = reader.bool()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.name`,
                value: reader.string()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.digest`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.sizeBytes`,
                value: reader.uint64Number()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.folder`,
                value: reader.bool()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface TaskInputNameFieldEvent {
    field: '$.name'
    value: string
  }

  export interface TaskInputDigestFieldEvent {
    field: '$.digest'
    value: Uint8Array
  }

  export interface TaskInputSizeBytesFieldEvent {
    field: '$.sizeBytes'
    value: number
  }

  export interface TaskInputFolderFieldEvent {
    field: '$.folder'
    value: boolean
  }

  export function encode (obj: Partial<TaskInput>): Uint8Array {
    return encodeMessage(obj, TaskInput.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<TaskInput>): TaskInput {
    return decodeMessage(buf, TaskInput.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<TaskInput>): Generator<TaskInputNameFieldEvent | TaskInputDigestFieldEvent | TaskInputSizeBytesFieldEvent | TaskInputFolderFieldEvent> {
    return streamMessage(buf, TaskInput.codec(), opts)
  }
}

export interface Task {
  previous: Uint8Array
  jobId: Uint8Array
  batch: number
  slot: number
  attempt: number
  seats: number
  inputs: TaskInput[]
  providers: Uint8Array[]
  calledMs: number
  view: number
  round: Uint8Array
}

export namespace Task {
  let _codec: Codec<Task>

  export const codec = (): Codec<Task> => {
    if (_codec == null) {
      _codec = message<Task>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.previous != null && obj.previous.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.previous)
        }

        if ((obj.jobId != null && obj.jobId.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.jobId)
        }

        if ((obj.batch != null && obj.batch !== 0)) {
          w.uint32(24)
          w.uint32(obj.batch)
        }

        if ((obj.slot != null && obj.slot !== 0)) {
          w.uint32(32)
          w.uint32(obj.slot)
        }

        if ((obj.attempt != null && obj.attempt !== 0)) {
          w.uint32(40)
          w.uint32(obj.attempt)
        }

        if ((obj.seats != null && obj.seats !== 0)) {
          w.uint32(48)
          w.uint32(obj.seats)
        }

        if (obj.inputs != null && obj.inputs.length > 0) {
          for (const value of obj.inputs) {
            w.uint32(58)
            TaskInput.codec().encode(value, w)
          }
        }

        if (obj.providers != null && obj.providers.length > 0) {
          for (const value of obj.providers) {
            w.uint32(66)
            w.bytes(value)
          }
        }

        if ((obj.calledMs != null && obj.calledMs !== 0)) {
          w.uint32(72)
          w.uint64Number(obj.calledMs)
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(80)
          w.uint32(obj.view)
        }

        if ((obj.round != null && obj.round.byteLength > 0)) {
          w.uint32(90)
          w.bytes(obj.round)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          previous: uint8ArrayAlloc(0),
          jobId: uint8ArrayAlloc(0),
          batch: 0,
          slot: 0,
          attempt: 0,
          seats: 0,
          inputs: [],
          providers: [],
          calledMs: 0,
          view: 0,
          round: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.previous = reader.bytes()
              break
            }
            case 2: {
              obj.jobId = reader.bytes()
              break
            }
            case 3: {
              obj.batch = reader.uint32()
              break
            }
            case 4: {
              obj.slot = reader.uint32()
              break
            }
            case 5: {
              obj.attempt = reader.uint32()
              break
            }
            case 6: {
              obj.seats = reader.uint32()
              break
            }
            case 7: {
              if (opts.limits?.inputs != null && obj.inputs.length === opts.limits.inputs) {
                throw new MaxLengthError('Decode error - repeated field "inputs" had too many elements')
              }

              obj.inputs.push(TaskInput.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.inputs$
              }))
              break
            }
            case 8: {
              if (opts.limits?.providers != null && obj.providers.length === opts.limits.providers) {
                throw new MaxLengthError('Decode error - repeated field "providers" had too many elements')
              }

              obj.providers.push(reader.bytes())
              break
            }
            case 9: {
              obj.calledMs = reader.uint64Number()
              break
            }
            case 10: {
              obj.view = reader.uint32()
              break
            }
            case 11: {
              obj.round = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          inputs: 0,
          providers: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.previous`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.jobId`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.batch`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.slot`,
                value: reader.uint32()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.attempt`,
                value: reader.uint32()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.seats`,
                value: reader.uint32()
              }
              break
            }
            case 7: {
              if (opts.limits?.inputs != null && obj.inputs === opts.limits.inputs) {
                throw new MaxLengthError('Streaming decode error - repeated field "inputs" had too many elements')
              }

              for (const evt of TaskInput.codec().stream(reader, reader.uint32(), `${prefix}.inputs[]`, {
                limits: opts.limits?.inputs$
              })) {
                yield {
                  ...evt,
                  index: obj.inputs
                }
              }

              obj.inputs++

              break
            }
            case 8: {
              if (opts.limits?.providers != null && obj.providers === opts.limits.providers) {
                throw new MaxLengthError('Streaming decode error - repeated field "providers" had too many elements')
              }

              yield {
                field: `${prefix}.providers[]`,
                index: obj.providers,
                value: reader.bytes()
              }

              obj.providers++

              break
            }
            case 9: {
              yield {
                field: `${prefix}.calledMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 10: {
              yield {
                field: `${prefix}.view`,
                value: reader.uint32()
              }
              break
            }
            case 11: {
              yield {
                field: `${prefix}.round`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface TaskPreviousFieldEvent {
    field: '$.previous'
    value: Uint8Array
  }

  export interface TaskJobIdFieldEvent {
    field: '$.jobId'
    value: Uint8Array
  }

  export interface TaskBatchFieldEvent {
    field: '$.batch'
    value: number
  }

  export interface TaskSlotFieldEvent {
    field: '$.slot'
    value: number
  }

  export interface TaskAttemptFieldEvent {
    field: '$.attempt'
    value: number
  }

  export interface TaskSeatsFieldEvent {
    field: '$.seats'
    value: number
  }

  export interface TaskInputsNameFieldEvent {
    field: '$.inputs[].name'
    value: string
    index: number
  }

  export interface TaskInputsDigestFieldEvent {
    field: '$.inputs[].digest'
    value: Uint8Array
    index: number
  }

  export interface TaskInputsSizeBytesFieldEvent {
    field: '$.inputs[].sizeBytes'
    value: number
    index: number
  }

  export interface TaskInputsFolderFieldEvent {
    field: '$.inputs[].folder'
    value: boolean
    index: number
  }

  export interface TaskProvidersFieldEvent {
    field: '$.providers[]'
    index: number
    value: Uint8Array
  }

  export interface TaskCalledMsFieldEvent {
    field: '$.calledMs'
    value: number
  }

  export interface TaskViewFieldEvent {
    field: '$.view'
    value: number
  }

  export interface TaskRoundFieldEvent {
    field: '$.round'
    value: Uint8Array
  }

  export function encode (obj: Partial<Task>): Uint8Array {
    return encodeMessage(obj, Task.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Task>): Task {
    return decodeMessage(buf, Task.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Task>): Generator<TaskPreviousFieldEvent | TaskJobIdFieldEvent | TaskBatchFieldEvent | TaskSlotFieldEvent | TaskAttemptFieldEvent | TaskSeatsFieldEvent | TaskInputsNameFieldEvent | TaskInputsDigestFieldEvent | TaskInputsSizeBytesFieldEvent | TaskInputsFolderFieldEvent | TaskProvidersFieldEvent | TaskCalledMsFieldEvent | TaskViewFieldEvent | TaskRoundFieldEvent> {
    return streamMessage(buf, Task.codec(), opts)
  }
}

export interface Heartbeat {
  taskId: Uint8Array
  phase: string
  step: number
  total: number
  note: string
  fetch?: FetchState
}

export namespace Heartbeat {
  let _codec: Codec<Heartbeat>

  export const codec = (): Codec<Heartbeat> => {
    if (_codec == null) {
      _codec = message<Heartbeat>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.taskId)
        }

        if ((obj.phase != null && obj.phase !== '')) {
          w.uint32(18)
          w.string(obj.phase)
        }

        if ((obj.step != null && obj.step !== 0)) {
          w.uint32(24)
          w.uint32(obj.step)
        }

        if ((obj.total != null && obj.total !== 0)) {
          w.uint32(32)
          w.uint32(obj.total)
        }

        if ((obj.note != null && obj.note !== '')) {
          w.uint32(42)
          w.string(obj.note)
        }

        if (obj.fetch != null) {
          w.uint32(50)
          FetchState.codec().encode(obj.fetch, w)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          taskId: uint8ArrayAlloc(0),
          phase: '',
          step: 0,
          total: 0,
          note: ''
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.taskId = reader.bytes()
              break
            }
            case 2: {
              obj.phase = reader.string()
              break
            }
            case 3: {
              obj.step = reader.uint32()
              break
            }
            case 4: {
              obj.total = reader.uint32()
              break
            }
            case 5: {
              obj.note = reader.string()
              break
            }
            case 6: {
              obj.fetch = FetchState.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.fetch
              })
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.phase`,
                value: reader.string()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.step`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.total`,
                value: reader.uint32()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.note`,
                value: reader.string()
              }
              break
            }
            case 6: {
              yield * FetchState.codec().stream(reader, reader.uint32(), `${prefix}.fetch`, {
                limits: opts.limits?.fetch
              })

              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface HeartbeatTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface HeartbeatPhaseFieldEvent {
    field: '$.phase'
    value: string
  }

  export interface HeartbeatStepFieldEvent {
    field: '$.step'
    value: number
  }

  export interface HeartbeatTotalFieldEvent {
    field: '$.total'
    value: number
  }

  export interface HeartbeatNoteFieldEvent {
    field: '$.note'
    value: string
  }

  export interface HeartbeatFetchWhatFieldEvent {
    field: '$.fetch.what'
    value: string
  }

  export interface HeartbeatFetchDoneBytesFieldEvent {
    field: '$.fetch.doneBytes'
    value: number
  }

  export interface HeartbeatFetchTotalBytesFieldEvent {
    field: '$.fetch.totalBytes'
    value: number
  }

  export interface HeartbeatFetchBytesPerSecondFieldEvent {
    field: '$.fetch.bytesPerSecond'
    value: number
  }

  export interface HeartbeatFetchEtaMsFieldEvent {
    field: '$.fetch.etaMs'
    value: number
  }

  export interface HeartbeatFetchSourcesPeerFieldEvent {
    field: '$.fetch.sources[].peer'
    value: Uint8Array
    index: number
  }

  export interface HeartbeatFetchSourcesBytesFieldEvent {
    field: '$.fetch.sources[].bytes'
    value: number
    index: number
  }

  export interface HeartbeatFetchSourcesStateFieldEvent {
    field: '$.fetch.sources[].state'
    value: string
    index: number
  }

  export function encode (obj: Partial<Heartbeat>): Uint8Array {
    return encodeMessage(obj, Heartbeat.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Heartbeat>): Heartbeat {
    return decodeMessage(buf, Heartbeat.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Heartbeat>): Generator<HeartbeatTaskIdFieldEvent | HeartbeatPhaseFieldEvent | HeartbeatStepFieldEvent | HeartbeatTotalFieldEvent | HeartbeatNoteFieldEvent | HeartbeatFetchWhatFieldEvent | HeartbeatFetchDoneBytesFieldEvent | HeartbeatFetchTotalBytesFieldEvent | HeartbeatFetchBytesPerSecondFieldEvent | HeartbeatFetchEtaMsFieldEvent | HeartbeatFetchSourcesPeerFieldEvent | HeartbeatFetchSourcesBytesFieldEvent | HeartbeatFetchSourcesStateFieldEvent> {
    return streamMessage(buf, Heartbeat.codec(), opts)
  }
}

export interface FetchState {
  what: string
  doneBytes: number
  totalBytes: number
  bytesPerSecond: number
  etaMs: number
  sources: FetchSource[]
}

export namespace FetchState {
  let _codec: Codec<FetchState>

  export const codec = (): Codec<FetchState> => {
    if (_codec == null) {
      _codec = message<FetchState>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.what != null && obj.what !== '')) {
          w.uint32(10)
          w.string(obj.what)
        }

        if ((obj.doneBytes != null && obj.doneBytes !== 0)) {
          w.uint32(16)
          w.uint64Number(obj.doneBytes)
        }

        if ((obj.totalBytes != null && obj.totalBytes !== 0)) {
          w.uint32(24)
          w.uint64Number(obj.totalBytes)
        }

        if ((obj.bytesPerSecond != null && obj.bytesPerSecond !== 0)) {
          w.uint32(32)
          w.uint64Number(obj.bytesPerSecond)
        }

        if ((obj.etaMs != null && obj.etaMs !== 0)) {
          w.uint32(40)
          w.uint64Number(obj.etaMs)
        }

        if (obj.sources != null && obj.sources.length > 0) {
          for (const value of obj.sources) {
            w.uint32(50)
            FetchSource.codec().encode(value, w)
          }
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          what: '',
          doneBytes: 0,
          totalBytes: 0,
          bytesPerSecond: 0,
          etaMs: 0,
          sources: []
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.what = reader.string()
              break
            }
            case 2: {
              obj.doneBytes = reader.uint64Number()
              break
            }
            case 3: {
              obj.totalBytes = reader.uint64Number()
              break
            }
            case 4: {
              obj.bytesPerSecond = reader.uint64Number()
              break
            }
            case 5: {
              obj.etaMs = reader.uint64Number()
              break
            }
            case 6: {
              if (opts.limits?.sources != null && obj.sources.length === opts.limits.sources) {
                throw new MaxLengthError('Decode error - repeated field "sources" had too many elements')
              }

              obj.sources.push(FetchSource.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.sources$
              }))
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          sources: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.what`,
                value: reader.string()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.doneBytes`,
                value: reader.uint64Number()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.totalBytes`,
                value: reader.uint64Number()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.bytesPerSecond`,
                value: reader.uint64Number()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.etaMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 6: {
              if (opts.limits?.sources != null && obj.sources === opts.limits.sources) {
                throw new MaxLengthError('Streaming decode error - repeated field "sources" had too many elements')
              }

              for (const evt of FetchSource.codec().stream(reader, reader.uint32(), `${prefix}.sources[]`, {
                limits: opts.limits?.sources$
              })) {
                yield {
                  ...evt,
                  index: obj.sources
                }
              }

              obj.sources++

              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface FetchStateWhatFieldEvent {
    field: '$.what'
    value: string
  }

  export interface FetchStateDoneBytesFieldEvent {
    field: '$.doneBytes'
    value: number
  }

  export interface FetchStateTotalBytesFieldEvent {
    field: '$.totalBytes'
    value: number
  }

  export interface FetchStateBytesPerSecondFieldEvent {
    field: '$.bytesPerSecond'
    value: number
  }

  export interface FetchStateEtaMsFieldEvent {
    field: '$.etaMs'
    value: number
  }

  export interface FetchStateSourcesPeerFieldEvent {
    field: '$.sources[].peer'
    value: Uint8Array
    index: number
  }

  export interface FetchStateSourcesBytesFieldEvent {
    field: '$.sources[].bytes'
    value: number
    index: number
  }

  export interface FetchStateSourcesStateFieldEvent {
    field: '$.sources[].state'
    value: string
    index: number
  }

  export function encode (obj: Partial<FetchState>): Uint8Array {
    return encodeMessage(obj, FetchState.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FetchState>): FetchState {
    return decodeMessage(buf, FetchState.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FetchState>): Generator<FetchStateWhatFieldEvent | FetchStateDoneBytesFieldEvent | FetchStateTotalBytesFieldEvent | FetchStateBytesPerSecondFieldEvent | FetchStateEtaMsFieldEvent | FetchStateSourcesPeerFieldEvent | FetchStateSourcesBytesFieldEvent | FetchStateSourcesStateFieldEvent> {
    return streamMessage(buf, FetchState.codec(), opts)
  }
}

export interface FetchSource {
  peer: Uint8Array
  bytes: number
  state: string
}

export namespace FetchSource {
  let _codec: Codec<FetchSource>

  export const codec = (): Codec<FetchSource> => {
    if (_codec == null) {
      _codec = message<FetchSource>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.peer != null && obj.peer.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.peer)
        }

        if ((obj.bytes != null && obj.bytes !== 0)) {
          w.uint32(16)
          w.uint64Number(obj.bytes)
        }

        if ((obj.state != null && obj.state !== '')) {
          w.uint32(26)
          w.string(obj.state)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          peer: uint8ArrayAlloc(0),
          bytes: 0,
          state: ''
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.peer = reader.bytes()
              break
            }
            case 2: {
              obj.bytes = reader.uint64Number()
              break
            }
            case 3: {
              obj.state = reader.string()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.peer`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.bytes`,
                value: reader.uint64Number()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.state`,
                value: reader.string()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface FetchSourcePeerFieldEvent {
    field: '$.peer'
    value: Uint8Array
  }

  export interface FetchSourceBytesFieldEvent {
    field: '$.bytes'
    value: number
  }

  export interface FetchSourceStateFieldEvent {
    field: '$.state'
    value: string
  }

  export function encode (obj: Partial<FetchSource>): Uint8Array {
    return encodeMessage(obj, FetchSource.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FetchSource>): FetchSource {
    return decodeMessage(buf, FetchSource.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FetchSource>): Generator<FetchSourcePeerFieldEvent | FetchSourceBytesFieldEvent | FetchSourceStateFieldEvent> {
    return streamMessage(buf, FetchSource.codec(), opts)
  }
}

export interface Failure {
  taskId: Uint8Array
  code: string
  reason: string
}

export namespace Failure {
  let _codec: Codec<Failure>

  export const codec = (): Codec<Failure> => {
    if (_codec == null) {
      _codec = message<Failure>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.taskId)
        }

        if ((obj.code != null && obj.code !== '')) {
          w.uint32(18)
          w.string(obj.code)
        }

        if ((obj.reason != null && obj.reason !== '')) {
          w.uint32(26)
          w.string(obj.reason)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          taskId: uint8ArrayAlloc(0),
          code: '',
          reason: ''
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.taskId = reader.bytes()
              break
            }
            case 2: {
              obj.code = reader.string()
              break
            }
            case 3: {
              obj.reason = reader.string()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.code`,
                value: reader.string()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.reason`,
                value: reader.string()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface FailureTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface FailureCodeFieldEvent {
    field: '$.code'
    value: string
  }

  export interface FailureReasonFieldEvent {
    field: '$.reason'
    value: string
  }

  export function encode (obj: Partial<Failure>): Uint8Array {
    return encodeMessage(obj, Failure.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Failure>): Failure {
    return decodeMessage(buf, Failure.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Failure>): Generator<FailureTaskIdFieldEvent | FailureCodeFieldEvent | FailureReasonFieldEvent> {
    return streamMessage(buf, Failure.codec(), opts)
  }
}

export interface Commitment {
  taskId: Uint8Array
  attempt: number
  commitment: Uint8Array
}

export namespace Commitment {
  let _codec: Codec<Commitment>

  export const codec = (): Codec<Commitment> => {
    if (_codec == null) {
      _codec = message<Commitment>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.taskId)
        }

        if ((obj.attempt != null && obj.attempt !== 0)) {
          w.uint32(16)
          w.uint32(obj.attempt)
        }

        if ((obj.commitment != null && obj.commitment.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.commitment)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          taskId: uint8ArrayAlloc(0),
          attempt: 0,
          commitment: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.taskId = reader.bytes()
              break
            }
            case 2: {
              obj.attempt = reader.uint32()
              break
            }
            case 3: {
              obj.commitment = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.attempt`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.commitment`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface CommitmentTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface CommitmentAttemptFieldEvent {
    field: '$.attempt'
    value: number
  }

  export interface CommitmentCommitmentFieldEvent {
    field: '$.commitment'
    value: Uint8Array
  }

  export function encode (obj: Partial<Commitment>): Uint8Array {
    return encodeMessage(obj, Commitment.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Commitment>): Commitment {
    return decodeMessage(buf, Commitment.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Commitment>): Generator<CommitmentTaskIdFieldEvent | CommitmentAttemptFieldEvent | CommitmentCommitmentFieldEvent> {
    return streamMessage(buf, Commitment.codec(), opts)
  }
}

export interface FreezeCommitments {
  previous: Uint8Array
  commitments: Uint8Array[]
  vrfProofs: Uint8Array[]
  view: number
}

export namespace FreezeCommitments {
  let _codec: Codec<FreezeCommitments>

  export const codec = (): Codec<FreezeCommitments> => {
    if (_codec == null) {
      _codec = message<FreezeCommitments>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.previous != null && obj.previous.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.previous)
        }

        if (obj.commitments != null && obj.commitments.length > 0) {
          for (const value of obj.commitments) {
            w.uint32(18)
            w.bytes(value)
          }
        }

        if (obj.vrfProofs != null && obj.vrfProofs.length > 0) {
          for (const value of obj.vrfProofs) {
            w.uint32(26)
            w.bytes(value)
          }
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(32)
          w.uint32(obj.view)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          previous: uint8ArrayAlloc(0),
          commitments: [],
          vrfProofs: [],
          view: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.previous = reader.bytes()
              break
            }
            case 2: {
              if (opts.limits?.commitments != null && obj.commitments.length === opts.limits.commitments) {
                throw new MaxLengthError('Decode error - repeated field "commitments" had too many elements')
              }

              obj.commitments.push(reader.bytes())
              break
            }
            case 3: {
              if (opts.limits?.vrfProofs != null && obj.vrfProofs.length === opts.limits.vrfProofs) {
                throw new MaxLengthError('Decode error - repeated field "vrfProofs" had too many elements')
              }

              obj.vrfProofs.push(reader.bytes())
              break
            }
            case 4: {
              obj.view = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          commitments: 0,
          vrfProofs: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.previous`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              if (opts.limits?.commitments != null && obj.commitments === opts.limits.commitments) {
                throw new MaxLengthError('Streaming decode error - repeated field "commitments" had too many elements')
              }

              yield {
                field: `${prefix}.commitments[]`,
                index: obj.commitments,
                value: reader.bytes()
              }

              obj.commitments++

              break
            }
            case 3: {
              if (opts.limits?.vrfProofs != null && obj.vrfProofs === opts.limits.vrfProofs) {
                throw new MaxLengthError('Streaming decode error - repeated field "vrfProofs" had too many elements')
              }

              yield {
                field: `${prefix}.vrfProofs[]`,
                index: obj.vrfProofs,
                value: reader.bytes()
              }

              obj.vrfProofs++

              break
            }
            case 4: {
              yield {
                field: `${prefix}.view`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface FreezeCommitmentsPreviousFieldEvent {
    field: '$.previous'
    value: Uint8Array
  }

  export interface FreezeCommitmentsCommitmentsFieldEvent {
    field: '$.commitments[]'
    index: number
    value: Uint8Array
  }

  export interface FreezeCommitmentsVrfProofsFieldEvent {
    field: '$.vrfProofs[]'
    index: number
    value: Uint8Array
  }

  export interface FreezeCommitmentsViewFieldEvent {
    field: '$.view'
    value: number
  }

  export function encode (obj: Partial<FreezeCommitments>): Uint8Array {
    return encodeMessage(obj, FreezeCommitments.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeCommitments>): FreezeCommitments {
    return decodeMessage(buf, FreezeCommitments.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeCommitments>): Generator<FreezeCommitmentsPreviousFieldEvent | FreezeCommitmentsCommitmentsFieldEvent | FreezeCommitmentsVrfProofsFieldEvent | FreezeCommitmentsViewFieldEvent> {
    return streamMessage(buf, FreezeCommitments.codec(), opts)
  }
}

export interface Reveal {
  taskId: Uint8Array
  attempt: number
  outputRoot: Uint8Array
  metrics: Uint8Array
  salt: Uint8Array
  durationMs: number
  listing: Uint8Array
  updateRoot: Uint8Array
}

export namespace Reveal {
  let _codec: Codec<Reveal>

  export const codec = (): Codec<Reveal> => {
    if (_codec == null) {
      _codec = message<Reveal>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.taskId)
        }

        if ((obj.attempt != null && obj.attempt !== 0)) {
          w.uint32(16)
          w.uint32(obj.attempt)
        }

        if ((obj.outputRoot != null && obj.outputRoot.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.outputRoot)
        }

        if ((obj.metrics != null && obj.metrics.byteLength > 0)) {
          w.uint32(34)
          w.bytes(obj.metrics)
        }

        if ((obj.salt != null && obj.salt.byteLength > 0)) {
          w.uint32(42)
          w.bytes(obj.salt)
        }

        if ((obj.durationMs != null && obj.durationMs !== 0)) {
          w.uint32(48)
          w.uint64Number(obj.durationMs)
        }

        if ((obj.listing != null && obj.listing.byteLength > 0)) {
          w.uint32(58)
          w.bytes(obj.listing)
        }

        if ((obj.updateRoot != null && obj.updateRoot.byteLength > 0)) {
          w.uint32(66)
          w.bytes(obj.updateRoot)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          taskId: uint8ArrayAlloc(0),
          attempt: 0,
          outputRoot: uint8ArrayAlloc(0),
          metrics: uint8ArrayAlloc(0),
          salt: uint8ArrayAlloc(0),
          durationMs: 0,
          listing: uint8ArrayAlloc(0),
          updateRoot: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.taskId = reader.bytes()
              break
            }
            case 2: {
              obj.attempt = reader.uint32()
              break
            }
            case 3: {
              obj.outputRoot = reader.bytes()
              break
            }
            case 4: {
              obj.metrics = reader.bytes()
              break
            }
            case 5: {
              obj.salt = reader.bytes()
              break
            }
            case 6: {
              obj.durationMs = reader.uint64Number()
              break
            }
            case 7: {
              obj.listing = reader.bytes()
              break
            }
            case 8: {
              obj.updateRoot = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.attempt`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.outputRoot`,
                value: reader.bytes()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.metrics`,
                value: reader.bytes()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.salt`,
                value: reader.bytes()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.durationMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 7: {
              yield {
                field: `${prefix}.listing`,
                value: reader.bytes()
              }
              break
            }
            case 8: {
              yield {
                field: `${prefix}.updateRoot`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface RevealTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface RevealAttemptFieldEvent {
    field: '$.attempt'
    value: number
  }

  export interface RevealOutputRootFieldEvent {
    field: '$.outputRoot'
    value: Uint8Array
  }

  export interface RevealMetricsFieldEvent {
    field: '$.metrics'
    value: Uint8Array
  }

  export interface RevealSaltFieldEvent {
    field: '$.salt'
    value: Uint8Array
  }

  export interface RevealDurationMsFieldEvent {
    field: '$.durationMs'
    value: number
  }

  export interface RevealListingFieldEvent {
    field: '$.listing'
    value: Uint8Array
  }

  export interface RevealUpdateRootFieldEvent {
    field: '$.updateRoot'
    value: Uint8Array
  }

  export function encode (obj: Partial<Reveal>): Uint8Array {
    return encodeMessage(obj, Reveal.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Reveal>): Reveal {
    return decodeMessage(buf, Reveal.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Reveal>): Generator<RevealTaskIdFieldEvent | RevealAttemptFieldEvent | RevealOutputRootFieldEvent | RevealMetricsFieldEvent | RevealSaltFieldEvent | RevealDurationMsFieldEvent | RevealListingFieldEvent | RevealUpdateRootFieldEvent> {
    return streamMessage(buf, Reveal.codec(), opts)
  }
}

export interface FreezeReveals {
  previous: Uint8Array
  reveals: Uint8Array[]
  view: number
  sketches: Uint8Array[]
}

export namespace FreezeReveals {
  let _codec: Codec<FreezeReveals>

  export const codec = (): Codec<FreezeReveals> => {
    if (_codec == null) {
      _codec = message<FreezeReveals>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.previous != null && obj.previous.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.previous)
        }

        if (obj.reveals != null && obj.reveals.length > 0) {
          for (const value of obj.reveals) {
            w.uint32(18)
            w.bytes(value)
          }
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(24)
          w.uint32(obj.view)
        }

        if (obj.sketches != null && obj.sketches.length > 0) {
          for (const value of obj.sketches) {
            w.uint32(34)
            w.bytes(value)
          }
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          previous: uint8ArrayAlloc(0),
          reveals: [],
          view: 0,
          sketches: []
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.previous = reader.bytes()
              break
            }
            case 2: {
              if (opts.limits?.reveals != null && obj.reveals.length === opts.limits.reveals) {
                throw new MaxLengthError('Decode error - repeated field "reveals" had too many elements')
              }

              obj.reveals.push(reader.bytes())
              break
            }
            case 3: {
              obj.view = reader.uint32()
              break
            }
            case 4: {
              if (opts.limits?.sketches != null && obj.sketches.length === opts.limits.sketches) {
                throw new MaxLengthError('Decode error - repeated field "sketches" had too many elements')
              }

              obj.sketches.push(reader.bytes())
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          reveals: 0,
          sketches: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.previous`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              if (opts.limits?.reveals != null && obj.reveals === opts.limits.reveals) {
                throw new MaxLengthError('Streaming decode error - repeated field "reveals" had too many elements')
              }

              yield {
                field: `${prefix}.reveals[]`,
                index: obj.reveals,
                value: reader.bytes()
              }

              obj.reveals++

              break
            }
            case 3: {
              yield {
                field: `${prefix}.view`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              if (opts.limits?.sketches != null && obj.sketches === opts.limits.sketches) {
                throw new MaxLengthError('Streaming decode error - repeated field "sketches" had too many elements')
              }

              yield {
                field: `${prefix}.sketches[]`,
                index: obj.sketches,
                value: reader.bytes()
              }

              obj.sketches++

              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface FreezeRevealsPreviousFieldEvent {
    field: '$.previous'
    value: Uint8Array
  }

  export interface FreezeRevealsRevealsFieldEvent {
    field: '$.reveals[]'
    index: number
    value: Uint8Array
  }

  export interface FreezeRevealsViewFieldEvent {
    field: '$.view'
    value: number
  }

  export interface FreezeRevealsSketchesFieldEvent {
    field: '$.sketches[]'
    index: number
    value: Uint8Array
  }

  export function encode (obj: Partial<FreezeReveals>): Uint8Array {
    return encodeMessage(obj, FreezeReveals.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeReveals>): FreezeReveals {
    return decodeMessage(buf, FreezeReveals.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeReveals>): Generator<FreezeRevealsPreviousFieldEvent | FreezeRevealsRevealsFieldEvent | FreezeRevealsViewFieldEvent | FreezeRevealsSketchesFieldEvent> {
    return streamMessage(buf, FreezeReveals.codec(), opts)
  }
}

export interface SketchCommitment {
  taskId: Uint8Array
  frozen: Uint8Array
  commitment: Uint8Array
}

export namespace SketchCommitment {
  let _codec: Codec<SketchCommitment>

  export const codec = (): Codec<SketchCommitment> => {
    if (_codec == null) {
      _codec = message<SketchCommitment>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.taskId)
        }

        if ((obj.frozen != null && obj.frozen.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.frozen)
        }

        if ((obj.commitment != null && obj.commitment.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.commitment)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          taskId: uint8ArrayAlloc(0),
          frozen: uint8ArrayAlloc(0),
          commitment: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.taskId = reader.bytes()
              break
            }
            case 2: {
              obj.frozen = reader.bytes()
              break
            }
            case 3: {
              obj.commitment = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.frozen`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.commitment`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface SketchCommitmentTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface SketchCommitmentFrozenFieldEvent {
    field: '$.frozen'
    value: Uint8Array
  }

  export interface SketchCommitmentCommitmentFieldEvent {
    field: '$.commitment'
    value: Uint8Array
  }

  export function encode (obj: Partial<SketchCommitment>): Uint8Array {
    return encodeMessage(obj, SketchCommitment.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<SketchCommitment>): SketchCommitment {
    return decodeMessage(buf, SketchCommitment.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<SketchCommitment>): Generator<SketchCommitmentTaskIdFieldEvent | SketchCommitmentFrozenFieldEvent | SketchCommitmentCommitmentFieldEvent> {
    return streamMessage(buf, SketchCommitment.codec(), opts)
  }
}

export interface FreezeSketches {
  previous: Uint8Array
  commitments: Uint8Array[]
  view: number
}

export namespace FreezeSketches {
  let _codec: Codec<FreezeSketches>

  export const codec = (): Codec<FreezeSketches> => {
    if (_codec == null) {
      _codec = message<FreezeSketches>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.previous != null && obj.previous.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.previous)
        }

        if (obj.commitments != null && obj.commitments.length > 0) {
          for (const value of obj.commitments) {
            w.uint32(18)
            w.bytes(value)
          }
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(24)
          w.uint32(obj.view)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          previous: uint8ArrayAlloc(0),
          commitments: [],
          view: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.previous = reader.bytes()
              break
            }
            case 2: {
              if (opts.limits?.commitments != null && obj.commitments.length === opts.limits.commitments) {
                throw new MaxLengthError('Decode error - repeated field "commitments" had too many elements')
              }

              obj.commitments.push(reader.bytes())
              break
            }
            case 3: {
              obj.view = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          commitments: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.previous`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              if (opts.limits?.commitments != null && obj.commitments === opts.limits.commitments) {
                throw new MaxLengthError('Streaming decode error - repeated field "commitments" had too many elements')
              }

              yield {
                field: `${prefix}.commitments[]`,
                index: obj.commitments,
                value: reader.bytes()
              }

              obj.commitments++

              break
            }
            case 3: {
              yield {
                field: `${prefix}.view`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface FreezeSketchesPreviousFieldEvent {
    field: '$.previous'
    value: Uint8Array
  }

  export interface FreezeSketchesCommitmentsFieldEvent {
    field: '$.commitments[]'
    index: number
    value: Uint8Array
  }

  export interface FreezeSketchesViewFieldEvent {
    field: '$.view'
    value: number
  }

  export function encode (obj: Partial<FreezeSketches>): Uint8Array {
    return encodeMessage(obj, FreezeSketches.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeSketches>): FreezeSketches {
    return decodeMessage(buf, FreezeSketches.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeSketches>): Generator<FreezeSketchesPreviousFieldEvent | FreezeSketchesCommitmentsFieldEvent | FreezeSketchesViewFieldEvent> {
    return streamMessage(buf, FreezeSketches.codec(), opts)
  }
}

export interface SketchOpening {
  values: Uint8Array
  path: Uint8Array
}

export namespace SketchOpening {
  let _codec: Codec<SketchOpening>

  export const codec = (): Codec<SketchOpening> => {
    if (_codec == null) {
      _codec = message<SketchOpening>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.values != null && obj.values.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.values)
        }

        if ((obj.path != null && obj.path.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.path)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          values: uint8ArrayAlloc(0),
          path: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.values = reader.bytes()
              break
            }
            case 2: {
              obj.path = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.values`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.path`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface SketchOpeningValuesFieldEvent {
    field: '$.values'
    value: Uint8Array
  }

  export interface SketchOpeningPathFieldEvent {
    field: '$.path'
    value: Uint8Array
  }

  export function encode (obj: Partial<SketchOpening>): Uint8Array {
    return encodeMessage(obj, SketchOpening.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<SketchOpening>): SketchOpening {
    return decodeMessage(buf, SketchOpening.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<SketchOpening>): Generator<SketchOpeningValuesFieldEvent | SketchOpeningPathFieldEvent> {
    return streamMessage(buf, SketchOpening.codec(), opts)
  }
}

export interface Sketch {
  taskId: Uint8Array
  frozen: Uint8Array
  rest: Uint8Array
  elements: number
  exponent: number
  step: number
  normSquared: Uint8Array
  root: Uint8Array
  shift: number
  buckets: Uint8Array
  openings: SketchOpening[]
  salt: Uint8Array
}

export namespace Sketch {
  let _codec: Codec<Sketch>

  export const codec = (): Codec<Sketch> => {
    if (_codec == null) {
      _codec = message<Sketch>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.taskId)
        }

        if ((obj.frozen != null && obj.frozen.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.frozen)
        }

        if ((obj.rest != null && obj.rest.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.rest)
        }

        if ((obj.elements != null && obj.elements !== 0)) {
          w.uint32(32)
          w.uint64Number(obj.elements)
        }

        if ((obj.exponent != null && obj.exponent !== 0)) {
          w.uint32(40)
          w.uint32(obj.exponent)
        }

        if ((obj.step != null && obj.step !== 0)) {
          w.uint32(48)
          w.uint32(obj.step)
        }

        if ((obj.normSquared != null && obj.normSquared.byteLength > 0)) {
          w.uint32(58)
          w.bytes(obj.normSquared)
        }

        if ((obj.root != null && obj.root.byteLength > 0)) {
          w.uint32(66)
          w.bytes(obj.root)
        }

        if ((obj.shift != null && obj.shift !== 0)) {
          w.uint32(72)
          w.uint32(obj.shift)
        }

        if ((obj.buckets != null && obj.buckets.byteLength > 0)) {
          w.uint32(82)
          w.bytes(obj.buckets)
        }

        if (obj.openings != null && obj.openings.length > 0) {
          for (const value of obj.openings) {
            w.uint32(90)
            SketchOpening.codec().encode(value, w)
          }
        }

        if ((obj.salt != null && obj.salt.byteLength > 0)) {
          w.uint32(98)
          w.bytes(obj.salt)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          taskId: uint8ArrayAlloc(0),
          frozen: uint8ArrayAlloc(0),
          rest: uint8ArrayAlloc(0),
          elements: 0,
          exponent: 0,
          step: 0,
          normSquared: uint8ArrayAlloc(0),
          root: uint8ArrayAlloc(0),
          shift: 0,
          buckets: uint8ArrayAlloc(0),
          openings: [],
          salt: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.taskId = reader.bytes()
              break
            }
            case 2: {
              obj.frozen = reader.bytes()
              break
            }
            case 3: {
              obj.rest = reader.bytes()
              break
            }
            case 4: {
              obj.elements = reader.uint64Number()
              break
            }
            case 5: {
              obj.exponent = reader.uint32()
              break
            }
            case 6: {
              obj.step = reader.uint32()
              break
            }
            case 7: {
              obj.normSquared = reader.bytes()
              break
            }
            case 8: {
              obj.root = reader.bytes()
              break
            }
            case 9: {
              obj.shift = reader.uint32()
              break
            }
            case 10: {
              obj.buckets = reader.bytes()
              break
            }
            case 11: {
              if (opts.limits?.openings != null && obj.openings.length === opts.limits.openings) {
                throw new MaxLengthError('Decode error - repeated field "openings" had too many elements')
              }

              obj.openings.push(SketchOpening.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.openings$
              }))
              break
            }
            case 12: {
              obj.salt = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          openings: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.frozen`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.rest`,
                value: reader.bytes()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.elements`,
                value: reader.uint64Number()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.exponent`,
                value: reader.uint32()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.step`,
                value: reader.uint32()
              }
              break
            }
            case 7: {
              yield {
                field: `${prefix}.normSquared`,
                value: reader.bytes()
              }
              break
            }
            case 8: {
              yield {
                field: `${prefix}.root`,
                value: reader.bytes()
              }
              break
            }
            case 9: {
              yield {
                field: `${prefix}.shift`,
                value: reader.uint32()
              }
              break
            }
            case 10: {
              yield {
                field: `${prefix}.buckets`,
                value: reader.bytes()
              }
              break
            }
            case 11: {
              if (opts.limits?.openings != null && obj.openings === opts.limits.openings) {
                throw new MaxLengthError('Streaming decode error - repeated field "openings" had too many elements')
              }

              for (const evt of SketchOpening.codec().stream(reader, reader.uint32(), `${prefix}.openings[]`, {
                limits: opts.limits?.openings$
              })) {
                yield {
                  ...evt,
                  index: obj.openings
                }
              }

              obj.openings++

              break
            }
            case 12: {
              yield {
                field: `${prefix}.salt`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface SketchTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface SketchFrozenFieldEvent {
    field: '$.frozen'
    value: Uint8Array
  }

  export interface SketchRestFieldEvent {
    field: '$.rest'
    value: Uint8Array
  }

  export interface SketchElementsFieldEvent {
    field: '$.elements'
    value: number
  }

  export interface SketchExponentFieldEvent {
    field: '$.exponent'
    value: number
  }

  export interface SketchStepFieldEvent {
    field: '$.step'
    value: number
  }

  export interface SketchNormSquaredFieldEvent {
    field: '$.normSquared'
    value: Uint8Array
  }

  export interface SketchRootFieldEvent {
    field: '$.root'
    value: Uint8Array
  }

  export interface SketchShiftFieldEvent {
    field: '$.shift'
    value: number
  }

  export interface SketchBucketsFieldEvent {
    field: '$.buckets'
    value: Uint8Array
  }

  export interface SketchOpeningsValuesFieldEvent {
    field: '$.openings[].values'
    value: Uint8Array
    index: number
  }

  export interface SketchOpeningsPathFieldEvent {
    field: '$.openings[].path'
    value: Uint8Array
    index: number
  }

  export interface SketchSaltFieldEvent {
    field: '$.salt'
    value: Uint8Array
  }

  export function encode (obj: Partial<Sketch>): Uint8Array {
    return encodeMessage(obj, Sketch.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Sketch>): Sketch {
    return decodeMessage(buf, Sketch.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Sketch>): Generator<SketchTaskIdFieldEvent | SketchFrozenFieldEvent | SketchRestFieldEvent | SketchElementsFieldEvent | SketchExponentFieldEvent | SketchStepFieldEvent | SketchNormSquaredFieldEvent | SketchRootFieldEvent | SketchShiftFieldEvent | SketchBucketsFieldEvent | SketchOpeningsValuesFieldEvent | SketchOpeningsPathFieldEvent | SketchSaltFieldEvent> {
    return streamMessage(buf, Sketch.codec(), opts)
  }
}

export interface ExecutorOutcome {
  peer: Uint8Array
  operator: Uint8Array
  outcome: string
  durationMs: number
  root: Uint8Array
}

export namespace ExecutorOutcome {
  let _codec: Codec<ExecutorOutcome>

  export const codec = (): Codec<ExecutorOutcome> => {
    if (_codec == null) {
      _codec = message<ExecutorOutcome>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.peer != null && obj.peer.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.peer)
        }

        if ((obj.operator != null && obj.operator.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.operator)
        }

        if ((obj.outcome != null && obj.outcome !== '')) {
          w.uint32(26)
          w.string(obj.outcome)
        }

        if ((obj.durationMs != null && obj.durationMs !== 0)) {
          w.uint32(32)
          w.uint64Number(obj.durationMs)
        }

        if ((obj.root != null && obj.root.byteLength > 0)) {
          w.uint32(42)
          w.bytes(obj.root)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          peer: uint8ArrayAlloc(0),
          operator: uint8ArrayAlloc(0),
          outcome: '',
          durationMs: 0,
          root: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.peer = reader.bytes()
              break
            }
            case 2: {
              obj.operator = reader.bytes()
              break
            }
            case 3: {
              obj.outcome = reader.string()
              break
            }
            case 4: {
              obj.durationMs = reader.uint64Number()
              break
            }
            case 5: {
              obj.root = reader.bytes()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.peer`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.operator`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.outcome`,
                value: reader.string()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.durationMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.root`,
                value: reader.bytes()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface ExecutorOutcomePeerFieldEvent {
    field: '$.peer'
    value: Uint8Array
  }

  export interface ExecutorOutcomeOperatorFieldEvent {
    field: '$.operator'
    value: Uint8Array
  }

  export interface ExecutorOutcomeOutcomeFieldEvent {
    field: '$.outcome'
    value: string
  }

  export interface ExecutorOutcomeDurationMsFieldEvent {
    field: '$.durationMs'
    value: number
  }

  export interface ExecutorOutcomeRootFieldEvent {
    field: '$.root'
    value: Uint8Array
  }

  export function encode (obj: Partial<ExecutorOutcome>): Uint8Array {
    return encodeMessage(obj, ExecutorOutcome.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ExecutorOutcome>): ExecutorOutcome {
    return decodeMessage(buf, ExecutorOutcome.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ExecutorOutcome>): Generator<ExecutorOutcomePeerFieldEvent | ExecutorOutcomeOperatorFieldEvent | ExecutorOutcomeOutcomeFieldEvent | ExecutorOutcomeDurationMsFieldEvent | ExecutorOutcomeRootFieldEvent> {
    return streamMessage(buf, ExecutorOutcome.codec(), opts)
  }
}

export interface Receipt {
  previous: Uint8Array
  jobId: Uint8Array
  batch: number
  slot: number
  taskId: Uint8Array
  verdict: string
  outputRoot: Uint8Array
  executors: ExecutorOutcome[]
  young: boolean
  closedMs: number
  reason: string
  view: number
}

export namespace Receipt {
  let _codec: Codec<Receipt>

  export const codec = (): Codec<Receipt> => {
    if (_codec == null) {
      _codec = message<Receipt>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.previous != null && obj.previous.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.previous)
        }

        if ((obj.jobId != null && obj.jobId.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.jobId)
        }

        if ((obj.batch != null && obj.batch !== 0)) {
          w.uint32(24)
          w.uint32(obj.batch)
        }

        if ((obj.slot != null && obj.slot !== 0)) {
          w.uint32(32)
          w.uint32(obj.slot)
        }

        if ((obj.taskId != null && obj.taskId.byteLength > 0)) {
          w.uint32(42)
          w.bytes(obj.taskId)
        }

        if ((obj.verdict != null && obj.verdict !== '')) {
          w.uint32(50)
          w.string(obj.verdict)
        }

        if ((obj.outputRoot != null && obj.outputRoot.byteLength > 0)) {
          w.uint32(58)
          w.bytes(obj.outputRoot)
        }

        if (obj.executors != null && obj.executors.length > 0) {
          for (const value of obj.executors) {
            w.uint32(66)
            ExecutorOutcome.codec().encode(value, w)
          }
        }

        if ((obj.young != null && obj.young !== false)) {
          w.uint32(72)
          w.bool(obj.young)
        }

        if ((obj.closedMs != null && obj.closedMs !== 0)) {
          w.uint32(80)
          w.uint64Number(obj.closedMs)
        }

        if ((obj.reason != null && obj.reason !== '')) {
          w.uint32(90)
          w.string(obj.reason)
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(96)
          w.uint32(obj.view)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          previous: uint8ArrayAlloc(0),
          jobId: uint8ArrayAlloc(0),
          batch: 0,
          slot: 0,
          taskId: uint8ArrayAlloc(0),
          verdict: '',
          outputRoot: uint8ArrayAlloc(0),
          executors: [],
          young: false,
          closedMs: 0,
          reason: '',
          view: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.previous = reader.bytes()
              break
            }
            case 2: {
              obj.jobId = reader.bytes()
              break
            }
            case 3: {
              obj.batch = reader.uint32()
              break
            }
            case 4: {
              obj.slot = reader.uint32()
              break
            }
            case 5: {
              obj.taskId = reader.bytes()
              break
            }
            case 6: {
              obj.verdict = reader.string()
              break
            }
            case 7: {
              obj.outputRoot = reader.bytes()
              break
            }
            case 8: {
              if (opts.limits?.executors != null && obj.executors.length === opts.limits.executors) {
                throw new MaxLengthError('Decode error - repeated field "executors" had too many elements')
              }

              obj.executors.push(ExecutorOutcome.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.executors$
              }))
              break
            }
            case 9: {
              obj.young = reader.bool()
              break
            }
            case 10: {
              obj.closedMs = reader.uint64Number()
              break
            }
            case 11: {
              obj.reason = reader.string()
              break
            }
            case 12: {
              obj.view = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          executors: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.previous`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.jobId`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.batch`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.slot`,
                value: reader.uint32()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.taskId`,
                value: reader.bytes()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.verdict`,
                value: reader.string()
              }
              break
            }
            case 7: {
              yield {
                field: `${prefix}.outputRoot`,
                value: reader.bytes()
              }
              break
            }
            case 8: {
              if (opts.limits?.executors != null && obj.executors === opts.limits.executors) {
                throw new MaxLengthError('Streaming decode error - repeated field "executors" had too many elements')
              }

              for (const evt of ExecutorOutcome.codec().stream(reader, reader.uint32(), `${prefix}.executors[]`, {
                limits: opts.limits?.executors$
              })) {
                yield {
                  ...evt,
                  index: obj.executors
                }
              }

              obj.executors++

              break
            }
            case 9: {
              yield {
                field: `${prefix}.young`,
                value: reader.bool()
              }
              break
            }
            case 10: {
              yield {
                field: `${prefix}.closedMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 11: {
              yield {
                field: `${prefix}.reason`,
                value: reader.string()
              }
              break
            }
            case 12: {
              yield {
                field: `${prefix}.view`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface ReceiptPreviousFieldEvent {
    field: '$.previous'
    value: Uint8Array
  }

  export interface ReceiptJobIdFieldEvent {
    field: '$.jobId'
    value: Uint8Array
  }

  export interface ReceiptBatchFieldEvent {
    field: '$.batch'
    value: number
  }

  export interface ReceiptSlotFieldEvent {
    field: '$.slot'
    value: number
  }

  export interface ReceiptTaskIdFieldEvent {
    field: '$.taskId'
    value: Uint8Array
  }

  export interface ReceiptVerdictFieldEvent {
    field: '$.verdict'
    value: string
  }

  export interface ReceiptOutputRootFieldEvent {
    field: '$.outputRoot'
    value: Uint8Array
  }

  export interface ReceiptExecutorsPeerFieldEvent {
    field: '$.executors[].peer'
    value: Uint8Array
    index: number
  }

  export interface ReceiptExecutorsOperatorFieldEvent {
    field: '$.executors[].operator'
    value: Uint8Array
    index: number
  }

  export interface ReceiptExecutorsOutcomeFieldEvent {
    field: '$.executors[].outcome'
    value: string
    index: number
  }

  export interface ReceiptExecutorsDurationMsFieldEvent {
    field: '$.executors[].durationMs'
    value: number
    index: number
  }

  export interface ReceiptExecutorsRootFieldEvent {
    field: '$.executors[].root'
    value: Uint8Array
    index: number
  }

  export interface ReceiptYoungFieldEvent {
    field: '$.young'
    value: boolean
  }

  export interface ReceiptClosedMsFieldEvent {
    field: '$.closedMs'
    value: number
  }

  export interface ReceiptReasonFieldEvent {
    field: '$.reason'
    value: string
  }

  export interface ReceiptViewFieldEvent {
    field: '$.view'
    value: number
  }

  export function encode (obj: Partial<Receipt>): Uint8Array {
    return encodeMessage(obj, Receipt.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Receipt>): Receipt {
    return decodeMessage(buf, Receipt.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Receipt>): Generator<ReceiptPreviousFieldEvent | ReceiptJobIdFieldEvent | ReceiptBatchFieldEvent | ReceiptSlotFieldEvent | ReceiptTaskIdFieldEvent | ReceiptVerdictFieldEvent | ReceiptOutputRootFieldEvent | ReceiptExecutorsPeerFieldEvent | ReceiptExecutorsOperatorFieldEvent | ReceiptExecutorsOutcomeFieldEvent | ReceiptExecutorsDurationMsFieldEvent | ReceiptExecutorsRootFieldEvent | ReceiptYoungFieldEvent | ReceiptClosedMsFieldEvent | ReceiptReasonFieldEvent | ReceiptViewFieldEvent> {
    return streamMessage(buf, Receipt.codec(), opts)
  }
}
