/**
 * Files as other programs write them, for tests of the readers. Those of Parquet were written with
 * hyparquet-writer 0.17.0; 24 rows `row i …` with the labels even and odd, a double and an integer.
 */
import { crc32, deflateRawSync } from 'node:zlib'

const parquet = (text: string): Buffer => Buffer.from(text, 'base64')

/** Three groups of rows, packed by Snappy. */
export const PARQUET_SNAPPY = parquet(
  'UEFSMRUGFaYCFaoBXBUUFQAVFBUAFQQVAAAAFAGRASgGAAAAcm93IDAgCw0KHDEgw6nlrZcQDQ8AMgkPBRQRLQAzFS0A' +
    'NAkeES0ANQkPMi0AADYVLQA3CR4RLQQ4IAUoOMOp5a2XBgAAAHJvdyA5IBUEFR4VIkwVBBUAAAAPOAQAAABldmVuAwAA' +
    'AG9kZBUGFQwVEFwVFBUAFRQVEBUEFQAAABQBBAwBBaoCFQYVpAEVYFwVFBUAFRQVABUEFQAAABQBUAAAMgEABNA/CQ8A' +
    '4A0IAOgNCADwDQgA9A0IAPgNCAD8DQgkAEAAAAAAAAACQBUGFVQVWFwVFBUAFRQVABUEFQAAABQBKJwAAAAAAQAAAAIA' +
    'AAADAAAABAAAAAUAAAAGAAAABwAAAAgAAAAJAAAAFQYVxAIVpgFcFRQVABUUFQAVBBUAAAAUAaABQAwAAAByb3cgMTAg' +
    'w6nlrZcRERAAMQkQAMMBFQAHERUEMiAVMAAzCSAVMAA0CRA2MAAANRkwADYJIBUwADcJEDYwAAA4GTAYOSDDqeWtlxUE' +
    'FR4VIkwVBBUAAAAPOAQAAABldmVuAwAAAG9kZBUGFQwVEFwVFBUAFRQVEBUEFQAAABQBBAwBBaoCFQYVpAEVaFwVFBUA' +
    'FRQVABUEFQAAABQBUAAABQEEBEAFBwQABg0IAAgNCAAKDQgADA0IAA4NCAAQDQgAEQ0IJBJAAAAAAAAAE0AVBhVUFVhc' +
    'FRQVABUUFQAVBBUAAAAUASicCgAAAAsAAAAMAAAADQAAAA4AAAAPAAAAEAAAABEAAAASAAAAEwAAABUGFY4BFWZcFQgV' +
    'ABUIFQAVBBUAAAADD0U8EQAAAHJvdyAyMCDDqeWtlwUFAAcRFQgxIAwRCwAyCSAVMCwzIMOp5a2Xw6nlrZcVBhVAFSxc' +
    'FQgVABUIFQAVBBUAAAADDx44BAAAAGV2ZW4DAAAAb2RkOg8AFQYVRBU4XBUIFQAVCBUAFQQVAAAAAw8gAAAFAQQUQAUH' +
    'BAAVDQgkFkAAAAAAAAAXQBUGFSQVKFwVCBUAFQgVABUEFQAAAAMPEDwUAAAAFQAAABYAAAAXAAAAFQQZXEgEcm9vdBUI' +
    'ABUMJQIYBHRleHQlAAAVDCUCGAVsYWJlbCUAABUKJQIYBmxlbmd0aAAVAiUCGAVjb3VudAAWMBk8GUwmCBwVDBkVABkY' +
    'BHRleHQVAhYUFtQCFtgBJggAACbgARwVDBklABAZGAVsYWJlbBUCFhQWbhZ2JpwCJuABAAAm1gIcFQoZFQAZGAZsZW5n' +
    'dGgVAhYUFtABFowBJtYCAAAm4gMcFQIZFQAZGAVjb3VudBUCFhQWfhaCASbiAwAAFpAGFhQ23AQAGUwm5AQcFQwZFQAZ' +
    'GAR0ZXh0FQIWFBbyAhbUASbkBAAAJrgGHBUMGSUAEBkYBWxhYmVsFQIWFBZuFnYm9AYmuAYAACauBxwVChkVABkYBmxl' +
    'bmd0aBUCFhQW0AEWlAEmrgcAACbCCBwVAhkVABkYBWNvdW50FQIWFBZ+FoIBJsIIAAAWrgYWFDbgBAAZTCbECRwVDBkV' +
    'ABkYBHRleHQVAhYIFroBFpIBJsQJAAAm1gocFQwZFQAZGAVsYWJlbBUCFggWahZWJtYKAAAmrAscFQoZFQAZGAZsZW5n' +
    'dGgVAhYIFm4WYiasCwAAJo4MHBUCGRUAGRgFY291bnQVAhYIFk4WUiaODAAAFuADFgg2nAMAKAloeXBhcnF1ZXQZTBwA' +
    'ABwAABwAABwAAAD6AQAAUEFSMQ==',
)

