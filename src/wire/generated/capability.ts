// @ts-nocheck
import { decodeMessage, encodeMessage, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface Gpu {
  name: string
  vramMib: number
  flopsMega: number
  temperatureC: number
}

export namespace Gpu {
  let _codec: Codec<Gpu>

  export const codec = (): Codec<Gpu> => {
    if (_codec == null) {
      _codec = message<Gpu>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.name != null && obj.name !== '')) {
          w.uint32(10)
          w.string(obj.name)
        }

        if ((obj.vramMib != null && obj.vramMib !== 0)) {
          w.uint32(16)
          w.uint32(obj.vramMib)
        }

        if ((obj.flopsMega != null && obj.flopsMega !== 0)) {
          w.uint32(24)
          w.uint64Number(obj.flopsMega)
        }

        if ((obj.temperatureC != null && obj.temperatureC !== 0)) {
          w.uint32(32)
          w.uint32(obj.temperatureC)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          name: '',
          vramMib: 0,
          flopsMega: 0,
          temperatureC: 0
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
              obj.vramMib = reader.uint32()
              break
            }
            case 3: {
              obj.flopsMega = reader.uint64Number()
              break
            }
            case 4: {
              obj.temperatureC = reader.uint32()
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
                field: `${prefix}.vramMib`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.flopsMega`,
                value: reader.uint64Number()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.temperatureC`,
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

  export interface GpuNameFieldEvent {
    field: '$.name'
    value: string
  }

  export interface GpuVramMibFieldEvent {
    field: '$.vramMib'
    value: number
  }

  export interface GpuFlopsMegaFieldEvent {
    field: '$.flopsMega'
    value: number
  }

  export interface GpuTemperatureCFieldEvent {
    field: '$.temperatureC'
    value: number
  }

  export function encode (obj: Partial<Gpu>): Uint8Array {
    return encodeMessage(obj, Gpu.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Gpu>): Gpu {
    return decodeMessage(buf, Gpu.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Gpu>): Generator<GpuNameFieldEvent | GpuVramMibFieldEvent | GpuFlopsMegaFieldEvent | GpuTemperatureCFieldEvent> {
    return streamMessage(buf, Gpu.codec(), opts)
  }
}

export interface Capability {
  sequence: number
  issuedMs: number
  vrfKey: Uint8Array
  operator: Uint8Array
  role: string
  agent: string
  hardwareClass: string
  cpuModel: string
  cpuCores: number
  cpuFlopsMega: number
  memoryBytesPerSecond: number
  diskBytesPerSecond: number
  ramMib: number
  diskFreeMib: number
  gpus: Gpu[]
  isolation: string[]
  seats: number
}

export namespace Capability {
  let _codec: Codec<Capability>

  export const codec = (): Codec<Capability> => {
    if (_codec == null) {
      _codec = message<Capability>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.sequence != null && obj.sequence !== 0)) {
          w.uint32(8)
          w.uint64Number(obj.sequence)
        }

        if ((obj.issuedMs != null && obj.issuedMs !== 0)) {
          w.uint32(16)
          w.uint64Number(obj.issuedMs)
        }

        if ((obj.vrfKey != null && obj.vrfKey.byteLength > 0)) {
          w.uint32(26)
          w.bytes(obj.vrfKey)
        }

        if ((obj.operator != null && obj.operator.byteLength > 0)) {
          w.uint32(34)
          w.bytes(obj.operator)
        }

        if ((obj.role != null && obj.role !== '')) {
          w.uint32(42)
          w.string(obj.role)
        }

        if ((obj.agent != null && obj.agent !== '')) {
          w.uint32(50)
          w.string(obj.agent)
        }

        if ((obj.hardwareClass != null && obj.hardwareClass !== '')) {
          w.uint32(58)
          w.string(obj.hardwareClass)
        }

        if ((obj.cpuModel != null && obj.cpuModel !== '')) {
          w.uint32(66)
          w.string(obj.cpuModel)
        }

        if ((obj.cpuCores != null && obj.cpuCores !== 0)) {
          w.uint32(72)
          w.uint32(obj.cpuCores)
        }

        if ((obj.cpuFlopsMega != null && obj.cpuFlopsMega !== 0)) {
          w.uint32(80)
          w.uint64Number(obj.cpuFlopsMega)
        }

        if ((obj.memoryBytesPerSecond != null && obj.memoryBytesPerSecond !== 0)) {
          w.uint32(88)
          w.uint64Number(obj.memoryBytesPerSecond)
        }

        if ((obj.diskBytesPerSecond != null && obj.diskBytesPerSecond !== 0)) {
          w.uint32(96)
          w.uint64Number(obj.diskBytesPerSecond)
        }

        if ((obj.ramMib != null && obj.ramMib !== 0)) {
          w.uint32(104)
          w.uint64Number(obj.ramMib)
        }

        if ((obj.diskFreeMib != null && obj.diskFreeMib !== 0)) {
          w.uint32(112)
          w.uint64Number(obj.diskFreeMib)
        }

        if (obj.gpus != null && obj.gpus.length > 0) {
          for (const value of obj.gpus) {
            w.uint32(122)
            Gpu.codec().encode(value, w)
          }
        }

        if (obj.isolation != null && obj.isolation.length > 0) {
          for (const value of obj.isolation) {
            w.uint32(130)
            w.string(value)
          }
        }

        if ((obj.seats != null && obj.seats !== 0)) {
          w.uint32(136)
          w.uint32(obj.seats)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          sequence: 0,
          issuedMs: 0,
          vrfKey: uint8ArrayAlloc(0),
          operator: uint8ArrayAlloc(0),
          role: '',
          agent: '',
          hardwareClass: '',
          cpuModel: '',
          cpuCores: 0,
          cpuFlopsMega: 0,
          memoryBytesPerSecond: 0,
          diskBytesPerSecond: 0,
          ramMib: 0,
          diskFreeMib: 0,
          gpus: [],
          isolation: [],
          seats: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.sequence = reader.uint64Number()
              break
            }
            case 2: {
              obj.issuedMs = reader.uint64Number()
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
              obj.role = reader.string()
              break
            }
            case 6: {
              obj.agent = reader.string()
              break
            }
            case 7: {
              obj.hardwareClass = reader.string()
              break
            }
            case 8: {
              obj.cpuModel = reader.string()
              break
            }
            case 9: {
              obj.cpuCores = reader.uint32()
              break
            }
            case 10: {
              obj.cpuFlopsMega = reader.uint64Number()
              break
            }
            case 11: {
              obj.memoryBytesPerSecond = reader.uint64Number()
              break
            }
            case 12: {
              obj.diskBytesPerSecond = reader.uint64Number()
              break
            }
            case 13: {
              obj.ramMib = reader.uint64Number()
              break
            }
            case 14: {
              obj.diskFreeMib = reader.uint64Number()
              break
            }
            case 15: {
              if (opts.limits?.gpus != null && obj.gpus.length === opts.limits.gpus) {
                throw new MaxLengthError('Decode error - repeated field "gpus" had too many elements')
              }

              obj.gpus.push(Gpu.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.gpus$
              }))
              break
            }
            case 16: {
              if (opts.limits?.isolation != null && obj.isolation.length === opts.limits.isolation) {
                throw new MaxLengthError('Decode error - repeated field "isolation" had too many elements')
              }

              obj.isolation.push(reader.string())
              break
            }
            case 17: {
              obj.seats = reader.uint32()
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
          gpus: 0,
          isolation: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.sequence`,
                value: reader.uint64Number()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.issuedMs`,
                value: reader.uint64Number()
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
                field: `${prefix}.role`,
                value: reader.string()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.agent`,
                value: reader.string()
              }
              break
            }
            case 7: {
              yield {
                field: `${prefix}.hardwareClass`,
                value: reader.string()
              }
              break
            }
            case 8: {
              yield {
                field: `${prefix}.cpuModel`,
                value: reader.string()
              }
              break
            }
            case 9: {
              yield {
                field: `${prefix}.cpuCores`,
                value: reader.uint32()
              }
              break
            }
            case 10: {
              yield {
                field: `${prefix}.cpuFlopsMega`,
                value: reader.uint64Number()
              }
              break
            }
            case 11: {
              yield {
                field: `${prefix}.memoryBytesPerSecond`,
                value: reader.uint64Number()
              }
              break
            }
            case 12: {
              yield {
                field: `${prefix}.diskBytesPerSecond`,
                value: reader.uint64Number()
              }
              break
            }
            case 13: {
              yield {
                field: `${prefix}.ramMib`,
                value: reader.uint64Number()
              }
              break
            }
            case 14: {
              yield {
                field: `${prefix}.diskFreeMib`,
                value: reader.uint64Number()
              }
              break
            }
            case 15: {
              if (opts.limits?.gpus != null && obj.gpus === opts.limits.gpus) {
                throw new MaxLengthError('Streaming decode error - repeated field "gpus" had too many elements')
              }

              for (const evt of Gpu.codec().stream(reader, reader.uint32(), `${prefix}.gpus[]`, {
                limits: opts.limits?.gpus$
              })) {
                yield {
                  ...evt,
                  index: obj.gpus
                }
              }

              obj.gpus++

              break
            }
            case 16: {
              if (opts.limits?.isolation != null && obj.isolation === opts.limits.isolation) {
                throw new MaxLengthError('Streaming decode error - repeated field "isolation" had too many elements')
              }

              yield {
                field: `${prefix}.isolation[]`,
                index: obj.isolation,
                value: reader.string()
              }

              obj.isolation++

              break
            }
            case 17: {
              yield {
                field: `${prefix}.seats`,
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

  export interface CapabilitySequenceFieldEvent {
    field: '$.sequence'
    value: number
  }

  export interface CapabilityIssuedMsFieldEvent {
    field: '$.issuedMs'
    value: number
  }

  export interface CapabilityVrfKeyFieldEvent {
    field: '$.vrfKey'
    value: Uint8Array
  }

  export interface CapabilityOperatorFieldEvent {
    field: '$.operator'
    value: Uint8Array
  }

  export interface CapabilityRoleFieldEvent {
    field: '$.role'
    value: string
  }

  export interface CapabilityAgentFieldEvent {
    field: '$.agent'
    value: string
  }

  export interface CapabilityHardwareClassFieldEvent {
    field: '$.hardwareClass'
    value: string
  }

  export interface CapabilityCpuModelFieldEvent {
    field: '$.cpuModel'
    value: string
  }

  export interface CapabilityCpuCoresFieldEvent {
    field: '$.cpuCores'
    value: number
  }

  export interface CapabilityCpuFlopsMegaFieldEvent {
    field: '$.cpuFlopsMega'
    value: number
  }

  export interface CapabilityMemoryBytesPerSecondFieldEvent {
    field: '$.memoryBytesPerSecond'
    value: number
  }

  export interface CapabilityDiskBytesPerSecondFieldEvent {
    field: '$.diskBytesPerSecond'
    value: number
  }

  export interface CapabilityRamMibFieldEvent {
    field: '$.ramMib'
    value: number
  }

  export interface CapabilityDiskFreeMibFieldEvent {
    field: '$.diskFreeMib'
    value: number
  }

  export interface CapabilityGpusNameFieldEvent {
    field: '$.gpus[].name'
    value: string
    index: number
  }

  export interface CapabilityGpusVramMibFieldEvent {
    field: '$.gpus[].vramMib'
    value: number
    index: number
  }

  export interface CapabilityGpusFlopsMegaFieldEvent {
    field: '$.gpus[].flopsMega'
    value: number
    index: number
  }

  export interface CapabilityGpusTemperatureCFieldEvent {
    field: '$.gpus[].temperatureC'
    value: number
    index: number
  }

  export interface CapabilityIsolationFieldEvent {
    field: '$.isolation[]'
    index: number
    value: string
  }

  export interface CapabilitySeatsFieldEvent {
    field: '$.seats'
    value: number
  }

  export function encode (obj: Partial<Capability>): Uint8Array {
    return encodeMessage(obj, Capability.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Capability>): Capability {
    return decodeMessage(buf, Capability.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Capability>): Generator<CapabilitySequenceFieldEvent | CapabilityIssuedMsFieldEvent | CapabilityVrfKeyFieldEvent | CapabilityOperatorFieldEvent | CapabilityRoleFieldEvent | CapabilityAgentFieldEvent | CapabilityHardwareClassFieldEvent | CapabilityCpuModelFieldEvent | CapabilityCpuCoresFieldEvent | CapabilityCpuFlopsMegaFieldEvent | CapabilityMemoryBytesPerSecondFieldEvent | CapabilityDiskBytesPerSecondFieldEvent | CapabilityRamMibFieldEvent | CapabilityDiskFreeMibFieldEvent | CapabilityGpusNameFieldEvent | CapabilityGpusVramMibFieldEvent | CapabilityGpusFlopsMegaFieldEvent | CapabilityGpusTemperatureCFieldEvent | CapabilityIsolationFieldEvent | CapabilitySeatsFieldEvent> {
    return streamMessage(buf, Capability.codec(), opts)
  }
}
