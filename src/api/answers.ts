/** The short answers of the three plain endpoints, as functions of a job's state. */
import { CtdError } from '../errors.js'
import type { JobView } from './daemon-port.js'

/** The job without its tasks and curve: what `GET /job-status` says. */
export function jobStatus(job: JobView): Omit<JobView, 'tasks' | 'curve' | 'result' | 'requester'> {
  const { tasks: _tasks, curve: _curve, result: _result, requester: _requester, ...status } = job
  return status
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
