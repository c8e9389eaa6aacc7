/** What the end of a container means for its task. */
import {
  CONTAINER_LIMITS as LIMITS,
  type OutputFile,
  type TaskOutcome,
  type TaskSpec,
  type TaskStatus,
} from './container-runtime.js'
import type { EndedContainer } from './docker-run.js'
import { PATHS } from './host-config.js'
import { collectOutput } from './output-collect.js'
import { isFull, type WorkFolder } from './work-folder.js'

const MIB = 1024 ** 2

/** The first cause wins: what we did to it, then memory, then a full disk, then its own exit code. */
export async function judgeRun(
  spec: TaskSpec,
  folder: WorkFolder,
  ended: EndedContainer,
): Promise<TaskOutcome> {
  const outcome = (
    status: TaskStatus,
    code: string,
    reason: string,
    files: readonly OutputFile[] = [],
  ): TaskOutcome => ({
    status,
    code,
    reason,
    files,
    exitCode: ended.stopReason === undefined ? ended.exitCode : null,
    startedMs: ended.startedMs,
    finishedMs: ended.finishedMs,
    logTail: ended.logTail,
    outDir: folder.outDir,
  })
  const tooLarge = `the task wrote more than ${spec.outMiB} MiB to ${PATHS.out}`
  switch (ended.stopReason) {
    case 'cancelled':
      return outcome('cancelled', 'CONTAINER_CANCELLED', 'the task was cancelled')
    case 'timed-out':
      return outcome(
        'timed-out',
        'CONTAINER_TIMEOUT',
        `the task ran longer than ${spec.timeoutMs} ms`,
      )
    case 'log-flood':
      return outcome(
        'failed',
        'LOG_TOO_LARGE',
        `the task logged more than ${LIMITS.logTotalBytes} bytes`,
      )
    case 'output-full':
      return outcome('bad-output', 'OUTPUT_TOO_LARGE', tooLarge)
    case undefined:
      break
  }
  if (ended.oomKilled) {
    return outcome(
      'out-of-memory',
      'CONTAINER_OOM',
      `the task needed more than ${spec.memoryMiB} MiB of memory`,
    )
  }
  if (folder.capped && (await isFull(folder.outDir)))
    return outcome('bad-output', 'OUTPUT_TOO_LARGE', tooLarge)
  if (ended.exitCode !== 0) {
    return outcome('failed', 'CONTAINER_FAILED', `the task ended with ${exitWords(ended.exitCode)}`)
  }
  const output = await collectOutput(
    folder.outDir,
    { totalBytesMax: spec.outMiB * MIB },
    new AbortController().signal,
  )
  return output.ok
    ? outcome('succeeded', 'SUCCEEDED', 'the task succeeded', output.files)
    : outcome('bad-output', output.code, output.reason)
}

function exitWords(code: number): string {
  if (code === 127) return 'exit code 127: its program was not found in the image'
  if (code === 153) return 'signal 25: a file grew beyond its limit'
  return code > 128 && code < 160 ? `exit code ${code} (signal ${code - 128})` : `exit code ${code}`
}

/** For a task whose cancel came first. */
export function cancelledBeforeStart(spec: TaskSpec): TaskOutcome {
  const now = Date.now()
  return {
    status: 'cancelled',
    code: 'CONTAINER_CANCELLED',
    reason: 'the task was cancelled before it started',
    exitCode: null,
    startedMs: now,
    finishedMs: now,
    logTail: '',
    outDir: `${spec.workDir}/out`,
    files: [],
  }
}
