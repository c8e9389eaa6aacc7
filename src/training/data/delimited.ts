/**
 * Comma- or tab-separated records (RFC 4180), read as the text comes: quoted cells may hold
 * separators, line breaks and doubled quotes; lines end with CRLF or LF.
 */
import { CtdError } from '../../errors.js'
import { DATA_LIMITS } from './limits.js'

/** A record of a table and the number of the line it starts on, from 1. */
export interface TableRecord {
  readonly line: number
  readonly cells: readonly string[]
}

/** What the parser found before the text ended. */
interface Scanned {
  readonly cells: readonly string[]
  readonly end: number
  readonly lines: number
}

/** Keeps what is unfinished of the text pushed so far; every record is as wide as the first. */
export class DelimitedParser {
  private pending = ''
  private line = 1
  private width: number | undefined

  /** @param place - says for people where a line is */
  constructor(
    private readonly separator: string,
    private readonly place: (line: number) => string,
  ) {}

  /**
   * The records that end within the text so far; blank lines are none.
   *
   * @throws CtdError DATA_QUOTE, DATA_RAGGED, DATA_TOO_LARGE
   */
  push(text: string, isLast: boolean): readonly TableRecord[] {
    const content = this.pending === '' ? text : this.pending + text
    const records: TableRecord[] = []
    let at = 0
    while (at < content.length) {
      const found = this.plainRecord(content, at, isLast) ?? this.quotedRecord(content, at, isLast)
      if (found === undefined) break
      const { cells } = found
      if (cells.length > 1 || cells[0] !== '') records.push(this.checked(cells))
      at = found.end
      this.line += found.lines
    }
    this.pending = content.slice(at)
    if (this.pending.length > DATA_LIMITS.recordBytes) throw this.tooLong()
    return records
  }

  /** The usual case: a line without any quote. */
  private plainRecord(content: string, at: number, isLast: boolean): Scanned | undefined {
    const found = content.indexOf('\n', at)
    if (found === -1 && !isLast) return undefined
    const stop = found === -1 ? content.length : found
    const line = content.slice(at, content[stop - 1] === '\r' && stop > at ? stop - 1 : stop)
    if (line.includes('"')) return undefined
    return { cells: line.split(this.separator), end: stop + 1, lines: 1 }
  }

  private quotedRecord(content: string, start: number, isLast: boolean): Scanned | undefined {
    const cells: string[] = []
    let at = start
    let lines = 1
    for (;;) {
      if (content[at] === '"') {
        const end = closingQuote(content, at + 1)
        // A quote at the very end may be the first half of a doubled one.
        if (end === -1 || (end + 1 === content.length && !isLast)) {
          if (isLast) throw this.quoteError(lines, 'a double quote is never closed')
          return undefined
        }
        const quoted = content.slice(at + 1, end)
        lines += quoted.split('\n').length - 1
        cells.push(quoted.replaceAll('""', '"'))
        at = end + 1
        if (at < content.length && !this.isCellEnd(content, at)) {
          throw this.quoteError(lines, 'text follows a closing quote')
        }
      } else {
        const from = at
        while (at < content.length && !this.isCellEnd(content, at)) at += 1
        cells.push(content.slice(from, at))
      }
      if (content[at] !== this.separator) break
      at += 1
    }
    if (content[at] === '\r') at += 1
    if (at >= content.length && !isLast) return undefined
    return { cells, end: at + 1, lines }
  }

  private isCellEnd(content: string, at: number): boolean {
    const char = content[at]
    if (char === this.separator || char === '\n') return true
    return char === '\r' && (content[at + 1] === '\n' || at + 1 === content.length)
  }

  private checked(cells: readonly string[]): TableRecord {
    const { line } = this
    this.width ??= cells.length
    if (
      cells.length > DATA_LIMITS.columns ||
      cells.some((cell) => cell.length > DATA_LIMITS.cellChars)
    ) {
      throw this.tooLong()
    }
    if (cells.length !== this.width) {
      throw new CtdError(
        'DATA_RAGGED',
        `${this.place(line)} has ${cells.length} cells, the header has ${this.width}`,
        {
          hint: 'put cells that contain the separator or a line break in double quotes',
          fields: { line, found: cells.length, expected: this.width },
        },
      )
    }
    return { line, cells }
  }

  private tooLong(): CtdError {
    return new CtdError('DATA_TOO_LARGE', `${this.place(this.line)} is too long`, {
      hint: 'is a double quote unclosed before it?',
      fields: { line: this.line },
    })
  }

  private quoteError(lines: number, reason: string): CtdError {
    const line = this.line + lines - 1
    return new CtdError('DATA_QUOTE', `${this.place(line)}: ${reason}`, {
      hint: 'write a double quote inside a quoted cell twice',
      fields: { line },
    })
  }
}

function closingQuote(content: string, from: number): number {
  let end = content.indexOf('"', from)
  while (end !== -1 && content[end + 1] === '"') end = content.indexOf('"', end + 2)
  return end
}
