/** What the exit code of every command means. */
import type { JobView } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'

export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  notRunning: 4,
  permission: 5,
  invalid: 6,
  noCapacity: 7,
  waitTimedOut: 8,
  jobFailed: 9,
  jobCancelled: 10,
  verificationFailed: 11,
  unanchored: 12,
  interrupted: 130,
} as const

export const EXIT_CODES_HELP = `Exit codes:
  0    ok
  1    failure
  2    usage: unknown command, option or value
  3    not found: job, peer or file
  4    daemon not running or not reachable
  5    permission denied
  6    invalid job, file or configuration
  7    no capacity: no peers fit the job
  8    the wait timed out; the job goes on
  9    the job failed
  10   the job was cancelled
  11   verification failed: replicas or messages disagree
  12   the transcript is consistent but its keys are not anchored
  130  interrupted by Ctrl-C; a followed job goes on`

const BY_CODE: Readonly<Record<string, number>> = {
  USAGE: EXIT.usage,
  DAEMON_NOT_RUNNING: EXIT.notRunning,
  PERMISSION_DENIED: EXIT.permission,
  SOCKET_FOLDER_UNSAFE: EXIT.permission,
  SOCKET_PATH_TOO_LONG: EXIT.invalid,
  SPEC_INVALID: EXIT.invalid,
  CONFIG_INVALID: EXIT.invalid,
  REQUEST_INVALID: EXIT.invalid,
  WAIT_TIMED_OUT: EXIT.waitTimedOut,
  JOB_FAILED: EXIT.jobFailed,
  JOB_CANCELLED: EXIT.jobCancelled,
  FILE_NOT_FOUND: EXIT.notFound,
  JOB_UNKNOWN: EXIT.notFound,
  PEER_NOT_FOUND: EXIT.notFound,
  PROFILE_INSEPARABLE: EXIT.verificationFailed,
  BLOB_UNKNOWN: EXIT.notFound,
  BLOB_UNAVAILABLE: EXIT.notFound,
}

/** Codes of jobs that found no peers, and of those whose replicas were not enough of one mind. */
const CAPACITY = /CAPACITY|TOO_FEW_PEERS|NO_ELIGIBLE|NO_EXECUTORS|QUEUE_TIME/
const VERIFICATION =
  /DISAGREE|REJECTED|NO_MAJORITY|MISMATCH|^(ONE_OPERATOR|NO_ESTABLISHED|MARGIN|TOO_FEW_REVEALS|NONDETERMINISTIC|UNDECIDED)$/

/** The exit code of a thrown value. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof CtdError)) return EXIT.failure
  const jobCode = error.fields['jobCode']
  if (error.code === 'JOB_FAILED' && typeof jobCode === 'string') return failedExit(jobCode)
  const exact = BY_CODE[error.code]
  if (exact !== undefined) return exact
  if (CAPACITY.test(error.code)) return EXIT.noCapacity
  switch (error.fields['httpStatus']) {
    case 400:
    case 413:
    case 422:
      return EXIT.invalid
    case 404:
      return EXIT.notFound
    default:
      return EXIT.failure
  }
}

/** The exit code of a job that has ended. */
export function exitCodeOfJob(job: JobView): number {
  if (job.status === 'cancelled') return EXIT.jobCancelled
  if (job.status === 'failed') return failedExit(job.code)
  return EXIT.ok
}

function failedExit(code: string): number {
  if (CAPACITY.test(code)) return EXIT.noCapacity
  return VERIFICATION.test(code) ? EXIT.verificationFailed : EXIT.jobFailed
}