/** Pages packed by gzip. */
export const PARQUET_GZIP = parquet(
  'UEFSMRUGFfAFFYACXBUwFQAVMBUAFQQVAAAAMAEfiwgAAAAAAAADY2NgYCjKL1cwUOCGsgwVDq98una6AJRrBOGCCTao' +
    'mDFcsQmqYlMsis3gis1RFVtgUWypwANzhgFEWhDGN0RSzg4TNEKoN0ZTb4JNvSlCvRmaenNs6i0Q6i1R1RsZYFFvZAhX' +
    'b2SEpt4YST0APseEJXYBAAAVBBUeFUZMFQQVAAAAH4sIAAAAAAAAA2NhYGBILUvNY2ZgYMhPSQEAIULDbQ8AAAAVBhUO' +
    'FTZcFTAVABUwFRAVBBUAAAAwAR+LCAAAAAAAAANjZF+1ahUANyCR0AUAAAAVBhWEAxWkAVwVMBUAFTAVABUEFQAAADAB' +
    'H4sIAAAAAAAAA03FKQqAQAAAwEVERES89znu/5NPMBoNBoPBsBOcMiH87Vv+8OnLtx+/DilXuHTl2o1bd+49ePTk2YtX' +
    'x/QBlm1s58AAAAAVBhXEARWAAVwVMBUAFTAVABUEFQAAADABH4sIAAAAAAAAAwXBhQGAIAAAsFkYgAEi/3/qBgNGTJix' +
    'IGDFhh0HIhIyTly48aCg4kXDh44fy9u6GmAAAAAVBBlcSARyb290FQgAFQwlAhgEdGV4dCUAABUMJQIYBWxhYmVsJQAA' +
    'FQolAhgGbGVuZ3RoABUCJQIYBWNvdW50ABYwGRwZTCYIHBUMGRUAGRgEdGV4dBUEFjAWngYWrgImCAAAJrYCHBUMGSUA' +
    'EBkYBWxhYmVsFQQWMBZwFsABJpYDJrYCAAAm9gMcFQoZFQAZGAZsZW5ndGgVBBYwFrIDFtIBJvYDAAAmyAUcFQIZFQAZ' +
    'GAVjb3VudBUEFjAW8gEWrgEmyAUAABayDBYwNu4GACgJaHlwYXJxdWV0GUwcAAAcAAAcAAAcAAAA6wAAAFBBUjE=',
)

/** The fifth text is null. */
export const PARQUET_NULLS = parquet(
  'UEFSMRUGFdYFFcYCXBUwFQIVMBUAFQgVAAAAA+8gAecCKAYAAAByb3cgMCALDQocMSDDqeWtlxANDwAyCQ8FFBEtBDMg' +
    'ER4ANUoeAAA2FUsANwkeES0EOCAFRgUFEUsIOSAMDWkEMTAJHwARERANiQUvAAcRFQAyGTAAMzowAAA0CRA2MAAANRkw' +
    'ADYJIBVgDZ42MAAAOBkwADk2MAAAMg2gMjAABDIxFTAAMi0qEWAwMjMgw6nlrZfDqeWtlxUEFR4VIkwVBBUAAAAPOAQA' +
    'AABldmVuAwAAAG9kZBUGFQ4VElwVMBUAFTAVEBUEFQAAADABBRABB6qqqhUEGTxIBHJvb3QVBAAVDCUCGAR0ZXh0JQAA' +
    'FQwlAhgFbGFiZWwlAAAWMBkcGSwmCBwVDBkVABkYBHRleHQVAhYwFoQGFvQCJggAACb8AhwVDBklABAZGAVsYWJlbBUC' +
    'FjAWcBZ4JrgDJvwCAAAW9AYWMDbsAwAoCWh5cGFycXVldBksHAAAHAAAAIoAAABQQVIx',
)

