/** What a study of the tolerance found, counted. */
import { CHEATS } from './tolerance-study.js'
import type { Cheat, Study } from './tolerance-study.js'

const MATCH = 1_000_000n

/** Of wrong judgements. */
interface Rate {
  readonly judged: number
  readonly wrong: number
  /** Upper 95 % bound of the share of wrong ones, were the judged ones independent. */
  readonly upper: number
}

export interface Report {
  readonly ok: boolean
  readonly tauPpm: number
  readonly segments: number
  readonly codePaths: readonly string[]
  readonly seeds: number
  readonly honest: Rate & {
    /** Pairs of unlike weights; each was judged under every seed. */
    readonly weightPairs: number
    /** Pairs that are alike byte for byte, not counted. */
    readonly equalPairs: number
    /** By model, the largest distance in tolerances. */
    readonly farthest: Readonly<Record<string, number>>
  }
  readonly cheats: Readonly<Record<Cheat, Rate & { readonly results: number; nearest: number }>>
  /** Share that is found out, by the size of what was altered and by compression. */
  readonly curves: Readonly<Record<string, Readonly<Record<string, number>>>>
}

export function reportOf(study: Study, wanted: { pairs: number; cheats: number }): Report {
  const honest = honestOf(study)
  const cheats = Object.fromEntries(
    CHEATS.map((kind) => [kind, cheatOf(study, kind)]),
  ) as Report['cheats']
  const isEnough =
    honest.judged >= wanted.pairs && CHEATS.every((kind) => cheats[kind].results >= wanted.cheats)
  const isRight = honest.wrong === 0 && CHEATS.every((kind) => cheats[kind].wrong === 0)
  return {
    ok: isEnough && isRight,
    tauPpm: study.policy.kind === 'tensors' ? Number(study.policy.tauPpm) : 0,
    segments: study.segments.length,
    codePaths: study.paths.map(({ name }) => name),
    seeds: study.seeds,
    honest,
    cheats,
    curves: curvesOf(study),
  }
}

function honestOf(study: Study): Report['honest'] {
  let [judged, wrong, weightPairs, equalPairs] = [0, 0, 0, 0]
  const farthest: Record<string, number> = {}
  study.honest.forEach((a, index) => {
    for (const b of study.honest.slice(index + 1)) {
      if (a.segment !== b.segment) continue
      if (a.result.root === b.result.root) {
        equalPairs += 1
        continue
      }
      weightPairs += 1
      for (const distance of study.distances(a, b)) {
        judged += 1
        if (distance > MATCH) wrong += 1
        const { model, compression } = a.segment
        const key = `${model} ${compression}`
        farthest[key] = Math.max(farthest[key] ?? 0, tolerances(distance))
      }
    }
  })
  return { judged, wrong, upper: upperBound(wrong, judged), weightPairs, equalPairs, farthest }
}

function cheatOf(study: Study, kind: Cheat): Report['cheats'][Cheat] {
  let [judged, wrong, results, nearest] = [0, 0, 0, Infinity]
  for (const cheat of study.cheats) {
    if (cheat.kind !== kind) continue
    results += 1
    for (const honest of study.honest) {
      if (honest.segment !== cheat.segment) continue
      for (const distance of study.distances(cheat, honest)) {
        judged += 1
        if (distance <= MATCH) wrong += 1
        nearest = Math.min(nearest, tolerances(distance))
      }
    }
  }
  return { judged, wrong, upper: upperBound(wrong, judged), results, nearest }
}

function curvesOf(study: Study): Report['curves'] {
  const counts = new Map<string, Map<string, [found: number, all: number]>>()
  for (const altered of study.curves) {
    for (const honest of study.honest) {
      if (honest.segment !== altered.segment || honest.path === altered.path) continue
      for (const distance of study.distances(altered, honest)) {
        const row = counts.get(altered.kind) ?? new Map<string, [number, number]>()
        counts.set(altered.kind, row)
        const { compression } = altered.segment
        const [found, all] = row.get(compression) ?? [0, 0]
        row.set(compression, [found + (distance > MATCH ? 1 : 0), all + 1])
      }
    }
  }
  const shares = (row: ReadonlyMap<string, [number, number]>): Record<string, number> =>
    Object.fromEntries([...row].map(([name, [found, all]]) => [name, rounded(found / all)]))
  return Object.fromEntries([...counts].map(([kind, row]) => [kind, shares(row)]))
}

function tolerances(distance: bigint): number {
  return rounded(Number(distance) / Number(MATCH))
}

function rounded(value: number): number {
  return Number(value.toPrecision(3))
}

/** Clopper and Pearson's one-sided bound: the share at which so few wrong ones have 5 %. */
export function upperBound(wrong: number, judged: number): number {
  if (judged === 0 || wrong >= judged) return 1
  const tail = (share: number): number => {
    let [term, sum] = [judged * Math.log1p(-share), 0]
    for (let k = 0; k <= wrong; k++) {
      sum += Math.exp(term)
      term += Math.log(((judged - k) * share) / ((k + 1) * (1 - share)))
    }
    return sum
  }
  let [low, high] = [0, 1]
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    if (tail(middle) > 0.05) low = middle
    else high = middle
  }
  return Number(high.toPrecision(2))
}

export function sayReport(report: Report): void {
  const { honest, cheats, curves } = report
  const say = (text: string): void => console.error(text)
  const bound = ({ upper }: Rate): string => `at most ${(100 * upper).toPrecision(2)} %`
  say(`τ ${report.tauPpm} ppm, ${report.segments} segments on ${report.codePaths.join(', ')}`)
  say(
    `honest      ${honest.judged} pairs judged, ${honest.wrong} told apart (${bound(honest)}); ${honest.weightPairs} pairs of weights, ${report.seeds} sketch seed(s) each, ${honest.equalPairs} pairs alike byte for byte left out`,
  )
  for (const [model, distance] of Object.entries(honest.farthest)) {
    say(`            ${model}: at most ${distance} of the tolerance`)
  }
  for (const kind of CHEATS) {
    const found = cheats[kind]
    say(
      `${kind.padEnd(12)}${found.results} results, ${found.judged} judgements, ${found.wrong} missed (${bound(found)}); nearest ${found.nearest} tolerances`,
    )
  }
  for (const [kind, shares] of Object.entries(curves)) {
    const words = Object.entries(shares).map(([name, share]) => `${name} ${100 * share} %`)
    say(`found out   ${kind.padEnd(12)} ${words.join(', ')}`)
  }
}
