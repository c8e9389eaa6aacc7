/** The course of a training as files: `curve.csv` for programs, `curve.svg` for people. */

/** A round's numbers: `round`, `lossStart`, `lossEnd`, where evaluated `evalLoss`, `accuracy`. */
export type CurvePoint = Readonly<Record<string, number>>

const COLUMNS = ['round', 'lossStart', 'lossEnd', 'evalLoss', 'accuracy'] as const

/** RFC 4180; empty where a round has no such number. */
export function curveCsv(curve: readonly CurvePoint[]): string {
  const rows = curve.map((point) => COLUMNS.map((name) => point[name] ?? '').join(','))
  return [COLUMNS.join(','), ...rows, ''].join('\r\n')
}

interface Series {
  readonly name: string
  readonly label: string
  readonly colour: string
}

const LOSSES: readonly Series[] = [
  { name: 'lossEnd', label: 'training loss', colour: '#1f6f8b' },
  { name: 'evalLoss', label: 'evaluation loss', colour: '#c0532b' },
]
const ACCURACY: Series = { name: 'accuracy', label: 'accuracy (right scale)', colour: '#5b8c3a' }

const WIDTH = 720
const HEIGHT = 400
const PLOT = { left: 64, right: 656, top: 48, bottom: 340 } as const
const TICKS = 5
const ROUND_LABELS_MAX = 12

interface Scale {
  readonly low: number
  readonly high: number
}

/** @returns an SVG of the losses over the rounds and, where there is one, of the accuracy */
export function curveSvg(curve: readonly CurvePoint[], title: string): string {
  const losses = LOSSES.filter(({ name }) => valuesOf(curve, name).length > 0)
  const loss = scaleOf(losses.flatMap(({ name }) => valuesOf(curve, name)))
  const hasAccuracy = valuesOf(curve, ACCURACY.name).length > 0
  const shown = hasAccuracy ? [...losses, ACCURACY] : losses
  const unit: Scale = { low: 0, high: 1 }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" ` +
      `viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${PLOT.left}" y="20" font-size="14">${escapeXml(title)}</text>`,
    ...grid(loss, hasAccuracy),
    ...roundLabels(curve),
    ...losses.map((series) => line(curve, series, loss)),
    ...(hasAccuracy ? [line(curve, ACCURACY, unit)] : []),
    ...legend(shown),
    '</svg>',
    '',
  ].join('\n')
}

function valuesOf(curve: readonly CurvePoint[], name: string): readonly number[] {
  return curve.flatMap((point) => {
    const value = point[name]
    return value !== undefined && Number.isFinite(value) ? [value] : []
  })
}

/** Round numbers around the values; from 0 where they are not far from it. */
function scaleOf(values: readonly number[]): Scale {
  const [least, most] = [Math.min(...values, Infinity), Math.max(...values, -Infinity)]
  if (!(least <= most)) return { low: 0, high: 1 }
  const low = least >= 0 && least < most / 2 ? 0 : least
  const span = most - low || Math.abs(most) || 1
  const step = niceStep(span / TICKS)
  return { low: Math.floor(low / step) * step, high: Math.ceil((low + span) / step) * step }
}

/** 1, 2 or 5 times a power of ten, not below the number. */
function niceStep(raw: number): number {
  const power = 10 ** Math.floor(Math.log10(raw))
  return power * ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10)
}

function xOf(index: number, count: number): number {
  return count < 2
    ? (PLOT.left + PLOT.right) / 2
    : PLOT.left + (index / (count - 1)) * (PLOT.right - PLOT.left)
}

function yOf(value: number, { low, high }: Scale): number {
  return PLOT.bottom - ((value - low) / (high - low)) * (PLOT.bottom - PLOT.top)
}

function grid(loss: Scale, hasAccuracy: boolean): readonly string[] {
  const lines: string[] = []
  for (let i = 0; i <= TICKS; i++) {
    const share = i / TICKS
    const value = loss.low + share * (loss.high - loss.low)
    const y = fixed(yOf(value, loss))
    lines.push(
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${y}" y2="${y}" stroke="#ddd"/>`,
      `<text x="${PLOT.left - 8}" y="${y}" dy="4" text-anchor="end">${short(value)}</text>`,
    )
    if (hasAccuracy) {
      const label = `${Math.round(share * 100)} %`
      lines.push(
        `<text x="${PLOT.right + 8}" y="${y}" dy="4" fill="${ACCURACY.colour}">${label}</text>`,
      )
    }
  }
  return lines
}

function roundLabels(curve: readonly CurvePoint[]): readonly string[] {
  const every = Math.ceil(curve.length / ROUND_LABELS_MAX)
  const labels = curve.flatMap(({ round = 0 }, i) =>
    i % every === 0
      ? [
          `<text x="${fixed(xOf(i, curve.length))}" y="${PLOT.bottom + 18}" ` +
            `text-anchor="middle">${round}</text>`,
        ]
      : [],
  )
  const middle = (PLOT.left + PLOT.right) / 2
  return [
    ...labels,
    `<text x="${middle}" y="${PLOT.bottom + 38}" text-anchor="middle">round</text>`,
  ]
}

/** A line with a dot at every round that has the number. */
function line(curve: readonly CurvePoint[], { name, colour }: Series, scale: Scale): string {
  const points = curve.flatMap((point, i) => {
    const value = point[name]
    return value === undefined || !Number.isFinite(value)
      ? []
      : [{ x: fixed(xOf(i, curve.length)), y: fixed(yOf(value, scale)) }]
  })
  const path = points.map(({ x, y }) => `${x},${y}`).join(' ')
  const dots = points.map(({ x, y }) => `<circle cx="${x}" cy="${y}" r="3"/>`).join('')
  return (
    `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>` +
    `<g fill="${colour}">${dots}</g>`
  )
}

function legend(series: readonly Series[]): readonly string[] {
  return series.map(({ label, colour }, i) => {
    const x = PLOT.left + i * 180
    return (
      `<line x1="${x}" x2="${x + 22}" y1="35" y2="35" stroke="${colour}" stroke-width="3"/>` +
      `<text x="${x + 28}" y="39">${label}</text>`
    )
  })
}

function fixed(value: number): string {
  return value.toFixed(1)
}

function short(value: number): string {
  return Number(value.toPrecision(3)).toString()
}

function escapeXml(text: string): string {
  // eslint-disable-next-line no-control-regex
  const plain = text.replace(/[\u0000-\u001f\u007f]/g, ' ')
  return plain.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