/** The texts are points in time. */
export const PARQUET_DATES = parquet(
  'UEFSMRUGFYQDFdoBXBUwFQAVMBUAFQQVAAAAMAHAASAAEKXU6AAAAAENCAACDQgAAw0IAAQNCAAFDQgABg0IAAcNCAAI' +
    'DQgACQ0IAAoNCAALDQgADA0IAA0NCAAODQgADw0IABANCAARDQgAEg0IABMNCAAUDQgAFQ0IABYNCBwXEKXU6AAAABUE' +
    'FR4VIkwVBBUAAAAPOAQAAABldmVuAwAAAG9kZBUGFQ4VElwVMBUAFTAVEBUEFQAAADABBRABB6qqqhUEGTxIBHJvb3QV' +
    'BAAVBCUCGAR0ZXh0JRIAFQwlAhgFbGFiZWwlAAAWMBkcGSwmCBwVBBkVABkYBHRleHQVAhYwFrIDFogCJggAACaQAhwV' +
    'DBklABAZGAVsYWJlbBUCFjAWcBZ4JswCJpACAAAWogQWMDaAAwAoCWh5cGFycXVldBksHAAAHAAAAIoAAABQQVIx',
)

/** An idx file of bytes. */
export function idxFile(shape: readonly number[], bytes: Uint8Array, type = 0x08): Buffer {
  const extents = Buffer.alloc(4 * shape.length)
  for (const [i, extent] of shape.entries()) extents.writeUInt32BE(extent, 4 * i)
  return Buffer.concat([Buffer.from([0, 0, type, shape.length]), extents, bytes])
}

/** A numpy array, format 1.0, as `numpy.save` writes it. */
export function npyFile(
  descr: string,
  shape: readonly number[],
  bytes: Uint8Array,
  fortran = false,
): Buffer {
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const order = fortran ? 'True' : 'False'
  const header = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${extents}), }`
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`
  const size = Buffer.alloc(2)
  size.writeUInt16LE(padded.length)
  const magic = Buffer.from('\u0093NUMPY\u0001\0', 'latin1')
  return Buffer.concat([magic, size, Buffer.from(padded), bytes])
}

export interface Member {
  readonly name: string
  readonly bytes: Uint8Array
  /** What the directory claims, where it lies. */
  readonly claimedBytes?: number
  readonly claimedCrc?: number
  readonly flags?: number
  readonly method?: number
  readonly offset?: number
}

/** A ZIP file as numpy writes it: deflated, or stored. */
export function zipFile(members: readonly Member[], deflated = true): Buffer {
  const bodies: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const member of members) {
    const { bytes, method = deflated ? 8 : 0, flags = 0 } = member
    const packed = deflated ? deflateRawSync(bytes) : Buffer.from(bytes)
    const name = Buffer.from(member.name)
    const shared = Buffer.alloc(26)
    shared.writeUInt16LE(20, 0)
    shared.writeUInt16LE(flags, 2)
    shared.writeUInt16LE(method, 4)
    shared.writeUInt32LE(member.claimedCrc ?? crc32(bytes), 10)
    shared.writeUInt32LE(packed.length, 14)
    shared.writeUInt32LE(member.claimedBytes ?? bytes.length, 18)
    shared.writeUInt16LE(name.length, 22)
    const body = Buffer.concat([Buffer.from('PK\u0003\u0004'), shared, name, packed])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(member.offset ?? offset, 10)
    const entry = [Buffer.from('PK\u0001\u0002'), Buffer.from([20, 0]), shared, tail, name]
    directory.push(Buffer.concat(entry))
    bodies.push(body)
    offset += body.length
  }
  const listing = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('PK\u0005\u0006', 'latin1')
  end.writeUInt16LE(members.length, 8)
  end.writeUInt16LE(members.length, 10)
  end.writeUInt32LE(listing.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...bodies, listing, end])
}
