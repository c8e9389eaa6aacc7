/** Sizes, durations and counts as people write and read them; strict, so that a typo is an error. */
import { CtdError } from '../errors.js'

const SIZE_MIB: Readonly<Record<string, number>> = { MiB: 1, GiB: 1024, TiB: 1024 * 1024 }
const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** `2GiB` → 2048; whole MiB only, a unit is required. @throws CtdError USAGE */
export function parseSizeMiB(text: string): number {
  const [, number, unit] = /^(\d{1,9}(?:\.\d{1,3})?)(MiB|GiB|TiB)$/.exec(text) ?? []
  const mib = Number(number) * (SIZE_MIB[unit ?? ''] ?? Number.NaN)
  if (Number.isInteger(mib) && mib > 0) return mib
  throw usage(`not a size: "${text}"`, 'write a number with MiB, GiB or TiB, for example 2GiB')
}

/** `10m`, `1h30m`, `500ms` → milliseconds; units in falling order. @throws CtdError USAGE */
export function parseDurationMs(text: string): number {
  const match =
    /^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,6})s)?(?:(\d{1,9})ms)?$/.exec(text)
  if (match !== null && text !== '') {
    const units = ['d', 'h', 'm', 's', 'ms']
    const total = units.reduce(
      (sum, unit, i) => sum + Number(match[i + 1] ?? 0) * (DURATION_MS[unit] ?? 0),
      0,
    )
    if (total > 0) return total
  }
  throw usage(`not a duration: "${text}"`, 'write for example 90s, 10m or 1h30m')
}

/** A whole number in a range. @throws CtdError USAGE */
export function parseWhole(text: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw usage(`not a whole number from ${min} to ${max}: "${text}"`)
}

/** `3s`, `12m`, `5h`, `2d`: the largest unit alone, as tables show ages. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** `812B`, `1.5KiB`, `7.9GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}${units[unit] ?? ''}`
}

/** The first characters of a job id and both ends of a peer id, as tables show them. */
export function shortJob(id: string): string {
  return id.slice(0, 12)
}

/** All Ed25519 peer ids begin alike, so the end is what tells them apart. */
export function shortPeer(peer: string): string {
  return peer.length <= 14 ? peer : `${peer.slice(0, 4)}…${peer.slice(-8)}`
}

/** `ctd/0.1.0`, as peers name their agent, → `0.1.0`. */
export function plainVersion(agent: string): string {
  return agent.slice(agent.lastIndexOf('/') + 1)
}

/** An error in how a command was written. */
export function usage(message: string, hint?: string): CtdError {
  return new CtdError('USAGE', message, hint === undefined ? {} : { hint })
}
