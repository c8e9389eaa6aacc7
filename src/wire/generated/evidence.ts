// @ts-nocheck
import { decodeMessage, encodeMessage, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface Fault {
  first: Uint8Array
  second: Uint8Array
}

export namespace Fault {
  let _codec: Codec<Fault>

  export const codec = (): Codec<Fault> => {
    if (_codec == null) {
      _codec = message<Fault>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.first != null && obj.first.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.first)
        }

        if ((obj.second != null && obj.second.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.second)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          first: uint8ArrayAlloc(0),
          second: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.first = reader.bytes()
              break
            }
            case 2: {
              obj.second = reader.bytes()
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
                field: `${prefix}.first`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.second`,
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

  export interface FaultFirstFieldEvent {
    field: '$.first'
    value: Uint8Array
  }

  export interface FaultSecondFieldEvent {
    field: '$.second'
    value: Uint8Array
  }

  export function encode (obj: Partial<Fault>): Uint8Array {
    return encodeMessage(obj, Fault.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Fault>): Fault {
    return decodeMessage(buf, Fault.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Fault>): Generator<FaultFirstFieldEvent | FaultSecondFieldEvent> {
    return streamMessage(buf, Fault.codec(), opts)
  }
}

export interface Bucket {
  startMs: number
  count: number
  root: Uint8Array
}

export namespace Bucket {
  let _codec: Codec<Bucket>

  export const codec = (): Codec<Bucket> => {
    if (_codec == null) {
      _codec = message<Bucket>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.startMs != null && obj.startMs !== 0)) {
          w.uint32(8)
          w.uint64Number(obj.startMs)
        }

        if ((obj.count != null && obj.count !== 0)) {
          w.uint32(16)
          w.uint32(obj.count)
        }

        if ((obj.root != null && obj.root.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.root)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          startMs: 0,
          count: 0,
          root: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.startMs = reader.uint64Number()
              break
            }
            case 2: {
              obj.count = reader.uint32()
              break
            }
            case 3: {
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
                field: `${prefix}.startMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.count`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
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

  export interface BucketStartMsFieldEvent {
    field: '$.startMs'
    value: number
  }

  export interface BucketCountFieldEvent {
    field: '$.count'
    value: number
  }

  export interface BucketRootFieldEvent {
    field: '$.root'
    value: Uint8Array
  }

  export function encode (obj: Partial<Bucket>): Uint8Array {
    return encodeMessage(obj, Bucket.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Bucket>): Bucket {
    return decodeMessage(buf, Bucket.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Bucket>): Generator<BucketStartMsFieldEvent | BucketCountFieldEvent | BucketRootFieldEvent> {
    return streamMessage(buf, Bucket.codec(), opts)
  }
}

export interface EvidenceRoots {
  buckets: Bucket[]
  faults: number
  faultRoot: Uint8Array
}

export namespace EvidenceRoots {
  let _codec: Codec<EvidenceRoots>

  export const codec = (): Codec<EvidenceRoots> => {
    if (_codec == null) {
      _codec = message<EvidenceRoots>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if (obj.buckets != null && obj.buckets.length > 0) {
          for (const value of obj.buckets) {
            w.uint32(10)
            Bucket.codec().encode(value, w)
          }
        }

        if ((obj.faults != null && obj.faults !== 0)) {
          w.uint32(16)
          w.uint32(obj.faults)
        }

        if ((obj.faultRoot != null && obj.faultRoot.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.faultRoot)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          buckets: [],
          faults: 0,
          faultRoot: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              if (opts.limits?.buckets != null && obj.buckets.length === opts.limits.buckets) {
                throw new MaxLengthError('Decode error - repeated field "buckets" had too many elements')
              }

              obj.buckets.push(Bucket.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.buckets$
              }))
              break
            }
            case 2: {
              obj.faults = reader.uint32()
              break
            }
            case 3: {
              obj.faultRoot = reader.bytes()
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
          buckets: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              if (opts.limits?.buckets != null && obj.buckets === opts.limits.buckets) {
                throw new MaxLengthError('Streaming decode error - repeated field "buckets" had too many elements')
              }

              for (const evt of Bucket.codec().stream(reader, reader.uint32(), `${prefix}.buckets[]`, {
                limits: opts.limits?.buckets$
              })) {
                yield {
                  ...evt,
                  index: obj.buckets
                }
              }

              obj.buckets++

              break
            }
            case 2: {
              yield {
                field: `${prefix}.faults`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.faultRoot`,
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

  export interface EvidenceRootsBucketsStartMsFieldEvent {
    field: '$.buckets[].startMs'
    value: number
    index: number
  }

  export interface EvidenceRootsBucketsCountFieldEvent {
    field: '$.buckets[].count'
    value: number
    index: number
  }

  export interface EvidenceRootsBucketsRootFieldEvent {
    field: '$.buckets[].root'
    value: Uint8Array
    index: number
  }

  export interface EvidenceRootsFaultsFieldEvent {
    field: '$.faults'
    value: number
  }

  export interface EvidenceRootsFaultRootFieldEvent {
    field: '$.faultRoot'
    value: Uint8Array
  }

  export function encode (obj: Partial<EvidenceRoots>): Uint8Array {
    return encodeMessage(obj, EvidenceRoots.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<EvidenceRoots>): EvidenceRoots {
    return decodeMessage(buf, EvidenceRoots.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<EvidenceRoots>): Generator<EvidenceRootsBucketsStartMsFieldEvent | EvidenceRootsBucketsCountFieldEvent | EvidenceRootsBucketsRootFieldEvent | EvidenceRootsFaultsFieldEvent | EvidenceRootsFaultRootFieldEvent> {
    return streamMessage(buf, EvidenceRoots.codec(), opts)
  }
}

export interface BucketQuery {
  startMs: number
}

export namespace BucketQuery {
  let _codec: Codec<BucketQuery>

  export const codec = (): Codec<BucketQuery> => {
    if (_codec == null) {
      _codec = message<BucketQuery>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.startMs != null && obj.startMs !== 0)) {
          w.uint32(8)
          w.uint64Number(obj.startMs)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          startMs: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.startMs = reader.uint64Number()
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
                field: `${prefix}.startMs`,
                value: reader.uint64Number()
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

  export interface BucketQueryStartMsFieldEvent {
    field: '$.startMs'
    value: number
  }

  export function encode (obj: Partial<BucketQuery>): Uint8Array {
    return encodeMessage(obj, BucketQuery.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<BucketQuery>): BucketQuery {
    return decodeMessage(buf, BucketQuery.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<BucketQuery>): Generator<BucketQueryStartMsFieldEvent> {
    return streamMessage(buf, BucketQuery.codec(), opts)
  }
}

export interface ReceiptIds {
  ids: Uint8Array[]
}

export namespace ReceiptIds {
  let _codec: Codec<ReceiptIds>

  export const codec = (): Codec<ReceiptIds> => {
    if (_codec == null) {
      _codec = message<ReceiptIds>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if (obj.ids != null && obj.ids.length > 0) {
          for (const value of obj.ids) {
            w.uint32(10)
            w.bytes(value)
          }
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          ids: []
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              if (opts.limits?.ids != null && obj.ids.length === opts.limits.ids) {
                throw new MaxLengthError('Decode error - repeated field "ids" had too many elements')
              }

              obj.ids.push(reader.bytes())
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
          ids: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              if (opts.limits?.ids != null && obj.ids === opts.limits.ids) {
                throw new MaxLengthError('Streaming decode error - repeated field "ids" had too many elements')
              }

              yield {
                field: `${prefix}.ids[]`,
                index: obj.ids,
                value: reader.bytes()
              }

              obj.ids++

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

  export interface ReceiptIdsIdsFieldEvent {
    field: '$.ids[]'
    index: number
    value: Uint8Array
  }

  export function encode (obj: Partial<ReceiptIds>): Uint8Array {
    return encodeMessage(obj, ReceiptIds.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ReceiptIds>): ReceiptIds {
    return decodeMessage(buf, ReceiptIds.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ReceiptIds>): Generator<ReceiptIdsIdsFieldEvent> {
    return streamMessage(buf, ReceiptIds.codec(), opts)
  }
}

export interface FaultsQuery {
  after: Uint8Array
}

export namespace FaultsQuery {
  let _codec: Codec<FaultsQuery>

  export const codec = (): Codec<FaultsQuery> => {
    if (_codec == null) {
      _codec = message<FaultsQuery>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.after != null && obj.after.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.after)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          after: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.after = reader.bytes()
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
                field: `${prefix}.after`,
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

  export interface FaultsQueryAfterFieldEvent {
    field: '$.after'
    value: Uint8Array
  }

  export function encode (obj: Partial<FaultsQuery>): Uint8Array {
    return encodeMessage(obj, FaultsQuery.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FaultsQuery>): FaultsQuery {
    return decodeMessage(buf, FaultsQuery.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FaultsQuery>): Generator<FaultsQueryAfterFieldEvent> {
    return streamMessage(buf, FaultsQuery.codec(), opts)
  }
}

export interface Faults {
  faults: Fault[]
  last: Uint8Array
}

export namespace Faults {
  let _codec: Codec<Faults>

  export const codec = (): Codec<Faults> => {
    if (_codec == null) {
      _codec = message<Faults>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if (obj.faults != null && obj.faults.length > 0) {
          for (const value of obj.faults) {
            w.uint32(10)
            Fault.codec().encode(value, w)
          }
        }

        if ((obj.last != null && obj.last.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.last)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          faults: [],
          last: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              if (opts.limits?.faults != null && obj.faults.length === opts.limits.faults) {
                throw new MaxLengthError('Decode error - repeated field "faults" had too many elements')
              }

              obj.faults.push(Fault.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.faults$
              }))
              break
            }
            case 2: {
              obj.last = reader.bytes()
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
          faults: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              if (opts.limits?.faults != null && obj.faults === opts.limits.faults) {
                throw new MaxLengthError('Streaming decode error - repeated field "faults" had too many elements')
              }

              for (const evt of Fault.codec().stream(reader, reader.uint32(), `${prefix}.faults[]`, {
                limits: opts.limits?.faults$
              })) {
                yield {
                  ...evt,
                  index: obj.faults
                }
              }

              obj.faults++

              break
            }
            case 2: {
              yield {
                field: `${prefix}.last`,
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

  export interface FaultsFaultsFirstFieldEvent {
    field: '$.faults[].first'
    value: Uint8Array
    index: number
  }

  export interface FaultsFaultsSecondFieldEvent {
    field: '$.faults[].second'
    value: Uint8Array
    index: number
  }

  export interface FaultsLastFieldEvent {
    field: '$.last'
    value: Uint8Array
  }

  export function encode (obj: Partial<Faults>): Uint8Array {
    return encodeMessage(obj, Faults.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Faults>): Faults {
    return decodeMessage(buf, Faults.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Faults>): Generator<FaultsFaultsFirstFieldEvent | FaultsFaultsSecondFieldEvent | FaultsLastFieldEvent> {
    return streamMessage(buf, Faults.codec(), opts)
  }
}

export interface EvidenceSet {
  root: Uint8Array
  receipts: number
  faults: number
}

export namespace EvidenceSet {
  let _codec: Codec<EvidenceSet>

  export const codec = (): Codec<EvidenceSet> => {
    if (_codec == null) {
      _codec = message<EvidenceSet>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.root != null && obj.root.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.root)
        }

        if ((obj.receipts != null && obj.receipts !== 0)) {
          w.uint32(16)
          w.uint32(obj.receipts)
        }

        if ((obj.faults != null && obj.faults !== 0)) {
          w.uint32(24)
          w.uint32(obj.faults)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          root: uint8ArrayAlloc(0),
          receipts: 0,
          faults: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.root = reader.bytes()
              break
            }
            case 2: {
              obj.receipts = reader.uint32()
              break
            }
            case 3: {
              obj.faults = reader.uint32()
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
                field: `${prefix}.root`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.receipts`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.faults`,
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

  export interface EvidenceSetRootFieldEvent {
    field: '$.root'
    value: Uint8Array
  }

  export interface EvidenceSetReceiptsFieldEvent {
    field: '$.receipts'
    value: number
  }

  export interface EvidenceSetFaultsFieldEvent {
    field: '$.faults'
    value: number
  }

  export function encode (obj: Partial<EvidenceSet>): Uint8Array {
    return encodeMessage(obj, EvidenceSet.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<EvidenceSet>): EvidenceSet {
    return decodeMessage(buf, EvidenceSet.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<EvidenceSet>): Generator<EvidenceSetRootFieldEvent | EvidenceSetReceiptsFieldEvent | EvidenceSetFaultsFieldEvent> {
    return streamMessage(buf, EvidenceSet.codec(), opts)
  }
}

export interface Evidence {
  version: number
  network: string
  sets: EvidenceSet[]
  receipts: Uint8Array[]
  faults: Fault[]
  envelopes: Uint8Array[]
}

export namespace Evidence {
  let _codec: Codec<Evidence>

  export const codec = (): Codec<Evidence> => {
    if (_codec == null) {
      _codec = message<Evidence>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.version != null && obj.version !== 0)) {
          w.uint32(8)
          w.uint32(obj.version)
        }

        if ((obj.network != null && obj.network !== '')) {
          w.uint32(18)
          w.string(obj.network)
        }

        if (obj.sets != null && obj.sets.length > 0) {
          for (const value of obj.sets) {
            w.uint32(26)
            EvidenceSet.codec().encode(value, w)
          }
        }

        if (obj.receipts != null && obj.receipts.length > 0) {
          for (const value of obj.receipts) {
            w.uint32(34)
            w.bytes(value)
          }
        }

        if (obj.faults != null && obj.faults.length > 0) {
          for (const value of obj.faults) {
            w.uint32(42)
            Fault.codec().encode(value, w)
          }
        }

        if (obj.envelopes != null && obj.envelopes.length > 0) {
          for (const value of obj.envelopes) {
            w.uint32(50)
            w.bytes(value)
          }
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          version: 0,
          network: '',
          sets: [],
          receipts: [],
          faults: [],
          envelopes: []
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.version = reader.uint32()
              break
            }
            case 2: {
              obj.network = reader.string()
              break
            }
            case 3: {
              if (opts.limits?.sets != null && obj.sets.length === opts.limits.sets) {
                throw new MaxLengthError('Decode error - repeated field "sets" had too many elements')
              }

              obj.sets.push(EvidenceSet.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.sets$
              }))
              break
            }
            case 4: {
              if (opts.limits?.receipts != null && obj.receipts.length === opts.limits.receipts) {
                throw new MaxLengthError('Decode error - repeated field "receipts" had too many elements')
              }

              obj.receipts.push(reader.bytes())
              break
            }
            case 5: {
              if (opts.limits?.faults != null && obj.faults.length === opts.limits.faults) {
                throw new MaxLengthError('Decode error - repeated field "faults" had too many elements')
              }

              obj.faults.push(Fault.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.faults$
              }))
              break
            }
            case 6: {
              if (opts.limits?.envelopes != null && obj.envelopes.length === opts.limits.envelopes) {
                throw new MaxLengthError('Decode error - repeated field "envelopes" had too many elements')
              }

              obj.envelopes.push(reader.bytes())
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
          sets: 0,
          receipts: 0,
          faults: 0,
          envelopes: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.version`,
                value: reader.uint32()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.network`,
                value: reader.string()
              }
              break
            }
            case 3: {
              if (opts.limits?.sets != null && obj.sets === opts.limits.sets) {
                throw new MaxLengthError('Streaming decode error - repeated field "sets" had too many elements')
              }

              for (const evt of EvidenceSet.codec().stream(reader, reader.uint32(), `${prefix}.sets[]`, {
                limits: opts.limits?.sets$
              })) {
                yield {
                  ...evt,
                  index: obj.sets
                }
              }

              obj.sets++

              break
            }
            case 4: {
              if (opts.limits?.receipts != null && obj.receipts === opts.limits.receipts) {
                throw new MaxLengthError('Streaming decode error - repeated field "receipts" had too many elements')
              }

              yield {
                field: `${prefix}.receipts[]`,
                index: obj.receipts,
                value: reader.bytes()
              }

              obj.receipts++

              break
            }
            case 5: {
              if (opts.limits?.faults != null && obj.faults === opts.limits.faults) {
                throw new MaxLengthError('Streaming decode error - repeated field "faults" had too many elements')
              }

              for (const evt of Fault.codec().stream(reader, reader.uint32(), `${prefix}.faults[]`, {
                limits: opts.limits?.faults$
              })) {
                yield {
                  ...evt,
                  index: obj.faults
                }
              }

              obj.faults++

              break
            }
            case 6: {
              if (opts.limits?.envelopes != null && obj.envelopes === opts.limits.envelopes) {
                throw new MaxLengthError('Streaming decode error - repeated field "envelopes" had too many elements')
              }

              yield {
                field: `${prefix}.envelopes[]`,
                index: obj.envelopes,
                value: reader.bytes()
              }

              obj.envelopes++

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

  export interface EvidenceVersionFieldEvent {
    field: '$.version'
    value: number
  }

  export interface EvidenceNetworkFieldEvent {
    field: '$.network'
    value: string
  }

  export interface EvidenceSetsRootFieldEvent {
    field: '$.sets[].root'
    value: Uint8Array
    index: number
  }

  export interface EvidenceSetsReceiptsFieldEvent {
    field: '$.sets[].receipts'
    value: number
    index: number
  }

  export interface EvidenceSetsFaultsFieldEvent {
    field: '$.sets[].faults'
    value: number
    index: number
  }

  export interface EvidenceReceiptsFieldEvent {
    field: '$.receipts[]'
    index: number
    value: Uint8Array
  }

  export interface EvidenceFaultsFirstFieldEvent {
    field: '$.faults[].first'
    value: Uint8Array
    index: number
  }

  export interface EvidenceFaultsSecondFieldEvent {
    field: '$.faults[].second'
    value: Uint8Array
    index: number
  }

  export interface EvidenceEnvelopesFieldEvent {
    field: '$.envelopes[]'
    index: number
    value: Uint8Array
  }

  export function encode (obj: Partial<Evidence>): Uint8Array {
    return encodeMessage(obj, Evidence.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Evidence>): Evidence {
    return decodeMessage(buf, Evidence.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Evidence>): Generator<EvidenceVersionFieldEvent | EvidenceNetworkFieldEvent | EvidenceSetsRootFieldEvent | EvidenceSetsReceiptsFieldEvent | EvidenceSetsFaultsFieldEvent | EvidenceReceiptsFieldEvent | EvidenceFaultsFirstFieldEvent | EvidenceFaultsSecondFieldEvent | EvidenceEnvelopesFieldEvent> {
    return streamMessage(buf, Evidence.codec(), opts)
  }
}
