/** The short answers of the three plain endpoints, as functions of a job's state. */
import { CtdError } from '../errors.js'
import type { FetchView, JobView } from './daemon-port.js'

/** What an executor fetches for a task, and how far it is. */
export interface FetchingView extends FetchView {
  readonly task: string
  readonly peer: string
}

type JobStatus = Omit<JobView, 'tasks' | 'curve' | 'result' | 'requester'>

/** The job without its tasks and curve, but with what is being fetched: `GET /job-status`. */
export function jobStatus(
  job: JobView,
): JobStatus & { readonly fetching: readonly FetchingView[] } {
  const { tasks: _tasks, curve: _curve, result: _result, requester: _requester, ...status } = job
  return { ...status, fetching: fetchingOf(job) }
}

/** Every fetch of a job's executors that is under way. */
export function fetchingOf({ tasks }: Pick<JobView, 'tasks'>): readonly FetchingView[] {
  return tasks.flatMap(({ name, replicas }) =>
    replicas.flatMap(({ peer, phase, fetch }) =>
      fetch === undefined || phase !== 'fetching' ? [] : [{ task: name, peer, ...fetch }],
    ),
  )
}

/**
 * What `GET /results` says of a job that succeeded: `{id, accuracy, hash, …}`.
 *
 * @throws CtdError JOB_NOT_FINISHED, JOB_FAILED or JOB_CANCELLED, with the job's own code and reason
 */
export function jobResults(job: JobView): Readonly<Record<string, unknown>> {
  const fields = {
    id: job.id,
    jobStatus: job.status,
    jobCode: job.code,
    reason: job.reason,
    progress: job.progress,
  }
  const because = job.reason === '' ? '' : `: ${job.reason}`
  switch (job.status) {
    case 'succeeded':
      return { ...job.result, id: job.id }
    case 'failed':
      throw new CtdError('JOB_FAILED', `the job failed${because}`, {
        fields,
        hint: `see why: ctd logs ${job.id.slice(0, 12)}`,
      })
    case 'cancelled':
      throw new CtdError('JOB_CANCELLED', `the job was cancelled${because}`, { fields })
    case 'pending':
    case 'running':
      throw new CtdError('JOB_NOT_FINISHED', `the job is ${job.status}${because}`, {
        fields,
        hint: `wait for it: ctd results ${job.id.slice(0, 12)} --wait`,
      })
  }
}
