/** What goes to the screen: tables, colour where it is wanted, and texts of peers made harmless. */

export type Colour = 'red' | 'green' | 'yellow' | 'cyan' | 'dim' | 'bold'
export type Paint = (colour: Colour, text: string) => string

const CODES: Readonly<Record<Colour, readonly [number, number]>> = {
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
  dim: [2, 22],
  bold: [1, 22],
}

/** Colours only for a terminal, and never under `NO_COLOR` or `TERM=dumb` (no-color.org). */
export function createPaint(isTerminal: boolean, env: NodeJS.ProcessEnv): Paint {
  const isForced = env['FORCE_COLOR'] !== undefined && env['FORCE_COLOR'] !== '0'
  const isBarred = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb'
  if (isBarred || !(isTerminal || isForced)) return (_colour, text) => text
  return (colour, text) => {
    const [on, off] = CODES[colour]
    return `\u001b[${on}m${text}\u001b[${off}m`
  }
}

/** Control characters of other peers' texts must not move the cursor or hide a line. */
export function harmless(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, ' ')
}

/** Cuts a text to a width and marks the cut. */
export function cut(text: string, width: number): string {
  const characters = [...text]
  if (characters.length <= width) return text
  return width < 1 ? '' : `${characters.slice(0, width - 1).join('')}…`
}

/**
 * Columns under UPPER-CASE headings, two spaces apart. When too wide, the column named by `cuts`
 * gives way; a terminal narrower than the rest cuts whole lines.
 *
 * @param options.columns - width of the terminal, undefined when piped: nothing is cut then
 * @param options.paint - colours a cell after its width is known
 */
export function formatTable(
  headings: readonly string[],
  rows: ReadonlyArray<readonly string[]>,
  options: {
    readonly columns: number | undefined
    readonly cuts?: string
    readonly paint?: (heading: string, cell: string) => string
  },
): string {
  const clean = rows.map((row) => row.map((cell) => (cell === '' ? '-' : harmless(cell))))
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...clean.map((row) => [...(row[i] ?? '')].length)),
  )
  const total = widths.reduce((sum, width) => sum + width + 2, -2)
  const cutColumn = headings.indexOf(options.cuts ?? '')
  if (options.columns !== undefined && total > options.columns && cutColumn >= 0) {
    const wanted = (widths[cutColumn] ?? 0) - (total - options.columns)
    widths[cutColumn] = Math.max(headings[cutColumn]?.length ?? 0, wanted)
  }
  const line = (cells: readonly string[], isHeading: boolean): string => {
    let room = options.columns ?? Number.POSITIVE_INFINITY
    const parts: string[] = []
    for (const [i, heading] of headings.entries()) {
      const isLast = i === headings.length - 1
      const width = Math.min(widths[i] ?? 0, room)
      if (width <= 0) break
      const cell = cut(cells[i] ?? '', width)
      const pad = isLast ? '' : ' '.repeat(Math.min(room, width + 2) - [...cell].length)
      parts.push((isHeading ? cell : (options.paint?.(heading, cell) ?? cell)) + pad)
      room -= width + 2
    }
    return parts.join('').trimEnd()
  }
  return [line(headings, true), ...clean.map((row) => line(row, false))].join('\n')
}

/** `label  value` lines, values aligned. */
export function formatPairs(pairs: ReadonlyArray<readonly [string, string]>): string {
  const width = Math.max(0, ...pairs.map(([label]) => label.length))
  return pairs.map(([label, value]) => `${label.padEnd(width)}  ${value}`.trimEnd()).join('\n')
}
