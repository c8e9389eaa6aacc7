/** The gossip topics of a network: a fixed set, never one per job. */
import { digestOf, utf8 } from './ids.js'
import type { JobId } from './ids.js'

const JOB_SHARDS = 4

/** Topics of a network, by what travels on them. */
export interface Topics {
  readonly capability: string
  readonly offer: { readonly cpu: string; readonly gpu: string }
  readonly jobs: readonly string[]
  readonly all: readonly string[]
}

export function topicsOf(network: string): Topics {
  // A network's name may hold anything; its topics must not.
  const name = digestOf(utf8(`ctd-network-v1\0${network}`)).slice(0, 16)
  const capability = `/ctd/1/${name}/capability`
  const offer = { cpu: `/ctd/1/${name}/offer/cpu`, gpu: `/ctd/1/${name}/offer/gpu` }
  const jobs = Array.from({ length: JOB_SHARDS }, (_, shard) => `/ctd/1/${name}/job/${shard}`)
  return { capability, offer, jobs, all: [capability, offer.cpu, offer.gpu, ...jobs] }
}

/** The topic that all messages of a job but its offers travel on. */
export function jobTopic(topics: Topics, jobId: JobId): string {
  const shard = Number.parseInt(jobId.slice(0, 4), 16) % topics.jobs.length
  return topics.jobs[shard] ?? topics.all[0] ?? ''
}
