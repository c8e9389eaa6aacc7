/**
 * Text files as stretches of whole lines, UTF-8 and nothing else. Bytes are cut behind line
 * breaks before they are decoded, so that every stretch stands alone and memory holds one.
 */
import { CtdError } from '../../errors.js'
import { DATA_LIMITS } from './limits.js'
import { placeOf, readChunks, type DataFile } from './source.js'

export interface LineBlock {
  /** Whole lines with their breaks; the last line of a file may lack one. */
  readonly text: string
  /** Of its first line, from 1. */
  readonly line: number
  readonly isLast: boolean
}

const NEWLINE = 0x0a

/** @throws CtdError DATA_ENCODING, DATA_TOO_LARGE, and what `readChunks` throws */
export async function* readLineBlocks(
  files: readonly DataFile[],
  file: DataFile,
): AsyncGenerator<LineBlock, void> {
  let held: Uint8Array[] = []
  let heldBytes = 0
  let line = 1
  const take = (end: Uint8Array): Uint8Array => {
    const whole = held.length === 0 ? end : Buffer.concat([...held, end])
    held = []
    heldBytes = 0
    return whole
  }
  let isStart = true
  for await (const chunk of readChunks(files, file)) {
    const cut = chunk.lastIndexOf(NEWLINE) + 1
    if (cut > 0) {
      const whole = take(chunk.subarray(0, cut))
      const text = decode(files, file, whole, line, isStart)
      isStart = false
      yield { text, line, isLast: false }
      line += countLines(whole)
    }
    if (cut === chunk.length) continue
    // A copy: the stream may use its buffer again.
    held.push(Uint8Array.from(chunk.subarray(cut)))
    heldBytes += chunk.length - cut
    if (heldBytes > DATA_LIMITS.recordBytes) throw tooLong(placeOf(files, file, `line ${line}`))
  }
  const rest = take(new Uint8Array())
  yield { text: decode(files, file, rest, line, isStart), line, isLast: true }
}

export function tooLong(place: string): CtdError {
  return new CtdError('DATA_TOO_LARGE', `${place} is too long`, {
    hint: 'is a double quote unclosed before it, or is this no text file?',
  })
}

function countLines(bytes: Uint8Array): number {
  let lines = 0
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) lines += 1
  return lines
}

const STRICT = { fatal: true, ignoreBOM: true } as const

function decode(
  files: readonly DataFile[],
  file: DataFile,
  bytes: Uint8Array,
  line: number,
  isStart: boolean,
): string {
  const isUtf16 = isStart && (isPrefix(bytes, 0xff, 0xfe) || isPrefix(bytes, 0xfe, 0xff))
  try {
    if (!isUtf16) {
      const text = new TextDecoder('utf-8', STRICT).decode(bytes)
      const start = isStart && text.startsWith('\ufeff') ? 1 : 0
      if (!text.includes('\0')) return start === 0 ? text : text.slice(start)
      const at = line + countLines(bytes.subarray(0, bytes.indexOf(0)))
      throw new CtdError(
        'DATA_ENCODING',
        `${placeOf(files, file, `line ${at}`)} of the dataset holds a zero byte`,
        { hint: 'is this a binary file, or UTF-16?', fields: { line: at } },
      )
    }
  } catch (error) {
    if (error instanceof CtdError) throw error
    // The one error below names the line.
  }
  const at = isUtf16 ? 1 : firstBadLine(bytes, line)
  throw new CtdError(
    'DATA_ENCODING',
    `${placeOf(files, file, `line ${at}`)} of the dataset is not UTF-8`,
    {
      hint: `save the file as UTF-8, for example: iconv -f ${isUtf16 ? 'UTF-16' : 'WINDOWS-1252'} -t UTF-8`,
      fields: { line: at },
    },
  )
}

function isPrefix(bytes: Uint8Array, first: number, second: number): boolean {
  return bytes[0] === first && bytes[1] === second
}

function firstBadLine(bytes: Uint8Array, firstLine: number): number {
  const decoder = new TextDecoder('utf-8', STRICT)
  let line = firstLine
  let start = 0
  for (;;) {
    const found = bytes.indexOf(NEWLINE, start)
    const end = found === -1 ? bytes.length : found
    try {
      decoder.decode(bytes.subarray(start, end))
    } catch {
      return line
    }
    if (found === -1) return line
    start = found + 1
    line += 1
  }
}
