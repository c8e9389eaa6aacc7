// @ts-nocheck
import { decodeMessage, encodeMessage, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface Image {
  name: string
  configDigest: Uint8Array
  manifestDigest: Uint8Array
  diffIds: Uint8Array[]
  sizeBytes: number
  archive: Uint8Array
}

export namespace Image {
  let _codec: Codec<Image>

  export const codec = (): Codec<Image> => {
    if (_codec == null) {
      _codec = message<Image>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.name != null && obj.name !== '')) {
          w.uint32(10)
          w.string(obj.name)
        }

        if ((obj.configDigest != null && obj.configDigest.byteLength > 0)) {
          w.uint32(18)
          w.bytes(obj.configDigest)
        }

        if ((obj.manifestDigest != null && obj.manifestDigest.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.manifestDigest)
        }

        if (obj.diffIds != null && obj.diffIds.length > 0) {
          for (const value of obj.diffIds) {
            w.uint32(34)
            w.bytes(value)
          }
        }

        if ((obj.sizeBytes != null && obj.sizeBytes !== 0)) {
          w.uint32(40)
          w.uint64Number(obj.sizeBytes)
        }

        if ((obj.archive != null && obj.archive.byteLength > 0)) {
          w.uint32(50)
          w.bytes(obj.archive)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          name: '',
          configDigest: uint8ArrayAlloc(0),
          manifestDigest: uint8ArrayAlloc(0),
          diffIds: [],
          sizeBytes: 0,
          archive: uint8ArrayAlloc(0)
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
              obj.configDigest = reader.bytes()
              break
            }
            case 3: {
              obj.manifestDigest = reader.bytes()
              break
            }
            case 4: {
              if (opts.limits?.diffIds != null && obj.diffIds.length === opts.limits.diffIds) {
                throw new MaxLengthError('Decode error - repeated field "diffIds" had too many elements')
              }

              obj.diffIds.push(reader.bytes())
              break
            }
            case 5: {
              obj.sizeBytes = reader.uint64Number()
              break
            }
            case 6: {
              obj.archive = reader.bytes()
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
          diffIds: 0
        }

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
                field: `${prefix}.configDigest`,
                value: reader.bytes()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.manifestDigest`,
                value: reader.bytes()
              }
              break
            }
            case 4: {
              if (opts.limits?.diffIds != null && obj.diffIds === opts.limits.diffIds) {
                throw new MaxLengthError('Streaming decode error - repeated field "diffIds" had too many elements')
              }

              yield {
                field: `${prefix}.diffIds[]`,
                index: obj.diffIds,
                value: reader.bytes()
              }

              obj.diffIds++

              break
            }
            case 5: {
              yield {
                field: `${prefix}.sizeBytes`,
                value: reader.uint64Number()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.archive`,
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

  export interface ImageNameFieldEvent {
    field: '$.name'
    value: string
  }

  export interface ImageConfigDigestFieldEvent {
    field: '$.configDigest'
    value: Uint8Array
  }

  export interface ImageManifestDigestFieldEvent {
    field: '$.manifestDigest'
    value: Uint8Array
  }

  export interface ImageDiffIdsFieldEvent {
    field: '$.diffIds[]'
    index: number
    value: Uint8Array
  }

  export interface ImageSizeBytesFieldEvent {
    field: '$.sizeBytes'
    value: number
  }

  export interface ImageArchiveFieldEvent {
    field: '$.archive'
    value: Uint8Array
  }

  export function encode (obj: Partial<Image>): Uint8Array {
    return encodeMessage(obj, Image.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Image>): Image {
    return decodeMessage(buf, Image.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Image>): Generator<ImageNameFieldEvent | ImageConfigDigestFieldEvent | ImageManifestDigestFieldEvent | ImageDiffIdsFieldEvent | ImageSizeBytesFieldEvent | ImageArchiveFieldEvent> {
    return streamMessage(buf, Image.codec(), opts)
  }
}

export interface Input {
  name: string
  digest: Uint8Array
  sizeBytes: number
  folder: boolean
}

export namespace Input {
  let _codec: Codec<Input>

  export const codec = (): Codec<Input> => {
    if (_codec == null) {
      _codec = message<Input>((obj, w, opts = {}) => {
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

  export interface InputNameFieldEvent {
    field: '$.name'
    value: string
  }

  export interface InputDigestFieldEvent {
    field: '$.digest'
    value: Uint8Array
  }

  export interface InputSizeBytesFieldEvent {
    field: '$.sizeBytes'
    value: number
  }

  export interface InputFolderFieldEvent {
    field: '$.folder'
    value: boolean
  }

  export function encode (obj: Partial<Input>): Uint8Array {
    return encodeMessage(obj, Input.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Input>): Input {
    return decodeMessage(buf, Input.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Input>): Generator<InputNameFieldEvent | InputDigestFieldEvent | InputSizeBytesFieldEvent | InputFolderFieldEvent> {
    return streamMessage(buf, Input.codec(), opts)
  }
}

export interface JobManifest {
  version: number
  jobKind: string
  name: string
  spec: Uint8Array
  planSeed: Uint8Array
  image?: Image
  inputs: Input[]
  compare: string
  replicas: number
  auditPpm: number
  createdMs: number
  publisher: Uint8Array
  publisherSignature: Uint8Array
  operator: Uint8Array
}

export namespace JobManifest {
  let _codec: Codec<JobManifest>

  export const codec = (): Codec<JobManifest> => {
    if (_codec == null) {
      _codec = message<JobManifest>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.version != null && obj.version !== 0)) {
          w.uint32(8)
          w.uint32(obj.version)
        }

        if ((obj.jobKind != null && obj.jobKind !== '')) {
          w.uint32(18)
          w.string(obj.jobKind)
        }

        if ((obj.name != null && obj.name !== '')) {
          w.uint32(26)
          w.string(obj.name)
        }

        if ((obj.spec != null && obj.spec.byteLength > 0)) {
          w.uint32(34)
          w.bytes(obj.spec)
        }

        if ((obj.planSeed != null && obj.planSeed.byteLength > 0)) {
          w.uint32(42)
          w.bytes(obj.planSeed)
        }

        if (obj.image != null) {
          w.uint32(50)
          Image.codec().encode(obj.image, w)
        }

        if (obj.inputs != null && obj.inputs.length > 0) {
          for (const value of obj.inputs) {
            w.uint32(58)
            Input.codec().encode(value, w)
          }
        }

        if ((obj.compare != null && obj.compare !== '')) {
          w.uint32(66)
          w.string(obj.compare)
        }

        if ((obj.replicas != null && obj.replicas !== 0)) {
          w.uint32(72)
          w.uint32(obj.replicas)
        }

        if ((obj.auditPpm != null && obj.auditPpm !== 0)) {
          w.uint32(80)
          w.uint32(obj.auditPpm)
        }

        if ((obj.createdMs != null && obj.createdMs !== 0)) {
          w.uint32(88)
          w.uint64Number(obj.createdMs)
        }

        if ((obj.publisher != null && obj.publisher.byteLength > 0)) {
          w.uint32(98)
          w.bytes(obj.publisher)
        }

        if ((obj.publisherSignature != null && obj.publisherSignature.byteLength > 0)) {
          w.uint32(106)
          w.bytes(obj.publisherSignature)
        }

        if ((obj.operator != null && obj.operator.byteLength > 0)) {
          w.uint32(114)
          w.bytes(obj.operator)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          version: 0,
          jobKind: '',
          name: '',
          spec: uint8ArrayAlloc(0),
          planSeed: uint8ArrayAlloc(0),
          inputs: [],
          compare: '',
          replicas: 0,
          auditPpm: 0,
          createdMs: 0,
          publisher: uint8ArrayAlloc(0),
          publisherSignature: uint8ArrayAlloc(0),
          operator: uint8ArrayAlloc(0)
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
              obj.jobKind = reader.string()
              break
            }
            case 3: {
              obj.name = reader.string()
              break
            }
            case 4: {
              obj.spec = reader.bytes()
              break
            }
            case 5: {
              obj.planSeed = reader.bytes()
              break
            }
            case 6: {
              obj.image = Image.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.image
              })
              break
            }
            case 7: {
              if (opts.limits?.inputs != null && obj.inputs.length === opts.limits.inputs) {
                throw new MaxLengthError('Decode error - repeated field "inputs" had too many elements')
              }

              obj.inputs.push(Input.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.inputs$
              }))
              break
            }
            case 8: {
              obj.compare = reader.string()
              break
            }
            case 9: {
              obj.replicas = reader.uint32()
              break
            }
            case 10: {
              obj.auditPpm = reader.uint32()
              break
            }
            case 11: {
              obj.createdMs = reader.uint64Number()
              break
            }
            case 12: {
              obj.publisher = reader.bytes()
              break
            }
            case 13: {
              obj.publisherSignature = reader.bytes()
              break
            }
            case 14: {
              obj.operator = reader.bytes()
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
          inputs: 0
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
                field: `${prefix}.jobKind`,
                value: reader.string()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.name`,
                value: reader.string()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.spec`,
                value: reader.bytes()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.planSeed`,
                value: reader.bytes()
              }
              break
            }
            case 6: {
              yield * Image.codec().stream(reader, reader.uint32(), `${prefix}.image`, {
                limits: opts.limits?.image
              })

              break
            }
            case 7: {
              if (opts.limits?.inputs != null && obj.inputs === opts.limits.inputs) {
                throw new MaxLengthError('Streaming decode error - repeated field "inputs" had too many elements')
              }

              for (const evt of Input.codec().stream(reader, reader.uint32(), `${prefix}.inputs[]`, {
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
              yield {
                field: `${prefix}.compare`,
                value: reader.string()
              }
              break
            }
            case 9: {
              yield {
                field: `${prefix}.replicas`,
                value: reader.uint32()
              }
              break
            }
            case 10: {
              yield {
                field: `${prefix}.auditPpm`,
                value: reader.uint32()
              }
              break
            }
            case 11: {
              yield {
                field: `${prefix}.createdMs`,
                value: reader.uint64Number()
              }
              break
            }
            case 12: {
              yield {
                field: `${prefix}.publisher`,
                value: reader.bytes()
              }
              break
            }
            case 13: {
              yield {
                field: `${prefix}.publisherSignature`,
                value: reader.bytes()
              }
              break
            }
            case 14: {
              yield {
                field: `${prefix}.operator`,
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

  export interface JobManifestVersionFieldEvent {
    field: '$.version'
    value: number
  }

  export interface JobManifestJobKindFieldEvent {
    field: '$.jobKind'
    value: string
  }

  export interface JobManifestNameFieldEvent {
    field: '$.name'
    value: string
  }

  export interface JobManifestSpecFieldEvent {
    field: '$.spec'
    value: Uint8Array
  }

  export interface JobManifestPlanSeedFieldEvent {
    field: '$.planSeed'
    value: Uint8Array
  }

  export interface JobManifestImageNameFieldEvent {
    field: '$.image.name'
    value: string
  }

  export interface JobManifestImageConfigDigestFieldEvent {
    field: '$.image.configDigest'
    value: Uint8Array
  }

  export interface JobManifestImageManifestDigestFieldEvent {
    field: '$.image.manifestDigest'
    value: Uint8Array
  }

  export interface JobManifestImageDiffIdsFieldEvent {
    field: '$.image.diffIds[]'
    index: number
    value: Uint8Array
  }

  export interface JobManifestImageSizeBytesFieldEvent {
    field: '$.image.sizeBytes'
    value: number
  }

  export interface JobManifestImageArchiveFieldEvent {
    field: '$.image.archive'
    value: Uint8Array
  }

  export interface JobManifestInputsNameFieldEvent {
    field: '$.inputs[].name'
    value: string
    index: number
  }

  export interface JobManifestInputsDigestFieldEvent {
    field: '$.inputs[].digest'
    value: Uint8Array
    index: number
  }

  export interface JobManifestInputsSizeBytesFieldEvent {
    field: '$.inputs[].sizeBytes'
    value: number
    index: number
  }

  export interface JobManifestInputsFolderFieldEvent {
    field: '$.inputs[].folder'
    value: boolean
    index: number
  }

  export interface JobManifestCompareFieldEvent {
    field: '$.compare'
    value: string
  }

  export interface JobManifestReplicasFieldEvent {
    field: '$.replicas'
    value: number
  }

  export interface JobManifestAuditPpmFieldEvent {
    field: '$.auditPpm'
    value: number
  }

  export interface JobManifestCreatedMsFieldEvent {
    field: '$.createdMs'
    value: number
  }

  export interface JobManifestPublisherFieldEvent {
    field: '$.publisher'
    value: Uint8Array
  }

  export interface JobManifestPublisherSignatureFieldEvent {
    field: '$.publisherSignature'
    value: Uint8Array
  }

  export interface JobManifestOperatorFieldEvent {
    field: '$.operator'
    value: Uint8Array
  }

  export function encode (obj: Partial<JobManifest>): Uint8Array {
    return encodeMessage(obj, JobManifest.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<JobManifest>): JobManifest {
    return decodeMessage(buf, JobManifest.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<JobManifest>): Generator<JobManifestVersionFieldEvent | JobManifestJobKindFieldEvent | JobManifestNameFieldEvent | JobManifestSpecFieldEvent | JobManifestPlanSeedFieldEvent | JobManifestImageNameFieldEvent | JobManifestImageConfigDigestFieldEvent | JobManifestImageManifestDigestFieldEvent | JobManifestImageDiffIdsFieldEvent | JobManifestImageSizeBytesFieldEvent | JobManifestImageArchiveFieldEvent | JobManifestInputsNameFieldEvent | JobManifestInputsDigestFieldEvent | JobManifestInputsSizeBytesFieldEvent | JobManifestInputsFolderFieldEvent | JobManifestCompareFieldEvent | JobManifestReplicasFieldEvent | JobManifestAuditPpmFieldEvent | JobManifestCreatedMsFieldEvent | JobManifestPublisherFieldEvent | JobManifestPublisherSignatureFieldEvent | JobManifestOperatorFieldEvent> {
    return streamMessage(buf, JobManifest.codec(), opts)
  }
}

export interface JobEnd {
  jobId: Uint8Array
  status: string
  code: string
  reason: string
  result: Uint8Array
}

export namespace JobEnd {
  let _codec: Codec<JobEnd>

  export const codec = (): Codec<JobEnd> => {
    if (_codec == null) {
      _codec = message<JobEnd>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.jobId != null && obj.jobId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.jobId)
        }

        if ((obj.status != null && obj.status !== '')) {
          w.uint32(18)
          w.string(obj.status)
        }

        if ((obj.code != null && obj.code !== '')) {
          w.uint32(26)
          w.string(obj.code)
        }

        if ((obj.reason != null && obj.reason !== '')) {
          w.uint32(34)
          w.string(obj.reason)
        }

        if ((obj.result != null && obj.result.byteLength > 0)) {
          w.uint32(42)
          w.bytes(obj.result)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          jobId: uint8ArrayAlloc(0),
          status: '',
          code: '',
          reason: '',
          result: uint8ArrayAlloc(0)
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
              obj.status = reader.string()
              break
            }
            case 3: {
              obj.code = reader.string()
              break
            }
            case 4: {
              obj.reason = reader.string()
              break
            }
            case 5: {
              obj.result = reader.bytes()
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
                field: `${prefix}.jobId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.status`,
                value: reader.string()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.code`,
                value: reader.string()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.reason`,
                value: reader.string()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.result`,
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

  export interface JobEndJobIdFieldEvent {
    field: '$.jobId'
    value: Uint8Array
  }

  export interface JobEndStatusFieldEvent {
    field: '$.status'
    value: string
  }

  export interface JobEndCodeFieldEvent {
    field: '$.code'
    value: string
  }

  export interface JobEndReasonFieldEvent {
    field: '$.reason'
    value: string
  }

  export interface JobEndResultFieldEvent {
    field: '$.result'
    value: Uint8Array
  }

  export function encode (obj: Partial<JobEnd>): Uint8Array {
    return encodeMessage(obj, JobEnd.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<JobEnd>): JobEnd {
    return decodeMessage(buf, JobEnd.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<JobEnd>): Generator<JobEndJobIdFieldEvent | JobEndStatusFieldEvent | JobEndCodeFieldEvent | JobEndReasonFieldEvent | JobEndResultFieldEvent> {
    return streamMessage(buf, JobEnd.codec(), opts)
  }
}
