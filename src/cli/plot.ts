/** A curve in the terminal, drawn with Braille dots (Unicode block U+2800: 2 × 4 dots a cell). */

/** Bit of each dot in a Braille cell by column and row (ISO/TR 11548-1). */
const DOTS: ReadonlyArray<readonly number[]> = [
  [0x01, 0x02, 0x04, 0x40],
  [0x08, 0x10, 0x20, 0x80],
]

/**
 * Draws points joined by lines, in the given order, with the smallest and largest value beside
 * them.
 *
 * @param values - y values at even distances; those that are no numbers leave a gap
 * @param size - cells of the drawing without its labels
 * @returns lines of text; none when fewer than two numbers are given
 */
export function plotCurve(
  values: readonly number[],
  size: { readonly columns: number; readonly rows: number },
): string[] {
  const finite = values.filter(Number.isFinite)
  if (finite.length < 2) return []
  const low = finite.reduce((a, b) => Math.min(a, b))
  const high = finite.reduce((a, b) => Math.max(a, b))
  const [width, height] = [size.columns * 2, size.rows * 4]
  const cells = Array.from({ length: size.rows }, () => new Uint8Array(size.columns))
  const dot = (x: number, y: number): void => {
    const row = cells[y >> 2]
    if (row !== undefined) row[x >> 1] = (row[x >> 1] ?? 0) | (DOTS[x & 1]?.[y & 3] ?? 0)
  }
  const xOf = (i: number): number => Math.round((i / (values.length - 1)) * (width - 1))
  const yOf = (value: number): number =>
    high === low ? height >> 1 : Math.round(((high - value) / (high - low)) * (height - 1))
  for (const [i, value] of values.entries()) {
    if (!Number.isFinite(value)) continue
    const before = values[i - 1]
    if (before === undefined || !Number.isFinite(before)) dot(xOf(i), yOf(value))
    else drawLine(dot, xOf(i - 1), yOf(before), xOf(i), yOf(value))
  }
  const labels = [formatValue(high), formatValue(low)]
  const labelWidth = Math.max(...labels.map((label) => label.length))
  return cells.map((row, i) => {
    const label = i === 0 ? labels[0] : i === size.rows - 1 ? labels[1] : ''
    const line = Array.from(row, (bits) => String.fromCodePoint(0x2800 + bits)).join('')
    return `${(label ?? '').padStart(labelWidth)} ┤${line}`
  })
}

/** Steps along the longer axis, so that the line has no holes. */
function drawLine(
  dot: (x: number, y: number) => void,
  x0: number,
  y0: number,
  x1: number,
  y1: number,
): void {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1)
  for (let i = 0; i <= steps; i++) {
    dot(Math.round(x0 + ((x1 - x0) * i) / steps), Math.round(y0 + ((y1 - y0) * i) / steps))
  }
}

/**
 * The loss over rounds, with a caption: where it began, then the end of every round.
 *
 * @param curve - lines of `{round, lossStart, lossEnd}`
 */
export function plotLoss(
  curve: ReadonlyArray<Readonly<Record<string, number>>>,
  columns: number,
): string[] {
  const first = curve[0]
  if (first === undefined) return []
  const values = [
    first['lossStart'] ?? Number.NaN,
    ...curve.map((row) => row['lossEnd'] ?? Number.NaN),
  ]
  const lines = plotCurve(values, { columns: Math.max(10, Math.min(columns - 12, 64)), rows: 8 })
  const last = values.filter(Number.isFinite).at(-1)
  if (lines.length === 0 || last === undefined) return []
  const begin = values.find(Number.isFinite) ?? last
  const rounds = curve.length === 1 ? '1 round' : `${curve.length} rounds`
  const told = `loss ${formatValue(begin)} → ${formatValue(last)} over ${rounds}`
  return [...lines, told, ...bestEvaluation(curve)]
}

/** The round whose evaluation lost least, in words; nothing where none was evaluated on the way. */
function bestEvaluation(curve: ReadonlyArray<Readonly<Record<string, number>>>): string[] {
  const lossOf = (point: Readonly<Record<string, number>>): number => point['evalLoss'] ?? Infinity
  const [best] = [...curve].sort((a, b) => lossOf(a) - lossOf(b))
  if (best?.['evalLoss'] === undefined) return []
  const { evalLoss, accuracy, round } = best
  const rate = accuracy === undefined ? '' : `, accuracy ${formatValue(accuracy)}`
  return [`evaluation loss ${formatValue(evalLoss)}${rate} at its best, round ${round}`]
}

function formatValue(value: number): string {
  return Number(value.toPrecision(4)).toString()
}
