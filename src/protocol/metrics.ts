/** The numbers a task reports, as a reveal carries them. */
import { canonicalJson } from '../training/canonical-json.js'
import { LIMITS } from '../wire/limits.js'
import { CtdError } from '../errors.js'

const NAMES_MAX = 64

/**
 * The finite numbers at the top level of a `metrics.json`, in one encoding; lists and texts stay
 * in the file alone.
 *
 * @throws CtdError METRICS_INVALID when the file is not a JSON object
 */
export function encodeMetrics(file: Uint8Array | undefined): Uint8Array {
  if (file === undefined) return new TextEncoder().encode(canonicalJson({}))
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file))
  } catch (cause) {
    throw new CtdError('METRICS_INVALID', '/out/metrics.json is not JSON', { cause })
  }
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) {
    throw new CtdError('METRICS_INVALID', '/out/metrics.json is not a JSON object')
  }
  const numbers = Object.entries(parsed).filter(
    (entry): entry is [string, number] => Number.isFinite(entry[1]) && entry[0].length <= 64,
  )
  const bytes = new TextEncoder().encode(
    canonicalJson(Object.fromEntries(numbers.slice(0, NAMES_MAX))),
  )
  if (bytes.length > LIMITS.metricsBytes) {
    throw new CtdError('METRICS_INVALID', 'too many numbers in /out/metrics.json')
  }
  return bytes
}

/** Beyond this every double is a whole number. */
const WHOLE_FROM = 2 ** 53

/**
 * Numbers in millionths, rounded half up: what replicas are compared by. Multiplication and
 * rounding of doubles are exact by IEEE 754, so every peer gets the same integers.
 */
export function metricsMicro(metrics: Readonly<Record<string, number>>): Record<string, bigint> {
  return Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [
      name,
      Math.abs(value) >= WHOLE_FROM
        ? BigInt(value) * 1_000_000n
        : BigInt(Math.round(value * 1_000_000)),
    ]),
  )
}

/** Reads what `encodeMetrics` wrote; an empty record for anything else. */
export function parseMetrics(bytes: Uint8Array): Record<string, number> {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (parsed === null || typeof parsed !== 'object') return {}
    return Object.fromEntries(
      Object.entries(parsed).filter((entry): entry is [string, number] =>
        Number.isFinite(entry[1]),
      ),
    )
  } catch {
    return {} // Bytes of a stranger: numbers that cannot be read are no numbers.
  }
}
