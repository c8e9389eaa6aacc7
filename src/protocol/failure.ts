/**
 * Failures of a replica. Those of the job, its program or its image, happen to everyone who runs
 * it; all others are of the machine it ran on, and the task goes to the next standby.
 */
const PROGRAM_FAILURES: ReadonlySet<string> = new Set([
  'CONTAINER_FAILED',
  'CONTAINER_OOM',
  'CONTAINER_TIMEOUT',
  'IMAGE_ARCHIVE_REFUSED',
  'IMAGE_DIGEST_MISMATCH',
  'LOG_TOO_LARGE',
  'METRICS_INVALID',
  'BUILTIN_FAILED',
  'STATE_UNFIT',
  'TRAINING_DIVERGED',
])

/** Whether a failure code speaks against the job rather than the machine. */
export function isProgramFailure(code: string): boolean {
  return PROGRAM_FAILURES.has(code) || code.startsWith('OUTPUT_') || code.startsWith('DATA_')
}

/** Codes told in one sentence; further ones are only counted. */
const CODES_TOLD = 2
const WORDS_CHARS = 160

/**
 * What became of executors, the commonest failure first: `2 DISK_FULL (the disk is full), 1
 * LEASE_EXPIRED (…)`; empty when nobody was lost.
 */
export function describeLosses(
  losses: Iterable<{ readonly code: string; readonly reason: string }>,
): string {
  const groups = new Map<string, { count: number; readonly reason: string }>()
  for (const { code, reason } of losses) {
    const group = groups.get(code) ?? { count: 0, reason }
    group.count += 1
    groups.set(code, group)
  }
  const told = [...groups]
    .sort(([a, left], [b, right]) => right.count - left.count || (a < b ? -1 : 1))
    .map(([code, { count, reason }]) => `${count} ${code} (${reason.slice(0, WORDS_CHARS)})`)
  const more = told.length - CODES_TOLD
  return told.slice(0, CODES_TOLD).join(', ') + (more > 0 ? ` and ${more} more kinds` : '')
}
