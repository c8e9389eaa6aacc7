/**
 * Failures of a replica. Those of the program happen to everyone who runs it; all others are of
 * the machine it ran on, and the task goes to the next standby.
 */
const PROGRAM_FAILURES: ReadonlySet<string> = new Set([
  'CONTAINER_FAILED',
  'CONTAINER_OOM',
  'CONTAINER_TIMEOUT',
  'OUTPUT_LINK',
  'OUTPUT_SPECIAL',
  'OUTPUT_TOO_LARGE',
  'OUTPUT_TOO_MANY',
  'OUTPUT_BAD_NAME',
  'METRICS_INVALID',
  'BUILTIN_FAILED',
])

/** Whether a failure code speaks against the program rather than the machine. */
export function isProgramFailure(code: string): boolean {
  return PROGRAM_FAILURES.has(code) || code.startsWith('DATA_')
}
