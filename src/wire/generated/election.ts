// @ts-nocheck
import { decodeMessage, encodeMessage, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface Requirements {
  memoryMib: number
  diskMib: number
  gpus: number
  vramMib: number
  isolation: string
}

export namespace Requirements {
  let _codec: Codec<Requirements>

  export const codec = (): Codec<Requirements> => {
    if (_codec == null) {
      _codec = message<Requirements>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.memoryMib != null && obj.memoryMib !== 0)) {
          w.uint32(8)
          w.uint32(obj.memoryMib)
        }

        if ((obj.diskMib != null && obj.diskMib !== 0)) {
          w.uint32(16)
          w.uint32(obj.diskMib)
        }

        if ((obj.gpus != null && obj.gpus !== 0)) {
          w.uint32(24)
          w.uint32(obj.gpus)
        }

        if ((obj.vramMib != null && obj.vramMib !== 0)) {
          w.uint32(32)
          w.uint32(obj.vramMib)
        }

        if ((obj.isolation != null && obj.isolation !== '')) {
          w.uint32(42)
          w.string(obj.isolation)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          memoryMib: 0,
          diskMib: 0,
          gpus: 0,
          vramMib: 0,
          isolation: ''
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.memoryMib = reader.uint32()
              break
            }
            case 2: {
              obj.diskMib = reader.uint32()
              break
            }
            case 3: {
              obj.gpus = reader.uint32()
              break
            }
            case 4: {
              obj.vramMib = reader.uint32()
              break
            }
            case 5: {
              obj.isolation = reader.string()
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
                field: `${prefix}.memoryMib`,
                value: reader.uint32()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.diskMib`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.gpus`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.vramMib`,
                value: reader.uint32()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.isolation`,
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

  export interface RequirementsMemoryMibFieldEvent {
    field: '$.memoryMib'
    value: number
  }

  export interface RequirementsDiskMibFieldEvent {
    field: '$.diskMib'
    value: number
  }

  export interface RequirementsGpusFieldEvent {
    field: '$.gpus'
    value: number
  }

  export interface RequirementsVramMibFieldEvent {
    field: '$.vramMib'
    value: number
  }

  export interface RequirementsIsolationFieldEvent {
    field: '$.isolation'
    value: string
  }

  export function encode (obj: Partial<Requirements>): Uint8Array {
    return encodeMessage(obj, Requirements.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Requirements>): Requirements {
    return decodeMessage(buf, Requirements.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Requirements>): Generator<RequirementsMemoryMibFieldEvent | RequirementsDiskMibFieldEvent | RequirementsGpusFieldEvent | RequirementsVramMibFieldEvent | RequirementsIsolationFieldEvent> {
    return streamMessage(buf, Requirements.codec(), opts)
  }
}

export interface Offer {
  jobId: Uint8Array
  batch: number
  attempt: number
  slots: number
  replicas: number
  requirements?: Requirements
  bidWindowMs: number
  openWindowMs: number
  auditPpm: number
  stewards: Uint8Array[]
  diversity: string
  stewardVrfKeys: Uint8Array[]
  epoch: number
  beacon: Uint8Array
  small: boolean
}

export namespace Offer {
  let _codec: Codec<Offer>

  export const codec = (): Codec<Offer> => {
    if (_codec == null) {
      _codec = message<Offer>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.jobId != null && obj.jobId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.jobId)
        }

        if ((obj.batch != null && obj.batch !== 0)) {
          w.uint32(16)
          w.uint32(obj.batch)
        }

        if ((obj.attempt != null && obj.attempt !== 0)) {
          w.uint32(24)
          w.uint32(obj.attempt)
        }

        if ((obj.slots != null && obj.slots !== 0)) {
          w.uint32(32)
          w.uint32(obj.slots)
        }

        if ((obj.replicas != null && obj.replicas !== 0)) {
          w.uint32(40)
          w.uint32(obj.replicas)
        }

        if (obj.requirements != null) {
          w.uint32(50)
          Requirements.codec().encode(obj.requirements, w)
        }

        if ((obj.bidWindowMs != null && obj.bidWindowMs !== 0)) {
          w.uint32(56)
          w.uint32(obj.bidWindowMs)
        }

        if ((obj.openWindowMs != null && obj.openWindowMs !== 0)) {
          w.uint32(64)
          w.uint32(obj.openWindowMs)
        }

        if ((obj.auditPpm != null && obj.auditPpm !== 0)) {
          w.uint32(72)
          w.uint32(obj.auditPpm)
        }

        if (obj.stewards != null && obj.stewards.length > 0) {
          for (const value of obj.stewards) {
            w.uint32(82)
            w.bytes(value)
          }
        }

        if ((obj.diversity != null && obj.diversity !== '')) {
          w.uint32(90)
          w.string(obj.diversity)
        }

        if (obj.stewardVrfKeys != null && obj.stewardVrfKeys.length > 0) {
          for (const value of obj.stewardVrfKeys) {
            w.uint32(98)
            w.bytes(value)
          }
        }

        if ((obj.epoch != null && obj.epoch !== 0)) {
          w.uint32(104)
          w.uint64Number(obj.epoch)
        }

        if ((obj.beacon != null && obj.beacon.byteLength > 0)) {
          w.uint32(114)
          w.bytes(obj.beacon)
        }

        if ((obj.small != null && obj.small !== false)) {
          w.uint32(120)
          w.bool(obj.small)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          jobId: uint8ArrayAlloc(0),
          batch: 0,
          attempt: 0,
          slots: 0,
          replicas: 0,
          bidWindowMs: 0,
          openWindowMs: 0,
          auditPpm: 0,
          stewards: [],
          diversity: '',
          stewardVrfKeys: [],
          epoch: 0,
          beacon: uint8ArrayAlloc(0),
          small: false
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.jobId = reader.bytes()
              break
            }
            case 2: {
              obj.batch = reader.uint32()
              break
            }
            case 3: {
              obj.attempt = reader.uint32()
              break
            }
            case 4: {
              obj.slots = reader.uint32()
              break
            }
            case 5: {
              obj.replicas = reader.uint32()
              break
            }
            case 6: {
              obj.requirements = Requirements.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.requirements
              })
              break
            }
            case 7: {
              obj.bidWindowMs = reader.uint32()
              break
            }
            case 8: {
              obj.openWindowMs = reader.uint32()
              break
            }
            case 9: {
              obj.auditPpm = reader.uint32()
              break
            }
            case 10: {
              if (opts.limits?.stewards != null && obj.stewards.length === opts.limits.stewards) {
                throw new MaxLengthError('Decode error - repeated field "stewards" had too many elements')
              }

              obj.stewards.push(reader.bytes())
              break
            }
            case 11: {
              obj.diversity = reader.string()
              break
            }
            case 12: {
              if (opts.limits?.stewardVrfKeys != null && obj.stewardVrfKeys.length === opts.limits.stewardVrfKeys) {
                throw new MaxLengthError('Decode error - repeated field "stewardVrfKeys" had too many elements')
              }

              obj.stewardVrfKeys.push(reader.bytes())
              break
            }
            case 13: {
              obj.epoch = reader.uint64Number()
              break
            }
            case 14: {
              obj.beacon = reader.bytes()
              break
            }
            case 15: {
              obj.small = reader.bool()
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
          stewards: 0,
          stewardVrfKeys: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.jobId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.batch`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.attempt`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.slots`,
                value: reader.uint32()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.replicas`,
                value: reader.uint32()
              }
              break
            }
            case 6: {
              yield * Requirements.codec().stream(reader, reader.uint32(), `${prefix}.requirements`, {
                limits: opts.limits?.requirements
              })

              break
            }
            case 7: {
              yield {
                field: `${prefix}.bidWindowMs`,
                value: reader.uint32()
              }
              break
            }
            case 8: {
              yield {
                field: `${prefix}.openWindowMs`,
                value: reader.uint32()
              }
              break
            }
            case 9: {
              yield {
                field: `${prefix}.auditPpm`,
                value: reader.uint32()
              }
              break
            }
            case 10: {
              if (opts.limits?.stewards != null && obj.stewards === opts.limits.stewards) {
                throw new MaxLengthError('Streaming decode error - repeated field "stewards" had too many elements')
              }

              yield {
                field: `${prefix}.stewards[]`,
                index: obj.stewards,
                value: reader.bytes()
              }

              obj.stewards++

              break
            }
            case 11: {
              yield {
                field: `${prefix}.diversity`,
                value: reader.string()
              }
              break
            }
            case 12: {
              if (opts.limits?.stewardVrfKeys != null && obj.stewardVrfKeys === opts.limits.stewardVrfKeys) {
                throw new MaxLengthError('Streaming decode error - repeated field "stewardVrfKeys" had too many elements')
              }

              yield {
                field: `${prefix}.stewardVrfKeys[]`,
                index: obj.stewardVrfKeys,
                value: reader.bytes()
              }

              obj.stewardVrfKeys++

              break
            }
            case 13: {
              yield {
                field: `${prefix}.epoch`,
                value: reader.uint64Number()
              }
              break
            }
            case 14: {
              yield {
                field: `${prefix}.beacon`,
                value: reader.bytes()
              }
              break
            }
            case 15: {
              yield {
                field: `${prefix}.small`,
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

  export interface OfferJobIdFieldEvent {
    field: '$.jobId'
    value: Uint8Array
  }

  export interface OfferBatchFieldEvent {
    field: '$.batch'
    value: number
  }

  export interface OfferAttemptFieldEvent {
    field: '$.attempt'
    value: number
  }

  export interface OfferSlotsFieldEvent {
    field: '$.slots'
    value: number
  }

  export interface OfferReplicasFieldEvent {
    field: '$.replicas'
    value: number
  }

  export interface OfferRequirementsMemoryMibFieldEvent {
    field: '$.requirements.memoryMib'
    value: number
  }

  export interface OfferRequirementsDiskMibFieldEvent {
    field: '$.requirements.diskMib'
    value: number
  }

  export interface OfferRequirementsGpusFieldEvent {
    field: '$.requirements.gpus'
    value: number
  }

  export interface OfferRequirementsVramMibFieldEvent {
    field: '$.requirements.vramMib'
    value: number
  }

  export interface OfferRequirementsIsolationFieldEvent {
    field: '$.requirements.isolation'
    value: string
  }

  export interface OfferBidWindowMsFieldEvent {
    field: '$.bidWindowMs'
    value: number
  }

  export interface OfferOpenWindowMsFieldEvent {
    field: '$.openWindowMs'
    value: number
  }

  export interface OfferAuditPpmFieldEvent {
    field: '$.auditPpm'
    value: number
  }

  export interface OfferStewardsFieldEvent {
    field: '$.stewards[]'
    index: number
    value: Uint8Array
  }

  export interface OfferDiversityFieldEvent {
    field: '$.diversity'
    value: string
  }

  export interface OfferStewardVrfKeysFieldEvent {
    field: '$.stewardVrfKeys[]'
    index: number
    value: Uint8Array
  }

  export interface OfferEpochFieldEvent {
    field: '$.epoch'
    value: number
  }

  export interface OfferBeaconFieldEvent {
    field: '$.beacon'
    value: Uint8Array
  }

  export interface OfferSmallFieldEvent {
    field: '$.small'
    value: boolean
  }

  export function encode (obj: Partial<Offer>): Uint8Array {
    return encodeMessage(obj, Offer.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Offer>): Offer {
    return decodeMessage(buf, Offer.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Offer>): Generator<OfferJobIdFieldEvent | OfferBatchFieldEvent | OfferAttemptFieldEvent | OfferSlotsFieldEvent | OfferReplicasFieldEvent | OfferRequirementsMemoryMibFieldEvent | OfferRequirementsDiskMibFieldEvent | OfferRequirementsGpusFieldEvent | OfferRequirementsVramMibFieldEvent | OfferRequirementsIsolationFieldEvent | OfferBidWindowMsFieldEvent | OfferOpenWindowMsFieldEvent | OfferAuditPpmFieldEvent | OfferStewardsFieldEvent | OfferDiversityFieldEvent | OfferStewardVrfKeysFieldEvent | OfferEpochFieldEvent | OfferBeaconFieldEvent | OfferSmallFieldEvent> {
    return streamMessage(buf, Offer.codec(), opts)
  }
}

export interface Bid {
  offer: Uint8Array
  capacity: number
  vrfKey: Uint8Array
  operator: Uint8Array
  hardwareClass: string
  flopsMega: number
}

export namespace Bid {
  let _codec: Codec<Bid>

  export const codec = (): Codec<Bid> => {
    if (_codec == null) {
      _codec = message<Bid>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.offer != null && obj.offer.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.offer)
        }

        if ((obj.capacity != null && obj.capacity !== 0)) {
          w.uint32(16)
          w.uint32(obj.capacity)
        }

        if ((obj.vrfKey != null && obj.vrfKey.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.vrfKey)
        }

        if ((obj.operator != null && obj.operator.byteLength > 0)) {
          w.uint32(34)
          w.bytes(obj.operator)
        }

        if ((obj.hardwareClass != null && obj.hardwareClass !== '')) {
          w.uint32(42)
          w.string(obj.hardwareClass)
        }

        if ((obj.flopsMega != null && obj.flopsMega !== 0)) {
          w.uint32(48)
          w.uint64Number(obj.flopsMega)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          offer: uint8ArrayAlloc(0),
          capacity: 0,
          vrfKey: uint8ArrayAlloc(0),
          operator: uint8ArrayAlloc(0),
          hardwareClass: '',
          flopsMega: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.offer = reader.bytes()
              break
            }
            case 2: {
              obj.capacity = reader.uint32()
              break
            }
            case 3: {
              obj.vrfKey = reader.bytes()
              break
            }
            case 4: {
              obj.operator = reader.bytes()
              break
            }
            case 5: {
              obj.hardwareClass = reader.string()
              break
            }
            case 6: {
              obj.flopsMega = reader.uint64Number()
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
                field: `${prefix}.offer`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.capacity`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.vrfKey`,
                value: reader.bytes()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.operator`,
                value: reader.bytes()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.hardwareClass`,
                value: reader.string()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.flopsMega`,
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

  export interface BidOfferFieldEvent {
    field: '$.offer'
    value: Uint8Array
  }

  export interface BidCapacityFieldEvent {
    field: '$.capacity'
    value: number
  }

  export interface BidVrfKeyFieldEvent {
    field: '$.vrfKey'
    value: Uint8Array
  }

  export interface BidOperatorFieldEvent {
    field: '$.operator'
    value: Uint8Array
  }

  export interface BidHardwareClassFieldEvent {
    field: '$.hardwareClass'
    value: string
  }

  export interface BidFlopsMegaFieldEvent {
    field: '$.flopsMega'
    value: number
  }

  export function encode (obj: Partial<Bid>): Uint8Array {
    return encodeMessage(obj, Bid.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Bid>): Bid {
    return decodeMessage(buf, Bid.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Bid>): Generator<BidOfferFieldEvent | BidCapacityFieldEvent | BidVrfKeyFieldEvent | BidOperatorFieldEvent | BidHardwareClassFieldEvent | BidFlopsMegaFieldEvent> {
    return streamMessage(buf, Bid.codec(), opts)
  }
}

export interface Decline {
  offer: Uint8Array
  code: string
  reason: string
}

export namespace Decline {
  let _codec: Codec<Decline>

  export const codec = (): Codec<Decline> => {
    if (_codec == null) {
      _codec = message<Decline>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.offer != null && obj.offer.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.offer)
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
          offer: uint8ArrayAlloc(0),
          code: '',
          reason: ''
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.offer = reader.bytes()
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
                field: `${prefix}.offer`,
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

  export interface DeclineOfferFieldEvent {
    field: '$.offer'
    value: Uint8Array
  }

  export interface DeclineCodeFieldEvent {
    field: '$.code'
    value: string
  }

  export interface DeclineReasonFieldEvent {
    field: '$.reason'
    value: string
  }

  export function encode (obj: Partial<Decline>): Uint8Array {
    return encodeMessage(obj, Decline.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Decline>): Decline {
    return decodeMessage(buf, Decline.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Decline>): Generator<DeclineOfferFieldEvent | DeclineCodeFieldEvent | DeclineReasonFieldEvent> {
    return streamMessage(buf, Decline.codec(), opts)
  }
}

export interface Standing {
  reliabilityPpm: number
  availabilityPpm: number
  speedPpm: number
  established: boolean
  excluded: boolean
  addressPrefix: string
}

export namespace Standing {
  let _codec: Codec<Standing>

  export const codec = (): Codec<Standing> => {
    if (_codec == null) {
      _codec = message<Standing>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.reliabilityPpm != null && obj.reliabilityPpm !== 0)) {
          w.uint32(8)
          w.uint32(obj.reliabilityPpm)
        }

        if ((obj.availabilityPpm != null && obj.availabilityPpm !== 0)) {
          w.uint32(16)
          w.uint32(obj.availabilityPpm)
        }

        if ((obj.speedPpm != null && obj.speedPpm !== 0)) {
          w.uint32(24)
          w.uint32(obj.speedPpm)
        }

        if ((obj.established != null && obj.established !== false)) {
          w.uint32(32)
          w.bool(obj.established)
        }

        if ((obj.excluded != null && obj.excluded !== false)) {
          w.uint32(40)
          w.bool(obj.excluded)
        }

        if ((obj.addressPrefix != null && obj.addressPrefix !== '')) {
          w.uint32(50)
          w.string(obj.addressPrefix)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          reliabilityPpm: 0,
          availabilityPpm: 0,
          speedPpm: 0,
          established: false,
          excluded: false,
          addressPrefix: ''
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.reliabilityPpm = reader.uint32()
              break
            }
            case 2: {
              obj.availabilityPpm = reader.uint32()
              break
            }
            case 3: {
              obj.speedPpm = reader.uint32()
              break
            }
            case 4: {
              obj.established = reader.bool()
              break
            }
            case 5: {
              obj.excluded = reader.bool()
              break
            }
            case 6: {
              obj.addressPrefix = reader.string()
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
                field: `${prefix}.reliabilityPpm`,
                value: reader.uint32()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.availabilityPpm`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.speedPpm`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.established`,
                value: reader.bool()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.excluded`,
                value: reader.bool()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.addressPrefix`,
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

  export interface StandingReliabilityPpmFieldEvent {
    field: '$.reliabilityPpm'
    value: number
  }

  export interface StandingAvailabilityPpmFieldEvent {
    field: '$.availabilityPpm'
    value: number
  }

  export interface StandingSpeedPpmFieldEvent {
    field: '$.speedPpm'
    value: number
  }

  export interface StandingEstablishedFieldEvent {
    field: '$.established'
    value: boolean
  }

  export interface StandingExcludedFieldEvent {
    field: '$.excluded'
    value: boolean
  }

  export interface StandingAddressPrefixFieldEvent {
    field: '$.addressPrefix'
    value: string
  }

  export function encode (obj: Partial<Standing>): Uint8Array {
    return encodeMessage(obj, Standing.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Standing>): Standing {
    return decodeMessage(buf, Standing.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Standing>): Generator<StandingReliabilityPpmFieldEvent | StandingAvailabilityPpmFieldEvent | StandingSpeedPpmFieldEvent | StandingEstablishedFieldEvent | StandingExcludedFieldEvent | StandingAddressPrefixFieldEvent> {
    return streamMessage(buf, Standing.codec(), opts)
  }
}

export interface FreezeBids {
  offer: Uint8Array
  bids: Uint8Array[]
  standings: Standing[]
  receiptRoot: Uint8Array
  frozenMs: number
  view: number
}

export namespace FreezeBids {
  let _codec: Codec<FreezeBids>

  export const codec = (): Codec<FreezeBids> => {
    if (_codec == null) {
      _codec = message<FreezeBids>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.offer != null && obj.offer.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.offer)
        }

        if (obj.bids != null && obj.bids.length > 0) {
          for (const value of obj.bids) {
            w.uint32(18)
            w.bytes(value)
          }
        }

        if (obj.standings != null && obj.standings.length > 0) {
          for (const value of obj.standings) {
            w.uint32(26)
            Standing.codec().encode(value, w)
          }
        }

        if ((obj.receiptRoot != null && obj.receiptRoot.byteLength > 0)) {
          w.uint32(34)
          w.bytes(obj.receiptRoot)
        }

        if ((obj.frozenMs != null && obj.frozenMs !== 0)) {
          w.uint32(40)
          w.uint64Number(obj.frozenMs)
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(48)
          w.uint32(obj.view)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          offer: uint8ArrayAlloc(0),
          bids: [],
          standings: [],
          receiptRoot: uint8ArrayAlloc(0),
          frozenMs: 0,
          view: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.offer = reader.bytes()
              break
            }
            case 2: {
              if (opts.limits?.bids != null && obj.bids.length === opts.limits.bids) {
                throw new MaxLengthError('Decode error - repeated field "bids" had too many elements')
              }

              obj.bids.push(reader.bytes())
              break
            }
            case 3: {
              if (opts.limits?.standings != null && obj.standings.length === opts.limits.standings) {
                throw new MaxLengthError('Decode error - repeated field "standings" had too many elements')
              }

              obj.standings.push(Standing.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.standings$
              }))
              break
            }
            case 4: {
              obj.receiptRoot = reader.bytes()
              break
            }
            case 5: {
              obj.frozenMs = reader.uint64Number()
              break
            }
            case 6: {
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
          bids: 0,
          standings: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.offer`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              if (opts.limits?.bids != null && obj.bids === opts.limits.bids) {
                throw new MaxLengthError('Streaming decode error - repeated field "bids" had too many elements')
              }

              yield {
                field: `${prefix}.bids[]`,
                index: obj.bids,
                value: reader.bytes()
              }

              obj.bids++

              break
            }
            case 3: {
              if (opts.limits?.standings != null && obj.standings === opts.limits.standings) {
                throw new MaxLengthError('Streaming decode error - repeated field "standings" had too many elements')
              }

              for (const evt of Standing.codec().stream(reader, reader.uint32(), `${prefix}.standings[]`, {
                limits: opts.limits?.standings$
              })) {
                yield {
                  ...evt,
                  index: obj.standings
                }
              }

              obj.standings++

              break
            }
            case 4: {
              yield {
                field: `${prefix}.receiptRoot`,
                value: reader.bytes()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.frozenMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 6: {
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

  export interface FreezeBidsOfferFieldEvent {
    field: '$.offer'
    value: Uint8Array
  }

  export interface FreezeBidsBidsFieldEvent {
    field: '$.bids[]'
    index: number
    value: Uint8Array
  }

  export interface FreezeBidsStandingsReliabilityPpmFieldEvent {
    field: '$.standings[].reliabilityPpm'
    value: number
    index: number
  }

  export interface FreezeBidsStandingsAvailabilityPpmFieldEvent {
    field: '$.standings[].availabilityPpm'
    value: number
    index: number
  }

  export interface FreezeBidsStandingsSpeedPpmFieldEvent {
    field: '$.standings[].speedPpm'
    value: number
    index: number
  }

  export interface FreezeBidsStandingsEstablishedFieldEvent {
    field: '$.standings[].established'
    value: boolean
    index: number
  }

  export interface FreezeBidsStandingsExcludedFieldEvent {
    field: '$.standings[].excluded'
    value: boolean
    index: number
  }

  export interface FreezeBidsStandingsAddressPrefixFieldEvent {
    field: '$.standings[].addressPrefix'
    value: string
    index: number
  }

  export interface FreezeBidsReceiptRootFieldEvent {
    field: '$.receiptRoot'
    value: Uint8Array
  }

  export interface FreezeBidsFrozenMsFieldEvent {
    field: '$.frozenMs'
    value: number
  }

  export interface FreezeBidsViewFieldEvent {
    field: '$.view'
    value: number
  }

  export function encode (obj: Partial<FreezeBids>): Uint8Array {
    return encodeMessage(obj, FreezeBids.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeBids>): FreezeBids {
    return decodeMessage(buf, FreezeBids.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeBids>): Generator<FreezeBidsOfferFieldEvent | FreezeBidsBidsFieldEvent | FreezeBidsStandingsReliabilityPpmFieldEvent | FreezeBidsStandingsAvailabilityPpmFieldEvent | FreezeBidsStandingsSpeedPpmFieldEvent | FreezeBidsStandingsEstablishedFieldEvent | FreezeBidsStandingsExcludedFieldEvent | FreezeBidsStandingsAddressPrefixFieldEvent | FreezeBidsReceiptRootFieldEvent | FreezeBidsFrozenMsFieldEvent | FreezeBidsViewFieldEvent> {
    return streamMessage(buf, FreezeBids.codec(), opts)
  }
}

export interface VrfOpen {
  frozenBids: Uint8Array
  proof: Uint8Array
}

export namespace VrfOpen {
  let _codec: Codec<VrfOpen>

  export const codec = (): Codec<VrfOpen> => {
    if (_codec == null) {
      _codec = message<VrfOpen>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.frozenBids != null && obj.frozenBids.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.frozenBids)
        }

        if ((obj.proof != null && obj.proof.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.proof)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          frozenBids: uint8ArrayAlloc(0),
          proof: uint8ArrayAlloc(0)
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.frozenBids = reader.bytes()
              break
            }
            case 2: {
              obj.proof = reader.bytes()
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
                field: `${prefix}.frozenBids`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.proof`,
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

  export interface VrfOpenFrozenBidsFieldEvent {
    field: '$.frozenBids'
    value: Uint8Array
  }

  export interface VrfOpenProofFieldEvent {
    field: '$.proof'
    value: Uint8Array
  }

  export function encode (obj: Partial<VrfOpen>): Uint8Array {
    return encodeMessage(obj, VrfOpen.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<VrfOpen>): VrfOpen {
    return decodeMessage(buf, VrfOpen.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<VrfOpen>): Generator<VrfOpenFrozenBidsFieldEvent | VrfOpenProofFieldEvent> {
    return streamMessage(buf, VrfOpen.codec(), opts)
  }
}

export interface FreezeOpenings {
  frozenBids: Uint8Array
  openings: Uint8Array[]
  view: number
}

export namespace FreezeOpenings {
  let _codec: Codec<FreezeOpenings>

  export const codec = (): Codec<FreezeOpenings> => {
    if (_codec == null) {
      _codec = message<FreezeOpenings>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.frozenBids != null && obj.frozenBids.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.frozenBids)
        }

        if (obj.openings != null && obj.openings.length > 0) {
          for (const value of obj.openings) {
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
          frozenBids: uint8ArrayAlloc(0),
          openings: [],
          view: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.frozenBids = reader.bytes()
              break
            }
            case 2: {
              if (opts.limits?.openings != null && obj.openings.length === opts.limits.openings) {
                throw new MaxLengthError('Decode error - repeated field "openings" had too many elements')
              }

              obj.openings.push(reader.bytes())
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
          openings: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.frozenBids`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              if (opts.limits?.openings != null && obj.openings === opts.limits.openings) {
                throw new MaxLengthError('Streaming decode error - repeated field "openings" had too many elements')
              }

              yield {
                field: `${prefix}.openings[]`,
                index: obj.openings,
                value: reader.bytes()
              }

              obj.openings++

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

  export interface FreezeOpeningsFrozenBidsFieldEvent {
    field: '$.frozenBids'
    value: Uint8Array
  }

  export interface FreezeOpeningsOpeningsFieldEvent {
    field: '$.openings[]'
    index: number
    value: Uint8Array
  }

  export interface FreezeOpeningsViewFieldEvent {
    field: '$.view'
    value: number
  }

  export function encode (obj: Partial<FreezeOpenings>): Uint8Array {
    return encodeMessage(obj, FreezeOpenings.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeOpenings>): FreezeOpenings {
    return decodeMessage(buf, FreezeOpenings.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<FreezeOpenings>): Generator<FreezeOpeningsFrozenBidsFieldEvent | FreezeOpeningsOpeningsFieldEvent | FreezeOpeningsViewFieldEvent> {
    return streamMessage(buf, FreezeOpenings.codec(), opts)
  }
}

export interface Acknowledgement {
  offer: Uint8Array
  message: Uint8Array
  receivedMs: number
  kind: number
  author: Uint8Array
  stage: Uint8Array
  attempt: number
  view: number
}

export namespace Acknowledgement {
  let _codec: Codec<Acknowledgement>

  export const codec = (): Codec<Acknowledgement> => {
    if (_codec == null) {
      _codec = message<Acknowledgement>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.offer != null && obj.offer.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.offer)
        }

        if ((obj.message != null && obj.message.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.message)
        }

        if ((obj.receivedMs != null && obj.receivedMs !== 0)) {
          w.uint32(24)
          w.uint64Number(obj.receivedMs)
        }

        if ((obj.kind != null && obj.kind !== 0)) {
          w.uint32(32)
          w.uint32(obj.kind)
        }

        if ((obj.author != null && obj.author.byteLength > 0)) {
          w.uint32(42)
          w.bytes(obj.author)
        }

        if ((obj.stage != null && obj.stage.byteLength > 0)) {
          w.uint32(50)
          w.bytes(obj.stage)
        }

        if ((obj.attempt != null && obj.attempt !== 0)) {
          w.uint32(56)
          w.uint32(obj.attempt)
        }

        if ((obj.view != null && obj.view !== 0)) {
          w.uint32(64)
          w.uint32(obj.view)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          offer: uint8ArrayAlloc(0),
          message: uint8ArrayAlloc(0),
          receivedMs: 0,
          kind: 0,
          author: uint8ArrayAlloc(0),
          stage: uint8ArrayAlloc(0),
          attempt: 0,
          view: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.offer = reader.bytes()
              break
            }
            case 2: {
              obj.message = reader.bytes()
              break
            }
            case 3: {
              obj.receivedMs = reader.uint64Number()
              break
            }
            case 4: {
              obj.kind = reader.uint32()
              break
            }
            case 5: {
              obj.author = reader.bytes()
              break
            }
            case 6: {
              obj.stage = reader.bytes()
              break
            }
            case 7: {
              obj.attempt = reader.uint32()
              break
            }
            case 8: {
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
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.offer`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.message`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.receivedMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.kind`,
                value: reader.uint32()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.author`,
                value: reader.bytes()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.stage`,
                value: reader.bytes()
              }
              break
            }
            case 7: {
              yield {
                field: `${prefix}.attempt`,
                value: reader.uint32()
              }
              break
            }
            case 8: {
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

  export interface AcknowledgementOfferFieldEvent {
    field: '$.offer'
    value: Uint8Array
  }

  export interface AcknowledgementMessageFieldEvent {
    field: '$.message'
    value: Uint8Array
  }

  export interface AcknowledgementReceivedMsFieldEvent {
    field: '$.receivedMs'
    value: number
  }

  export interface AcknowledgementKindFieldEvent {
    field: '$.kind'
    value: number
  }

  export interface AcknowledgementAuthorFieldEvent {
    field: '$.author'
    value: Uint8Array
  }

  export interface AcknowledgementStageFieldEvent {
    field: '$.stage'
    value: Uint8Array
  }

  export interface AcknowledgementAttemptFieldEvent {
    field: '$.attempt'
    value: number
  }

  export interface AcknowledgementViewFieldEvent {
    field: '$.view'
    value: number
  }

  export function encode (obj: Partial<Acknowledgement>): Uint8Array {
    return encodeMessage(obj, Acknowledgement.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Acknowledgement>): Acknowledgement {
    return decodeMessage(buf, Acknowledgement.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Acknowledgement>): Generator<AcknowledgementOfferFieldEvent | AcknowledgementMessageFieldEvent | AcknowledgementReceivedMsFieldEvent | AcknowledgementKindFieldEvent | AcknowledgementAuthorFieldEvent | AcknowledgementStageFieldEvent | AcknowledgementAttemptFieldEvent | AcknowledgementViewFieldEvent> {
    return streamMessage(buf, Acknowledgement.codec(), opts)
  }
}
